"""A cluster for the command line's tests: the objects of one incident, and a reader over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ringfence.ports import Forbidden, NotFound

NOW = datetime(2030, 1, 1, 12, 0, 42, tzinfo=UTC)
BEGUN = "2030-01-01T12:00:00Z"

Object = dict[str, object]


def named(name: str, namespace: str = "", **parts: object) -> Object:
    metadata: Object = {"name": name, "uid": f"uid-of-{name}", "creationTimestamp": BEGUN}
    if namespace:
        metadata["namespace"] = namespace
    return {"metadata": metadata, **parts}


def condition(kind: str, status: str, reason: str, message: str = "") -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": BEGUN}


def node(name: str, ready: str = "True") -> Object:
    conditions = [condition("Ready", ready, "Kubelet")]
    return named(name, status={"conditions": conditions, "nodeInfo": {"bootID": f"boot-of-{name}"}})


def failover(name: str = "n2-b0075678-x1", phase: str = "AwaitingConfirmation", **spec: object) -> Object:
    return named(
        name,
        spec={"node": "n2", "nodeUID": "uid-of-n2", "bootID": "boot-of-n2", **spec},
        status={
            "phase": phase,
            "sentence": "n2 is down (2 of 2 peers: n1, n3); bmc-n2 still reads on",
            "startedAt": BEGUN,
            "votes": [
                {
                    "voter": "n1",
                    "vote": "none",
                    "afterSeconds": 0.3125,
                    "round": "AAECAwQFBgc=",
                    "rosterEpoch": 7,
                    "signature": "c2ln",
                },
                {"voter": "n3", "vote": "none", "signature": "c2ln"},
            ],
            "orders": [{"device": "bmc-n2", "action": "off", "sentAt": "2030-01-01T12:00:03.5Z"}],
            "proofs": [],
            "vms": [{"namespace": "shop", "name": "db", "state": "Waiting"}],
            "timings": {"verdict": 0.8},
            "conditions": [condition("ConfirmationNeeded", "True", "PowerStillOn", "the fence has failed")],
        },
    )


@dataclass
class FakeReader:
    """Answers as KubeconfigReader does, from memory; notes what is confirmed."""

    objects: dict[str, list[Object]] = field(default_factory=dict)
    nodes: list[Object] = field(default_factory=list)
    events: list[list[Object]] = field(default_factory=lambda: [[]])
    """What each look at the Events shows; a watch ends with the last."""
    rings: dict[str, Object] = field(default_factory=dict)
    """What the acting controller says of the ring, by the release's namespace."""
    suppositions: dict[str, Object] = field(default_factory=dict)
    """What the acting controller would decide, by the release's namespace."""
    supposed: list[tuple[str, ...]] = field(default_factory=list)
    """Nodes of which that was asked."""
    leases: dict[tuple[str, str], Object] = field(default_factory=dict)
    """By namespace and name."""
    vms: dict[tuple[str, str], Object] = field(default_factory=dict)
    """Of KubeVirt's, by namespace and name."""
    served: dict[str, Object] = field(default_factory=dict)
    """What a GET of these paths answers, beside what the fields above say; a list is its items."""
    texts: dict[str, str] = field(default_factory=dict)
    """The same for what is no JSON, by path without its query."""
    fetched: list[str] = field(default_factory=list)
    """Paths that were asked for."""
    user: str = "alice"
    namespace: str = "default"
    forbidden: frozenset[str] = frozenset()
    confirmed: list[tuple[str, str, str, str]] = field(default_factory=list)
    released: list[tuple[str, str, str, str]] = field(default_factory=list)
    asked: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    """Generations of group keys that were asked for, and the nodes that are not waited for."""
    drills: list[tuple[str, str, str]] = field(default_factory=list)
    """Drills that were asked for: device, UID, request."""
    drill_turns: list[Object] = field(default_factory=list)
    """What becomes of the drill each time that somebody waits: phase and sentence, under the request asked for."""
    turns: list[list[Object]] = field(default_factory=list)
    """What becomes of the HAClusters each time that somebody waits; a wait ends with the last."""

    def list_objects(self, plural: str, namespace: str | None = None) -> Sequence[Mapping[str, object]]:
        if plural in self.forbidden:
            raise Forbidden(f"{plural} is forbidden", status=403)
        if plural not in self.objects:
            raise NotFound("the server could not find the requested resource", status=404)
        found = self.objects[plural]
        if namespace is None:
            return found
        wanted = []
        for item in found:
            metadata = item["metadata"]
            if isinstance(metadata, dict) and metadata.get("namespace") == namespace:
                wanted.append(item)
        return wanted

    def fetch(self, path: str) -> Mapping[str, object]:
        self.fetched.append(path)
        bare = path.partition("?")[0]
        plural = bare.rsplit("/", 1)[-1]
        if plural in self.forbidden:
            raise Forbidden(f"{plural} is forbidden", status=403)
        if bare in self.served:
            return self.served[bare]
        if bare == "/api/v1/nodes":
            return {"items": self.nodes}
        if bare.startswith("/apis/ringfence.io/v1alpha1/"):
            return {"items": self.list_objects(plural)}
        if bare.startswith("/apis/coordination.k8s.io/v1/namespaces/"):
            within = bare.split("/")[5]
            return {"items": [lease for (space, _), lease in self.leases.items() if space == within]}
        if bare == "/apis/kubevirt.io/v1/virtualmachines" and self.vms:
            return {"items": list(self.vms.values())}
        raise NotFound("the server could not find the requested resource", status=404)

    def fetch_text(self, path: str) -> str:
        self.fetched.append(path)
        bare = path.partition("?")[0]
        if bare not in self.texts or "previous=true" in path:
            raise NotFound(f"no {bare}", status=404)
        return self.texts[bare]

    def members(self, namespace: str) -> Mapping[str, object]:
        if namespace not in self.rings:
            raise NotFound(f'leases "ringfence-controller" not found in {namespace}', status=404)
        return self.rings[namespace]

    def dry_run(self, namespace: str, nodes: Sequence[str]) -> Mapping[str, object]:
        self.supposed.append(tuple(nodes))
        if namespace not in self.suppositions:
            raise NotFound(f'leases "ringfence-controller" not found in {namespace}', status=404)
        return self.suppositions[namespace]

    def list_events(self) -> Sequence[Mapping[str, object]]:
        if "events" in self.forbidden:
            raise Forbidden("events is forbidden", status=403)
        return self.events[0]

    def ask_for_keys(self, generation: int, without: Sequence[str]) -> None:
        if "haclusters" in self.forbidden:
            raise Forbidden("haclusters is forbidden", status=403)
        self.asked.append((generation, tuple(without)))

    def ask_for_drill(self, device: str, uid: str, request: str) -> None:
        self.drills.append((device, uid, request))

    def again(self) -> bool:
        if self.drill_turns:
            (device,) = self.objects["fencedevices"]
            status = device["status"]
            assert isinstance(status, dict)
            status["drill"] = {"request": self.drills[-1][2], **self.drill_turns.pop(0)}
            return True
        if self.turns:
            self.objects["haclusters"] = self.turns.pop(0)
            return True
        self.events.pop(0)
        return bool(self.events)

    def list_nodes(self) -> Sequence[Mapping[str, object]]:
        if "nodes" in self.forbidden:
            raise Forbidden("nodes is forbidden", status=403)
        return self.nodes

    def get_lease(self, namespace: str, name: str) -> Mapping[str, object] | None:
        if "leases" in self.forbidden:
            raise Forbidden(f"leases in {namespace} are forbidden", status=403)
        return self.leases.get((namespace, name))

    def get_vm(self, namespace: str, name: str) -> Mapping[str, object]:
        if (namespace, name) not in self.vms:
            raise NotFound(f"no VirtualMachine {namespace}/{name}", status=404)
        return self.vms[namespace, name]

    def whoami(self) -> str:
        return self.user

    def confirm_failover(self, name: str, uid: str, statement: str, confirmed_by: str) -> None:
        self.confirmed.append((name, uid, statement, confirmed_by))

    def release_failover(self, name: str, uid: str, reason: str, by: str) -> None:
        self.released.append((name, uid, reason, by))


