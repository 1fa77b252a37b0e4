"""What the machine must have: root, cgroup v1, Debian's packages, Go."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lab.console import say

PACKAGES = (
    "containerd", "runc", "containernetworking-plugins", "debootstrap", "libcap2-bin", "iproute2", "nftables",
    "syslinux", "syslinux-common", "mtools", "dosfstools", "fdisk", "busybox-static", "cpio", "gcc", "libc6-dev",
    "procps", "util-linux", "xz-utils", "systemd-boot-efi", "openipmi", "ipmitool", "fence-agents",
)  # fmt: skip


class UnfitError(Exception):
    """This machine can't carry the lab; the sentence says why and what to do."""


def check() -> None:
    """Raise :class:`UnfitError` unless the lab can run here."""
    if os.geteuid() != 0:
        raise UnfitError("the lab makes namespaces, mounts and network devices: run it as root")
    if not Path("/sys/fs/cgroup/freezer").is_dir():
        raise UnfitError("no cgroup v1 hierarchy `freezer`: boot with systemd.unified_cgroup_hierarchy=0")
    if shutil.which("go") is None:
        raise UnfitError("no `go` in PATH: install Go 1.26 or later (https://go.dev/dl)")


def equip(packages: tuple[str, ...] = PACKAGES) -> None:
    """Install those of these Debian packages that are missing."""
    installed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    present = {line.split()[-1] for line in installed.splitlines() if line.startswith("ii")}
    missing = [package for package in packages if package not in present]
    if not missing:
        return
    say(f"machine: installing {len(missing)} Debian packages: {' '.join(missing)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", "-qq", *command], env=quiet, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UnfitError(f"apt-get {command[0]} failed: {done.stderr.strip()[-600:]}")
