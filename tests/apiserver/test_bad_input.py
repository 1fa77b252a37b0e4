"""Bad input is refused by the API server, with a sentence that names the field and the mend."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from apiserver.server import Json, Server
from ringfence.api.v1alpha1 import KINDS

pytestmark = pytest.mark.apiserver

API = "/apis/ringfence.io/v1alpha1"


def _object(kind: str, spec: Json, name: str = "bad") -> Json:
    return {"apiVersion": "ringfence.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def cluster(name: str = "default", **spec: Any) -> Json:
    return _object("HACluster", spec, name)


def zone(nodes: Json | None = None, **fencing: Any) -> Json:
    return _object("HAZone", {"nodes": {"names": ["n1"]} if nodes is None else nodes, "fencing": fencing})


def fed_by_slot(**heartbeat: Any) -> Json:
    spec = zone(watchdog={"assumeSeconds": 90, "legs": ["Gossip", "Api", "Storage"]})["spec"]
    return _object("HAZone", spec | {"storage": {"heartbeat": {"volume": "hearts"} | heartbeat}})


def networks(*given: Json) -> Json:
    return _object("HAZone", {"nodes": {"names": ["n1"]}, "networks": list(given)})


def network(name: str = "storage", *cidrs: str, **more: Any) -> Json:
    return {"name": name, "cidrs": list(cidrs) or ["10.20.0.0/16"]} | more


def device(**changes: Any) -> Json:
    spec = {"driver": "redfish", "nodes": ["n1"], "redfish": bmc()} | changes
    return _object("FenceDevice", {key: value for key, value in spec.items() if value is not None})


def bmc(**changes: Any) -> Json:
    block = {"address": "https://10.0.0.9", "secretRef": {"name": "bmc"}} | changes
    return {key: value for key, value in block.items() if value is not None}


def storage(**changes: Any) -> Json:
    secret = {"name": "csi", "namespace": "rook-ceph"}
    block = {"csiDriver": "rbd.csi.ceph.com", "storageClasses": ["rbd"], "secretRef": secret} | changes
    return {key: value for key, value in block.items() if value is not None}


def ipmi(nodes: list[str] | None = None, **changes: Any) -> Json:
    block = {"address": "10.0.0.9", "secretRef": {"name": "bmc"}} | changes
    block = {key: value for key, value in block.items() if value is not None}
    return _object("FenceDevice", {"driver": "ipmi", "nodes": nodes or ["n1"], "ipmi": block})


def agent(**changes: Any) -> Json:
    block = {"program": "fence_apc", "parameters": {"ip": "10.0.0.9"}} | changes
    block = {key: value for key, value in block.items() if value is not None}
    return _object("FenceDevice", {"driver": "agent", "nodes": ["n1"], "agent": block})


def protected(**changes: Any) -> Json:
    return _object("ProtectedVM", {"vm": {"name": "db"}} | changes)


def failover(**changes: Any) -> Json:
    return _object("Failover", {"node": "n1", "nodeUID": "u", "bootID": "b"} | changes)


def maintenance(**changes: Any) -> Json:
    return _object("NodeMaintenance", {"nodes": ["n1"], "reason": "a DIMM is swapped"} | changes)


def policy(**changes: Any) -> Json:
    return _object("HAPolicy", {"selector": {"matchLabels": {"tier": "db"}}} | changes)


REFUSED: dict[str, tuple[Json, str]] = {
    "policy that selects nothing": (
        policy(selector={}),
        "spec.selector must name at least one label; for all VMs of the namespace set spec.allVms instead",
    ),
    "policy without a selector": (_object("HAPolicy", {}), "spec.selector must name at least one label"),
    "policy of all VMs and of some": (policy(allVms=True), "spec.selector must name at least one label"),
    "policy with a selector's operator without values": (
        policy(selector={"matchExpressions": [{"key": "tier", "operator": "In"}]}),
        "values must be given for the operators In and NotIn",
    ),
    "policy's priority above 1000": (
        policy(template={"priority": 1001}),
        "spec.template.priority: Invalid value: 1001: priority must be from 0 to 1000",
    ),
    "maintenance of nobody": (
        maintenance(nodes=[]),
        "spec.nodes must name at least one node: those that are worked on",
    ),
    "maintenance of one node twice": (
        maintenance(nodes=["n1", "n1"]),
        'spec.nodes[1]: Duplicate value: "n1"',
    ),
    "cluster of another name": (
        cluster("main"),
        "metadata.name must be 'default': a cluster has one HACluster, rename this one",
    ),
    "hold below 0": (cluster(holdSeconds=-1), "spec.holdSeconds must be from 0 to 30: remove it for 2 s"),
    "hold above 30": (cluster(holdSeconds=31), "spec.holdSeconds must be from 0 to 30"),
    "hold as text": (cluster(holdSeconds="2s"), "spec.holdSeconds: Invalid value"),
    "mode unknown": (cluster(mode="On"), 'spec.mode: Unsupported value: "On": supported values: "Active"'),
    "storm of all": (cluster(stormFraction=1), "spec.stormFraction must be from 0 to 0.5"),
    "storm window too short": (cluster(stormWindowSeconds=1), "spec.stormWindowSeconds must be from 60"),
    "grace below 0": (cluster(shutdownGraceSeconds=-1), "spec.shutdownGraceSeconds must be from 0"),
    "generation below 0": (
        cluster(gossip={"keyGeneration": -1}),
        "spec.gossip.keyGeneration must be from 0 to 1000000: `ringfence keys rotate` raises it",
    ),
    "rotation without one node twice": (
        cluster(gossip={"rotateWithout": ["n1", "n1"]}),
        'spec.gossip.rotateWithout[1]: Duplicate value: "n1"',
    ),
    "zone without nodes": (
        zone({}),
        "spec.nodes must name or select the zone's nodes: fill spec.nodes.names or spec.nodes.selector",
    ),
    "zone with empty nodes": (zone({"names": []}), "fill spec.nodes.names or spec.nodes.selector"),
    "zone with empty selector": (zone({"selector": {}}), "fill spec.nodes.names or spec.nodes.selector"),
    "zone without spec.nodes": (_object("HAZone", {}), "fill spec.nodes.names or spec.nodes.selector"),
    "zone's node twice": (zone({"names": ["n1", "n1"]}), 'spec.nodes.names[1]: Duplicate value: "n1"'),
    "selector operator without values": (
        zone({"selector": {"matchExpressions": [{"key": "rack", "operator": "In"}]}}),
        "values must be given for the operators In and NotIn",
    ),
    "level without devices": (
        zone(levels=[{"devices": []}]),
        "devices must name at least one FenceDevice: name one, or remove the level",
    ),
    "level's device twice": (
        zone(levels=[{"devices": ["a", "a"]}]),
        'spec.fencing.levels[0].devices[1]: Duplicate value: "a"',
    ),
    "device on two levels": (
        zone(levels=[{"devices": ["a"]}, {"devices": ["b", "a"]}]),
        "a FenceDevice may stand on one level only: remove it from the others",
    ),
    "last level hedged": (
        zone(levels=[{"devices": ["a"], "hedgeAfterSeconds": 5}, {"devices": ["b"], "hedgeAfterSeconds": 5}]),
        "hedgeAfterSeconds of the last level begins nothing: remove it, or add a level after that one",
    ),
    "only level hedged": (
        zone(levels=[{"devices": ["a"], "hedgeAfterSeconds": 5}]),
        "begins nothing: remove it",
    ),
    "hedge below 0": (
        zone(levels=[{"devices": ["a"], "hedgeAfterSeconds": -1}, {"devices": ["b"]}]),
        "hedgeAfterSeconds must be from 0 to 600: remove it to wait until the level has failed",
    ),
    "delay above 60": (
        zone(delaySeconds=61),
        "spec.fencing.delaySeconds must be from 0 to 60: remove it for none",
    ),
    "random delay below 0": (
        zone(delayRandomSeconds=-1),
        "spec.fencing.delayRandomSeconds must be from 0 to 60",
    ),
    "no order at once": (
        device(maxConcurrentOrders=0),
        "spec.maxConcurrentOrders must be from 1 to 64: remove it if the device takes any number",
    ),
    "orders to a watchdog": (
        device(driver="watchdog", redfish=None, maxConcurrentOrders=1),
        "spec.maxConcurrentOrders belongs to the drivers redfish, ipmi and agent: remove it",
    ),
    "device name empty": (zone(levels=[{"devices": [""]}]), "spec.fencing.levels[0].devices[0]"),
    "allowed addresses that are none": (
        zone(allowedAddresses=["10.0.8.0/24", "10.0.8.1"]),
        "spec.fencing.allowedAddresses must be networks such as 10.0.8.0/24",
    ),
    "proofs too soon too old": (
        zone(proofMaxAgeSeconds=60),
        "spec.fencing.proofMaxAgeSeconds must be from 180 to 604800 (a week): remove it for an hour",
    ),
    "drills all the time": (
        zone(drillMaxAgeDays=0),
        "spec.fencing.drillMaxAgeDays must be from 1 to 3650: remove it if no drills are wanted",
    ),
    "three proofs": (zone(proofs=3), "spec.fencing.proofs: Unsupported value: 3: supported values"),
    "self-fence as slow as the assumption": (
        zone(watchdog={"isolationSeconds": 10, "timeoutSeconds": 60, "assumeSeconds": 75}),
        "assumeSeconds must be greater than (isolationSeconds + timeoutSeconds) * 1.001 + 5",
    ),
    "self-fence within the clocks' drift": (
        zone(watchdog={"isolationSeconds": 10, "timeoutSeconds": 60, "assumeSeconds": 75.07}),
        "raise assumeSeconds or lower the other two",
    ),
    "self-fence by defaults, assumed too soon": (
        zone(watchdog={"assumeSeconds": 60}),
        "raise assumeSeconds or lower the other two",
    ),
    "watchdog without assumed time": (zone(watchdog={}), "assumeSeconds must be given: say how long"),
    "watchdog of 0 s": (
        zone(watchdog={"timeoutSeconds": 0, "assumeSeconds": 90}),
        "timeoutSeconds must be from 5 to 600",
    ),
    "watchdogs that the ring does not feed": (
        zone(watchdog={"assumeSeconds": 90, "legs": ["Api"]}),
        "legs must name Gossip: without it an outage of the API server would reset every node",
    ),
    "watchdogs fed by nobody knows what": (
        zone(watchdog={"assumeSeconds": 90, "legs": ["Gossip", "Pigeon"]}),
        'spec.fencing.watchdog.legs[1]: Unsupported value: "Pigeon": supported values',
    ),
    "watchdogs fed by slots that are nowhere": (
        zone(watchdog={"assumeSeconds": 90, "legs": ["Gossip", "Storage"]}),
        "fencing.watchdog.legs names Storage, so spec.storage.heartbeat must be given",
    ),
    "watchdogs fed by slots too seldom": (
        fed_by_slot(intervalSeconds=4),
        "fencing.watchdog.isolationSeconds must be three times spec.storage.heartbeat.intervalSeconds at least",
    ),
    "hanging nodes fenced without slots": (
        _object("HAZone", {"nodes": {"names": ["n1"]}, "onHung": "Fence"}),
        "spec.onHung is Fence, so spec.storage.heartbeat must be given",
    ),
    "hanging nodes fenced though their storage has no heartbeat": (
        _object("HAZone", {"nodes": {"names": ["n1"]}, "onHung": "Fence", "storage": {}}),
        "spec.onHung is Fence, so spec.storage.heartbeat must be given",
    ),
    "hanging nodes shot": (
        _object("HAZone", {"nodes": {"names": ["n1"]}, "onHung": "Shoot"}),
        'spec.onHung: Unsupported value: "Shoot": supported values',
    ),
    "heartbeat without a volume": (
        _object("HAZone", {"nodes": {"names": ["n1"]}, "storage": {"heartbeat": {}}}),
        "heartbeat.volume must be given: say the claim or the path that the chart's slots.volume names",
    ),
    "heartbeat too rare": (
        _object(
            "HAZone",
            {"nodes": {"names": ["n1"]}, "storage": {"heartbeat": {"volume": "a", "intervalSeconds": 90}}},
        ),
        "heartbeat.intervalSeconds must be from 0.5 to 60: remove it for 1 s",
    ),
    "two networks of one name": (
        networks(network(), network("migration"), network("storage", "10.30.0.0/16")),
        "spec.networks: Invalid value: each of spec.networks must have a name of its own",
    ),
    "five networks": (
        networks(*(network(f"net{number}") for number in range(5))),
        "spec.networks: Too many: 5: must have at most 4 items",
    ),
    "network called management": (
        networks(network("management")),
        "name must not be 'management': that is the InternalIPs' network",
    ),
    "network with a name of capitals": (
        networks(network("Storage")),
        "name must be of small letters, digits and dashes",
    ),
    "network without range": (
        networks(network() | {"cidrs": []}),
        "cidrs must have at least one range: say where the nodes' addresses",
    ),
    "network with an address instead of a range": (
        networks(network("storage", "10.20.0.1")),
        "each of cidrs must be an address range such as 10.20.0.0/16",
    ),
    "network with a range that is none": (
        networks(network("storage", "10.20.0.0/16", "10.20.0.0/33")),
        "spec.networks[0].cidrs[1]",
    ),
    "network of an unknown role": (
        networks(network(role="Backup")),
        'supported values: "Storage", "Guest", "Migration", "Other"',
    ),
    "redfish without its block": (
        device(redfish=None),
        "spec.redfish must be given for the driver redfish: say at least its address and secretRef",
    ),
    "redfish without address": (
        device(redfish=bmc(address=None)),
        "spec.redfish.address must be given: say the BMC's URL, such as https://10.0.0.9",
    ),
    "redfish in the clear": (
        device(redfish=bmc(address="http://10.0.0.9")),
        "spec.redfish.address must be an https:// URL",
    ),
    "redfish with half an IPv6 address": (
        device(redfish=bmc(address="https://[fe80::1")),
        "spec.redfish.address must be an https:// URL",
    ),
    "redfish with a password in its address": (
        device(redfish=bmc(address="https://root:calvin@10.0.0.9")),
        "without user, query or fragment",
    ),
    "redfish without Secret": (
        device(redfish=bmc(secretRef=None)),
        "spec.redfish.secretRef must be given: name a Secret",
    ),
    "redfish with and without checking": (
        device(redfish=bmc(caBundle="pem", insecureSkipVerify=True)),
        "keep caBundle and remove insecureSkipVerify",
    ),
    "redfish for ever": (
        device(redfish=bmc(timeoutSeconds=600)),
        "spec.redfish.timeoutSeconds must be from 1 to 60: remove it for 5 s",
    ),
    "storage without its block": (
        device(driver="storage", redfish=None),
        "spec.storage must be given for the driver storage: say its csiDriver and storageClasses",
    ),
    "redfish with a storage": (device(storage=storage()), "spec.storage belongs to the driver storage"),
    "storage without a driver": (
        device(driver="storage", redfish=None, storage=storage(csiDriver=None)),
        "spec.storage.csiDriver must be given: say the CSI driver's name",
    ),
    "storage without classes": (
        device(driver="storage", redfish=None, storage=storage(storageClasses=[])),
        "spec.storage.storageClasses must name at least one StorageClass",
    ),
    "storage with class and Secret": (
        device(driver="storage", redfish=None, storage=storage(networkFenceClassName="ceph")),
        "spec.storage needs one of networkFenceClassName and secretRef",
    ),
    "storage with neither": (
        device(driver="storage", redfish=None, storage=storage(secretRef=None)),
        "spec.storage needs one of networkFenceClassName and secretRef",
    ),
    "storage with no address range": (
        device(
            driver="storage", redfish=None, storage=storage(addresses=[{"node": "n1", "cidrs": ["10.1.0"]}])
        ),
        "each of cidrs must be an address range such as 10.1.0.7/32",
    ),
    "storage with another node's addresses": (
        device(
            driver="storage",
            redfish=None,
            storage=storage(addresses=[{"node": "n9", "cidrs": ["10.1.0.7/32"]}]),
        ),
        "spec.storage.addresses names a node that spec.nodes has not",
    ),
    "manual with a BMC": (
        device(driver="manual"),
        "spec.redfish belongs to the driver redfish only: remove it",
    ),
    "driver unknown": (device(driver="apc"), 'spec.driver: Unsupported value: "apc": supported values'),
    "ipmi without its block": (
        device(driver="ipmi", redfish=None),
        "spec.ipmi must be given for the driver ipmi: say at least its address and secretRef",
    ),
    "ipmi without address": (
        ipmi(address=None),
        "spec.ipmi.address must be given: say the BMC's host or host:port, such as 10.0.0.9",
    ),
    "ipmi by URL": (ipmi(address="https://10.0.0.9"), "spec.ipmi.address must be host or host:port"),
    "ipmi with an option for an address": (
        ipmi(address="-oops"),
        "spec.ipmi.address must be host or host:port",
    ),
    "ipmi without Secret": (ipmi(secretRef=None), "spec.ipmi.secretRef must be given: name a Secret"),
    "ipmi in the clear": (ipmi(cipherSuite=0), "spec.ipmi.cipherSuite: Unsupported value: 0"),
    "ipmi as a mere user": (ipmi(privilegeLevel="User"), 'supported values: "Operator", "Administrator"'),
    "ipmi for ever": (
        ipmi(timeoutSeconds=600),
        "spec.ipmi.timeoutSeconds must be from 2 to 60: remove it for 5 s",
    ),
    "ipmi for two machines": (ipmi(nodes=["n1", "n2"]), "an IPMI BMC cuts one machine"),
    "agent without its block": (
        device(driver="agent", redfish=None),
        "spec.agent must be given for the driver agent: say at least its program",
    ),
    "agent without program": (agent(program=None), "spec.agent.program must be given: name a fence agent"),
    "agent by path": (
        agent(program="/usr/sbin/fence_apc"),
        "spec.agent.program must be a name like fence_apc, without a path",
    ),
    "agent told what to do": (
        agent(parameters={"action": "on"}),
        "spec.agent.parameters must not have action: ringfence says what is to be done",
    ),
    "agent with a password in the clear": (
        agent(parameters={"password": "x"}),
        "put it into a Secret and name that in secretParameters",
    ),
    "agent's parameter twice": (
        agent(parameters={"token": "x"}, secretParameters={"token": {"name": "s", "key": "k"}}),
        "a parameter stands in spec.agent.parameters and in secretParameters: remove it",
    ),
    "agent with a parameter of a node that it does not cut": (
        agent(nodeParameters={"n2": {"plug": "2"}}),
        "spec.agent.nodeParameters names a node that spec.nodes has not",
    ),
    "agent for ever": (agent(timeoutSeconds=600), "spec.agent.timeoutSeconds must be from 1 to 120"),
    "device without nodes": (
        device(nodes=[]),
        "spec.nodes must name at least one node that this device cuts",
    ),
    "device without spec.nodes": (device(nodes=None), "spec.nodes must name at least one node"),
    "device's node twice": (device(nodes=["n1", "n1"]), 'spec.nodes[1]: Duplicate value: "n1"'),
    "priority below 0": (
        protected(priority=-1),
        "spec.priority: Invalid value: -1: priority must be from 0 to 1000: remove it for 100",
    ),
    "priority above 1000": (
        protected(priority=1001),
        "spec.priority: Invalid value: 1001: priority must be from 0 to 1000",
    ),
    "depends on itself": (
        protected(dependsOn=[{"name": "db"}, {"name": "vm"}], vm={"name": "vm"}),
        "spec.dependsOn must not name the VM itself: remove it there",
    ),
    "protected without VM": (_object("ProtectedVM", {}), "spec.vm: Required value"),
    "protected with an empty VM name": (protected(vm={"name": ""}), "spec.vm.name"),
    "on failure unknown": (protected(onNodeFailure="Pray"), 'supported values: "Restart", "Ignore"'),
    "confirmed without a word": (
        failover(confirm={"confirmedBy": "admin"}),
        "spec.confirm.statement must be given: say how you know that the node is off",
    ),
    "confirmed with blanks": (
        failover(confirm={"confirmedBy": "admin", "statement": "  "}),
        "spec.confirm.statement must be given",
    ),
    "confirmed by nobody": (
        failover(confirm={"statement": "unplugged"}),
        "spec.confirm.confirmedBy must be given: say your own user name",
    ),
    "released without reason": (failover(release={"by": "admin"}), "spec.release.reason must be given"),
    "failover without boot": (
        _object("Failover", {"node": "n1", "nodeUID": "u"}),
        "spec.bootID: Required value",
    ),
}


def _path(obj: Json) -> str:
    (names,) = (kind.names for kind in KINDS if kind.names.kind == obj["kind"])
    return f"{API}{'/namespaces/default' if names.namespaced else ''}/{names.plural}"


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_with_the_mend(server: Server, case: str) -> None:
    obj, sentence = REFUSED[case]
    answer = server.call("POST", _path(obj) + "?dryRun=All", obj)
    assert answer.status == 422, answer
    assert sentence in answer.message


@pytest.mark.parametrize(
    "obj",
    [
        policy(),
        policy(selector=None, allVms=True),
        cluster(),
        cluster(holdSeconds=0),
        cluster(holdSeconds=30),
        zone(),
        zone({"selector": {"matchLabels": {"rack": "a"}}}),
        zone({"selector": {"matchExpressions": [{"key": "rack", "operator": "Exists"}]}}),
        zone(watchdog={"assumeSeconds": 75.08}),
        fed_by_slot(),
        fed_by_slot(intervalSeconds=3),
        zone(levels=[{"devices": ["a"], "hedgeAfterSeconds": 0}, {"devices": ["b"]}]),
        zone(delaySeconds=5, delayRandomSeconds=2.5),
        device(maxConcurrentOrders=2),
        zone(allowedAddresses=["10.0.8.0/24", "fd00::/64"]),
        zone(proofMaxAgeSeconds=600, drillMaxAgeDays=90),
        networks(network("storage", "10.20.0.0/16", "fd00:20::/64", role="Storage"), network("migration")),
        networks(network("a" * 20, "10.20.1.7/16")),
        device(),
        device(redfish=bmc(address="https://bmc.example:8443/base", systemId="437XR1138R2")),
        device(redfish=bmc(address="https://[fd00::9]")),
        device(driver="manual", redfish=None),
        ipmi(address="bmc-1.example:6230", cipherSuite=3, privilegeLevel="Administrator", timeoutSeconds=2),
        ipmi(address="[fd00::9]:623"),
        agent(nodeParameters={"n1": {"plug": "3"}}, secretParameters={"password": {"name": "s", "key": "k"}}),
        agent(program="fence_ipmilan", timeoutSeconds=120),
        device(driver="storage", redfish=None, storage=storage()),
        device(
            driver="storage",
            redfish=None,
            storage=storage(
                secretRef=None,
                networkFenceClassName="ceph",
                addresses=[{"node": "n1", "cidrs": ["10.1.0.7/32"]}],
            ),
        ),
        protected(priority=0),
        maintenance(reason=""),
        failover(confirm={"statement": "unplugged", "confirmedBy": "admin"}),
    ],
)
def test_the_edge_is_accepted(server: Server, obj: Json) -> None:
    server.must("POST", _path(obj) + "?dryRun=All", obj)


def test_empty_cluster_is_filled_with_defaults(server: Server) -> None:
    made = server.must("POST", f"{API}/haclusters?dryRun=All", {**cluster(), "spec": None})
    assert made["spec"] == {
        "mode": "Active",
        "holdSeconds": 2,
        "shutdownGraceSeconds": 180,
        "stormWindowSeconds": 600,
        "stormFraction": 0.4,
        "gossip": {"keyGeneration": 0},
    }


@pytest.mark.parametrize("field", ["node", "nodeUID", "bootID"])
def test_a_failover_stays_about_its_boot(server: Server, field: str) -> None:
    name = f"immutable-{field.lower()}"
    server.must("POST", f"{API}/failovers", {**failover(), "metadata": {"name": name}})
    answer = server.call("PATCH", f"{API}/failovers/{name}", {"spec": {field: "other"}})
    assert f"spec.{field} can't be changed: a Failover is about one boot" in answer.message
    server.must("DELETE", f"{API}/failovers/{name}")


def test_a_confirmation_is_given_anew_only_while_it_is_waited_for(server: Server) -> None:
    path = f"{API}/failovers/confirmed"
    server.must("POST", f"{API}/failovers", {**failover(), "metadata": {"name": "confirmed"}})
    word = {"statement": "unplugged", "confirmedBy": "admin"}
    server.must("PATCH", path, {"spec": {"confirm": word}})
    server.must("PATCH", path, {"spec": {"confirm": word}})
    server.must("PATCH", path, {"spec": {"release": {"by": "admin", "reason": "known power work"}}})
    for change in ({**word, "statement": "not sure"}, None):
        answer = server.call("PATCH", path, {"spec": {"confirm": copy.deepcopy(change)}})
        assert "spec.confirm can be given anew only while the failover waits" in answer.message
    server.must("PATCH", f"{path}/status", {"status": {"phase": "AwaitingConfirmation"}})
    server.must("PATCH", path, {"spec": {"confirm": {**word, "statement": "looked again"}}})
    answer = server.call("PATCH", path, {"spec": {"confirm": None}})
    assert "and is never taken back" in answer.message
    server.must("DELETE", path)


def test_a_misspelt_field_is_refused_by_kubectl(server: Server) -> None:
    said = server.kubectl(
        "create", "--dry-run=server", "-f", "-", stdin=json.dumps(cluster(holdSecond=1)), ok=False
    )
    assert 'unknown field "spec.holdSecond"' in said


def test_all_mistakes_of_an_object_are_told_once_each(server: Server) -> None:
    bad = device(nodes=[], redfish=bmc(address="http://10.0.0.9", secretRef=None, timeoutSeconds=0))
    causes = server.call("POST", _path(bad), bad).body["details"]["causes"]
    assert sorted(cause["field"] for cause in causes) == [
        "spec.nodes",
        "spec.redfish.address",
        "spec.redfish.secretRef",
        "spec.redfish.timeoutSeconds",
    ]
