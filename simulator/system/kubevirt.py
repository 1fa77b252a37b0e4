"""KubeVirt's part, as measured (KUBEVIRT §1, §7): an instance that fails is made anew, elsewhere."""

from __future__ import annotations

from simulator.system import infrastructure, scheduler
from simulator.system.plant import Plant
from simulator.system.vm import Vm

NEEDS = 3.5
"""Seconds from a launcher that is gone to the new instance Running."""
COLLECTED_AFTER = 60.0
"""Seconds after which the pods of a node without an object are collected: 40 s of quarantine, looked at every 20 s."""
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


def ask_start(vm: Vm, stop_uid: str = "") -> None:
    """What KubeVirt makes of a Start among the VirtualMachine's ``stateChangeRequests``, behind a Stop of that instance where one is named.

    By its pkg/virt-controller/watch/vm (``isTrimFirstChangeRequestNeeded``): a Stop of another instance than the one that stands is taken
    off, and so is a Start beside an instance that has not ended. So who asks again for what was done long ago, because its caches stand
    still, has asked for nothing. (Beside one that has ended, and that no Stop is about, KubeVirt lets the Start stand; here it is forgotten.)
    """
    if vm.phase != "Failed" or (vm.kept and stop_uid != vm.uid):
        return
    vm.gone, vm.kept, vm.asked = False, False, True


def collect(plant: Plant) -> None:
    """Kubernetes deletes the pods of a node that has no object (its pod garbage collector), whether the machine runs them or not."""
    for node in plant.nodes.values():
        if node.registered or plant.now - node.unregistered_at < COLLECTED_AFTER:
            continue
        for vm in [vm for vm in plant.vms.values() if vm.launcher_on == node.name]:
            plant.time.say(f"world: Kubernetes collects the pod of {vm.name}, which is bound to no node")
            launcher_gone(plant, vm)
        for pod in [pod for pod in plant.infrastructure if pod.node == node.name]:
            infrastructure.delete(plant, pod.name)


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
    if plant.api_out or (vm.released_at is None and vm.qemu) or not infrastructure.works(plant):
        return  # it runs, or nothing of it changes
    home = plant.nodes.get(vm.launcher_on)
    killed = vm.phase == "Running" and not vm.qemu
    if killed and home is not None and plant.takes_pods(home):
        launcher_gone(plant, vm)  # the kubelet tells
    if vm.released_at is None or plant.now - vm.released_at < 0.5:
        return
    if vm.phase == "Failed":
        held_up = vm.stopped or vm.deleted or vm.gone or vm.kept or vm.target or vm.blocked
        if held_up or plant.now < vm.retry_at:
            return
        vm.vmi, vm.phase = vm.vmi + 1, "Scheduling"
        vm.pod, vm.launcher_on = f"pod-{vm.name}-{vm.vmi}", ""
        vm.lock_refused_at, vm.asked = None, False
        _schedule(plant, vm)
    elif vm.phase == "Scheduling":
        _schedule(plant, vm)
    elif vm.phase == "Scheduled" and plant.takes_pods(here := plant.nodes[vm.node]) and here.out_of_service:
        # A kubelet admits no pod that doesn't tolerate a NoExecute taint of its node, and what it has admitted is evicted.
        _start_failed(
            plant, vm, f"the kubelet of {here.name} admits no launcher of {vm.name}: it is out of service"
        )
    elif (
        vm.phase == "Scheduled"
        and vm.lock_refused_at is None
        and (vm.name not in plant.volumes or vm.node in plant.volumes[vm.name].attached)
        and plant.now - vm.released_at >= NEEDS
        and plant.takes_pods(plant.nodes[vm.node])
    ):
        if vm.locked and plant.writers(vm):
            vm.lock_refused_at = plant.now  # QEMU's image lock: refused, and nobody tries again
        elif vm.fails:
            _start_fails(plant, vm)
        else:
            vm.phase, vm.released_at, vm.failures, vm.running_at = "Running", None, 0, plant.now
            vm.qemu = vm.qemu | {vm.node}
            plant.last_run[vm.name] = vm.node
            plant.time.say(f"world: {vm.name} runs on {vm.node}")


def _schedule(plant: Plant, vm: Vm) -> None:
    """A node for its launcher, or the reason why there is none."""
    chosen, why = scheduler.choose(plant, vm)
    if chosen is None:
        vm.node, vm.unschedulable = "", why
        return
    if vm.unschedulable:
        vm.released_at = plant.now  # from here on it takes its time
    vm.phase, vm.node, vm.launcher_on, vm.unschedulable = "Scheduled", chosen.name, chosen.name, ""


def _start_fails(plant: Plant, vm: Vm) -> None:
    """A new instance fails as the script has it."""
    vm.fails -= 1
    _start_failed(plant, vm, f"a start of {vm.name} fails")


def _start_failed(plant: Plant, vm: Vm, why: str) -> None:
    """The new instance has failed before it ran: tried again with KubeVirt's pauses (KUBEVIRT §1)."""
    vm.failures += 1
    launcher_gone(plant, vm)
    vm.retry_at = plant.now + min(300.0, 10.0 * vm.failures**2)
    plant.time.say(f"world: {why}")
