"""The agent: carries datagrams, time and answers between the machine and the world, and decides nothing itself.

One timer handle stands at the machine's next deadline. Before a timer is judged the socket is drained, so that an
answer that lies there is never called missing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ringfence.agent.refusals import Refusals
from ringfence.agent.trace import TraceFile
from ringfence.core.gossip.anti_entropy import apply, digests
from ringfence.core.gossip.awareness import strain_of
from ringfence.core.gossip.events import (
    AwarenessChanged,
    KernelProbe,
    NetworkChanged,
    PathLost,
    RosterWanted,
    StateChanged,
)
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Member, RosterError, SealedRoster
from ringfence.core.gossip.rings import rings_of
from ringfence.core.gossip.swim import Swim
from ringfence.core.model import MANAGEMENT, RingState
from ringfence.host.carrier import Carrier
from ringfence.host.clock import JumpDetector, first_counter, wall_offset
from ringfence.host.pressure import read_pressure
from ringfence.metrics import AgentSample, PeerSample
from ringfence.net.crypto import GroupSeal, SigningKey, check
from ringfence.net.echo import Echo
from ringfence.net.kernel_probe import CLOSED_PORT, probe_kernel
from ringfence.net.stream import StreamClient, StreamError, StreamServer
from ringfence.net.udp import Datagrams, Footholds

logger = logging.getLogger(__name__)

TICK = 1.0
_DRAINS = 4
"""Full reads of the socket before a timer is judged; under a flood there is always more."""
REFUSALS_LOGGED = 60.0
"""Seconds between two log lines about refused rosters."""
DEAD_AFTER = 10.0
"""Seconds without a tick after which the loop is called dead."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this agent is."""

    node: str
    address: str
    boot_id: str
    uid: str | None = None


def prepare(sealed: SealedRoster) -> SealedRoster:
    """Draw the rings that `Agent.install` will ask for. Call it in a thread: 5,000 members take a quarter of a second."""
    rings_of(sealed.roster).subjects("")  # whoever's: it draws everybody's
    return sealed


