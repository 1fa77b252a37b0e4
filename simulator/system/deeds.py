"""What the controller's writes do in the plant: taints, deletions, requests to start, cuts from the storage, records.

Each is looked at as it arrives at the API server, by the invariants that are about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ringfence.api.v1alpha1.failover import Failover
from ringfence.controller import records
from ringfence.controller.rfc3339 import parse
from ringfence.core.failover.phase import ENDED
from ringfence.core.failover.record import PodRef, Record
from ringfence.core.failover.recovery import DeletePod, DeleteVmi, RequestStart
from ringfence.core.fencing.orders import Action, OrderOff
from ringfence.core.model import Boot
from ringfence.ports import Json
from simulator.system import attachments, infrastructure, kubevirt, power, rules, users
from simulator.system.apiserver import ApiServer
from simulator.system.memory import Memory
from simulator.system.mirror import FOREIGN, GUESTS, KUBEVIRT, NODE_LEASES, OURS, Mirror
from simulator.system.plant import Plant
from simulator.system.processes import VirtualClock
from simulator.system.warrants import Warrants
from simulator.system.watch import Watch

CUTS = 0.5
"""Seconds until csi-addons and the CSI driver have shut a node out, or let it in."""
STARTS = 0.05
HEARD_WITHIN = 5.0
"""Seconds after which whoever deletes has heard of a node that was registered anew: a watch that tells late, and a request's own way."""
_SUSPECT, _OUT = "ringfence.io/suspect", "node.kubernetes.io/out-of-service"
_LIFTED = {"result": "Succeeded", "message": "unfencing operation successful"}
_CUT = {"result": "Succeeded", "message": "fencing operation successful"}


