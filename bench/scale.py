"""What a large cluster costs the controller: a real controller process on a real API server that holds 1,000 nodes and 20,000 VMs.

``python bench/scale.py`` prints a table and writes ``bench/out/scale.json``. To hold (issue 6): start <= 30 s, decision <= 100 ms,
RSS <= 500 MB.

Real: kube-apiserver and etcd, the chart's CRDs and rights, the controller's process with its own account's token, its TLS streams, the
signatures on votes. Played: of every node its kubelet, agent and VMs by their objects (Node, both Leases, NodeReport, VM, VMI,
launcher Pod, ProtectedVM, made by the HAPolicy of its namespace; of the sizes that ``OBJECT`` says), and the five agents that the controller reads by real stream servers
in this process. The objects are written into etcd directly, in the form in which the API server reads them, since making so many
one by one measures the API server; so are the renewals of the Leases (a kubelet's each 10 s, an agent's each 5 s), which go on all the time.
Not there: PersistentVolumes and claims, and BMCs: the zones' devices are ``manual`` ones, so a Failover ends as one that waits for a person.

Figures:

* start: from the process's start to ``/readyz``, to its leading, and to when it judges every node Healthy;
* decision: a node falls silent, two agents push the signed votes of its observers; from the push to when a watcher of the API server
  has the stored Failover. That is the real stream, the count of the votes, the verdict, the write, and the watch back;
* lag: how long ``/healthz`` takes, asked each 50 ms: one event loop does everything, so the longest turn shows there;
* CPU seconds of the process to the same points: these tell on a busy machine what the seconds would be on one that is not;
* CPU, in per cent of one core, and RSS, at rest: nobody is ill, Leases are renewed.

``--profile FILE`` runs the controller under cProfile: it is then slower by half, and its figures are not to be told.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import itertools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "operator"), str(PROJECT / "tests")]

import urllib3  # noqa: E402 - the product lies in operator/, the API server in tests/

from apiserver.chart import NAMESPACE, token  # noqa: E402
from apiserver.installed import free_port, install, install_kubevirts_kinds, kubeconfig  # noqa: E402
from apiserver.programs import binaries  # noqa: E402
from apiserver.server import Json, Server, running_server  # noqa: E402
from ringfence.controller.bootstrap import ROSTER  # noqa: E402
from ringfence.controller.streams import chosen  # noqa: E402
from ringfence.core.gossip.corroboration import vote_payload  # noqa: E402
from ringfence.core.gossip.keys import KeySet  # noqa: E402
from ringfence.core.gossip.members import Roster, open_roster  # noqa: E402
from ringfence.core.gossip.report import AgentView, SubjectView  # noqa: E402
from ringfence.core.gossip.rings import rings_of  # noqa: E402
from ringfence.core.gossip.rounds import RENEW  # noqa: E402
from ringfence.core.model import Boot, Mode, RingState, SignedVote, Vote  # noqa: E402
from ringfence.core.protection import VmFacts, assess  # noqa: E402
from ringfence.core.rosterkey import SECRET  # noqa: E402
from ringfence.net.crypto import (  # noqa: E402
    GROUP_KEY_FILE,
    ROSTER_PUBLIC_FILE,
    SigningKey,
    check,
    make_group_keys,
)
from ringfence.net.stream import StreamServer  # noqa: E402

IDENTITY = "controller-0"
ZONE_SIZE = 100
POLICY = "all"
OBJECT = {"nodes": 6000, "virtualmachines": 3000, "virtualmachineinstances": 5000, "pods": 7000}
"""Bytes of an object, filled up by an annotation: about what real ones have."""
IN_A_TXN = 100
BOUND = 900.0
"""Seconds for anything that is waited for: what is measured has no bound of its own."""
TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 1 << 20


def uid(kind: str, number: int) -> str:
    return f"{hashlib.md5(kind.encode()).hexdigest()[:8]}-0000-4000-8000-{number:012d}"


def node_name(number: int) -> str:
    return f"n{number}"


def address(number: int) -> str:
    return f"127.90.{number >> 8}.{number & 255}"


def voter_key(number: int) -> SigningKey:
    return SigningKey(hashlib.sha256(f"voter {number}".encode()).digest())


def stamp() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"


# --- the objects ---------------------------------------------------------------------------------------------


def made(api: str, kind: str, name: str, number: int, namespace: str = "", **parts: Any) -> Json:
    """An object as it lies in the store."""
    meta = {
        "name": name,
        "uid": uid(kind, number),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "generation": 1,
    }
    meta |= {"namespace": namespace} if namespace else {}
    meta |= parts.pop("metadata", {})
    return {"apiVersion": api, "kind": kind, "metadata": meta, **parts}


def filled(item: Json, size: int) -> Json:
    left = size - len(json.dumps(item))
    item["metadata"].setdefault("annotations", {})["example.com/filler"] = "x" * max(0, left)
    return item


def lease(kind: str, number: int) -> tuple[str, Json]:
    """A Lease renewed just now, and its key."""
    kubelet = kind == "kubelet"
    namespace = "kube-node-lease" if kubelet else NAMESPACE
    name = node_name(number) if kubelet else f"ringfence-agent-{node_name(number)}"
    holder = node_name(number) if kubelet else f"{uid('Node', number)}/{uid('boot', number)}"
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 40, "renewTime": stamp()}
    item = made("coordination.k8s.io/v1", "Lease", name, number, namespace, spec=spec)
    return f"/registry/leases/{namespace}/{name}", item


def of_node(number: int) -> Iterator[tuple[str, Json]]:
    """A node with what its kubelet and its agent write."""
    name, zone = node_name(number), f"zone-{number // ZONE_SIZE}"
    told = dict.fromkeys(
        ("machineID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion"), "x"
    )
    told |= {"kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"}
    told |= {"bootID": uid("boot", number), "systemUUID": uid("system", number)}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "",
        "lastHeartbeatTime": None,
    }
    labels = {
        "topology.kubernetes.io/zone": zone,
        "kubevirt.io/schedulable": "true",
        "kubernetes.io/hostname": name,
    }
    status = {
        "addresses": [{"type": "InternalIP", "address": address(number)}],
        "nodeInfo": told,
        "conditions": [ready | {"lastTransitionTime": None}],
    }
    item = made("v1", "Node", name, number, metadata={"labels": labels}, spec={}, status=status)
    yield f"/registry/minions/{name}", filled(item, OBJECT["nodes"])
    yield lease("kubelet", number)
    yield lease("agent", number)
    public = base64.b64encode(voter_key(number).public).decode()
    report = {"nodeUID": uid("Node", number), "bootID": uid("boot", number), "publicKey": public}
    item = made("ringfence.io/v1alpha1", "NodeReport", name, number, spec={}, status=report)
    yield f"/registry/ringfence.io/nodereports/{name}", item


def space_of(node: int) -> str:
    """The namespace of the VMs that run on the node: one for each zone."""
    return f"vms-{node // ZONE_SIZE}"


def said_of(vm: str, node: int) -> Json:
    """The status of its ProtectedVM, as a controller that was there before has left it."""
    zone = node // ZONE_SIZE
    facts = VmFacts(
        *(vm, True, Mode.ACTIVE, "Always", node_name(node)),
        running=True,
        zone=f"zone-{zone}",
        by_hand=(f"somebody-{zone}",),
        healthy_others=1,
    )
    found = assess(facts)
    condition: Json = {"type": "Protected", "status": str(found.protected), "reason": found.reason}
    condition |= {"message": found.message, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    condition |= {"observedGeneration": 1}
    return {"observedGeneration": 1, "node": node_name(node), "conditions": [condition]}


def of_vm(
    number: int, node: int, policies: dict[str, str], *, fresh: bool = False
) -> Iterator[tuple[str, Json]]:
    """A protected VM that runs on the node.

    Args:
        policies: the UID of the HAPolicy of each namespace that has one.
        fresh: no controller has said anything of it yet.
    """
    name, space, where = f"vm-{number}", space_of(node), node_name(node)
    kubevirt = "/registry/kubevirt.io"
    template: Json = {"spec": {"domain": {"devices": {}}}}
    item = made(
        *("kubevirt.io/v1", "VirtualMachine", name, number, space),
        spec={"runStrategy": "Always", "template": template},
        status={"printableStatus": "Running", "ready": True},
    )
    yield f"{kubevirt}/virtualmachines/{space}/{name}", filled(item, OBJECT["virtualmachines"])
    owner = {"controller": True, "blockOwnerDeletion": True}
    by_vm = owner | {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": name}
    by_vm |= {"uid": uid("VirtualMachine", number)}
    pod, vmi_uid = uid("Pod", number), uid("VirtualMachineInstance", number)
    conditions = [{"type": one, "status": "True"} for one in ("Ready", "LiveMigratable")]
    item = made(
        *("kubevirt.io/v1", "VirtualMachineInstance", name, number, space),
        metadata={"ownerReferences": [by_vm]},
        spec=template["spec"],
        status={"phase": "Running", "nodeName": where, "activePods": {pod: where}, "conditions": conditions},
    )
    yield (
        f"{kubevirt}/virtualmachineinstances/{space}/{name}",
        filled(item, OBJECT["virtualmachineinstances"]),
    )
    by_vmi = owner | {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "name": name,
        "uid": vmi_uid,
    }
    labels = {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": vmi_uid}
    tolerations = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
        for key in ("not-ready", "unreachable")
    ]
    running = {
        "name": "compute",
        "ready": True,
        "restartCount": 0,
        "image": "x",
        "imageID": "x",
        "started": True,
    }
    item = made(
        *("v1", "Pod", f"virt-launcher-{name}", number, space),
        metadata={"labels": labels, "ownerReferences": [by_vmi]},
        spec={
            "nodeName": where,
            "containers": [{"name": "compute", "image": "x"}],
            "tolerations": tolerations,
        },
        status={"phase": "Running", "containerStatuses": [running | {"state": {"running": {}}}]},
    )
    yield f"/registry/pods/{space}/virt-launcher-{name}", filled(item, OBJECT["pods"])
    owned: Json = {}
    if space in policies:
        by_policy: Json = {"apiVersion": "ringfence.io/v1alpha1", "kind": "HAPolicy", "name": POLICY}
        by_policy |= {"uid": policies[space], "controller": True, "blockOwnerDeletion": False}
        owned = {"ownerReferences": [by_policy]}
    item = made(
        *("ringfence.io/v1alpha1", "ProtectedVM", name, number, space),
        metadata=owned,
        spec={"vm": {"name": name}, "onNodeFailure": "Restart", "priority": 100, "dependsOn": []},
        status={} if fresh else said_of(name, node),
    )
    yield f"/registry/ringfence.io/protectedvms/{space}/{name}", item


class Store:
    """The API server's etcd, written to directly."""

    def __init__(self, url: str) -> None:
        self._pool = urllib3.PoolManager(retries=False, timeout=60)
        self._url = f"{url}/v3/kv/txn"

    def put(self, items: Iterator[tuple[str, Json]]) -> int:
        count = 0
        while batch := list(itertools.islice(items, IN_A_TXN)):
            words = [
                {"requestPut": {"key": _b64(key.encode()), "value": _b64(json.dumps(item).encode() + b"\n")}}
                for key, item in batch
            ]
            answer = self._pool.request("POST", self._url, body=json.dumps({"success": words}))
            if answer.status != 200:
                raise SystemExit(f"etcd: {answer.status} {answer.data[:300]!r}")
            count += len(batch)
        return count


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Renewals:
    """Kubelets' and agents' Leases, renewed for as long as their nodes live."""

    def __init__(self, store: Store, nodes: int) -> None:
        self._store, self._nodes = store, nodes
        self.dead: set[int] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.late = 0.0
        """Seconds by which a round was late at most."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        for second in itertools.count():
            mine = (n for n in range(self._nodes) if n not in self.dead)
            rows = [lease("agent", n) for n in mine if n % 5 == second % 5]
            rows += [
                lease("kubelet", n)
                for n in range(self._nodes)
                if n % 10 == second % 10 and n not in self.dead
            ]
            self._store.put(iter(rows))
            due += 1.0
            self.late = max(self.late, time.monotonic() - due)
            if self._end.wait(max(0.0, due - time.monotonic())):
                return


# --- the agents ----------------------------------------------------------------------------------------------


class Agent:
    """What the controller hears of one agent, by the product's own stream."""

    def __init__(self, ring: Ring, number: int) -> None:
        self._ring, self.number = ring, number
        self.server = StreamServer(ring.keys, self.view, lambda: None)

    def view(self) -> AgentView:
        ring, roster = self._ring, self._ring.roster
        me = Boot(node_name(self.number), uid("Node", self.number), uid("boot", self.number))
        watched = () if roster is None else tuple(m.boot for m in rings_of(roster).observers(me.node_uid))
        ill = {boot.node for boot, _, _ in ring.dead.values()}
        subjects = [
            SubjectView(boot, RingState.ALIVE, 60.0, 0.1, 0.1, None, None, ())
            for boot in watched
            if boot.node not in ill
        ]
        now = time.monotonic()
        subjects += [
            SubjectView(boot, RingState.UNREACHABLE, now - at, None, None, None, now - at, votes)
            for boot, votes, at in ring.dead.values()
        ]
        # As agents of a large ring do: heads are counted while somebody is doubted.
        alive = ring.names - ill if ill else {boot.node for boot in watched} | {me.node}
        epoch = 0 if roster is None else roster.epoch
        return AgentView(me, epoch, True, frozenset(alive), tuple(subjects), sent_at=now)


