"""A controller's process before a real API server, with its own account's token: one story from a cluster without KubeVirt to its end.

The tests of this file follow one another: the process that the first one starts is the one that the last one ends.
"""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiserver.chart import NAMESPACE
from apiserver.installed import Controller, add_node, install, install_kubevirts_kinds, running_controller
from apiserver.programs import binaries
from apiserver.server import Json, Server, running_server, wait_for

pytestmark = pytest.mark.apiserver

API = "/apis/ringfence.io/v1alpha1"
AGENT = """\
#!/bin/sh
# A fence agent that knows ip, plug and password; asked for anything but its metadata it fails.
grep -q '^action=metadata$' || exit 1
cat <<XML
<?xml version="1.0" ?>
<resource-agent name="fence_apc"><parameters>
  <parameter name="action"><content type="string"/></parameter>
  <parameter name="ip" required="1"><content type="string"/></parameter>
  <parameter name="plug" required="1"><content type="string"/></parameter>
  <parameter name="password"><content type="string"/></parameter>
</parameters><actions>
  <action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="metadata"/>
</actions></resource-agent>
XML
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cluster's API with the chart and three nodes, and no KubeVirt."""
    with running_server(binaries(), tmp_path_factory.mktemp("controller")) as server:
        install(server)
        for number in (1, 2, 3):
            add_node(server, f"n{number}", number)
        yield server


@pytest.fixture(scope="module")
def controller(fresh: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    folder = tmp_path_factory.mktemp("process")
    (folder / "fence_apc").write_text(AGENT)
    (folder / "fence_apc").chmod(0o755)
    with running_controller(fresh, folder) as running:
        yield running


def ours(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": "ringfence.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def zone(name: str, *nodes: str) -> Json:
    return ours("HAZone", name, {"nodes": {"names": [*nodes]}})


def bmc(name: str, node: str, address: str, secret: str = "bmc") -> Json:
    redfish = {"address": address, "secretRef": {"name": secret}, "systemId": "1", "insecureSkipVerify": True}
    return ours("FenceDevice", name, {"driver": "redfish", "nodes": [node], "redfish": redfish})


def pdu(program: str, **parameters: str) -> Json:
    block = {"program": program, "parameters": {"ip": "10.0.8.9"} | parameters}
    return ours("FenceDevice", "pdu", {"driver": "agent", "nodes": ["n3"], "agent": block})


def apply(server: Server, item: Json) -> str:
    """What kubectl says, whether it is taken or not."""
    return server.kubectl("apply", "-f", "-", stdin=json.dumps(item), ok=False)


def condition(server: Server, path: str, type_: str) -> dict[str, Any]:
    found = server.must("GET", f"{API}/{path}").get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == type_), {})


def test_without_kubevirt_it_waits_and_says_so(controller: Controller) -> None:
    server = controller.server
    server.must("POST", f"{API}/haclusters", ours("HACluster", "default", {"mode": "DryRun"}))
    told = wait_for(
        "HACluster to say what is missing",
        lambda: (
            found
            if (found := condition(server, "haclusters/default", "Ready")).get("status") == "False"
            else None
        ),
        60,
    )
    assert told["reason"] == "KindNotServed"
    assert "nothing is protected yet: the cluster has no " in told["message"]
    assert "virtualmachines.kubevirt.io" in told["message"]
    assert "install KubeVirt, it is waited for" in told["message"]
    assert controller.said(told["message"]), "the log says the same"
    with urllib.request.urlopen(f"{controller.health}/readyz", timeout=5) as answer:
        assert answer.status == 200, "it can't do better: the roll-out goes on"


def test_a_mistake_is_refused_at_once_with_field_and_mend(controller: Controller) -> None:
    server = controller.server
    assert "hazone.ringfence.io/a created" in apply(server, zone("a", "n1"))
    wait_for(
        "the controller to know of it", lambda: "also in zone a" in apply(server, zone("b", "n1", "n2")), 30
    )
    said = apply(server, zone("b", "n1", "n2"))
    assert (
        'admission webhook "objects.ringfence.io" denied the request: spec.nodes: n1 also in zone a' in said
    )
    assert "take them out of one" in said
    assert not server.call("GET", f"{API}/hazones/b").ok

    assert "there is no fence_nobody in" in apply(server, pdu("fence_nobody", plug="3"))
    assert "parameter pulg: fence_apc does not know it; did you mean plug?" in apply(
        server, pdu("fence_apc", pulg="3")
    )
    assert "fence_apc needs plug" in apply(server, pdu("fence_apc"))
    assert "fencedevice.ringfence.io/pdu created" in apply(server, pdu("fence_apc", plug="3"))


def test_what_may_come_later_is_a_warning(controller: Controller) -> None:
    server = controller.server
    said = apply(server, bmc("bmc-n1", "n1", "https://10.0.8.1", secret="later"))
    assert "Warning: spec.redfish.secretRef: Secret later was not found in ringfence's namespace" in said
    assert "fencedevice.ringfence.io/bmc-n1 created" in said
    wait_for(
        "the controller to know of it",
        lambda: "the same outlet" in apply(server, bmc("twin", "n2", "https://10.0.8.1")),
        30,
    )
    assert not server.call("GET", f"{API}/fencedevices/twin").ok
    said = apply(server, zone("a", "n1", "n9"))
    assert "Warning: spec.nodes.names: no node n9" in said
    assert "hazone.ringfence.io/a configured" in said


