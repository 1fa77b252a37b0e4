"""The machine's commands, carried out on the plant: what ``controller/failovers.py`` does through its ports."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ringfence.core.failover import commands
from ringfence.core.failover.cut import LiftCut
from ringfence.core.failover.node_lease import ReleaseNodeLease, TakeNodeLease
from ringfence.core.failover.record import Record
from ringfence.core.failover.recovery import (
    DeletePod,
    DeleteVmi,
    FreeLeadership,
    RecoveryCommand,
    RequestStart,
)
from ringfence.core.fencing.orders import LookOnceMore, OrderOff, ReadPower, RevokeAgentLease
from ringfence.core.model import Boot
from simulator.system import attachments, infrastructure, kubevirt, migrations, power, rules, users
from simulator.system.memory import Memory
from simulator.system.plant import Plant
from simulator.system.vm import Vm
from simulator.system.watch import Watch


def _to_api(command: commands.Command) -> bool:
    """Whether it is one write to the API server and nothing else."""
    return isinstance(
        command,
        commands.AddSuspectTaint
        | commands.AddOutOfServiceTaint
        | commands.RemoveTaints
        | TakeNodeLease
        | ReleaseNodeLease,
    )


class Died(Exception):
    """The leader was killed at this very command."""


@dataclass(frozen=True, slots=True)
class Deadly:
    """The command at which the leader is killed: right before it, or right after it."""

    kind: type
    after: bool
    spared: int = 0
    """So many of that kind go well before."""


class Executor:
    def __init__(self, plant: Plant, memory: Memory) -> None:
        self._plant = plant
        self._memory = memory
        self.watch: Watch | None = None
        self.deadly: Deadly | None = None

    def run(self, record: Record, command: commands.Command) -> None:
        """Start one command; what comes of it is seen in a later look. Raises Died where the leader is killed at it."""
        self._at(command, after=False)
        self._start(record, command)
        self._at(command, after=True)

    def _at(self, command: commands.Command | RecoveryCommand, *, after: bool) -> None:
        if self.watch is not None and not after:
            self.watch.commanded(command)
        deadly = self.deadly
        if deadly is None or not isinstance(command, deadly.kind) or deadly.after is not after:
            return
        self.deadly = replace(deadly, spared=deadly.spared - 1) if deadly.spared else None
        if self.deadly is None:
            raise Died

    def _start(self, record: Record, command: commands.Command) -> None:
        plant, memory, node = self._plant, self._memory, record.boot.node
        say, after = plant.time.say, plant.time.after
        if _to_api(command) and memory.write_fails():
            return
        match command:
            case ReadPower(device="ceph"):
                power.use_storage(plant, node, 0.05, lambda: power.read_cut(plant, node))
            case OrderOff(device="ceph" as device, attempt=attempt):
                rules.cut_due(plant, memory, device, record)
                say(f"order: {device} cut {node} off, attempt {attempt}")
                if plant.cutters[node].mode == "slow":
                    power.use_storage(plant, node, 0.1, lambda: power.begin_to_shut(plant, node))
                else:
                    power.use_storage(plant, node, 0.5, lambda: power.shut(plant, node, out=True))
            case LiftCut(device=device):
                shut = plant.nodes[node].shut_out or node in plant.cutting
                if shut and ("ceph", node) not in plant.working:
                    rules.may_be_lifted(plant, node)
                    say(f"order: {device} let {node} in again")
                power.use_storage(plant, node, 0.5, lambda: power.shut(plant, node, out=False))
            case ReadPower(device=device):
                power.use(plant, device, 0.05, lambda: power.read(plant, device, record.name))
            case OrderOff(device=device, attempt=attempt):
                rules.order_due(plant, memory, device, record)
                plant.box(device).ordered_in = record.name
                plant.box(device).orders += 1
                if self.watch is not None:
                    self.watch.ordered(record, command)
                say(f"order: {device} off, attempt {attempt}")
                self._takes_place(device, power.order_takes(plant, device))
                power.use(plant, device, 0.1, lambda: power.off(plant, device, node))
            case RevokeAgentLease(device=device):
                assert plant.kennel is not None
                say(f"revoke: the Lease of the agent of {node}, for {device}")
                plant.kennel.revoke(record.boot, plant.now)
            case LookOnceMore():
                assert plant.kennel is not None
                say(f"look: whether anybody hears {node}")
                others = plant.heard() - {node}
                silent = others - memory.apart
                plant.kennel.call_roll(
                    record.boot, plant.now, silent, plant.life[node].packet, len(plant.nodes)
                )
                readers = frozenset(name for name in others if plant.nodes[name].storage)
                if plant.heartbeat and readers:
                    plant.kennel.read_slot(record.boot, plant.now, plant.nodes[node].slot_moved[1], readers)
            case commands.OrderOn(device=device):
                rules.power_on_due(plant, memory, device, record)
                say(f"order: {device} on")
                self._takes_place(device, 0.2)
                after(0.2, lambda: power.on(plant, device, node))
            case commands.TellFenced(boot=boot):
                if not record.proofs:
                    rules.is_down(plant, node, record)
                say(f"word: to {boot}: it is fenced")
                plant.nodes[node].word = boot.boot_id
            case TakeNodeLease():
                memory.remediators.take(node)
            case ReleaseNodeLease():
                memory.remediators.release(node)
            case commands.AddSuspectTaint():
                after(plant.write_needs, lambda: self._taint(record.boot, "suspect"))
            case commands.AddOutOfServiceTaint(recover=recover):
                rules.proved(plant, memory, recover.boot, "the out-of-service taint")
                if (memory.cache or plant).nodes[node].foreign_taint:
                    raise rules.Broken(f"{plant.now:.2f}: somebody else's taint of {node} is written over")
                # Who writes reads the Node first, and leaves a taint of which its caches don't know as it is (kube/cluster.py).
                after(plant.write_needs, lambda: self._taint(record.boot, "out_of_service"))
            case commands.RemoveTaints(out_of_service=both, suspect=suspect):
                self._untaint(record, both=both, suspect=suspect)
            case commands.RehearseAdmission(namespace=namespace, name=name):
                if (rehearsed := ("rehearse", record.name)) not in plant.working:
                    plant.working.add(rehearsed)  # once an incident and leader
                    say(f"rehearse: what virt-api says to {namespace}/{name}")
            case commands.RecoverPods(recover=recover, commands=asks):
                for ask in asks:
                    self._at(ask, after=False)
                    self._recover(recover.boot, ask)
                    self._at(ask, after=True)

    def _takes_place(self, device: str, takes: float) -> None:
        """The chassis has an order more in work, until it has answered; never more than it takes."""
        plant = self._plant
        if plant.ladder.most_at_once is None:
            return
        plant.at_chassis.append(device)
        working = [d for d in plant.at_chassis if d == device or d in plant.working or power.gives(plant, d)]
        if len(working) > plant.ladder.most_at_once:
            raise rules.Broken(f"{plant.now:.2f}: orders in work at once: {', '.join(working)}")
        plant.time.after(takes, lambda: plant.at_chassis.remove(device))

    def _taint(self, boot: Boot, which: str) -> None:
        """As ``kube/cluster.py``: of the Node object that is meant, by its UID, or of none."""
        node = self._plant.nodes[boot.node]
        if node.is_object_of(boot):
            setattr(node, which, True)

    def _untaint(self, record: Record, *, both: bool, suspect: bool) -> None:
        plant, node = self._plant, self._plant.nodes[record.boot.node]
        if node.registered_after(record.boot):
            return
        rules.let_in_due(plant, record)
        node.suspect = node.suspect and not suspect
        # What is not ours by its value stays, whatever the command says (kube/cluster.py).
        if not both or node.foreign_taint or not node.out_of_service:
            return
        left = [a.volume for a in attachments.attached_to(plant, node.name) if not a.wanted]
        rules.untaint_due(plant, record, left)
        node.out_of_service = False

    # --- pods and VMs ---------------------------------------------------------------------------------------------

    def _recover(self, boot: Boot, ask: RecoveryCommand) -> None:
        plant = self._plant
        if ask in plant.working or self._memory.write_fails():
            return
        plant.working.add(ask)
        if self.watch is not None:
            self.watch.asked(boot, ask)
        if isinstance(ask, DeletePod) and ask.force:
            rules.proved(plant, self._memory, boot, f"the force-delete of {ask.ref.name}")
            rules.of_no_namesake(self._memory.cache or plant, boot, ask.ref.name)
            rules.of_no_later_boot(self._memory.cache or plant, boot, ask.ref.uid)
        plant.time.after(plant.write_needs, lambda: self._recovered(boot, ask))

    def _recovered(self, boot: Boot, ask: RecoveryCommand) -> None:
        plant = self._plant
        plant.working.discard(ask)
        if plant.api_out:
            return
        match ask:
            case DeletePod(ref=ref, force=force):
                if infrastructure.delete(plant, ref.uid) or users.delete(plant, ref.uid, force=force):
                    self._memory.forced.append((ref.name, boot.node))
                    return
                moving = next((v for v in plant.vms.values() if v.target_pod == ref.uid), None)
                if moving is not None and (force or plant.takes_pods(plant.nodes[boot.node])):
                    migrations.over(plant, moving)
                    return
                vm = next((v for v in plant.vms.values() if v.pod == ref.uid), None)
                if vm is None:
                    return
                if force:
                    self._memory.forced.append((ref.name, boot.node))
                    kubevirt.launcher_gone(plant, vm)
                elif plant.up(plant.nodes[boot.node]):
                    vm.qemu.discard(boot.node)
                    kubevirt.launcher_gone(plant, vm)
            case FreeLeadership(pod=pod):
                infrastructure.free(plant, pod)
            case DeleteVmi():
                self._delete_instance(plant.vms[ask.name], ask.uid)
            case RequestStart():
                plant.time.say(f"start: {ask.name}")
                kubevirt.ask_start(plant.vms[ask.name], ask.stop_uid)

    def _delete_instance(self, vm: Vm, uid: str) -> None:
        plant = self._plant
        stands = vm.kept or vm.phase != "Failed"
        if uid != vm.uid or not stands:
            return
        plant.time.say(f"delete: the {'ended' if vm.kept else 'stuck'} instance of {vm.name}")
        if vm.late_start and not vm.qemu:
            vm.phase, vm.deleting, vm.lock_refused_at, vm.qemu = ("Running", True, None, {vm.node})
            plant.time.after(0.5, lambda: kubevirt.instance_gone(plant, vm))
        else:
            kubevirt.instance_gone(plant, vm)
