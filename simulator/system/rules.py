"""The invariants that are checked where something dangerous is done, and on every tick (DESIGN §6)."""

from __future__ import annotations

from ringfence.core import timing
from ringfence.core.failover import cut
from ringfence.core.failover.phase import ENDED
from ringfence.core.failover.record import Record
from ringfence.core.fencing.orders import Action
from ringfence.core.fencing.proof import StorageCut
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.model import Boot, Verdict
from simulator.system import looks, power, slots
from simulator.system.memory import Memory
from simulator.system.plant import Plant

SWEPT_WITHIN = 15.0
"""Seconds in which a taint that belongs to no incident is gone: what is swept, and a change of leader."""


class Broken(AssertionError):
    """An invariant does not hold."""


def proved(plant: Plant, memory: Memory, boot: Boot, act: str) -> None:
    """No such act without a stored proof for that node and boot."""
    stored = [p for r in memory.stored.values() if r.boot == boot for p in r.proofs]
    if "taint" in act:
        stored = [p for p in stored if not isinstance(p, StorageCut)]
    if not stored:
        raise Broken(f"{plant.now:.2f}: {act} without a stored proof for {boot}")


def of_no_namesake(plant: Plant, boot: Boot, pod: str, *, slack: float = 0.0) -> None:
    """No force-delete on a node that has been registered anew: whatever boot has done that starts what is bound to its name, or never ended.

    ``slack``: seconds for which whoever deletes may not have heard of it.
    """
    node = plant.nodes[boot.node]
    if node.registered_after(boot) and plant.now - node.registered_at > slack:
        raise Broken(f"2: {plant.now:.2f}: {pod} is force-deleted, and {boot.node} has been registered anew")


def of_no_later_boot(plant: Plant, boot: Boot, pod: str, *, slack: float = 0.0) -> None:
    """No force-delete of a launcher that a later boot has started: its kubelet would end the guest seconds after the name is free.

    ``slack``: seconds for which whoever deletes may not have heard of that boot.
    """
    vm = next((v for v in plant.vms.values() if v.pod == pod), None)
    node = plant.nodes[boot.node]
    started = vm is not None and vm.launcher_on == node.name in vm.qemu
    if started and node.known != boot and node.knows_boot and plant.now - node.booted_at > slack:
        raise Broken(f"2: {plant.now:.2f}: {pod} is force-deleted, and the later boot of {node.name} runs it")


def order_due(plant: Plant, memory: Memory, device: str, record: Record) -> None:
    """As `order_fits`, and only to what may be fenced now: nothing lies between the judgement and the order here."""
    on_record(plant, memory, device, record)
    is_down(plant, record.boot.node, record)
    order_fits(plant, memory, device, record)


def order_fits(
    plant: Plant, memory: Memory, device: str, record: Record, *, sent_at: float | None = None
) -> None:
    """No order that is on no record, to a node that another acts on or that leads, or beside one of that device.

    ``sent_at``: when it was sent; None: now. An order may take effect for ten seconds after its sending (DESIGN §3), however
    long its device has kept it before it set to work: counted from its arrival, those that are right would be called too early.
    """
    sent_at = plant.now if sent_at is None else sent_at
    box, node = plant.box(device), record.boot.node
    on_record(plant, memory, device, record)
    if (holder := memory.remediators.acts(node)) is not None:
        raise Broken(f"{plant.now:.2f}: {node} is ordered off while {holder} acts on it")
    if memory.leads(node):
        raise Broken(f"{plant.now:.2f}: {node} is ordered off by the controller that runs on it")
    if sent_at < box.effective_until:
        raise Broken(f"{plant.now:.2f}: {device} is ordered off twice within {timing.ORDER_EFFECT} s")
    # A device that in truth is at work for longer than any may be is no excuse for whoever powers the node on meanwhile.
    in_work = plant.now + (power.SLOW if box.mode == "slow" else 0.0)
    box.effective_until = max(sent_at + timing.ORDER_EFFECT, in_work)
    if box.another:
        raise Broken(f"{plant.now:.2f}: {device} is ordered, and would cut {box.another}")


