"""Every command of the pages, in an order in which a cluster's life would bring it, and what it must come to.

A step is found by the line as it is shown. Only where a page leaves out what it needs, or says it by a placeholder that stands for several
things, is there beside it what is typed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from apiserver.chart import NAMESPACE
from apiserver.controllers import RINGFENCE
from apiserver.installed import CRDS, WEBHOOK
from apiserver.reader import Said
from apiserver.server import Json, wait_for
from apiserver.shown import ROOT, indented
from apiserver.stage import FIRST, KUBEVIRT, LEASES, OWN, SECOND, Living, Stage, condition
from ringfence import __version__

PLACEHOLDERS = (
    ("failover NAME", f"failover {FIRST}"),
    ("vm NAME", "-n shop vm db"),
    ("KEY=VALUE", "app=shop"),
    ("NODE", "node-1"),
)
"""What the pages write for what is another thing in each cluster; everything else that they name is there."""
RIGHTS, ADMISSION = (f"/apis/{group}.k8s.io/v1" for group in ("rbac.authorization", "admissionregistration"))
STORM = "too many nodes of zone rack-a are down at once: node-1, node-2 (at most 1 of 3)"
EFFECT = 60.0
"""Seconds that a command's effect may take after its end."""
CONFIRM = "--i-have-checked-that-it-is-off"


def nothing(_: Stage) -> None:
    pass


def anything(_: Stage) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Step:
    shown: str
    """The command's line, as a page shows it."""
    prints: str = ""
    """A pattern that is found in what it says."""
    after: Callable[[Stage], Any] = anything
    """True of the cluster soon after it has ended."""
    before: Callable[[Stage], Any] = nothing
    """What the page takes for granted."""
    beside: Callable[[Stage], AbstractContextManager[None]] = lambda _: nullcontext()
    """Who plays a part while it runs."""
    typed: str = ""
    """The whole command, where the page only names it."""
    exits: int = 0
    answer: str = ""
    """To the question that it asks."""
    until: str = ""
    """It goes on for ever: interrupted when it has printed this pattern. kubectl then ends with 1."""
    meanwhile: Callable[[Stage], Any] = nothing
    """What happens while it watches."""

    @property
    def command(self) -> str:
        if self.typed:
            return self.typed
        command = self.shown
        for placeholder, value in PLACEHOLDERS:
            command = re.sub(rf"\b{placeholder}\b(?!:)", value, command)
        return command

    @property
    def looks(self) -> bool:
        """It only looks, so that it may run beside others that do."""
        if self.before is not nothing or self.after is not anything or self.answer or self.until:
            return False
        return self.shown.startswith(("ringfence ", "make simulate", "kubectl get ", "kubectl describe"))

    def play(self, stage: Stage) -> None:
        self.before(stage)
        with self.beside(stage):
            if self.until:
                said = stage.reader.watches(self.command, self.until, lambda: self.meanwhile(stage))
            else:
                said = stage.reader.types(self.command, self.answer)
        assert said.code == self.exits, f"$ {said.typed}\n{said.code}: {said.text}"
        self._said(said)
        wait_for(f"the effect of {said.typed}", lambda: self.after(stage), EFFECT)

    def _said(self, said: Said) -> None:
        found = re.search(self.prints, said.text, re.DOTALL)
        assert found, f"$ {said.typed}\nhas not said {self.prints!r}: {said.text}"


def cluster(stage: Stage) -> Json:
    return stage.get(f"{RINGFENCE}/haclusters/default")


def spec_of(name: str) -> Callable[[Stage], Json]:
    def spec(stage: Stage) -> Json:
        found: Json = stage.get(f"{RINGFENCE}/failovers/{name}")["spec"]
        return found

    return spec


def released(reason: str) -> Callable[[Stage], bool]:
    word = {"by": "admin", "reason": reason}
    return lambda stage: spec_of(FIRST)(stage).get("release") == word


def confirmed(name: str, statement: str) -> Callable[[Stage], bool]:
    word = {"confirmedBy": "admin", "statement": statement}
    return lambda stage: spec_of(name)(stage).get("confirm") == word


def held(stage: Stage) -> None:
    stage.incident(FIRST, "Held", held=STORM, true=("Blocked",))


def awaited(name: str) -> Callable[[Stage], None]:
    def incident(stage: Stage) -> None:
        stage.silent(name.partition("-0a1b")[0])
        stage.incident(name, "AwaitingConfirmation", true=("Blocked",))

    return incident


