"""Kubernetes' scheduler: which node takes a VM, or why none does; and what the story's VMs ask of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulator.system.node import Node
from simulator.system.vm import Vm

if TYPE_CHECKING:
    from simulator.system.plant import Plant


@dataclass
class Placement:
    """What a story's VMs ask for, and what its nodes have room for."""

    capacity: dict[str, int] = field(default_factory=dict)
    """Node: so many VMs and no more."""
    only: dict[str, list[str]] = field(default_factory=dict)
    """VM: the nodes that it may run on."""
    apart: list[list[str]] = field(default_factory=list)
    """VMs of which no two may share a node."""
    priority: dict[str, int] = field(default_factory=dict)
    after: dict[str, list[str]] = field(default_factory=dict)
    """VM: those that are to be ready before it starts."""
    boots: dict[str, float] = field(default_factory=dict)
    """VM: the seconds from Running to ready."""


def schedulable(plant: Plant, node: Node) -> bool:
    """Whether it takes pods that tolerate nothing."""
    return plant.up(node) and node.registered and not (node.suspect or node.out_of_service or node.cordoned)


def load(plant: Plant, node: str) -> int:
    """The VMs that it has."""
    return sum(vm.launcher_on == node for vm in plant.vms.values())


def choose(plant: Plant, vm: Vm) -> tuple[Node | None, str]:
    """The node for the VM's new launcher; or None, and why no node takes it, in the scheduler's words."""
    refusals = {node.name: _refusal(plant, vm, node) for node in plant.nodes.values()}
    ready = [node for node in plant.nodes.values() if refusals[node.name] is None]
    free = [n for n in ready if n.name != (vm.node or plant.last_run[vm.name])] or ready
    if not free:
        return None, _told(refusals.values())
    return (min(free, key=lambda n: load(plant, n.name)) if plant.spread else free[0]), ""


def _refusal(plant: Plant, vm: Vm, node: Node) -> str | None:
    wants = plant.placement
    others = {name for group in wants.apart if vm.name in group for name in group} - {vm.name}
    if not schedulable(plant, node):
        return "had untolerated taint" if node.suspect or node.out_of_service else "not ready"
    if node.name not in wants.only.get(vm.name, [node.name]) or vm.only not in ("", node.name):
        return "didn't match node affinity"
    if any(plant.vms[name].launcher_on == node.name for name in others):
        return "didn't match anti-affinity"
    if load(plant, node.name) >= wants.capacity.get(node.name, len(plant.vms)):
        return "Insufficient memory"
    return None


def _told(refusals: Iterable[str | None]) -> str:
    counted = Counter(why for why in refusals if why is not None)
    reasons = ", ".join(f"{number} {why}" for why, number in sorted(counted.items()))
    return f"0/{counted.total()} nodes are available: {reasons}"
