"""What the failover machine is shown of the world, as ``controller/loop.py`` puts it together from its caches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ringfence.controller.chassis import orders_at
from ringfence.controller.devices import mismatch
from ringfence.controller.targets import DeviceTarget
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER, Evidence, Life, SlotEvidence
from ringfence.core.detection.verdict import Judgement, judge, slot_due
from ringfence.core.failover import lies, limits, planner
from ringfence.core.failover.beyond import may_be_off_soon
from ringfence.core.failover.intent import Marks
from ringfence.core.failover.look import Look, Namesake
from ringfence.core.failover.phase import PROVED, Phase
from ringfence.core.failover.record import Lie, PodRef, Record, VmRecord
from ringfence.core.failover.recovery import PodLook, PodRole, VmiLook, VmLook
from ringfence.core.fencing.chassis import Chassis
from ringfence.core.fencing.proof import CutVm
from ringfence.core.fencing.rungs import DeviceLook, Rungs
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.model import Boot, OnHung, Verdict
from ringfence.ports import DeviceSpec
from simulator.system import attachments, detector, infrastructure, scheduler, slots, users
from simulator.system.memory import Memory
from simulator.system.node import Node
from simulator.system.plant import Plant
from simulator.system.vm import Vm

HOLD = 2.0
STORM_FRACTION = 0.4


def judgement_of(plant: Plant, node: str) -> Judgement:
    return _judged(plant, plant.nodes[node], detector.evidence(plant, plant.nodes[node]))


def _judged(plant: Plant, node: Node, evidence: Evidence) -> Judgement:
    if not node.registered:
        return Judgement(Verdict.SUSPECT, f"nothing is known of {node.name}", known=False)
    return judge(evidence, plant.now, plant.on_hung if plant.zone_of(node.name) else OnHung.ALERT)


def down(plant: Plant) -> list[str]:
    """The nodes that may be fenced. Only a silent one can be."""
    return [
        name
        for name, node in plant.nodes.items()
        if node.silent_since is not None and judgement_of(plant, name).may_be_fenced
    ]


def affected(plant: Plant, node: str, records: Iterable[Record] = ()) -> tuple[VmRecord, ...]:
    """The VMs that would be lost with the node: that run there, or last ran there and run nowhere."""
    found = []
    for vm in plant.vms.values():
        if vm.node != node and vm.phase == "Running" and not vm.target:
            continue  # most of them
        here = vm.node == node and vm.phase in ("Running", "Scheduled")
        stuck = vm.phase != "Running" and vm.node != node and plant.last_run[vm.name] == node
        arriving = vm.target == node and vm.node in _lost(plant, records)
        if not vm.stopped and not vm.deleted and (here or stuck or arriving):
            uid, unstarted = vm.uid if here or arriving else "", here and vm.phase == "Scheduled"
            found.append(VmRecord("default", vm.name, f"vm-{vm.name}", uid, unstarted=unstarted))
    return tuple(found)


def _lost(plant: Plant, records: Iterable[Record]) -> frozenset[str]:
    """The nodes that may be fenced, or are proved off and not back yet."""
    gone = {r.boot.node for r in records if r.proofs and not r.new_boot_id}
    return frozenset(gone.union(down(plant)))


def _known_lies(memory: Memory, node: str) -> tuple[Lie, ...]:
    """The lies about the node that are on record, and that no drill there has answered."""
    told = (lie for record in memory.stored.values() if record.boot.node == node for lie in record.lies)
    return lies.standing(told, memory.drilled)


def look(plant: Plant, memory: Memory, boot: Boot, record: Record | None) -> Look:
    """Everything that a step of the incident about this boot goes by."""
    node, now = plant.nodes[boot.node], plant.now
    evidence = detector.evidence(plant, node)
    judgement = _judged(plant, node, evidence)
    cache = memory.cache or plant
    noted = cache.nodes[boot.node]
    own, namesake = noted.is_object_of(boot), None
    if noted.registered_after(boot):
        # What is found about that one is another incident's, and so are orders.
        namesake = Namesake(noted.known.boot_id, down=judgement.may_be_fenced)
        judgement = Judgement(Verdict.SUSPECT, f"{boot.node} was deleted and registered again")
    same_boot = node.known.boot_id == boot.boot_id
    due = affected(cache, boot.node, memory.open)
    situation = situation_of(plant, memory, boot, record, due)
    life = plant.life[boot.node] if same_boot else Life()
    life_at, life_sign = life.latest, life.latest_sign()
    if namesake is not None and same_boot and node.registered_at > life_at:
        life_at, life_sign = node.registered_at, "a new Node object of the same boot"
    down_since = memory.down_since.get(boot.node) if own else None
    name = record.name if record else ""
    confirm = memory.confirmed.get(name)
    phase_since = memory.phase_since.get(name, now)
    wait = timing.POWER_ON_SPACING if record and record.power_on_tries else 1.0
    passes = record.ladder_pass if record else 0
    pods = _pods(cache, boot.node)
    vms = record.vms if record and record.vms else due
    since = max(memory.seen.get(name, now if plant.set_back is None else NEVER), memory.set_back_at)
    reported = node.guests_at > since and node.identity == boot
    lost = _lost(plant, memory.open)
    return Look(
        now=now,
        wall=now,
        leader="leader",
        epoch=1,
        judgement=judgement,
        limit=limits.limitation(situation),
        limit_when_found_off=limits.limitation_when_found_off(situation),
        hold_over=down_since is not None
        and now - down_since >= HOLD + judgement.hold_more
        and now >= judgement.not_before,
        heard_at=life.packet,
        heard_since=life.packets_since,
        renewed_after=life.renewed_after,
        down_at=memory.down_at.get(boot.node, NEVER) if own else NEVER,
        life_at=now if same_boot and memory.leads(boot.node) else life_at,
        life_sign=life_sign,
        node_exists=own or noted.registered_before(boot),
        namesake=namesake,
        current_boot_id=_current_boot(noted, boot, now),
        node_ready=own and cache.takes_pods(noted),
        # With its object they go when the incident takes them off, or another object comes: nobody can tell the difference.
        suspect_taint=namesake is None and noted.suspect,
        out_of_service_taint=namesake is None and noted.out_of_service,
        levels=_levels(plant, memory, boot),
        slot_moved_at=life.slot,
        vm_volumes=tuple(
            CutVm(
                "default",
                v.name,
                v.vmi_uid,
                tuple(p.ref.uid for p in pods if p.vmi_uid == v.vmi_uid),
                (v.name,),
            )
            for v in vms
        ),
        guests=node.guests if reported else None,
        proofs_required=plant.proofs_required,
        pods=pods,
        attachments=attachments.attached_to(cache, boot.node),
        vms=tuple(_vm(cache, v, lost) for v in vms),
        affected=due,
        confirmation=confirm[0] if confirm else None,
        power_on=True,
        power_on_due=not situation.forgotten
        and now - max(memory.powered_on.get(name, NEVER), phase_since) >= wait,
        retry_due=now - max(phase_since, memory.passed_at.get(name, NEVER))
        >= timing.LADDER_BACKOFF[min(passes, len(timing.LADDER_BACKOFF) - 1)],
        slot_due=slot_due(evidence) if same_boot else NEVER,
        room=_room(plant, memory, name),
        unready=frozenset(
            ("default", vm.name)
            for vm in cache.vms.values()
            if awaited(vm)
            and not (vm.phase == "Running" and now - vm.running_at >= plant.placement.boots.get(vm.name, 0.0))
        ),
        hedges=plant.ladder.hedges,
        order_delay=plant.ladder.delay,
        told_fenced=node.word == boot.boot_id if plant.heartbeat else None,
        stop_guests=plant.stop_guests,
        foreign_taint=namesake is None and noted.foreign_taint,
        node_lease=memory.remediators.look(boot.node),
        set_back=plant.set_back,
        compared=now >= memory.compared_at,
        storm=limits.storm(situation) is not None,
        hears=limits.not_settled(situation) is None,
        lies=_known_lies(memory, boot.node) if record is None else (),
        quarantined=situation.incidents_lately + (record is not None) >= limits.FLAPS,
    )


def _current_boot(noted: Node, boot: Boot, now: float) -> str:
    """The boot id that the incident's own Node object tells; of another one nothing is taken for it."""
    if noted.registered_before(boot):
        return boot.boot_id
    if not noted.is_object_of(boot):
        return ""
    came_up = noted.came_up == noted.boot and now >= noted.booted_at
    reads = came_up and not noted.knows_earlier_than(boot)
    return noted.known.boot_id if reads else boot.boot_id


