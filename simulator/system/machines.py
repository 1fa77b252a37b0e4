"""What happens to the machines: power, boots, watchdogs."""

from __future__ import annotations

from dataclasses import replace

from ringfence.core.detection.evidence import Life
from simulator.system import kubevirt
from simulator.system.node import BOOT_NEEDS, WAKE_NEEDS, Node
from simulator.system.plant import Plant
from simulator.system.watchdogs import Situation


def power(plant: Plant, name: str, *, on: bool) -> None:
    """Power comes or goes at the node's inlet; a BMC or a PDU that keeps it off goes on doing so."""
    node = plant.nodes[name]
    gets_power = on and not node.powered and node.outlet and not node.switched_off
    if gets_power and node.hibernated:
        node.powered, node.hibernated, node.booted_at = True, False, plant.now + WAKE_NEEDS
        node.silent_since = None
        plant.time.say(f"world: {name} wakes, in the boot in which it has hibernated")
    elif gets_power:
        known = node.known.boot_id
        node.powered, node.linked, node.boot, node.booted_at = (
            True,
            True,
            node.boot + 1,
            plant.now + BOOT_NEEDS,
        )
        if node.hangs_since is not None:
            node.hang(None)
        node.silent_since, node.known_boot = None, node.identity.boot_id
        node.shutting_down = False
        if node.registered:
            plant.life[name] = replace(plant.life[name], boot=plant.now)
        else:
            node.known_boot = known
            start_kubelet(node)
    elif not on:
        node.powered = node.hibernated = False
        for vm in plant.vms.values():
            vm.qemu.discard(name)


def hibernate(plant: Plant, name: str) -> None:
    """Its memory goes to its disk, guests and all, and then it is off, as any device says of it."""
    node = plant.nodes[name]
    node.powered, node.hibernated = False, True


def boots_unseen(plant: Plant, name: str) -> None:
    """It boots, and nobody knows of that boot yet. Not if a BMC or a PDU keeps it off, or somebody has switched it on before."""
    node = plant.nodes[name]
    if node.powered or node.switched_off or not node.outlet:
        return
    node.known_boot = node.known.boot_id
    node.powered, node.boot, node.booted_at = True, node.boot + 1, plant.now + BOOT_NEEDS
    node.shutting_down = False
    if node.hangs_since is not None:
        node.hang(None)
    start_kubelet(node)


def start_kubelet(node: Node) -> None:
    """A kubelet registers its node when it starts, if there is no Node object of its name; one that runs does not notice that it is gone."""
    node.registers = not node.registered


def unregister(plant: Plant, node: Node) -> None:
    """Somebody deletes its Node object. What stood there is never told again, whatever the kubelet goes on to do."""
    node.known_boot = node.known.boot_id
    node.registered = node.registers = False
    node.unregistered_at = plant.now


def register(plant: Plant, node: Node) -> None:
    """Its kubelet makes its Node object anew, with another UID and without any taint."""
    if node.known_boot != node.identity.boot_id:
        plant.life[node.name] = Life(boot=plant.now)
    node.registered, node.registers = True, False
    node.registrations, node.registered_at = node.registrations + 1, plant.now
    node.known_boot = node.identity.boot_id
    node.suspect = node.out_of_service = node.foreign_taint = node.cordoned = False
    node.suspect_for = ""
    node.annotations.clear()
    node.marks.clear()
    plant.time.say(f"world: the kubelet of {node.name} registers it anew, in {node.known_boot}")
    for vm in [vm for vm in plant.vms.values() if node.name in vm.qemu and vm.launcher_on != node.name]:
        kubevirt.end_orphan_later(plant, vm, node.name)


def reset(plant: Plant, name: str) -> None:
    """What a watchdog does: off and on again; a cable that is out stays out, and the new boot unknown."""
    plant.time.say(f"world: {name}'s watchdog resets it")
    power(plant, name, on=False)
    boots_unseen(plant, name)


def watch_over(plant: Plant, node: Node) -> None:
    """One tick of the node's watchdog, where it has one."""
    dog = plant.dogs.get(node.name)
    if dog is None:
        return
    running = node.powered and plant.now >= node.booted_at
    reached = len(plant.heard_by(node))
    before, boot = dog.feeder.running, dog.boot
    what = dog.tick(
        Situation(
            plant.now,
            node.identity,
            up=running,
            agent=node.agent,
            most_answer=2 * reached > len(plant.nodes),
            api_answers=node.linked and node.api and not plant.api_out,
            slot_written=node.storage
            and node.word != node.identity.boot_id
            and any(n.storage for n in plant.nodes.values() if n is not node and plant.up(n)),
        )
    )
    if dog.feeder.running != before and boot in (None, dog.boot):
        plant.time.say(f"world: {node.name}'s watchdog is {'armed' if dog.feeder.running else 'disarmed'}")
    if what == "bite":
        reset(plant, node.name)
    elif what == "stop":
        for vm in plant.vms.values():
            if node.name in vm.qemu:
                vm.qemu.discard(node.name)
                plant.time.say(f"world: {vm.name} is stopped on {node.name} ({dog.why})")