class Ring:
    """The five agents that the controller reads, and who is dead for them."""

    def __init__(self, nodes: int, keys: dict[str, bytes]) -> None:
        self.keys = KeySet.first(keys[GROUP_KEY_FILE])
        self._public = keys[ROSTER_PUBLIC_FILE]
        self.names = frozenset(node_name(n) for n in range(nodes))
        self.roster: Roster | None = None
        self.dead: dict[int, tuple[Boot, tuple[SignedVote, ...], float]] = {}
        self.agents: list[Agent] = []

    async def follow(self, server: Server, port: int) -> None:
        """As soon as there is a roster, be the agents that the controller reads; take over every later one."""
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{ROSTER}"
        while True:
            answer = await asyncio.to_thread(server.call, "GET", path)
            if answer.ok:
                text = answer.body["data"]["roster.json"]
                found = open_roster(text, lambda data, signature: check(data, signature, self._public)).roster
                if len(found.members) == len(self.names) and found != self.roster:
                    self.roster = found
                    if not self.agents:
                        await self._serve(found, port)
            await asyncio.sleep(0.5)  # between two looks

    async def _serve(self, roster: Roster, port: int) -> None:
        for member in chosen(roster, IDENTITY, node_name(0), {}, 0.0):
            agent = Agent(self, int(member.name[1:]))
            await agent.server.start(member.addresses[0], port)
            self.agents.append(agent)

    def candidates(self) -> Iterator[int]:
        """Nodes that may die: none of the agents that are read, and none of whom these observe."""
        assert self.roster is not None
        return (n for n in range(1, len(self.names)) if n not in {agent.number for agent in self.agents})

    def accuse(self, number: int) -> float:
        """Its observers' votes come to the agents, which push them: when."""
        assert self.roster is not None
        boot, round_id = self.roster.by_name[node_name(number)].boot, os.urandom(7) + b"\0"
        votes = []
        for voter in rings_of(self.roster).observers(boot.node_uid):
            unsigned = SignedVote(voter.name, boot, Vote.NONE, self.roster.epoch, round_id, b"")
            payload = vote_payload(self.roster.cluster, unsigned)
            votes.append(replace(unsigned, signature=voter_key(int(voter.name[1:])).sign(payload)))
        at = time.monotonic()
        self.dead[number] = boot, tuple(votes), at
        for agent in self.agents:
            agent.server.changed()
        return at


