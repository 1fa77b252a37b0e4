"""kind-config.yaml as kind's own program reads it, before a stand-in for docker; what `make kind-up` declares, before a real API server."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from apiserver.server import Server
from kind.cluster import NAME, PROJECT, VALUES, WORKERS
from lab.build import KIND, cache_root, programs

pytestmark = pytest.mark.apiserver

DOCKER = """\
#!/bin/sh
# A stand-in for docker: an engine without containers, which writes down what it is to start, and starts nothing;
# it says so when it has been asked for all: kind starts nodes at once, and ends at the first that fails.
here=$(dirname "$0")
case "$1" in
  info) echo '{"CgroupDriver": "systemd", "CgroupVersion": "2", "MemoryLimit": true, "PidsLimit": true, "CPUShares": true, "SecurityOptions": []}' ;;
  version) echo 29.0.0 ;;
  run) printf '%s\\n' "$*" >> "$here/started"
    for _ in $(seq 100); do [ "$(wc -l < "$here/started")" -ge "$NODES" ] && break; sleep 0.1; done
    exit 1 ;;
  network) [ "$2" = ls ] && echo kind; [ "$2" = inspect ] && echo '[]'; exit 0 ;;
esac
exit 0
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words with which kind would have docker start each node."""
    folder = tmp_path_factory.mktemp("docker")
    docker = folder / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    kind = programs(cache_root(), (KIND,))["kind"]
    done = subprocess.run(
        [str(kind), "create", "cluster", "--config", "kind-config.yaml", "--image", "kindest/node:v1.37.0"],
        cwd=PROJECT,
        env={
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KIND_EXPERIMENTAL_PROVIDER": "docker",
            "NODES": str(1 + len(WORKERS)),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (folder / "started").exists(), done.stderr
    return (folder / "started").read_text().splitlines()


def test_kind_takes_the_config_and_names_the_nodes_as_we_do(started: list[str]) -> None:
    names = {found.group(1) for line in started if (found := re.search(r"--name (\S+)", line))}
    assert names == {f"{NAME}-control-plane", *WORKERS}


def test_each_node_has_a_boot_id_of_its_own_and_workers_share_a_disk(started: list[str]) -> None:
    for line in started:
        (unit,) = re.findall(r"--volume[= ](\S+/tests/kind/boot-id\.conf):(\S+)", line)
        assert Path(unit[0]) == PROJECT / "tests/kind/boot-id.conf"
        assert unit[1].startswith("/etc/systemd/system/kubelet.service.d/")
        assert (":/srv/shared" in line) == ("-worker" in line)
    assert VALUES["agent.bootIdPath"] in (PROJECT / "tests/kind/boot-id.conf").read_text()


def test_the_api_servers_audit_goes_by_a_policy_that_is_mounted() -> None:
    config = yaml.safe_load((PROJECT / "kind-config.yaml").read_text())
    plane = config["nodes"][0]
    patch = yaml.safe_load(plane["kubeadmConfigPatches"][0])
    words = {each["name"]: each["value"] for each in patch["apiServer"]["extraArgs"]}
    mounted = {each["containerPath"]: each["hostPath"] for each in plane["extraMounts"]}
    policy = yaml.safe_load((PROJECT / mounted[words["audit-policy-file"]]).read_text())
    assert (policy["apiVersion"], policy["kind"]) == ("audit.k8s.io/v1", "Policy")
    inside = {each["mountPath"] for each in patch["apiServer"]["extraVolumes"]}
    assert words["audit-policy-file"] in inside
    assert str(Path(words["audit-log-path"]).parent) in inside
    zones = [each.get("labels", {}).get("topology.kubernetes.io/zone") for each in config["nodes"]]
    assert zones == [None, "a", "a", "b"]


def test_the_example_is_taken_by_a_real_api_server(server: Server) -> None:
    text = (PROJECT / "tests/kind/vm.yaml").read_text()
    known = [each for each in yaml.safe_load_all(text) if not each["apiVersion"].startswith("kubevirt.io/")]
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": known})
    said = server.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=items)
    assert said.count("(server dry run)") == 3
