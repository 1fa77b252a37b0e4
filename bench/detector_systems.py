"""The two systems side by side: ringfence's agents with a controller's eye, and Serf. A process of each in every node.

Both are heard by their own log, one line a change, on a pipe: the instant is when the line arrives. For ringfence that
is what one agent believes; what counts is what the *controller* accepts, so its own code (`Streams`, `Witness`) reads
five agents' verdict streams in this process and checks every vote. Serf has no such second court: whoever subscribes
to any Serf is told what that Serf believes, so the first living Serf that reports a node failed is the one that counts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

from bench.detector_net import RING_PORT, SERF_PORT, Net, Node
from ringfence.controller.evidence import Verify, Witness
from ringfence.controller.streams import Streams
from ringfence.core.detection.verdict import judge
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Member, Roster, seal_roster
from ringfence.core.model import RingState
from ringfence.metrics import ControllerMetrics
from ringfence.net.crypto import (
    GROUP_KEY_FILE,
    ROSTER_PUBLIC_FILE,
    ROSTER_SEED_FILE,
    SigningKey,
    make_group_keys,
    verify,
)
from ringfence.net.stream import StreamClient
from ringfence.ports import SystemClock

PROJECT = Path(__file__).resolve().parents[1]
ZONES = 3


class Reports:
    """What the reporters of one system say of the nodes, and when somebody began to call one dead.

    A node that is cut off itself is muted: what it says of others is true as far as it can see, and harms nobody.
    """

    def __init__(self, dead: str, well: Collection[str]) -> None:
        self._dead, self._well = dead, well
        self._said: dict[str, dict[str, str]] = defaultdict(dict)
        self.muted: set[str] = set()
        self._dead_since: dict[str, float] = {}
        self.episodes: list[tuple[float, str, str]] = []
        """When somebody began to call a node dead: instant, node, who."""
        self.changes: list[tuple[float, str, str, str]] = []
        """Every change: instant, who, of which node, to what."""

    def say(self, reporter: str, node: str, state: str) -> None:
        now = time.monotonic()
        self._said[reporter][node] = state
        self.changes.append((now, reporter, node, state))
        self._judge(node, reporter, now)

    def forget(self, reporter: str) -> None:
        """Its process begins anew."""
        for node in self._said.pop(reporter, {}):
            self._judge(node, reporter, time.monotonic())

    def mute(self, reporter: str, on: bool) -> None:
        """Stop, or begin again, to believe what it says of others."""
        (self.muted.add if on else self.muted.discard)(reporter)
        for node in self._said.get(reporter, {}):
            self._judge(node, reporter, time.monotonic())

    def known(self, reporter: str) -> Collection[str]:
        """Whom this reporter has seen well."""
        return [node for node, state in self._said.get(reporter, {}).items() if state in self._well]

    def against(self, node: str) -> list[str]:
        """Who says what against this node, and it against others (but for those that are cut off); empty: all is well."""
        of_it = [
            (who, node, said[node])
            for who, said in self._said.items()
            if node in said and who not in self.muted
        ]
        by_it = [
            (node, other, state)
            for other, state in self._said.get(node, {}).items()
            if other not in self.muted
        ]
        return [f"{who} calls {of} {what}" for who, of, what in (*of_it, *by_it) if what not in self._well]

    def first(self, node: str, state: str, since: float) -> float | None:
        """When somebody first said this of the node after then."""
        for at, who, about, what in self.changes:
            if at >= since and about == node and what == state and who != node and who not in self.muted:
                return at
        return None

    def said(self, node: str, since: float) -> list[str]:
        """All that was said of the node after then, in order."""
        return [what for at, _, about, what in self.changes if at >= since and about == node]

    def _judge(self, node: str, reporter: str, now: float) -> None:
        accused = any(
            said.get(node) == self._dead
            for who, said in self._said.items()
            if who not in self.muted and who != node
        )
        if accused and node not in self._dead_since:
            self._dead_since[node] = now
            self.episodes.append((now, node, reporter))
        elif not accused:
            self._dead_since.pop(node, None)


class Program:
    """One process in one node; every line that it prints goes to ``heard`` and into its log.

    ``died`` gets a sentence when it ends though nobody has stopped it.
    """

    def __init__(
        self,
        node: Node,
        command: list[str],
        log: Path,
        heard: Callable[[str], None],
        died: Callable[[str], None],
    ) -> None:
        self._command = node.inside(*command)
        self._log = log
        self._heard = heard
        self._died = died
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._wanted = False

    @property
    def started(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        # The bench has raised its own priority; what it starts begins with an ordinary one.
        plain = ["nice", "-n", str(-os.getpriority(os.PRIO_PROCESS, 0)), *self._command]
        self._wanted = True
        environ = {**os.environ, "PYTHONPATH": str(PROJECT / "operator"), "PYTHONUNBUFFERED": "1"}
        environ.pop("KUBERNETES_SERVICE_HOST", None)
        self._process = await asyncio.create_subprocess_exec(
            *plain, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        self._reading = asyncio.create_task(self._read(self._process))

    async def stop(self) -> None:
        """End it by SIGTERM, at the latest after 10 s by force."""
        assert self._process is not None
        assert self._reading is not None
        self._wanted = False
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()
        await self._reading

    def signal(self, number: int) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with self._log.open("ab") as log:
            async for line in process.stdout:
                log.write(line)
                self._heard(line.decode(errors="replace"))
        await process.wait()
        if self._wanted:
            self._died(f"{' '.join(self._command)} ended by itself; see {self._log}")


class Ring:
    """ringfence: the real ``python -m ringfence.agent`` from files (keys, roster, boot id), without an API server."""

    impl = "ringfence"
    _CHANGE = re.compile(r"ringfence\.agent\.agent: (\S+) \(boot \w+\): [\w-]+ -> ([\w-]+) \(")

    def __init__(
        self,
        net: Net,
        place: Path,
        died: Callable[[str], None],
        *,
        traced: bool = False,
        witness: Callable[[Verify], Witness] = Witness,
    ) -> None:
        self._net = net
        self.traces = place if traced else None
        keys = make_group_keys()
        for name in (GROUP_KEY_FILE, ROSTER_PUBLIC_FILE):
            _write(place / "keys" / name, keys[name])
        members = []
        self.programs: dict[str, Program] = {}
        self.reports = Reports(RingState.UNREACHABLE, (RingState.ALIVE, RingState.UNKNOWN))
        self.verdicts = Reports(RingState.UNREACHABLE, set(RingState) - {RingState.UNREACHABLE})
        for node in net.nodes.values():
            state, boot_id, key = place / node.name, str(uuid.uuid4()), SigningKey.fresh()
            _write(state / "boot_id", boot_id.encode())
            _write(state / "node-key.json", json.dumps({"bootID": boot_id, "seed": key.seed.hex()}).encode())
            zone = f"z{node.number % ZONES}"
            members.append(Member(node.name, str(uuid.uuid4()), boot_id, (node.address,), zone, key.public))
            command = [
                sys.executable, "-m", "ringfence.agent", "--node-name", node.name, "--node-ip", node.address,
                "--keys-dir", str(place / "keys"), "--state-dir", str(state),
                "--boot-id-path", str(state / "boot_id"), "--port", str(RING_PORT),
            ]  # fmt: skip
            if traced:
                command += ["--trace", str(place / f"{node.name}.trace")]
            self.programs[node.name] = Program(
                node, command, place / f"{node.name}.log", self._hear(node.name), died
            )
        roster = Roster(1, "bench", os.urandom(16), tuple(members))
        text = seal_roster(roster, SigningKey(keys[ROSTER_SEED_FILE]).sign).text()
        for node in net.nodes.values():
            _write(place / node.name / "roster.json", text.encode())
        self._witness = witness(verify)
        self._witness.roster = roster
        for member in members:
            self._witness.boot_seen(member.name, member.uid, member.boot_id)
        self._clock = SystemClock()
        self._streams = Streams(
            StreamClient(KeySet.first(keys[GROUP_KEY_FILE])),
            self._witness,
            self._clock,
            "bench",
            next(iter(net.nodes)),
            RING_PORT,
            self._look,
            ControllerMetrics(),
        )
        self._accused: set[str] = set()
        self.why: dict[tuple[float, str], str] = {}
        """When the controller has come to call whom unreachable: on whose word, and what it would have made of it."""

    async def run_eye(self) -> None:
        """Be the controller, for ever."""
        await self._streams.run()

    async def start(self, name: str) -> None:
        self.reports.forget(name)
        await self.programs[name].start()

    def complete(self) -> bool:
        """Whether each node is known alive by an observer, and nobody is thought ill."""
        alive = {node for name in self._net.nodes for node in self.reports.known(name)}
        return alive == self._net.nodes.keys() and not any(
            self.reports.against(name) for name in self._net.nodes
        )

    def _look(self) -> None:
        now = self._clock.monotonic()
        for name in self._net.nodes:
            found = self._witness.evidence(name, now, device_proved=True)
            state = found.ring.state if found else RingState.UNKNOWN
            if (state is RingState.UNREACHABLE) is not (name in self._accused):
                self._accused ^= {name}
                if found and name in self._accused:
                    heard = now - found.life.packet
                    self.why[now, name] = (
                        f"{judge(found, now).verdict}: {found.ring.sentence}; heard {heard:.2f} s before"
                    )
                self.verdicts.say("controller", name, state)

    def _hear(self, reporter: str) -> Callable[[str], None]:
        def heard(line: str) -> None:
            if found := self._CHANGE.search(line):
                self.reports.say(reporter, found[1], found[2])

        return heard


class Serf:
    """Debian's serf with its LAN profile, encrypted."""

    impl = "serf"
    _CHANGE = re.compile(r"serf: EventMember(Join|Failed|Leave): (\S+)")

    def __init__(self, net: Net, place: Path, died: Callable[[str], None]) -> None:
        self._net = net
        place.mkdir(parents=True)
        key = base64.b64encode(os.urandom(32)).decode()
        known = [node.address for node in list(net.nodes.values())[:3]]
        self.programs: dict[str, Program] = {}
        self.reports = Reports("Failed", ("Join",))
        for node in net.nodes.values():
            command = [
                "serf",
                "agent",
                f"-node={node.name}",
                f"-bind={node.address}:{SERF_PORT}",
                "-profile=lan",
            ]
            command += [f"-encrypt={key}", "-retry-interval=1s"]
            command += [f"-retry-join={address}" for address in known if address != node.address]
            self.programs[node.name] = Program(
                node, command, place / f"{node.name}.log", self._hear(node.name), died
            )

    async def start(self, name: str) -> None:
        self.reports.forget(name)
        await self.programs[name].start()

    def complete(self) -> bool:
        """Whether each knows all."""
        return all(len(self.reports.known(name)) == len(self._net.nodes) for name in self._net.nodes)

    def _hear(self, reporter: str) -> Callable[[str], None]:
        def heard(line: str) -> None:
            if found := self._CHANGE.search(line):
                self.reports.say(reporter, found[2], found[1])

        return heard


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
