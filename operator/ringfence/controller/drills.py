"""Off/on drills at work: asked for by an annotation, carried out by the leader, one at a time.

    kubectl annotate --overwrite fencedevice pdu-a ringfence.io/drill="node-1 first time"

``status.drill`` says that a drill runs *before* the node is ordered off. A leader that finds one of another leader under
way orders the node on and calls the drill failed: nobody leaves a node off, and half a drill proves nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from ringfence.api.v1alpha1.fencedevice import Drill, FenceDevice, PassedDrill
from ringfence.controller.devices import DeviceBook
from ringfence.controller.loop import Loop
from ringfence.controller.narrator import Narrator
from ringfence.controller.rfc3339 import stamp
from ringfence.controller.targets import DeviceTarget
from ringfence.controller.world import World
from ringfence.core import timing
from ringfence.core.fencing.drill import DrillFacts, refusal, shortfall
from ringfence.core.fencing.identity import same_machine
from ringfence.core.model import PowerState
from ringfence.kube import kinds
from ringfence.ports import Clock, Cluster, DeviceError, Json, ObjectRef, PortError, PowerDevice, TooLate

logger = logging.getLogger(__name__)

ANNOTATION = "ringfence.io/drill"
COMES_BACK = 900.0
"""Seconds that a machine may take to boot; some servers test their memory for ten minutes."""
OTHERS_LIVE = 45.0
"""Seconds within which every other node has to be heard while this one is off. Kubelets renew their Leases every ten."""
SEEN_LATE = 2.0
"""Seconds by which what a node has sent may be seen later, by a watch that lags."""
LOOK_EVERY = 1.0
OVER = frozenset({"Failed", "Succeeded"})
"""Phases of a VMI that has no guest any more."""


class DrillFailed(Exception):
    """The drill has not proved anything; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a drill needs around it."""

    clock: Clock
    pause: Callable[[float], Awaitable[None]]
    deadline: Callable[[], float]
    boots: Callable[[], Mapping[str, str]]
    """The boot id of each node now, as Kubernetes has it."""
    uuids: Callable[[], Mapping[str, str]]
    """The ``systemUUID`` of each node."""
    lives: Callable[[], Mapping[str, float]]
    """Of each node that Kubernetes calls Ready: when it was last heard, by whatever way (CLOCK_BOOTTIME)."""
    objection: Callable[[], str | None] = lambda: None
    """What speaks against it by now: minutes may have passed since it was asked for, most of all for a process that was frozen."""


async def carry_out(device: PowerDevice, node: str, course: Course) -> str:
    """Switch the node off and on, and return what the device says of itself. Raises DrillFailed, PortError.

    Whatever becomes of the order off, the node is not left off.
    """
    if (state := (await device.power()).state) is not PowerState.ON:
        raise DrillFailed(f"the device reads {state} while {node} runs: it stands before another machine")
    uuid = (await device.identity()).uuid
    others = sorted(n for n, known in course.uuids().items() if n != node and same_machine(uuid, known))
    if others:
        raise DrillFailed(f"the device says that it stands before {others[0]}, which would be switched off")
    if (why := course.objection()) is not None:
        raise DrillFailed(why)
    before, neighbours = dict(course.boots()), course.lives().keys() - {node}
    sent_by = course.clock.monotonic()
    try:
        try:
            await device.order_off(deadline=course.deadline())
        finally:
            sent_by = course.clock.monotonic()
        await _off(device, sent_by + device.order_lasts, course)
        await _others_live(node, neighbours, course)
    except (DeviceError, DrillFailed):
        while course.clock.monotonic() <= sent_by + device.order_lasts:
            await course.pause(LOOK_EVERY)
        await _on_again(device, course)
        raise
    await _back(device, node, before.get(node, ""), course)
    if (why := shortfall(node, before, course.boots())) is not None:
        raise DrillFailed(why)
    return uuid


async def _off(device: PowerDevice, until: float, course: Course) -> None:
    """Until it reads off twice, as a proof wants it."""
    seen = 0
    while seen < 2:
        state = (await device.power()).state
        seen = seen + 1 if state is PowerState.OFF else 0
        if course.clock.monotonic() > until:
            raise DrillFailed(f"ordered off, and the device still reads {state}")
        await course.pause(timing.READ_SPACING)


async def _others_live(node: str, others: AbstractSet[str], course: Course) -> None:
    """Until every other node was heard while this one is off: one that boots later than this one would show no other boot id yet.

    Raises DrillFailed.
    """
    off_at = course.clock.monotonic()
    while True:
        heard = {n for n, at in course.lives().items() if at > off_at + SEEN_LATE}
        if node in heard:
            raise DrillFailed(f"{node} is heard while the device reads off: it cuts another machine")
        if others <= heard:
            return
        if course.clock.monotonic() > off_at + OTHERS_LIVE:
            silent = ", ".join(sorted(others - heard))
            raise DrillFailed(
                f"{silent} was not heard while {node} was off: it is not certain whom the device cuts"
            )
        await course.pause(LOOK_EVERY)


async def _on_again(device: PowerDevice, course: Course) -> None:
    """Order the node on, again where the device fails at it. Raises PortError when it has failed at each try."""
    for _ in range(1, timing.POWER_ON_TRIES):
        try:
            await ensure_on(device, course)
        except TooLate:
            raise  # another leads, and mends it
        except DeviceError as error:
            logger.warning("a node that was in a drill is not switched on yet: %s", error)
            await course.pause(timing.POWER_ON_SPACING)
        else:
            return
    await ensure_on(device, course)


async def ensure_on(device: PowerDevice, course: Course) -> None:
    """Order the node on unless it reads on. Raises PortError."""
    if (await device.power()).state is not PowerState.ON:
        await device.order_on(deadline=course.deadline())


async def _back(device: PowerDevice, node: str, old_boot: str, course: Course) -> None:
    """Order the node on, again while it reads off, until it has another boot id. Raises DrillFailed, TooLate."""
    end = course.clock.monotonic() + COMES_BACK
    tries, ask_at, trouble = 0, float("-inf"), "it is ordered on"
    while course.boots().get(node) in {None, "", old_boot}:
        now = course.clock.monotonic()
        if now >= end:
            raise DrillFailed(f"{node} did not come back within {COMES_BACK:.0f} s ({trouble}): switch it on")
        if now >= ask_at and tries < timing.POWER_ON_TRIES:
            tries, ask_at = tries + 1, now + timing.POWER_ON_SPACING
            try:
                await ensure_on(device, course)
            except DeviceError as error:
                trouble = str(error)
        await course.pause(LOOK_EVERY)


class Drills:
    """The leader's part: who asked, whether it may be, and what came of it."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        world: World,
        devices: DeviceBook,
        loop: Loop,
        narrator: Narrator,
        own_node: str,
        deadline: Callable[[], float],
        heard_at: Callable[[str], float],
    ) -> None:
        """``heard_at(node)``: when this replica last had a sign of life of it."""
        self._cluster = cluster
        self._world = world
        self._devices = devices
        self._loop = loop
        self._narrator = narrator
        self._own_node = own_node
        self._clock = clock
        self._heard_at = heard_at
        self._course = Course(clock, asyncio.sleep, deadline, self._boots, self._uuids, self._lives)
        self.running: asyncio.Task[None] | None = None
        """The drill under way, or the last one."""

    async def step(self) -> None:
        """Begin what was asked for, unless a drill runs. Raises PortError."""
        if self.running is not None and not self.running.done():
            return
        if self.running is not None:
            if not self.running.cancelled():
                self.running.result()  # a plain bug ends the process
            self.running = None
        for (_, name), device in self._world.own.all(FenceDevice).items():
            request = (device.metadata.annotations or {}).get(ANNOTATION, "").strip()[:512]
            known = device.status.drill
            node = request.partition(" ")[0]
            if known is not None and known.phase == "Running":
                node = known.request.partition(" ")[0]
                self.running = asyncio.create_task(self._mend(name, node, known.request))
                return
            if request and (known is None or known.request != request):
                if (why := refusal(self._facts(name, device, node))) is not None:
                    await self._tell(name, request, "Refused", why)
                else:
                    await self._tell(name, request, "Running", f"{node} is switched off and on by {name}")
                    self.running = asyncio.create_task(self._run(name, node, request))
                return

    async def stand_down(self) -> None:
        """End the drill under way, whose order may wait to be sent. It stays on record as running, and whoever leads next mends it."""
        if self.running is not None and not self.running.done():
            self.running.cancel()
            await asyncio.wait((self.running,), timeout=timing.STANDS_DOWN)

    async def _run(self, name: str, node: str, request: str) -> None:
        try:
            device, target = await self._devices.open_for_drill(name, node)
            try:
                course = replace(self._course, objection=lambda: self._objection(name, node))
                uuid = await carry_out(device, node, course)
            finally:
                await device.close()
            raw = self._world.own.raw("fencedevices", ("", name)) or {}
            others = [d for d in raw.get("status", {}).get("drills", []) if d.get("node") != node]
            passed = PassedDrill(
                node=node,
                outlet=target.outlet,
                node_uuid=target.node_uuid,
                device_uuid=uuid,
                passed_at=stamp(self._clock.wall()),
            )
            sentence = f"{node} was off and is back with another boot id, and no other node: {name} cuts it"
            await self._tell(name, request, "Passed", sentence, drills=[*others, passed.to_json()])
        except (DrillFailed, PortError) as error:
            await self._failed(name, request, str(error))

    def _objection(self, name: str, node: str) -> str | None:
        device = self._world.own.all(FenceDevice).get(("", name))
        return "it is not declared any more" if device is None else refusal(self._facts(name, device, node))

    async def _mend(self, name: str, node: str, request: str) -> None:
        """Another leader's drill: the node must not stay off, and nothing is proved."""
        try:
            device, _ = await self._devices.open_for_drill(name, node)
            try:
                await _on_again(device, self._course)
            finally:
                await device.close()
            await self._failed(name, request, "it was interrupted; ask for it again")
        except PortError as error:
            await self._failed(name, request, f"it was interrupted, and then: {error}; look after {node}")

    async def _failed(self, name: str, request: str, why: str) -> None:
        try:
            await self._tell(name, request, "Failed", why)
        except PortError as error:  # still Running: it is mended in the next turn, by whoever leads
            logger.warning("drill of %s: not recorded: %s", name, error)

    async def _tell(
        self, name: str, request: str, phase: str, sentence: str, **more: Json | list[Json]
    ) -> None:
        drill = Drill.model_validate(
            {"request": request, "phase": phase, "sentence": sentence, "changedAt": stamp(self._clock.wall())}
        )
        status: Json = {"drill": drill.to_json(), **more}
        stored = await self._cluster.patch_status(
            kinds.FENCE_DEVICE, name, "", status, deadline=self._course.deadline()
        )
        self._world.own.seen("fencedevices", stored)
        ref = ObjectRef(kinds.FENCE_DEVICE, name, uid=stored["metadata"].get("uid", ""))
        self._narrator.tell(ref, f"Drill{phase}", sentence, warning=phase in {"Failed", "Refused"})

    def _boots(self) -> Mapping[str, str]:
        return {name: node.boot_id for (_, name), node in self._world.nodes.store.items()}

    def _uuids(self) -> Mapping[str, str]:
        return {name: node.system_uuid for (_, name), node in self._world.nodes.store.items()}

    def _lives(self) -> Mapping[str, float]:
        ready = (
            name for (_, name), node in self._world.nodes.store.items() if node.ready.status.value == "True"
        )
        return {name: self._heard_at(name) for name in ready}

    def _facts(self, name: str, device: FenceDevice, node: str) -> DrillFacts:
        known = self._world.nodes.store.get(("", node))
        target = self._devices.target(name, node)
        return DrillFacts(
            device=name,
            node=node,
            cuts=node in device.spec.nodes and target is not None,
            objection=_objection(target) if target is not None else None,
            mode=self._loop.mode,
            known=known is not None,
            ready=known is not None and known.ready.status.value == "True",
            cordoned=known is not None and known.unschedulable,
            guests=tuple(
                f"{v.namespace}/{v.name}"
                for v in self._world.vmis.store.values()
                if v.node == node and v.phase not in OVER
            ),
            incidents=tuple(sorted(self._loop.busy_nodes())),
            leader_here=node == self._own_node,
        )


def _objection(target: DeviceTarget) -> str | None:
    if target.by_address:
        # It would shut the node out, and wait for a boot that never comes.
        return "a storage has no power to switch, nor an identity to prove: try its fence by hand (docs/fence-by-storage.md)"
    return target.objection.sentence if target.objection is not None else None
