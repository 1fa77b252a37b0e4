"""A virtual world for stories: nodes, BMCs and a KubeVirt that behaves as measured, driven by the real core.

Time is a number that this module advances; nothing sleeps, nothing is random. The controller here is the real verdict
table, limits, ladder and machine; only its shell is replaced by a dozen lines that *store first and act after*.
Invariants (DESIGN §6) are checked on every tick.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ringfence.controller.chassis import orders_at
from ringfence.controller.devices import mismatch
from ringfence.controller.targets import DeviceTarget
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER, Evidence, Life, Ready, RingEvidence, SlotEvidence
from ringfence.core.detection.verdict import judge, slot_due
from ringfence.core.failover import commands, limits, machine
from ringfence.core.failover.cut import LiftCut
from ringfence.core.failover.look import Confirmation, Look
from ringfence.core.failover.node_lease import (
    HOLDER,
    Held,
    NodeLeaseLook,
    ReleaseNodeLease,
    TakeNodeLease,
    foreign,
)
from ringfence.core.failover.phase import ENDED, PROVED, Phase
from ringfence.core.failover.record import PodRef, Record, VmRecord
from ringfence.core.failover.recovery import (
    AttachmentLook,
    DeletePod,
    DeleteVmi,
    PodLook,
    PodRole,
    RecoveryCommand,
    RequestStart,
    VmiLook,
    VmLook,
)
from ringfence.core.fencing.chassis import Chassis
from ringfence.core.fencing.orders import Action, LookOnceMore, Order, OrderOff, ReadPower, RevokeAgentLease
from ringfence.core.fencing.proof import CutVm, Reading, StorageCut
from ringfence.core.fencing.rungs import DeviceLook, Rungs
from ringfence.core.fencing.slotwatch import SlotState, silence_of
from ringfence.core.model import Boot, Mode, PowerState, RingState, Verdict
from ringfence.ports import DeviceSpec
from scenarios.candidates import Candidates
from scenarios.watchdogs import Dog, Kennel, Situation

TICK = 0.05
HOLD = 2.0
VERDICT_AFTER = 0.7
"""What the ring needs from a crash to its votes."""
KUBEVIRT_NEEDS = 3.5
"""From a launcher that is gone to the new instance Running (KUBEVIRT §7)."""
BOOT_NEEDS = 8.0
LEASE_TAKES = timing.LEASE_DURATION
SLOT_INTERVAL = 1.0
SLOW = 8.0
"""What a slow device needs for an order."""
ATTACH_NEEDS = 0.7
"""Detaching a volume from a node that is out of service, or attaching it (KUBEVIRT §1)."""
FORCE_DETACH_AFTER = 360.0
"""What Kubernetes waits for an unmount by a kubelet that is no more, without the out-of-service taint."""


@dataclass
class Node:
    name: str
    boot: int = 1
    powered: bool = True
    linked: bool = True
    agent: bool = True
    kubelet: bool = True
    api: bool = True
    suspect: bool = False
    out_of_service: bool = False
    foreign_taint: bool = False
    """That taint is somebody else's."""
    silent_since: float | None = None
    booted_at: float = NEVER
    known_boot: str = ""
    """The boot id that the API server has last been told."""
    storage: bool = True
    """Its path to the shared storage."""
    slot: tuple[str, int] = ("", 0)
    """Boot and sequence on the heartbeat volume, where there is one."""
    slot_seen: tuple[str, int] = ("", 0)
    slot_looked_at: float = NEVER
    slot_moved: tuple[float, float] = (NEVER, NEVER)
    """After when and before when its last write came, as the others saw it."""
    word: str = ""
    """The boot that is told beside its slot that it is fenced."""
    shut_out: bool = False
    """The storage lets it at none of the disks behind the fence."""
    outlet: bool = True
    """Its outlet at the PDU, where it has one, is on."""
    switched_off: bool = False
    """Its BMC has been told to keep it off."""
    guests: frozenset[str] | None = None
    """What its agent has reported last of its guests, and when that was seen to change."""
    guests_at: float = NEVER

    @property
    def identity(self) -> Boot:
        return Boot(self.name, f"uid-{self.name}", f"boot-{self.boot}-{self.name}")

    @property
    def known(self) -> Boot:
        """The boot that the controller knows of."""
        return replace(self.identity, boot_id=self.known_boot or self.identity.boot_id)

    @property
    def kernel_answers(self) -> bool:
        return self.powered and self.linked


@dataclass
class Bmc:
    mode: str = "ok"
    readings: list[Reading] = field(default_factory=list)
    error: str | None = None
    next_try_at: float = NEVER
    called_off_at: float | None = None
    ordered: bool = False
    lied: bool = False
    orders: int = 0
    effective_until: float = NEVER
    another: str = ""
    """The node before which it stands in truth, where the settings name the wrong one."""


@dataclass
class Vm:
    name: str
    node: str
    strategy: str = "Always"
    stopped: bool = False
    vmi: int = 1
    phase: str = "Running"
    pod: str = ""
    launcher_on: str = ""
    released_at: float | None = None
    lock_refused_at: float | None = None
    late_start: bool = False
    """Its stuck instance tries again just when it is deleted, and is Running for its last half second."""
    deleting: bool = False
    kept: bool = False
    """Its ended instance stands there as Failed, and KubeVirt makes no other while it does (Once, Manual)."""
    asked: bool = False
    """A start is requested."""
    gone: bool = False
    """There is no instance, and KubeVirt makes none before it is asked to (RerunOnFailure, Manual)."""
    qemu: set[str] = field(default_factory=set)
    """Nodes on which a QEMU of this VM runs."""


@dataclass
class Volume:
    """A volume that has to be attached to the node of its VM's launcher; ``shared``: to several at once."""

    shared: bool
    attached: set[str]
    unwanted_since: dict[str, float] = field(default_factory=dict)
    wanted_since: float | None = None


class Broken(AssertionError):
    """An invariant does not hold."""


@dataclass
class LadderSetup:
    """A second level of PDUs below the BMCs, and what the zone and the chassis say."""

    pdus: dict[str, str] = field(default_factory=dict)
    """Node: how its PDU behaves."""
    hedges: tuple[float | None, ...] = ()
    delay: float = 0.0
    most_at_once: int | None = None
    """All devices are behind one chassis, which takes so many orders at once."""