def awaited(vm: Vm) -> bool:
    """Whether who depends on it waits for it, as ``controller/restarts.py``."""
    return vm.strategy == "Always" and not (vm.stopped or vm.deleted)


def _room(plant: Plant, memory: Memory, name: str) -> int:
    targets = sum(scheduler.schedulable(plant, node) for node in plant.nodes.values())
    elsewhere = sum(planner.starting(r.vms, plant.now) for r in memory.open if r.proofs and r.name != name)
    return planner.room(targets, elsewhere)


def says(plant: Plant, node: Node) -> tuple[object, ...]:
    """All that `marks_of` is made from."""
    marks = (tuple(node.annotations.items()), frozenset(node.marks))
    return (*marks, node.shutting_down, plant.takes_pods(node), node.cordoned, node.evicted)


def marks_of(plant: Plant, node: Node) -> Marks:
    """What its Node says of its future."""
    return Marks(
        annotations=node.annotations,
        taints=frozenset(node.marks),
        shutting_down=node.shutting_down,
        ready=plant.takes_pods(node),
        cordoned=node.cordoned,
        evicted=node.evicted,
    )


def slots_of(plant: Plant, nodes: frozenset[str]) -> dict[str, SlotEvidence]:
    """What is seen of their slots."""
    return {n: slots.seen(plant, plant.nodes[n]) for n in nodes} if plant.heartbeat else {}


