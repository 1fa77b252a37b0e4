"""The controller: the real verdict table, limits, ladder and machine; its shell alone is replaced.

The shell *stores first and acts after*, so it can be killed or frozen between the two. What a new leader does not know
is forgotten here as ``controller/records.py`` forgets it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ringfence.api.v1alpha1.failover import Failover
from ringfence.controller import records
from ringfence.controller.strays import STRAY_FOR
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER
from ringfence.core.failover import limits, machine
from ringfence.core.failover.anew import Given, Mark, proved_marks
from ringfence.core.failover.phase import ENDED
from ringfence.core.failover.record import Record
from ringfence.core.failover.recovered import registered_since
from ringfence.core.fencing.orders import OrderOff
from ringfence.core.fencing.selffence import Promise
from ringfence.core.fencing.slottrouble import gone_for_all
from ringfence.core.model import Boot, Verdict
from ringfence.core.setback import SetBack
from simulator.system import detector, kubevirt, looks, triples
from simulator.system.candidates import Candidates
from simulator.system.executor import Deadly, Died, Executor
from simulator.system.memory import Memory
from simulator.system.plant import Plant
from simulator.system.vm import Vm
from simulator.system.watch import Watch

STEPS_A_TURN = 8
RESTARTS = 2.0
"""Seconds until a process that was killed runs again."""


def taken_over(record: Record, takeover: float, proofs_seen: float) -> Record:
    """What the next leader makes of it: written as a Failover and read again, by the product's own code."""
    failover = Failover.model_validate(
        {
            "metadata": {"name": record.name},
            "spec": records.spec_of(record),
            "status": records.status_of(record, [], 0.0),
        }
    )
    read = records.record_of(failover, takeover, proofs_seen, takeover, takeover)
    assert read is not None, "a record that was stored has a phase"
    return read


@dataclass(frozen=True, slots=True)
class Backup:
    """The cluster's store at one moment."""

    records: dict[str, Record]
    vms: dict[str, Vm]
    cut: frozenset[str]
    """Nodes with a storage's fence."""
    dogs: dict[str, tuple[Boot | None, tuple[Boot, bool] | None]]
    """Of each watchdog: the boot whose agent's Lease is revoked, and what its agent has reported."""
    epoch: int
    published: tuple[tuple[Mark, ...], tuple[Given, ...]]


class NotStored(Exception):
    """The API server has refused the write: nothing of the step is done."""


