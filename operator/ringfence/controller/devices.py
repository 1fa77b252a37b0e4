"""Fence devices at work: who they are, what they last read, one session at a time to each.

Between incidents every device is proved once a minute (:mod:`ringfence.controller.proving`): opened, its identity compared
with the node's, its power read, closed again. In an incident the session is kept open, so that an order costs no login; a
proof that is under way there, or at the same address, is broken off. What a device *answers* is kept apart from what it
*reads*; only readings leave this module as evidence.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ringfence.controller.drilled import DrilledDevice
from ringfence.controller.proving import AT_ONCE, QUIET, Key, Rota
from ringfence.controller.targets import DeviceTarget
from ringfence.core import timing
from ringfence.core.fencing.chassis import Chassis
from ringfence.core.fencing.exercise import Exercise
from ringfence.core.fencing.identity import same_machine
from ringfence.core.fencing.orders import Order
from ringfence.core.fencing.outlets import Objection
from ringfence.core.fencing.proof import Reading, off_since
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.model import PowerState
from ringfence.ports import (
    Clock,
    Cluster,
    ClusterError,
    DeviceError,
    DeviceMisconfigured,
    DeviceRefused,
    DeviceSpec,
    DeviceUnauthorized,
    NotFound,
    PowerDevice,
    TooLate,
)

logger = logging.getLogger(__name__)

OpenDevice = Callable[[DeviceSpec, Mapping[str, bytes], Clock], PowerDevice]


@dataclass(frozen=True, slots=True)
class ProofOfUse:
    """The outcome of the last look at a device outside of an incident."""

    reason: str
    message: str
    power: PowerState = PowerState.UNKNOWN
    uuid: str = ""
    checked_wall: float = 0.0

    @property
    def ok(self) -> bool:
        return self.reason == "Proved"


@dataclass(slots=True)
class _Line:
    """All that is remembered of one (device, node)."""

    target: DeviceTarget
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    session: PowerDevice | None = None
    checked: bool = False
    readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=8))
    error: str | None = None
    unusable: Objection | None = None
    failures: int = 0
    next_try_at: float = float("-inf")
    called_off_at: float | None = None
    back_on_at: float | None = None
    off_since: float | None = None
    order_lasts: float = timing.ORDER_EFFECT
    unsent: float | None = None
    """The decision of the last order that came too late to be sent."""
    ordered_in: str = ""
    """The incident in which this replica last ordered it off: what it says after that is no word of its own."""
    read_in: str = ""
    """The incident of the last reading."""
    proof: ProofOfUse | None = None
    proved_at: float = float("-inf")
    """When it last answered as this node's device, in an incident or without one."""
    proved_wall: float = 0.0

    def proved(self, clock: Clock) -> None:
        self.proved_at, self.proved_wall = clock.monotonic(), clock.wall()


