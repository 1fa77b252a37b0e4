"""Listen to heartbeat processes: this replica's own node's and two others; and have words written to fenced nodes.

The controller mounts no volume. What it knows of one comes over these streams, and a word to a node goes out over them, to
two processes at once: whoever comes second finds it written.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ringfence.controller.evidence import Witness
from ringfence.controller.streams import Agents, Streams
from ringfence.core.fencing.slotreport import SlotReport
from ringfence.core.fencing.slots import Sign, SlotError, Word, encode_word
from ringfence.core.gossip.members import Member
from ringfence.core.model import Boot
from ringfence.metrics import ControllerMetrics
from ringfence.net.slot_stream import WordWish
from ringfence.net.stream import StreamError
from ringfence.ports import Clock, TooLate

logger = logging.getLogger(__name__)

SCRIBES = 2
"""Processes that are asked to write the same word."""
WORD_TTL = 4.0
"""Seconds for which a process may still write it."""


class Session(Protocol):
    """An open stream from one heartbeat process."""

    async def report(self) -> SlotReport:
        """The next report. Raises StreamError, OSError or TimeoutError."""

    def tell(self, wish: WordWish) -> None:
        """Send the wish; whether it was fulfilled is seen in later reports."""


class HeartbeatProcesses(Agents, Protocol):
    """Through whom heartbeat processes are asked: :class:`ringfence.net.slot_stream.SlotClient`, and its stand-ins."""

    def session(self, address: str, port: int) -> AbstractAsyncContextManager[Session]:
        """Connect and prove. Raises StreamError or OSError, here or within."""


class SlotStreams(Streams):
    """See the module; who is listened to is chosen as the agents are."""

    COUNT = 3

    def __init__(
        self,
        client: HeartbeatProcesses,
        witness: Witness,
        clock: Clock,
        identity: str,
        own_node: str,
        port: int,
        poke: Callable[[], None],
        metrics: ControllerMetrics,
        *,
        cluster: bytes,
        sign: Sign,
    ) -> None:
        super().__init__(client, witness, clock, identity, own_node, port, poke, metrics)
        self._slots = client
        self._cluster = cluster
        self._sign = sign
        self._sessions: dict[str, Session] = {}
        self._clocks: dict[str, float] = {}
        """How far each process' clock is ahead of ours at least: a report takes its time on the way."""
        self._well: dict[str, bool] = {}
        """Whose volume can be written now."""

    async def tell(
        self,
        boot: Boot,
        incident: str,
        *,
        stop_guests: bool = False,
        taken_back: bool = False,
        deadline: float | None = None,
    ) -> None:
        """Let it be written; that it stands is seen in later reports. Raises TooLate."""
        now = self._clock.monotonic()
        ttl = WORD_TTL if deadline is None else min(WORD_TTL, deadline - now)
        if ttl <= 0:
            raise TooLate(f"the word to {boot} was not sent: the right to order has run out")
        place = self._witness.heartbeats.place(boot.node_uid, now)
        if place is None:
            return
        index, last = place
        # Above every word that was ever seen there: whose clock it was counted by doesn't matter.
        issued = max(last + 1, int(self._clock.wall() * 1000))
        word = Word(boot.node_uid, boot.boot_id, incident, stop_guests, issued, taken_back)
        try:
            block = encode_word(word, self._cluster, self._sign)
        except SlotError as error:  # where the volume's reader has told nonsense
            logger.warning("no word to %s can be written: %s", boot, error)
            return
        able = [name for name in self._sessions if self._well.get(name)]
        for name in itertools.islice(sorted(able, key=lambda name: name == boot.node), SCRIBES):
            logger.debug("%s shall write to %s: %s", name, boot, "fenced no more" if taken_back else "fenced")
            self._sessions[name].tell(WordWish(index, block, now + self._clocks[name] + ttl))

    def _count(self, streams: int) -> None:
        self._metrics.slot_streams(streams)

    async def _follow(self, member: Member) -> None:
        try:
            async with self._slots.session(member.addresses[0], self._port) as session:
                while True:
                    report = await session.report()
                    _of(member, report)
                    self._clocks[member.name] = report.at - self._clock.monotonic()
                    self._sessions[member.name] = session
                    own = report.own
                    hanging = own.hanging_age is not None
                    trouble = own.trouble or (
                        f"its storage hangs for {own.hanging_age:.0f} s" if hanging else ""
                    )
                    self._tell_trouble(member.name, trouble)
                    if trouble:  # it sees nothing: another may
                        self._failed_at[member.name] = self._clock.monotonic()
                    else:
                        self._failed_at.pop(member.name, None)
                    self._witness.slots_seen(report, self._clock.monotonic())
        except (StreamError, OSError, TimeoutError) as error:
            if member.name not in self._failed_at:
                logger.info("no heartbeat process answers on %s: %s", member.name, error or "time-out")
        finally:
            self._sessions.pop(member.name, None)
            self._well.pop(member.name, None)
            self._clocks.pop(member.name, None)
        self._failed_at[member.name] = self._clock.monotonic()

    def _tell_trouble(self, node: str, trouble: str) -> None:
        well = not trouble
        # One that is known to be ill is passed over and tried again: that is no news.
        if self._well.get(node, node not in self._failed_at) is not well:
            logger.warning("heartbeat of %s: %s", node, trouble or "goes on")
        self._well[node] = well


def _of(member: Member, report: SlotReport) -> None:
    """Each speaks for its own node only, else one could hide what all others see. Raises StreamError."""
    if (report.reporter.node, report.reporter.node_uid) != (member.name, member.uid):
        raise StreamError(f"{member.name}'s heartbeat process speaks for {report.reporter}")
