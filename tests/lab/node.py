"""A node: namespaces and cgroups with a real containerd, kubelet, virt-handler and QEMU within.

Four faults, kept apart because they look different from outside:

============  =====================================================  ===========================================
power cut     init killed *and* cable pulled                         nothing answers, everything of it is dead
cut           cable pulled                                           nothing answers, its guests live on
freeze        every process stopped by the cgroup freezer            its kernel answers: ping, refused ports
kernel hang   freeze and cut together                                nothing answers, and it comes back as it was
============  =====================================================  ===========================================

A power cut pulls the cable because a dead init leaves its network namespace behind, whose kernel would go on answering
for the dead. Every change of power is written to ``logs/power.jsonl`` when it is *done*: the lab's own witness.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from lab import network, process
from lab.pki import Authority
from lab.plan import NodePlan, Plan
from lab.process import Process, run
from lab.roots import PAUSE_IMAGE
from lab.state import locked, write
from lab.template import stock
from lab.wait import until

CGROUPS = Path("/sys/fs/cgroup")
INIT = Path(__file__).with_name("node-init.sh")
_API_TABLE = "lab-api"


@dataclass(frozen=True, slots=True)
class Qemu:
    """One QEMU process somewhere on this machine: whose it is, on which node, and the disks it holds."""

    pid: int
    guest: str
    node: str
    frozen: bool


class Node:
    """One node of a lab. All it knows is on disk, so any process may act on it."""

    def __init__(self, lab: Plan, plan: NodePlan) -> None:
        self.lab = lab
        self.plan = plan
        self.name = plan.name

    # -- making and removing -------------------------------------------------------------------------------

    def prepare(self, authority: Authority, store: Path) -> None:
        """Write all that survives a power cut: the node's disk, identity and settings."""
        disk = self.plan.folder / "disk"
        stock(store, disk / "var/lib/containerd")
        write(disk / "machine-id", uuid.uuid4().hex + "\n")
        write(disk / "etc/cni/net.d/10-lab.conflist", json.dumps(self._cni()))
        write(self.plan.folder / "containerd.toml", self._containerd())
        write(self.plan.folder / "kubelet.yaml", yaml.safe_dump(self._kubelet(authority)))
        name = f"system:node:{self.name}"
        identity = authority.issue(f"node-{self.name}", name, organization="system:nodes")
        authority.kubeconfig(self.plan.folder / "kubeconfig", self.lab.api, identity)

    def remove(self) -> None:
        """Leave nothing of it but logs."""
        self.power_off()
        self._drop_cgroups()
        shutil.rmtree(self.plan.folder, ignore_errors=True)

    # -- power ----------------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Whether the node has power: its init lives."""
        init = self.init()
        return init is not None and init.alive()

    def init(self) -> Process | None:
        """The node's process 1, as the host sees it."""
        try:
            boot = json.loads((self.plan.folder / "boot.json").read_text())
        except FileNotFoundError:
            return None
        return Process(boot["pid"], boot["started"])

    def boot_id(self) -> str:
        """The id of the current boot, or of the last one of a node that is off."""
        return str(json.loads((self.plan.folder / "boot.json").read_text())["boot_id"])

    def system_uuid(self) -> str:
        """What kubelet reports as systemUUID: the machine id, there being no DMI here."""
        return (self.plan.folder / "disk/machine-id").read_text().strip()

    def power_off(self, why: str = "lab") -> None:
        """Cut the power and return when nothing of the node lives. No effect on a node that is off."""
        with locked(self.plan.folder / ".power"):
            init = self.init()
            if init is None or not init.alive():
                return
            network.cable(self.plan, plugged=False)
            init.signal(signal.SIGKILL)
            if self._freezer() is not None:
                # A frozen process can't die: have every one of them meet its SIGKILL the moment it thaws.
                for pid in self._pids():
                    process.known_or_gone(pid).signal(signal.SIGKILL)
                self._freeze("THAWED")
            init.kill()
            self._note("off", why)

    def power_on(self, why: str = "lab") -> None:
        """Boot the node with a new boot id and its cable plugged in. No effect on a node that is on."""
        with locked(self.plan.folder / ".power"):
            if self.running():
                return
            self._drop_cgroups()
            self._make_cgroups()
            self._clear_api_cut()
            network.cable(self.plan, plugged=True)
            boot_id = str(uuid.uuid4())
            labels = f"topology.kubernetes.io/zone={self.plan.zone}" if self.plan.zone else ""
            environment = {
                "NODE": self.name,
                "FOLDER": str(self.plan.folder),
                "ADDRESS": self.plan.address,
                "BOOT_ID": boot_id,
                "KUBELET": str(self.lab.folder / "bin/kubelet"),
                "SHARED": str(self.lab.shared),
                "LOGS": str(self.lab.logs),
                "LABELS": labels,
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            }
            # The shell joins the node's cgroups before anything of the node exists.
            enter = (
                f'for tree in {CGROUPS}/*/; do echo $$ >"${{tree}}{self.plan.tag}/cgroup.procs"; done; '
                f'exec nsenter --net=/run/netns/{self.plan.tag} unshare --pid --mount --uts --ipc --fork '
                f'--kill-child=KILL --mount-proc bash {INIT}'
            )
            log = self.lab.logs / f"{self.name}-init.log"
            keeper = process.start(["bash", "-c", enter], log, env=environment)
            children = until(
                f"node {self.name} has an init", lambda: process.children(keeper.pid), 10, every=0.02, log=log
            )
            init = process.known(children[0])
            boot = {"pid": init.pid, "started": init.started, "boot_id": boot_id, "at": time.time()}
            write(self.plan.folder / "boot.json", json.dumps(boot))
            self._note("on", why)

    def _note(self, what: str, why: str) -> None:
        line = {"at": time.time(), "node": self.name, "what": what, "boot_id": self.boot_id(), "why": why}
        with (self.lab.logs / "power.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    # -- faults ---------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Pull the cable: the node and its guests live on, unreachable."""
        network.cable(self.plan, plugged=False)

    def heal(self) -> None:
        """Plug the cable in again."""
        network.cable(self.plan, plugged=True)

    def freeze(self) -> None:
        """Stop every process of the node at once; its kernel goes on answering."""
        self._freeze("FROZEN")
        until(f"node {self.name} is frozen", lambda: self._freezer() == "FROZEN", 10)

    def thaw(self) -> None:
        """Let them run on, unaware of the time that passed."""
        self._freeze("THAWED")

    def cut_api(self) -> None:
        """Drop what this node sends to the API server, and nothing else."""
        target = f"ip daddr {self.lab.address} tcp dport {self.lab.api_port} drop"
        rules = f"table inet {_API_TABLE} {{}}\ndelete table inet {_API_TABLE}\ntable inet {_API_TABLE} {{\n"
        for hook in ("output", "forward"):
            rules += f"  chain {hook} {{ type filter hook {hook} priority 0; {target}; }}\n"
        network.within(self.plan, "nft", "--file", "-", text=rules + "}\n")

    def heal_api(self) -> None:
        """Let this node reach the API server again."""
        self._clear_api_cut()

    def _clear_api_cut(self) -> None:
        network.within(self.plan, "nft", "delete", "table", "inet", _API_TABLE, check=False)

    def kill_kubelet(self) -> None:
        """Kill kubelet and keep it from coming back; pods and guests live on."""
        self._kubelet_allowed(allowed=False)

    def start_kubelet(self) -> None:
        """Let kubelet run again."""
        self._kubelet_allowed(allowed=True)

    def _kubelet_allowed(self, *, allowed: bool) -> None:
        init = self.init()
        if init is None or not init.alive():
            return
        root = Path(f"/proc/{init.pid}/root/run")
        if allowed:
            (root / "no-kubelet").unlink(missing_ok=True)
            return
        (root / "no-kubelet").touch()
        for found in self.processes("kubelet"):
            found.kill()

    # -- looking --------------------------------------------------------------------------------------------

    def processes(self, name: str) -> list[Process]:
        """The node's processes of that command name."""
        found = []
        for pid in self._pids():
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == name[:15]:
                    found.append(process.known(pid))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def qemu_processes(self) -> list[Qemu]:
        """The guests that run on this node, frozen ones too."""
        frozen = self._freezer() not in (None, "THAWED")
        return [
            Qemu(found.pid, guest, self.name, frozen)
            for found in self.processes("qemu-system-x86_64")
            if (guest := _guest(found.pid))
        ]

    def execute(self, *command: str, text: str | None = None) -> str:
        """Run *command* within the node, all its namespaces, and return what it says."""
        init = self.init()
        assert init is not None
        return run("nsenter", "--target", str(init.pid), "--all", "--", *command, text=text, within=300)

    # -- parts ----------------------------------------------------------------------------------------------

    def _trees(self) -> Iterator[Path]:
        return (tree / self.plan.tag for tree in sorted(CGROUPS.iterdir()) if (tree / "cgroup.procs").exists())

    def _make_cgroups(self) -> None:
        for group in self._trees():
            group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # A cpuset starts without CPUs and takes no process then.
            value = (CGROUPS / "cpuset" / setting).read_text()
            (CGROUPS / "cpuset" / self.plan.tag / setting).write_text(value)

    def _drop_cgroups(self) -> None:
        def gone() -> bool:
            for group in self._trees():
                for folder, _, _ in os.walk(group, topdown=False):
                    try:
                        os.rmdir(folder)
                    except OSError:
                        return False  # a process is still on its way out
            return True

        until(f"the cgroups of node {self.name} are gone", gone, 20, every=0.05)

    def _pids(self) -> list[int]:
        group = CGROUPS / "freezer" / self.plan.tag
        pids: list[int] = []
        for folder, _, _ in os.walk(group):
            try:
                pids += [int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split()]
            except (FileNotFoundError, OSError):
                continue  # a pod's group that just went
        return pids

    def _freezer(self) -> str | None:
        try:
            return (CGROUPS / "freezer" / self.plan.tag / "freezer.state").read_text().strip()
        except FileNotFoundError:
            return None

    def _freeze(self, state: Literal["FROZEN", "THAWED"]) -> None:
        (CGROUPS / "freezer" / self.plan.tag / "freezer.state").write_text(state)

    def _cni(self) -> dict[str, object]:
        ranges = [[{"subnet": self.plan.pods}]]
        routes = [{"dst": "0.0.0.0/0"}]
        cable = {"type": "ptp", "ipMasq": False, "ipam": {"type": "host-local", "ranges": ranges, "routes": routes}}
        return {"cniVersion": "0.4.0", "name": "lab", "plugins": [cable]}

    def _containerd(self) -> str:
        cri = "io.containerd.grpc.v1.cri"
        return (
            "version = 2\n"
            f'[plugins."{cri}"]\n'
            f'sandbox_image = "{PAUSE_IMAGE}"\n'
            f'stream_server_address = "{self.plan.address}"\n'
            "restrict_oom_score_adj = true\n"
            f'[plugins."{cri}".cni]\nbin_dir = "/usr/lib/cni"\nconf_dir = "/etc/cni/net.d"\n'
            f'[plugins."{cri}".containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'
            f'[plugins."{cri}".containerd.runtimes.runc.options]\nSystemdCgroup = false\n'
        )

    def _kubelet(self, authority: Authority) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(authority.certificate)},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.plan.tag}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            # Without it no ephemeral storage is reported, and launchers ask for some.
            "localStorageCapacityIsolation": True,
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            "readOnlyPort": 0,
            "resolvConf": "",
            # No DNS runs, but a launcher whose guest has a network card needs an address to name.
            "clusterDNS": ["10.96.0.10"],
            "clusterDomain": "cluster.local",
        }


def _guest(pid: int) -> str:
    """``namespace_name`` of the guest that the QEMU *pid* runs, or nothing."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    if b"-name" not in words[:-1]:
        return ""
    name = words[words.index(b"-name") + 1].decode()
    return name.removeprefix("guest=").partition(",")[0]