def phase(phase_: str, *true: str) -> Callable[[Stage], None]:
    def incident(stage: Stage) -> None:
        stage.incident(FIRST, phase_, true=true)

    return incident


def replicas(number: int) -> Callable[[Stage], bool]:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/ringfence-controller"
    return lambda stage: stage.get(path)["spec"]["replicas"] == number


def agents(stage: Stage) -> Json:
    found: Json = stage.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/ringfence-agent")
    return found


def restarted(stage: Stage) -> bool:
    return "kubectl.kubernetes.io/restartedAt" in agents(stage)["spec"]["template"]["metadata"].get(
        "annotations", {}
    )


def watchdogs(stage: Stage) -> bool:
    return "/dev/watchdog" in json.dumps(agents(stage)["spec"])


def heartbeat(stage: Stage) -> Json:
    found = stage.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/ringfence-slots")
    (volume,) = [
        one for one in found["spec"]["template"]["spec"]["volumes"] if "persistentVolumeClaim" in one
    ]
    return dict(volume["persistentVolumeClaim"])


def cordoned(stage: Stage) -> bool:
    return bool(stage.get("/api/v1/nodes/node-1")["spec"].get("unschedulable"))


def taken(stage: Stage) -> bool:
    return not cordoned(stage)


def pods_of(node: str) -> Callable[[Stage], set[str]]:
    """Those of them that a drain moves."""

    def pods(stage: Stage) -> set[str]:
        found = stage.items(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")
        owners = {one["metadata"]["name"]: one["metadata"].get("ownerReferences", [{}])[0] for one in found}
        return {name for name, owner in owners.items() if owner.get("kind") != "DaemonSet"}

    return pods


def drilled(device: str, node: str) -> Callable[[Stage], bool]:
    def asked(stage: Stage) -> bool:
        found = stage.get(f"{RINGFENCE}/fencedevices/{device}")["metadata"]["annotations"]
        return str(found.get("ringfence.io/drill", "")).startswith(f"{node} ")

    return asked


def labelled(key: str, value: str) -> Callable[[Stage], bool]:
    path = f"{KUBEVIRT}/namespaces/shop/virtualmachines/db"
    return lambda stage: stage.get(path)["metadata"].get("labels", {}).get(key) == value


def secret(name: str) -> Callable[[Stage], bool]:
    return lambda stage: stage.there(f"{OWN}/secrets/{name}")


def no_secret(name: str) -> Callable[[Stage], bool]:
    return lambda stage: not stage.there(f"{OWN}/secrets/{name}")


def there(right: str) -> Callable[[Stage], bool]:
    return lambda stage: stage.there(f"{RIGHTS}/{right}")


def gone(right: str) -> Callable[[Stage], bool]:
    return lambda stage: not stage.there(f"{RIGHTS}/{right}")


def pauses(stage: Stage) -> None:
    """As somebody may have left it."""
    stage.server.must("PATCH", f"{RINGFENCE}/haclusters/default", {"spec": {"mode": "Paused"}})


def protect(stage: Stage) -> None:
    """What the pages' VM and rack have beside the examples: a second device, a zone for n1 and n2, and what a controller found of them."""
    stage.declare("protectedvms", "ProtectedVM", "db", {"vm": {"name": "db"}}, "shop")
    agent = {
        "program": "fence_apc",
        "parameters": {"ip": "127.0.78.9"},
        "nodeParameters": {"node-1": {"plug": "1"}},
    }
    stage.declare(
        "fencedevices", "FenceDevice", "pdu-a", {"driver": "agent", "nodes": ["node-1"], "agent": agent}
    )
    stage.declare("hazones", "HAZone", "rack-b", {"nodes": {"names": ["n1", "n2"]}})
    for zone, nodes in (("rack-a", ("node-1", "node-2", "node-3")), ("rack-b", ("n1", "n2"))):
        verdicts = [
            {"name": node, "verdict": "Down", "sentence": f"{node} is down (3 of 3 peers)"}
            if node in {"node-1", "n2"}
            else {"name": node, "verdict": "Healthy", "sentence": f"{node} answers"}
            for node in nodes
        ]
        stage.tell("hazones", zone, {"nodes": list(nodes), "nodeVerdicts": verdicts})
    said = {"node": "node-1", "conditions": [condition("Protected", "True", "Protected")]}
    stage.tell("protectedvms", "db", said, "shop")


def write_story(stage: Stage) -> None:
    """The one that the page shows."""
    folder = stage.reader.home / "my-cluster"
    folder.mkdir(exist_ok=True)
    blocks = indented(ROOT / "docs/simulate.md")
    (told,) = (block for block in blocks if block.startswith("nodes:"))
    (script,) = (block for block in blocks if block.startswith("1.0 "))
    (folder / "cluster.yaml").write_text(told)
    (folder / "script.txt").write_text(script)


def write_wrong_story(stage: Stage) -> None:
    write_story(stage)
    (stage.reader.home / "my-cluster/script.txt").write_text("1 cut n9\n60 end\n")


INSTALL = (
    Step("ringfence version", f"ringfence {re.escape(__version__)}"),
    Step("ringfence --help", "--kubeconfig"),
    Step('ln -s "$(command -v ringfence)" ~/.local/bin/kubectl-ringfence'),
    Step("kubectl ringfence", f"ringfence {re.escape(__version__)}", typed="kubectl ringfence version"),
    Step(
        "ringfence completion bash",
        "ringfence",
        typed="source <(ringfence completion bash) && complete -p ringfence",
    ),
    Step("ringfence completion fish", "complete .*--command ringfence"),
    Step("ringfence simulate", "a1-network-cut"),
    Step("ringfence simulate a1-network-cut", "Closed"),
    Step("ringfence simulate a14-bmc-ignores -o json", r"^\{"),
    Step("ringfence simulate ./my-cluster", "bmc-n1 off, attempt 2", before=write_story),
    Step(
        "ringfence simulate ./my-cluster",
        r"ringfence: script\.txt, line 1: 'cut n9': there is no n9 in cluster\.yaml that this could be about",
        before=write_wrong_story,
        exits=2,
    ),
    Step("make simulate", "a1-network-cut"),
    Step("make simulate STORY=a1-network-cut", "Closed"),
    Step(
        "kubectl apply -f crds/",
        "haclusters.ringfence.io created",
        after=lambda stage: stage.there(f"{RINGFENCE}/nodereports"),
    ),
    Step(
        "helm template", "kind: DaemonSet", typed=f"helm template ringfence charts/ringfence -n {NAMESPACE}"
    ),
    Step(
        "helm install ringfence charts/ringfence -n ringfence-system --create-namespace --wait",
        "STATUS: deployed.*\n  helm test ringfence -n ringfence-system  .*\n  ringfence doctor  .*\n  kubectl apply -f docs/examples/  ",
        after=lambda stage: agents(stage)["status"]["numberAvailable"] == 5,
    ),
    Step("kubectl explain hacluster.spec", r"mode\s+<string>"),
    Step("kubectl explain hazone.spec.fencing", r"levels\s+<\[\]Object>"),
    Step("kubectl auth whoami", r"Username +admin"),
)
"""Before anything is declared."""

DECLARE = (
    Step("kubectl apply -f docs/examples/cluster.yaml", "hacluster.ringfence.io/default created"),
    Step("kubectl apply -f docs/examples/zone.yaml", "hazone.ringfence.io/rack-a created"),
    Step("kubectl apply -f docs/examples/fencedevice.yaml", "fencedevice.ringfence.io/bmc-node-1 created"),
    Step("kubectl apply -f docs/examples/protectedvm.yaml", "protectedvm.ringfence.io/database created"),
    Step("kubectl apply -f docs/examples/watchdog.yaml", "hazone.ringfence.io/edge created"),
    Step("kubectl apply -f docs/examples/", "hazone.ringfence.io/rack-a unchanged"),
    Step("kubectl wait hacluster/default --for=condition=Ready --timeout=2m", "condition met"),
    Step(
        "kubectl wait hacluster/default --for=condition=KeysSettled --timeout=10m",
        "condition met",
        after=lambda stage: len(stage.items(f"{RINGFENCE}/nodereports")) == 5,
    ),
    Step("kubectl wait hacluster/default --for=condition=RosterTrusted --timeout=10m", "condition met"),
    Step("helm test ringfence -n ringfence-system", r"Phase: +Succeeded"),
    Step("ringfence doctor", "bmc-node-1", exits=7),
    Step("ringfence doctor --only installation", "mode is DryRun"),
    Step("ringfence doctor --only nodes", "the acting controller hears no agent", exits=7),
    Step(
        "kubectl get protectedvms -A",
        "ClusterDryRun",
        before=lambda stage: wait_for(
            "the VM to be looked at",
            lambda: (
                stage.get(f"{RINGFENCE}/namespaces/default/protectedvms/database")
                .get("status", {})
                .get("conditions")
            ),
        ),
    ),
    Step("kubectl get pvm -A", "database"),
    Step("kubectl get pvm -n default", "database"),
    Step("kubectl get protectedvms -A -o wide", "database"),
    Step("ringfence status", "node-1.*database"),
    Step("ringfence members", r"\nnode-1 "),
    Step("ringfence members -o wide", "NETWORKS"),
    Step("ringfence events", "FenceDevice/bmc-node-1"),
    Step(
        "ringfence events -w",
        before=lambda stage: stage.event("node-1 is looked at"),
        meanwhile=lambda stage: stage.event("node-1 is told of while somebody watches"),
        until="told of while somebody watches",
    ),
    Step("ringfence failovers", "no failover is on record"),
    Step("ringfence fence status", "bmc-node-1 +redfish +node-1"),
    Step("ringfence dry-run --kill node-1", "node-1 would not be held for dead", exits=7),
    Step("ringfence dry-run --kill node-1 --kill node-2 -o json", '"node": "node-2"', exits=7),
    Step(
        "ringfence support-bundle",
        r"ringfence-support-\S+\.tar\.gz: \d+ files",
        after=lambda stage: any(stage.reader.home.glob("ringfence-support-*.tar.gz")),
    ),
    Step("ringfence keys", "Settled"),
    Step("ringfence keys status", "Settled"),
    Step(
        "ringfence keys rotate",
        "generation 1 of the group keys is asked for",
        after=lambda stage: cluster(stage)["status"]["keys"]["generation"] == 1,
    ),
    Step(
        "ringfence keys rotate --without n2",
        until="asked for\n.+\n",
        exits=6,
        after=lambda stage: cluster(stage)["spec"]["gossip"]["rotateWithout"] == ["n2"],
    ),
    Step(
        "kubectl get nodereports -o custom-columns=NODE:.metadata.name,HELD:.status.keys.held,USED:.status.keys.used",
        r"\nn2 +\[.*\] +\d",
    ),
    Step(
        "kubectl get nodereports -o custom-columns=NODE:.metadata.name,ROSTERKEY:.status.rosterKey",
        r"NODE +ROSTERKEY\nn1 ",
    ),
    Step("kubectl get nodereports -o wide", "node-1"),
    Step("kubectl get nodereport -o wide", "WATCHDOG.*no watchdog"),
    Step(
        "kubectl get nodereport NODE -o jsonpath='{.status.watchdog.reason}'",
        "No such file or directory: the node has no watchdog",
    ),
    Step(
        "kubectl -n ringfence-system get lease ringfence-controller -o yaml", "holderIdentity: controller-1"
    ),
    Step("kubectl -n ringfence-system get configmap ringfence-roster", "ringfence-roster"),
    Step(
        "kubectl -n ringfence-system get pods -l app.kubernetes.io/component=controller",
        "ringfence-controller-.*Running",
    ),
    Step(
        "kubectl -n ringfence-system get pods -l app.kubernetes.io/component=agent -o wide",
        r"ringfence-agent-\S+ .* node-1 ",
    ),
    Step("kubectl get hacluster default -o yaml", "type: RosterTrusted"),
    Step("kubectl get hazone rack-a -o yaml", "nodeVerdicts:"),
    Step("kubectl get fencedevice bmc-node-1", "bmc-node-1 +redfish"),
    Step("kubectl get hapolicies -A", "No resources found"),
    Step("kubectl get nodemaintenances", "No resources found"),
    Step("kubectl get vmi", "database"),
    Step("kubectl get vmi -A", r"shop +db "),
    Step("kubectl get node", "node-1"),
    Step("kubectl label vm NAME tier=db", "labeled", after=labelled("tier", "db")),
    Step("kubectl label vm NAME KEY=VALUE", "labeled", after=labelled("app", "shop")),
    Step("kubectl describe", r"Kind: +VirtualMachineInstance", typed="kubectl describe vmi db -n shop"),
    Step("kubectl describe vmi", r"Kind: +VirtualMachineInstance", typed="kubectl describe vmi db -n shop"),
    Step("kubectl describe pod", r"Node: +node-2", typed="kubectl describe pod virt-launcher-db -n shop"),
    Step(
        """kubectl patch hacluster default --type merge -p '{"spec":{"mode":"Active"}}'""",
        "patched",
        before=pauses,
        after=lambda stage: cluster(stage)["spec"]["mode"] == "Active",
    ),
)
"""With a real controller that leads: what it says of a cluster whose BMCs don't answer."""

TRY = (
    Step("kubectl cordon node-1", "node/node-1 cordoned", after=cordoned),
    Step(
        "ringfence fence drill bmc-node-1 node-1 --watch",
        "Passed",
        answer="y\n",
        after=drilled("bmc-node-1", "node-1"),
    ),
    Step("kubectl uncordon node-1", "node/node-1 uncordoned", after=taken),
    Step(
        "kubectl drain node-1 --ignore-daemonsets --delete-emptydir-data",
        "node/node-1 drained",
        after=lambda stage: cordoned(stage) and not pods_of("node-1")(stage),
    ),
    Step(
        "ringfence fence drill pdu-a node-1 --watch", "Passed", answer="y\n", after=drilled("pdu-a", "node-1")
    ),
    Step("kubectl uncordon node-1", "node/node-1 uncordoned", after=taken),
)
"""A drill passes as soon as it is asked for."""

INCIDENT = (
    Step(
        'ringfence failover release node-1 --reason "the machine is gone for good"',
        "released as admin",
        before=held,
        answer="y\n",
        after=released("the machine is gone for good"),
    ),
    Step("ringfence fence confirm n2", "see for yourself that n2 is off", before=awaited(SECOND), exits=1),
    Step(
        "ringfence fence confirm n2 --i-have-checked-that-it-is-off",
        r"ringfence: n2 shows signs of life, so nothing was confirmed: its agent's Lease was renewed \d+ s ago by its own clock",
        beside=lambda stage: stage.played(Living(stage, "n2")),
        exits=1,
        after=lambda stage: "confirm" not in spec_of(SECOND)(stage),
    ),
    Step(
        f'ringfence fence confirm n2 {CONFIRM} --statement "pulled both plugs of n2, rack 4"',
        "confirmed as admin",
        before=awaited(SECOND),
        after=confirmed(SECOND, "pulled both plugs of n2, rack 4"),
    ),
    Step(
        "ringfence fence confirm node-1",
        "see for yourself that node-1 is off",
        before=awaited(FIRST),
        exits=1,
    ),
    Step("ringfence status", "ringfence fence confirm node-1"),
    Step(
        f'ringfence fence confirm node-1 {CONFIRM} --statement "pulled both plugs, rack 4"',
        "confirmed as admin",
        after=confirmed(FIRST, "pulled both plugs, rack 4"),
    ),
    Step("ringfence explain node-1", "node-1 is down .3 of 3 peers.", before=awaited(FIRST)),
    Step("ringfence explain vm/db -n shop", FIRST),
    Step("ringfence explain shop/db", FIRST),
    Step("ringfence explain failover/node-1-0a1b2c3d-x1 -o json", r'^\{.*"node-1"'),
    Step("kubectl get failovers", FIRST),
    Step("kubectl get failover", SECOND),
    Step("kubectl get failover NAME -o jsonpath='{.status.vms}'", '"name":"db"'),
    Step(
        "kubectl get failovers -w",
        exits=1,
        until=f"{FIRST} .*Fencing",
        meanwhile=lambda stage: stage.tell("failovers", FIRST, {"phase": "Fencing"}),
    ),
    Step(
        "kubectl get failover -w",
        exits=1,
        until=f"{FIRST} .*Recovering",
        meanwhile=lambda stage: stage.tell("failovers", FIRST, {"phase": "Recovering"}),
    ),
    Step("kubectl wait protectedvm/db -n shop --for=condition=Protected --timeout=2m", "condition met"),
    Step(
        "kubectl wait failover/node-1-0a1b2c3d-x1 --for=condition=Recovered --timeout=10m",
        "condition met",
        before=phase("Recovered", "Proved", "Recovered"),
    ),
    Step(
        "kubectl wait failover/node-1-0a1b2c3d-x1 --for=jsonpath='{.status.phase}'=Closed --timeout=1h",
        "condition met",
        before=phase("Closed", "Proved", "Recovered"),
    ),
    Step(
        "kubectl get nodes -o 'custom-columns=NODE:.metadata.name,TAINTS:.spec.taints[*].key'",
        r"node-1 +ringfence\.io/suspect",
        before=lambda stage: stage.server.kubectl(
            "taint", "node", "node-1", "ringfence.io/suspect=:NoSchedule"
        ),
    ),
    Step(
        "kubectl taint node NODE ringfence.io/suspect-",
        "untainted",
        after=lambda stage: "taints" not in stage.get("/api/v1/nodes/node-1")["spec"],
    ),
    Step(
        "kubectl -n medik8s-leases delete lease node-n1",
        "deleted",
        before=lambda stage: stage.make(
            f"{LEASES}/medik8s-leases/leases", "coordination.k8s.io/v1", "Lease", "node-n1"
        ),
        after=lambda stage: not stage.there(f"{LEASES}/medik8s-leases/leases/node-n1"),
    ),
    Step("kubectl get networkfence", "No resources found", before=Stage.serve_network_fences),
    Step(
        "kubectl delete pod --force",
        "deleted",
        before=lambda stage: stage.make_pod("stuck"),
        typed=f"kubectl -n {NAMESPACE} delete pod stuck --force",
        after=lambda stage: not stage.there(f"{OWN}/pods/stuck"),
    ),
)
"""As a controller has left it: what people do about a node that is down, and see of it."""

KEYS = (
    Step(
        "kubectl -n ringfence-system rollout restart daemonset -l app.kubernetes.io/name=ringfence",
        "daemonset.apps/ringfence-agent restarted",
        after=restarted,
    ),
    Step(
        "kubectl -n ringfence-system scale deployment ringfence-controller --replicas=0",
        "scaled",
        after=replicas(0),
    ),
    Step(
        "kubectl -n ringfence-system delete secret ringfence-gossip",
        "deleted",
        after=no_secret("ringfence-gossip"),
    ),
    Step(
        "kubectl -n ringfence-system scale deployment ringfence-controller --replicas=2",
        "scaled",
        after=replicas(2),
    ),
    Step(
        "kubectl -n ringfence-system rollout status deployment ringfence-controller",
        "successfully rolled out",
    ),
)
"""The roster's key was stolen."""

UPGRADE = (
    Step(
        "helm upgrade ringfence charts/ringfence -n ringfence-system --reset-then-reuse-values",
        "REVISION: 2",
        after=secret("sh.helm.release.v1.ringfence.v2"),
    ),
    Step(
        "helm upgrade ringfence charts/ringfence -n ringfence-system --reset-then-reuse-values --set agent.watchdog.enabled=true",
        "\n  helm upgrade ringfence charts/ringfence -n ringfence-system --reset-then-reuse-values --set agent.watchdog.enabled=false\n",
        after=watchdogs,
    ),
    Step(
        "helm upgrade ringfence charts/ringfence -n ringfence-system --reset-then-reuse-values --set slots.enabled=true"
        " --set slots.volume.persistentVolumeClaim=ringfence-heartbeat --set 'agent.watchdog.legs={Gossip,Api,Storage}'",
        "REVISION: 4",
        after=lambda stage: watchdogs(stage) and heartbeat(stage)["claimName"] == "ringfence-heartbeat",
    ),
    Step(
        "helm rollback ringfence -n ringfence-system",
        "Rollback was a success",
        after=lambda stage: (
            not stage.there(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/ringfence-slots")
        ),
    ),
    Step(
        "helm upgrade ringfence charts/ringfence -n ringfence-system --reset-then-reuse-values --set agent.watchdog.enabled=false",
        "REVISION: 6",
        after=lambda stage: not watchdogs(stage),
    ),
    Step(
        "kubectl -n ringfence-system delete secret ringfence-webhook",
        "deleted",
        after=no_secret("ringfence-webhook"),
    ),
    Step(
        "helm upgrade",
        "REVISION: 7",
        typed="helm upgrade ringfence charts/ringfence -n ringfence-system --reset-then-reuse-values",
        after=secret("ringfence-webhook"),
    ),
)

CERTIFICATES = (
    Step(
        "helm upgrade ringfence charts/ringfence -n ringfence-system --reset-then-reuse-values",
        "REVISION: 8",
        after=lambda stage: (
            secret("ringfence-webhook-cert-manager")(stage)
            and "caBundle" in stage.get(WEBHOOK)["webhooks"][0]["clientConfig"]
        ),
    ),
    Step(
        "kubectl -n ringfence-system delete secret ringfence-webhook-authority",
        "deleted",
        after=secret("ringfence-webhook-authority"),
    ),
    Step(
        "kubectl -n ringfence-system wait certificate ringfence-webhook-authority --for=condition=Ready --timeout=2m",
        "condition met",
    ),
    Step(
        "kubectl -n ringfence-system delete secret ringfence-webhook-cert-manager",
        "deleted",
        after=secret("ringfence-webhook-cert-manager"),
    ),
    Step(
        "kubectl -n ringfence-system wait certificate ringfence-webhook --for=condition=Ready --timeout=2m",
        "condition met",
    ),
    Step(
        """kubectl patch validatingwebhookconfiguration ringfence --type=json --patch='[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]'""",
        "patched",
        after=lambda stage: "caBundle" in stage.get(WEBHOOK)["webhooks"][0]["clientConfig"],
    ),
)
"""With the real cert-manager, which the chart finds at its next upgrade."""

AWAY = (
    Step(
        "ringfence doctor --only uninstall",
        "3 findings: 3 ok",
        before=lambda stage: [
            stage.incident(name, "Closed", true=("Proved", "Recovered")) for name in (FIRST, SECOND)
        ],
    ),
    Step(
        "helm uninstall ringfence -n ringfence-system",
        'release "ringfence" uninstalled',
        after=gone("clusterroles/ringfence-controller"),
    ),
    Step(
        "helm install ringfence charts/ringfence -n ringfence-system --create-namespace",
        "STATUS: deployed",
        after=there("clusterroles/ringfence-controller"),
    ),
    Step(
        "helm uninstall --no-hooks",
        'release "ringfence" uninstalled',
        before=lambda stage: stage.reader.types(
            "helm upgrade ringfence charts/ringfence -n ringfence-system --set agent.watchdog.enabled=true"
        ),
        typed="helm uninstall ringfence -n ringfence-system --no-hooks",
        after=lambda stage: (
            gone("clusterroles/ringfence-controller")(stage) and there("clusterroles/ringfence-agent")(stage)
        ),
    ),
    Step(
        "kubectl delete clusterrole,clusterrolebinding ringfence-agent",
        "deleted",
        after=lambda stage: (
            gone("clusterroles/ringfence-agent")(stage) and gone("clusterrolebindings/ringfence-agent")(stage)
        ),
    ),
    Step(
        "kubectl delete namespace ringfence-system",
        "deleted",
        before=lambda stage: stage.reader.types(
            "helm install ringfence charts/ringfence -n ringfence-system"
        ),
        after=lambda stage: not stage.there(OWN) and there("clusterroles/ringfence-agent")(stage),
    ),
    Step("helm uninstall ringfence -n ringfence-system", "not found", exits=1),
    Step(
        "kubectl delete validatingwebhookconfiguration ringfence",
        "deleted",
        after=lambda stage: not stage.there(WEBHOOK),
    ),
    Step(
        "kubectl delete clusterrole,clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding,validatingwebhookconfiguration"
        " -l app.kubernetes.io/name=ringfence",
        "deleted",
        after=lambda stage: (
            not stage.ours(RIGHTS, "clusterroles", "clusterrolebindings")
            and not stage.ours(ADMISSION, "validatingadmissionpolicies", "validatingwebhookconfigurations")
        ),
    ),
    Step(
        "kubectl delete role,rolebinding -A -l app.kubernetes.io/name=ringfence",
        "deleted",
        after=lambda stage: not stage.ours(RIGHTS, "roles", "rolebindings"),
    ),
    Step("kubectl get ringfence -A", "hazone.ringfence.io/rack-a"),
    Step(
        "kubectl delete -f crds/",
        "deleted",
        after=lambda stage: not [one for one in stage.items(CRDS) if one["spec"]["group"] == "ringfence.io"],
    ),
)
"""In the page's order, back again, and then in the wrong one."""

CHAPTERS = (INSTALL, DECLARE, TRY, INCIDENT, KEYS, UPGRADE, CERTIFICATES, AWAY)
