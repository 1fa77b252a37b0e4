"""The ladder: which device to read or to order next, until the readings make a proof.

Pure and level-triggered: given the orders that are on record, what each device has answered so far, and the time, it
names the next commands and says in one sentence where it stands. It never believes an answer to an order: after each
order the device is *read* until it says ``off`` twice.

Looking costs nothing and comes first: while the hold runs the devices of the first level are read, so a node that has
lost its power is found ``off`` without hold or order, and a live one costs one order, not a login.

A watchdog is a rung of another kind: it can't be ordered, only counted out (:mod:`ringfence.core.fencing.selffence`).
Its clock starts with the revocation of the agent's Lease; that goes on record like an order, and goes on beside the
levels before it when their devices answer again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ringfence.core import timing
from ringfence.core.fencing.proof import (
    CutVm,
    FencingProof,
    PoweredOff,
    Reading,
    SelfFenced,
    StorageCut,
    permit,
    permit_vms,
    powered_off,
)
from ringfence.core.fencing.selffence import Wait, WatchdogLook, assume
from ringfence.core.model import Boot, PowerState


@dataclass(frozen=True, slots=True)
class DeviceLook:
    """What the controller knows of one fence device with regard to one node."""

    name: str
    unusable: str | None = None
    """Why it must never be used for this node (identity mismatch, no Secret, ...)."""
    readings: tuple[Reading, ...] = ()
    """Oldest first, of this incident, a bounded number."""
    error: str | None = None
    """The last failure, if nothing has succeeded since."""
    busy: bool = False
    """A command to it is on its way."""
    next_try_at: float = float("-inf")
    """Back-off after failures."""
    order_lasts: float = timing.ORDER_EFFECT
    """Seconds after its sending for which an order may still take effect."""
    called_off_at: float | None = None
    """When it last called the node ``off`` without an order of ours in this incident."""
    cuts: frozenset[str] | None = None
    """For a storage: the volumes from which it cuts the node, ``namespace/claim``; ``off`` is then "cut off from them".
    None: it cuts the power."""

    def reads_off(self, now: float) -> bool:
        """Whether it was just read as ``off``."""
        last = self.readings[-1] if self.readings else None
        fresh = last is not None and now - last.asked_at <= timing.READ_FRESH
        return fresh and last is not None and last.state is PowerState.OFF


class Action(StrEnum):
    """What an order says."""

    OFF = "off"
    REVOKE = "revoke"
    """Revoke the agent's Lease: the watchdog's clock starts."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order as it is on record, stored before it is sent."""

    device: str
    attempt: int
    sent_at: float
    """Monotonic; a leader that finds the order of another on record takes the moment it found it."""
    effective_until: float
    action: Action = Action.OFF


@dataclass(frozen=True, slots=True)
class ReadPower:
    device: str


@dataclass(frozen=True, slots=True)
class OrderOff:
    device: str
    attempt: int


@dataclass(frozen=True, slots=True)
class RevokeAgentLease:
    """Revoke the Lease of the node's agent, for this boot. Idempotent."""

    device: str


@dataclass(frozen=True, slots=True)
class LookOnceMore:
    """Read the node's Lease and report consistently, and ask most agents whether they still hear the node."""

    device: str


LadderCommand = ReadPower | OrderOff | RevokeAgentLease | LookOnceMore
Rungs = tuple[tuple[DeviceLook | WatchdogLook, ...], ...]
"""The devices of a node, level by level."""


@dataclass(frozen=True, slots=True)
class Rung:
    """Where the ladder stands: what to do now, what is proved, and the sentence."""

    commands: tuple[LadderCommand, ...]
    proofs: tuple[FencingProof, ...]
    sentence: str
    exhausted: bool = False
    """Every level has been tried: a person is needed, or a later pass."""