class DeviceBook:
    """Every device that FenceDevices declare, by (device name, node name)."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        opener: OpenDevice,
        poke: Callable[[], None],
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._open = opener
        self._poke = poke
        self._lines: dict[Key, _Line] = {}
        self._chassis: Mapping[Key, Chassis] = {}
        self._hosts: Mapping[Key, str] = {}
        self._addresses: dict[Key, str] = {}
        self._rota = Rota(draw)
        self._proving: dict[Key, asyncio.Task[None]] = {}
        """The proofs under way: whatever comes breaks them off."""
        self._at_work: dict[Key, float] = {}
        """When an incident last asked or ordered here, where that is not long ago."""
        self._drilled: dict[Key, DrilledDevice] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def declare(
        self,
        targets: Mapping[Key, DeviceTarget],
        chassis: Mapping[Key, Chassis] | None = None,
        addresses: Mapping[Key, str] | None = None,
        hosts: Mapping[Key, str] | None = None,
    ) -> None:
        """Take over what the FenceDevices say now; a changed declaration starts anew, unproved.

        ``chassis`` is no part of that: another limit takes nothing from what is known of a device. ``addresses`` are those
        that take their sessions; a device that has none there is alone at its own. ``hosts`` are the addresses behind which they read.
        """
        self._chassis = chassis or {}
        self._hosts = hosts or {}
        self._addresses = {key: (addresses or {}).get(key) or " ".join(key) for key in targets}
        for key in [k for k, line in self._lines.items() if targets.get(k) != line.target]:
            del self._lines[key]
            self._rota.forget(key)
        self._rota.declare(self._addresses)
        for key, target in targets.items():
            if key not in self._lines:
                self._lines[key] = _Line(target, unusable=target.objection)

    def proof(self, device: str, node: str) -> ProofOfUse | None:
        line = self._lines.get((device, node))
        return line.proof if line else None

    def exercise(self, device: str, node: str, drilled_wall: float | None = None) -> Exercise:
        """How long ago it was shown to work. ``drilled_wall``: when it last passed a drill."""
        line = self._lines.get((device, node))
        if line is None:
            return Exercise(device, node, "it is not declared for this node", None)
        ever = line.proved_at > float("-inf")
        return Exercise(
            device,
            node,
            trouble=line.proof.message if line.proof is not None and not line.proof.ok else None,
            proved_ago=self._clock.monotonic() - line.proved_at if ever else None,
            drilled_ago=self._clock.wall() - drilled_wall if drilled_wall is not None else None,
            drillable=not line.target.by_address,
        )

    def proved_wall(self, device: str, node: str) -> float | None:
        """When it was last shown to work; None: not since it was declared, as far as this process knows."""
        line = self._lines.get((device, node))
        return line.proved_wall or None if line is not None else None

    def proved_walls(self) -> dict[tuple[str, str], float]:
        """The same of all that are declared; 0 for never."""
        return {key: line.proved_wall for key, line in self._lines.items()}

    def look(self, device: str, node: str) -> DeviceLook:
        """What the ladder sees of the device with regard to the node."""
        line = self._lines.get((device, node))
        if line is None:
            return DeviceLook(device, unusable="it is not declared for this node")
        return DeviceLook(
            device,
            unusable=line.unusable.sentence if line.unusable else None,
            readings=tuple(line.readings),
            error=line.error,
            busy=line.lock.locked() and (device, node) not in self._proving,
            next_try_at=line.next_try_at,
            unsent=line.unsent,
            called_off_at=line.called_off_at,
            back_on_at=line.back_on_at,
            off_since=line.off_since,
            order_lasts=line.order_lasts,
            address=self._hosts.get((device, node), ""),
            chassis=self._chassis.get((device, node)),
        )

    def methods(self, devices: Iterable[str], node: str) -> int:
        """How many independent methods these devices of the node are: those behind one address are one."""
        return len({self._hosts.get((device, node)) or f"device {device}" for device in devices})

    async def read(self, device: str, node: str, incident: str) -> None:
        """Read the power once, for the incident of that name; the reading, or the failure, is in the next :meth:`look`."""

        async def ask(session: PowerDevice, line: _Line) -> None:
            asked_at = self._clock.monotonic()
            power = await session.power()
            reading = Reading(power.state, max(asked_at, power.at), self._clock.monotonic())
            last = line.readings[-1] if line.readings and line.read_in == incident else None
            before = last.state if last is not None else None
            line.read_in = incident
            line.readings.append(reading)
            line.off_since = off_since(line.off_since, last, reading)
            line.proved(self._clock)
            if reading.state is PowerState.OFF and line.ordered_in != incident:
                line.called_off_at = power.at
            if (before, reading.state) == (PowerState.OFF, PowerState.ON):
                line.back_on_at = power.at
            logger.debug("%s reads %s as %s", device, node, reading.state)

        await self._use(device, node, ask)

    async def order_off(self, order: Order, node: str, incident: str, deadline: float) -> None:
        """Order the power off, as it is on record. Proves nothing.

        Raises TooLate after the deadline: then nothing was sent, and the next :meth:`look` says so.
        """
        device = order.device

        async def send(session: PowerDevice, line: _Line) -> None:
            before, line.ordered_in = line.ordered_in, incident
            try:
                receipt = await session.order_off(deadline=deadline)
            except TooLate:
                line.ordered_in, line.unsent = before, order.sent_at
                raise
            logger.info(
                "%s took the order to power %s off (%.2f s)",
                device,
                node,
                receipt.answered_at - receipt.sent_at,
            )

        await self._use(device, node, send)

    async def order_on(self, device: str, node: str, deadline: float) -> None:
        async def order(session: PowerDevice, _line: _Line) -> None:
            await session.order_on(deadline=deadline)
            logger.info("%s took the order to power %s on", device, node)

        await self._use(device, node, order)

    async def _use(
        self, device: str, node: str, act: Callable[[PowerDevice, _Line], Awaitable[None]]
    ) -> None:
        line = self._lines.get((device, node))
        if line is None or (line.lock.locked() and (device, node) not in self._proving):
            return
        self._at_work[device, node] = self._clock.monotonic()
        self._break_off(self._addresses.get((device, node)))
        try:
            async with line.lock:
                session = await self._session(line)
                await act(session, line)
                line.error, line.failures, line.next_try_at = None, 0, float("-inf")
        except (DeviceError, ClusterError) as error:
            await self._failed(line, str(error))
        finally:
            self._at_work[device, node] = self._clock.monotonic()
            self._poke()

    def _break_off(self, address: str | None) -> None:
        """End the proof under way at this address: its sessions are few, and what comes now must not wait."""
        for key in [key for key in self._proving if self._addresses.get(key) == address]:
            self._proving.pop(key).cancel()

    async def _failed(self, line: _Line, sentence: str) -> None:
        line.error = sentence
        backoff = timing.COMMAND_BACKOFF[min(line.failures, len(timing.COMMAND_BACKOFF) - 1)]
        line.failures += 1
        line.next_try_at = self._clock.monotonic() + backoff
        logger.warning("%s, %s: %s", line.target.spec.name, line.target.node, sentence)
        await self._hang_up(line)

    async def _session(self, line: _Line) -> PowerDevice:
        """The open session, logged in, with the identity compared once a session."""
        if line.target.objection is not None:
            raise DeviceMisconfigured(line.target.objection.sentence, reason=line.target.objection.reason)
        session = line.session  # the incident may end meanwhile, and take it off the line
        if session is None:
            secret = await secret_words(self._cluster, line.target)
            session = self._open(line.target.spec, secret, self._clock)
            line.session, line.checked = session, False
            line.order_lasts = max(session.order_lasts, timing.ORDER_EFFECT)
            await session.open()
        if not line.checked:
            identity = await session.identity()
            line.unusable = mismatch(identity.uuid, line.target)
            line.checked = True
        if line.unusable is not None:
            raise DeviceMisconfigured(line.unusable.sentence, reason=line.unusable.reason)
        return session

    async def _hang_up(self, line: _Line) -> None:
        session, line.session, line.checked = line.session, None, False
        if session is not None:
            await session.close()

    def end_incident(self, node: str) -> None:
        """Forget the incident's readings at once. Its sessions are closed beside: a device that hangs there holds up nobody."""
        for line in [line for (_, n), line in self._lines.items() if n == node]:
            line.readings.clear()
            line.called_off_at = line.back_on_at = line.off_since = line.unsent = line.error = None
            line.failures = 0
            line.ordered_in, line.next_try_at = "", float("-inf")
            session, line.session, line.checked = line.session, None, False
            if session is not None:
                closing = asyncio.create_task(_close(session, line.lock))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def prove(self, busy_nodes: frozenset[str]) -> None:
        """One round over all: open each device that no incident uses, compare, read, close."""
        self._rota.all_due()
        await self.prove_due(busy_nodes)

    async def prove_due(self, busy_nodes: frozenset[str]) -> None:
        """The same of those whose turn it is."""
        if any(await asyncio.gather(*(self._prove_in_turn(busy_nodes) for _ in range(AT_ONCE)))):
            self._poke()

    async def _prove_in_turn(self, busy_nodes: frozenset[str]) -> bool:
        """One after the other as long as somebody's turn it is. Whether there was one."""
        any_looked = False
        while (key := self._rota.take(self._clock.monotonic(), busy_nodes, self._engaged())) is not None:
            looked = False
            try:
                looked = await self._prove_unless_broken_off(key)
            finally:
                self._rota.give_back(key, self._clock.monotonic(), looked=looked)
            any_looked |= looked
        return any_looked

    def _engaged(self) -> frozenset[str]:
        """The addresses where an incident is at work or has just been, or a drill is."""
        quiet_since = self._clock.monotonic() - QUIET
        for key, at in list(self._at_work.items()):
            line = self._lines.get(key)
            if line is None or (at <= quiet_since and not line.lock.locked()):
                del self._at_work[key]
        keys = (*self._at_work, *self._drilled)
        return frozenset(self._addresses[key] for key in keys if key in self._addresses)

    async def _prove_unless_broken_off(self, key: Key) -> bool:
        task = self._proving[key] = asyncio.create_task(self._prove(self._lines[key]))
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()  # where it is this round that ends
            if self._proving.get(key) is task:
                del self._proving[key]
        if not task.cancelled():
            task.result()  # a plain bug ends the process
        return not task.cancelled()

    async def _prove(self, line: _Line) -> None:
        name = line.target.spec.name
        try:
            async with line.lock:
                session = await self._session(line)
                identity = await session.identity()
                reading = await session.power()
                node, reason = line.target.node, "Proved"
                says = f"{name} is {node}'s{_how(line.target, identity.uuid)} and reads {reading.state}"
                if line.target.by_address and reading.state is not PowerState.ON:
                    reason = "FenceStands"
                    says = f"{name} shuts {node} out of its storage, and no incident is open: lift it (docs/fence-by-storage.md)"
                proof = ProofOfUse(reason, says, reading.state, identity.uuid)
                line.proved(self._clock)
        except (DeviceError, ClusterError) as error:
            proof = ProofOfUse(_reason(error), str(error))
        finally:
            await self._hang_up(line)
        if line.proof is None or (proof.reason, proof.message) != (line.proof.reason, line.proof.message):
            logger.info("%s for %s: %s (%s)", name, line.target.node, proof.reason, proof.message)
        line.proof = replace(proof, checked_wall=self._clock.wall())

    async def open_for_drill(self, device: str, node: str) -> tuple[PowerDevice, DeviceTarget]:
        """A session of its own to a device whose identity is not proved yet. Raises DeviceError, ClusterError.

        As long as it is open no proof begins at its address.
        """
        target = self.target(device, node)
        if target is None:
            raise DeviceMisconfigured(f"{device} is not declared for {node} any more")
        if target.objection is not None:
            raise DeviceMisconfigured(target.objection.sentence, reason=target.objection.reason)
        key = (device, node)
        session = self._open(target.spec, await secret_words(self._cluster, target), self._clock)
        drilled = DrilledDevice(device, session, self._clock, lambda: self._drilled.pop(key, None))
        self._drilled[key] = drilled
        self._break_off(self._addresses.get(key))
        try:
            await drilled.open()
        except BaseException:
            await drilled.close()
            raise
        return drilled, target

    def drill_orders(self) -> tuple[tuple[str, Order], ...]:
        """The orders off that drills have in work, by node: they take their places at a chassis like an incident's."""
        return tuple((node, d.order) for (_, node), d in self._drilled.items() if d.order is not None)

    def target(self, device: str, node: str) -> DeviceTarget | None:
        line = self._lines.get((device, node))
        return line.target if line else None

    async def close(self) -> None:
        await asyncio.gather(*self._closing)
        for line in self._lines.values():
            await self._hang_up(line)