class World:
    """One cluster in virtual time. ``log`` is the story as it was told."""

    def __init__(
        self,
        nodes: list[str],
        vms: dict[str, str],
        bmcs: dict[str, str | None],
        mode: str,
        volumes: dict[str, str] | None = None,
        kennel: Kennel | None = None,
        *,
        heartbeat: dict[str, bool] | None = None,
        storage_fence: list[str] | None = None,
        node_leases: bool = False,
        ladder: LadderSetup | None = None,
        controllers: list[str] | None = None,
    ) -> None:
        self.now = 0.0
        self.node_leases = node_leases
        """Other remediators of the cluster go by Leases, and so do we."""
        self.leases: dict[str, Held] = {}
        self.leases_answer = True
        self.lease_asked: dict[str, float] = {}
        self.ladder = ladder or LadderSetup()
        self.pdus = {n: Bmc(mode) for n, mode in self.ladder.pdus.items()}
        self.election = Candidates(controllers) if controllers else None
        self.storage_fence = storage_fence
        """The VMs whose disks are behind a storage that can shut a node out; None: there is no such device."""
        self.cutters: dict[str, Bmc] = {n: Bmc() for n in nodes} if storage_fence is not None else {}
        self.heartbeat = heartbeat is not None
        self.stop_guests = (heartbeat or {}).get("stopGuests", False)
        self.nodes = {n: Node(n) for n in nodes}
        self.bmcs = {n: Bmc(m) for n in nodes if (m := bmcs.get(n, "ok")) is not None}
        self.vms = {
            v: Vm(v, node, pod=f"pod-{v}-1", launcher_on=node, qemu={node}) for v, node in vms.items()
        }
        self.last_run = {v: vm.node for v, vm in self.vms.items()}
        self.volumes = {
            v: Volume(shared=kind == "rwx", attached={vms[v]}) for v, kind in (volumes or {}).items()
        }
        self.csi_detaches = True
        self.mode = Mode(mode)
        self.kennel = kennel
        self.log: list[str] = []
        self.stored: dict[str, Record] = {}
        self.confirmed: dict[str, tuple[Confirmation, float]] = {}
        self.leaderless_until = NEVER
        self.die_after: str | None = None
        self.forced: list[tuple[str, str]] = []
        self.seen: dict[str, float] = {}
        self._down_since: dict[str, float] = {}
        self._life: dict[str, Life] = {n: Life() for n in nodes}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._working: set[object] = set()
        self._phase_since: dict[str, float] = {}
        self._powered_on: dict[str, float] = {}
        self._apart: set[str] = set()
        self._at_chassis: list[str] = []
        """Devices behind the chassis whose order it has not answered or carried out yet, whoever gave it."""

    # --- faults ----------------------------------------------------------------------------------------

    def do(self, words: list[str]) -> None:
        """One line of a script."""
        self.say("fault: " + " ".join(words))
        what, *rest = words
        match what:
            case "power-cut":
                self._power(rest[0], on=False)
            case "power-on":
                self.nodes[rest[0]].switched_off, self.nodes[rest[0]].outlet = False, True
                self._power(rest[0], on=True)
            case "power-gap":
                self._power(rest[0], on=False)
                self.after(float(rest[1]), lambda: self._boots_unseen(rest[0]))
            case "cut":
                self.nodes[rest[0]].linked = False
            case "heal":
                self.nodes[rest[0]].linked = True
                self.nodes[rest[0]].silent_since = None
            case "kill-agent":
                self.nodes[rest[0]].agent = False
            case "start-agent":
                self.nodes[rest[0]].agent = True
                self._dogs[rest[0]].restart_agent(self.now)
            case "thaw-agent":
                self.nodes[rest[0]].agent = True
            case "upgrade-agent":
                self._dogs[rest[0]].disarming = True
                self.after(2.0, lambda: setattr(self.nodes[rest[0]], "agent", False))
                self.after(7.0, lambda: self.do(["start-agent", rest[0]]))
            case "kill-feeder":
                self._dogs[rest[0]].feeding = False
            case "start-feeder":
                self._dogs[rest[0]].restart_feeder(self.now)
            case "no-teeth":
                self._dogs[rest[0]].teeth = False
            case "kill-kubelet":
                self.nodes[rest[0]].kubelet = False
            case "start-kubelet":
                self.nodes[rest[0]].kubelet = True
            case "cut-api":
                self.nodes[rest[0]].api = False
            case "heal-api":
                self.nodes[rest[0]].api = True
            case "cut-storage":
                self.nodes[rest[0]].storage = False
            case "heal-storage":
                self.nodes[rest[0]].storage = True
            case "lift":
                self.nodes[rest[0]].shut_out = False
            case "unfence":
                # Somebody sets it to Unfenced and leaves it there: it never reads `on`.
                self.nodes[rest[0]].shut_out, self.cutters[rest[0]].mode = False, "unfenced"
            case "storage-fence":
                self.cutters[rest[0]].mode = rest[1]
            case "bmc":
                self.bmcs[rest[0]].mode = rest[1]
            case "pdu":
                self.pdus[rest[0]].mode = rest[1]
            case "swap-bmcs":
                self.bmcs[rest[0]].another, self.bmcs[rest[1]].another = rest[1], rest[0]
            case "freeze":
                self.nodes[rest[0]].linked = self.nodes[rest[0]].storage = False
            case "thaw":
                self.nodes[rest[0]].linked = self.nodes[rest[0]].storage = True
            case "freeze-leader-when":
                assert self.election is not None
                self.election.freeze_when = rest[0]
            case "thaw-leader":
                self._thaw()
            case "stop-vm":
                self.vms[rest[0]].stopped = True
            case "force-delete-launcher":
                self._launcher_gone(self.vms[rest[0]])
            case "late-start":
                self.vms[rest[0]].late_start = True
            case "halt":
                vm = self.vms[rest[0]]
                vm.strategy, vm.stopped, vm.gone, vm.phase, vm.pod, vm.launcher_on = (
                    "Halted",
                    True,
                    True,
                    "",
                    "",
                    "",
                )
                vm.qemu.clear()
            case "strategy":
                self.vms[rest[0]].strategy = rest[1]
            case "kill-leader-when":
                self.die_after = rest[0]
            case "kill-leader":
                self._new_leader()
            case "minority":
                self._apart = set(rest)
            case "csi":
                self.csi_detaches = rest[0] == "ok"
            case "mode":
                self.mode = Mode(rest[0])
            case "lease":
                self.leases[rest[0]] = Held(rest[1], self.now, float(rest[2]))
            case "leases":
                self.leases_answer = rest[0] == "ok"
            case "taint":
                self.nodes[rest[0]].out_of_service = self.nodes[rest[0]].foreign_taint = True
            case "untaint":
                self.nodes[rest[0]].out_of_service = self.nodes[rest[0]].foreign_taint = False
            case "confirm":
                name = next(
                    n for n, r in self.stored.items() if r.boot.node == rest[0] and r.phase not in ENDED
                )
                self.confirmed[name] = (Confirmation("I pulled the plug", "kim", self.now), self.now)
            case _:
                raise ValueError(f"no such fault: {what}")

    def _power(self, name: str, *, on: bool) -> None:
        node = self.nodes[name]
        if on and not node.powered and node.outlet and not node.switched_off:
            node.powered, node.linked, node.boot, node.booted_at = (
                True,
                True,
                node.boot + 1,
                self.now + BOOT_NEEDS,
            )
            node.silent_since, node.known_boot = None, node.identity.boot_id
        elif not on:
            node.powered = False
            for vm in self.vms.values():
                vm.qemu.discard(name)

    @property
    def _dogs(self) -> dict[str, Dog]:
        return self.kennel.dogs if self.kennel is not None else {}

    def _reset(self, name: str) -> None:
        """What a watchdog does: off and on again; a cable that is out stays out, and the new boot unknown."""
        self.say(f"world: {name}'s watchdog resets it")
        self._power(name, on=False)
        self._boots_unseen(name)

    def _boots_unseen(self, name: str) -> None:
        node = self.nodes[name]
        node.known_boot = node.known.boot_id
        node.powered, node.boot, node.booted_at = True, node.boot + 1, self.now + BOOT_NEEDS

    def _watch_over(self, node: Node) -> None:
        dog = self._dogs.get(node.name)
        if dog is None:
            return
        others = [n for n in self.nodes.values() if n is not node and self._up(n) and n.agent]
        running = node.powered and self.now >= node.booted_at
        reached = len(others) + 1 if node.linked else 1
        before, boot = dog.feeder.running, dog.boot
        what = dog.tick(
            Situation(
                self.now,
                node.identity,
                up=running,
                agent=node.agent,
                most_answer=2 * reached > len(self.nodes),
                api_answers=node.linked and node.api,
                slot_written=node.storage
                and node.word != node.identity.boot_id
                and any(n.storage for n in self.nodes.values() if n is not node and self._up(n)),
            )
        )
        if dog.feeder.running != before and boot in (None, dog.boot):
            self.say(f"world: {node.name}'s watchdog is {'armed' if dog.feeder.running else 'disarmed'}")
        if what == "bite":
            self._reset(node.name)
        elif what == "stop":
            for vm in self.vms.values():
                if node.name in vm.qemu:
                    vm.qemu.discard(node.name)
                    self.say(f"world: {vm.name} is stopped on {node.name} ({dog.why})")

    def say(self, line: str) -> None:
        self.log.append(f"{self.now:7.2f} {line}")

    # --- time ------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """One tick: the world moves, then the controller looks."""
        self.now = round(self.now + TICK, 3)
        due = [f for at, f in self._later if at <= self.now]
        self._later = [(at, f) for at, f in self._later if at > self.now]
        for act in due:
            act()
        for node in self.nodes.values():
            self._live(node)
            if self.heartbeat:
                self._beat(node)
            if self._up(node) and node.agent and node.api:
                self._report(node)
            self._watch_over(node)
        for name, volume in self.volumes.items():
            self._attach_detach(name, volume)
        for vm in self.vms.values():
            self._kubevirt(vm)
        if self.election is not None:
            self._elect(self.election)
        elif self.now >= self.leaderless_until:
            self._controller()
        self.check()

    def after(self, delay: float, act: Callable[[], None]) -> None:
        self._later.append((self.now + delay, act))

    def _up(self, node: Node) -> bool:
        return node.kernel_answers and self.now >= node.booted_at

    def _live(self, node: Node) -> None:
        life = self._life[node.name]
        up = self._up(node)
        if up and node.agent:
            node.silent_since = None
            life = replace(life, packet=self.now)
        elif node.silent_since is None:
            node.silent_since = self.now
        dog = self._dogs.get(node.name)
        revoked = dog is not None and dog.revoked == node.identity
        if up and node.agent and node.api and not revoked and round(self.now / TICK) % round(5 / TICK) == 0:
            life = replace(life, agent_lease=self.now)
        if up and node.kubelet and node.api and round(self.now / TICK) % round(10 / TICK) == 0:
            life = replace(life, kubelet_lease=self.now)
        if up and (node.agent or node.kubelet) and node.api:
            node.known_boot = node.identity.boot_id
        if node.kernel_answers and node.silent_since is not None:
            life = replace(life, kernel=self.now)
        self._life[node.name] = life

    def _every(self, seconds: float) -> bool:
        return round(self.now / TICK) % round(seconds / TICK) == 0

    def _beat(self, node: Node) -> None:
        """The node writes its slot and reads its word; the others look."""
        runs = node.powered and node.storage and self.now >= node.booted_at
        boot = node.identity.boot_id
        if runs and self._every(SLOT_INTERVAL):
            guests = [vm for vm in self.vms.values() if node.name in vm.qemu]
            stops = node.word == boot and self.stop_guests
            if stops and guests:
                self.say(
                    f"world: {node.name} reads that it is fenced and kills {', '.join(vm.name for vm in guests)}"
                )
                for vm in guests:
                    vm.qemu.discard(node.name)
            if not stops:
                node.slot = (boot, node.slot[1] + 1)
        others = [n for n in self.nodes.values() if n is not node and self._up(n) and n.storage]
        if not others or not self._every(timing.SLOT_LOOK):
            return
        if node.slot != node.slot_seen and node.slot_looked_at > NEVER:
            node.slot_moved = (node.slot_looked_at, self.now)
            life = self._life[node.name]
            # The slot of a boot that is not known yet is a sign of life too (heartbeats.py).
            if node.slot[0] in (boot, node.known.boot_id):
                self._life[node.name] = replace(life, slot=self.now)
        node.slot_seen, node.slot_looked_at = node.slot, self.now

    def _report(self, node: Node) -> None:
        """The kubelet has ended what was deleted from under it; the agent reports its guests on change."""
        for vm in self.vms.values() if self.storage_fence is not None else ():
            if node.name in vm.qemu and vm.launcher_on != node.name and node.kubelet:
                self.say(f"world: the kubelet of {node.name} ends the old guest of {vm.name}")
                vm.qemu.discard(node.name)
        guests = frozenset(f"default_{vm.name}" for vm in self.vms.values() if node.name in vm.qemu)
        if guests != node.guests:
            node.guests, node.guests_at = guests, self.now

    def _writers(self, vm: Vm) -> set[str]:
        """Nodes from which a guest of the VM can write to its disk."""
        behind = self.storage_fence is not None and vm.name in self.storage_fence
        return {name for name in vm.qemu if not (behind and self.nodes[name].shut_out)}

    def _slot(self, node: Node) -> SlotEvidence:
        if not self.heartbeat or node.slot_seen[0] not in (node.identity.boot_id, node.known.boot_id):
            return SlotEvidence()
        after, at = node.slot_moved
        silence = silence_of(SLOT_INTERVAL)
        if self.now - at <= silence:
            return SlotEvidence(SlotState.MOVING, SLOT_INTERVAL, after)
        if self.now - node.slot_looked_at > silence:
            return SlotEvidence(SlotState.UNREAD, SLOT_INTERVAL, after)
        return SlotEvidence(SlotState.SILENT, SLOT_INTERVAL, after, at)

    def _launcher_gone(self, vm: Vm) -> None:
        vm.pod, vm.launcher_on, vm.released_at, vm.phase = "", "", self.now, "Failed"
        vm.lock_refused_at, vm.deleting = None, False
        vm.kept = vm.strategy in ("Once", "Manual")

    def _instance_gone(self, vm: Vm) -> None:
        """An instance that was deleted: the strategies that only watch for failures don't start another."""
        vm.qemu.discard(vm.node)
        self._launcher_gone(vm)
        vm.gone, vm.kept = vm.strategy in ("RerunOnFailure", "Manual"), False

    def _attach_detach(self, name: str, volume: Volume) -> None:
        """Kubernetes' attach-detach controller and a CSI driver behind it."""
        wanted = self.vms[name].launcher_on
        for node in sorted(volume.attached - {wanted}):
            since = volume.unwanted_since.setdefault(node, self.now)
            here = self.nodes[node]
            waits = (
                ATTACH_NEEDS
                if here.out_of_service or (self._up(here) and here.kubelet)
                else FORCE_DETACH_AFTER
            )
            if self.csi_detaches and self.now - since >= waits:
                volume.attached.discard(node)
                del volume.unwanted_since[node]
                self.say(f"world: the volume of {name} is detached from {node}")
        if not wanted or wanted in volume.attached or (volume.attached and not volume.shared):
            volume.wanted_since = None
        elif volume.wanted_since is None:
            volume.wanted_since = self.now
        elif self.now - volume.wanted_since >= ATTACH_NEEDS:
            volume.attached.add(wanted)
            self.say(f"world: the volume of {name} is attached to {wanted}")

    def _attachments(self, node: str) -> tuple[AttachmentLook, ...]:
        return tuple(
            AttachmentLook(f"csi-{name}", f"pv-{name}", wanted=self.vms[name].launcher_on == node)
            for name, volume in self.volumes.items()
            if node in volume.attached
        )

    def _kubevirt(self, vm: Vm) -> None:
        """KubeVirt's part, as measured (KUBEVIRT §1, §7)."""
        home = self.nodes.get(vm.launcher_on)
        if (
            vm.phase == "Running"
            and not vm.qemu
            and home is not None
            and self._up(home)
            and home.kubelet
            and home.api
        ):
            self._launcher_gone(vm)  # its QEMU was killed: the kubelet tells
        if vm.released_at is None or self.now - vm.released_at < 0.5:
            return
        if vm.phase == "Failed":
            if vm.stopped or vm.gone or vm.kept:
                return
            ready = [n for n in self.nodes.values() if self._up(n) and not n.suspect and not n.out_of_service]
            free = [n for n in ready if n.name != vm.node] or ready
            if not free:
                return
            vm.vmi, vm.phase, vm.node = vm.vmi + 1, "Scheduled", free[0].name
            vm.pod, vm.launcher_on = f"pod-{vm.name}-{vm.vmi}", vm.node
            vm.lock_refused_at, vm.asked = None, False
        elif (
            vm.phase == "Scheduled"
            and vm.lock_refused_at is None
            and (vm.name not in self.volumes or vm.node in self.volumes[vm.name].attached)
            and self.now - vm.released_at >= KUBEVIRT_NEEDS
        ):
            if self._writers(vm):
                vm.lock_refused_at = self.now  # QEMU's image lock: refused, and nobody tries again
            else:
                vm.phase, vm.released_at = "Running", None
                vm.qemu = vm.qemu | {vm.node}
                self.last_run[vm.name] = vm.node
                self.say(f"world: {vm.name} runs on {vm.node}")

    # --- the controller's shell --------------------------------------------------------------------------

    def _new_leader(self) -> None:
        """The leader dies; the next one has only what is stored, and its own instants."""
        self.leaderless_until = self.now + LEASE_TAKES
        self._forget(self.leaderless_until)
        self.say("controller: the leader is dead")

    def _forget(self, takeover: float) -> None:
        self._working.clear()
        if self.kennel is not None:
            self.kennel.new_leader()
        for bmc in (*self.bmcs.values(), *self.pdus.values(), *self.cutters.values()):
            bmc.readings, bmc.error, bmc.next_try_at = [], None, NEVER
        for name, record in self.stored.items():
            orders = tuple(
                replace(o, sent_at=takeover, effective_until=takeover + timing.ORDER_EFFECT)
                for o in record.orders
            )
            proofs = tuple(replace(p, seen_at=self.seen.get(name, self.now) - 1.0) for p in record.proofs)
            begun = tuple(replace(b, at=takeover) for b in record.begun)
            self.stored[name] = replace(record, orders=orders, proofs=proofs, begun=begun)

    def _elect(self, candidates: Candidates) -> None:
        """The replicas keep or win the Lease; a new leader knows what is stored, and begins with an empty mind."""
        up = {n for n, node in self.nodes.items() if node.powered and node.api and self.now >= node.booted_at}
        accused = {n for n in up if judge(self._evidence(self.nodes[n]), self.now).verdict is Verdict.DOWN}
        for line in candidates.turn(self.now, up, accused):
            self.say(f"controller: {line}")
        if candidates.leader != candidates.led:
            candidates.led = candidates.leader
            if candidates.leader:
                self._forget(self.now)
        if candidates.leader:
            self._controller()

    def _thaw(self) -> None:
        """A frozen leader goes on where it stood: with what it had decided, and the deadline that it had then."""
        assert self.election is not None
        candidates, thawed = self.election, self.election.frozen
        assert thawed is not None
        candidates.frozen = None
        for command in thawed.commands:
            if isinstance(command, OrderOff) and self.now > thawed.deadline:
                self.say(
                    f"controller: {thawed.who} thaws: its order to {command.device} is too late, it is not sent"
                )
            elif isinstance(command, OrderOff):
                self._run(thawed.record, command)
        if self.stored[thawed.record.name] != thawed.record:
            self.say(
                f"controller: {thawed.who} thaws: its write is refused, another has written {thawed.record.name}"
            )

    def _evidence(self, node: Node) -> Evidence:
        ring = RingEvidence(state=RingState.ALIVE)
        if node.silent_since is not None:
            silent = self.now - node.silent_since
            peers = [n.name for n in self.nodes.values() if n is not node and self._up(n) and n.agent]
            if node.kernel_answers:
                ring = RingEvidence(
                    state=RingState.AGENT_DOWN if silent > VERDICT_AFTER else RingState.DOUBTED
                )
            elif silent < VERDICT_AFTER or not peers:
                ring = RingEvidence(state=RingState.DOUBTED, doubted_at=node.silent_since + 0.2)
            else:
                ring = RingEvidence(
                    state=RingState.UNREACHABLE,
                    sentence=f"{len(peers)} of {len(peers)} peers: {', '.join(peers)}",
                    voters=tuple(peers),
                    single=len(peers) == 1,
                    doubted_at=node.silent_since + 0.2,
                    round_at=max(node.silent_since + 0.4, self.now - 1.0),
                )
        ready = Ready.TRUE if node.kubelet and node.api and self._up(node) else Ready.UNKNOWN
        return Evidence(node.known, ring, self._life[node.name], ready, has_agent=True, slot=self._slot(node))

    def _controller(self) -> None:
        verdicts = {n: judge(self._evidence(node), self.now) for n, node in self.nodes.items()}
        for name, judgement in verdicts.items():
            if judgement.verdict is Verdict.DOWN:
                self._down_since.setdefault(name, self.now)
            else:
                self._down_since.pop(name, None)
        open_ = {r.boot.node: n for n, r in self.stored.items() if r.phase not in ENDED}
        for node in self.nodes.values():
            if node.word and node.name not in open_:
                self.say(f"word: to {node.name}: taken back")
                node.word = ""
        for name, judgement in verdicts.items():
            node = self.nodes[name]
            if judgement.verdict is Verdict.DOWN and name not in open_ and self._affected(name):
                look = self._look(node.known, None)
                evidence = self._evidence(node)
                record = machine.open_failover(
                    f"{name}-{len(self.stored) + 1}",
                    node.known,
                    evidence.ring.doubted_at,
                    look,
                    evidence.ring.voters,
                )
                self._store(record, None)
        opened = [r for r in self.stored.values() if r.phase not in ENDED]
        for name in [r.name for r in sorted(opened, key=machine.precedence)]:
            for _ in range(8):
                before = self.stored[name]
                step = machine.step(before, self._look(before.boot, before))
                if step.record.power_on_tries > before.power_on_tries:
                    self._powered_on[name] = self.now
                if step.record != before and self._store(step.record, before):
                    if self.election is not None:
                        self.election.freeze(step.record, step.commands)
                    return  # the leader died after the store and before the act
                for command in step.commands:
                    self._run(step.record, command)
                if step.record == before:
                    break

    def _store(self, record: Record, before: Record | None) -> bool:
        self.stored[record.name] = record
        if record.proofs:
            self.seen.setdefault(record.name, self.now)
        if before is None or (before.phase, before.sentence) != (record.phase, record.sentence):
            self.say(f"{record.phase}: {record.sentence}")
        if record.phase in ENDED and self.kennel is not None:
            self.kennel.forget(record.boot.node)
        if before is None or before.phase != record.phase:
            self._phase_since[record.name] = self.now
            if self.election is not None and self.election.freeze_when == record.phase:
                return True
            if self.die_after == record.phase:
                self.die_after = None
                self._new_leader()
                return True
        return False

    def _affected(self, node: str) -> tuple[VmRecord, ...]:
        found = []
        for vm in self.vms.values():
            here = vm.node == node and vm.phase in ("Running", "Scheduled")
            stuck = vm.phase != "Running" and vm.node != node and self.last_run[vm.name] == node
            if not vm.stopped and (here or stuck):
                found.append(
                    VmRecord("default", vm.name, f"vm-{vm.name}", f"vmi-{vm.name}-{vm.vmi}" if here else "")
                )
        return tuple(found)

    def _look(self, boot: Boot, record: Record | None) -> Look:
        node = self.nodes[boot.node]
        judgement = judge(self._evidence(node), self.now)
        open_records = [r for r in self.stored.values() if r.phase not in ENDED]
        proved = frozenset(r.boot.node for r in open_records if r.phase in PROVED)
        down = frozenset(self._down_since) - proved | {r.boot.node for r in open_records}
        alive = frozenset(
            n.name for n in self.nodes.values() if self._up(n) and n.agent and n.name not in self._apart
        )
        situation = limits.Situation(
            node=boot.node,
            mode=self.mode,
            zone="a",
            zone_trouble=None,
            protected_vms=len(self._affected(boot.node)),
            alive=alive,
            electorate=frozenset(self.nodes) - (proved - {boot.node}),
            zone_size=len(self.nodes),
            storm_fraction=0.4,
            storm_released=False,
            down_in_zone=down,
            in_flight_elsewhere=frozenset(r.boot.node for r in open_records if r.phase not in PROVED)
            - {boot.node},
            fencing=frozenset(r.boot.node for r in open_records if r.phase is Phase.FENCING),
            proved=proved,
            leader_node=self.election.leader if self.election is not None else "-",
            power_devices=boot.node in self.bmcs and boot.node not in self._dogs,
            settled_for=1e9,
            cache_age=0.0,
            writable=True,
            remediator=(lease := self._lease(boot.node)).foreign,
        )
        life = self._life[boot.node] if node.known == boot else Life()
        since = self._down_since.get(boot.node)
        confirm = self.confirmed.get(record.name) if record else None
        name = record.name if record else ""
        phase_since = self._phase_since.get(name, self.now)
        wait = timing.POWER_ON_SPACING if record and record.power_on_tries else 1.0
        passes = record.ladder_pass if record else 0
        affected = self._affected(boot.node)
        pods = self._pods(boot.node)
        return Look(
            now=self.now,
            wall=self.now,
            leader="leader",
            epoch=1,
            judgement=judgement,
            limit=limits.limitation(situation),
            limit_when_found_off=limits.limitation_when_found_off(situation),
            hold_over=since is not None and self.now - since >= HOLD and self.now >= judgement.not_before,
            life_at=self.now if boot == node.known and self._leads(boot.node) else life.latest,
            life_sign=life.latest_sign(),
            node_exists=True,
            current_boot_id=node.known.boot_id if self.now >= node.booted_at else boot.boot_id,
            node_ready=self._up(node) and node.kubelet,
            suspect_taint=node.suspect,
            out_of_service_taint=node.out_of_service,
            levels=self._levels(boot),
            slot_moved_at=life.slot,
            vm_volumes=tuple(
                CutVm(
                    "default",
                    v.name,
                    v.vmi_uid,
                    tuple(p.ref.uid for p in pods if p.vmi_uid == v.vmi_uid),
                    (v.name,),
                )
                for v in (record.vms if record and record.vms else affected)
            ),
            guests=node.guests
            if node.guests_at > self.seen.get(name, self.now) and node.identity == boot
            else None,
            proofs_required=1,
            pods=pods,
            attachments=self._attachments(boot.node),
            vms=tuple(self._vm(v) for v in (record.vms if record and record.vms else affected)),
            affected=affected,
            confirmation=confirm[0] if confirm else None,
            power_on=True,
            power_on_due=self.now - max(self._powered_on.get(name, NEVER), phase_since) >= wait,
            retry_due=self.now - phase_since
            >= timing.LADDER_BACKOFF[min(passes, len(timing.LADDER_BACKOFF) - 1)],
            slot_due=slot_due(self._evidence(node)) if node.known == boot else NEVER,
            hedges=self.ladder.hedges,
            order_delay=self.ladder.delay,
            told_fenced=node.word == boot.boot_id if self.heartbeat else None,
            stop_guests=self.stop_guests,
            foreign_taint=node.foreign_taint,
            node_lease=lease,
        )

    def _lease(self, node: str) -> NodeLeaseLook:
        if not self.node_leases:
            return NodeLeaseLook()
        held, asked = self.leases.get(node), self.lease_asked.get(node)
        valid = held is not None and held.valid(self.now) and self.leases_answer and asked is not None
        ours = held is not None and held.holder == HOLDER and valid
        other = (
            foreign(node, held.holder, f"medik8s-leases/node-{node}") if held and valid and not ours else None
        )
        if other is not None:
            self.lease_asked[node] = asked = self.now
        return NodeLeaseLook(
            used=True,
            ours=ours,
            renewal_due=ours
            and held is not None
            and self.now - (held.renewed or 0.0) >= timing.NODE_LEASE_RENEW,
            foreign=other,
            settled=ours
            or other is not None
            or (asked is not None and self.now - asked >= timing.NODE_LEASE_WAIT),
        )

    def _take_lease(self, node: str) -> None:
        """Anybody's that has expired may be taken; what somebody else holds is seen by asking."""
        self.lease_asked.setdefault(node, self.now)
        held = self.leases.get(node)
        if not self.leases_answer or (held is not None and held.holder != HOLDER and held.valid(self.now)):
            return
        if held is None or held.holder != HOLDER:
            self.say(f"lease: node-{node} is ours")
        self.leases[node] = Held(HOLDER, self.now, timing.NODE_LEASE_DURATION)

    def _release_lease(self, node: str) -> None:
        self.say(f"lease: node-{node} is given back")
        self.leases.pop(node, None)
        self.lease_asked.pop(node, None)

    def _levels(self, boot: Boot) -> Rungs:
        rungs: Rungs = ((self._device(f"bmc-{boot.node}"),),) if boot.node in self.bmcs else ()
        if boot.node in self.pdus:
            rungs = (*rungs, (self._device(f"pdu-{boot.node}"),))
        if boot.node in self.cutters:
            rungs = (*rungs, (self._cutter(boot.node),))
        if self.kennel is not None and boot.node in self.kennel.dogs:
            rungs = (*rungs, (self.kennel.look(boot),))
        return rungs

    def _leads(self, node: str) -> bool:
        return self.election is not None and self.election.leader == node

    def _box(self, device: str) -> Bmc:
        kind, _, node = device.partition("-")
        return (self.pdus if kind == "pdu" else self.bmcs)[node]

    def _device(self, name: str) -> DeviceLook:
        bmc = self._box(name)
        unusable = None
        if bmc.another:
            target = DeviceTarget(DeviceSpec(name, "redfish", ""), (), name[4:], f"uuid-of-{name[4:]}")
            unusable = mismatch(f"uuid-of-{bmc.another}", target)
        return DeviceLook(
            name,
            unusable=unusable.sentence if unusable else None,
            readings=tuple(bmc.readings[-8:]),
            error=bmc.error,
            busy=name in self._working,
            next_try_at=bmc.next_try_at,
            called_off_at=bmc.called_off_at,
            chassis=self._chassis(name),
        )

    def _chassis(self, name: str) -> Chassis | None:
        if self.ladder.most_at_once is None:
            return None
        incidents = [(r.boot, r.orders) for r in self.stored.values() if r.phase not in ENDED]
        chassis = Chassis("10.0.8.9", self.ladder.most_at_once)

        def look(device: str, _node: str) -> DeviceLook:
            box = self._box(device)
            return DeviceLook(
                device, readings=tuple(box.readings), busy=device in self._working, chassis=chassis
            )

        own = self.nodes[name[4:]].known
        others = orders_at(chassis.address, own, incidents, look, self.now)
        return replace(chassis, others=others)

    def _cutter(self, node: str) -> DeviceLook:
        cutter = self.cutters[node]
        return DeviceLook(
            "ceph",
            readings=tuple(cutter.readings[-8:]),
            busy=("ceph", node) in self._working,
            cuts=frozenset(self.storage_fence or ()),
        )

    def _pods(self, node: str) -> tuple[PodLook, ...]:
        return tuple(
            PodLook(
                PodRef("default", vm.pod, vm.pod), PodRole.LAUNCHER, f"vmi-{vm.name}-{vm.vmi}", protected=True
            )
            for vm in self.vms.values()
            if vm.launcher_on == node and vm.pod
        )

    def _vm(self, record: VmRecord) -> VmLook:
        vm = self.vms[record.name]
        refused = None if vm.lock_refused_at is None else self.now - vm.lock_refused_at
        return VmLook(
            "default",
            vm.name,
            record.vm_uid,
            exists=True,
            run_strategy=vm.strategy,
            stopped_by_user=vm.stopped,
            start_requested=vm.asked,
            vmi=None
            if vm.gone
            else VmiLook(f"vmi-{vm.name}-{vm.vmi}", vm.phase, vm.node, refused, vm.deleting),
        )

    # --- commands ---------------------------------------------------------------------------------------

    def _run(self, record: Record, command: commands.Command) -> None:
        node = record.boot.node
        match command:
            case ReadPower(device="ceph"):
                self._storage(node, 0.05, lambda: self._read_cut(node))
            case OrderOff(device="ceph" as device, attempt=attempt):
                self._is_down(node, record)
                self.say(f"order: {device} cut {node} off, attempt {attempt}")
                self._storage(node, 0.5, lambda: self._shut(node, out=True))
            case LiftCut(device=device):
                if self.nodes[node].shut_out and ("ceph", node) not in self._working:
                    self._may_be_lifted(node)
                    self.say(f"order: {device} let {node} in again")
                self._storage(node, 0.5, lambda: self._shut(node, out=False))
            case ReadPower(device=device):
                self._bmc(device, 0.05, lambda: self._read(device))
            case OrderOff(device=device, attempt=attempt):
                self._order_due(device, record)
                self._box(device).ordered = True
                self._box(device).orders += 1
                self.say(f"order: {device} off, attempt {attempt}")
                self._takes_place(device, {"hang": 5.0, "slow": SLOW}.get(self._box(device).mode, 0.1))
                self._bmc(device, 0.1, lambda: self._off(device, node))
            case RevokeAgentLease(device=device):
                assert self.kennel is not None
                self.say(f"revoke: the Lease of the agent of {node}, for {device}")
                self.kennel.revoke(record.boot, self.now)
            case LookOnceMore():
                assert self.kennel is not None
                self.say(f"look: whether anybody hears {node}")
                others = frozenset(
                    n.name for n in self.nodes.values() if n.name != node and self._up(n) and n.agent
                )
                self.kennel.call_roll(
                    record.boot, self.now, others - self._apart, self._life[node].packet, len(self.nodes)
                )
                readers = frozenset(name for name in others if self.nodes[name].storage)
                if self.heartbeat and readers:
                    self.kennel.read_slot(record.boot, self.now, self.nodes[node].slot_moved[1], readers)
            case commands.OrderOn():
                if any(self.now < box.effective_until for box in self._boxes(node)):
                    raise Broken(f"{self.now:.2f}: {node} is powered on while an order off may take effect")
                if (command.device, Action.ON) not in {(o.device, o.action) for o in self._on_record(record)}:
                    raise Broken(f"{self.now:.2f}: {command.device} is ordered on, and that is on no record")
                self.say(f"order: {command.device} on")
                device = command.device
                self._takes_place(device, 0.2)
                self.after(0.2, lambda: self._on(device, node))
            case commands.TellFenced(boot=boot):
                if not record.proofs:
                    self._is_down(node, record)
                self.say(f"word: to {boot}: it is fenced")
                self.nodes[node].word = boot.boot_id
            case TakeNodeLease():
                self._take_lease(node)
            case ReleaseNodeLease():
                self._release_lease(node)
            case commands.AddSuspectTaint():
                self.after(0.03, lambda: setattr(self.nodes[node], "suspect", True))
            case commands.AddOutOfServiceTaint(recover=recover):
                self._proved(recover.boot, "the out-of-service taint")
                if self.nodes[node].foreign_taint:
                    raise Broken(f"{self.now:.2f}: somebody else's taint of {node} is written over")
                self.after(0.03, lambda: setattr(self.nodes[node], "out_of_service", True))
            case commands.RemoveTaints(out_of_service=both):
                left = [a.volume for a in self._attachments(node) if not a.wanted]
                if both and left and self.nodes[node].identity != record.boot:
                    raise Broken(
                        f"{self.now:.2f}: the taints of {node} go while {', '.join(left)} is attached"
                    )
                self.nodes[node].suspect = False
                stays = self.nodes[node].foreign_taint or not both
                self.nodes[node].out_of_service = self.nodes[node].out_of_service and stays
            case commands.RecoverPods(recover=recover, commands=asks):
                for ask in asks:
                    self._recover(recover.boot, ask)

    def _boxes(self, node: str) -> list[Bmc]:
        return [boxes[node] for boxes in (self.bmcs, self.pdus) if node in boxes]

    def _on_record(self, record: Record) -> tuple[Order, ...]:
        return self.stored[record.name].orders

    def _order_due(self, device: str, record: Record) -> None:
        """No order that is on no record, to a node that lives or leads, to a later boot, or beside one of that device."""
        box, node = self._box(device), record.boot.node
        if not any(
            o.device == device and self.now < o.effective_until
            for o in self._on_record(record)
            if o.action is Action.OFF
        ):
            raise Broken(f"{self.now:.2f}: {device} is ordered off, and that is on no record")
        self._is_down(node, record)
        held = self.leases.get(node)
        if self.leases_answer and held is not None and held.holder != HOLDER and held.valid(self.now):
            raise Broken(f"{self.now:.2f}: {node} is ordered off while {held.holder} acts on it")
        if self._leads(node):
            raise Broken(f"{self.now:.2f}: {node} is ordered off by the controller that runs on it")
        if self.now < box.effective_until:
            raise Broken(f"{self.now:.2f}: {device} is ordered off twice within {timing.ORDER_EFFECT} s")
        box.effective_until = self.now + timing.ORDER_EFFECT
        if box.another:
            raise Broken(f"{self.now:.2f}: {device} is ordered, and would cut {box.another}")

    def _takes_place(self, device: str, takes: float) -> None:
        """The chassis has an order more in work, until it has answered; never more than it takes."""
        if self.ladder.most_at_once is None:
            return
        self._at_chassis.append(device)
        working = [d for d in self._at_chassis if d == device or d in self._working or self._gives_power(d)]
        if len(working) > self.ladder.most_at_once:
            raise Broken(f"{self.now:.2f}: orders in work at once: {', '.join(working)}")
        self.after(takes, lambda: self._at_chassis.remove(device))

    def _is_down(self, node: str, record: Record) -> None:
        verdict = judge(self._evidence(self.nodes[node]), self.now)
        if verdict.verdict is not Verdict.DOWN:
            raise Broken(f"{self.now:.2f}: {node} is ordered off: {verdict.sentence}")
        if self.nodes[node].identity != record.boot and self.now >= self.nodes[node].booted_at:
            raise Broken(f"{self.now:.2f}: {node} is ordered off for an earlier boot")

    def _bmc(self, device: str, takes: float, act: Callable[[], None]) -> None:
        if device in self._working:
            return
        self._working.add(device)
        bmc = self._box(device)

        def end() -> None:
            self._working.discard(device)
            if bmc.mode in ("hang", "unauthorized"):
                bmc.error = {"hang": "no answer within 5 s", "unauthorized": "wrong password"}[bmc.mode]
                bmc.next_try_at = self.now + 2.0
                return
            bmc.error = None
            act()

        self.after(5.0 if bmc.mode == "hang" else takes, end)

    def _storage(self, node: str, takes: float, act: Callable[[], None]) -> None:
        key = ("ceph", node)
        if key in self._working:
            return
        self._working.add(key)

        def end() -> None:
            self._working.discard(key)
            act()

        self.after(takes, end)

    def _read_cut(self, node: str) -> None:
        state = PowerState.OFF if self.nodes[node].shut_out else PowerState.ON
        if self.cutters[node].mode == "unfenced":
            state = PowerState.TRANSITION
        self.cutters[node].readings.append(Reading(state, self.now - 0.05, self.now))

    def _shut(self, node: str, *, out: bool) -> None:
        if not (out and self.cutters[node].mode == "ignore"):
            self.nodes[node].shut_out = out
            if self.cutters[node].mode == "unfenced":
                self.cutters[node].mode = "ok"  # what is left of a lifted one goes first

    def _may_be_lifted(self, node: str) -> None:
        """Invariant: whoever lets a node in again lets no old guest at a disk that is in use elsewhere."""
        for vm in self.vms.values():
            if node in vm.qemu and vm.node != node:
                raise Broken(
                    f"{self.now:.2f}: {node} is let in again while an old guest of {vm.name} lives there"
                )

    def _read(self, device: str) -> None:
        bmc = self._box(device)
        lies = bmc.lied or bmc.mode == "says-off"
        state = PowerState.ON if self._gives_power(device) and not lies else PowerState.OFF
        bmc.readings.append(Reading(state, self.now - 0.05, self.now))
        if state is PowerState.OFF and not bmc.ordered:
            bmc.called_off_at = self.now

    def _gives_power(self, device: str) -> bool:
        node = self.nodes[device[4:]]
        return node.outlet if device.startswith("pdu") else node.powered

    def _off(self, device: str, node: str) -> None:
        def cut() -> None:
            if device.startswith("pdu"):
                self.nodes[node].outlet = False
            else:
                self.nodes[node].switched_off = True
            self._power(node, on=False)

        box = self._box(device)
        match box.mode:
            case "ok":
                cut()
            case "slow":
                self.after(SLOW, cut)
            case "lie":
                box.lied = True

    def _on(self, device: str, node: str) -> None:
        """A PDU's outlet gives power back; a machine that its BMC has switched off stays off then."""
        if device.startswith("pdu"):
            self.nodes[node].outlet = True
        else:
            self.nodes[node].switched_off = False
        self._power(node, on=True)

    def _recover(self, boot: Boot, ask: RecoveryCommand) -> None:
        if ask in self._working:
            return
        self._working.add(ask)
        if isinstance(ask, DeletePod) and ask.force:
            self._proved(boot, f"the force-delete of {ask.ref.name}")

        def act() -> None:
            self._working.discard(ask)
            match ask:
                case DeletePod(ref=ref, force=force):
                    vm = next((v for v in self.vms.values() if v.pod == ref.uid), None)
                    if vm is None:
                        return
                    if force:
                        self.forced.append((ref.name, boot.node))
                        self._launcher_gone(vm)
                    elif self._up(self.nodes[boot.node]):
                        vm.qemu.discard(boot.node)
                        self._launcher_gone(vm)
                case DeleteVmi():
                    vm = stuck = self.vms[ask.name]
                    stands = vm.kept or vm.phase != "Failed"
                    if ask.uid == f"vmi-{vm.name}-{vm.vmi}" and stands:
                        self.say(f"delete: the {'ended' if vm.kept else 'stuck'} instance of {vm.name}")
                        if vm.late_start and not vm.qemu:
                            vm.phase, vm.deleting, vm.lock_refused_at, vm.qemu = (
                                "Running",
                                True,
                                None,
                                {vm.node},
                            )
                            self.after(0.5, lambda: self._instance_gone(stuck))
                        else:
                            self._instance_gone(vm)
                case RequestStart():
                    vm = self.vms[ask.name]
                    self.say(f"start: {vm.name}")
                    vm.gone, vm.kept, vm.asked = False, False, True

        self.after(0.03, act)

    # --- invariants -------------------------------------------------------------------------------------

    def _proved(self, boot: Boot, act: str) -> None:
        stored = [p for r in self.stored.values() if r.boot == boot for p in r.proofs]
        if "taint" in act:
            stored = [p for p in stored if not isinstance(p, StorageCut)]
        if not stored:
            raise Broken(f"{self.now:.2f}: {act} without a stored proof for {boot}")

    def check(self) -> None:
        """Invariants 1 and 2 of DESIGN §6; those of orders are checked where an order is sent."""
        for vm in self.vms.values():
            if len(writers := self._writers(vm)) > 1:
                raise Broken(f"{self.now:.2f}: {vm.name} runs on {', '.join(sorted(writers))} at once")
        incidents = {r.boot.node for r in self.stored.values() if r.phase not in ENDED}
        for name, node in self.nodes.items():
            if node.out_of_service and not node.foreign_taint and name not in incidents:
                raise Broken(f"{self.now:.2f}: {name} is out of service without an open incident")
