"""cert-manager's CRDs, out of the Go module from which its controllers are built (:data:`lab.build.CERT_MANAGER`)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lab.build import CERT_MANAGER, MODULES

MODULE = "github.com/cert-manager/cert-manager"
KINDS = ("certificaterequests", "certificates", "clusterissuers", "issuers")
"""Those that our chart's objects come to; ACME's are left out."""


def crds() -> str:
    """As one stream for kubectl."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", MODULE],
        cwd=MODULES / CERT_MANAGER.module,
        check=True,
        capture_output=True,
        text=True,
    )
    folder = Path(json.loads(done.stdout)["Dir"]) / "deploy" / "crds"
    return "\n---\n".join((folder / f"cert-manager.io_{kind}.yaml").read_text() for kind in KINDS)
