"""Where the programs come from that these tests start."""

from __future__ import annotations

import os
from pathlib import Path

from lab.build import binaries as built


def binaries() -> Path:
    """The folder that holds etcd, kube-apiserver and kubectl: the lab's build, or RINGFENCE_BIN."""
    return Path(os.environ["RINGFENCE_BIN"]) if os.environ.get("RINGFENCE_BIN") else built()


def program(folder: Path, name: str) -> list[str]:
    """How ``name`` is called: by its own name, or as a part of the one binary that is all of Kubernetes."""
    return [str(folder / name)] if (folder / name).exists() else [str(folder / "kubernetes"), name]
