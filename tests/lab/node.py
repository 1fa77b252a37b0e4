"""A node: namespaces with a whole kubelet, containerd, virt-handler and QEMU in them, and ways to break it.

Four faults are kept apart, since they look different from outside:

=============  ==========================================  =====================================
power cut      process 1 is killed and the link is down    nothing answers, nothing runs
cut            the link is down                            nothing answers, guests run on
freeze         every process stands still, the link is up  the kernel answers, nothing else does
kernel hang    freeze and cut                              nothing answers, guests stand still
=============  ==========================================  =====================================
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec

import yaml

from lab import loops, processes
from lab.layout import API_PORT, Layout
from lab.pki import Pki
from lab.wait import until

INIT = Path(__file__).with_name("node-init.sh")


@dataclass(frozen=True, slots=True)
class Power:
    """One line of the lab's own power log: what really was done to a node, and when (wall clock)."""

    t: float
    node: str
    what: str


class PowerLog:
    """The outside witness of what happened to nodes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, node: str, what: str) -> None:
        with self._path.open("a") as log:
            log.write(json.dumps({"t": time.time(), "node": node, "what": what}) + "\n")

    def read(self) -> list[Power]:
        if not self._path.exists():
            return []
        return [Power(**json.loads(line)) for line in self._path.read_text().splitlines()]


Given = ParamSpec("Given")


def _one_at_a_time(
    switch: Callable[Concatenate[Node, Given], None],
) -> Callable[Concatenate[Node, Given], None]:
    """Let the node's power be switched by one hand at a time: its BMCs, its watchdog and the test are processes of their own."""

    @functools.wraps(switch)
    def alone(node: Node, /, *given: Given.args, **named: Given.kwargs) -> None:
        with (node.folder / "power.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            switch(node, *given, **named)

    return alone


class Node:
    """One node of a lab. Its folder holds all that it is; objects of this class hold nothing."""

    init = INIT
    """What process 1 runs."""

    def __init__(self, layout: Layout, number: int, programs: Path) -> None:
        self._layout = layout
        self.number = number
        self.name = f"n{number}"
        self.ip = layout.node_ip(number)
        self._bin = programs
        self.group = f"{layout.prefix}-{self.name}"
        self._netns = self.group
        self._link = self.group
        self.folder = layout.root / "nodes" / self.name
        self.log = PowerLog(layout.logs / "power.jsonl")

    # --- making ---------------------------------------------------------------------------------------

    def create(self, pki: Pki, template: Path) -> None:
        """Everything that survives power cuts: disk, identity, network, configuration."""
        folder = self.folder
        (folder / "disk" / "etc/cni/net.d").mkdir(parents=True)
        self._make_identity()
        (folder / "disk" / "etc/cni/net.d/10-lab.conflist").write_text(json.dumps(self._cni()))
        (folder / "containerd.toml").write_text(self._containerd())
        (folder / "kubelet.yaml").write_text(yaml.safe_dump(self._kubelet(pki)))
        pki.kubeconfig(
            folder / "kubeconfig",
            self._layout.api,
            f"node-{self.name}",
            f"system:node:{self.name}",
            "system:nodes",
        )
        seed(template, folder / "disk/var/lib/containerd")

    def _make_identity(self) -> None:
        """What tells it from other machines, and its place in the network."""
        (self.folder / "machine-id").write_text(uuid.uuid4().hex + "\n")
        self._make_network()

    def _make_network(self) -> None:
        layout, ns = self._layout, self._netns
        run = processes.run
        run("ip", "netns", "add", ns)
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", ns)
        run("ip", "link", "set", self._link, "master", layout.prefix, "up")
        run("ip", "-n", ns, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            run("ip", "-n", ns, "link", "set", link, "up")
        self._routes()
        run("ip", "route", "replace", layout.pod_net(self.number), "via", self.ip)

    def _routes(self) -> None:
        """Routes of the node's namespace; the kernel drops those of a link that was taken down inside."""
        layout, ns = self._layout, self._netns
        processes.run("ip", "-n", ns, "route", "replace", "default", "via", layout.host)
        for other in range(1, 9):
            if other != self.number:
                processes.run(
                    "ip", "-n", ns, "route", "replace", layout.pod_net(other), "via", layout.node_ip(other)
                )

    def _cni(self) -> dict[str, object]:
        ranges = [[{"subnet": self._layout.pod_net(self.number)}]]
        ipam = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
        return {
            "cniVersion": "0.4.0",
            "name": "lab",
            "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}],
        }

    def _containerd(self) -> str:
        return f"""version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  restrict_oom_score_adj = true
  stream_server_address = "{self.ip}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"""

    def _kubelet(self, pki: Pki) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": pki.path("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.group}",
            "clusterDNS": ["10.96.0.10"],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "enforceNodeAllocatable": [],
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "failCgroupV1": False,
            "failSwapOn": False,
            "localStorageCapacityIsolation": True,
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            "readOnlyPort": 0,
            "resolvConf": "",
            # Upstream's minute makes each step of a change of keys wait for that long: pods' volumes are looked at so often.
            "syncFrequency": "10s",
        }

    def destroy(self) -> None:
        """Remove the node without a trace, whatever state it is in."""
        if (init := self.init_pid()) is not None:
            held = loops.of_node(init)
            processes.end(self.group)
            loops.detach(held)
        processes.end(self.group)
        processes.run("ip", "netns", "del", self._netns, check=False)
        processes.run("ip", "link", "del", self._link, check=False)
        processes.run("ip", "route", "del", self._layout.pod_net(self.number), check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- power ----------------------------------------------------------------------------------------

    @property
    def zone(self) -> str:
        """Of three, each has every third node."""
        return "abc"[(self.number - 1) % 3]

    @property
    def systemuuid(self) -> str:
        """What the kubelet reports as ``systemUUID``: without DMI it is the machine id."""
        return str(uuid.UUID((self.folder / "machine-id").read_text().strip()))

    @property
    def boot_id(self) -> str:
        """Of the boot that runs now; empty while the node is off or not that far."""
        pid = self.init_pid()
        try:
            return Path(f"/proc/{pid}/root/run/boot_id").read_text().strip() if pid else ""
        except OSError:
            return ""

    def init_pid(self) -> int | None:
        """The node's process 1 as the host sees it; None: the power is off."""
        try:
            pid, started = (int(w) for w in (self.folder / "init.pid").read_text().split())
        except (OSError, ValueError):
            return None
        return pid if processes.start_time(pid) == started else None

    def running(self) -> bool:
        return self.init_pid() is not None

    def environment(self) -> dict[str, str]:
        """What its process 1 is told."""
        return {
            "NODE": self.name,
            "DIR": str(self.folder),
            "IP": self.ip,
            "PROGRAMS": str(self._bin),
            "SHARED": str(self._layout.shared),
            "LABELS": f"topology.kubernetes.io/zone={self.zone}",
        }

    @_one_at_a_time
    def power_on(self, *, linked: bool = True) -> None:
        """Boot the node; a second call changes nothing. Not ``linked``: its cable is still out."""
        if self.running():
            return
        processes.end(self.group)
        processes.make(self.group)
        if linked:
            processes.run("ip", "link", "set", self._link, "up")
            self._routes()
        self._drop_api_cut()
        command = ["nsenter", f"--net=/run/netns/{self._netns}", "unshare", "--pid", "--mount", "--uts", "--ipc", "--fork",
                   "--kill-child=KILL", "--mount-proc", "bash", str(self.init)]  # fmt: skip
        log = self.folder / "init.log"
        processes.spawn(self.group, command, log, env=self.environment(), everywhere=True)

        def child() -> int | None:
            for shell in processes.named(self.group, "unshare"):
                text = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
                if text:
                    return int(text[0])
            return None

        pid = until(f"process 1 of {self.name}", child, 10, every=0.02, log=log)
        (self.folder / "init.pid").write_text(f"{pid} {processes.start_time(pid)}")
        self.log.note(self.name, "on")

    @_one_at_a_time
    def power_off(self) -> None:
        """Pull the plug: returns when everything of the node is dead and its kernel answers nobody."""
        processes.run("ip", "link", "set", self._link, "down")
        pid = self.init_pid()
        if pid is None:
            return
        held = loops.of_node(pid)
        # A frozen process dies only once it thaws: all of them get their SIGKILL before, or a guest would run, and
        # write, for another moment.
        for member in (pid, *processes.members(self.group)):
            try:
                os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._freezer("THAWED")
        until(f"{self.name} to be off", lambda: processes.start_time(pid) is None, 10, every=0.01)
        loops.detach(held)
        self.log.note(self.name, "off")

    # --- faults ---------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Take the node off every network; its guests run on."""
        processes.run("ip", "link", "set", self._link, "down")
        self.log.note(self.name, "cut")

    def is_cut(self) -> bool:
        """Whether its cable is out."""
        return not int(Path(f"/sys/class/net/{self._link}/flags").read_text(), 16) & 1

    def heal(self) -> None:
        if self.running():
            processes.run("ip", "link", "set", self._link, "up")
            self._routes()
            self.log.note(self.name, "heal")

    def cut_api(self) -> None:
        """Drop this node's traffic with the API server, and nothing else."""
        # Both ways: with the answers alone dropped, watch events would still come in for a window's length.
        there = f"ip daddr {self._layout.host} tcp dport {API_PORT} drop"
        back = f"ip saddr {self._layout.host} tcp sport {API_PORT} drop"
        rules = "; ".join(
            f"add chain inet lab {hook}_cut {{ type filter hook {hook} priority 0; }}; "
            + "; ".join(f"add rule inet lab {hook}_cut {drop}" for drop in drops)
            for hook, drops in (("output", [there]), ("input", [back]), ("forward", [there, back]))
        )
        self._nft(f"add table inet lab; {rules}")
        self.log.note(self.name, "cut-api")

    def cut_peers(self) -> None:
        """Drop this node's traffic with all other nodes; the API server and the BMCs stay in reach."""
        layout = self._layout
        mine = f"{{ {layout.host}, {self.ip}, {layout.pod_net(self.number)} }}"
        rules = "; ".join(
            f"add chain inet lab {hook}_cut {{ type filter hook {hook} priority 0; }}; "
            f"add rule inet lab {hook}_cut ip {side} {layout.net}.0.0/16 ip {side} != {mine} drop"
            for hook, side in (
                ("output", "daddr"),
                ("input", "saddr"),
                ("forward", "daddr"),
                ("forward", "saddr"),
            )
        )
        self._nft(f"add table inet lab; {rules}")
        self.log.note(self.name, "cut-peers")

    def heal_api(self) -> None:
        if self._drop_api_cut():
            self.log.note(self.name, "heal-api")

    def _drop_api_cut(self) -> bool:
        tables = processes.run("nsenter", f"--net=/run/netns/{self._netns}", "nft", "list", "tables")
        if "inet lab" not in tables:
            return False
        self._nft("delete table inet lab")
        return True

    def _nft(self, rules: str) -> None:
        processes.run("nsenter", f"--net=/run/netns/{self._netns}", "nft", rules)

    def freeze(self) -> None:
        """Stop every process of the node; its kernel goes on answering."""
        self._freezer("FROZEN")
        self.log.note(self.name, "freeze")

    def thaw(self) -> None:
        if self._freezer("THAWED"):
            self.log.note(self.name, "thaw")

    def _freezer(self, wanted: str) -> bool:
        state = processes.CGROUPS / "freezer" / self.group / "freezer.state"
        if not state.exists() or state.read_text().strip() == wanted:
            return False
        state.write_text(wanted)
        until(f"{self.name} to be {wanted}", lambda: state.read_text().strip() == wanted, 10, every=0.02)
        return True

    def kill_kubelet(self) -> None:
        """Stop the kubelet and keep it stopped; guests and virt-handler run on."""
        self.run("rm", "-f", "/run/kubelet-wanted")
        processes.kill(processes.named(self.group, "kubelet"))
        self.log.note(self.name, "kill-kubelet")

    def start_kubelet(self) -> None:
        self.run("touch", "/run/kubelet-wanted")
        self.log.note(self.name, "start-kubelet")

    # --- looking in -----------------------------------------------------------------------------------

    def run(self, *command: str) -> str:
        """Run a program inside the node."""
        pid = self.init_pid()
        if pid is None:
            raise RuntimeError(f"{self.name} is off")
        return processes.run("nsenter", "-t", str(pid), "-a", *command)

    def processes_of(self, program: str) -> list[int]:
        """Processes of that name on the node, as the host numbers them."""
        return processes.named(self.group, program)

    def pids_with(self, *words: bytes) -> list[int]:
        """Processes of the node whose command line has all these words."""
        found = []
        for pid in processes.members(self.group):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if all(word in line for word in words):
                found.append(pid)
        return found

    def add_lun(self, name: str, minor: int) -> None:
        if self.running():
            self.run("rm", "-f", f"/dev/san/{name}")  # of an earlier volume of that name
            self.run("mknod", "-m", "660", f"/dev/san/{name}", "b", "7", str(minor))

    def import_image(self, archive: Path) -> None:
        """Load an image into the node's running containerd."""
        self.run("ctr", "-n", "k8s.io", "images", "import", str(archive))


def seed(template: Path, target: Path) -> None:
    """Fill a node's containerd from the template: hard links for what is never written, copies of its databases."""
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-al", str(template), str(target)], check=True)
    for database in target.glob("**/*.db"):
        data = database.read_bytes()
        database.unlink()
        database.write_bytes(data)