MEMBER: Object = {
    "name": "n2",
    "zone": "b",
    "bootID": "boot-of-n2",
    "verdict": "Suspect",
    "sentence": "n2 is doubted by its peers",
    "agentVersion": "0.1.0",
    "permitted": {"mlock": True, "icmpRaw": False},
    "healthy": False,
    "awareness": {"isolated": False, "carrier": True, "lagMillis": 212.5, "stretch": 1.5},
    "epoch": 7,
    "heardAge": 1.4,
    "rttMillis": 0.31,
    "lossPercent": 12.5,
    "observers": ["n1", "n3"],
    "states": {"n1": "doubted", "n3": "alive", "n9": "unknown"},
    "paths": {"n1": {"rttMillis": 0.31, "lossPercent": 12.5}},
    "networks": {
        "migration": {"address": None, "state": "no address", "rttMillis": None, "sentence": ""},
        "storage": {
            "address": "10.20.0.2",
            "state": "dead",
            "rttMillis": None,
            "sentence": "2 of 2 observers on storage: n1, n3",
        },
    },
    "round": {
        "reporter": "n1",
        "age": 0.52,
        "votes": [
            {
                "voter": "n1",
                "vote": "none",
                "columns": {"storage": "none", "management": "none"},
                "age": 0.26,
                "rosterEpoch": 7,
                "round": "AAECAwQFBgc=",
                "signature": "c2ln",
            }
        ],
    },
}
"""As the acting controller tells of it."""


def incident() -> FakeReader:
    """Three nodes, one of them down, its BMC not obeying."""
    verdicts = [
        {"name": "n1", "verdict": "Healthy", "sentence": "n1 answers"},
        {"name": "n2", "verdict": "Down", "sentence": "n2 is down (2 of 2 peers: n1, n3)"},
    ]
    return FakeReader(
        objects={
            "haclusters": [named("default", spec={"mode": "Active"}, status={"leader": "controller-a"})],
            "hazones": [
                named(
                    "a",
                    spec={"enabled": True},
                    status={
                        "nodes": ["n1", "n2", "n3"],
                        "nodeVerdicts": verdicts,
                        "conditions": [condition("Ready", "True", "Watching")],
                    },
                )
            ],
            "fencedevices": [
                named(
                    "bmc-n2",
                    spec={"driver": "redfish", "nodes": ["n2"]},
                    status={
                        "powerState": [{"node": "n2", "power": "on"}],
                        "conditions": [condition("Ready", "True", "Proved")],
                    },
                )
            ],
            "nodereports": [named("n1", status={"agentVersion": "0.1.0"})],
            "protectedvms": [
                named(
                    "db",
                    "shop",
                    spec={"vm": {"name": "db"}},
                    status={"node": "n2", "conditions": [condition("Protected", "True", "Protected")]},
                ),
                named(
                    "web",
                    "site",
                    spec={"vm": {"name": "web"}},
                    status={
                        "node": "n1",
                        "conditions": [
                            condition(
                                "Protected", "False", "VolumeNotShared", "disk web-0 is ReadWriteOnce [local]"
                            )
                        ],
                    },
                ),
            ],
            "failovers": [failover()],
        },
        nodes=[node("n1"), node("n2", "Unknown"), node("n3")],
    )
