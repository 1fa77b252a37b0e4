"""One lab: everything together, by the names that tests use."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import bmc, guest, ipmi, processes, san, vms
from lab import ticks as tick_history
from lab.bmc import Bmc
from lab.controlplane import ControlPlane, Kubectl
from lab.fenced import FencedDisks
from lab.kubevirt import KubeVirt
from lab.layout import BMC_PORT, IPMI_PORT, Layout
from lab.node import Node, PowerLog
from lab.pki import Pki
from lab.prepare import PROJECT, Prepared, prepare
from lab.san import San
from lab.wait import until
from lab.watchdog.kennel import Dog, Kennel

NAMESPACE = "ringfence-system"
USER, PASSWORD = "fence", "not-a-secret-here"
OUR_KINDS = ("failovers", "hapolicies", "protectedvms", "hazones", "fencedevices", "haclusters")
OUR_TAINTS = ("node.kubernetes.io/out-of-service:NoExecute-", "ringfence.io/suspect:NoSchedule-")

Progress = Callable[[str], None]


def silent(_line: str) -> None:
    """No progress shown."""


@dataclass(frozen=True, slots=True)
class ApiFault:
    """Ways to break the API server."""

    plane: ControlPlane

    def freeze(self) -> None:
        self.plane.freeze("kube-apiserver")

    def thaw(self) -> None:
        self.plane.thaw("kube-apiserver")

    def stop(self) -> None:
        self.plane.stop_part("kube-apiserver")

    def start(self) -> None:
        self.plane.start_part("kube-apiserver")
        self.plane.wait_ready()


class Lab:
    """A running lab. All of it is on disk and in the kernel: any process can load it."""

    def __init__(self, layout: Layout, prepared: Prepared) -> None:
        self.layout = layout
        self.prepared = prepared
        self.pki = Pki(layout.pki)
        self.plane = ControlPlane(layout, self.pki, prepared.bin)
        self.api = ApiFault(self.plane)
        self.kubectl = Kubectl(layout, prepared.bin)
        self.kubevirt = KubeVirt(layout, prepared.bin, self.kubectl)
        self.disks = vms.Disks(layout)
        self.san = San(layout, self.pki, prepared.bin)
        self.kennel = Kennel(layout)
        count = json.loads((layout.root / "lab.json").read_text()).get("nodes", 0)
        self.nodes = {f"n{i}": Node(layout, i, prepared.bin) for i in range(1, count + 1)}
        self.power_log = PowerLog(layout.logs / "power.jsonl")

    # --- life -----------------------------------------------------------------------------------------

    @classmethod
    def up(cls, name: str = "lab", nodes: int = 3, *, progress: Progress = silent) -> Lab:
        """Start a lab; one that is up already is loaded."""
        prepared = prepare()
        layout = Layout.claim(name)
        about = layout.root / "lab.json"
        if json.loads(about.read_text()).get("up") and processes.named(
            f"{layout.prefix}-cp", "kube-apiserver"
        ):
            return cls(layout, prepared)
        remove(layout)
        layout = Layout.claim(name)
        for folder in (layout.logs, layout.shared, layout.root / "nodes"):
            folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()

        def say(line: str) -> None:
            progress(f"{time.monotonic() - began:6.1f} s  {line}")

        about.write_text(json.dumps({"name": name, "index": layout.index, "nodes": nodes, "up": False}))
        lab = cls(layout, prepared)
        lab._bring_up(say)
        about.write_text(json.dumps({"name": name, "index": layout.index, "nodes": nodes, "up": True}))
        say("the lab is up")
        return lab

    def _bring_up(self, say: Progress) -> None:
        layout = self.layout
        (layout.logs / "audit.log").touch()
        run = processes.run
        run("ip", "link", "add", layout.prefix, "type", "bridge")
        run("ip", "addr", "add", f"{layout.host}/24", "dev", layout.prefix)
        run("ip", "link", "set", layout.prefix, "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        self.plane.start()
        say("the API server answers")
        self.san.start()
        self.apply(*san.objects())
        for node in self.nodes.values():
            node.create(self.pki, self.prepared.template)
            node.power_on()
        say(f"{len(self.nodes)} nodes boot")
        for node in self.nodes.values():
            self.start_bmc(node)
            self._start_ipmi(node)
        self.kubevirt.install()
        say("KubeVirt is declared")
        until("all nodes Ready", self._all_ready, 90, every=0.3)
        say("all nodes are Ready")
        self.kubevirt.wait(len(self.nodes))
        say("KubeVirt takes VMs")

    @classmethod
    def load(cls, name: str = "lab") -> Lab:
        """The lab of that name that is up. LookupError if there is none."""
        layout = Layout.find(name)
        if layout is None or not json.loads((layout.root / "lab.json").read_text()).get("up"):
            raise LookupError(f"no lab {name!r} is up: python -m lab --name {name} up")
        return cls(layout, prepare())

    def down(self) -> None:
        remove(self.layout)

    # --- parts ----------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        return self.nodes[name]

    def bmc(self, name: str) -> Bmc:
        """The BMC of a node."""
        node = self.nodes[name]
        return Bmc(node.folder / "bmc-control.json", self.layout.logs / f"bmc-{name}.jsonl")

    def ipmi(self, name: str) -> Bmc:
        """The IPMI BMC of a node; it has a mood of its own."""
        node = self.nodes[name]
        return Bmc(node.folder / "ipmi-control.json", self.layout.logs / f"ipmi-{name}.jsonl")

    def bmc_address(self, name: str) -> str:
        return f"https://{self.layout.host}:{BMC_PORT + self.nodes[name].number}"

    def start_bmc(self, node: Node) -> None:
        """Put a Redfish BMC on the node."""
        crt, key = self.pki.certificate("bmc", "bmc", hosts=(self.layout.host,))
        htpasswd = self.layout.root / "bmc.htpasswd"
        if not htpasswd.exists():
            bmc.write_htpasswd(htpasswd, USER, PASSWORD)
        group = f"{self.layout.prefix}-bmc"
        processes.make(group)
        itself = bmc.lab_command(self.layout.name)
        processes.spawn(
            group,
            bmc.command(
                listen=self.layout.host,
                port=BMC_PORT + node.number,
                cert=crt,
                key=key,
                htpasswd=htpasswd,
                node=node.name,
                uuid=node.systemuuid,
                node_dir=node.folder,
                control=node.folder / "bmc-control.json",
                log=self.layout.logs / f"bmc-{node.name}.jsonl",
                off=[*itself, "poweroff", node.name],
                on=[*itself, "poweron", node.name],
            ),
            self.layout.logs / f"bmc-{node.name}.log",
            env={"PYTHONPATH": str(PROJECT / "tests")},
        )

    def stop_bmc(self, name: str) -> None:
        """Take the node's Redfish BMC away."""
        for pid in processes.members(f"{self.layout.prefix}-bmc"):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if (b"--node", name.encode()) in itertools.pairwise(words):
                    os.kill(pid, signal.SIGKILL)

    def _start_ipmi(self, node: Node) -> None:
        group = f"{self.layout.prefix}-ipmi"
        processes.make(group)
        itself = bmc.lab_command(self.layout.name)
        command = ipmi.command(
            node.folder / "ipmi",
            listen=self.layout.host,
            port=IPMI_PORT + node.number,
            user=USER,
            password=PASSWORD,
            guid=ipmi.smbios(node.systemuuid),
            node=node.name,
            node_dir=node.folder,
            control=node.folder / "ipmi-control.json",
            log=self.layout.logs / f"ipmi-{node.name}.jsonl",
            off=[*itself, "poweroff", node.name],
            on=[*itself, "poweron", node.name],
        )
        log = self.layout.logs / f"ipmi-{node.name}.log"
        processes.spawn(group, command, log, env={"PYTHONPATH": str(PROJECT / "tests")})

    def get(self, kind: str, name: str = "", namespace: str = "") -> Any:
        """One object, or all of a kind as a list."""
        found = self.kubectl.get(kind, name, namespace)
        if name:
            return found
        return found["items"] if found else []

    def _all_ready(self) -> bool:
        nodes = self.get("nodes")
        ready = [
            n
            for n in nodes
            for c in n["status"].get("conditions", [])
            if c["type"] == "Ready" and c["status"] == "True"
        ]
        return len(ready) == len(self.nodes)

    # --- guests ---------------------------------------------------------------------------------------

    def create_vm(
        self,
        name: str,
        *,
        storage: str = "file",
        run_strategy: str = "Always",
        namespace: str = "default",
        node: str | None = None,
        state: bool = False,
    ) -> None:
        """A ticking VM on a shared disk (one of ``vms.STORAGES``), on ``node`` if there is room.

        ``state``: it boots by EFI and has a TPM, whose state is kept on the volume ``<name>-state``.
        """
        objects = [*self._volume(name, namespace, storage)]
        if state:
            self.disks.file(f"{name}-state")
            objects.append(vms.state_volume(f"{name}-state"))
        self.apply(*objects, vms.machine(name, namespace, run_strategy, node, state=state))

    def _volume(self, name: str, namespace: str, storage: str) -> list[dict[str, object]]:
        """A guest's disk on the storage, and the objects that declare it."""
        block = vms.is_block(storage)
        disk = self.disks.block(name) if block else self.disks.file(name)
        guest.make_disk(self.prepared.guest, disk)
        if block:
            minor = self.disks.attach(name)
            for one in self.nodes.values() if storage == "block" else ():
                one.add_lun(name, minor)
        return vms.volume(name, namespace, storage)

    def hotplug(self, vm: str, volume: str, *, storage: str = "csi-rwo", namespace: str = "default") -> None:
        """Add a volume to a running VM, for good: it is part of the VM from now on."""
        self.apply(*self._volume(volume, namespace, storage))
        options = {
            "name": volume,
            "disk": {"disk": {"bus": "scsi"}},
            "volumeSource": {"persistentVolumeClaim": {"claimName": volume}},
        }
        path = f"/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{vm}/addvolume"
        self.kubectl("replace", "--raw", path, "-f", "-", stdin=json.dumps(options))

    def hotplugged(self, vm: str, volume: str, namespace: str = "default") -> bool:
        """Whether the volume is plugged into the VM's instance that runs now."""
        vmi = self.get("vmi", vm, namespace) or {}
        rows = vmi.get("status", {}).get("volumeStatus", [])
        return any(r["name"] == volume and r.get("phase") == "Ready" and "hotplugVolume" in r for r in rows)

    def attachments(self, volume: str) -> dict[str, bool]:
        """The nodes that Kubernetes calls the volume attached to, and whether it is done."""
        return {
            a["spec"]["nodeName"]: bool(a.get("status", {}).get("attached"))
            for a in self.get("volumeattachments")
            if a["spec"]["source"].get("persistentVolumeName") == volume
        }

    def delete_vm(self, name: str, namespace: str = "default") -> None:
        """Remove the VM, its volumes and their disks; returns when no instance and no launcher is left."""
        vm = self.get("vm", name, namespace) or {"spec": {"template": {"spec": {}}}}
        rows = vm["spec"]["template"]["spec"].get("volumes", [])
        plugged = {r["persistentVolumeClaim"]["claimName"] for r in rows if "persistentVolumeClaim" in r}
        self.kubectl("-n", namespace, "delete", "vm", name, "--ignore-not-found", "--wait=false")
        until(
            f"VM {name} to be gone",
            lambda: self.get("vmi", name, namespace) is None and not self.launchers(name),
            120,
        )
        for volume in sorted({name} | plugged):
            self.kubectl(
                "-n", namespace, "delete", "pvc", volume, "--ignore-not-found", "--wait=true", "--timeout=60s"
            )
        # The claim of its state is its own: Kubernetes' garbage collector removes it, when no pod is left.
        for volume in sorted({name, f"{name}-state"} | plugged):
            self.kubectl("delete", "pv", volume, "--ignore-not-found", "--wait=true", "--timeout=60s")
            self.disks.remove(volume)

    def console(self, name: str, namespace: str = "default") -> str:
        """What the guest that runs now has said on its console."""
        vmi = self.get("vmi", name, namespace)
        (pod,) = (
            p
            for p in self.launchers(name)
            if p["metadata"]["labels"].get("kubevirt.io/created-by") == vmi["metadata"]["uid"]
        )
        return self.kubectl("-n", namespace, "logs", pod["metadata"]["name"], "-c", "guest-console-log")

    def launchers(self, name: str) -> list[Any]:
        text = self.kubectl("get", "pod", "-A", "-l", f"kubevirt.io=virt-launcher,vm={name}", "-o", "json")
        items: list[Any] = json.loads(text)["items"]
        return items

    def wait_vm_running(
        self, name: str, seconds: float = 90, *, elsewhere_than: str = "", namespace: str = "default"
    ) -> str:
        """Until the VM's instance is Running (on another node than that one); the node's name."""

        def where() -> str:
            vmi = self.get("vmi", name, namespace)
            if not vmi or vmi.get("status", {}).get("phase") != "Running":
                return ""
            node: str = vmi["status"].get("nodeName", "")
            return node if node != elsewhere_than else ""

        return until(f"VM {name} to run", where, seconds, every=0.3)

    def ticks(self, name: str) -> list[tick_history.Run]:
        """The history of ticks that is on the VM's disk, one run an instance."""
        return tick_history.history(self.disks.path(name))

    def wait_tick(self, name: str, seconds: float = 60, *, other_than: str = "") -> tick_history.Run:
        """Until an instance of the guest (another than that one) has ticked; its run."""

        def newest() -> tick_history.Run | None:
            runs = self.ticks(name)
            return runs[-1] if runs and runs[-1].instance != other_than else None

        return until(f"a tick of {name}", newest, seconds, every=0.2)

    # --- ringfence --------------------------------------------------------------------------------------

    def install_ringfence(self, values: dict[str, str] | None = None) -> None:
        """Install it as its users do: the CRDs, then the chart, with our image; with watchdogs if the values say so."""
        self.apply_kinds()
        manifests = self.rendered(values)
        if (values or {}).get("agent.watchdog.enabled") == "true":
            self.kennel.start(sorted(self.nodes))
            manifests = self.kennel.dress(manifests)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifests)

    def apply_kinds(self, tree: Path = PROJECT) -> None:
        """Our CRDs (those of another ``tree``, if one is given), and the namespace that ringfence will be in."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(tree / "crds"))
        self.kubectl("create", "namespace", NAMESPACE, check=False)

    def chart_values(self, values: dict[str, str] | None = None) -> dict[str, str]:
        """What the lab's own image and network ask of the chart, and ``values`` besides."""
        return {
            "image.repository": "docker.io/local/ringfence",
            "image.tag": "lab",
            "image.pullPolicy": "Never",
            "apiServer.host": self.layout.host,
            "apiServer.port": self.layout.api.rsplit(":", 1)[1],
            "agent.bootIdPath": "/run/boot_id",
            **(values or {}),
        }

    def chart_words(self, values: dict[str, str] | None = None, tree: Path = PROJECT) -> list[str]:
        """The same as helm's command line: release, chart and values; the chart of another ``tree``, if one is given."""
        sets = [
            word
            for key, value in self.chart_values(values).items()
            for word in ("--set-string" if key.endswith("port") else "--set", f"{key}={value}")
        ]
        return ["ringfence", str(tree / "charts/ringfence"), "--namespace", NAMESPACE, *sets]

    def helm(self, *words: str, check: bool = True) -> str:
        """Run helm as the lab's administrator; what it printed."""
        return processes.run(
            str(self.prepared.helm), *words, "--kubeconfig", str(self.layout.kubeconfig), check=check
        )

    def rendered(self, values: dict[str, str] | None = None) -> str:
        """The chart's manifests without its hooks."""
        return processes.run(str(self.prepared.helm), "template", *self.chart_words(values), "--no-hooks")

    def dog(self, name: str) -> Dog:
        """The watchdog of a node."""
        return self.kennel.dog(name)

    def declare_watchdogs(self, isolation: float, timeout: float, assume: float) -> None:
        """HACluster and a zone of all nodes that have no BMC, only their watchdogs."""
        names = sorted(self.nodes)
        times = {"isolationSeconds": isolation, "timeoutSeconds": timeout, "assumeSeconds": assume}
        fencing = {"levels": [{"devices": ["watchdogs"]}], "watchdog": times}
        self.apply(
            _ours("FenceDevice", "watchdogs", {"driver": "watchdog", "nodes": names}),
            _ours("HAZone", "lab", {"nodes": {"names": names}, "fencing": fencing}),
            _ours("HACluster", "default", {"mode": "Active"}),
        )

    def declare(self, *, devices: bool = True, mode: str = "Active", driver: str = "redfish") -> None:
        """HACluster, a zone of all nodes, and a fence device of that driver for each."""
        self.apply(*self.declared(devices=devices, mode=mode, driver=driver))

    def declared(
        self, *, devices: bool = True, mode: str = "Active", driver: str = "redfish"
    ) -> list[dict[str, Any]]:
        """The same as objects."""
        names = sorted(self.nodes)
        items: list[dict[str, Any]] = []
        if devices:
            secret = {"username": USER, "password": PASSWORD}
            data = {key: base64.b64encode(value.encode()).decode() for key, value in secret.items()}
            meta = {"name": "bmc-credentials", "namespace": NAMESPACE}
            items.append({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})
            items.extend(self.fence_device(name, driver=driver) for name in names)
        levels = [{"devices": [f"bmc-{name}" for name in names]}] if devices else []
        items.append(_ours("HAZone", "lab", {"nodes": {"names": names}, "fencing": {"levels": levels}}))
        items.append(_ours("HACluster", "default", {"mode": mode}))
        return items

    def fence_device(
        self, name: str, secret: str = "bmc-credentials", *, driver: str = "redfish"
    ) -> dict[str, object]:
        """A node's FenceDevice: its Redfish BMC, its IPMI BMC, or the latter through fence_ipmilan."""
        host, port = self.layout.host, IPMI_PORT + self.nodes[name].number
        account = {"secretRef": {"name": secret}}
        words = ("username", "password")
        # What the agent would wait for, ringfence reads itself.
        brisk = {"lanplus": "1", "cipher": str(ipmi.CIPHER_SUITE), "power_wait": "0", "power_timeout": "10"}
        blocks: dict[str, Any] = {
            "redfish": {"address": self.bmc_address(name), "caBundle": self.pki.ca, **account},
            "ipmi": {"address": f"{host}:{port}", "cipherSuite": ipmi.CIPHER_SUITE, **account},
            "agent": {
                "program": "fence_ipmilan",
                "parameters": {"ip": host, "ipport": str(port), **brisk},
                "secretParameters": {word: {"name": secret, "key": word} for word in words},
            },
        }
        spec = {"driver": driver, "nodes": [name], driver: blocks[driver]}
        return _ours("FenceDevice", f"bmc-{name}", spec)

    def protect(self, vm: str, namespace: str = "default") -> None:
        protected = _ours("ProtectedVM", vm, {"vm": {"name": vm}})
        protected["metadata"] = {"name": vm, "namespace": namespace}
        self.apply(protected)

    def apply(self, *items: dict[str, object]) -> None:
        self.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})
        )

    def condition(self, kind: str, name: str, condition: str, namespace: str = "") -> dict[str, Any]:
        found = self.get(kind, name, namespace) or {}
        conditions = found.get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == condition), {})

    def wait_condition(
        self,
        kind: str,
        name: str,
        condition: str,
        status: str,
        *,
        namespace: str = "",
        reason: str = "",
        seconds: float = 60,
    ) -> dict[str, Any]:
        """Until the condition has that status (and reason)."""

        def there() -> dict[str, Any] | None:
            c = self.condition(kind, name, condition, namespace)
            return c if c.get("status") == status and (not reason or c["reason"] == reason) else None

        return until(f"{kind} {name}: {condition}={status} {reason}".strip(), there, seconds, every=0.3)

    def wait_armed(self, seconds: float = 120) -> None:
        """Until ringfence runs everywhere and each of its fence devices is proved."""

        def rolled_out() -> bool:
            sets = (
                self.get("daemonset", "ringfence-agent", NAMESPACE),
                self.get("deployment", "ringfence-controller", NAMESPACE),
            )
            if not all(sets):
                return False
            agents, controllers = (s["status"] for s in sets)
            return bool(
                agents.get("numberReady") == len(self.nodes) and controllers.get("readyReplicas") == 2
            )

        until("ringfence's pods to be ready", rolled_out, seconds, every=0.5)
        for device in self.get("fencedevices"):
            self.wait_condition("fencedevice", device["metadata"]["name"], "Ready", "True", seconds=seconds)
        for zone in self.get("hazones"):
            name = zone["metadata"]["name"]
            until(
                f"every node of zone {name} to be Healthy",
                lambda name=name: (
                    all(  # type: ignore[misc] # mypy knows no defaults in lambdas
                        v["verdict"] == "Healthy"
                        for v in self.get("hazone", name)["status"].get("nodeVerdicts", [])
                    )
                    and len(self.get("hazone", name)["status"].get("nodeVerdicts", [])) == len(self.nodes)
                ),
                seconds,
                every=0.5,
            )

    def failovers(self, node: str) -> list[Any]:
        return [f for f in self.get("failovers") if f["spec"]["node"] == node]

    def wait_phase(self, node: str, *phases: str, seconds: float = 60) -> Any:
        """Until the node's newest failover is in one of the phases; the failover."""

        def there() -> Any:
            found = sorted(self.failovers(node), key=lambda f: str(f["metadata"]["creationTimestamp"]))
            return found[-1] if found and found[-1].get("status", {}).get("phase") in phases else None

        return until(f"a failover of {node} in phase {' or '.join(phases)}", there, seconds, every=0.2)

    def leader(self) -> str:
        """The controller pod that leads."""
        lease = self.get("lease", "ringfence-controller", NAMESPACE)
        return str(lease["spec"].get("holderIdentity") or "") if lease else ""

    def kill_controller(self, pod: str) -> bool:
        """SIGKILL to the processes of one controller replica; whether there were any."""
        node = self.pod_node(pod)
        pids = (
            self.node(node).pids_with(b"ringfence.controller", f"--identity={pod}".encode()) if node else []
        )
        processes.kill(pids)
        return bool(pids)

    def quiet_node(self) -> str:
        """The node with the fewest of KubeVirt's own controllers: what their loss costs is not measured too.

        A virt-api that dies with its node leaves dead connections in the API server's pools: a call of its webhooks
        over one of them takes ten seconds. A virt-controller that led costs its Lease's fifteen.
        """
        burden = dict.fromkeys(sorted(self.nodes), 0)
        leader = (
            (self.get("lease", "virt-controller", "kubevirt") or {}).get("spec", {}).get("holderIdentity", "")
        )
        for pod in self.get("pods"):
            node = pod["spec"].get("nodeName")
            kind = pod["metadata"].get("labels", {}).get("kubevirt.io")
            if node in burden and kind in ("virt-api", "virt-controller"):
                burden[node] += (
                    4 if kind == "virt-api" else 2 if leader.startswith(pod["metadata"]["name"]) else 1
                )
        return min(burden, key=lambda name: burden[name])

    def pod_node(self, name: str, namespace: str = NAMESPACE) -> str:
        pod = self.get("pod", name, namespace)
        return str(pod["spec"].get("nodeName", "")) if pod else ""

    # --- back to a known state --------------------------------------------------------------------------

    def reset(self, seconds: float = 180) -> None:
        """Heal everything, remove every VM and every object of ours, and wait until all is well."""
        self.san.let_go()
        self.api.thaw()
        if not self.plane.running("kube-apiserver"):
            self.api.start()
        for name, node in self.nodes.items():
            self.bmc(name).mode("ok")
            self.ipmi(name).mode("ok")
            node.thaw()
            if node.running():
                node.heal()
                node.heal_api()
                node.start_kubelet()
        self.kubectl(
            "delete",
            "haclusters,hazones,hapolicies,protectedvms,fencedevices",
            "--all",
            "-A",
            "--wait=false",
            check=False,
        )
        for node in self.nodes.values():
            node.power_on()
        until("all nodes Ready", self._all_ready, seconds, every=0.5)
        for name in self.nodes:
            for taint in OUR_TAINTS:  # one by one: kubectl does nothing at all if one of several is not there
                self.kubectl("taint", "node", name, taint, check=False)
        for vm in self.get("vms"):
            self.delete_vm(vm["metadata"]["name"], vm["metadata"]["namespace"])
        until("every failover to be over and deleted", self._no_failovers, seconds, every=1.0)
        self.kubectl("-n", NAMESPACE, "delete", "secret", "bmc-credentials", "--ignore-not-found")
        self.kubectl(
            "-n", NAMESPACE, "scale", "deployment", "ringfence-controller", "--replicas=2", check=False
        )
        self.kubectl("uncordon", *self.nodes, check=False)
        self.wait_well(seconds)

    def _no_failovers(self) -> bool:
        """One that is deleted while an order may be at work, or VMs are on their way, is written anew until it is through."""
        self.kubectl("delete", "failovers", "--all", "--wait=true", "--timeout=30s", check=False)
        return not self.get("failovers")

    def wait_well(self, seconds: float = 180) -> None:
        """Until Kubernetes and KubeVirt are themselves again: every node Ready, untainted, and takes VMs."""
        until("all nodes Ready", self._all_ready, seconds, every=0.5)
        until("virt-api to answer", self.kubevirt.answers, seconds, every=0.5)
        until(
            "every node to take VMs",
            lambda: self.kubevirt.schedulable() == len(self.nodes),
            seconds,
            every=0.5,
        )
        until("no node to be tainted or cordoned", self._untainted, seconds, every=0.5)
        until("virt-handler to be ready everywhere", self._handlers_ready, seconds, every=0.5)

    def _untainted(self) -> bool:
        """Kubernetes takes its own taints off some seconds after a node is Ready again."""
        return all(
            not n["spec"].get("taints") and not n["spec"].get("unschedulable") for n in self.get("nodes")
        )

    def _handlers_ready(self) -> bool:
        status = self.get("daemonset", "virt-handler", "kubevirt")["status"]
        return bool(status.get("numberReady") == len(self.nodes) == status.get("numberAvailable"))