def situation_of(
    plant: Plant,
    memory: Memory,
    boot: Boot,
    record: Record | None,
    due: tuple[VmRecord, ...] | None = None,
) -> limits.Situation:
    """What limits look at. ``due``: the node's VMs that would be lost, where whoever asks knows them."""
    records, node, now = memory.open, boot.node, plant.now
    since = memory.down_since.get(node)
    members, claims = plant.zone_members(node), plant.zones_of(node)
    states = {n: s.state for n, s in slots_of(plant, members - {node}).items()}
    alive = plant.heard() - memory.apart
    proved = proved_of(plant, records)
    down = frozenset(memory.down_since) - proved | {r.boot.node for r in records}
    return limits.Situation(
        node=node,
        mode=memory.mode,
        zone=plant.zone_of(node),
        zone_trouble=f"{node} is in more than one HAZone: {', '.join(claims)}" if len(claims) > 1 else None,
        protected_vms=len(affected(memory.cache or plant, node, records) if due is None else due),
        alive=alive,
        electorate=plant.members - ((proved | plant.maintained.keys()) - {node}),
        zone_size=len(members),
        storm_fraction=STORM_FRACTION,
        down_in_zone=(down & members) - (plant.maintained.keys() - {node}),
        in_flight_elsewhere=frozenset(r.boot.node for r in records if r.phase not in PROVED) - {node},
        fencing=frozenset(
            r.boot.node for r in records if r.phase is Phase.FENCING or may_be_off_soon(r, plant.now)
        ),
        proved=proved,
        leader_node=memory.election.leader if memory.election is not None else "-",
        power_devices=node in plant.bmcs and node not in plant.dogs,
        settled_for=memory.settled_for(plant.now),
        cache_age=now - memory.cache_since if memory.cache is not None else 0.0,
        writable=True,
        remediator=memory.remediators.look(node).foreign,
        maintenance=plant.maintained.get(node),
        maintained=frozenset(plant.maintained),
        intent=memory.intents.of(boot),
        down_for=now - since if since is not None else 0.0,
        zone_members=members,
        refuge=frozenset(n for n in alive - members if plant.zones_of(n)),
        slots_seen=frozenset(n for n, state in states.items() if state is not SlotState.NONE),
        slots_moving=frozenset(n for n, state in states.items() if state is SlotState.MOVING),
        slot_witnesses=frozenset(states),
        incidents_lately=memory.incidents_lately(boot, record.name if record else "", now),
        stormed=record is not None and record.stormed,
        forgotten=_forgotten(memory, node, now),
        roster_epochs=(1,) if memory.newer_roster else (),
        released=record is not None and record.name in memory.released,
    )


def proved_of(plant: Plant, records: Iterable[Record]) -> frozenset[str]:
    """The nodes whose present boot, as it is known, is proved to be over: a later one has a vote again."""
    return frozenset(
        r.boot.node for r in records if r.ended_boot and plant.nodes[r.boot.node].known == r.boot
    )


def _forgotten(memory: Memory, node: str, now: float) -> str:
    """As ``controller/forgotten.py``."""
    name, since = memory.forgotten.get(node, ("", NEVER))
    return name if now - since < timing.ORDER_SENT_WITHIN + timing.ORDER_EFFECT else ""


