"""Prometheus and promtool, out of Debian's package: unpacked, not installed, for that would start a Prometheus on this machine."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from pathlib import Path

from lab.build import cache_root

VERSION = "2.42"
"""Debian 12's. What Debian builds is taken as apt's keys vouch for it."""


def promtool() -> Path:
    """Fetch promtool once, by apt, into the cache outside the checkout."""
    return _program("promtool")


def prometheus() -> Path:
    """Fetch Prometheus itself, likewise. Whoever starts it ends it."""
    return _program("prometheus")


def _program(name: str) -> Path:
    tools = cache_root() / "tools"
    wanted = tools / f"{name}-{VERSION}"
    tools.mkdir(parents=True, exist_ok=True)
    with (tools / ".promtool.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            _fetch(wanted, name)
    return wanted


def _fetch(wanted: Path, program: str) -> None:
    with tempfile.TemporaryDirectory(dir=wanted.parent) as name:
        folder = Path(name)
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", f"prometheus={VERSION}*"]
        if subprocess.run(download, cwd=folder, check=False, capture_output=True).returncode:
            subprocess.run(["apt-get", "-qq", "update"], check=True, capture_output=True)
            subprocess.run(download, cwd=folder, check=True, capture_output=True)
        (package,) = folder.glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "--extract", package.name, "."], cwd=folder, check=True)
        (folder / "usr" / "bin" / program).rename(wanted)