def _ours(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": "ringfence.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def remove(layout: Layout) -> None:
    """Take away all that a lab of this layout has (or has left behind after a crash)."""
    for group in processes.groups(layout.prefix):
        processes.end(group)
    vms.Disks(layout).remove_all()
    FencedDisks(layout).remove_all()
    for netns in Path("/run/netns").glob(f"{layout.prefix}-*"):
        processes.run("ip", "netns", "del", netns.name, check=False)
    for link in Path("/sys/class/net").glob(f"{layout.prefix}-*"):
        processes.run("ip", "link", "del", link.name, check=False)
    if Path(f"/sys/class/net/{layout.prefix}").exists():
        processes.run("ip", "link", "del", layout.prefix)
    if layout.logs.exists():
        last = layout.root.parent / f"{layout.name}-last-logs"
        shutil.rmtree(last, ignore_errors=True)
        for node in layout.root.glob("nodes/*"):
            for log in node.glob("*.log"):
                shutil.copy(log, layout.logs / f"{node.name}-{log.name}")
            for pod in node.glob("disk/var/log/pods/ringfence-system_*/*"):
                for log in pod.glob("*.log"):
                    name = pod.parent.name.removeprefix("ringfence-system_").rpartition("_")[0]
                    shutil.copy(log, layout.logs / f"{node.name}-{name}-{log.name}")
        shutil.move(layout.logs, last)
    shutil.rmtree(layout.root, ignore_errors=True)


def traces(layout: Layout) -> list[str]:
    """What is left of a lab that was taken down; nothing, if all is well."""
    left = [f"control group {g}" for g in processes.groups(layout.prefix)]
    left += [f"namespace {p.name}" for p in Path("/run/netns").glob(f"{layout.prefix}-*")]
    left += [
        f"link {p.name}"
        for p in Path("/sys/class/net").glob(f"{layout.prefix}*")
        if p.name.split("-")[0] == layout.prefix
    ]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    left += [f"mount {m.split()[1]}" for m in mounts if f"{layout.root}/" in m]
    left += [f"folder {layout.root}"] if layout.root.exists() else []
    return left
