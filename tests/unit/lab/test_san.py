"""The lab's CSI driver against its own contract: what Kubernetes may ask of it, over real sockets and with real mounts."""

from __future__ import annotations

import os
import subprocess

import pytest

from lab.build import MODULES


@pytest.mark.long
def test_the_driver_keeps_its_contract() -> None:
    """In a mount namespace of its own, so that nothing of it stays behind."""
    done = subprocess.run(
        ["unshare", "--mount", "go", "test", "-mod=readonly", "./..."],
        cwd=MODULES / "csi",
        env={**os.environ, "GOWORK": "off", "GOFLAGS": "", "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
