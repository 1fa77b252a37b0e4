"""The faults of a script, by their words: what each does to the world."""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.failover.look import Confirmation
from ringfence.core.failover.node_lease import Held
from ringfence.core.failover.phase import ENDED
from ringfence.core.model import Mode
from simulator.system import kubevirt, machines
from simulator.system.controller import Controller
from simulator.system.memory import Memory
from simulator.system.plant import Plant
from simulator.system.vm import Vm


class Faults:
    def __init__(self, plant: Plant, memory: Memory, controller: Controller) -> None:
        self._plant = plant
        self._memory = memory
        self._controller = controller

    def do(self, words: list[str]) -> None:
        """One line of a script. Raises ValueError where no such fault is known."""
        self._plant.time.say("fault: " + " ".join(words))
        what, *rest = words
        kinds: tuple[Callable[[str, list[str]], bool], ...] = (
            self._machine,
            self._agent,
            self._storage,
            self._device,
            self._controllers,
            self._user,
        )
        if not any(kind(what, rest) for kind in kinds):
            raise ValueError(f"no such fault: {what}")

    def _machine(self, what: str, rest: list[str]) -> bool:
        plant = self._plant
        match what:
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
                plant.nodes[rest[0]].agent = True
                plant.dogs[rest[0]].restart_agent(plant.now)
            case "thaw-agent":
                plant.nodes[rest[0]].agent = True
            case "upgrade-agent":
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
                plant.bmcs[rest[0]].mode = rest[1]
            case "pdu":
                plant.pdus[rest[0]].mode = rest[1]
            case "swap-bmcs":
                plant.bmcs[rest[0]].another, plant.bmcs[rest[1]].another = rest[1], rest[0]
            case _:
                return False
        return True

    def _controllers(self, what: str, rest: list[str]) -> bool:
        election = self._memory.election
        match what:
            case "freeze-leader-when":
                assert election is not None
                election.freeze_when = rest[0]
            case "thaw-leader":
                self._controller.thaw()
            case "kill-leader-when":
                self._controller.die_after = rest[0]
            case "kill-leader":
                self._controller.new_leader()
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
            case "force-delete-launcher":
                kubevirt.launcher_gone(plant, plant.vms[rest[0]])
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
            case "leases":
                memory.remediators.answer = rest[0] == "ok"
            case "taint":
                plant.nodes[rest[0]].out_of_service = plant.nodes[rest[0]].foreign_taint = True
            case "untaint":
                plant.nodes[rest[0]].out_of_service = plant.nodes[rest[0]].foreign_taint = False
            case "confirm":
                name = next(
                    n for n, r in memory.stored.items() if r.boot.node == rest[0] and r.phase not in ENDED
                )
                said = Confirmation("I pulled the plug", "kim", plant.now)
                memory.confirmed[name] = (said, plant.now)
            case _:
                return False
        return True


def _halt(vm: Vm) -> None:
    vm.strategy, vm.stopped, vm.gone = "Halted", True, True
    vm.phase, vm.pod, vm.launcher_on = "", "", ""
    vm.qemu.clear()
