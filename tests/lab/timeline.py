"""Who changed what, when: one run's logs as a single story, in seconds since a moment of your choice.

It is told from the logs of all witnesses (API's audit trail, power log, BMCs, QEMU witness), so it can be told after
the fact and again. ``python -m lab.timeline [--name LAB] [--since WALL] [--last SECONDS]``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.audit import Write, writes
from lab.layout import HOME


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """One line of the story; *at* is wall time."""

    at: float
    who: str
    what: str


def told(events: Iterable[Event], zero: float) -> Iterator[str]:
    """The lines, oldest first, in seconds since *zero*."""
    for event in sorted(events):
        yield f"{event.at - zero:+9.3f}  {event.who:<28} {event.what}"


def of_logs(logs: Path, since: float = 0.0) -> list[Event]:
    """Everything that happened since *since*."""
    found = list(_of_witnesses(logs))
    phases: dict[tuple[str, str, str], str] = {}
    for write in writes(logs / "audit.log"):
        found.extend(_of_write(write, phases))
    return [event for event in found if event.at >= since]


def _of_witnesses(logs: Path) -> Iterator[Event]:
    devices = sorted((*logs.glob("bmc-*.jsonl"), *logs.glob("ipmi-*.jsonl")))
    for file in [logs / "power.jsonl", logs / "qemu.jsonl", *devices]:
        if not file.exists():
            continue
        for line in file.read_text().splitlines():
            row: dict[str, Any] = json.loads(line)
            source = file.stem.partition("-")[0]
            at, node, what = row.pop("t"), row.pop("node", ""), row.pop("what")
            if (
                source in ("bmc", "ipmi")
                and what == "read"
                and row.get("mode", "ok") == "ok"
                and row.get("state") == "On"
            ):
                continue  # a look at a healthy node, every few seconds
            more = " ".join(f"{key}={value}" for key, value in row.items() if value not in ("", None))
            yield Event(at, f"{source} {node}".strip(), f"{what} {more}".strip())


def _of_write(write: Write, phases: dict[tuple[str, str, str], str]) -> Iterator[Event]:
    if not write.succeeded or write.dry or write.resource in ("leases", "nodereports"):
        return
    who = write.pod or write.user.rpartition(":")[2]
    thing = "/".join(part for part in (write.resource, write.namespace, write.name) if part)
    if write.verb in ("delete", "deletecollection"):
        grace = write.body.get("gracePeriodSeconds")
        yield Event(write.at, who, f"deletes {thing}" + (f" (grace {grace})" if grace is not None else ""))
    elif write.subresource == "binding":
        yield Event(write.at, who, f"binds {thing} to {write.body.get('target', {}).get('name', '?')}")
    elif write.resource == "nodes" and "taints" in json.dumps(
        write.body.get("spec", write.body.get("patch", ""))
    ):
        taints = (write.body.get("spec") or {}).get("taints") or []
        keys = ", ".join(taint.get("key", "?") for taint in taints)
        yield Event(write.at, who, f"taints {thing}: {keys or 'changed'}")
    elif phase := _phase(write.body):
        key = (write.resource, write.namespace, write.name)
        if phases.get(key) != phase:
            phases[key] = phase
            sentence = str((write.body.get("status") or {}).get("sentence") or "")
            yield Event(write.at, who, f"{thing} is {phase}" + (f": {sentence}" if sentence else ""))
    elif write.resource == "volumeattachments" and write.verb == "create":
        spec = write.body.get("spec") or {}
        volume = (spec.get("source") or {}).get("persistentVolumeName", "?")
        yield Event(write.at, who, f"attaches {volume} to {spec.get('nodeName', '?')} ({thing})")
    elif write.verb == "create" and not write.subresource:
        yield Event(write.at, who, f"creates {thing}")


def _phase(body: dict[str, Any]) -> str:
    """The phase that a status holds, in an object, a merge patch or a JSON patch."""
    status = body.get("status")
    if isinstance(status, dict):
        return str(status.get("phase") or "")
    for step in body.get("patch") or ():
        path, value = step.get("path"), step.get("value")
        if step.get("op") not in ("add", "replace"):
            continue
        if path == "/status/phase":
            return str(value)
        if path == "/status" and isinstance(value, dict):
            return str(value.get("phase") or "")
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.timeline", description=__doc__)
    parser.add_argument("--name", default="lab")
    parser.add_argument("--since", type=float, help="wall time (seconds since 1970) that counts as 0")
    parser.add_argument("--last", type=float, default=300.0, help="the last so many seconds, without --since")
    options = parser.parse_args()
    zero = options.since if options.since is not None else time.time() - options.last
    for line in told(of_logs(HOME / options.name / "logs", zero), zero):
        print(line)


if __name__ == "__main__":
    main()