async def _close(session: PowerDevice, lock: asyncio.Lock) -> None:
    """Hang up when whoever uses the line has ended."""
    async with lock:
        await session.close()


async def secret_words(cluster: Cluster, target: DeviceTarget) -> dict[str, bytes]:
    """What the driver gets out of Secrets, each of them read once. Raises DeviceMisconfigured, ClusterError."""
    read: dict[str, dict[str, bytes]] = {}
    words = {}
    for wanted in target.secret:
        try:
            if wanted.secret not in read:
                read[wanted.secret] = await cluster.read_secret(wanted.secret)
        except NotFound:
            raise DeviceMisconfigured(
                f"Secret {wanted.secret} was not found in ringfence's namespace: create it",
                reason="SecretNotFound",
            ) from None
        if wanted.key not in read[wanted.secret]:
            raise DeviceMisconfigured(
                f"Secret {wanted.secret} has no key {wanted.key!r}: add it", reason="SecretKeyNotFound"
            )
        words[wanted.name] = read[wanted.secret][wanted.key]
    return words


def mismatch(device_uuid: str, target: DeviceTarget) -> Objection | None:
    """Why the device is not proved to be this node's: its UUID is not the node's ``nodeInfo.systemUUID``."""
    if target.by_address:
        return None
    if not target.node_uuid:
        return Objection("IdentityUnproved", f"node {target.node} has no systemUUID to compare with")
    if same_machine(device_uuid, target.node_uuid):
        return None
    if target.drilled is not None and target.drilled.device_uuid == device_uuid:
        return None
    if not device_uuid:
        return Objection(
            "IdentityUnproved",
            f"the device can't say which machine it stands before, so it is not proved to be {target.node}'s"
            " and never used: prove it by a drill (docs/choosing-a-fence.md)",
        )
    return Objection(
        "IdentityMismatch",
        f"identity mismatch: the device stands before system {device_uuid}, "
        f"but {target.node}'s systemUUID is {target.node_uuid}; it is never used",
    )


def _how(target: DeviceTarget, device_uuid: str) -> str:
    if target.by_address:
        return f" by {', '.join(target.spec.cidrs)}"
    return "" if same_machine(device_uuid, target.node_uuid) else " (proved by a drill)"


def _reason(error: Exception) -> str:
    match error:
        case DeviceUnauthorized():
            return "Unauthorized"
        case DeviceMisconfigured():
            return error.reason
        case DeviceRefused():
            return "RefusedByDevice"
        case TooLate():
            return "TooLate"
        case _:
            return "Unreachable"
