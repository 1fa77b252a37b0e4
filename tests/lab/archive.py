"""A folder becomes a container image: one layer in a docker-archive, which containerd imports.

GNU tar packs it, because it keeps what Python's can't: file capabilities (virt-launcher-monitor needs one).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.process import run

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def pack(root: Path, name: str, archive: Path, entrypoint: Sequence[str] = ()) -> None:
    """Write *root* as the image *name* to *archive*, owners and capabilities kept, times set to 0."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".packing-") as work:
        bench = Path(work)
        layer = bench / "layer.tar"
        run(
            *("tar", "--directory", root, "--create", "--file", layer, "--format=pax", "--sort=name"),
            *("--numeric-owner", "--mtime=@0", "--pax-option=delete=atime,delete=ctime"),
            *("--xattrs", "--xattrs-include=security.capability", "."),
            within=600,
        )
        with layer.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Env": [PATH], "WorkingDir": "/", "Entrypoint": list(entrypoint) or None},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        (bench / "config.json").write_text(json.dumps(config))
        manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
        (bench / "manifest.json").write_text(json.dumps(manifest))
        made = bench / "image.tar"
        run(
            "tar",
            "--directory",
            bench,
            "--create",
            "--file",
            made,
            "config.json",
            "layer.tar",
            "manifest.json",
        )
        made.rename(archive)