def on_record(plant: Plant, memory: Memory, device: str, record: Record) -> None:
    """Whoever orders has said so before."""
    if not any(
        o.device == device and plant.now < o.effective_until
        for o in memory.stored[record.name].orders
        if o.action is Action.OFF
    ):
        raise Broken(f"{plant.now:.2f}: {device} is ordered off, and that is on no record")


def cut_due(plant: Plant, memory: Memory, device: str, record: Record) -> None:
    """As `cut_fits`, and only of what may be fenced now."""
    cut_fits(plant, memory, device, record)
    is_down(plant, record.boot.node, record)


def cut_fits(plant: Plant, memory: Memory, device: str, record: Record) -> None:
    """No cut that is on no record."""
    stored = memory.stored[record.name]
    if not any(
        o.device == device and o.action is Action.OFF and plant.now < o.effective_until for o in stored.orders
    ):
        raise Broken(f"{plant.now:.2f}: {device} is ordered to cut, and that is on no record")
    if device not in stored.cuts:
        raise Broken(f"{plant.now:.2f}: {device} is ordered to cut, and nobody would lift it again")


def power_on_due(plant: Plant, memory: Memory, device: str, record: Record) -> None:
    """No order on that is on no record, or while an order off may take effect."""
    if any(plant.now < box.effective_until for box in plant.boxes(record.boot.node)):
        raise Broken(f"{plant.now:.2f}: {record.boot.node} is powered on while an order off may take effect")
    if (device, Action.ON) not in {(o.device, o.action) for o in memory.stored[record.name].orders}:
        raise Broken(f"{plant.now:.2f}: {device} is ordered on, and that is on no record")


def is_down(plant: Plant, node: str, record: Record) -> None:
    """Only what is Down, or hangs where its zone has that fenced, and is still of the incident's boot, is shot at.

    A boot that nothing has told of may be shot for the one before: a node that loses its power and boots again within its isolation,
    where no device was read as off meanwhile but after our own order (SCENARIOS B20). It costs one boot more of a node on which
    nothing can have been started.
    """
    verdict = looks.judgement_of(plant, node)
    if not verdict.may_be_fenced:
        raise Broken(f"{plant.now:.2f}: {node} is ordered off: {verdict.sentence}")
    here = plant.nodes[node]
    if verdict.verdict is Verdict.HUNG and (here.agent or plant.takes_pods(here)):
        raise Broken(
            f"{plant.now:.2f}: {node} is ordered off for hanging, and more than its kernel runs there"
        )
    if verdict.verdict is Verdict.HUNG and slots.seen(plant, here).state is not SlotState.SILENT:
        raise Broken(f"{plant.now:.2f}: {node} is ordered off for hanging, and its slot is not silent")
    later = here.identity != record.boot and here.came_up == here.boot and plant.now >= here.booted_at
    if later and (not here.is_news or called_off(plant, record)):
        raise Broken(f"{plant.now:.2f}: {node} is ordered off for an earlier boot")


def called_off(plant: Plant, record: Record) -> bool:
    """Whether a device has called the node off of late, as the leader has read or found on record, before anybody ordered that."""
    ordered_at = min((o.sent_at for o in record.orders if o.action is Action.OFF), default=float("inf"))
    said = [box.called_off_at for box in plant.boxes(record.boot.node) if box.called_off_at is not None]
    read = any(at < ordered_at and plant.now - at < timing.FOUND_OFF_BLACKOUT for at in said)
    return read or any(plant.now < one.until for one in record.called_off)


def may_be_lifted(plant: Plant, node: str) -> None:
    """Whoever lets a node in again lets no old guest at a disk that is in use elsewhere."""
    for vm in plant.vms.values():
        if node in vm.qemu and vm.node != node:
            raise Broken(
                f"{plant.now:.2f}: {node} is let in again while an old guest of {vm.name} lives there"
            )