def test_a_controller_that_hangs_costs_two_seconds(controller: Controller) -> None:
    server = controller.server
    controller.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        assert server.call("POST", f"{API}/hazones", zone("b", "n1")).ok
    finally:
        controller.process.send_signal(signal.SIGCONT)
    assert 2.0 <= time.monotonic() - began < 10.0
    server.must("DELETE", f"{API}/hazones/b")


def test_with_kubevirt_it_goes_on_and_conditions_can_be_waited_for(controller: Controller) -> None:
    server = controller.server
    install_kubevirts_kinds(server)
    server.kubectl("wait", "--for=condition=Ready", "hacluster/default", "--timeout=90s")
    pvm = ours("ProtectedVM", "nobody", {"vm": {"name": "nobody"}})
    said = apply(server, pvm)
    assert "Warning: not protected now (VMNotFound): there is no VirtualMachine nobody" in said
    server.kubectl("wait", "--for=condition=Protected=false", "protectedvm/nobody", "--timeout=60s")
    server.kubectl("wait", "--for=condition=Ready=false", "hazone/a", "--timeout=60s")
    assert condition(server, "hazones/a", "Ready")["reason"] == "NodeNotFound"
    for path in ("haclusters/default", "hazones/a", "namespaces/default/protectedvms/nobody"):
        found = server.must("GET", f"{API}/{path}")
        assert found["status"]["observedGeneration"] == found["metadata"]["generation"], path


def test_a_policy_protects_the_vms_that_it_selects_and_goes_with_them(controller: Controller) -> None:
    server, vms = controller.server, "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
    for name, tier in (("db", "data"), ("web", "front")):
        template: Json = {"spec": {"domain": {"devices": {}}}}
        vm = {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "metadata": {"name": name, "labels": {"tier": tier}},
            "spec": {"runStrategy": "Halted", "template": template},
        }
        server.must("POST", vms, vm)
    data = ours(
        "HAPolicy", "data", {"selector": {"matchLabels": {"tier": "data"}}, "template": {"priority": 7}}
    )
    assert "hapolicy.ringfence.io/data created" in apply(server, data)
    server.kubectl("wait", "--for=condition=Ready", "hapolicy/data", "--timeout=60s")
    made = server.must("GET", f"{API}/namespaces/default/protectedvms/db")
    assert made["spec"] == {"vm": {"name": "db"}, "onNodeFailure": "Restart", "priority": 7, "dependsOn": []}
    assert not server.call("GET", f"{API}/namespaces/default/protectedvms/web").ok
    assert " data" in server.kubectl("get", "protectedvms", "-o", "wide")

    both = ours("HAPolicy", "all", {"allVms": True})
    assert "Warning: spec.selector: HAPolicy data selects db too" in apply(server, both)
    server.kubectl("wait", "--for=condition=Ready=false", "hapolicy/data", "hapolicy/all", "--timeout=60s")
    assert condition(server, "namespaces/default/hapolicies/all", "Ready")["reason"] == "Overlap"
    wait_for(
        "the VM that only one selects",
        lambda: server.call("GET", f"{API}/namespaces/default/protectedvms/web").ok,
    )
    assert server.must("GET", f"{API}/namespaces/default/protectedvms/db")["spec"]["priority"] == 7

    server.must("PATCH", f"{vms}/db", {"metadata": {"labels": {"tier": "front"}}})
    server.must("DELETE", f"{vms}/web")
    wait_for(
        "db to go over to the other policy",
        lambda: server.must("GET", f"{API}/namespaces/default/protectedvms/db")["spec"]["priority"] == 100,
    )
    wait_for("web's to go", lambda: not server.call("GET", f"{API}/namespaces/default/protectedvms/web").ok)
    server.kubectl("wait", "--for=condition=Ready", "hapolicy/all", "--timeout=60s")


def test_its_rights_suffice_and_it_ends_in_order(controller: Controller) -> None:
    text = controller.log.read_text(encoding="utf-8")
    assert "forbidden" not in text.lower()
    controller.process.send_signal(signal.SIGTERM)
    assert controller.process.wait(30) == 0
    assert "CRITICAL" not in controller.log.read_text(encoding="utf-8")
    lease = controller.server.must(
        "GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ringfence-controller"
    )
    assert not lease["spec"].get("holderIdentity"), "whoever comes next leads at once"
    assert not [each for each in _finalizers(controller.server) if each], "nothing of ours has one"


def _finalizers(server: Server) -> list[list[str]]:
    return [
        item["metadata"].get("finalizers", [])
        for plural in ("haclusters", "hazones", "fencedevices", "protectedvms", "hapolicies", "failovers")
        for item in server.must("GET", f"{API}/{plural}")["items"]
    ]


def test_the_namespace_goes_first_and_nothing_hangs(fresh: Server, controller: Controller) -> None:
    """After the controllers, whose end the test before has seen: what is left can be taken away in any order."""
    assert controller.process.poll() is not None
    spec = {"node": "n1", "nodeUID": "u1", "bootID": "b1"}
    open_one = fresh.call("POST", f"{API}/failovers", ours("Failover", "n1-b1", spec))
    assert open_one.status == 403, "a Failover is the controller's alone"
    fresh.must("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
    assert apply(fresh, zone("c", "n3")).strip().endswith("created"), "the webhook's Service is out of reach"
    fresh.kubectl("delete", "-f", str(Path(__file__).parents[2] / "crds"), "--timeout=60s")
    assert not fresh.call("GET", f"{API}/hazones").ok