# --- the measurement -----------------------------------------------------------------------------------------


class Controller:
    """The process, and what it shows."""

    def __init__(self, server: Server, folder: Path, port: int, profile: Path | None) -> None:
        config = kubeconfig(server.acting(token(server, "ringfence-controller")), folder, "controller")
        metrics = free_port()
        self.url = f"http://127.0.0.1:{metrics}"
        under = ["-m", "cProfile", "-o", str(profile)] if profile else []
        command = [
            *(
                sys.executable,
                *under,
                "-m",
                "ringfence.controller",
                f"--identity={IDENTITY}",
                f"--port={port}",
            ),
            *(f"--node-name={node_name(0)}", f"--namespace={NAMESPACE}", f"--kubeconfig={config}"),
            f"--metrics-port={metrics}",
        ]
        env = os.environ | {"PYTHONPATH": str(PROJECT / "operator"), "KUBECONFIG": str(config)}
        self.log = folder / "controller.log"
        with self.log.open("wb") as out:
            self.started = time.monotonic()
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)

    def get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def healthy(self) -> int:
        told = self.get("/metrics") or ""
        return sum('verdict="Healthy"' in line and line.endswith(" 1.0") for line in told.splitlines())

    def leads(self) -> bool:
        return "\nringfence_leader 1.0" in (self.get("/metrics") or "")

    def looked_at(self, vms: int) -> bool:
        """Whether it has been through all ProtectedVMs, which are so many."""
        return f"\nringfence_declared_vms {float(vms)}" in (self.get("/metrics") or "")

    async def until(self, what: str, condition: Any) -> float:
        """Seconds from the process's start to when it holds."""
        while not await asyncio.to_thread(condition):
            if self.process.poll() is not None or time.monotonic() - self.started > BOUND:
                raise SystemExit(f"not {what}; the controller's last words:\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.1)  # between two looks of a bounded wait
        return round(time.monotonic() - self.started, 2)

    def cpu(self) -> float:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, which: str) -> int:
        """``VmRSS`` now or ``VmHWM`` at most, in MiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(which)) >> 10

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Lag:
    """How long the controller's loop makes somebody wait, in milliseconds."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.taken: list[float] = []

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.to_thread(self._controller.get, "/healthz")
            self.taken.append(1000 * (time.monotonic() - began))
            await asyncio.sleep(0.05)  # what the docstring says


