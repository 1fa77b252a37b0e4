"""The faults of a script, by their words: what each does to the world."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

from ringfence.core.detection.evidence import Life
from ringfence.core.failover.intent import ANNOTATIONS
from ringfence.core.failover.look import Confirmation
from ringfence.core.failover.node_lease import Held
from ringfence.core.failover.phase import ENDED
from ringfence.core.model import Mode
from simulator.system import kubevirt, machines, migrations, users
from simulator.system.control import Control
from simulator.system.memory import Memory
from simulator.system.plant import Plant
from simulator.system.vm import Vm


class Faults:
    def __init__(self, plant: Plant, memory: Memory, controller: Control) -> None:
        self._plant = plant
        self._memory = memory
        self._controller = controller
        self._zones = dict(plant.zones)

    def do(self, words: list[str]) -> None:
        """One line of a script. Raises ValueError where no such fault is known."""
        self._plant.time.say("fault: " + " ".join(words))
        what, *rest = words
        kinds: tuple[Callable[[str, list[str]], bool], ...] = (
            self._machine,
            self._agent,
            self._storage,
            self._device,
            self._api,
            self._controllers,
            self._user,
            self._intent,
        )
        if not any(kind(what, rest) for kind in kinds):
            raise ValueError(f"no such fault: {what}")

    def mend(self) -> None:
        """End whatever is still wrong, but for what a person has done on purpose and what was ordered off."""
        plant, memory = self._plant, self._memory
        for name, node in plant.nodes.items():
            node.linked = node.api = node.peers = node.storage = node.kubelet = True
            node.doubted = node.cordoned = node.suspended = node.evicted = node.shutting_down = False
            node.hangs_since = None
            node.annotations.clear()
            node.marks.clear()
            if node.foreign_taint:
                self._user("untaint", [name])
            if not node.agent:
                self._agent("start-agent", [name])
            if name in plant.dogs and not plant.dogs[name].feeding:
                self._agent("start-feeder", [name])
            if not node.powered:
                machines.power(plant, name, on=True)  # stays off where a device keeps it off
            machines.start_kubelet(node)
        for vm in plant.vms.values():
            vm.blocked = vm.snapshot = vm.restore = ""
        plant.users.clear()
        for box in (*plant.bmcs.values(), *plant.pdus.values()):
            box.mode, box.lied = "ok", False
        for kind, boxes in (("bmc", plant.bmcs), ("pdu", plant.pdus)):
            memory.drilled |= {f"{kind}-{name}": plant.now for name in boxes}
        plant.apart, plant.api_out, plant.write_needs, plant.zone = frozenset(), False, 0.03, True
        plant.outside.clear()
        plant.zones = dict(self._zones)
        plant.maintained.clear()
        plant.placement.capacity.clear()
        memory.newer_roster = False
        plant.csi_detaches = memory.remediators.answer = True
        memory.refusing, memory.refusing_next, memory.cache, memory.mode = 0.0, 0, None, Mode.ACTIVE
        memory.watches_late, memory.admits = 0.0, True
        self._controller.die_after = None
        if memory.election is not None:
            self._controller.thaw()

    def _machine(self, what: str, rest: list[str]) -> bool:
        plant = self._plant
        match what:
            case "mend":
                self.mend()
            case "power-cut":
                machines.power(plant, rest[0], on=False)
            case "power-on":
                plant.nodes[rest[0]].switched_off, plant.nodes[rest[0]].outlet = False, True
                machines.power(plant, rest[0], on=True)
            case "power-gap":
                machines.power(plant, rest[0], on=False)
                plant.time.after(float(rest[1]), lambda: machines.boots_unseen(plant, rest[0]))
            case "cut":
                plant.nodes[rest[0]].linked = False
            case "heal":
                plant.nodes[rest[0]].linked = True
                plant.nodes[rest[0]].silent_since = None
            case "isolate":
                plant.nodes[rest[0]].linked = plant.nodes[rest[0]].api = False
            case "rejoin":
                plant.nodes[rest[0]].linked = plant.nodes[rest[0]].api = True
            case "hibernate":
                machines.hibernate(plant, rest[0])
            case "suspend":
                _suspend(plant, rest[0], runs=False)
            case "resume":
                _suspend(plant, rest[0], runs=True)
            case "hang":
                # Userspace stands still, the kernel answers: a deadlocked disk driver, or no memory.
                plant.nodes[rest[0]].hang(plant.now)
            case "unhang":
                plant.nodes[rest[0]].hang(None)
            case "cut-peers":
                plant.nodes[rest[0]].peers = False
            case "heal-peers":
                plant.nodes[rest[0]].peers = True
            case "doubt":
                plant.nodes[rest[0]].doubted = True
            case "trust":
                plant.nodes[rest[0]].doubted = False
            case "split":
                plant.apart = frozenset(rest[0].split(","))
            case "join":
                plant.apart = frozenset()
            case "freeze":
                plant.nodes[rest[0]].linked = plant.nodes[rest[0]].storage = False
            case "thaw":
                plant.nodes[rest[0]].linked = plant.nodes[rest[0]].storage = True
            case "cut-api":
                plant.nodes[rest[0]].api = False
            case "heal-api":
                plant.nodes[rest[0]].api = True
            case _:
                return False
        return True

    def _agent(self, what: str, rest: list[str]) -> bool:
        plant = self._plant
        match what:
            case "kill-agent":
                plant.nodes[rest[0]].agent = False
            case "start-agent":
                plant.nodes[rest[0]].agent, plant.nodes[rest[0]].left = True, False
                plant.nodes[rest[0]].guests = None  # it reports when it starts
                if rest[0] in plant.dogs:
                    plant.dogs[rest[0]].restart_agent(plant.now)
            case "thaw-agent":
                plant.nodes[rest[0]].agent = True
            case "upgrade-agent":
                plant.nodes[rest[0]].left = True
                if rest[0] in plant.dogs:
                    plant.dogs[rest[0]].disarming = True
                plant.time.after(2.0, lambda: setattr(plant.nodes[rest[0]], "agent", False))
                plant.time.after(7.0, lambda: self.do(["start-agent", rest[0]]))
            case "kill-feeder":
                plant.dogs[rest[0]].feeding = False
            case "start-feeder":
                plant.dogs[rest[0]].restart_feeder(plant.now)
            case "no-teeth":
                plant.dogs[rest[0]].teeth = False
            case "kill-kubelet":
                plant.nodes[rest[0]].kubelet = False
            case "start-kubelet":
                plant.nodes[rest[0]].kubelet = True
                machines.start_kubelet(plant.nodes[rest[0]])
            case _:
                return False
        return True

    def _storage(self, what: str, rest: list[str]) -> bool:
        plant = self._plant
        match what:
            case "cut-storage":
                plant.nodes[rest[0]].storage = False
            case "heal-storage":
                plant.nodes[rest[0]].storage = True
            case "lift":
                plant.nodes[rest[0]].shut_out = False
            case "unfence":
                # Somebody sets it to Unfenced and leaves it there: it never reads `on`.
                plant.nodes[rest[0]].shut_out, plant.cutters[rest[0]].mode = False, "unfenced"
            case "storage-fence":
                plant.cutters[rest[0]].mode = rest[1]
            case "csi":
                plant.csi_detaches = rest[0] == "ok"
            case _:
                return False
        return True

    def _device(self, what: str, rest: list[str]) -> bool:
        plant = self._plant
        match what:
            case "bmc":
                box = plant.bmcs[rest[0]]
                box.mode, box.lied = rest[1], box.lied and rest[1] != "ok"
            case "pdu":
                plant.pdus[rest[0]].mode = rest[1]
            case "swap-bmcs":
                plant.bmcs[rest[0]].another, plant.bmcs[rest[1]].another = rest[1], rest[0]
            case _:
                return False
        return True

    def _api(self, what: str, rest: list[str]) -> bool:
        plant, memory = self._plant, self._memory
        match what:
            case "api-out":
                plant.api_out = True
            case "api-back":
                plant.api_out = False
            case "api-needs":
                plant.write_needs = float(rest[0])
            case "api-refuses":
                memory.refusing = float(rest[0])
            case "api-refuses-next":
                memory.refusing_next = int(rest[0])
            case "watches-late":
                memory.watches_late = float(rest[0])
            case "history-gone":
                memory.compactions += 1
            case "admission":
                memory.admits = rest[0] == "ok"
            case "caches-stand":
                memory.cache_since = plant.now if memory.cache is None else memory.cache_since
                memory.cache = memory.cache or snapshot(plant)
            case "caches-follow":
                memory.cache = None
            case _:
                return False
        return True

    def _controllers(self, what: str, rest: list[str]) -> bool:
        election = self._memory.election
        match what:
            case "freeze-leader-when":
                assert election is not None
                election.freeze_when = rest[0]
            case "kill-controller":
                self._controller.kill(rest[0], float(rest[1]))
            case "stop-controller":
                self._controller.stop(rest[0], float(rest[1]))
            case "thaw-leader":
                self._controller.thaw()
            case "kill-leader-when":
                self._controller.die_after = rest[0]
            case "kill-leader":
                self._controller.new_leader()
            case "backup-when":
                self._controller.backup_when = rest[0]
            case "restore":
                self._controller.restore()
            case "roster":
                self._memory.newer_roster = rest[0] == "newer"
            case "minority":
                self._memory.apart = set(rest)
            case _:
                return False
        return True

    def _user(self, what: str, rest: list[str]) -> bool:
        plant, memory = self._plant, self._memory
        match what:
            case "stop-vm":
                plant.vms[rest[0]].stopped = True
            case "user-stops":
                plant.vms[rest[0]].stopped = True
                plant.time.after(1.0, lambda: _shut_down(plant, plant.vms[rest[0]]))
            case "user-deletes":
                plant.vms[rest[0]].deleted = True
                plant.time.after(1.0, lambda: _shut_down(plant, plant.vms[rest[0]]))
            case "cordon":
                plant.nodes[rest[0]].cordoned = True
            case "uncordon":
                plant.nodes[rest[0]].cordoned = False
            case "delete-failover":
                watching = memory.election.running(plant.now) if memory.election is not None else set()
                for name in [r.name for r in memory.open if r.boot.node == rest[0]]:
                    memory.delete(name, plant.now, {n for n in watching if plant.up(plant.nodes[n])})
            case "delete-zone":
                plant.zone = False
            case "zone-without":
                plant.outside.add(rest[0])
            case "zone-with":
                plant.outside.discard(rest[0])
            case "delete-node":
                machines.unregister(plant, plant.nodes[rest[0]])
            case "register-node":
                # Its kubelet is started anew, by a person: it registers as soon as it can.
                machines.start_kubelet(plant.nodes[rest[0]])
            case "rename-node":
                _rename(plant, *rest[:2])
            case "make-zone":
                plant.zone = True
            case "join-zone":
                plant.zones[rest[0]] = (*plant.zones[rest[0]], rest[1])
            case "leave-zone":
                plant.zones[rest[0]] = tuple(z for z in plant.zones[rest[0]] if z != rest[1])
            case "hang-guest":
                plant.vms[rest[0]].hangs = True
            case "force-delete-launcher":
                kubevirt.launcher_gone(plant, plant.vms[rest[0]])
            case "pin":
                plant.vms[rest[0]].only = rest[1]
            case "no-lock":
                plant.vms[rest[0]].locked = False
            case "migrate":
                migrations.begin(plant, plant.vms[rest[0]], rest[1], float(rest[2]))
            case "starts-fail":
                plant.vms[rest[0]].fails = int(rest[1])
            case "vm-snapshot":
                plant.vms[rest[0]].snapshot = rest[1]
            case "vm-snapshot-ends":
                plant.vms[rest[0]].snapshot = ""
            case "vm-restore":
                plant.vms[rest[0]].restore = rest[1]
            case "vm-restore-ends":
                plant.vms[rest[0]].restore = ""
            case "pod":
                users.begin(plant, *rest)
            case "pod-ends":
                users.delete(plant, rest[0], force=True)
            case "blocked":
                plant.vms[
                    rest[0]
                ].blocked = "KubeVirt starts it only after a person's recovery (ManualRecoveryRequired)"
            case "unblocked":
                plant.vms[rest[0]].blocked = ""
            case "capacity":
                plant.placement.capacity[rest[0]] = int(rest[1])
            case "late-start":
                plant.vms[rest[0]].late_start = True
            case "halt":
                _halt(plant.vms[rest[0]])
            case "strategy":
                plant.vms[rest[0]].strategy = rest[1]
            case "mode":
                memory.mode = Mode(rest[0])
            case "lease":
                memory.remediators.leases[rest[0]] = Held(rest[1], plant.now, float(rest[2]))
            case "drilled":
                memory.drilled[rest[0]] = plant.now
            case "leases":
                memory.remediators.answer = rest[0] == "ok"
            case "taint":
                plant.nodes[rest[0]].out_of_service = plant.nodes[rest[0]].foreign_taint = True
            case "untaint":
                plant.nodes[rest[0]].out_of_service = plant.nodes[rest[0]].foreign_taint = False
            case "confirm":
                open_ = [
                    n for n, r in memory.stored.items() if r.boot.node == rest[0] and r.phase not in ENDED
                ]
                if not open_:
                    raise ValueError(f"there is no open failover of {rest[0]} then")
                name = open_[0]
                said = Confirmation("I pulled the plug", "kim", plant.now)
                memory.confirmed[name] = (said, plant.now)
            case _:
                return False
        return True

    def _intent(self, what: str, rest: list[str]) -> bool:
        """What people and tools say of a node's future, and of an incident."""
        plant, memory, node = self._plant, self._memory, self._plant.nodes.get(rest[0] if rest else "")
        if node is None:
            return False
        match what:
            case "announce":
                node.shutting_down = True
            case "mark" if rest[1] in ANNOTATIONS:
                node.annotations[rest[1]] = rest[2]
            case "mark":
                node.marks.add(rest[1])
            case "unmark":
                node.annotations.pop(rest[1], None)
                node.marks.discard(rest[1])
            case "drain":
                node.cordoned = node.evicted = True
            case "maintain":
                plant.maintained[node.name] = f"NodeMaintenance {rest[1]}: {' '.join(rest[2:])}"
            case "end-maintenance":
                plant.maintained.pop(node.name, None)
            case "release":
                memory.released |= {r.name for r in memory.open if r.boot.node == node.name}
            case _:
                return False
        return True