class Agent:
    """One node's agent in a running loop."""

    def __init__(
        self,
        identity: Identity,
        keys: KeySet,
        key: SigningKey,
        *,
        roster_key: bytes,
        port: int,
        closed_port: int = CLOSED_PORT,
        dice: random.Random | None = None,
        ask_kernels: bool = True,
        trace: TraceFile | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._address = identity.address
        self._datagrams = Datagrams(identity.address, port)
        self.port = self._datagrams.port
        self._echo = Echo(self._datagrams.socket.family)
        self.echo_by = self._echo.by
        self._footholds = Footholds(self.port, self._opened, self._closing)
        self._echoes: dict[str, Echo] = {}
        """By further network."""
        self._missing: frozenset[str] = frozenset()
        self._closed_port = closed_port
        self.keys = keys
        """The group keys that it goes by."""
        self._seal = GroupSeal(keys, key)
        self.swim = Swim(
            node=identity.node,
            uid=identity.uid,
            boot_id=identity.boot_id,
            crypto=self._seal,
            dice=dice or random.Random(),
            counter=first_counter(),
            wall_offset=wall_offset(),
        )
        self._trace = trace
        if trace is not None:
            trace.follow(self.swim)
        self._roster_key = roster_key
        self._sealed: SealedRoster | None = None
        """What `swim` goes by, with the signature that a peer wants to see."""
        self._pull: asyncio.Task[None] | None = None
        self._rosters: Counter[str] = Counter()
        self._refused_at = float("-inf")
        self._refusals = Refusals()
        self._stream = StreamServer(
            keys,
            lambda: self.swim.view(self._loop.time()),
            lambda: self._sealed,
            lambda uid: self.swim.hearing(uid, self._loop.time()),
        )
        self._stream.on_readers = self._read_by
        self._peers = StreamClient(keys)
        self._ask_kernels = ask_kernels
        self._timer: asyncio.TimerHandle | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._version = -1
        self._jumps = JumpDetector()
        self._carrier = Carrier(identity.address)
        self._dropped = 0
        self._ticked_at = self._loop.time()
        self._verdicts = 0
        self.lease_held = False
        self.on_loneliness: Callable[[bool], None] = lambda _lonely: None
        """Called when most peers have become silent, and when they are heard again."""
        self.on_roster: Callable[[str], None] = lambda _text: None
        """Called with the text of a roster that came from a peer and is now gone by."""
        self.on_tick: Callable[[float], None] = lambda _now: None
        """Called once a second, with monotonic time."""
        self.sample = AgentSample()

    async def start(self) -> None:
        """Listen on the stream's port and begin. Raises OSError where a port can't be had."""
        await self._stream.start(self._address, self.port)
        self._loop.add_reader(self._datagrams.socket, self._readable)
        self._tick()
        self._settle()

    async def close(self) -> None:
        """Say goodbye and fall silent. The peers find the kernel answering: left, or agent-down, which harms nobody."""
        self.swim.leave(self._loop.time())
        self._settle()
        for handle in (self._timer, self._ticker):
            if handle is not None:
                handle.cancel()
        self._loop.remove_reader(self._datagrams.socket)
        self._footholds.close()
        if self._pull is not None:
            self._pull.cancel()
            await asyncio.gather(self._pull, return_exceptions=True)
        await self._stream.close()
        self._datagrams.close()
        self._echo.close()
        self.swim.trace = None
        if self._trace is not None:
            self._trace.close()
            self._trace = None

    def install(self, sealed: SealedRoster) -> bool:
        """Go by this roster (its signature has been checked). Returns False for one that is not newer."""
        roster = sealed.roster
        newer = self.swim.install(roster, self._loop.time())
        if newer:
            self._sealed = sealed
            place = "a member" if self.swim.me else "not a member, only listening"
            logger.info(
                "roster epoch %d: %d members, this node is %s", roster.epoch, len(roster.members), place
            )
            self._stand()
        self._settle()
        return newer

    def rekey(self, keys: KeySet) -> None:
        """Go by these group keys from now on, for what is sent, opened and streamed."""
        if keys == self.keys:
            return
        self.keys = keys
        for one in (self._seal, self._stream, self._peers):
            one.rekey(keys)
        logger.info(
            "group keys %s are held, %d is used (generation %d)",
            ", ".join(map(str, keys.ids)),
            keys.used,
            keys.generation,
        )

    @property
    def ready(self) -> bool:
        """Whether it has a roster that names this node."""
        return self.swim.me is not None

    def loop_lives(self, now: float) -> bool:
        """Whether the loop has ticked of late; ``now`` is monotonic time. Any thread may ask."""
        return now - self._ticked_at < DEAD_AFTER

    # -- further networks -------------------------------------------------------------------------------------------

    def _stand(self) -> None:
        """Stand on the networks that the roster names for this node, as far as the addresses are to be had."""
        me = self.swim.me
        wanted = dict(me.networks) if me is not None else {}
        missing = self._footholds.stand(wanted)
        for network in sorted(missing - self._missing):
            logger.warning(
                "%s, this node's address on the %s network, isn't to be had here: nothing is said of that network",
                *(wanted[network], network),
            )
        self._missing = missing
        self.swim.lack(missing, self._loop.time())

    def _opened(self, network: str, address: str, datagrams: Datagrams) -> None:
        self._loop.add_reader(datagrams.socket, self._readable)
        self._echoes[network] = Echo(datagrams.socket.family, address)
        logger.info("on the %s network with %s", network, address)

    def _closing(self, network: str, datagrams: Datagrams) -> None:
        self._loop.remove_reader(datagrams.socket)
        self._echoes.pop(network).close()

    def _send(self, datagram: bytes, address: str) -> None:
        """By the socket of the network that the address is on; not at all where this node doesn't stand there."""
        roster = self.swim.roster
        network = roster.network_of.get(address) if roster is not None else None
        datagrams = self._datagrams if network is None else self._footholds.sockets.get(network)
        if datagrams is not None:
            datagrams.send(datagram, address)

    # -- carrying ---------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        self._drain()
        self._settle()

    def _drain(self) -> bool:
        now = self._loop.time()

        def take(datagram: bytes, address: str, at: float) -> None:
            self.swim.receive(datagram, address, now, at=at)

        sockets = (self._datagrams, *self._footholds.sockets.values())
        emptied = [
            one.drain(take) for one in sockets
        ]  # of each one: no answer is missing as long as it lies there
        return all(emptied)

    def _due(self) -> None:
        self._timer = None
        for _ in range(_DRAINS):
            if self._drain():
                break
        self.swim.handle_timer(self._loop.time())
        self._settle()

    def _settle(self) -> None:
        """Do what the machine wants done, and wake it in time."""
        now = self._loop.time()
        while (event := self.swim.next_event()) is not None:
            if self._trace is not None:
                self._trace.event(event)
            match event:
                case KernelProbe(uid, address, network):
                    if self._ask_kernels:
                        self._probe_kernel(uid, address, network)
                case NetworkChanged(subject, network, dead, sentence):
                    word = "is dead" if dead else "is dead no more"
                    logger.warning("%s: its %s network %s (%s)", subject, network, word, sentence)
                case StateChanged(subject, old, new, sentence):
                    self._verdicts += new is RingState.UNREACHABLE
                    logger.info("%s: %s -> %s (%s)", subject, old, new, sentence)
                    self.on_loneliness(self.swim.lonely)
                case PathLost(subject):
                    logger.warning("%s answers others, but not this node: a path is lost", subject)
                case AwarenessChanged(isolated):
                    logger.warning(
                        "cut off from the others, accusing nobody" if isolated else "among the others again"
                    )
                    self.on_loneliness(self.swim.lonely)
                case RosterWanted(_, address):
                    if self._sealed is not None and (self._pull is None or self._pull.done()):
                        self._pull = asyncio.ensure_future(self._pull_roster(self._sealed, address))
        for datagram, address in self.swim.datagrams_to_send(now):
            self._send(datagram, address)
        if self.swim.version != self._version:
            self._version = self.swim.version
            self._stream.changed()
            if self._trace is not None and self.swim.window:
                self._trace.write("view")
        deadline = self.swim.next_deadline()
        if self._timer is not None:
            if self._timer.when() == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._due)

    def _read_by(self, readers: int) -> None:
        self.swim.window = readers > 0

    def _probe_kernel(self, uid: str, address: str, network: str) -> None:
        def answered() -> None:
            if self._trace is not None:
                self._trace.kernel_answered(uid, network)
            self.swim.kernel_answered(uid, self._loop.time(), network)
            self._settle()

        def soon() -> None:
            self._loop.call_soon(answered)  # it may come while the machine's events are being worked off

        ports = (self.port, self._closed_port)
        if network == MANAGEMENT:
            probe_kernel(address, ports, soon)
            self._echo.ask(address, answered)
        elif self.swim.me is not None and network in self._echoes:
            probe_kernel(address, ports, soon, source=self.swim.me.on(network))
            self._echoes[network].ask(address, answered)

    async def _pull_roster(self, ours: SealedRoster, address: str) -> None:
        """Go by a peer's newer roster if the roster key has signed it; leave all as it is otherwise.

        What takes long with 5,000 members is done in a thread: the loop has probes to answer.
        """
        try:
            try:
                sealed = await self._ask(ours.roster.epoch, ours.roster.members, address)
            except RosterError:
                sealed = await self._ask(ours.roster.epoch, (), address)
        except RosterError as error:
            self._rosters["rosters refused"] += 1
            if self._loop.time() - self._refused_at >= REFUSALS_LOGGED:
                self._refused_at = self._loop.time()
                logger.warning("the roster of the agent at %s was refused: %s", address, error)
            return
        except (StreamError, OSError) as error:
            logger.debug("no roster from the agent at %s: %s", address, error)
            return
        if sealed is None:
            return
        text = await asyncio.to_thread(sealed.text)
        if self.install(sealed):
            self._rosters["rosters pulled"] += 1
            logger.info("roster epoch %d came from the agent at %s", sealed.roster.epoch, address)
            self.on_roster(text)

    async def _ask(self, epoch: int, known: tuple[Member, ...], address: str) -> SealedRoster | None:
        """The peer's roster, ready to be installed; None where it isn't newer. Raises RosterError, StreamError, OSError."""

        def put_together(data: bytes) -> SealedRoster:
            return prepare(
                apply(known, data, lambda text, signature: check(text, signature, self._roster_key))
            )

        theirs = await asyncio.to_thread(digests, known)
        data = await self._peers.roster(address, self.port, epoch, theirs)
        return await asyncio.to_thread(put_together, data) if data else None

    def _tick(self) -> None:
        self._ticked_at = self._loop.time()
        self._ticker = self._loop.call_later(TICK, self._tick)
        slept = self._jumps.jumped()
        if slept > TICK / 2:
            self.swim.impair(slept, self._ticked_at)
        self._look_at_host()
        self.on_tick(self._ticked_at)
        if self._missing:
            self._stand()
            self._settle()
        swim = self.swim
        for line in self._refusals.news(swim.stats, swim.refused, self._ticked_at):
            logger.warning(line)
        self.sample = AgentSample(
            counts=Counter(swim.stats) + Counter({"verdicts": self._verdicts}) + self._rosters,
            peers=tuple(
                PeerSample(
                    *(subject.member.name, subject.state.value, subject.path.mean, subject.path.loss),
                    tuple((leg.network, leg.state.value) for leg in subject.reach.further),
                )
                for subject in swim.subjects
                if subject.observed
            ),
            healthy=swim.awareness.healthy(self._ticked_at),
            isolated=swim.awareness.isolated,
            lag=swim.awareness.lag,
            worst_lag=swim.awareness.worst_lag,
            stretch=swim.awareness.stretch,
            dropped=self._kernel_dropped,
            carrier=swim.awareness.carrier,
            epoch=swim.roster.epoch if swim.roster else 0,
            members=len(swim.roster.members) if swim.roster else 0,
            read=swim.window,
            lease_held=self.lease_held,
            key=self.keys.used,
        )

    @property
    def _kernel_dropped(self) -> int:
        """Datagrams that it had no room for, on all sockets."""
        return (
            self._datagrams.dropped
            + self._footholds.dropped
            + sum(one.dropped for one in self._footholds.sockets.values())
        )

    def _look_at_host(self) -> None:
        awareness, dropped = self.swim.awareness, self._kernel_dropped
        awareness.strain(strain_of(read_pressure().values(), dropped - self._dropped))
        self._dropped = dropped
        before = awareness.carrier
        awareness.see_carrier(self._carrier.up(), self._ticked_at)
        if (before is False) is not (awareness.carrier is False):
            logger.warning(
                "%s has a link again" if before is False else "no link under %s, accusing nobody",
                self._address,
            )
            self.on_loneliness(self.swim.lonely)
