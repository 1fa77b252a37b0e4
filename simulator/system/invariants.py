"""The invariants of DESIGN §6, checked against what is *true* in the plant, whatever the controller believes.

Where one can be seen only at a deed (an order, a deletion, a stored proof) it is checked there; the others on every
tick; whether all has come right again, at the end. ``rules.py`` has those that hold in the stories too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER
from ringfence.core.failover.blackout import SEEN_LATE
from ringfence.core.failover.commands import Command
from ringfence.core.failover.phase import ENDED, Phase
from ringfence.core.failover.record import Record, VmState
from ringfence.core.failover.recovery import DeletePod, DeleteVmi, RecoveryCommand, RequestStart
from ringfence.core.fencing.orders import OrderOff
from ringfence.core.fencing.proof import AdminConfirmed, StorageCut
from ringfence.core.model import Boot, Mode, OnHung
from simulator.system import looks, rules, triples
from simulator.system.node import Node
from simulator.system.rules import Broken
from simulator.system.vm import Vm
from simulator.system.world import World

_IN_PASSING = ("not_writable", "roster_in_doubt")
"""Limits that real replicas meet for a moment, where the stand-in doesn't."""
HEALTHY_FOR = 2.5
"""Seconds for which a node must have been heard before shooting it is a crime: votes need a moment to be outdated."""
KNOWN_WITHIN = 5.0
"""Seconds after which a real leader must act on a changed mode, zone, side or way to the API server: its Lease, and one order's way."""
ANNOUNCED_FOR = 30.0
"""Seconds for which a Node says that it shuts down, after its kubelet's last word (then the node controller calls it Unknown)."""
STORES_AN_INCIDENT = 400
STORES_A_SECOND = 5
"""Of one record, in a phase that it stays in."""
SEES_AFTER = 45.0
"""Seconds after the caches have been old for which a sign of life of before may be seen yet."""
_OBJECT_GONE = ("nothing is known of", "was deleted")
"""What an incident says that ends with its Node object."""
STARTS_WITHIN = 20.0
"""Seconds that KubeVirt may take for a VM that nothing holds up."""