def let_in_due(plant: Plant, record: Record) -> None:
    """A later boot that an order off may end yet takes no VMs again."""
    node = record.boot.node
    working = any(plant.now < box.effective_until for box in plant.boxes(node))
    if working and plant.nodes[node].known != record.boot:
        raise Broken(f"{plant.now:.2f}: the taints of {node} go while an order off may take effect")


def untaint_due(plant: Plant, record: Record, left: list[str]) -> None:
    """Our out-of-service taint, where it stands, stays while what is known as a later boot has volumes attached that nobody there wants.

    One that came too late for that boot deletes what its kubelet may run, so it goes at once. Before that boot is known, a proof that turns out to be void takes its taint back at once: the node may live. To be asked only where
    that taint goes: somebody else's stays whatever we send, so nothing of it keeps our other one on a node that is back.
    """
    node = record.boot.node
    if left and record.tainted and plant.nodes[node].known != record.boot:
        raise Broken(f"{plant.now:.2f}: the taints of {node} go while {', '.join(left)} is attached")


def _written_anew_soon(plant: Plant, memory: Memory, node: str, *, swept: bool) -> bool:
    """Whether somebody has just deleted the incident that has cut it off: who leads has a moment to write it anew."""
    if not swept:
        memory.cut_since.pop(node, None)
    deleted = node in {record.boot.node for record in memory.deleted.values()}
    return deleted and plant.now - memory.cut_since.setdefault(node, plant.now) <= SWEPT_WITHIN


def _left_to_people(plant: Plant, memory: Memory, node: str) -> bool:
    """Whether the last incident that has cut the node off ended by saying that nobody here can lift that any more.

    Its device was no device of the node when it ended, as who led could know, or the Node object that it was about was gone: else it had to
    be lifted, whatever was said.
    """
    of_node = [r for r in memory.stored.values() if r.boot.node == node and r.cuts]
    last = max(of_node, key=lambda r: r.started_wall, default=None)
    if last is None or last.phase not in ENDED:
        return False
    seen = memory.cache or plant
    orphaned = not seen.nodes[node].is_object_of(last.boot)
    if orphaned and cut.left_standing_without_its_object(last.cuts) in last.sentence:
        return True
    if cut.left_standing(last.cuts, ()) not in last.sentence:
        return False
    if last.name not in memory.left_cut and seen.zone_of(node) is None:
        memory.left_cut.add(last.name)
    return last.name in memory.left_cut


def every_tick(plant: Plant, memory: Memory) -> None:
    """Invariants 1 and 2; those of orders are checked where an order is sent."""
    for vm in [vm for vm in plant.vms.values() if len(vm.qemu) > 1]:
        if len(writers := plant.writers(vm)) > 1:
            raise Broken(f"{plant.now:.2f}: {vm.name} runs on {', '.join(sorted(writers))} at once")
    busy = {r.boot.node for r in memory.open}
    # While a store that was set back settles nothing is done, and nothing swept.
    settling = plant.set_back is not None and not plant.set_back.settled
    swept = not (memory.blind or settling) and (memory.election is None or memory.election.leader != "")
    for name, node in plant.nodes.items():
        if not (node.shut_out or name in plant.cutting) or name in busy:
            memory.cut_since.pop(name, None)
        elif not (
            _left_to_people(plant, memory, name) or _written_anew_soon(plant, memory, name, swept=swept)
        ):
            raise Broken(f"{plant.now:.2f}: {name} is cut from its storage without an open incident")
        ours = node.out_of_service and not node.foreign_taint and node.registered
        if not ours or not swept or name in busy:
            memory.out_since.pop(name, None)
        elif plant.now - memory.out_since.setdefault(name, plant.now) > SWEPT_WITHIN:
            raise Broken(f"{plant.now:.2f}: {name} is out of service without an open incident")
