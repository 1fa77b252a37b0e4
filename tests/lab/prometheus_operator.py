"""The Prometheus operator's CRDs, out of its Go module: nothing of it is built or run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.build import cache_root

MODULE, VERSION = "github.com/prometheus-operator/prometheus-operator", "v0.85.0"
SUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
"""Of the module's content, as go.sum has it: no other database of sums is asked."""
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")


def crds() -> tuple[Path, ...]:
    """Fetch the CRDs that a chart may use once, by Go's own client, into the cache outside the checkout."""
    tools = cache_root() / "tools"
    wanted = tools / f"prometheus-operator-{VERSION}"
    tools.mkdir(parents=True, exist_ok=True)
    with (tools / ".prometheus-operator.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            _fetch(wanted)
    return tuple(wanted / f"{kind}.yaml" for kind in KINDS)


def _fetch(wanted: Path) -> None:
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"],
        env={**os.environ, "GOSUMDB": "off", "GOFLAGS": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    if found["Sum"] != SUM:
        raise RuntimeError(f"{MODULE}@{VERSION} has the sum {found['Sum']}, not {SUM}")
    with tempfile.TemporaryDirectory(dir=wanted.parent) as name:
        folder = Path(name) / "crds"
        folder.mkdir()
        for kind in KINDS:
            source = (
                Path(found["Dir"])
                / "example"
                / "prometheus-operator-crd"
                / f"monitoring.coreos.com_{kind}.yaml"
            )
            shutil.copy(source, folder / f"{kind}.yaml")
        folder.rename(wanted)
