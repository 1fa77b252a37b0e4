"""The release before this one, as it is upgraded from: its chart, CRDs and image, of a commit of this repository.

Nothing has been released yet, so it is named here: a commit on which the whole of ``make test`` passed. Whoever releases puts the
release's commit in its place. It is taken out of git's history, so nothing of it lies in the checkout twice.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from lab import image
from lab.prepare import PROJECT

COMMIT = "ae79cc644b299a27d5569c6f895ad1cfe0b75ff7"
IMAGE = "docker.io/local/ringfence:earlier"
_PARTS = ("charts", "crds", "docs/examples", "operator", "pyproject.toml", "uv.lock")


def tree(cache: Path) -> Path:
    """Its files, in the cache outside the checkout. LookupError where the clone does not reach back to it."""
    there = cache / "earlier" / COMMIT
    if there.exists():
        return there
    there.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=there.parent, prefix=".taking-") as work:
        packed, unpacked = Path(work) / "tree.tar", Path(work) / "tree"
        command = ["git", "-C", str(PROJECT), "archive", f"--output={packed}", COMMIT, *_PARTS]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LookupError(
                f"git has no commit {COMMIT} here ({done.stderr.strip()}): this clone is shallow; git fetch --unshallow"
            )
        unpacked.mkdir()
        subprocess.run(["tar", "-x", "-f", packed, "-C", unpacked], check=True)
        unpacked.rename(there)
    return there


def archive(cache: Path) -> Path:
    """Its image, by today's description of images; kept like ours."""
    return image.build(cache, tree(cache), agents=True, name=IMAGE)