class Controller:
    def __init__(self, plant: Plant, memory: Memory) -> None:
        self._plant = plant
        self._memory = memory
        self._executor = Executor(plant, memory)
        self._leaderless_until = NEVER
        self._watch: Watch | None = None
        self._told: dict[str, str] = {}
        self._marked: dict[str, tuple[object, ...]] = {}
        """What was last taken in of each node's future, as `Loop` keeps it."""
        self.backup_when: str | None = None
        """The cluster's store is backed up when an incident enters this phase."""
        self._backup: Backup | None = None
        self.die_after: str | None = None
        """The phase after whose storing the leader is killed."""

    @property
    def backed_up(self) -> bool:
        """Whether there is a backup to restore the store from."""
        return self._backup is not None

    def watched_by(self, watch: Watch) -> None:
        """Tell it of everything that is stored or done."""
        self._watch = self._executor.watch = watch

    def turn(self) -> None:
        """One tick: elect, where there is an election; judge, store, act."""
        if self._memory.election is not None:
            self._elect(self._memory.election)
        elif self._plant.now >= self._leaderless_until:
            self._act(looks.down(self._plant))

    def _act(self, down: list[str]) -> None:
        plant, memory = self._plant, self._memory
        for name in plant.nodes:
            if name in down:
                memory.down_since.setdefault(name, plant.now)
                memory.down_at[name] = plant.now
            else:
                memory.down_since.pop(name, None)
        self._notice()
        open_ = {r.boot.node for r in memory.open}
        each_second = plant.time.every(1.0)
        if each_second:
            self._publish()
        if each_second and plant.now >= memory.compared_at and not self._unsettled:
            self._sweep(open_)
        for node in plant.nodes.values():
            if node.word and node.name not in open_:
                plant.time.say(f"word: to {node.name}: taken back")
                node.word = ""
        self._tell_never_off()
        try:
            self._write_anew()
            open_ = {r.boot.node for r in (*memory.open, *memory.deleted.values())}
            for name in down:
                if name not in open_ and looks.affected(memory.cache or plant, name, memory.open):
                    self._open(name)
            for name in [r.name for r in sorted(memory.open, key=machine.precedence)]:
                if self._drive(name):
                    return  # the leader died after the store and before the act
        except NotStored:
            return  # the turn ends, as the loop's does

    @property
    def _unsettled(self) -> bool:
        return self._plant.set_back is not None and not self._plant.set_back.settled

    def _publish(self) -> None:
        """As ``controller/bootstrap.py`` and ``setbacks.py``: a roster whenever what is proved or promised changes, none below the agents'."""
        plant, memory = self._plant, self._memory
        back = plant.set_back
        if plant.roster > memory.epoch and plant.heard():
            plant.set_back = SetBack(plant.roster, memory.epoch, 1)
            memory.set_back_at = plant.now
            plant.time.say(f"controller: {plant.set_back.sentence}")
        elif back is not None and not back.settled:
            if plant.now - memory.set_back_at < timing.STORE_SETTLES:
                return
            plant.set_back = replace(back, settled=True)
            plant.time.say("controller: the store is taken for written anew")
        elif memory.published == (marks := proved_marks(memory.open, self._promises())):
            return
        else:
            memory.published = marks
        memory.epoch = plant.roster = max(memory.epoch, plant.roster) + 1

    def _promises(self) -> dict[Boot, Promise]:
        kennel = self._plant.kennel
        said = (dog.reported for dog in kennel.dogs.values()) if kennel is not None else ()
        return {one[0]: kennel.promise for one in said if kennel is not None and one is not None and one[1]}

    def _write_anew(self) -> None:
        """As the product's loop: an incident under way outlives its object."""
        memory = self._memory
        for name, record in list(memory.deleted.items()):
            if memory.write_fails():
                continue
            del memory.deleted[name]
            memory.stored[name] = record
            self._plant.time.say(f"controller: {name} was deleted while it is under way, it is written anew")

    def _tell_never_off(self) -> None:
        """As the product's loop."""
        nodes = (self._memory.cache or self._plant).nodes
        again = {name for name, node in nodes.items() if node.registered and node.registrations > 1}
        for record in list(self._memory.stored.values()) if again else ():
            node = nodes[record.boot.node]
            if node.name not in again or record.never_off_on == node.known.node_uid:
                continue
            sentence = registered_since(record, node.known)
            if sentence is not None and not self._memory.write_fails():
                self._memory.stored[record.name] = replace(record, never_off_on=node.known.node_uid)
                self._plant.time.say(f"event: {sentence}")

    def _notice(self) -> None:
        """What its Node says of each node; and in stories that ask for it, what each is found and its zone is told."""
        plant = self._plant
        for name, node in plant.nodes.items():
            silent = detector.doubted(plant, node)
            says = (*looks.says(plant, node), node.known, silent)
            if self._marked.get(name) != says:
                self._marked[name] = says
                self._memory.intents.see(node.known, looks.marks_of(plant, node), silent=silent)
            if self._memory.tells_verdicts:
                found = looks.judgement_of(plant, name)
                if self._told.get(name, Verdict.HEALTHY.value) != found.verdict.value:
                    plant.time.say(f"verdict: {name} is {found.verdict}: {found.sentence}")
                self._told[name] = found.verdict.value
        if self._memory.tells_verdicts and plant.heartbeat:
            trouble = gone_for_all(looks.slots_of(plant, frozenset(plant.nodes)))
            reason, message = trouble or ("Ready", "slots are written")
            if self._told.get("", "Ready") != reason:
                plant.time.say(f"zone: {reason}: {message}")
            self._told[""] = reason

    def _sweep(self, busy: set[str]) -> None:
        """As ``controller/strays.py``."""
        now, since = self._plant.now, self._memory.stray_since
        for name, node in (self._memory.cache or self._plant).nodes.items():
            stray = node.out_of_service and not node.foreign_taint and name not in busy
            if not stray:
                since.pop(name, None)
            elif now - since.setdefault(name, now) >= STRAY_FOR:
                self._plant.time.say(f"sweep: {name} is out of service for no incident, it is no more")
                self._plant.nodes[name].out_of_service = False
            if name not in busy and self._memory.incidents_lately(node.known, "", now) < limits.FLAPS:
                self._plant.nodes[name].suspect = False

    def _open(self, name: str) -> None:
        plant, memory = self._plant, self._memory
        boot = plant.nodes[name].known
        evidence = detector.evidence(plant, plant.nodes[name])
        record = machine.open_failover(
            f"{name}-{memory.number()}",
            boot,
            evidence.silent_at,
            looks.look(plant, memory, boot, None),
            evidence.ring.voters,
        )
        self._store(record, None)

    def _drive(self, name: str) -> bool:
        """Take steps while one leads to the next. True: there is no leader any more."""
        plant, memory = self._plant, self._memory
        for _ in range(STEPS_A_TURN):
            before = memory.stored[name]
            step = machine.step(before, looks.look(plant, memory, before.boot, before))
            if step.record.power_on_tries > before.power_on_tries:
                memory.powered_on[name] = plant.now
            if step.record != before and self._store(step.record, before):
                if memory.election is not None and memory.election.leader:
                    memory.election.freeze(step.record, step.commands)
                return True
            try:
                for command in step.commands:
                    self._executor.run(step.record, command)
            except Died:
                self._die()
                return True
            if step.record == before:
                break
        return False

    def _store(self, record: Record, before: Record | None) -> bool:
        """Write it. True: and that was the last that the leader did."""
        plant, memory = self._plant, self._memory
        if memory.write_fails():
            raise NotStored
        memory.stored[record.name] = record
        if self._watch is not None:
            self._watch.stored(before, record)
        if record.proofs:
            memory.seen.setdefault(record.name, plant.now)
        if before is None or (before.phase, before.sentence) != (record.phase, record.sentence):
            plant.time.say(f"{record.phase}: {record.sentence}")
        if record.phase in ENDED:
            for box in plant.boxes(record.boot.node):
                box.back_on_at = None  # power that is back by our own order is no boot of the next incident
            if plant.kennel is not None:
                plant.kennel.forget(record.boot.node)
        if self.backup_when == record.phase and (before is None or before.phase != record.phase):
            self.backup_when = None
            self._backup = Backup(
                dict(memory.stored),
                {n: replace(vm) for n, vm in plant.vms.items()},
                frozenset(n for n in plant.cutters if plant.nodes[n].shut_out),
                {n: (dog.revoked, dog.reported) for n, dog in plant.dogs.items()},
                memory.epoch,
                memory.published,
            )
            plant.time.say("world: the cluster's store is backed up")
        if before is not None and before.ladder_pass != record.ladder_pass:
            memory.passed_at[record.name] = plant.now
        if before is None or before.phase != record.phase:
            memory.phase_since[record.name] = plant.now
            if memory.election is not None and memory.election.freeze_when == record.phase:
                return True
            if self.die_after == record.phase:
                self.die_after = None
                self._die()
                return True
        return False

    def seen_of(self, node: str) -> triples.Sight:
        """What the leader makes of the node."""
        plant = self._plant
        about = next((r for r in self._memory.open if r.boot.node == node), None)
        boot = about.boot if about is not None else plant.nodes[node].known
        situation = looks.situation_of(plant, self._memory, boot, about)
        return looks.judgement_of(plant, node).verdict, triples.name_of(situation)

    def die_at(self, deadly: Deadly) -> None:
        """The leader is killed at that command, once."""
        self._executor.deadly = deadly

    def _die(self) -> None:
        if self._memory.election is None:
            self.new_leader()
        else:
            self.kill(self._memory.election.leader, RESTARTS)

    # --- who leads --------------------------------------------------------------------------------------------------

    def new_leader(self) -> None:
        """The leader dies; the next one has only what is stored, and its own instants."""
        self._leaderless_until = self._plant.now + timing.LEASE_DURATION
        self._forget(self._leaderless_until)
        self._plant.time.say("controller: the leader is dead")

    def restore(self) -> None:
        """The cluster's store is as it was at the backup, and whoever reads it begins anew; what runs on nodes runs on.

        A kubelet ends what its API server knows nothing of.
        """
        assert self._backup is not None, "nothing was backed up"
        plant, memory = self._plant, self._memory
        memory.restored += 1
        for node, cutter in plant.cutters.items():
            cutter.stale = node in self._backup.cut
        for node, (revoked, reported) in self._backup.dogs.items():
            dog = plant.dogs[node]
            dog.revoked, dog.reported, dog.of_backup = revoked, reported, True
        memory.stored = dict(self._backup.records)
        memory.epoch, memory.published = self._backup.epoch, self._backup.published
        memory.compared_at = plant.now + timing.LEASE_DURATION + timing.SETTLE
        memory.seen.clear()
        for name, then in self._backup.vms.items():
            was, vm = plant.vms[name], replace(then, qemu=plant.vms[name].qemu)
            vm.released_at = None if then.released_at is None else plant.now
            plant.vms[name] = vm
            for node in sorted(was.qemu - {vm.launcher_on}):
                kubevirt.end_orphan_later(plant, vm, node)
        for record in memory.stored.values():
            memory.phase_since[record.name] = plant.now
        self.new_leader()

    def kill(self, replica: str, back_after: float) -> None:
        """One replica's process dies, and is started again after so many seconds."""
        assert self._memory.election is not None
        self._plant.time.say(f"controller: {replica}'s process is dead")
        self._memory.election.kill(replica, self._plant.now + back_after)
        for seen_by in self._memory.deleted_before.values():
            seen_by.discard(replica)

    def stop(self, replica: str, back_after: float) -> None:
        """Nothing of it waits between a decision and its sending here, so it ends as one that is killed does."""
        self.kill(replica, back_after)

    def _forget(self, takeover: float) -> None:
        plant, memory = self._plant, self._memory
        plant.working.clear()
        self._forget_deleted(takeover)
        if plant.kennel is not None:
            plant.kennel.new_leader()
        for box in (*plant.bmcs.values(), *plant.pdus.values(), *plant.cutters.values()):
            box.forgotten()
        for name, record in memory.stored.items():
            memory.stored[name] = taken_over(record, takeover, memory.seen.get(name, plant.now))

    def _forget_deleted(self, takeover: float) -> None:
        """The next leader knows what was deleted where it has watched then."""
        memory = self._memory
        leader = memory.election.leader if memory.election is not None else None
        for name, record in list(memory.deleted.items()):
            del memory.deleted[name]
            if leader in memory.deleted_before[name] and machine.outlives_its_object(record, takeover):
                seen = memory.seen.get(name, takeover)
                memory.deleted[name] = taken_over(record, takeover, seen)
            elif leader not in memory.deleted_before[name] and self._plant.nodes[record.boot.node].suspect:
                memory.forgotten[record.boot.node] = (name, takeover)

    def _elect(self, candidates: Candidates) -> None:
        """The replicas keep or win the Lease; a new leader knows what is stored, and begins with an empty mind."""
        plant = self._plant
        up = {
            n
            for n, node in plant.nodes.items()
            if node.powered and node.api and not plant.api_out and plant.now >= node.booted_at
        }
        down, side = looks.down(plant), plant.viewer
        accused = up.intersection(down)
        for line in candidates.turn(plant.now, up, accused, self._unable(up)):
            plant.time.say(f"controller: {line}")
        if candidates.leader != candidates.led:
            candidates.led = candidates.leader
            if candidates.leader and candidates.begins_term():
                self._memory.stray_since.clear()
                if self._memory.settled_for(plant.now) < timing.SETTLE:
                    self._memory.down_at.clear()
                    self._memory.down_since.clear()  # no standby that has judged all the while: a new process
                self._forget(plant.now)
        plant.viewer = candidates.leader if plant.spread else ""
        if candidates.leader:
            self._act(down if plant.viewer == side else looks.down(plant))

    def _unable(self, replicas: set[str]) -> frozenset[str]:
        """The replicas that see no majority."""
        plant = self._plant
        if not plant.spread:
            return frozenset()
        electorate = plant.members - looks.proved_of(plant, self._memory.open)
        heard = plant.heard_by_each(replicas)
        return frozenset(n for n in replicas if not limits.sees_half(heard[n], electorate))

    def thaw(self) -> None:
        """A frozen leader goes on where it stood: with what it had decided, and the deadline that it had then."""
        assert self._memory.election is not None
        candidates, thawed = self._memory.election, self._memory.election.frozen
        candidates.freeze_when = ""
        if thawed is None:
            return
        say = self._plant.time.say
        candidates.frozen = None
        for command in thawed.commands:
            if not isinstance(command, OrderOff):
                continue
            order = next(o for o in reversed(thawed.record.orders) if o.device == command.device)
            if self._plant.now < min(thawed.deadline, order.send_by):
                self._executor.run(thawed.record, command)
                continue
            say(f"controller: {thawed.who} thaws: its order to {command.device} is too late, it is not sent")
            node = thawed.record.boot.node
            box = self._plant.cutters[node] if command.device == "ceph" else self._plant.box(command.device)
            box.unsent = order.sent_at
        if self._memory.stored.get(thawed.record.name) != thawed.record:
            say(
                f"controller: {thawed.who} thaws: its write is refused, another has written {thawed.record.name}"
            )