# --- devices --------------------------------------------------------------------------------------------------------


def _levels(plant: Plant, memory: Memory, boot: Boot) -> Rungs:
    if plant.zone_of(boot.node) is None:
        return ()
    rungs: Rungs = ((_device(plant, memory, f"bmc-{boot.node}"),),) if boot.node in plant.bmcs else ()
    if boot.node in plant.pdus:
        rungs = (*rungs, (_device(plant, memory, f"pdu-{boot.node}"),))
    if boot.node in plant.cutters:
        rungs = (*rungs, (_cutter(plant, boot.node),))
    if plant.kennel is not None and boot.node in plant.kennel.dogs:
        rungs = (*rungs, (plant.kennel.look(boot, set_back=plant.set_back is not None),))
    return rungs


def _device(plant: Plant, memory: Memory, name: str) -> DeviceLook:
    box = plant.box(name)
    unusable = None
    if box.another:
        target = DeviceTarget(DeviceSpec(name, "redfish", ""), (), name[4:], f"uuid-of-{name[4:]}")
        unusable = mismatch(f"uuid-of-{box.another}", target)
    return DeviceLook(
        name,
        unusable=unusable.sentence if unusable else None,
        readings=tuple(box.readings[-8:]),
        error=box.error,
        busy=name in plant.working,
        next_try_at=box.next_try_at,
        unsent=box.unsent,
        called_off_at=box.called_off_at,
        back_on_at=box.back_on_at,
        off_since=box.off_since,
        chassis=_chassis(plant, memory, name),
    )


def _chassis(plant: Plant, memory: Memory, name: str) -> Chassis | None:
    if plant.ladder.most_at_once is None:
        return None
    incidents = [(r.boot, r.orders) for r in memory.open]
    chassis = Chassis("10.0.8.9", plant.ladder.most_at_once)

    def seen(device: str, _node: str) -> DeviceLook:
        box = plant.box(device)
        return DeviceLook(device, readings=tuple(box.readings), busy=device in plant.working, chassis=chassis)

    own = plant.nodes[name[4:]].known
    return replace(chassis, others=orders_at(chassis.address, own, incidents, seen, plant.now))


def _cutter(plant: Plant, node: str) -> DeviceLook:
    return DeviceLook(
        "ceph",
        readings=tuple(plant.cutters[node].readings[-8:]),
        busy=("ceph", node) in plant.working,
        unsent=plant.cutters[node].unsent,
        cuts=frozenset(plant.storage_fence or ()),
    )


# --- pods and VMs -----------------------------------------------------------------------------------------------------


def _pods(plant: Plant, node: str) -> tuple[PodLook, ...]:
    launchers = (
        PodLook(PodRef("default", vm.pod, vm.pod), PodRole.LAUNCHER, vm.uid, protected=True)
        for vm in plant.vms.values()
        if vm.launcher_on == node and vm.pod
    )
    targets = (
        PodLook(PodRef("default", vm.target_pod, vm.target_pod), PodRole.LAUNCHER, vm.uid, protected=True)
        for vm in plant.vms.values()
        if vm.target == node
    )
    return (*infrastructure.looks(plant, node), *users.looks(plant, node), *launchers, *targets)


def _vm(plant: Plant, record: VmRecord, lost: frozenset[str]) -> VmLook:
    vm = plant.vms[record.name]
    refused = None if vm.lock_refused_at is None else plant.now - vm.lock_refused_at
    return VmLook(
        "default",
        vm.name,
        record.vm_uid,
        exists=bool(vm.pod) or not vm.deleted,
        run_strategy=vm.strategy,
        stopped_by_user=vm.stopped or vm.deleted,
        start_requested=vm.asked,
        vmi=None
        if vm.gone
        else VmiLook(
            vm.uid,
            vm.phase,
            vm.node,
            refused,
            vm.deleting,
            on_lost_node=vm.node != "" and vm.node in lost,
            unschedulable=vm.unschedulable,
        ),
        priority=plant.placement.priority.get(vm.name, 100),
        after=tuple(("default", name) for name in plant.placement.after.get(vm.name, ())),
        failures=vm.failures,
        blocked=vm.blocked,
        held_up=users.in_the_way(plant, vm),
        snapshot=vm.snapshot,
        restore=vm.restore,
    )
