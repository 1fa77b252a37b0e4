"""The doctor: a cluster that is well, and one thing at a time that isn't."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ringfence.cli.doctor import ONLY_ON_REQUEST, PARTS, Level
from ringfence.cli.doctor.tolerations import tolerates
from ringfence.cli.document import Document

from .cluster import BEGUN, MEMBER, FakeReader, Object, condition, named, node
from .conftest import Run

JUST_NOW = "2030-01-01T12:00:41.5Z"
LATEST = "2030-01-01T12:00:41Z"
NODES = ("n1", "n2", "n3")
OWN = "ringfence-system"
CSI = "csi.example"


def pod(name: str, namespace: str, where: str, **labels: str) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels, "generateName": f"{name[:-1]}"}
    return {
        "metadata": metadata,
        "spec": {"nodeName": where, "containers": [{"name": "main", "image": "main"}]},
        "status": {"conditions": [condition("Ready", "True", "Ready")]},
    }


def controller(name: str, where: str) -> Object:
    return pod(
        name, OWN, where,
        **{"app.kubernetes.io/name": "ringfence", "app.kubernetes.io/component": "controller"},
    )  # fmt: skip


def lease(name: str, renewed: str = JUST_NOW, holder: str = "") -> Object:
    return {
        "metadata": {"name": name, "managedFields": [{"time": LATEST}]},
        "spec": {"renewTime": renewed, "holderIdentity": holder or name},
    }


def member(name: str) -> Object:
    others = {other: "alive" for other in NODES if other != name}
    return {"name": name, "verdict": "Healthy", "states": others, "healthy": True, "lossPercent": 0.0}


def well() -> FakeReader:
    """Three nodes, a zone, BMCs that were just proved, one VM, two controllers on two nodes; KubeVirt likewise."""
    devices = [
        named(
            f"bmc-{name}",
            spec={"driver": "redfish", "nodes": [name]},
            status={
                "powerState": [{"node": name, "power": "on", "provedAt": BEGUN}],
                "drills": [{"node": name, "passedAt": BEGUN}],
                "conditions": [condition("Ready", "True", "Proved")],
            },
        )
        for name in NODES
    ]
    reports = [
        named(
            name,
            status={
                "bootID": f"boot-of-{name}",
                "agentVersion": "0.1.0",
                "permitted": {"mlock": True, "priority": True, "icmpDatagram": True},
            },
        )
        for name in NODES
    ]
    vm = named(
        "db",
        "shop",
        spec={
            "template": {
                "spec": {
                    "evictionStrategy": "LiveMigrate",
                    "volumes": [{"persistentVolumeClaim": {"claimName": "db-0"}}],
                }
            }
        },
    )
    attacher = pod("csi-controller-a", "storage", "n1")
    attacher["spec"] = {
        "nodeName": "n1",
        "containers": [{"name": "csi-attacher", "image": "csi-attacher:v4"}],
    }
    attacher_b = json.loads(json.dumps(attacher)) | {}
    attacher_b["metadata"]["name"], attacher_b["spec"]["nodeName"] = "csi-controller-b", "n2"
    kubevirt = [pod(f"{what}-{where}", "kubevirt", where, **{"kubevirt.io": what})
                for what in ("virt-api", "virt-controller") for where in ("n1", "n2")]  # fmt: skip
    own = [controller("c1", "n1"), controller("c2", "n2")]
    return FakeReader(
        objects={
            "haclusters": [named("default", spec={"mode": "Active"})],
            "hazones": [
                named(
                    "a",
                    spec={"enabled": True},
                    status={"nodes": list(NODES), "conditions": [condition("Ready", "True", "Ready")]},
                )
            ],
            "fencedevices": devices,
            "nodereports": reports,
            "protectedvms": [
                named(
                    "db",
                    "shop",
                    spec={"vm": {"name": "db"}},
                    status={"conditions": [condition("Protected", "True", "Ready")]},
                )
            ],
            "nodemaintenances": [],
            "hapolicies": [],
            "failovers": [],
        },
        nodes=[node(name) for name in NODES],
        rings={OWN: {"reporters": list(NODES), "members": [member(name) for name in NODES]}},
        leases={
            (OWN, "ringfence-controller"): lease("ringfence-controller", holder="c1"),
            **{("kube-node-lease", name): lease(name) for name in NODES},
        },
        vms={("shop", "db"): vm},
        served={
            f"/api/v1/namespaces/{OWN}/pods": {"items": own},
            "/api/v1/namespaces/kubevirt/pods": {"items": kubevirt},
            "/api/v1/pods": {"items": [*own, *kubevirt, attacher, attacher_b]},
            "/api/v1/persistentvolumeclaims": {
                "items": [named("db-0", "shop", spec={"storageClassName": "fast"})]
            },
            "/apis/kubevirt.io/v1/kubevirts": {
                "items": [
                    named(
                        "kubevirt",
                        "kubevirt",
                        status={"phase": "Deployed", "observedKubeVirtVersion": "v1.7.0"},
                    )
                ]
            },
            "/apis/storage.k8s.io/v1/storageclasses": {
                "items": [
                    {
                        "metadata": {
                            "name": "fast",
                            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                        },
                        "provisioner": CSI,
                    }
                ]
            },
            "/apis/storage.k8s.io/v1/csidrivers": {"items": [named(CSI, spec={"attachRequired": True})]},
        },
    )


def findings(run: Run, reader: FakeReader, *more: str) -> list[dict[str, str]]:
    told: list[dict[str, str]] = json.loads(run(reader, "doctor", "-o", "json", *more).stdout)
    return told


def test_a_cluster_that_is_well_has_nothing_but_ok(run: Run) -> None:
    assert {one["level"] for one in findings(run, well())} == {"ok"}
    shown = run(well(), "doctor")
    assert shown.exit_code == 0
    assert shown.stdout.startswith("20 findings: 20 ok")
    assert "n3" in run(well(), "doctor", "-o", "wide").stdout
    assert {one["part"] for one in findings(run, well())} == PARTS.keys() - ONLY_ON_REQUEST


def part_of(reader: FakeReader, path: str) -> list[Any]:
    items = reader.served[path]["items"]
    assert isinstance(items, list)
    return items


def at(value: Any, *path: Any) -> Any:
    for key in path:
        value = value[key]
    return value


def set_at(value: Any, *path: Any, to: object) -> None:
    at(value, *path[:-1])[path[-1]] = to


OWN_PODS, ALL_PODS = f"/api/v1/namespaces/{OWN}/pods", "/api/v1/pods"
VM = ("spec", "template", "spec")
TROUBLES: list[tuple[str, Callable[[FakeReader], object], Level, str, str]] = [
    ("a kind is not served", lambda r: r.objects.pop("fencedevices"), Level.BROKEN, "kinds", "apply -f crds/"),
    ("nothing declared", lambda r: r.objects.update(haclusters=[]), Level.NOTE, "HACluster", "until you declare it"),
    ("disarmed", lambda r: set_at(r.objects["haclusters"], 0, "spec", "mode", to="Disarmed"), Level.WARNING, "HACluster",
     "mode is Disarmed"),
    ("nobody leads", lambda r: r.leases.pop((OWN, "ringfence-controller")), Level.BROKEN, "leader", "nobody leads"),
    ("a leader that stopped", lambda r: set_at(r.leases, (OWN, "ringfence-controller"), "spec", "renewTime", to=BEGUN),
     Level.BROKEN, "leader", "c1 has not renewed its Lease for 42 s"),
    ("no controller", lambda r: r.served.update({OWN_PODS: {"items": []}}), Level.BROKEN, "controllers", "none of 0 is ready"),
    ("one controller", lambda r: part_of(r, OWN_PODS).pop(), Level.WARNING, "controllers", "only c1 is ready"),
    ("controllers together", lambda r: set_at(part_of(r, OWN_PODS), 1, "spec", "nodeName", to="n1"), Level.WARNING,
     "controllers", "all 2 run on n1"),
    ("an agent is missing", lambda r: r.objects["nodereports"].pop(), Level.BROKEN, "n3", "has never reported"),
    ("an agent of an earlier boot", lambda r: set_at(r.objects["nodereports"], 1, "status", "bootID", to="old"), Level.BROKEN,
     "n2", "not reported since its last boot"),
    ("two releases", lambda r: set_at(r.objects["nodereports"], 1, "status", "agentVersion", to="0.2.0"), Level.WARNING,
     "releases", "0.1.0 on n1, n3; 0.2.0 on n2"),
    ("a clock ahead", lambda r: set_at(r.leases, ("kube-node-lease", "n2"), "spec", "renewTime", to="2030-01-01T12:01:12Z"),
     Level.WARNING, "n2", "its clock is 30 s ahead of the API server's"),
    ("a clock behind", lambda r: set_at(r.leases, ("kube-node-lease", "n2"), "spec", "renewTime", to="2030-01-01T12:00:36Z"),
     Level.WARNING, "n2", "its clock is 5 s behind the API server's"),
    ("nobody tells of the ring", lambda r: r.rings.clear(), Level.BROKEN, "ring", "nobody can tell whether agents reach"),
    ("a controller that hears nobody", lambda r: set_at(r.rings, OWN, "reporters", to=[]), Level.BROKEN, "ring",
     "open TCP 7947"),
    ("a controller that hears one", lambda r: set_at(r.rings, OWN, "reporters", to=["n1"]), Level.WARNING, "ring",
     "hears only n1"),
    ("a port is shut", lambda r: set_at(r.rings, OWN, "members", 1, "states", to={"n1": "alive", "n3": "agent-down"}),
     Level.BROKEN, "n2", "n3 get no proper answer from it"),
    ("a lossy path", lambda r: set_at(r.rings, OWN, "members", 1, "lossPercent", to=12.5), Level.WARNING, "n2",
     "12.5 % of probes"),
    ("an agent that is cut off", lambda r: set_at(r.rings, OWN, "members", 1, "awareness", to={"isolated": True}),
     Level.BROKEN, "n2", "holds itself for cut off"),
    ("an agent that abstains", lambda r: set_at(r.rings, OWN, "members", 1, "healthy", to=False), Level.WARNING, "n2",
     "abstains"),
    ("a network of its own is dead", lambda r: set_at(r.rings, OWN, "members", 1, "networks", to=MEMBER["networks"]),
     Level.WARNING, "n2", "storage: dead"),
    ("no ICMP", lambda r: set_at(r.objects["nodereports"], 0, "status", "permitted", "icmpDatagram", to=False), Level.NOTE,
     "agents", "n1: can't ask"),
    ("no zone", lambda r: r.objects.update(hazones=[]), Level.NOTE, "HAZone", "there is none"),
    ("a zone that is not ready", lambda r: set_at(r.objects["hazones"], 0, "status", "conditions",
     to=[condition("Ready", "False", "NodeInTwoZones", "n1 also in zone b")]), Level.BROKEN, "zone a", "n1 also in zone b"),
    ("no device", lambda r: r.objects.update(fencedevices=[]), Level.NOTE, "FenceDevice", "a person must confirm"),
    ("a BMC that can't be reached", lambda r: set_at(r.objects["fencedevices"], 0, "status", "conditions",
     to=[condition("Ready", "False", "Unreachable", "no answer from 10.0.8.1")]), Level.BROKEN, "bmc-n1 for n1",
     "Unreachable: no answer from 10.0.8.1"),
    ("a proof that is old", lambda r: set_at(r.objects["fencedevices"], 0, "status", "powerState", 0, "provedAt",
     to="2030-01-01T11:00:00Z"), Level.BROKEN, "bmc-n1 for n1", "61 min ago"),
    ("a watchdog that is counted on and not there", lambda r: r.objects["fencedevices"].append(
     named("dogs", spec={"driver": "watchdog", "nodes": ["n3"]}, status={"conditions": [condition("Ready", "True", "Armed")]})),
     Level.BROKEN, "n3", "no watchdog is reported"),
    ("a VM that is not protected", lambda r: set_at(r.objects["protectedvms"], 0, "status", "conditions",
     to=[condition("Protected", "False", "VolumeNotShared", "claim db-0")]), Level.BROKEN, "VM shop/db", "VolumeNotShared"),
    ("a VM in a dry run", lambda r: set_at(r.objects["protectedvms"], 0, "status", "conditions",
     to=[condition("Protected", "False", "ClusterDryRun", "HACluster mode is DryRun")]), Level.WARNING, "VM shop/db", "DryRun"),
    ("no KubeVirt", lambda r: r.vms.clear(), Level.BROKEN, "KubeVirt", "is not installed"),
    ("another KubeVirt", lambda r: set_at(part_of(r, "/apis/kubevirt.io/v1/kubevirts"), 0, "status",
     "observedKubeVirtVersion", to="v1.70.1"), Level.NOTE, "KubeVirt", "is tried with 1.7"),
    ("a KubeVirt that is not ready", lambda r: set_at(part_of(r, "/apis/kubevirt.io/v1/kubevirts"), 0, "status", "phase",
     to="Deploying"), Level.BROKEN, "KubeVirt", "is Deploying"),
    ("a VM that a drain stops", lambda r: at(r.vms, ("shop", "db"), *VM).pop("evictionStrategy"),
     Level.NOTE, "VM shop/db", "the cluster's own, None"),
    ("virt-controllers together", lambda r: set_at(part_of(r, "/api/v1/namespaces/kubevirt/pods"), 3, "spec", "nodeName",
     to="n1"), Level.WARNING, "virt-controller", "runs on n1 only"),
    ("a class of the nodes' own", lambda r: set_at(part_of(r, "/apis/storage.k8s.io/v1/storageclasses"), 0, "provisioner",
     to="rancher.io/local-path"), Level.WARNING, "class fast", "protected VMs use it: shop/db-0"),
    ("no default class", lambda r: at(part_of(r, "/apis/storage.k8s.io/v1/storageclasses"), 0, "metadata").pop("annotations")
    , Level.NOTE, "default class", "there is none"),
    ("one attacher", lambda r: part_of(r, ALL_PODS).pop(), Level.WARNING, "storage/csi-controller",
     "runs on n1 only"),
    ("a VM that tolerates all", lambda r: set_at(r.vms, ("shop", "db"), *VM, "tolerations", to=[{"operator": "Exists"}]),
     Level.BROKEN, "VM shop/db", "tolerates node.kubernetes.io/out-of-service"),
    ("a VM that tolerates NoSchedule", lambda r: set_at(r.vms, ("shop", "db"), *VM, "tolerations",
     to=[{"operator": "Exists", "effect": "NoSchedule"}]), Level.WARNING, "VM shop/db", "in doubt"),
    ("an attacher that stays for ever", lambda r: set_at(part_of(r, ALL_PODS), -1, "spec", "tolerations",
     to=[{"operator": "Exists"}]), Level.WARNING, "storage/csi-controller-b", "for ever"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "level", "about", "words"), [trouble[1:] for trouble in TROUBLES], ids=[t[0] for t in TROUBLES]
)
def test_one_thing_that_is_not_well(
    run: Run, spoil: Callable[[FakeReader], object], level: Level, about: str, words: str
) -> None:
    reader = well()
    spoil(reader)
    shown = run(reader, "doctor", "-o", "json")
    found = [one for one in json.loads(shown.stdout) if one["level"] != "ok" and one["about"] == about]
    assert [one["level"] for one in found if words in one["sentence"]] == [level]
    worst = any(one["level"] == "broken" for one in json.loads(shown.stdout))
    assert shown.exit_code == (7 if worst else 0)
    assert not reader.confirmed
    assert not reader.drills


def test_what_may_not_be_read_is_told_and_is_not_health(run: Run) -> None:
    reader = well()
    reader.forbidden = frozenset({"pods", "kubevirts", "leases"})
    told = findings(run, reader)
    unknown = [one for one in told if one["level"] == "unknown"]
    assert {one["part"] for one in unknown} == {"installation", "nodes", "kubevirt", "storage", "tolerations"}
    assert all("not looked at" in one["sentence"] for one in unknown)
    assert run(reader, "doctor").exit_code == 0, "it has found nothing broken"


def test_an_installation_without_anything_declared_passes_helms_test(run: Run) -> None:
    reader = well()
    reader.objects |= {"haclusters": [], "hazones": [], "fencedevices": [], "protectedvms": []}
    shown = run(reader, "doctor", "--only", "installation", "--only", "kubevirt")
    assert shown.exit_code == 0
    assert "until you declare it" in shown.stdout


class Starting(FakeReader):
    """Its last agent reports at the second look."""

    late: Object

    def again(self) -> bool:
        self.objects["nodereports"].append(self.late)
        return True


@pytest.mark.parametrize(("words", "code"), [((), 7), (("--wait", "60"), 0)])
def test_what_has_just_been_installed_may_be_waited_for(run: Run, words: tuple[str, ...], code: int) -> None:
    reader = well()
    reader.__class__ = Starting
    assert isinstance(reader, Starting)
    reader.late = reader.objects["nodereports"].pop()
    assert run(reader, "doctor", "--only", "installation", *words).exit_code == code


def test_an_empty_cluster_names_what_is_missing(run: Run) -> None:
    shown = run(FakeReader(), "doctor")
    assert shown.exit_code == 7
    assert "apply -f crds/" in shown.stdout
    assert "is not installed" in shown.stdout


def test_unknown_parts_are_a_usage_error(run: Run) -> None:
    shown = run(well(), "doctor", "--only", "moon")
    assert (shown.exit_code, "none of installation, nodes" in shown.stderr) == (2, True)


def test_nothing_is_in_the_way_of_uninstalling_a_cluster_that_is_calm(run: Run) -> None:
    assert {one["level"] for one in findings(run, well(), "--only", "uninstall")} == {"ok"}


LEFT: list[tuple[str, Callable[[FakeReader], object], str]] = [
    ("an open failover", lambda r: r.objects.update(failovers=[named("n2-x", spec={"node": "n2"}, status={"phase": "Fencing"})]),
     "is Fencing"),
    ("an armed watchdog", lambda r: set_at(r.objects["nodereports"], 1, "status", "watchdog", to={"armed": True}),
     "without an agent it resets this node"),
    ("our taint", lambda r: set_at(r.nodes, 1, "spec", to={"taints": [{"key": "ringfence.io/suspect"}]}), "carries our taint"),
    ("a storage fence", lambda r: r.served.update({"/apis/csiaddons.openshift.io/v1alpha1/networkfences": {"items": [
        {"metadata": {"name": "f", "labels": {"app.kubernetes.io/managed-by": "ringfence"}}}]}}), "nobody would lift it"),
]  # fmt: skip


@pytest.mark.parametrize(("leave", "words"), [one[1:] for one in LEFT], ids=[one[0] for one in LEFT])
def test_what_would_stay_behind_says_no_to_uninstalling(
    run: Run, leave: Callable[[FakeReader], object], words: str
) -> None:
    reader = well()
    leave(reader)
    shown = run(reader, "doctor", "--only", "uninstall")
    assert shown.exit_code == 7
    assert words in shown.stdout


@pytest.mark.parametrize("named_otherwise", ["ringfence", "ha"])
def test_how_to_sign_watchdogs_off_is_told_as_it_can_be_typed(run: Run, named_otherwise: str) -> None:
    reader = well()
    set_at(reader.objects["nodereports"], 1, "status", "watchdog", to={"armed": True})
    if named_otherwise != "ringfence":
        for pod in part_of(reader, OWN_PODS):
            pod["metadata"]["labels"]["app.kubernetes.io/instance"] = named_otherwise
    shown = " ".join(run(reader, "doctor", "--only", "uninstall").stdout.split())
    away = "--reset-then-reuse-values --set agent.watchdog.enabled=false"
    assert f"helm upgrade {named_otherwise} charts/ringfence -n {OWN} {away}, and wait" in shown


@pytest.mark.parametrize(
    ("version", "told"),
    [({"major": "1", "minor": "32"}, True), ({"major": "1", "minor": "33+"}, False), ({}, False)],
)
def test_where_pods_need_not_go_first_an_armed_node_is_told_not_to_lose_its_namespace(
    run: Run, version: Object, told: bool
) -> None:
    reader = well()
    reader.served["/version"] = version
    assert "namespace" not in run(reader, "doctor", "--only", "uninstall").stdout
    set_at(reader.objects["nodereports"], 1, "status", "watchdog", to={"armed": True})
    shown = " ".join(run(reader, "doctor", "--only", "uninstall").stdout.split())
    assert ("Kubernetes 1.32 may take an agent's account before its pod" in shown) is told


def test_a_roster_key_that_is_not_everybodys_is_told_with_its_mend(run: Run) -> None:
    reader = well()
    trust = condition("RosterTrusted", "True", "Trusted")
    set_at(reader.objects["haclusters"], 0, "status", to={"conditions": [trust]})
    assert "roster's key" not in run(reader, "doctor", "--only", "installation").stdout
    trust.update(status="False", reason="AgentsGoByAnotherKey", message="restart the agents of n2")
    shown = run(reader, "doctor", "--only", "installation")
    assert "restart the agents of n2" in shown.stdout
    assert shown.exit_code == 7


def test_others_taints_and_ended_things_are_no_business_of_ours(run: Run) -> None:
    reader = well()
    set_at(
        reader.nodes, 1, "spec",
        to={"taints": [{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown"}]},
    )  # fmt: skip
    reader.objects["failovers"] = [named("n2-x", status={"phase": "Closed"})]
    set_at(reader.objects["nodereports"], 1, "status", to={"bootID": "old", "watchdog": {"armed": True}})
    assert run(reader, "doctor", "--only", "uninstall").exit_code == 0


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "a/b", "operator": "Exists"}, True),
        ({"key": "a/b"}, True),
        ({"key": "a/b", "operator": "Exists", "effect": "NoExecute"}, True),
        ({"key": "a/b", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "a/c", "operator": "Exists"}, False),
        ({"operator": "Exists", "tolerationSeconds": 30}, True),
    ],
)
def test_tolerations_match_as_kubernetes_matches_them(toleration: Object, expected: bool) -> None:
    assert tolerates([Document(toleration)], "a/b", "NoExecute") is expected


def test_a_toleration_for_a_time_is_not_for_ever() -> None:
    bounded = [Document({"operator": "Exists", "tolerationSeconds": 30})]
    assert not tolerates(bounded, "a/b", "NoExecute", for_ever=True)
