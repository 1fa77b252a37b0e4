"""Pressure stall information: how much of the time somebody on this host had to wait for CPU, memory or I/O."""

from __future__ import annotations

from pathlib import Path

DIRECTORY = Path("/proc/pressure")
RESOURCES = ("cpu", "memory", "io")


def read_pressure(directory: Path = DIRECTORY) -> dict[str, float]:
    """Percent of the last ten seconds by resource, without those that this kernel doesn't tell. Never raises."""
    read = {resource: _read(directory / resource) for resource in RESOURCES}
    return {resource: percent for resource, percent in read.items() if percent is not None}


def some_avg10(text: str) -> float | None:
    """The percentage of the last ten seconds in which some task waited; None where the text doesn't say."""
    for line in text.splitlines():
        kind, *figures = line.split() or [""]
        for figure in figures if kind == "some" else ():
            name, _, value = figure.partition("=")
            if name == "avg10":
                try:
                    return float(value)
                except ValueError:
                    return None
    return None


def _read(path: Path) -> float | None:
    try:
        return some_avg10(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None  # a kernel without it, or one that was started with psi=0
