"""One lab as a whole: what tests hold in their hands."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab import bmc, build, machine, network, roots, storage, ticks
from lab.console import say
from lab.controlplane import Api
from lab.guest import Guest, guest
from lab.kubevirt import KubeVirt
from lab.node import Node
from lab.pki import Authority
from lab.plan import ROOT, Plan
from lab.process import CommandFailedError
from lab.state import State
from lab.storage import Kind, Storage
from lab.template import template
from lab.wait import until

NODE_READY = 90


class Lab:
    """A running lab. Everything it knows is on disk: any number of processes may hold the same one."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.plan = state.plan
        self.api = Api(state)
        self.nodes = tuple(Node(self.plan, node) for node in self.plan.all_nodes())
        self.storage = Storage(self.plan)

    # -- life -----------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, name: str = "lab") -> Lab:
        """The lab of that name, which is up (or was, before a crash)."""
        return cls(State.load(name))

    @classmethod
    def up(cls, name: str = "lab", nodes: int = 3, *, index: int = 0, zones: int = 0, grace: int = 50) -> Lab:
        """Bring up a lab and return when every node takes VMs."""
        machine.check()
        prepared = prepare()
        lab = cls(State.create(Plan(name, index, nodes, zones, grace)))
        lab._start(prepared)
        return lab

    def _start(self, prepared: Prepared) -> None:
        plan = self.plan
        for folder in (plan.logs, plan.shared):
            folder.mkdir(parents=True)
        say(f"lab {plan.name}: network {plan.network}.0.0/16, logs in {plan.logs}")
        network.build(plan)
        self.api.install(prepared.programs)
        with ThreadPoolExecutor(max_workers=2) as pool:
            control = pool.submit(self.api.start_all)
            authority = Authority(plan.pki)
            for node in self.nodes:
                network.connect(plan, node.plan)
                node.prepare(authority, prepared.store)
            control.result()
        say("control plane ready")
        kubevirt = KubeVirt(self.api, prepared.programs)
        with ThreadPoolExecutor(max_workers=2) as pool:
            install = pool.submit(kubevirt.install)
            for node in self.nodes:
                node.power_on()
            bmc.start(self.state, tuple(node.plan.bmc_port for node in self.nodes))
            install.result()
        say(f"KubeVirt installed, {plan.nodes} nodes booting")
        kubevirt.open_doors()
        say("virt-api answers, webhooks in place")
        self.wait_nodes(NODE_READY)
        until("KubeVirt's deployments are complete", kubevirt.whole, 60, every=0.3)
        say(f"lab {plan.name} is up: export KUBECONFIG={plan.kubeconfig}")

    def down(self) -> None:
        """Remove the lab without a trace, whatever state it is in."""
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(Node.power_off, self.nodes))
        self.api.down()
        for node in self.nodes:
            node.remove()
        self.storage.down()
        network.demolish(self.plan)
        shutil.rmtree(self.plan.folder, ignore_errors=True)
        if ROOT.exists() and not any(ROOT.iterdir()):
            ROOT.rmdir()
        say(f"lab {self.plan.name} is gone")

    # -- the API --------------------------------------------------------------------------------------------

    def kubectl(self, *words: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """Call kubectl as the administrator; *input* is its standard input."""
        return self.api.kubectl(*words, text=input, check=check)

    def get(self, kind: str, name: str | None = None, namespace: str | None = None) -> dict[str, Any]:
        """One object, or the list of all of its kind; an empty dict when there is none of that name."""
        words = ["get", kind, *([name, "--ignore-not-found"] if name else [])]
        words += ["--namespace", namespace] if namespace else [] if name else ["--all-namespaces"]
        answer = self.kubectl(*words, "--output", "json")
        found: dict[str, Any] = json.loads(answer) if answer.strip() else {}
        return found

    def node(self, name: str) -> Node:
        """The node of that name."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(f"no node {name} in lab {self.plan.name}")

    def bmc(self, name: str) -> bmc.Bmc:
        """The BMC of the node of that name."""
        return bmc.Bmc(self.plan, self.node(name))

    def ready_nodes(self) -> set[str]:
        """The nodes that are Ready and take VMs."""
        return {
            item["metadata"]["name"]
            for item in self.get("nodes")["items"]
            if item["metadata"].get("labels", {}).get("kubevirt.io/schedulable") == "true"
            and any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in item["status"].get("conditions", [])
            )
        }

    def wait_nodes(self, within: float, *names: str) -> None:
        """Return when these nodes (all of them, if none is named) are Ready and take VMs."""
        wanted = set(names) or {node.name for node in self.nodes}
        log = self.plan.logs / f"{min(wanted)}-kubelet.log"
        until(f"nodes {sorted(wanted)} are ready for VMs", lambda: wanted <= self.ready_nodes(), within, every=0.5, log=log)

    # -- VMs ------------------------------------------------------------------------------------------------

    def create_vm(
        self,
        name: str,
        *,
        storage: Kind = "file",
        run_strategy: str = "Always",
        namespace: str = "default",
        node: str | None = None,
    ) -> None:
        """Create a VM with a fresh ticking disk on shared storage; *node* is where it had best start."""
        provide(self, name, storage, namespace, run_strategy, node)

    def delete_vm(self, name: str, namespace: str = "default") -> None:
        """Delete a VM, its volume and its disk, and return when nothing of it is left."""
        self.kubectl(
            *("--namespace", namespace, "delete", "virtualmachine", name),
            *("--ignore-not-found", "--wait=true", "--timeout=60s"),
        )
        until(f"the instance of VM {name} is gone", lambda: not self.vmi(name, namespace), 60, every=0.3)
        self.kubectl("--namespace", namespace, "delete", "pvc", name, "--ignore-not-found")
        self.kubectl("delete", "pv", storage.volume_name(self.plan, name), "--ignore-not-found")
        self.storage.withdraw(name, self.nodes)

    def vmi(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """The VM's instance, or an empty dict."""
        return self.get("vmi", name, namespace)

    def wait_vm_running(
        self, name: str, timeout: float = 60, namespace: str = "default", *, other_than: str = ""
    ) -> str:
        """Return the node on which the VM runs, once it does; *other_than* is the uid of an instance that
        doesn't count."""

        def running() -> str:
            vmi = self.vmi(name, namespace)
            status = vmi.get("status", {})
            if status.get("phase") != "Running" or vmi["metadata"]["uid"] == other_than:
                return ""
            return str(status.get("nodeName", ""))

        return until(f"VM {name} runs", running, timeout, every=0.2)

    def ticks(self, name: str) -> ticks.History:
        """What the VM's disk says of its guests."""
        return ticks.read(self.storage.disk(name))

    def first_tick_after(self, name: str, *, instance_other_than: str = "", timeout: float = 60) -> tuple[ticks.Tick, float]:
        """Wait for a tick of another boot of the guest; return it and the wall time at which it was seen."""
        disk = self.storage.disk(name)

        def new() -> ticks.Tick | None:
            tick = ticks.last(disk)
            return tick if tick is not None and tick.instance != instance_other_than else None

        tick = until(f"VM {name} ticks", new, timeout, every=0.05)
        return tick, time.time()


class Prepared:
    """What the cache holds for every lab."""

    def __init__(self, programs: build.Programs, store: Path, disk: Guest) -> None:
        self.programs = programs
        self.store = store
        self.guest = disk


def prepare() -> Prepared:
    """Build whatever the cache doesn't hold yet."""
    cache = build.cache_root()
    machine.equip()
    programs = build.programs(cache)
    return Prepared(programs, template(cache, roots.images(cache, programs)), guest(cache))


def provide(
    lab: Lab, name: str, kind: Kind, namespace: str, run_strategy: str, node: str | None
) -> None:
    """Make a VM's disk, volumes and the VM itself."""
    lab.storage.provide(name, kind, guest(build.cache_root()), lab.nodes)
    objects = [
        *storage.volumes(lab.plan, name, kind, namespace),
        storage.machine(name, namespace, run_strategy, node),
    ]
    try:
        lab.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    except CommandFailedError:
        lab.storage.withdraw(name, lab.nodes)
        raise
