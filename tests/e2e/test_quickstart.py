"""The quickstart, word by word: every command of docs/quickstart.md in its order, in a copy of the repository that a reader has edited as it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.helm import none_installed
from e2e.stories import leader_away_from
from lab.cluster import Lab
from lab.prepare import PROJECT
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]

PAGE = PROJECT / "docs" / "quickstart.md"
EXAMPLES = ("cluster", "zone", "fencedevice", "protectedvm")
NODE, VICTIM = "n1", "n2"
"""The page's node-1 before the cable is pulled, and after."""


def commands() -> list[str]:
    return re.findall(r"^    (\S.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


class Reader:
    """Somebody with a copy of the repository, a kubeconfig, and kubectl, helm and ringfence in PATH."""

    def __init__(self, lab: Lab, home: Path) -> None:
        self._lab, self._home = lab, home
        tools = home / "bin"
        tools.mkdir()
        for name, program in (
            ("kubectl", lab.prepared.bin / "kubectl"),
            ("helm", lab.prepared.helm),
            ("ringfence", Path(sys.executable).with_name("ringfence")),
        ):
            (tools / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            (tools / name).chmod(0o755)
        for folder in ("crds", "charts/ringfence", "docs/examples"):
            shutil.copytree(PROJECT / folder, home / folder)
        self._env = os.environ | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "KUBECONFIG": str(lab.layout.kubeconfig),
            "HOME": str(home),
        }

    def edit(self) -> None:
        """What the page asks for: the image by name; nodes, BMCs and VMs of one's own; `mode: DryRun` to begin with."""
        values = self._home / "charts/ringfence/values.yaml"
        chosen = yaml.safe_load(values.read_text())
        for path, value in self._lab.chart_values().items():
            *parents, last = path.split(".")
            here: dict[str, Any] = chosen
            for parent in parents:
                here = here[parent]
            here[last] = value
        values.write_text(yaml.dump(chosen))
        items = self._lab.declared(mode="DryRun")
        vm = {
            "apiVersion": "ringfence.io/v1alpha1",
            "kind": "ProtectedVM",
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {"vm": {"name": "db"}},
        }
        wanted = {
            "cluster": [one for one in items if one["kind"] == "HACluster"],
            "zone": [one for one in items if one["kind"] == "HAZone"],
            "fencedevice": [one for one in items if one["kind"] in {"Secret", "FenceDevice"}],
            "protectedvm": [vm],
        }
        for name, documents in wanted.items():
            (self._home / "docs/examples" / f"{name}.yaml").write_text(yaml.dump_all(documents))

    def activate(self) -> None:
        file = self._home / "docs/examples/cluster.yaml"
        file.write_text(file.read_text().replace("DryRun", "Active"))

    def start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self._home,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def tries(self, command: str) -> tuple[int, str]:
        """Its exit code, and what it said. A drill asks whether it may; the reader says yes."""
        with self.start(command) as process:
            try:
                said, _ = process.communicate("y\n" if " drill " in command else None, timeout=400)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        print(f"$ {command}\n{said}", flush=True)
        return process.returncode, said

    def run(self, command: str) -> str:
        code, said = self.tries(command)
        assert code == 0, f"{command}: {said}"
        return said


def test_as_a_new_user_would(bare: Lab, tmp_path: Path) -> None:
    lab = bare
    asked = commands()
    assert asked[-2:] == ["kubectl get failovers -w", "ringfence explain node-1"]
    lab.create_vm("db", node=VICTIM)
    lab.wait_vm_running("db")
    instance = lab.wait_tick("db").instance
    with none_installed(lab):
        reader = Reader(lab, tmp_path)
        reader.edit()
        for command in asked[:-2]:
            if command == "ringfence doctor":  # it may still find what is a moment old
                until(
                    "the doctor to find nothing broken",
                    lambda: reader.tries("ringfence doctor")[0] == 0 or None,
                    180,
                    every=2.0,
                )
            if command == "kubectl get protectedvms -A":
                assert "ClusterDryRun" in reader.run(command)
                reader.activate()
                reader.run("kubectl apply -f docs/examples/cluster.yaml")
                lab.wait_condition("protectedvm", "db", "Protected", "True", namespace="default")
                lab.wait_armed()
                continue
            if "drill" in command:
                leader_away_from(lab, NODE)  # where it acts no drill is done, and the page says so
            old = lab.node(NODE).boot_id
            reader.run(command.replace("node-1", NODE))
            if "drill" in command:
                assert lab.node(NODE).boot_id not in {"", old}, "the drill switched nothing off and on"
        lab.wait_well()
        lab.wait_armed()

        watching = reader.start(asked[-2])
        try:
            lab.node(VICTIM).cut()
            lab.wait_vm_running("db", 150, elsewhere_than=VICTIM)
            lab.wait_tick("db", other_than=instance)
        finally:
            watching.terminate()
            said, _ = watching.communicate(timeout=30)
        assert VICTIM in said
        told = reader.run(asked[-1].replace("node-1", VICTIM))
        assert f"{VICTIM}" in told
        assert "off" in told
        lab.wait_phase(VICTIM, "Closed", seconds=180)
