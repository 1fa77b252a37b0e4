"""The ladder: which device to read or to order next, until the readings make a proof.

Pure and level-triggered: given the orders that are on record, what each device has answered so far, and the time, it
names the next commands and says in one sentence where it stands. It never believes an answer to an order: after each
order the device is *read* until it says ``off`` twice.

Looking costs nothing and comes first: while the hold runs the devices of the first level are read, so a node that has
lost its power is found ``off`` without hold or order, and a live one costs one order, not a login.

A level begins when those before it have been tried in vain, or when the one before it has been slow for its zone's
``hedgeAfterSeconds``. From then on it goes on beside them, whatever becomes of them: the first proofs that are enough
win. Two devices may then have ordered the same node off; both orders are on record with the time that they may take
effect, so nobody powers the node on, or calls the incident over, before the later of the two.

A watchdog is a rung of another kind: it can't be ordered, only counted out (:mod:`ringfence.core.fencing.selffence`).
Its clock starts with the revocation of the agent's Lease, which goes on record like an order. To revoke early kills
nobody: a node that lives is fed by the ring still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringfence.core import timing
from ringfence.core.fencing.chassis import Places
from ringfence.core.fencing.orders import (
    Action,
    Begun,
    CalledOff,
    LadderCommand,
    LookOnceMore,
    Order,
    OrderOff,
    ReadPower,
    RevokeAgentLease,
)
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
from ringfence.core.fencing.rungs import DeviceLook, Rungs
from ringfence.core.fencing.selffence import Wait, WatchdogLook, assume
from ringfence.core.model import Boot, PowerState


@dataclass(frozen=True, slots=True)
class Rung:
    """Where the ladder stands: what to do now, what is proved, and the sentence."""

    commands: tuple[LadderCommand, ...]
    proofs: tuple[FencingProof, ...]
    sentence: str
    exhausted: bool = False
    """Every level has been tried: a person is needed, or a later pass."""
    begun: tuple[Begun, ...] = ()
    """The levels that are begun after this step."""


@dataclass(slots=True)
class _Climbing:
    """One step of the ladder while it is put together."""

    now: float
    orders_from: float
    """No order is given before this instant."""
    places: Places
    commands: list[LadderCommand] = field(default_factory=list)


@dataclass(slots=True)
class _AtWork:
    """Where one level stands: a clause for each device that is not proved."""

    commands: list[LadderCommand] = field(default_factory=list)
    proved: list[FencingProof] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    ordered: list[DeviceLook] = field(default_factory=list)


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
    hedges: tuple[float | None, ...] = ()
    """For each level, after how many seconds without proof or failure the next is begun beside it; None: never."""
    begun: tuple[Begun, ...] = ()
    """The levels that were begun in this pass, as on record."""
    order_delay: float = 0.0
    """Seconds from the pass's beginning before which no order is given. Readings and revocations don't wait."""
    called_off: tuple[CalledOff, ...] = ()
    """Devices that have called the node off without an order, as on record."""
    answers: bool = False
    """The node hangs, and its kernel answers now: who reads it as off is wrong."""

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
        orders_from = min((b.at for b in self.begun), default=now) + self.order_delay
        climbing = _Climbing(now, orders_from, self._places(now))
        proofs: list[FencingProof] = []
        says: list[str] = []
        begun = list(self.begun)
        sentence = ""
        may_begin, slow = True, 0
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
            mark = self._mark(number, level)
            if mark is None:
                if not may_begin:
                    continue
                mark = Begun(number, now, slow)
                begun.append(mark)
            at_work = self._work(level, climbing, mark.at)
            may_begin, slow = True, 0
            if at_work.failed:
                says.extend(at_work.failed)
                climbing.commands.extend(c for c in at_work.commands if isinstance(c, ReadPower))
            elif at_work.pending:
                climbing.commands.extend(at_work.commands)
                beside = f" beside level {mark.slow}" if mark.slow else ""
                sentence = f"fencing, level {number}{beside}: " + "; ".join(at_work.pending)
                hedge = self.hedges[number - 1] if number <= len(self.hedges) else None
                may_begin = hedge is not None and now - max(mark.at, climbing.orders_from) >= hedge
                slow = number
            else:
                # Only a whole level counts: a node with two supplies is not off while one of them feeds it.
                proofs.extend(at_work.proved)
                if (done := self._done(proofs, required)) is not None:
                    return Rung((), tuple(proofs), done, begun=tuple(begun))
                if cuts := sorted({p.device for p in at_work.proved if isinstance(p, StorageCut)}):
                    reach = {volume for p in proofs if isinstance(p, StorageCut) for volume in p.volumes}
                    says.append(f"{', '.join(cuts)}: cut, but {self._uncovered(reach)}")
        if sentence:
            return Rung(tuple(climbing.commands), tuple(proofs), sentence, begun=tuple(begun))
        if not usable_seen and not says:
            return Rung((), tuple(proofs), "no fence device reaches this node", exhausted=True)
        return Rung((), tuple(proofs), "; ".join(says) or "not enough independent devices", exhausted=True)

    def _mark(self, number: int, level: tuple[DeviceLook | WatchdogLook, ...]) -> Begun | None:
        """When the level was begun; None: it was not. One with an order on record was, at the latest with that."""
        known = next((b for b in self.begun if b.level == number), None)
        if known is not None:
            return known
        sent = [o.sent_at for device in level for o in self.ordered(device.name)]
        return Begun(number, min(sent)) if sent else None

    def _work(
        self, level: tuple[DeviceLook | WatchdogLook, ...], climbing: _Climbing, begun_at: float
    ) -> _AtWork:
        """What is due for one level, and where each of its devices stands."""
        at_work = _AtWork()
        wrong = self._wrongly_off(level, climbing.now)
        for device in level:
            command: LadderCommand | None
            if isinstance(device, DeviceLook) and wrong:
                command, over = self._next_read(device, climbing.now, relaxed=True), True
                say = f"{device.name} reads off, but the node's kernel answers"
            elif isinstance(device, WatchdogLook):
                command, say, over = self._count_out(device, climbing.now, at_work.proved)
                if not say:
                    continue
            elif (proof := self._proof(device, climbing.now)) is not None:
                at_work.proved.append(proof)
                continue
            else:
                command, say, over = self._next(device, climbing, begun_at)
            (at_work.failed if over else at_work.pending).append(say)
            if command is not None:
                at_work.commands.append(command)
            if isinstance(command, OrderOff) and isinstance(device, DeviceLook):
                at_work.ordered.append(device)
                climbing.places.take(device.chassis)
        for device in at_work.ordered if at_work.failed else ():
            climbing.places.give_back(device.chassis)
        return at_work

    def _wrongly_off(self, level: tuple[DeviceLook | WatchdogLook, ...], now: float) -> bool:
        """Whether all devices of the level say that the node is off, which answers, and no order of theirs may have taken effect just now.

        One of two supplies that is off says nothing of the node.
        """
        if not self.answers:
            return False
        return all(
            isinstance(device, DeviceLook)
            and device.cuts is None
            and device.reads_off(now)
            and not any(now < order.effective_until for order in self.ordered(device.name))
            for device in level
        )

    def _places(self, now: float) -> Places:
        """The places that this incident's own orders have at each chassis."""
        places = Places(self.boot.node)
        for device in (d for level in self.levels for d in level if isinstance(d, DeviceLook)):
            for order in self.ordered(device.name):
                if order.works_until_read(device.readings, now):
                    places.take(device.chassis)
        return places

    def _count_out(
        self, device: WatchdogLook, now: float, proved: list[FencingProof]
    ) -> tuple[LadderCommand | None, str, bool]:
        """Like :meth:`_next`, for a watchdog; one that is proved is added to ``proved`` and has no clause."""
        match assume(self.boot, device, self.life_at, now):
            case SelfFenced() as proof:
                proved.append(proof)
                return None, "", False
            case Wait(reason, _, revoke, look):
                revoked_at = device.revoked_at
                if self.answers and revoked_at is not None and now >= revoked_at + device.assume_after:
                    # Its agent is silent for longer than that: it would have bitten. Each answer begins its time anew.
                    return None, f"{device.name}: its time is over, but the node's kernel answers", True
                command: LadderCommand | None = None
                if revoke:
                    command = RevokeAgentLease(device.name)
                elif look:
                    command = LookOnceMore(device.name)
                return command, f"{device.name}: {reason}", False

    def ordered(self, device: str) -> tuple[Order, ...]:
        """The orders of this pass that are to end the node, and its watchdog's revocation."""
        return tuple(o for o in self.orders if o.device == device and o.action is not Action.ON)

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
        orders = tuple(o for o in self.ordered(device.name) if not o.unsent)
        ordered_at = orders[0].sent_at if orders else None
        proof = powered_off(self.boot, device.name, readings, ordered_at, device.address)
        if proof is None and orders:
            # Off since before our order is off all the same: it was found, not ordered.
            proof = powered_off(self.boot, device.name, readings, None, device.address)
        return proof

    def _next(
        self, device: DeviceLook, climbing: _Climbing, begun_at: float
    ) -> tuple[LadderCommand | None, str, bool]:
        """The next command for a device, a clause about it, and whether it has been tried in vain."""
        now = climbing.now
        orders = self.ordered(device.name)
        in_effect = bool(orders) and now < orders[-1].effective_until
        last = device.readings[-1] if device.readings else None
        if len(orders) >= timing.ORDER_TRIES and not in_effect and not device.busy:
            why = device.error or (f"still reads {last.state}" if last else "gives no reading")
            what = "power off" if device.cuts is None else "cut it from its storage"
            what += f" ({late})" if (late := _late(orders)) else ""
            # What comes late is seen all the same, while another level is at work.
            return (
                self._next_read(device, now, relaxed=True),
                f"{device.name}: {len(orders)} orders to {what}, {why}",
                True,
            )
        if device.error is not None and device.next_try_at > now:
            # A device that gives no answer holds the ladder up only as long as an order could take effect.
            return None, f"{device.name}: {device.error}", not in_effect
        if orders and in_effect:
            read = self._next_read(device, now, relaxed=False)
            return read, _waiting(device, len(orders), orders), False
        fresh = last is not None and now - last.seen_at <= timing.READ_FRESH
        # A storage's fence that stays in between, without a result or half lifted, would be waited for without end.
        waited_for = {PowerState.OFF} if device.cuts is not None else {PowerState.OFF, PowerState.TRANSITION}
        may_be_off = last is not None and last.state in waited_for
        if fresh and not may_be_off and (why_not := self._no_order_yet(device, climbing)) is not None:
            return self._next_read(device, now, relaxed=True), why_not, False
        if device.busy or last is None or not fresh:
            return self._next_read(device, now, relaxed=False), f"reading {device.name}", False
        if may_be_off:
            since = max((begun_at, *(o.effective_until for o in orders)))
            if last.state is PowerState.TRANSITION and now - since >= timing.FOUND_OFF_BLACKOUT:
                # Whatever it waits for, no boot takes so long: nobody is ordered by it, but others may be, and a person is called.
                read = self._next_read(device, now, relaxed=False)
                return read, f"{device.name}: stays in {last.state}, neither on nor off", True
            return (
                self._next_read(device, now, relaxed=False),
                f"{device.name} reads {last.state}, reading again",
                False,
            )
        if device.cuts is not None and (vain := self._in_vain()) is not None:
            return None, f"{device.name}: {vain}", True
        return OrderOff(device.name, len(orders) + 1), _waiting(device, len(orders) + 1, orders), False

    def _no_order_yet(self, device: DeviceLook, climbing: _Climbing) -> str | None:
        """Why a device that reads ``on`` is not ordered yet, as a clause; it is the same as long as the reason is."""
        now, blackout = climbing.now, timing.FOUND_OFF_BLACKOUT
        # It said `off` and now says `on`: the node may be booting already, and a boot must not be shot.
        said = [at for at in (device.called_off_at, device.back_on_at) if at is not None]
        if any(now - at < blackout for at in said) or (
            device.cuts is None and any(o.device == device.name and now < o.until for o in self.called_off)
        ):
            if any(not o.unsent for o in self.ordered(device.name)):
                return f"{device.name} has read off after its order and reads on again: the node may be booting, no order for {blackout:.0f} s"
            return f"{device.name} has called the node off without an order, no order for {blackout:.0f} s"
        if (others := self._called_off(now)) is not None:
            why = "called the node off without an order"
            if any(not o.unsent for name in others for o in self.ordered(name)):
                why = "read off after an order and on again"
            return f"{device.name} reads on, but {', '.join(others)} {why}, no order for {blackout:.0f} s"
        if now < climbing.orders_from:
            return (
                f"{device.name} reads on, no order before the zone's delay of {self.order_delay:g} s is over"
            )
        full = climbing.places.full(device.chassis)
        return full and f"{device.name} waits: {full}"

    def _called_off(self, now: float) -> tuple[str, ...] | None:
        """The devices of a level that have *all* called the node off of late, though nobody had ordered that by then, or on again after it.

        One of two supplies that is off says nothing of the node.
        """
        first_order = min(
            (o.sent_at for o in self.orders if o.action is Action.OFF and not o.unsent), default=float("inf")
        )
        on_record = {one.device: one.until for one in self.called_off}
        for level in self.levels:
            if self._wrongly_off(level, now):
                continue  # it says so with each reading, and nobody believes it
            until: list[float] = []
            for device in level:
                if not isinstance(device, DeviceLook) or device.cuts is not None:
                    continue
                ends = [on_record[device.name]] if device.name in on_record else []
                if device.called_off_at is not None and device.called_off_at < first_order:
                    ends.append(device.called_off_at + timing.FOUND_OFF_BLACKOUT)
                if device.back_on_at is not None:
                    ends.append(device.back_on_at + timing.FOUND_OFF_BLACKOUT)
                until.extend(ends and [max(ends)])
            if level and len(until) == len(level) and now < max(until):
                return tuple(device.name for device in level)
        return None

    def _next_read(self, device: DeviceLook, now: float, *, relaxed: bool) -> ReadPower | None:
        if device.busy or now < device.next_try_at:
            return None
        last = device.readings[-1] if device.readings else None
        # `off` is read again as soon as it makes a pair; `on` is only polled while an order is working.
        spacing = timing.READ_SPACING if last is None or last.state is PowerState.OFF or not relaxed else 1.0
        if last is None or now - last.asked_at >= spacing:
            return ReadPower(device.name)
        return None


def _waiting(device: DeviceLook, order: int, before: Sequence[Order]) -> str:
    which = "; ".join(one for one in (f"order {order}", _late(before)) if one)
    if device.cuts is not None:
        return f"{device.name} is ordered to cut it from its storage ({which}), waiting to read that"
    return f"{device.name} is ordered off ({which}), waiting to read it as off"


def _late(orders: Sequence[Order]) -> str:
    """A clause about those that were never sent; empty: there are none."""
    late = [f"order {o.attempt}" for o in orders if o.unsent]
    return (
        f"{' and '.join(late)} came too late and {'were' if len(late) > 1 else 'was'} not sent"
        if late
        else ""
    )
