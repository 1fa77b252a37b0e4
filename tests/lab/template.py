"""A containerd store with every image unpacked, made once: nodes start from hard links to it.

Layers are read-only, so links are safe and a node costs a few megabytes; containerd's databases are written to, so
those are copied.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab import process
from lab.console import say
from lab.process import run
from lab.wait import until

NAMESPACE = "k8s.io"


def template(cache: Path, archives: Sequence[Path]) -> Path:
    """The store that holds *archives*, unpacked now if the cache has none."""
    key = hashlib.sha256("\0".join(sorted(archive.name for archive in archives)).encode()).hexdigest()[:16]
    store = cache / "stores" / key
    if store.exists():
        return store
    say("images: unpacking them once for all nodes ...")
    store.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.parent, prefix=".store-") as work:
        root, state, log = Path(work) / "root", Path(work) / "state", Path(work) / "log"
        socket = state / "containerd.sock"
        containerd = process.start(
            ["containerd", "--root", root, "--state", state, "--address", socket], log
        )
        try:
            until(
                "containerd answers",
                lambda: run("ctr", "--address", socket, "version", check=False).count("Version") > 1,
                20,
                log=log,
            )
            for archive in archives:
                run("ctr", "--address", socket, "--namespace", NAMESPACE, "images", "import", archive, within=300)
        finally:
            containerd.end()
        root.rename(store)
    return store


def stock(store: Path, folder: Path) -> None:
    """Make *folder* a containerd root of its own that shares its layers with *store*."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "--archive", "--link", store, folder)
    for database in folder.rglob("*.db"):
        original = store / database.relative_to(folder)
        database.unlink()
        shutil.copy2(original, database)
