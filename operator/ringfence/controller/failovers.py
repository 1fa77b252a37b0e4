"""The executor: store each step, then do what it says.

For every open failover the leader calls :func:`ringfence.core.failover.machine.step` on each turn, writes the next
record (guarded by resourceVersion) and, only after that write has gone through, starts the commands. A command that is
on its way is not started again; one that failed is tried again with back-off. Nothing is remembered here that the
next leader would need.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import replace
from typing import Any

from ringfence.controller import records, rehearsal
from ringfence.controller.devices import DeviceBook
from ringfence.controller.narrator import Narrator
from ringfence.controller.node_leases import NodeLeases
from ringfence.controller.refusals import Refusals
from ringfence.controller.watchdogs import Watchdogs
from ringfence.core import timing
from ringfence.core.failover.commands import (
    AddOutOfServiceTaint,
    AddSuspectTaint,
    Command,
    OrderOn,
    RecoverPods,
    RehearseAdmission,
    RemoveTaints,
    TellFenced,
)
from ringfence.core.failover.cut import LiftCut
from ringfence.core.failover.node_lease import ReleaseNodeLease, TakeNodeLease
from ringfence.core.failover.phase import ENDED
from ringfence.core.failover.record import Record
from ringfence.core.failover.recovery import (
    DeletePod,
    DeleteVmi,
    FreeLeadership,
    RecoveryCommand,
    RequestStart,
)
from ringfence.core.failover.step import Step
from ringfence.core.fencing.orders import (
    Action,
    LookOnceMore,
    Order,
    OrderOff,
    ReadPower,
    RevokeAgentLease,
)
from ringfence.kube import kinds
from ringfence.ports import (
    Clock,
    Cluster,
    ClusterError,
    Conflict,
    Json,
    NotFound,
    ObjectRef,
    PortError,
    Scribe,
    Taint,
    Unavailable,
)

logger = logging.getLogger(__name__)

SETTLES = 1.0
"""Seconds that the effect of a command has to show before the same command is given again."""
SUSPECT = "ringfence.io/suspect"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
OUT_OF_SERVICE_VALUE = "ringfence"
"""Kubernetes goes by the key alone; others write ``nodeshutdown``, so ours can be told from theirs."""
VIRT_CONTROLLER = "virt-controller"
"""The Lease by which KubeVirt's controllers elect their leader; its holder is the pod's name."""


class Executor:
    """Carries out steps. One instance lives as long as one term of leadership: a new term begins with an empty mind."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        devices: DeviceBook,
        watchdogs: Watchdogs,
        node_leases: NodeLeases,
        narrator: Narrator,
        refusals: Refusals,
        deadline: Callable[[], float],
        poke: Callable[[], None],
        scribe: Scribe | None = None,
    ) -> None:
        self._scribe = scribe
        self._cluster = cluster
        self._clock = clock
        self._devices = devices
        self._watchdogs = watchdogs
        self._node_leases = node_leases
        self._narrator = narrator
        self._refusals = refusals
        self._deadline = deadline
        self._poke = poke
        self._running: dict[Hashable, asyncio.Task[None]] = {}
        self._failed: dict[Hashable, tuple[int, float]] = {}
        self._over = False

    async def create(self, record: Record) -> Json:
        """Store a new incident's object. Its first status comes next (:meth:`store_first`): whoever finds one without it goes on."""
        obj: Json = {
            "apiVersion": kinds.FAILOVER.api_version,
            "kind": kinds.FAILOVER.kind,
            "metadata": {"name": record.name, "labels": {"ringfence.io/node": label_value(record.boot.node)}},
            "spec": records.spec_of(record),
        }
        creating = self._cluster.create(kinds.FAILOVER, obj, deadline=self._deadline())
        return await _answered(creating, timing.ORDER_SENT_WITHIN)

    async def carry_out(self, before: Record, after: Step, raw: Json) -> tuple[Record, Json]:
        """Store the step, then start its commands. Raises Conflict if somebody else has written the failover."""
        # As of this decision: storing it may take seconds, and whoever is frozen meanwhile, and leads anew when it thaws, has
        # decided by what was seen before.
        deadline = self._deadline()
        if after.record != before:
            # An order that is not stored by then is not sent either, and others wait with theirs.
            orders = any(isinstance(command, OrderOff | OrderOn) for command in after.commands)
            raw = await self._store(after.record, raw, timing.ORDER_SENT_WITHIN if orders else None)
            if (after.record.phase, after.record.sentence) != (before.phase, before.sentence):
                self._narrator.phase(after.record, raw["metadata"]["uid"])
        about = ObjectRef(kinds.FAILOVER, after.record.name, uid=raw["metadata"]["uid"])
        for command in after.commands:
            self._start(after.record, command, about, deadline)
        if after.record.phase in ENDED and before.phase not in ENDED:
            self._devices.end_incident(after.record.boot.node)
            self._watchdogs.forget(after.record.boot.node)
        return after.record, raw

    async def store_first(self, record: Record, raw: Json) -> Json:
        """The first status of an object."""
        return await self._store(record, raw, timing.ORDER_SENT_WITHIN)

    async def _store(self, record: Record, raw: Json, within: float | None = None) -> Json:
        """``within``: seconds after which an answer is not waited for any more; None: the adapter's own time-out."""
        before = raw.get("status", {}).get("conditions", [])
        generation = raw["metadata"].get("generation", 0)
        conditions = records.conditions_of(record, before, self._clock.wall(), generation)
        offset = self._clock.wall() - self._clock.monotonic()
        status = {**records.status_of(record, conditions, offset), "observedGeneration": generation}
        storing = self._cluster.replace_status(
            kinds.FAILOVER, {**raw, "status": status}, deadline=self._deadline()
        )
        return await _answered(storing, within)

    # --- commands --------------------------------------------------------------------------------------

    def _start(self, record: Record, command: Command, about: ObjectRef, deadline: float) -> None:
        node = record.boot.node
        match command:
            case ReadPower(device=device):
                self._run(
                    ("read", device, record.boot.node),
                    self._devices.read(device, record.boot.node, record.name),
                    again_after=0.0,
                )
            case OrderOff(device=device, attempt=attempt):
                # Each order is on record under its own number: it is sent once, whatever becomes of it.
                order = _on_record(record, device, Action.OFF)
                self._run(
                    ("off", record.name, record.ladder_pass, device, attempt),
                    self._devices.order_off(order, node, record.name, min(deadline, order.send_by)),
                    once=True,
                )
            case RevokeAgentLease(device=device):
                self._run(
                    ("revoke", record.name, device),
                    self._watchdogs.revoke(record.boot, deadline),
                    again_after=0.0,
                    write=(f"the revocation of the Lease of {node}'s agent", about),
                )
            case LookOnceMore(device=device):
                self._run(
                    ("look once more", record.name, device),
                    self._watchdogs.look_once_more(record.boot),
                    again_after=0.0,
                )
            case OrderOn(device=device):
                order = _on_record(record, device, Action.ON)
                self._run(
                    ("on", record.name, device, record.power_on_tries),
                    self._devices.order_on(device, node, min(deadline, order.send_by)),
                    once=True,
                )
            case LiftCut(device=device):
                # One step a call, until it is read as lifted.
                self._run(
                    ("lift", device, record.boot.node),
                    self._devices.order_on(device, record.boot.node, deadline),
                )
            case AddSuspectTaint():
                taint = Taint(SUSPECT, "NoSchedule", label_value(record.name))
                write = (f"the taint {SUSPECT} of {node}", about)
                self._run(("suspect", node), self._taint(record, taint, deadline), write=write)
            case AddOutOfServiceTaint():
                taint = Taint(OUT_OF_SERVICE, "NoExecute", OUT_OF_SERVICE_VALUE)
                write = (f"the out-of-service taint of {node}", about)
                tainting = self._taint(record, taint, deadline, over=False)
                self._run(("out-of-service", node), tainting, write=write)
            case TakeNodeLease(boot=boot):
                taking = self._node_leases.take(boot, deadline)
                self._run(("lease", node), taking, write=(f"the remediators' Lease of {node}", about))
            case ReleaseNodeLease(boot=boot):
                giving = self._node_leases.release(boot, deadline)
                self._run(("lease back", node), giving, write=(f"the end of the Lease of {node}", about))
            case RemoveTaints(out_of_service=out_of_service, suspect=suspect):
                self._run(
                    ("untaint", node),
                    self._untaint(record, deadline, out_of_service=out_of_service, suspect=suspect),
                    write=(f"the end of the taints of {node}", about),
                )
            case RehearseAdmission(namespace=namespace, name=name):
                # Once an incident: it repeats itself as long as that helps, which may be longer than any one deadline. It stores nothing.
                self._run(
                    ("rehearse", record.name),
                    rehearsal.rehearse(self._cluster, namespace, name, self._deadline),
                    once=True,
                )
            case TellFenced(boot=boot, incident=incident, stop_guests=stop_guests):
                if self._scribe is not None:
                    self._run(
                        ("told", boot),
                        self._scribe.tell(boot, incident, stop_guests=stop_guests, deadline=deadline),
                    )
            case RecoverPods(commands=commands):
                for ask in commands:
                    self._run(ask, self._recover(ask, deadline), write=(_asked(ask), about))

    def _run(
        self,
        key: Hashable,
        work: Coroutine[Any, Any, None],
        *,
        once: bool = False,
        again_after: float = SETTLES,
        write: tuple[str, ObjectRef] | None = None,
    ) -> None:
        """``write``: what is written by it, and about what, if it is a write to the API server."""
        now = self._clock.monotonic()
        failures, not_before = self._failed.get(key, (0, float("-inf")))
        waits = now < not_before or not self._refusals.due(key)
        if self._over or key in self._running or waits or (once and failures > 0):
            work.close()
            return
        if once:
            self._failed[key] = (1, float("inf"))
        self._running[key] = asyncio.create_task(
            self._guard(key, work, failures, once=once, again_after=again_after, write=write)
        )

    async def _guard(
        self,
        key: Hashable,
        work: Awaitable[None],
        failures: int,
        *,
        once: bool,
        again_after: float,
        write: tuple[str, ObjectRef] | None,
    ) -> None:
        try:
            await work
        except PortError as error:
            if write is not None and isinstance(error, ClusterError):
                logger.debug("%s: %s", key, error)
                self._refusals.failed(key, write[0], error, write[1])
                return
            logger.warning("%s: %s", key, error)
            if not once:
                backoff = timing.COMMAND_BACKOFF[min(failures, len(timing.COMMAND_BACKOFF) - 1)]
                self._failed[key] = (failures + 1, self._clock.monotonic() + backoff)
        else:
            if not once:
                # Done; its effect shows in the caches in a moment, and until then it is not done again.
                self._failed[key] = (0, self._clock.monotonic() + again_after)
            if write is not None:
                self._refusals.taken(key)
        finally:
            self._running.pop(key, None)
            self._poke()

    async def _taint(self, record: Record, taint: Taint, deadline: float, *, over: bool = True) -> None:
        try:
            await self._cluster.add_taint(
                record.boot.node, record.boot.node_uid, taint, over=over, deadline=deadline
            )
        except NotFound:
            logger.info("node %s is gone: nothing to taint", record.boot.node)

    async def _untaint(self, record: Record, deadline: float, *, out_of_service: bool, suspect: bool) -> None:
        node, uid = record.boot.node, record.boot.node_uid
        try:
            if out_of_service:
                await self._cluster.remove_taint(
                    node,
                    uid,
                    OUT_OF_SERVICE,
                    "NoExecute",
                    value=OUT_OF_SERVICE_VALUE,
                    deadline=deadline,
                )
            if suspect:
                await self._cluster.remove_taint(node, uid, SUSPECT, "NoSchedule", deadline=deadline)
        except NotFound:
            logger.info("node %s is gone: nothing to untaint", node)

    async def _recover(self, ask: RecoveryCommand, deadline: float) -> None:
        match ask:
            case DeletePod(ref=ref, force=force):
                await self._cluster.delete_pod(
                    ref.namespace, ref.name, ref.uid, 0 if force else None, deadline=deadline
                )
            case FreeLeadership(namespace=namespace, pod=pod):
                await self._free(namespace, pod, deadline)
            case DeleteVmi():
                await self._cluster.delete_vmi(ask.namespace, ask.name, ask.uid, deadline=deadline)
            case RequestStart():
                try:
                    await self._cluster.request_start(
                        ask.namespace, ask.name, ask.vm_uid, ask.stop_uid or None, deadline=deadline
                    )
                except Conflict:
                    logger.info(
                        "%s/%s: another request is pending, it is left alone", ask.namespace, ask.name
                    )

    async def _free(self, namespace: str, pod: str, deadline: float) -> None:
        """Give up KubeVirt's leadership in the dead holder's name, as it would have done itself at an orderly end."""
        lease = await self._cluster.get_lease(VIRT_CONTROLLER, namespace)
        if lease is None or lease.holder.partition("_")[0] != pod:
            return
        try:
            await self._cluster.replace_lease(
                replace(lease, holder="", duration_seconds=1), deadline=deadline
            )
        except Conflict:
            logger.info("the Lease %s/%s has a new holder already", namespace, VIRT_CONTROLLER)
        else:
            logger.info("%s led KubeVirt's controller and is dead: its Lease is free", pod)

    async def stand_down(self) -> None:
        """Start nothing any more, and end what waits to be sent; a step that is being stored goes on, without its commands.

        Whatever hangs while it ends has been told, and sends nothing.
        """
        self._over = True
        for task in self._running.values():
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=timing.STANDS_DOWN)

    async def close(self) -> None:
        """End of the term: what is on its way is abandoned, it carries its own deadline."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answered(writing: Awaitable[Json], within: float | None) -> Json:
    """What the server answers. Raises Unavailable after so many seconds: it may have been written all the same."""
    try:
        async with asyncio.timeout(within):
            return await writing
    except TimeoutError:
        raise Unavailable(f"no answer within {within:g} s") from None


def _on_record(record: Record, device: str, action: Action) -> Order:
    """The last such order to the device: whoever orders has stored that before."""
    return next(o for o in reversed(record.orders) if (o.device, o.action) == (device, action))


def _asked(ask: RecoveryCommand) -> str:
    match ask:
        case DeletePod(ref=ref):
            return f"the deletion of pod {ref.namespace}/{ref.name}"
        case FreeLeadership(namespace=namespace):
            return f"the end of the Lease {namespace}/{VIRT_CONTROLLER}"
        case DeleteVmi():
            return f"the deletion of VMI {ask.namespace}/{ask.name}"
        case RequestStart():
            return f"the start of VM {ask.namespace}/{ask.name}"


def label_value(text: str) -> str:
    """As a label's or taint's value: at most 63 characters, a letter or digit first. The end of a name tells more."""
    return text[-63:].lstrip("-._")