class Deeds:
    """``entered`` is told of each phase that an incident enters, when it is stored."""

    def __init__(
        self,
        plant: Plant,
        memory: Memory,
        server: ApiServer,
        mirror: Mirror,
        entered: Callable[[Record], None],
    ) -> None:
        self._plant = plant
        self._memory = memory
        self._server = server
        self._mirror = mirror
        self._entered = entered
        self.watch: Watch | None = None
        self._warrants = Warrants()
        server.deeds |= {
            "nodes": self._node,
            "failovers": self._failover,
            "virtualmachines": self._vm,
            "leases": self._lease,
            "networkfences": self._fence,
        }
        server.ends |= {
            "pods": self._pod_deleted,
            "virtualmachineinstances": self._instance_deleted,
            "leases": self._lease_deleted,
        }

    # --- records ----------------------------------------------------------------------------------------------------

    def _failover(self, before: Json, wanted: Json) -> None:
        if not before:
            self._memory.opened += 1
            return
        known = self._memory.stored.get(wanted["metadata"]["name"])
        record = _record(wanted)
        if record is None:
            return
        plant, memory = self._plant, self._memory
        self._warrants.stored(record, plant.now)
        memory.stored[record.name] = record
        if self.watch is not None:
            self.watch.stored(known, record)
        if record.proofs:
            memory.seen.setdefault(record.name, plant.now)
        if known is not None and record.power_on_tries > known.power_on_tries:
            memory.powered_on[record.name] = plant.now
        if known is None or (known.phase, known.sentence) != (record.phase, record.sentence):
            plant.time.say(f"{record.phase}: {record.sentence}")
        if known is None or known.phase is not record.phase:
            memory.phase_since[record.name] = plant.now
            self._entered(record)

    def incident(self, node: str) -> Record | None:
        """The open incident about the node."""
        return next((r for r in self._memory.open if r.boot.node == node), None)

    # --- devices ------------------------------------------------------------------------------------------------------

    def ordered(self, device: str, node: str, sent_at: float) -> None:
        """An order off that was sent then is carried out by a device."""
        record = self._on_record(device, node, Action.OFF)
        rules.order_fits(self._plant, self._memory, device, record, sent_at=sent_at)
        attempt = max(o.attempt for o in record.orders if (o.device, o.action) == (device, Action.OFF))
        if self.watch is not None:
            self.watch.ordered(record, OrderOff(device, attempt))

    def switched_on(self, device: str, node: str) -> None:
        """An order on arrives at a device."""
        rules.power_on_due(self._plant, self._memory, device, self._on_record(device, node, Action.ON))

    def _on_record(self, device: str, node: str, action: Action) -> Record:
        """The incident that this order is of: the latest, for an order outlives its incident."""
        of_node = [r for r in self._memory.stored.values() if r.boot.node == node]
        ordered = [r for r in of_node if (device, action) in {(o.device, o.action) for o in r.orders}]
        if not ordered:
            raise rules.Broken(
                f"{self._plant.now:.2f}: {device} is ordered {action}, and that is on no record"
            )
        return max(ordered, key=lambda r: (r.phase not in ENDED, r.started_wall))

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _node(self, _before: Json, wanted: Json) -> Json:
        plant, name = self._plant, wanted["metadata"]["name"]
        node = plant.nodes[name]
        taints = wanted["spec"].get("taints") or []
        out = [t for t in taints if t["key"] == _OUT]
        had_foreign = node.out_of_service and node.foreign_taint
        if had_foreign and [t.get("value") for t in out] != [FOREIGN]:
            raise rules.Broken(f"{plant.now:.2f}: somebody else's taint of {name} is written over")
        record = self.incident(name)
        if out and not node.out_of_service:
            # One that was sent under a proof and overtaken by its end is swept.
            if not self._warrants.covers_taint(node.identity.node_uid, plant.now):
                raise rules.Broken(
                    f"{plant.now:.2f}: the out-of-service taint of {name} without a stored proof"
                )
            node.out_of_service = True
        elif not out and node.out_of_service:
            if record is not None and record.tainted:
                left = [a.volume for a in attachments.attached_to(plant, name) if not a.wanted]
                if left and self._mirror.heard_boot_of(name) != record.boot.boot_id:
                    raise rules.Broken(
                        f"{plant.now:.2f}: the taints of {name} go while {', '.join(left)} is attached"
                    )
            node.out_of_service = False
        if record is not None and node.suspect and not any(t["key"] == _SUSPECT for t in taints):
            rules.let_in_due(plant, record)
        node.suspect = any(t["key"] == _SUSPECT for t in taints)
        node.suspect_for = next((t.get("value", "") for t in taints if t["key"] == _SUSPECT), "")
        assert all(t.get("value") in (OURS, FOREIGN) for t in out)
        self._mirror.note_node(node)
        return wanted

    def _lease(self, before: Json, wanted: Json) -> None:
        meta = wanted["metadata"]
        holder = wanted["spec"].get("holderIdentity", "")
        if meta.get("namespace") == NODE_LEASES and holder == OURS:
            self._memory.remediators.take(meta["name"].removeprefix("node-"))
        led = before.get("spec", {}).get("holderIdentity", "")
        if meta.get("namespace") == KUBEVIRT and led and not holder:
            self._plant.time.say(f"free: the Lease of {led.partition('_')[0]}")
            infrastructure.free(self._plant, led.partition("_")[0])

    def _lease_deleted(self, found: Json, _options: Json) -> None:
        meta = found["metadata"]
        if meta.get("namespace") == NODE_LEASES and found["spec"].get("holderIdentity") == OURS:
            self._memory.remediators.release(meta["name"].removeprefix("node-"))
        self._server.take("leases", meta["name"], meta.get("namespace", ""))

    # --- pods and VMs ---------------------------------------------------------------------------------------------------

    def _pod_deleted(self, found: Json, options: Json) -> None:
        plant, meta = self._plant, found["metadata"]
        node, force = found["spec"]["nodeName"], options.get("gracePeriodSeconds") == 0
        vm = next((v for v in plant.vms.values() if v.pod == meta["uid"]), None)
        record = self.incident(node)
        boot = record.boot if record is not None else plant.nodes[node].known
        if self.watch is not None:
            ref = PodRef(meta["namespace"], meta["name"], meta["uid"])
            self.watch.asked(boot, DeletePod(ref, force=force))
        if vm is None and meta["uid"] in plant.users:
            if force:
                self._forced(meta["name"], node, boot)
            users.delete(plant, meta["uid"], force=force)
        elif vm is None:
            infrastructure.delete(plant, meta["uid"])
            self._server.take("pods", meta["name"], meta["namespace"])
        elif force:
            self._forced(meta["name"], node, boot)
            rules.of_no_later_boot(plant, boot, vm.pod, slack=HEARD_WITHIN)
            kubevirt.launcher_gone(plant, vm)
            self._mirror.show_vm(vm)
        elif plant.takes_pods(plant.nodes[node]):
            vm.qemu.discard(node)
            kubevirt.launcher_gone(plant, vm)
            self._mirror.show_vm(vm)
        else:
            self._mirror.deleting.add(vm.pod)
            self._mirror.show_vm(vm)

    def _forced(self, pod: str, node: str, boot: Boot) -> None:
        """Note the force-delete, if a stored proof covers it."""
        if not self._warrants.covers(boot, self._plant.now):
            raise rules.Broken(
                f"{self._plant.now:.2f}: the force-delete of {pod} without a stored proof for {boot}"
            )
        rules.of_no_namesake(self._plant, boot, pod, slack=HEARD_WITHIN)
        self._memory.forced.append((pod, node))

    def _instance_deleted(self, found: Json, _options: Json) -> None:
        meta = found["metadata"]
        vm = self._plant.vms[meta["name"]]
        if self.watch is not None and (boot := self._cause(vm.name)) is not None:
            if not self._warrants.covers(boot, self._plant.now):
                raise rules.Broken(
                    f"{self._plant.now:.2f}: the instance of {vm.name} is deleted without a stored proof for {boot}"
                )
            if any(r.boot == boot and r.proofs for r in self._memory.stored.values()):
                # Else it was sent under a proof, and overtaken by its end.
                self.watch.asked(boot, DeleteVmi(GUESTS, vm.name, meta["uid"]))
        stands = vm.kept or vm.phase != "Failed"
        if meta["uid"] != vm.uid or not stands:
            return
        self._plant.time.say(f"delete: the {'ended' if vm.kept else 'stuck'} instance of {vm.name}")
        if vm.late_start and not vm.qemu:
            vm.phase, vm.deleting, vm.lock_refused_at, vm.qemu = ("Running", True, None, {vm.node})
            self._plant.time.after(0.5, lambda: kubevirt.instance_gone(self._plant, vm))
        else:
            kubevirt.instance_gone(self._plant, vm)
        self._mirror.show_vm(vm)

    def _vm(self, _before: Json, wanted: Json) -> None:
        vm = self._plant.vms[wanted["metadata"]["name"]]
        requests = wanted["status"].get("stateChangeRequests", [])
        if "Start" not in [r["action"] for r in requests] or vm.asked:
            return
        stop_uid = next((r["uid"] for r in requests if r["action"] == "Stop"), "")
        if self.watch is not None and (boot := self._cause(vm.name)) is not None:
            self.watch.asked(boot, RequestStart(GUESTS, vm.name, f"vm-{vm.name}"))
        self._plant.time.say(f"start: {vm.name}")

        def start() -> None:
            kubevirt.ask_start(vm, stop_uid)
            self._mirror.written_over(vm)

        self._plant.time.after(STARTS, start)

    def _cause(self, vm: str) -> Boot | None:
        """The boot of the open incident that is about this VM."""
        return next((r.boot for r in self._memory.open if vm in {v.name for v in r.vms}), None)

    # --- the storage's fence --------------------------------------------------------------------------------------------

    def _fence(self, before: Json, wanted: Json) -> None:
        plant = self._plant
        name, node = wanted["metadata"]["name"], wanted["metadata"]["annotations"]["ringfence.io/node"]
        state = wanted["spec"]["fenceState"]
        if not before:
            record = self.incident(node)
            if record is None:
                raise rules.Broken(f"{plant.now:.2f}: ceph is ordered to cut {node} without an incident")
            rules.cut_fits(plant, self._memory, "ceph", record)
            plant.time.say(f"order: ceph cut {node} off")
            plant.cutting.add(node)
            needs = power.SLOW if plant.cutters[node].mode == "slow" else CUTS
            plant.time.after(needs, lambda: self._shut(name, node))
        elif state == "Unfenced" and before["spec"]["fenceState"] != "Unfenced":
            rules.may_be_lifted(plant, node)
            plant.time.say(f"order: ceph let {node} in again")
            plant.time.after(CUTS, lambda: self._let_in(name, node))

    def _shut(self, name: str, node: str) -> None:
        found = self._server.find("networkfences", name)
        if found is None or found["spec"]["fenceState"] != "Fenced":
            self._plant.cutting.discard(node)
            return
        power.shut(self._plant, node, out=True)
        if self._plant.nodes[node].shut_out:
            self._server.put("networkfences", name, {**found, "status": _CUT})

    def _let_in(self, name: str, node: str) -> None:
        power.shut(self._plant, node, out=False)
        found = self._server.find("networkfences", name)
        if found is not None:
            self._server.put("networkfences", name, {**found, "status": _LIFTED})


def _record(raw: Json) -> Record | None:
    """What is stored, with the leader's own instants: in virtual time all clocks are one."""
    failover = Failover.model_validate(raw)
    record = records.record_of(failover, 0.0, 1.0, 0.0, 0.0)
    if record is None:
        return None
    orders = tuple(
        replace(
            order,
            sent_at=parse(said.sent_at or "") - VirtualClock.WALL,
            effective_until=parse(said.effective_until or "") - VirtualClock.WALL,
        )
        for order, said in zip(record.orders, failover.status.orders or (), strict=True)
    )
    return replace(record, orders=orders)
