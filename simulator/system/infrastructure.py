"""KubeVirt's own pods, where a story places them: virt-api, through whose webhooks each write of an instance passes, and
virt-controller, whose leader makes the instances (KUBEVIRT §1, "What blocks or slows recovery").
"""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core.failover.record import PodRef
from ringfence.core.failover.recovery import PodLook, PodRole
from simulator.system.plant import Plant

READY_AFTER = 3.0
"""Seconds from a pod that is gone to its successor that serves."""
LEADS_ON = 15.0
"""Seconds for which the Lease of a virt-controller that is no more keeps all others waiting."""
LEAVES_THE_ENDPOINTS = 52.0
"""Seconds after which Kubernetes calls a dead node not ready, and sends no more calls to a virt-api there."""
_ROLES = {"virt-api": PodRole.VIRT_API, "virt-controller": PodRole.VIRT_CONTROLLER}


@dataclass
class Infrastructure:
    """One pod of KubeVirt's own."""

    kind: str
    node: str
    number: int = 1
    ready_at: float = 0.0
    silent_since: float | None = None
    """Since when its node doesn't run or has no API server; for as long as the pod stands."""
    freed: bool = False
    """Its leadership was given up in its name."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.number}"


def turn(plant: Plant) -> None:
    """One tick of the pods' nodes, and of the scheduler for those that have none."""
    for pod in plant.infrastructure:
        if not pod.node:
            _place(plant, pod)
        if pod.node and plant.with_api_of(pod.node):
            pod.silent_since = None
        elif pod.silent_since is None:
            pod.silent_since = plant.now


def _place(plant: Plant, pod: Infrastructure) -> None:
    free = [
        n.name
        for n in plant.nodes.values()
        if plant.up(n) and n.registered and not (n.suspect or n.out_of_service or n.cordoned)
    ]
    if free:
        pod.node, pod.silent_since = free[0], None
        pod.ready_at = max(pod.ready_at, plant.now + READY_AFTER)
        plant.time.say(f"world: {pod.name} is made anew on {pod.node}")


def works(plant: Plant) -> bool:
    """Whether KubeVirt makes and changes instances now."""
    return all(_works(plant, pod) for pod in plant.infrastructure)


def _works(plant: Plant, pod: Infrastructure) -> bool:
    if pod.silent_since is None:
        return plant.now >= pod.ready_at
    away = plant.now - pod.silent_since
    if pod.kind == "virt-api":
        others = [p for p in plant.infrastructure if p.kind == pod.kind and p is not pod]
        return away >= LEAVES_THE_ENDPOINTS and any(p.silent_since is None for p in others)
    return False


def looks(plant: Plant, node: str) -> tuple[PodLook, ...]:
    """Those that are bound to the node."""
    return tuple(
        PodLook(PodRef("kubevirt", pod.name, pod.name), _ROLES[pod.kind])
        for pod in plant.infrastructure
        if pod.node == node
    )


def delete(plant: Plant, uid: str) -> bool:
    """The pod is gone, and its Deployment makes another on a node that takes pods. False: there is none of that UID."""
    pod = next((p for p in plant.infrastructure if p.name == uid), None)
    if pod is None:
        return False
    leads_on = 0.0 if pod.kind == "virt-api" or pod.freed else LEADS_ON
    since = plant.now if pod.silent_since is None else pod.silent_since
    pod.node, pod.number, pod.freed = "", pod.number + 1, False
    pod.ready_at = since + leads_on
    _place(plant, pod)
    return True


def free(plant: Plant, uid: str) -> None:
    """Its Lease is nobody's any more, before or after the pod is made anew."""
    for pod in plant.infrastructure:
        if pod.kind != "virt-controller":
            continue
        if pod.name == uid:
            pod.freed = True
        elif f"{pod.kind}-{pod.number - 1}" == uid:
            pod.ready_at = min(pod.ready_at, plant.now + READY_AFTER)