@dataclass
class Invariants:
    """Watches one world. A broken invariant raises :class:`Broken`, whose text begins with its number."""

    world: World
    real: bool = False
    """Real replicas lead: they hear of what happens a moment later, and what they order is a moment on its way."""
    triples: set[triples.Triple] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    """Incidents that were held back at least once."""
    recovered: set[str] = field(default_factory=set)
    _heard_since: dict[str, float] = field(default_factory=dict)
    _off_since: dict[str, float] = field(default_factory=dict)
    _blind_at: float = NEVER
    _led_until: float = NEVER
    _renewed_unled: dict[str, float] = field(default_factory=dict)
    """When something of each node was last renewed at the API server while nobody led."""
    _begun: dict[str, float] = field(default_factory=dict)
    """When each incident was first stored."""
    _announced: dict[str, tuple[float, float]] = field(default_factory=dict)
    """From when to when each node has told the API server, and whoever reads it, that it shuts down."""
    _sent: set[tuple[str, int, str, int]] = field(default_factory=set)
    _written: dict[str, list[float]] = field(default_factory=dict)
    _stores: Counter[str] = field(default_factory=Counter)
    _fencing_since: dict[str, Mode] = field(default_factory=dict)
    _forced: Counter[str] = field(default_factory=Counter)
    _pending_since: dict[str, float] = field(default_factory=dict)
    _states: dict[str, object] = field(default_factory=dict)
    _since_when: dict[str, float] = field(default_factory=dict)

    def _broken(self, number: int, sentence: str) -> Broken:
        return Broken(f"{number}: {self.world.now:.2f}: {sentence}")

    # --- on every tick ------------------------------------------------------------------------------------------

    def tick(self) -> None:
        plant, now = self.world.plant, self.world.now
        if self.real:
            self._notice()
        if self.world.memory.blind or plant.api_out:
            self._blind_at = now
        election = self.world.memory.election
        if election is None or election.leader:
            self._led_until = now
        else:
            renewed = {name: life.renewed_after for name, life in plant.life.items()}
            self._renewed_unled |= {name: at for name, at in renewed.items() if at > self._led_until}
        for node in plant.nodes.values():
            if node.powered:
                self._off_since.pop(node.name, None)
            else:
                self._off_since.setdefault(node.name, now)
            if plant.kernel_heard(node) and now >= node.booted_at:
                self._heard_since.setdefault(node.name, now)
            else:
                self._heard_since.pop(node.name, None)
            if not node.shutting_down:
                self._announced.pop(node.name, None)
            elif plant.with_api(node) and not self.world.memory.blind:
                self._announced[node.name] = (self._announced.get(node.name, (now, now))[0], now)
        if plant.time.every(1.0):
            for vm in plant.vms.values():
                if vm.phase == "Running":
                    self._pending_since.pop(vm.name, None)
                else:
                    self._pending_since.setdefault(vm.name, now)
            # A real leader's judgement is of a later instant than its last step.
            for record in () if self.real else self.world.memory.open:
                self._note_triple(record)

    def _note_triple(self, record: Record) -> None:
        node = record.boot.node
        sight = self.world.controller.seen_of(node)
        if sight is None:
            return
        triple = (*sight, record.phase)
        why = triples.impossible(triple)
        if (
            why is not None
            and self.real
            and (sight[1] in _IN_PASSING or self._slow() or triples.torn(triple))
        ):
            return  # a real leader's Lease may run out while its write is on its way, and agents hear of a roster before it does
        if why is not None and triples.torn(triple) and self._just_lost(node):
            return
        if why is not None:
            raise self._broken(0, f"{node}: ({', '.join(triple)}) is called impossible: {why}")
        self.triples.add(triple)

    def _just_lost(self, name: str) -> bool:
        """Whether the node has been heard in this tick, and is no more: it was reset since, or another side leads."""
        plant = self.world.plant
        return plant.nodes[name].silent_since is None and name not in plant.heard()

    def _slow(self) -> bool:
        return self.world.plant.write_needs > 1.0

    # --- at a deed ----------------------------------------------------------------------------------------------

    def stored(self, before: Record | None, record: Record) -> None:
        self._counted(before, record)
        self._note_triple(record)
        self._begun.setdefault(record.name, self.world.now)
        if record.phase is Phase.HELD:
            self.held.add(record.name)
        if record.phase is Phase.RECOVERED:
            self.recovered.add(record.name)
        entered = before is None or before.phase is not record.phase
        if entered and record.phase is Phase.FENCING and not record.orders and not record.proofs:
            self._may_begin(before, record)
        if entered and record.phase is Phase.WITHDRAWN:
            self._lives(record)
        for proof in record.proofs:
            if before is not None and proof in before.proofs:
                continue
            if not isinstance(proof, StorageCut | AdminConfirmed):
                self._is_over(record.boot, proof)
        known = {v.name: v.state for v in before.vms} if before is not None else {}
        for vm in record.vms:
            if vm.state is VmState.RUNNING and known.get(vm.name) is not VmState.RUNNING:
                self._runs(vm.name, record.boot)

    def _counted(self, before: Record | None, record: Record) -> None:
        """A record is written when something has happened, not for as long as something lasts."""
        self._stores[record.name] += 1
        if self._stores[record.name] > STORES_AN_INCIDENT:
            raise self._broken(10, f"{record.name} was written {STORES_AN_INCIDENT} times")
        if before is None or before.phase is not record.phase or record.phase is Phase.RECOVERING:
            return
        lately = [at for at in self._written.get(record.name, ()) if self.world.now - at < 1.0]
        self._written[record.name] = [*lately, self.world.now]
        if len(lately) >= STORES_A_SECOND:
            raise self._broken(10, f"{record.name} is written on every tick: {record.sentence}")

    def _may_begin(self, before: Record | None, record: Record) -> None:
        mode = self.world.memory.mode
        void = before is not None and before.phase is Phase.RECOVERING
        node = record.boot.node
        if mode is not Mode.ACTIVE and not void and self._known_for("mode"):
            raise self._broken(7, f"{node} is being fenced in mode {mode}")
        if node in self.world.plant.maintained and not void and self._known_for(f"maintenance of {node}"):
            raise self._broken(7, f"{node} is being fenced, and it is in maintenance")
        if self._announced_well(node) and not void and record.name not in self.world.memory.released:
            raise self._broken(7, f"{node} is being fenced, and it has said that it goes down")

    def _announced_well(self, name: str) -> bool:
        """Whether it said so for long enough for every replica to hear of it, and lately enough for a new one to read it."""
        since, until = self._announced.get(name, (NEVER, NEVER))
        return until - since >= KNOWN_WITHIN and self.world.now - until < ANNOUNCED_FOR

    def _lives(self, record: Record) -> None:
        """An incident is let go for a sign of life, not for want of votes: whoever leads next has only what is on record, and was renewed.

        Without its Node object none can go on, and says that: nothing is told of the node any more, and no taint can be set.
        """
        node, now = record.boot.node, self.world.now
        if self.world.plant.nodes[node].powered:
            return  # since this very instant
        gone = not self.world.plant.nodes[node].is_object_of(record.boot)
        if gone and any(why in record.sentence for why in _OBJECT_GONE):
            return
        # It lived on, and whoever leads next has that from its Lease; that it has died since is another incident's.
        if self._renewed_unled.get(node, NEVER) > self._begun[record.name]:
            return
        off_for = now - self._off_since.get(node, now)
        if off_for > KNOWN_WITHIN and now - self._blind_at > SEES_AFTER:
            raise self._broken(9, f"{record.name} is withdrawn, and {node} has been off for {off_for:.1f} s")

    def _is_over(self, boot: Boot, proof: object) -> None:
        node = self.world.plant.nodes[boot.node]
        if node.runs(boot):
            raise self._broken(5, f"{type(proof).__name__} is stored for {boot}, and that boot runs")

    def _runs(self, name: str, dead: Boot) -> None:
        """Elsewhere, or on a later boot of that node: a VM that no other node has room for, or that had to wait, may come back to it."""
        vm = (self.world.memory.cache or self.world.plant).vms[name]
        there = vm.node == dead.node and self.world.plant.nodes[dead.node].identity.boot_id == dead.boot_id
        if vm.phase != "Running" or there:
            raise self._broken(8, f"{name} is called running elsewhere; it is {vm.phase} on {vm.node}")

    def ordered(self, record: Record, order: OrderOff) -> None:
        plant, node = self.world.plant, record.boot.node
        if not plant.in_zone(node) and self._known_for("zone"):
            raise self._broken(7, f"{node} is ordered off, and it is in no HAZone")
        since = self._heard_since.get(node)
        hangs = plant.on_hung is OnHung.FENCE and self._hangs(node)
        if since is not None and self.world.now - since >= HEALTHY_FOR and not hangs:
            raise self._broken(
                6, f"{node} is ordered off, and its kernel has answered for {self.world.now - since:.1f} s"
            )
        alive = plant.heard()
        if self._in_minority(node) and self._known_for("majority"):
            raise self._broken(
                4, f"{node} is ordered off by a side that hears {', '.join(sorted(alive))} only"
            )
        election = self.world.memory.election
        cut = election is not None and election.leader != "" and not plant.with_api_of(election.leader)
        if election is not None and cut and self._known_for("api"):
            raise self._broken(4, f"{node} is ordered off by {election.leader}, which reaches no API server")
        # What is restored from a backup doesn't know of orders that were given since.
        life = f"{record.name} {self.world.memory.restored}"
        key = (life, record.ladder_pass, order.device, order.attempt)
        if key in self._sent:
            raise self._broken(9, f"{order.device} is ordered off twice under one number ({order.attempt})")
        self._sent.add(key)

    def _hangs(self, name: str) -> bool:
        """Whether nothing but its kernel has run there for as long as a zone's policy asks for."""
        since = self.world.plant.nodes[name].hangs_since
        least = timing.HUNG_HEARTBEAT_AGE + timing.HUNG_HOLD
        return since is not None and self.world.now - since >= least

    def _in_minority(self, about: str = "") -> bool:
        """Nodes that are proved off have no vote, and those in maintenance have none but about themselves: who shuts two of five down
        for planned work still has a majority.
        """
        plant = self.world.plant
        members = plant.members - ((self._proved() | plant.maintained.keys()) - {about})
        return 2 * len(plant.heard() & members) < len(members)

    def _known_for(self, what: str) -> bool:
        """Whether the leader can know of this by now: what has just changed is on its way to real replicas."""
        if not self.real:
            return True
        self._notice()  # a fault of this very instant, too
        since = self._since_when.get(what, NEVER)
        return self.world.now - since >= KNOWN_WITHIN and not self.world.memory.blind

    def _notice(self) -> None:
        """Since when each of the things stands that a real leader learns of late."""
        plant, memory = self.world.plant, self.world.memory
        leader = memory.election.leader if memory.election is not None else ""
        state: dict[str, object] = {
            "mode": memory.mode,
            "zone": (plant.zone, *sorted(plant.outside), *sorted(plant.members)),
            "majority": self._in_minority(),
            "api": leader != "" and plant.with_api_of(leader),
            **{f"maintenance of {name}": name in plant.maintained for name in plant.nodes},
        }
        for what, now in state.items():
            if self._states.get(what) != now:
                self._states[what], self._since_when[what] = now, self.world.now

    def commanded(self, command: Command | RecoveryCommand) -> None:
        """What a command may not do is checked where it is done."""

    def _proved(self) -> set[str]:
        """A later boot, as soon as anybody can know of it, is no part of what is proved off."""
        plant = self.world.plant
        return {
            r.boot.node
            for r in self.world.memory.open
            if r.proofs and plant.nodes[r.boot.node].known == r.boot
        }

    def asked(self, boot: Boot, ask: RecoveryCommand) -> None:
        records = [r for r in self.world.memory.stored.values() if r.boot == boot]
        match ask:
            case DeletePod(ref=ref, force=True):
                covered = {p.uid for r in records for p in r.pods}
                if ref.uid not in covered:
                    raise self._broken(2, f"{ref.name} is force-deleted, and no proof covers it")
            case DeleteVmi(name=name, uid=uid):
                if not any(r.proofs for r in records):
                    raise self._broken(
                        2, f"the instance of {name} is deleted without a stored proof for {boot}"
                    )
                vm = self.world.plant.vms[name]
                if vm.uid == uid and vm.phase == "Running" and vm.qemu and self.world.memory.cache is None:
                    raise self._broken(9, f"the instance of {name} is deleted while it runs on {vm.node}")
            case RequestStart(name=name):
                vm = self.world.plant.vms[name]
                if (vm.stopped or vm.deleted) and self.world.memory.cache is None:
                    raise self._broken(7, f"{name} is started, and its user has stopped it")

    # --- at the end -----------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Every incident is over, or in a wait whose reason is still true."""
        for record in self.world.memory.open:
            if (why := self._stalled(record)) is not None:
                raise self._broken(11, f"{record.name} is {record.phase} ({record.sentence}), and {why}")
        for vm in self.world.plant.vms.values():
            if (why := self._lost(vm)) is not None:
                raise self._broken(9, f"{vm.name} ({vm.strategy}) is lost: {why}")

    def _since(self, record: Record) -> float:
        return self.world.now - self.world.memory.phase_since.get(record.name, self.world.now)

    def _stalled(self, record: Record) -> str | None:
        """Why it should have gone on; None: what it waits for is there to be waited for."""
        plant, memory, now = self.world.plant, self.world.memory, self.world.now
        look = looks.look(plant, memory, record.boot, record)
        node = plant.nodes[record.boot.node]
        since = self._since(record)
        match record.phase:
            case Phase.HOLDING:
                return None if since < 15 else f"has been so for {since:.0f} s"
            case Phase.HELD:
                waits = look.limit is not None or not look.node_lease.settled or since < 15
                return None if waits else "no limit forbids to go on"
            case Phase.FENCING:
                working = any(now < o.effective_until for o in record.orders)
                barred = rules.called_off(plant, record) and since < SEEN_LATE + 30
                return (
                    None
                    if working or barred or since < 30
                    else f"has been so for {since:.0f} s without an order at work"
                )
            case Phase.AWAITING_CONFIRMATION:
                return None if not look.retry_due or since < 60 else "its next try is overdue"
            case Phase.RECOVERING:
                waiting = [v.name for v in record.vms if not v.state.settled]
                excused = [name for name in waiting if self._excused(plant.vms[name])]
                late = [name for name in waiting if name not in excused]
                if late and since > STARTS_WITHIN:
                    return f"nothing holds up {', '.join(late)}"
                return "every VM is settled" if not waiting and since > STARTS_WITHIN else None
            case Phase.RECOVERED:
                return self._not_back(record, node, since)
        return None

    def _not_back(self, record: Record, node: Node, since: float) -> str | None:
        """A node that was fenced stays out until its next boot is seen; we power it on, with pauses."""
        now = self.world.now
        if not node.powered:
            spaced = timing.POWER_ON_SPACING * 1.5
            latest = max(self.world.memory.powered_on.get(record.name, NEVER), now - since)
            cut_by_us = any(not isinstance(p, AdminConfirmed) for p in record.proofs)
            tries = record.power_on_tries < timing.POWER_ON_TRIES
            late = cut_by_us and tries and now - latest > spaced and not self._may_not_power_on(record)
            return f"{record.boot.node} has not been powered on for {now - latest:.0f} s" if late else None
        settled = node.identity.boot_id != record.boot.boot_id and now - node.booted_at > STARTS_WITHIN
        if settled and since > STARTS_WITHIN and self._heard_since.get(node.name, now) < now - STARTS_WITHIN:
            left = [v for v, volume in self.world.plant.volumes.items() if node.name in volume.attached]
            return None if left else f"{node.name} has been back for {now - node.booted_at:.0f} s"
        return None

    def _may_not_power_on(self, record: Record) -> bool:
        lease = self.world.memory.remediators.look(record.boot.node)
        return lease.foreign is not None or not lease.settled

    def _excused(self, vm: Vm) -> bool:
        """Whether KubeVirt or a user holds it up."""
        if vm.stopped or vm.deleted or vm.phase == "Running" or vm.blocked or vm.unschedulable:
            return True
        if self.world.now - vm.retry_at < STARTS_WITHIN or self._waits_for_others(vm):
            return True
        volume = self.world.plant.volumes.get(vm.name)
        if volume is not None and vm.phase == "Scheduled" and vm.node not in volume.attached:
            return True
        return self.world.now - self._pending_since.get(vm.name, self.world.now) < STARTS_WITHIN

    def _waits_for_others(self, vm: Vm) -> bool:
        """Whether what is to go before it may still take its time: what it depends on, and what its incident lets go first."""
        plant, now = self.world.plant, self.world.now
        about = [r for r in self.world.memory.open if vm.name in {v.name for v in r.vms}]
        since = max((self.world.memory.seen.get(r.name, now) for r in about), default=NEVER)
        return (
            bool(plant.placement.after or plant.placement.priority)
            and now - since < timing.DEPENDENCY_WAIT + 2 * STARTS_WITHIN
        )

    def _lost(self, vm: Vm) -> str | None:
        if self._excused(vm) and not (
            vm.phase == "Running" and not vm.qemu and not (vm.stopped or vm.deleted)
        ):
            return None
        if any(vm.name in {v.name for v in r.vms} and r.phase not in ENDED for r in self.world.memory.open):
            return None  # an incident takes care of it; whether that has stalled is asked above
        if vm.lock_refused_at is not None:
            return None  # its old guest lives or lived on; virt-handler tries again after 300 s at the latest
        home = self.world.plant.nodes.get(vm.node)
        if vm.strategy in ("Manual", "Once") or (vm.strategy == "RerunOnFailure" and vm.gone):
            owed = any(
                # One that was seen running elsewhere has ended again since, maybe on a later boot of that node.
                (r.boot.node, v.name) == (vm.node, vm.name)
                and v.released_wall is not None
                and v.state is not VmState.RUNNING
                for r in self.world.memory.stored.values()
                for v in r.vms
            )
            if not owed:
                return None  # nobody but its user starts it again after an end that we have no part in
        if home is not None and vm.phase == "Running" and self.world.now - home.booted_at < STARTS_WITHIN:
            return None
        return f"{vm.phase or 'no instance'} on {vm.node}, and no incident is about it"
