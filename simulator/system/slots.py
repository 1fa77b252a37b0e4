"""The heartbeat volume: a node writes its slot and reads the word that is told it there; the others look."""

from __future__ import annotations

from dataclasses import replace

from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER, SlotEvidence
from ringfence.core.fencing.slotwatch import SlotState, silence_of
from simulator.system.node import Node
from simulator.system.plant import Plant

INTERVAL = 1.0


def beat(plant: Plant, node: Node) -> None:
    """The node writes its slot and reads its word; the others look."""
    runs = node.powered and node.storage and plant.now >= node.booted_at
    boot = node.identity.boot_id
    if runs and plant.time.every(INTERVAL):
        guests = [vm for vm in plant.vms.values() if node.name in vm.qemu]
        stops = node.word == boot and plant.stop_guests
        if stops and guests:
            plant.time.say(
                f"world: {node.name} reads that it is fenced and kills {', '.join(vm.name for vm in guests)}"
            )
            for vm in guests:
                vm.qemu.discard(node.name)
        if not stops:
            node.slot = (boot, node.slot[1] + 1)
    if not plant.time.every(timing.SLOT_LOOK):
        return
    if not any(n is not node and n.storage and plant.up(n) for n in plant.nodes.values()):
        return
    if node.slot != node.slot_seen and node.slot_looked_at > NEVER:
        node.slot_moved = (node.slot_looked_at, plant.now)
        # The slot of a boot that is not known yet is a sign of life too, and no more: it names no boot, for the volume is not
        # sealed (heartbeats.py).
        if node.slot[0] in (boot, node.known.boot_id):
            plant.life[node.name] = replace(plant.life[node.name], slot=plant.now)
    node.slot_seen, node.slot_looked_at = node.slot, plant.now


def seen(plant: Plant, node: Node) -> SlotEvidence:
    """What the others have seen of its slot."""
    if not plant.heartbeat or node.slot_seen[0] not in (node.identity.boot_id, node.known.boot_id):
        return SlotEvidence()
    after, at = node.slot_moved
    if _moves(plant, node):
        return SlotEvidence(SlotState.MOVING, INTERVAL, after)
    if plant.now - node.slot_looked_at > silence_of(INTERVAL):
        return SlotEvidence(SlotState.UNREAD, INTERVAL, after)
    own = at if node.slot_seen[0] == node.known.boot_id else NEVER
    others = any(_moves(plant, other) for other in plant.nodes.values() if other is not node)
    return SlotEvidence(SlotState.SILENT, INTERVAL, after, at, written_at=own, others_write=others)


def _moves(plant: Plant, node: Node) -> bool:
    return plant.now - node.slot_moved[1] <= silence_of(INTERVAL)
