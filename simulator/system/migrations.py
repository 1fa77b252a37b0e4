"""Live migrations in flight, as KubeVirt has them (KUBEVIRT §2.5): whose death ends them, and what stays behind."""

from __future__ import annotations

from simulator.system.plant import Plant
from simulator.system.vm import Vm

TARGET_ENDS = 1.0
"""Seconds that a living kubelet needs to end a target's pod."""
NO_PROGRESS = 150.0
"""After so many seconds KubeVirt itself gives up a migration whose target is gone."""


def begin(plant: Plant, vm: Vm, target: str, takes: float) -> None:
    """A migration to that node begins; nothing stops it, it takes so many seconds."""
    vm.target, vm.target_pod, vm.moves_at = target, f"pod-{vm.name}-to-{target}", plant.now + takes
    plant.time.say(f"world: {vm.name} is being migrated from {vm.node} to {target}")


def turn(plant: Plant, vm: Vm) -> None:
    """One tick of it."""
    if not vm.target or plant.api_out:
        return
    target = plant.nodes[vm.target]
    if vm.released_at is not None:
        # The instance has failed with its launcher: KubeVirt deletes the target's pod, and its node's kubelet ends it.
        if plant.takes_pods(target) and plant.now - vm.released_at >= TARGET_ENDS:
            over(plant, vm)
    elif plant.now - vm.moves_at >= NO_PROGRESS:
        over(plant, vm)
    elif plant.now >= vm.moves_at and plant.takes_pods(target) and plant.takes_pods(plant.nodes[vm.node]):
        vm.node = vm.launcher_on = plant.last_run[vm.name] = vm.target
        vm.pod, vm.qemu, vm.target, vm.target_pod = vm.target_pod, {vm.target}, "", ""
        plant.time.say(f"world: {vm.name} is migrated to {vm.node}")


def over(plant: Plant, vm: Vm) -> None:
    """The target's pod is gone, and the migration has failed."""
    stays = f"{vm.name} stays on {vm.node}" if vm.released_at is None else f"{vm.name} is to be started anew"
    plant.time.say(f"world: the migration of {vm.name} to {vm.target} has failed, {stays}")
    vm.target, vm.target_pod = "", ""
