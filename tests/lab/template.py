"""A containerd store with every image unpacked, made once: nodes start from hard links to it.

Layers are read-only, so links are safe and a node costs a few megabytes; containerd's databases are written to, so
those are copied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab import process
from lab.console import say
from lab.process import run
from lab.wait import until

NAMESPACE = "k8s.io"
KEPT = 6
"""Stores that stay: one of the cluster's images, and a few of ours on top of it."""


def template(cache: Path, archives: Sequence[Path], ours: Path) -> Path:
    """The store that holds *archives* and, on top, our own image, which changes with every edit: seconds, not a minute."""
    base = _store(cache, archives, None)
    return _store(cache, [ours], base)


def _store(cache: Path, archives: Sequence[Path], base: Path | None) -> Path:
    names = [archive.name for archive in archives] + ([base.name] if base else [])
    store = cache / "stores" / hashlib.sha256("\0".join(sorted(names)).encode()).hexdigest()[:16]
    if store.exists():
        os.utime(store)
        return store
    say(f"images: unpacking {', '.join(archive.name for archive in archives)} once for all nodes ...")
    store.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.parent, prefix=".store-") as work:
        root, state, log = Path(work) / "root", Path(work) / "state", Path(work) / "log"
        if base is not None:
            stock(base, root)
        socket = state / "containerd.sock"
        containerd = process.start(["containerd", "--root", root, "--state", state, "--address", socket], log)
        try:
            until(
                "containerd answers",
                lambda: run("ctr", "--address", socket, "version", check=False).count("Version") > 1,
                20,
                log=log,
            )
            for archive in archives:
                run(
                    "ctr",
                    "--address",
                    socket,
                    "--namespace",
                    NAMESPACE,
                    "images",
                    "import",
                    archive,
                    within=300,
                )
        finally:
            containerd.end()
        root.rename(store)
    _forget(store.parent)
    return store


def _forget(shelf: Path) -> None:
    """Drop the stores that were used longest ago."""
    stores = sorted(
        (s for s in shelf.iterdir() if not s.name.startswith(".")), key=lambda s: s.stat().st_mtime
    )
    for store in stores[:-KEPT]:
        shutil.rmtree(store, ignore_errors=True)


def stock(store: Path, folder: Path) -> None:
    """Make *folder* a containerd root of its own that shares its layers with *store*."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "--archive", "--link", store, folder)
    for database in folder.rglob("*.db"):
        original = store / database.relative_to(folder)
        database.unlink()
        shutil.copy2(original, database)