class Watcher(threading.Thread):
    """When each Failover came out of the API server's watch, by its node."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server, self.seen = server, dict[str, float]()

    def run(self) -> None:
        path = "/apis/ringfence.io/v1alpha1/failovers?watch=true&timeoutSeconds=3600"
        answer = self._server._pool.request(
            *("GET", self._server.url + path),
            headers={"Authorization": f"Bearer {self._server.token}"},
            preload_content=False,
            timeout=urllib3.Timeout(connect=10, read=None),
        )
        buffer = b""
        for chunk in _until_it_ends(answer):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in filter(None, lines):
                found = json.loads(line)["object"]
                if found.get("status", {}).get("phase"):
                    self.seen.setdefault(found["spec"]["node"], time.monotonic())


def _until_it_ends(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        yield from answer.stream(65536)
    except urllib3.exceptions.HTTPError:
        return  # the API server is stopped at the end


def spread(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
    return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1), "max": round(max(values), 1)}


@contextmanager
def loaded(
    folder: Path, nodes: int, vms: int, keys: dict[str, bytes], *, with_policies: bool, fresh: bool
) -> Iterator[tuple[Server, Store, Json]]:
    """The API server with everything in it."""
    with running_server(binaries(), folder) as server:
        install(server)
        install_kubevirts_kinds(server)
        own = "/apis/ringfence.io/v1alpha1"
        data = {name: _b64(value) for name, value in keys.items()}
        server.must(
            "POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", {"metadata": {"name": SECRET}, "data": data}
        )
        zones = -(-nodes // ZONE_SIZE)
        for kind, name, spec in (
            ("HACluster", "default", {"mode": "Active"}),
            *(
                ("FenceDevice", f"somebody-{z}", {"driver": "manual", "nodes": _names(z, nodes)})
                for z in range(zones)
            ),
            *(("HAZone", f"zone-{z}", _zone(z)) for z in range(zones)),
        ):
            item = {
                "apiVersion": "ringfence.io/v1alpha1",
                "kind": kind,
                "metadata": {"name": name},
                "spec": spec,
            }
            server.must("POST", f"{own}/{kind.lower()}s", item)
        policies = {}
        for space in dict.fromkeys(map(space_of, range(nodes))):
            server.must("POST", "/api/v1/namespaces", {"metadata": {"name": space}})
            if with_policies:
                item = {"apiVersion": "ringfence.io/v1alpha1", "kind": "HAPolicy"}
                item |= {"metadata": {"name": POLICY}, "spec": {"allVms": True}}
                made_ = server.must("POST", f"{own}/namespaces/{space}/hapolicies", item)
                policies[space] = made_["metadata"]["uid"]
        began, store = time.monotonic(), Store(server.etcd)
        count = store.put(each for n in range(nodes) for each in of_node(n))
        count += store.put(each for v in range(vms) for each in of_vm(v, v % nodes, policies, fresh=fresh))
        for path, wanted in (("/api/v1/nodes", nodes), (f"{own}/protectedvms", vms), ("/api/v1/pods", vms)):
            found = server.must("GET", f"{path}?limit=1")
            assert 1 + found["metadata"].get("remainingItemCount", 0) == wanted, f"{path}: not all are there"
        print(f"{count} objects written in {time.monotonic() - began:.0f} s", flush=True)
        setup = {"nodes": nodes, "vms": vms, "zones": zones, "objects": count}
        yield server, store, setup | {"policies": len(policies), "fresh": fresh}


def _names(zone: int, nodes: int) -> list[str]:
    return [node_name(n) for n in range(zone * ZONE_SIZE, min((zone + 1) * ZONE_SIZE, nodes))]


def _zone(zone: int) -> Json:
    chosen_by = {"selector": {"matchLabels": {"topology.kubernetes.io/zone": f"zone-{zone}"}}}
    return {"nodes": chosen_by, "fencing": {"levels": [{"devices": [f"somebody-{zone}"]}]}}


async def measure(
    server: Server,
    store: Store,
    folder: Path,
    chosen_: argparse.Namespace,
    keys: dict[str, bytes],
    keep: Callable[..., None],
) -> None:
    """Measure, and ``keep`` each part as it ends: on a busy machine the next may come to nothing."""
    ring, port = Ring(chosen_.nodes, keys), free_port()
    with Renewals(store, chosen_.nodes) as renewals:
        controller = Controller(server, folder, port, chosen_.profile)
        following = asyncio.create_task(ring.follow(server, port))
        lag = Lag(controller)
        try:
            start = {
                "ready_s": await controller.until("ready", lambda: controller.get("/readyz") is not None)
            }
            start["leads_s"] = await controller.until("leading", controller.leads)
            start["judges_all_s"] = await controller.until(
                "judging", lambda: controller.healthy() == chosen_.nodes
            )
            start["cpu_s"] = round(controller.cpu(), 1)
            print(
                f"start: {start}; RSS {controller.memory('VmRSS')} MiB, at most {controller.memory('VmHWM')}",
                flush=True,
            )
            whole = await until_told(controller, chosen_.vms, chosen_.settle)
            told = conditions(server)
            print(f"all ProtectedVMs looked at: {whole}; {told} conditions written", flush=True)
            start |= {
                "looked_at_all": whole,
                "conditions_written": told,
                "conditions_s": round(time.monotonic() - controller.started, 1),
            }
            start["conditions_cpu_s"] = round(controller.cpu(), 1)
            start["leads_still"] = controller.leads()
            keep(start=start)
            watching = asyncio.create_task(lag.run())
            before, began = controller.cpu(), time.monotonic()
            await asyncio.sleep(chosen_.seconds)  # the window that is measured
            cpu = 100 * (controller.cpu() - before) / (time.monotonic() - began)
            rest = {
                "cpu_percent": round(cpu, 1),
                "lag_ms": spread(lag.taken),
                "rss_mib": controller.memory("VmRSS"),
            }
            print(f"at rest: {rest}", flush=True)
            keep(rest=rest, rss_at_most_mib=controller.memory("VmHWM"))
            lag.taken = []
            decisions, worked = list[float](), list[float]()
            async for taken, cpu_ms in decide(server, ring, renewals, controller, chosen_.deaths):
                decisions.append(taken)
                worked.append(cpu_ms)
                keep(
                    decision_ms=spread(decisions),
                    decision_cpu_ms=spread(worked),
                    decisions_ms=decisions,
                    lag_while_deciding_ms=spread(lag.taken),
                    rss_at_most_mib=controller.memory("VmHWM"),
                    lease_rounds_late_s=round(renewals.late, 1),
                )
            watching.cancel()
        finally:
            following.cancel()
            controller.end()
            for agent in ring.agents:
                await agent.server.close()
            if chosen_.log:
                chosen_.log.write_text(controller.log.read_text())


async def until_told(controller: Controller, vms: int, seconds: float) -> bool:
    """Whether each ProtectedVM has been looked at, and said of what is to be said; waited for so many seconds at most."""
    end = time.monotonic() + seconds
    while True:
        if await asyncio.to_thread(controller.looked_at, vms):
            return True
        if time.monotonic() > end:
            return False
        await asyncio.sleep(1.0)  # between two looks of a bounded wait


def conditions(server: Server) -> int:
    """How many the API server has stored, as it counts itself: to list 20,000 objects would be a load of its own."""
    wanted = ('resource="protectedvms"', 'subresource="status"', 'code="200"', 'verb="PATCH"')
    answer = server._pool.request(
        "GET", server.url + "/metrics", headers={"Authorization": f"Bearer {server.token}"}
    )
    lines = answer.data.decode().splitlines()
    mine = (one for one in lines if one.startswith("apiserver_request_total{"))
    return int(sum(float(one.rpartition(" ")[2]) for one in mine if all(label in one for label in wanted)))


async def decide(
    server: Server, ring: Ring, renewals: Renewals, controller: Controller, deaths: int
) -> AsyncIterator[tuple[float, float]]:
    """Milliseconds from the votes to the stored Failover, of one node after the other, each in another place of the cluster; and
    the CPU milliseconds of the controller meanwhile (in steps of ten).
    """
    watcher = Watcher(server)
    watcher.start()
    candidates = list(ring.candidates())
    for number in candidates[:: max(1, len(candidates) // deaths)][:deaths]:
        renewals.dead.add(number)
        await asyncio.sleep(3.0)  # what it said last is older than the doubt
        before = controller.cpu()
        at = renewed = ring.accuse(number)
        while node_name(number) not in watcher.seen:
            now = time.monotonic()
            if now - at > BOUND:
                raise SystemExit(f"no Failover of {node_name(number)} within {BOUND:g} s")
            if now - renewed > RENEW:  # as its observers do, until it is heard again
                renewed = ring.accuse(number)
            await asyncio.sleep(0.02)  # between two looks of a bounded wait
        worked = round(1000 * (controller.cpu() - before))
        taken = round(1000 * (watcher.seen[node_name(number)] - at), 1)
        print(f"{node_name(number)} dead: Failover stored after {taken:.0f} ms, CPU {worked} ms", flush=True)
        yield taken, worked
        del ring.dead[number]
        ring.names -= {node_name(number)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/scale.py", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--vms", type=int, default=20_000)
    parser.add_argument("--deaths", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="of rest")
    parser.add_argument("--settle", type=float, default=300.0, help="wait at most so long for the conditions")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench" / "out" / "scale.json")
    parser.add_argument("--no-policies", action="store_true", help="ProtectedVMs that people have made")
    parser.add_argument(
        "--fresh", action="store_true", help="an installation: all conditions are yet to be written"
    )
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--log", type=Path, help="where the controller's log goes")
    chosen_ = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing that was started stays behind
    keys = make_group_keys()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        with loaded(
            *(folder, chosen_.nodes, chosen_.vms, keys),
            with_policies=not chosen_.no_policies,
            fresh=chosen_.fresh,
        ) as (
            server,
            store,
            setup,
        ):
            told: Json = {"setup": setup, "machine": {}, "profiled": chosen_.profile is not None}

            def keep(**figures: Any) -> None:
                told.update(figures)
                told["machine"] = _machine()
                chosen_.out.parent.mkdir(parents=True, exist_ok=True)
                chosen_.out.write_text(json.dumps(told, indent=1) + "\n")

            asyncio.run(measure(server, store, folder, chosen_, keys, keep))
    print(json.dumps({key: value for key, value in told.items() if key != "decisions_ms"}, indent=1))
    print(f"written to {chosen_.out}")


def _machine() -> Json:
    return {
        "cpus": os.cpu_count(),
        "model": _model(),
        "kernel": platform.release(),
        "load": os.getloadavg(),
        "class": {0: "normal", 3: "batch", 5: "idle"}.get(os.sched_getscheduler(0), "real time"),
    }


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