def snapshot(plant: Plant) -> Plant:
    """What a cache holds of the plant that is not followed any more."""
    return replace(
        plant, nodes=deepcopy(plant.nodes), vms=deepcopy(plant.vms), volumes=deepcopy(plant.volumes)
    )


def _rename(plant: Plant, old: str, new: str) -> None:
    """A person gives the machine another name: deletes the old one's Node object, and starts its kubelet anew. Its guests run on.

    Their pods stay bound to the old name, so its kubelet ends what it finds running. The old name's devices still cut the machine.
    """
    was, now = plant.nodes[old], plant.nodes[new]
    if now.powered or not was.powered:
        raise ValueError(f"{old} is no machine that could be called {new}")
    machines.unregister(plant, was)
    now.powered, now.linked, now.api, now.agent, now.kubelet = True, was.linked, was.api, True, True
    now.boot, now.booted_at, now.machine, now.silent_since = was.boot, plant.now, was.machine or old, None
    now.came_up = was.came_up
    now.known_boot, plant.life[new] = now.identity.boot_id, Life(boot=plant.now)
    machines.start_kubelet(now)
    was.powered = False
    plant.renamed[old] = new
    for vm in [vm for vm in plant.vms.values() if old in vm.qemu]:
        vm.qemu = (vm.qemu - {old}) | {new}


def _suspend(plant: Plant, name: str, *, runs: bool) -> None:
    """The whole machine stands still; its guests too, but whoever looks can't know."""
    node = plant.nodes[name]
    node.linked = node.storage = node.api = runs
    node.suspended = not runs


def _shut_down(plant: Plant, vm: Vm) -> None:
    """Its user's wish is carried out by the kubelet of its node, as soon as that is there."""
    home = plant.nodes.get(vm.launcher_on)
    if not (vm.stopped or vm.deleted) or home is None:
        return
    if plant.takes_pods(home) and not vm.hangs:
        vm.qemu.discard(home.name)
        kubevirt.launcher_gone(plant, vm)
        vm.gone = True
    else:
        plant.time.after(1.0, lambda: _shut_down(plant, vm))


def _halt(vm: Vm) -> None:
    vm.strategy, vm.stopped, vm.gone = "Halted", True, True
    vm.phase, vm.pod, vm.launcher_on = "", "", ""
    vm.qemu.clear()
