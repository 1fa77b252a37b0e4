"""docker, as far as kind's nodes need it: their power and their network. Any program that takes the same words will do."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

NETWORK = "kind"


def program() -> str:
    """The engine's command: ``docker``, or what RINGFENCE_DOCKER names."""
    return os.environ.get("RINGFENCE_DOCKER", "docker")


def run(*words: str, stdin: str | None = None) -> str:
    """Run a program to its end; what it printed. RuntimeError with its own words where it fails."""
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise RuntimeError(f"{' '.join(words[:6])}: exit {done.returncode}: {said}")
    return done.stdout


def gateway() -> str:
    """The machine's own IPv4 address in kind's network: where its nodes reach what runs beside docker."""
    form = "{{range .IPAM.Config}}{{.Gateway}} {{end}}"
    found = run(program(), "network", "inspect", NETWORK, "--format", form).split()
    return next(address for address in found if ":" not in address)


@dataclass(frozen=True, slots=True)
class Machine:
    """A node of kind's: a container."""

    name: str

    def off(self) -> list[str]:
        """The command that pulls its plug: its process 1 and all below it, guests included, get SIGKILL."""
        return [program(), "kill", self.name]

    def on(self) -> list[str]:
        return [program(), "start", self.name]

    def reads(self) -> list[str]:
        """Prints true or false; fails where the engine doesn't answer. Paused is on."""
        return [program(), "inspect", "--format", "{{.State.Running}}", self.name]

    def running(self) -> bool:
        return run(*self.reads()).strip() == "true"

    def cut(self) -> None:
        """Its network; what runs in it runs on."""
        run(program(), "network", "disconnect", "--force", NETWORK, self.name)

    def heal(self) -> None:
        run(program(), "network", "connect", NETWORK, self.name)
