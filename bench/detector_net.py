"""The bench's machines: a network namespace each, on one bridge that itself lies in a namespace, and the faults there.

Everything has the prefix ``rfb``; the host's own namespace is left as it is. A node keeps its kernel whatever befalls
its agents; to take the node away the bridge passes nothing from or to it any more, at one instant for every program in
it. Loss is drawn at the bridge, once a frame (nftables: not every kernel has netem). What doesn't cross the bridge is
never lost, so a controller in a node's namespace reads its own node's agent without loss, as in a cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TextIO

PREFIX = "rfb"
HUB = f"{PREFIX}-hub"
SUBNET = "10.83.0"
RING_PORT, SERF_PORT = 7947, 7946
LOCK = Path(f"/run/lock/{PREFIX}.lock")
_CLONE_NEWNET = 0x4000_0000
_CPU = Path("/sys/fs/cgroup/cpu")
_RULES = f"""
table bridge {PREFIX} {{
  set silent {{ type ifname; }}
  set deaf {{ type ifname; }}
  set cut {{ type ifname . ifname; }}
  counter ring {{ }}
  counter streams {{ }}
  counter serf {{ }}
  chain loss {{ }}
  chain between {{
    type filter hook forward priority 0; policy accept;
    udp dport {RING_PORT} counter name ring
    tcp dport {RING_PORT} counter name streams
    tcp sport {RING_PORT} counter name streams
    udp dport {SERF_PORT} counter name serf
    tcp dport {SERF_PORT} counter name serf
    tcp sport {SERF_PORT} counter name serf
    iifname @silent drop
    oifname @silent drop
    oifname @deaf meta protocol != arp drop
    iifname . oifname @cut meta protocol != arp drop
    jump loss
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the bench."""

    number: int

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def address(self) -> str:
        return f"{SUBNET}.{self.number}"

    @property
    def namespace(self) -> str:
        return f"{PREFIX}-{self.name}"

    @property
    def port(self) -> str:
        """Its end of the cable at the bridge."""
        return f"{PREFIX}{self.name}"

    def inside(self, *command: str) -> list[str]:
        """The command as one that runs in this node; the process keeps the id it is started with."""
        return ["ip", "netns", "exec", self.namespace, *command]


_NEIGHBOURS = tuple(Path(f"/proc/sys/net/ipv4/neigh/default/gc_thresh{place}") for place in (1, 2, 3))
"""How many neighbours the kernel knows, in all namespaces together: up to the first as long as it likes; beyond the second it drops
those that nothing was sent to for some seconds, every 5 s; more than the third never (128, 512 and 1,024). Of 50 nodes each
knows 49. On a machine of its own a node's kernel keeps these, as 49 are fewer than 128; here it dropped them, and at 20 % loss
the next packet to each waited for ARP, for a second or more where the question or its answer was lost too: 5.3 % of those to a
random node at n=50, 1.7 % at n=30, 0.4 % where all three are raised.
"""


class Net:
    """All nodes and what lies between them. Use as a context: it leaves nothing behind, also of a run that was killed."""

    def __init__(self, count: int) -> None:
        if not 3 <= count <= 250:
            raise ValueError(f"{count} nodes: from 3 to 250")
        self.nodes = {node.name: node for node in (Node(number) for number in range(1, count + 1))}
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._neighbours = [limit.read_text() for limit in _NEIGHBOURS]

    def __enter__(self) -> Self:
        sweep()
        for limit, before in zip(_NEIGHBOURS, self._neighbours, strict=True):
            limit.write_text(str(max(int(before), 2 * len(self.nodes) ** 2)))
        _run("ip", "netns", "add", HUB)
        ports = []
        for node in self.nodes.values():
            _run("ip", "netns", "add", node.namespace)
            ports.append(f"link add {node.port} type veth peer name eth0 netns {node.namespace}")
            ports.append(f"link set {node.port} master br0 up")
        _run(
            "ip",
            "-n",
            HUB,
            "-batch",
            "-",
            stdin="\n".join(["link add br0 type bridge", "link set br0 up", *ports]),
        )
        for node in self.nodes.values():
            lines = f"link set lo up\naddress add {node.address}/24 dev eth0\nlink set eth0 up"
            _run("ip", "-n", node.namespace, "-batch", "-", stdin=lines)
        _run("ip", "netns", "exec", HUB, "nft", "-f", "-", stdin=_RULES)
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()
        sweep()
        for limit, before in zip(_NEIGHBOURS, self._neighbours, strict=True):
            limit.write_text(before)
        os.close(self._home)

    def enter(self, node: Node) -> None:
        """Put this thread, and what it starts, into the node's network."""
        with Path(f"/run/netns/{node.namespace}").open() as there:
            _setns(there.fileno())

    def leave(self) -> None:
        """Back to where the bench was started."""
        _setns(self._home)

    # -- faults ---------------------------------------------------------------------------------------------------

    async def silence(self, node: Node) -> None:
        """Its kernel falls silent: nothing leaves it, nothing comes to it."""
        await self._nft(f"add element bridge {PREFIX} silent {{ {node.port} }}")

    async def restore(self, node: Node) -> None:
        await self._nft(f"delete element bridge {PREFIX} silent {{ {node.port} }}")

    async def one_way(self, deaf: list[Node], cut: list[tuple[Node, Node]]) -> None:
        """No IP packet comes to the deaf, though all hear them; nor from the first to the second of each cut pair.

        ARP does: whose neighbour entries can't be renewed falls silent himself within 8 to 53 s, one peer after the other, and
        then he is cut off both ways. (Rapid's evaluation drops in the receiver's INPUT chain, above ARP, as this does.)
        """
        lines = [f"flush set bridge {PREFIX} deaf", f"flush set bridge {PREFIX} cut"]
        lines += [f"add element bridge {PREFIX} deaf {{ {node.port} }}" for node in deaf]
        lines += [f"add element bridge {PREFIX} cut {{ {a.port} . {b.port} }}" for a, b in cut]
        await self._nft("\n".join(lines))

    async def lose(self, percent: int) -> None:
        """Lose this share of all frames between nodes."""
        rule = f"add rule bridge {PREFIX} loss numgen random mod 100 < {percent} drop"
        await self._nft(f"flush chain bridge {PREFIX} loss\n{rule if percent else ''}")

    def counters(self) -> dict[str, dict[str, int]]:
        """Packets and bytes (from the IP header on) that nodes have sent each other, by system."""
        text = _run("ip", "netns", "exec", HUB, "nft", "-j", "list", "counters")
        found = [entry["counter"] for entry in json.loads(text)["nftables"] if "counter" in entry]
        return {one["name"]: {"packets": one["packets"], "bytes": one["bytes"]} for one in found}

    async def _nft(self, lines: str) -> None:
        command = ("ip", "netns", "exec", HUB, "nft", "-f", "-")
        process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE)
        await process.communicate(lines.encode())
        if process.returncode:
            raise RuntimeError(f"nft refused: {lines}")


def starve(pid: int, percent: float) -> None:
    """Give this process at most this share of one core."""
    cgroup = _CPU / f"{PREFIX}-{pid}"
    cgroup.mkdir()
    (cgroup / "cpu.cfs_period_us").write_text("1000000")
    (cgroup / "cpu.cfs_quota_us").write_text(str(int(percent * 10_000)))
    (cgroup / "cgroup.procs").write_text(str(pid))


def feed(pid: int) -> None:
    """Take the limit away again."""
    _empty(_CPU / f"{PREFIX}-{pid}")


def sweep() -> None:
    """Remove every trace of the bench, also one that another run has left; this process itself is spared."""
    for namespace in _namespaces():
        for pid in _run("ip", "netns", "pids", namespace).split():
            if int(pid) != os.getpid():
                _kill(int(pid))
        _run("ip", "netns", "delete", namespace)
    for cgroup in _CPU.glob(f"{PREFIX}-*"):
        _empty(cgroup)


def claim(lock: TextIO) -> None:
    """Be the only bench as long as this file (of `LOCK`) is open. Raises BlockingIOError where another is."""
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _namespaces() -> list[str]:
    names = [line.split()[0] for line in _run("ip", "netns", "list").splitlines()]
    return [name for name in names if name.startswith(f"{PREFIX}-")]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # gone by itself
        os.kill(pid, signal.SIGKILL)


def _empty(cgroup: Path) -> None:
    for pid in (cgroup / "cgroup.procs").read_text().split():
        (_CPU / "cgroup.procs").write_text(pid)
    cgroup.rmdir()


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
    return done.stdout
