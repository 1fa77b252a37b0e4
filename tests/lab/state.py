"""The lab's state file: what has been started, written before it matters, so that a crashed lab leaves no riddle.

``state.json`` holds the plan and each process with its start time. A process of a node needs no line: it is found by
the node's own file and dies with the node's init. Files are replaced, never rewritten: a reader sees old or new.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from lab.plan import ROOT, Plan
from lab.process import Process


class NoLabError(Exception):
    """There is no lab of that name."""


def write(file: Path, text: str, mode: int = 0o644) -> None:
    """Replace *file* by one that holds *text*."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(file)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold *file*'s lock: one change at a time, whoever makes it (tests, the command line, a BMC)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class State:
    """The state of one lab, on disk."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.file = plan.folder / "state.json"

    @classmethod
    def create(cls, plan: Plan) -> State:
        """Write the first state of a lab to come; refuse if the name or the index is taken."""
        for other in labs():
            if other.name == plan.name:
                raise FileExistsError(f"lab {plan.name} is there already: `python -m lab down` first")
            if other.index == plan.index:
                raise FileExistsError(f"lab {other.name} has index {plan.index}: choose another by --index")
        state = cls(plan)
        state._save({})
        return state

    @classmethod
    def load(cls, name: str) -> State:
        """The state of the lab *name*."""
        file = ROOT / name / "state.json"
        try:
            return cls(Plan(**json.loads(file.read_text())["plan"]))
        except FileNotFoundError:
            raise NoLabError(f"no lab {name}: `python -m lab --name {name} up` makes one") from None

    def processes(self) -> dict[str, Process]:
        """The lab's own daemons by name."""
        return {name: Process(*entry) for name, entry in json.loads(self.file.read_text())["processes"].items()}

    def remember(self, name: str, process: Process) -> None:
        """Note that *name* runs as *process*."""
        with locked(self.file.with_name(".lock")):
            self._save({**self.processes(), name: process})

    def _save(self, processes: dict[str, Process]) -> None:
        known = {name: [process.pid, process.started] for name, process in processes.items()}
        write(self.file, json.dumps({"plan": asdict(self.plan), "processes": known}, indent=1))


def labs() -> list[Plan]:
    """The plans of all labs on this machine."""
    return [Plan(**json.loads(file.read_text())["plan"]) for file in sorted(ROOT.glob("*/state.json"))]
