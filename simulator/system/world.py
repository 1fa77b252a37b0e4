"""One cluster in virtual time: the plant moves, then the controller looks; the invariants hold on every tick."""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.detection.evidence import Life
from ringfence.core.model import Mode, OnHung
from simulator.system import (
    attachments,
    detector,
    infrastructure,
    kubevirt,
    machines,
    migrations,
    rules,
    slots,
)
from simulator.system.candidates import Candidates
from simulator.system.control import Control
from simulator.system.controller import Controller
from simulator.system.device import Device, LadderSetup
from simulator.system.faults import Faults
from simulator.system.infrastructure import Infrastructure
from simulator.system.memory import Memory
from simulator.system.node import Node
from simulator.system.plant import Plant
from simulator.system.remediators import Remediators
from simulator.system.scheduler import Placement
from simulator.system.timeline import TICK, Timeline
from simulator.system.vm import Vm, Volume
from simulator.system.watchdogs import Kennel

MakeControl = Callable[[Plant, Memory], Control]


class World:
    """``log`` is the story as it was told."""

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
        strategies: dict[str, str] | None = None,
        proofs: int = 1,
        kubevirt_pods: dict[str, str] | None = None,
        placement: Placement | None = None,
        spread: bool = False,
        verdict_after: float = 0.7,
        control: MakeControl = Controller,
        warm_up: float = 0.0,
        zones: dict[str, list[str]] | None = None,
        tells_verdicts: bool = False,
        on_hung: OnHung = OnHung.ALERT,
    ) -> None:
        """``spread``: the scheduler goes by load, and the controller hears the side of its own node only. ``control``: who leads;
        ``warm_up``: seconds before 0 at which time begins, for processes that have to find each other first.
        """
        ladder = ladder or LadderSetup()
        self.time = Timeline(2 * TICK if spread else TICK, 0.0 - warm_up)
        self.plant = Plant(
            self.time,
            {n: Node(n) for n in nodes},
            {n: Device(m) for n in nodes if (m := bmcs.get(n, "ok")) is not None},
            {v: Vm(v, node, pod=f"pod-{v}-1", launcher_on=node, qemu={node}) for v, node in vms.items()},
            {v: Volume(shared=kind == "rwx", attached={vms[v]}) for v, kind in (volumes or {}).items()},
            ladder,
            placement or Placement(),
            {n: Device(mode) for n, mode in ladder.pdus.items()},
            {n: Device() for n in nodes} if storage_fence is not None else {},
            storage_fence,
            kennel,
            heartbeat=heartbeat is not None,
            stop_guests=(heartbeat or {}).get("stopGuests", False),
            on_hung=on_hung,
            last_run=dict(vms),
            life={n: Life() for n in nodes},
            spread=spread,
            verdict_after=verdict_after,
            proofs_required=proofs,
            infrastructure=[Infrastructure(kind, node) for kind, node in (kubevirt_pods or {}).items()],
            zones={
                node: tuple(sorted(zone for zone, members in zones.items() if node in members))
                for node in nodes
            }
            if zones
            else {},
        )
        for name, strategy in (strategies or {}).items():
            self.plant.vms[name].strategy = strategy
        self.memory = Memory(
            Mode(mode),
            Remediators(self.time, used=node_leases),
            Candidates(controllers) if controllers else None,
        )
        self.controller: Control = control(self.plant, self.memory)
        self.memory.tells_verdicts = tells_verdicts
        self._faults = Faults(self.plant, self.memory, self.controller)

    @property
    def now(self) -> float:
        return self.time.now

    @property
    def log(self) -> list[str]:
        return self.time.log

    def do(self, words: list[str]) -> None:
        """One line of a script."""
        self._faults.do(words)

    def tick(self) -> None:
        """One tick: the world moves, then the controller looks."""
        plant = self.plant
        self.time.advance()
        for node in plant.nodes.values():
            detector.live(plant, node)
            if plant.heartbeat:
                slots.beat(plant, node)
            if plant.up(node) and node.agent and node.api:
                detector.report(plant, node)
            if plant.kennel is not None:
                machines.watch_over(plant, node)
        for name, volume in plant.volumes.items():
            attachments.turn(plant, name, volume)
        if plant.spread and self.time.every(1.0):
            kubevirt.end_orphans(plant)
        if self.time.every(1.0) and not plant.api_out:
            kubevirt.collect(plant)
        infrastructure.turn(plant)
        for vm in plant.vms.values():
            # Asked here already, since of thirty VMs hardly one moves: a call for each would be a tenth of a tick.
            if vm.target:
                migrations.turn(plant, vm)
            if vm.released_at is not None or not vm.qemu:
                kubevirt.turn(plant, vm)
        self.controller.turn()
        rules.every_tick(plant, self.memory)
