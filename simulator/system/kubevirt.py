"""KubeVirt's part, as measured (KUBEVIRT §1, §7): an instance that fails is made anew, elsewhere."""

from __future__ import annotations

from simulator.system.node import Node
from simulator.system.plant import Plant
from simulator.system.vm import Vm

NEEDS = 3.5
"""Seconds from a launcher that is gone to the new instance Running."""
ORPHANS_LIVE = 10.0
"""Seconds for which an old guest lives on beside a kubelet that could know better (9 to 60 measured)."""


def launcher_gone(plant: Plant, vm: Vm) -> None:
    """The launcher's object is gone: the instance has failed, whatever its QEMU does."""
    vm.pod, vm.launcher_on, vm.released_at, vm.phase = "", "", plant.now, "Failed"
    vm.lock_refused_at, vm.deleting = None, False
    vm.kept = vm.strategy in ("Once", "Manual")


def instance_gone(plant: Plant, vm: Vm) -> None:
    """An instance that was deleted: the strategies that only watch for failures don't start another."""
    vm.qemu.discard(vm.node)
    launcher_gone(plant, vm)
    vm.gone, vm.kept = vm.strategy in ("RerunOnFailure", "Manual"), False


def end_orphans(plant: Plant) -> None:
    """A kubelet that reaches the API server ends what was deleted from under it, not at once (KUBEVIRT §7)."""
    for vm in plant.vms.values():
        for name in vm.qemu - {vm.launcher_on}:
            if not plant.takes_pods(plant.nodes[name]):
                vm.orphaned_at.pop(name, None)
            elif plant.now - vm.orphaned_at.setdefault(name, plant.now) >= ORPHANS_LIVE:
                vm.qemu.discard(name)
                del vm.orphaned_at[name]
                plant.time.say(f"world: the kubelet of {name} ends the old guest of {vm.name}")


def end_orphan_later(plant: Plant, vm: Vm, node: str) -> None:
    """The kubelet ends a guest whose pod its API server has forgotten."""

    def end() -> None:
        if node in vm.qemu and vm.launcher_on != node:
            plant.time.say(
                f"world: the kubelet of {node} ends a guest of {vm.name} that the API server doesn't know"
            )
            vm.qemu.discard(node)

    plant.time.after(ORPHANS_LIVE, end)


def turn(plant: Plant, vm: Vm) -> None:
    """One tick of the VM's controllers, scheduler and launcher."""
    if plant.api_out or (vm.released_at is None and vm.qemu):
        return  # it runs, or nothing of it changes
    home = plant.nodes.get(vm.launcher_on)
    killed = vm.phase == "Running" and not vm.qemu
    if killed and home is not None and plant.takes_pods(home):
        launcher_gone(plant, vm)  # the kubelet tells
    if vm.released_at is None or plant.now - vm.released_at < 0.5:
        return
    if vm.phase == "Failed":
        if vm.stopped or vm.deleted or vm.gone or vm.kept:
            return
        fit = [n for n in plant.nodes.values() if vm.only in ("", n.name)]
        ready = [n for n in fit if _schedulable(plant, n)]
        free = [n for n in ready if n.name != vm.node] or ready
        if not free:
            return
        chosen = min(free, key=lambda n: _load(plant, n.name)) if plant.spread else free[0]
        vm.vmi, vm.phase, vm.node = vm.vmi + 1, "Scheduled", chosen.name
        vm.pod, vm.launcher_on = f"pod-{vm.name}-{vm.vmi}", vm.node
        vm.lock_refused_at, vm.asked = None, False
    elif (
        vm.phase == "Scheduled"
        and vm.lock_refused_at is None
        and (vm.name not in plant.volumes or vm.node in plant.volumes[vm.name].attached)
        and plant.now - vm.released_at >= NEEDS
        and plant.takes_pods(plant.nodes[vm.node])
    ):
        if vm.locked and plant.writers(vm):
            vm.lock_refused_at = plant.now  # QEMU's image lock: refused, and nobody tries again
        else:
            vm.phase, vm.released_at = "Running", None
            vm.qemu = vm.qemu | {vm.node}
            plant.last_run[vm.name] = vm.node
            plant.time.say(f"world: {vm.name} runs on {vm.node}")


def _schedulable(plant: Plant, node: Node) -> bool:
    return plant.up(node) and not (node.suspect or node.out_of_service or node.cordoned)


def _load(plant: Plant, node: str) -> int:
    return sum(vm.launcher_on == node for vm in plant.vms.values())