@dataclass(frozen=True, slots=True)
class Ladder:
    boot: Boot
    levels: Rungs
    """The devices of this node, level by level."""
    orders: tuple[Order, ...] = ()
    """The orders of this pass."""
    life_at: float = float("-inf")
    """The latest sign of life of the boot: readings asked for before it prove nothing."""
    vms: tuple[CutVm, ...] = ()
    """The VMs of the incident, for storages."""
    slot_moved_at: float = float("-inf")
    """The latest write of the boot to the heartbeat volume: what voids a storage's reading, which no other life does."""

    def look(self, now: float) -> Rung:
        """Read only: what can be found without any order."""
        proofs: list[FencingProof] = []
        commands: list[LadderCommand] = []
        for level in self.levels:
            for device in level:
                if device.unusable is not None or isinstance(device, WatchdogLook):
                    continue
                if (proof := self._proof(device, now)) is not None:
                    proofs.append(proof)
                elif (read := self._next_read(device, now, relaxed=True)) is not None:
                    commands.append(read)
            found = [p for p in proofs if isinstance(p, PoweredOff | StorageCut)]
            if level and {p.device for p in found} >= {d.name for d in level}:
                return Rung(
                    (), tuple(proofs), "read as off without an order: " + ", ".join(p.device for p in found)
                )
            if level:
                break  # only the first level that has devices for this node is looked at before orders are due
        return Rung(tuple(commands), (), "")

    def climb(self, now: float, required: int) -> Rung:
        """Orders too. ``required`` is the number of independent methods that a zone demands (``proofs``)."""
        proofs: list[FencingProof] = []
        says: list[str] = []
        usable_seen = False
        for number, level in enumerate(self.levels, start=1):
            if not level:
                continue
            says.extend(
                f"{device.name}: {device.unusable}" for device in level if device.unusable is not None
            )
            if any(d.unusable is not None for d in level):
                continue  # all devices of a level must succeed: one that can't be used spoils the level
            usable_seen = True
            commands: list[LadderCommand] = []
            proved: list[FencingProof] = []
            failed: list[str] = []
            pending: list[str] = []
            for device in level:
                if isinstance(device, WatchdogLook):
                    command, say, over = self._count_out(device, now, proved)
                    if not say:
                        continue
                elif (proof := self._proof(device, now)) is not None:
                    proved.append(proof)
                    continue
                else:
                    command, say, over = self._next(device, now)
                if over:
                    failed.append(say)
                else:
                    pending.append(say)
                    if command is not None:
                        commands.append(command)
            if failed:
                says.extend(failed)
                continue
            if pending:
                rung = Rung(tuple(commands), tuple(proofs), f"fencing, level {number}: " + "; ".join(pending))
                return self._beside(rung, number, now, required)
            # Only a whole level counts: a node with two supplies is not off while one of them feeds it.
            proofs.extend(proved)
            if (done := self._done(proofs, required)) is not None:
                return Rung((), tuple(proofs), done)
            cuts = sorted({p.device for p in proofs if isinstance(p, StorageCut)})
            if cuts:
                reach = {volume for p in proofs if isinstance(p, StorageCut) for volume in p.volumes}
                says.append(f"{', '.join(cuts)}: cut, but {self._uncovered(reach)}")
        if not usable_seen and not says:
            return Rung((), tuple(proofs), "no fence device reaches this node", exhausted=True)
        return Rung((), tuple(proofs), "; ".join(says) or "not enough independent devices", exhausted=True)

    def _count_out(
        self, device: WatchdogLook, now: float, proved: list[FencingProof]
    ) -> tuple[LadderCommand | None, str, bool]:
        """Like :meth:`_next`, for a watchdog; one that is proved is added to ``proved`` and has no clause."""
        match assume(self.boot, device, self.life_at, now):
            case SelfFenced() as proof:
                proved.append(proof)
                return None, "", False
            case Wait(reason, _, revoke, look):
                command: LadderCommand | None = None
                if revoke:
                    command = RevokeAgentLease(device.name)
                elif look:
                    command = LookOnceMore(device.name)
                return command, f"{device.name}: {reason}", False

    def _beside(self, rung: Rung, number: int, now: float, required: int) -> Rung:
        """Let a watchdog's clock that has started on a later level go on while this level's devices answer again."""
        for later, level in enumerate(self.levels[number:], start=number + 1):
            running = [
                d
                for d in level
                if isinstance(d, WatchdogLook) and d.unusable is None and self.ordered(d.name)
            ]
            if not running or len(running) < len(level):
                continue
            proved: list[FencingProof] = []
            nexts = [self._count_out(device, now, proved) for device in running]
            commands = tuple(command for command, _, _ in nexts if command is not None)
            if len(proved) == len(level):
                proofs = (*rung.proofs, *proved)
                if self._done(proofs, required) is not None:
                    return Rung((), proofs, "counted out by " + ", ".join(d.name for d in running))
                return replace(rung, proofs=proofs)
            says = "; ".join(say for _, say, _ in nexts if say)
            return Rung((*rung.commands, *commands), rung.proofs, f"fencing, level {later}: {says}")
        return rung

    def ordered(self, device: str) -> tuple[Order, ...]:
        return tuple(o for o in self.orders if o.device == device)

    def _done(self, proofs: Sequence[FencingProof], required: int) -> str | None:
        """That these proofs are enough, for the node or for some of its VMs; None: they aren't."""
        if permit(self.boot, tuple(proofs), required) is not None:
            off = {p.device for p in proofs if isinstance(p, PoweredOff | SelfFenced)}
            return "proved off by " + ", ".join(sorted(off))
        if permit_vms(self.boot, tuple(proofs), required) is not None:
            cuts = {p.device for p in proofs if isinstance(p, StorageCut)}
            return "cut from its storage by " + ", ".join(sorted(cuts))
        return None

    def _in_vain(self) -> str | None:
        """Why no cut is worth an order: the node may live, and would lose its disks without a VM that could be moved."""
        storages = [
            d for level in self.levels for d in level if isinstance(d, DeviceLook) and d.cuts is not None
        ]
        reach = {volume for d in storages if d.unusable is None for volume in d.cuts or ()}
        if any(vm.volumes and reach.issuperset(vm.volumes) for vm in self.vms):
            return None
        return f"not ordered, it would free no VM ({self._uncovered(reach)})"

    def _uncovered(self, reach: set[str]) -> str:
        """What of each VM is not behind the cut, for people."""
        left = {vm.name: [v for v in vm.volumes if v not in reach] for vm in self.vms}
        open_ = [f"{name} ({', '.join(volumes)})" for name, volumes in left.items() if volumes]
        return (
            f"not from all that these write to: {', '.join(open_)}"
            if open_
            else "no VM has a volume behind it"
        )

    def _proof(self, device: DeviceLook, now: float) -> PoweredOff | StorageCut | None:
        if device.cuts is not None:
            # The node may well be alive: only its writes count against the reading, and a fence that is not there any more.
            if not device.reads_off(now):
                return None
            since = tuple(r for r in device.readings if r.asked_at > self.slot_moved_at)
            cut = self._off(device, since)
            volumes = tuple(sorted(device.cuts))
            return cut and StorageCut(self.boot, device.name, self.vms, volumes, cut.seen_at, cut.detail)
        return self._off(device, tuple(r for r in device.readings if r.asked_at > self.life_at))

    def _off(self, device: DeviceLook, readings: tuple[Reading, ...]) -> PoweredOff | None:
        orders = self.ordered(device.name)
        proof = powered_off(self.boot, device.name, readings, orders[0].sent_at if orders else None)
        if proof is None and orders:
            # Off since before our order is off all the same: it was found, not ordered.
            proof = powered_off(self.boot, device.name, readings, None)
        return proof

    def _next(self, device: DeviceLook, now: float) -> tuple[LadderCommand | None, str, bool]:
        """The next command for a device, a clause about it, and whether it has been tried in vain."""
        orders = self.ordered(device.name)
        in_effect = bool(orders) and now < orders[-1].effective_until
        last = device.readings[-1] if device.readings else None
        if len(orders) >= timing.ORDER_TRIES and not in_effect and not device.busy:
            why = device.error or (f"still reads {last.state}" if last else "gives no reading")
            what = "power off" if device.cuts is None else "cut it from its storage"
            return None, f"{device.name}: {len(orders)} orders to {what}, {why}", True
        if device.error is not None and device.next_try_at > now:
            # A device that gives no answer holds the ladder up only as long as an order could take effect.
            return None, f"{device.name}: {device.error}", not in_effect
        if orders and in_effect:
            read = self._next_read(device, now, relaxed=False)
            return read, _waiting(device, len(orders)), False
        if device.busy or last is None or now - last.seen_at > timing.READ_FRESH:
            return self._next_read(device, now, relaxed=False), f"reading {device.name}", False
        # A storage's fence that stays in between, without a result or half lifted, would be waited for without end.
        between = last.state is PowerState.TRANSITION and device.cuts is None
        if last.state is PowerState.OFF or between:
            return (
                self._next_read(device, now, relaxed=False),
                f"{device.name} reads {last.state}, reading again",
                False,
            )
        if device.called_off_at is not None and now - device.called_off_at < timing.FOUND_OFF_BLACKOUT:
            # It said `off` and now says `on`: the node may be booting already, and a boot must not be shot.
            say = f"{device.name} called the node off {now - device.called_off_at:.0f} s ago, no order before {timing.FOUND_OFF_BLACKOUT:.0f} s"
            return self._next_read(device, now, relaxed=True), say, False
        if device.cuts is not None and (vain := self._in_vain()) is not None:
            return None, f"{device.name}: {vain}", True
        return OrderOff(device.name, len(orders) + 1), _waiting(device, len(orders) + 1), False

    def _next_read(self, device: DeviceLook, now: float, *, relaxed: bool) -> ReadPower | None:
        if device.busy or now < device.next_try_at:
            return None
        last = device.readings[-1] if device.readings else None
        # `off` is read again as soon as it makes a pair; `on` is only polled while an order is working.
        spacing = timing.READ_SPACING if last is None or last.state is PowerState.OFF or not relaxed else 1.0
        if last is None or now - last.asked_at >= spacing:
            return ReadPower(device.name)
        return None


def _waiting(device: DeviceLook, order: int) -> str:
    if device.cuts is not None:
        return f"{device.name} is ordered to cut it from its storage (order {order}), waiting to read that"
    return f"{device.name} is ordered off (order {order}), waiting to read it as off"
