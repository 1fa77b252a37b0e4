"""The loop: judge every node, keep the holds' clocks, and drive every open failover one step.

All replicas judge, so that a takeover orders at once; only the leader's turn writes. A turn is short and pure but for
the executor's writes. It runs when something changed, and at least every ``IDLE`` seconds; while a failover is under
way or a node is Down with something to lose, every ``BUSY`` seconds, since holds and back-offs end without an event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ringfence.api.v1alpha1.failover import Confirmation as FailoverConfirmation
from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hacluster import HAClusterSpec
from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller import records, restarts
from ringfence.controller.chassis import orders_at
from ringfence.controller.devices import DeviceBook
from ringfence.controller.evidence import Witness
from ringfence.controller.failovers import OUT_OF_SERVICE, OUT_OF_SERVICE_VALUE, SUSPECT, Executor
from ringfence.controller.forgotten import Forgotten
from ringfence.controller.leadership import Leadership
from ringfence.controller.narrator import Narrator
from ringfence.controller.networks import roles
from ringfence.controller.node_leases import NodeLeases
from ringfence.controller.refusals import Refusals, unanswered
from ringfence.controller.rfc3339 import parse
from ringfence.controller.setbacks import Setbacks
from ringfence.controller.storages import as_storage, guests_since, written_by
from ringfence.controller.strays import Strays
from ringfence.controller.verdicts import ToldVerdicts
from ringfence.controller.watchdogs import Watchdogs
from ringfence.controller.world import NODE_LEASES, World
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER, Evidence, NetworkRole, SlotEvidence
from ringfence.core.detection.heartbeats import Heartbeats
from ringfence.core.detection.verdict import Judgement, judge, slot_due
from ringfence.core.failover import limits, machine, recovered
from ringfence.core.failover.beyond import may_be_off_soon
from ringfence.core.failover.commands import OrderOn
from ringfence.core.failover.intent import Intents, Marks
from ringfence.core.failover.look import Confirmation, Look, Namesake
from ringfence.core.failover.phase import ENDED, PROVED, Phase
from ringfence.core.failover.record import Record, VmRecord, VmState
from ringfence.core.failover.recovery import VmiLook, VmLook
from ringfence.core.failover.step import Step
from ringfence.core.failover.vms import merged
from ringfence.core.fencing.orders import OrderOff
from ringfence.core.fencing.proof import CutVm
from ringfence.core.fencing.rungs import A_PERSON, DeviceLook, Rungs
from ringfence.core.fencing.selffence import WatchdogLook
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.model import Boot, Mode, OnHung, RingState, Verdict
from ringfence.kube import kinds
from ringfence.kube.objects import LeaseObject, NodeObject, VmiObject, VmObject
from ringfence.kube.store import Key
from ringfence.metrics import ControllerMetrics
from ringfence.ports import (
    AlreadyExists,
    Clock,
    Cluster,
    ClusterError,
    Conflict,
    Json,
    Kind,
    NotFound,
    ObjectRef,
    Scribe,
    TooLate,
    Unavailable,
)

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")
IDLE = 0.5
BUSY = 0.05
CALM_AFTER = 10.0
"""Seconds after which an incident that is held is looked at every ``IDLE`` seconds: most reasons end before, the others may last."""
BESIDE = 0.1
"""Seconds for which a turn waits for one incident's writes. If they take longer the others go on beside them."""
JUDGED_FOR = 0.25
"""Seconds for which what a turn has judged is gone by: what it stores may take longer, and who is heard meanwhile is spared."""
READ_FOR = 2.0
"""Seconds for which what was read before an order is gone by."""
WISHES: Mapping[str, Kind] = {
    "haclusters": kinds.HA_CLUSTER,
    "hazones": kinds.HA_ZONE,
    "nodemaintenances": kinds.NODE_MAINTENANCE,
}
"""Where people say what may not be done."""
_PATIENT = frozenset({Phase.AWAITING_CONFIRMATION, Phase.RECOVERED})


@dataclass(slots=True)
class Adopted:
    """What this replica remembers of a failover beside its record: instants on its own clock."""

    first_seen: float
    known_at: int = 0
    """The version of the store in which this replica first saw it: its boot was in the Node before."""
    orders: tuple[int, int] = (0, 0)
    """Number of orders on record, and of the ladder's passes: a change is a new order."""
    orders_seen: float = NEVER
    levels: int = 0
    levels_seen: float = NEVER
    called_off: tuple[str, ...] = ()
    """Devices that have called the node off, as on record, each with its instant."""
    called_off_seen: float = NEVER
    draw: float | None = None
    """This replica's random part of the zone's delay, from 0 to 1."""
    proofs_seen: float = NEVER
    confirmed: tuple[FailoverConfirmation | None, float] = (None, NEVER)
    """A person's word, and when it was first seen."""
    phase_since: float = NEVER
    phase: str = ""
    powered_on_at: float = NEVER
    namesake: tuple[str, float] = ("", NEVER)
    """UID of another Node object that has the node's name by now, and when this replica first saw it."""
    read_at: float = NEVER
    """When this replica last read what speaks against an order, and not from its caches."""
    proved: bool = False
    proved_at: int = 0
    """The version of the store that was seen to have the proof: a report of the node's agent counts if it is newer."""
    record: Record | None = None
    raw: Json = field(default_factory=dict)
    seen: Failover | None = None
    """The object as it was last seen: what is known of it when it is gone, also to a replica that doesn't lead."""


class Loop:
    """See the module."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        world: World,
        witness: Witness,
        devices: DeviceBook,
        watchdogs: Watchdogs,
        node_leases: NodeLeases,
        setbacks: Setbacks,
        leadership: Leadership,
        narrator: Narrator,
        identity: str,
        own_node: str,
        suffix: Callable[[], str],
        draw: Callable[[], float],
        probe: Callable[[str], None],
        ask: Callable[[str], None],
        metrics: ControllerMetrics,
        refusals: Refusals,
        scribe: Scribe | None = None,
    ) -> None:
        self._scribe = scribe
        self._refusals = refusals
        self._metrics = metrics
        self._cluster = cluster
        self._clock = clock
        self._world = world
        self._witness = witness
        self._devices = devices
        self._watchdogs = watchdogs
        self._node_leases = node_leases
        self._setbacks = setbacks
        self._leadership = leadership
        self._narrator = narrator
        self._identity = identity
        self._own_node = own_node
        self._suffix = suffix
        self._draw = draw
        self._probe = probe
        self._ask = ask
        self._poked = asyncio.Event()
        self._adopted: dict[str, Adopted] = {}
        self._deleted: dict[str, Adopted] = {}
        """Incidents under way whose objects somebody has deleted: to be written anew by who leads, this replica or the next leader.

        A replica that doesn't lead remembers them too: they may be deleted while nobody leads.
        """
        self._names: dict[Boot, str] = {}
        """Of the Failovers that are to be created."""
        self._first: dict[str, Record] = {}
        """The first states of Failovers whose objects stand, as long as they are not stored."""
        self._stepping: dict[str, asyncio.Task[None]] = {}
        """Incidents whose steps are on their way."""
        self._ordering: set[str] = set()
        """Those of them that give an order which is being stored: nobody else decides one meanwhile, by what is not on record yet."""
        self._ended_at: dict[str, float] = {}
        self._settled_at: float | None = None
        self._executor: Executor | None = None
        self._term = 0
        """The epoch of the leadership that the executor belongs to."""
        self._saw_majority = False
        self._told = ToldVerdicts()
        self._strays = Strays()
        self._forgotten = Forgotten()
        self._intents = Intents()
        self._slots_seen: dict[str, tuple[float, dict[str, SlotState]]] = {}
        """By zone: when the slots of its nodes were last looked at, and what was seen."""
        self._marked: dict[str, tuple[NodeObject, Boot, bool, bool]] = {}
        """What was last taken in of each node's future: its object, its boot, whether it is evacuated, whether it is silent."""
        self._read_nodes: dict[str, NodeObject] = {}
        """Nodes as they were read before an order, as long as the watch hasn't come as far."""
        self.judgements: dict[str, Judgement] = {}
        self._someone_down = False
        """Whether any of them is Down."""
        self._judged_at = NEVER

    def sees_majority(self) -> bool:
        """Whether half of the nodes at least are alive on this replica's side; True while it can't know yet."""
        if self._witness.roster is None:
            return True
        now = self._clock.monotonic()
        electorate = frozenset(m.name for m in self._witness.roster.members) - self._proved()
        electorate -= self._world.maintained().keys()
        counted = limits.sees_half(self._witness.alive(now), electorate)
        # Agents of a larger ring count heads only while somebody is doubted; else nobody is missed.
        majority = counted or self._witness.calm(now)
        self._saw_majority |= majority
        return majority or not (self._saw_majority or self._witness.fresh_views(now))

    def _proved(self) -> frozenset[str]:
        """The nodes whose present boot is proved to be over, as far as their boots are known: a later one has a vote again."""
        records_ = (a.record for a in self._adopted.values() if a.record is not None and a.record.ended_boot)
        return frozenset(r.boot.node for r in records_ if self._witness.boot(r.boot.node) in (None, r.boot))

    def finds_own_node_down(self) -> bool:
        """Whether the node that this replica runs on may be fenced by its own judgement: then another must lead."""
        judgement = self.judgements.get(self._own_node)
        return judgement is not None and judgement.may_be_fenced

    def poke(self) -> None:
        """Something changed: take a turn soon."""
        self._poked.set()

    def stir(self) -> None:
        """Something changed that matters to incidents: take a turn soon, if there is one or may be one soon.

        Of many thousand VMs and pods one changes all the time.
        """
        if self._someone_down or self.busy_nodes():
            self.poke()

    async def run(self) -> None:
        while True:
            busy = await self.turn()
            try:
                async with asyncio.timeout(BUSY if busy else IDLE):
                    await self._poked.wait()
            except TimeoutError:
                pass
            self._poked.clear()
            # Bursts of changes make one turn, not hundreds.
            await asyncio.sleep(0.01)

    async def turn(self) -> bool:
        """Judge, and act where this replica leads. True while something is under way."""
        now = self._clock.monotonic()
        self._settle(now)
        self._watchdogs.watch_roster(now)
        self._judge(now)
        self._adopt(now)
        self._forgotten.watch(self._world.nodes.store.values(), self._world.own.held("failovers"), now)
        if not self._leadership.leads:
            await self._end_term()
            self._forget_ended(now)
            return self._pressing()
        if self._executor is not None and self._term != self._leadership.election.epoch:
            # It was frozen: another has led meanwhile, and no turn has seen that.
            await self._end_term()
        if self._executor is None:
            self._term = self._leadership.election.epoch
            self._executor = Executor(
                self._cluster,
                self._clock,
                self._devices,
                self._watchdogs,
                self._node_leases,
                self._narrator,
                self._refusals,
                lambda: self._leadership.deadline,
                self.poke,
                self._scribe,
            )
            for adopted in self._adopted.values():
                adopted.record = None
        try:
            try:
                await self._write_anew(now)
                await self._open(now)
                await self._tell_never_off()
            except ClusterError as error:
                logger.debug("not stored, so not done: %s", error)  # told by `Refusals`; what is open goes on
            # While that was stored the caches may have heard of a failover that the leader before has begun.
            self._adopt(self._clock.monotonic())
            return await self._drive()
        except TooLate as error:
            logger.warning("not stored, so not done: %s", error)
        except ClusterError as error:
            logger.debug("not stored, so not done: %s", error)  # told by `Refusals`
        return True

    def _pressing(self) -> bool:
        """Whether a node may be fenced and something of it is to be done soon.

        What waits for a person, or for the node's return, is told by an event: a node may be off for months.
        """
        down = [node for node, judgement in self.judgements.items() if judgement.may_be_fenced]
        if not down:
            return False
        patient = {
            f.spec.node: _patient(f) or self._long_held(name, f) for name, f in self._open_failovers().items()
        }
        unread = self._unread_nodes()  # a newer controller's business
        return any(
            not patient[node] if node in patient else node not in unread and bool(self.affected(node))
            for node in down
        )

    def _long_held(self, name: str, failover: Failover) -> bool:
        adopted = self._adopted.get(name)
        if adopted is None or failover.status.phase is not Phase.HELD:
            return False
        return self._clock.monotonic() - adopted.phase_since >= CALM_AFTER

    async def _write_anew(self, now: float) -> None:
        """An incident that is under way outlives its object: orders may be at work, and VMs half-way.

        Whoever wants to stop ringfence sets the HACluster's mode; a Failover that is gone would only be opened anew, with
        no memory of its orders.
        """
        assert self._executor is not None
        for name, gone in list(self._deleted.items()):
            if not self._refusals.due(name):
                continue
            assert gone.record is not None
            record = gone.record
            try:
                try:
                    raw = await self._executor.create(record)
                except AlreadyExists:
                    # An old LIST had missed it; or our own write was cut off between the object and its first status.
                    raw, made = await self._cluster.get(kinds.FAILOVER, name), False
                else:
                    made = True
                if raw.get("status", {}).get("phase"):
                    gone.record = None
                else:
                    raw = await self._executor.store_first(record, raw)
            except ClusterError as error:
                self._turned_down(name, f"Failover {name}, which was deleted", error, record.boot)
                continue
            self._refusals.taken(name)
            if made:
                gone.confirmed = (None, NEVER)
                sentence = f"{name} was deleted while it is under way ({record.phase}): it is written anew and goes on"
                self._narrator.tell(
                    ObjectRef(kinds.FAILOVER, name, uid=raw["metadata"]["uid"]),
                    "WrittenAnew",
                    sentence,
                    warning=True,
                )
            gone.raw, self._adopted[name] = raw, gone
            del self._deleted[name]
            self._world.own.seen("failovers", raw)
            self._adopt(now)

    async def _tell_never_off(self) -> None:
        """A node that was proved off, deleted and registered again in that boot after its incident had ended: nothing else would say so.

        Once on each such Node object, whoever leads: that it was told is on record first.
        """
        for (_, name), failover in list(self._world.own.all(Failover).items()):
            said, node = failover.spec, self._world.nodes.store.get(("", failover.spec.node))
            if node is None or node.uid == said.node_uid or node.boot_id != said.boot_id:
                continue
            adopted = self._adopted.get(name)
            if adopted is None or failover.status.never_off_on == node.uid or not self._refusals.due(name):
                continue
            record = _as_seen(adopted, failover)
            sentence = (
                recovered.registered_since(record, Boot(node.name, node.uid, node.boot_id))
                if record is not None
                else None
            )
            if record is None or sentence is None:
                continue
            try:
                raw = await self._cluster.patch_status(
                    *(kinds.FAILOVER, name, "", {"neverOffOn": node.uid}),
                    deadline=self._leadership.deadline,
                )
            except ClusterError as error:
                uid = failover.metadata.uid or ""
                self._turned_down(name, f"the status of Failover {name}", error, record.boot, uid)
                continue
            self._refusals.taken(name)
            self._world.own.seen("failovers", raw)
            about = ObjectRef(kinds.NODE, node.name, uid=node.uid)
            self._narrator.tell(about, "NeverOff", sentence, warning=True)

    def _forget_ended(self, now: float) -> None:
        """What somebody has deleted, and has nothing at work by now: whoever leads then has ended it."""
        for name, gone in list(self._deleted.items()):
            if gone.record is None or not machine.outlives_its_object(gone.record, now):
                del self._deleted[name]

    async def stand_down(self) -> None:
        """Nothing that was decided in this term is sent any more; also from beside a turn, which ends the term when it sees that."""
        if self._executor is not None:
            await self._executor.stand_down()

    async def _end_term(self) -> None:
        steps = list(self._stepping.values())
        for task in steps:
            task.cancel()
        await asyncio.gather(*steps, return_exceptions=True)
        self._stepping.clear()
        self._names.clear()
        self._first.clear()
        if self._executor is not None:
            executor, self._executor = self._executor, None
            await executor.close()
            self._refusals.clear()

    def _settle(self, now: float) -> None:
        complete = all(r.synced.is_set() for r in self._world.reflectors) and self._witness.roster is not None
        if not complete or not self._witness.fresh_views(now):
            self._settled_at = None
        elif self._settled_at is None:
            self._settled_at = now
        if self._settled_at is not None:
            self._setbacks.settled_for(now - self._settled_at)

    # --- verdicts --------------------------------------------------------------------------------------

    def _judge(self, now: float) -> None:
        self._judged_at = now
        evacuated = self._evacuated()
        for node in list(self._witness.nodes()):
            evidence = self._witness.evidence(
                node, now, device_proved=self.device_proved(node), roles=self._network_roles(node)
            )
            if evidence is None:
                continue
            judgement = judge(evidence, now, self._on_hung(evidence))
            before = self.judgements.get(node)
            self.judgements[node] = judgement
            self._witness.down(node, judgement.may_be_fenced, now)
            self._watch_intent(evidence.boot, evacuated, silent=evidence.ring.doubted_at > NEVER)
            if evidence.ring.single and not evidence.own_probe_silent:
                self._probe(node)
            if evidence.ring.state is RingState.UNREACHABLE or judgement.may_be_fenced:
                self._ask(node)
            if before is None or before.verdict is not judgement.verdict:
                logger.info("node %s: %s (%s)", node, judgement.verdict, judgement.sentence)
                self._metrics.verdict(node, before.verdict if before else None, judgement.verdict)
        for gone in self.judgements.keys() - set(self._witness.nodes()):
            self._metrics.node_gone(gone, self.judgements.pop(gone).verdict)
            self._marked.pop(gone, None)
            self._read_nodes.pop(gone, None)
        if len(self._intents) > 2 * len(self.judgements):
            self._intents.keep(boot for _, boot, _, _ in self._marked.values())
        if (roster := self._witness.roster) is not None:
            alive = self._witness.alive(now) & roster.by_name.keys()
            self._metrics.ring(roster.epoch, len(roster.members), len(alive))
        verdicts = {node: judgement.verdict for node, judgement in self.judgements.items()}
        self._someone_down = any(judgement.may_be_fenced for judgement in self.judgements.values())
        for node in self._told.due(verdicts, leads=self._leadership.leads):
            if (boot := self._witness.boot(node)) is not None:
                self._tell(boot, self.judgements[node])

    def _tell(self, boot: Boot, judgement: Judgement) -> None:
        """An Event on the Node."""
        about = ObjectRef(kinds.NODE, boot.node, uid=boot.node_uid)
        warning = judgement.verdict is not Verdict.HEALTHY
        self._narrator.tell(about, judgement.verdict.value, judgement.sentence, warning=warning)

    def _evacuated(self) -> frozenset[str]:
        """Nodes that an eviction wants VMs off."""
        return self._world.evacuated()

    def _watch_intent(self, boot: Boot, evacuated: frozenset[str], *, silent: bool) -> None:
        node = self._world.nodes.store.get(("", boot.node))
        if node is None:
            return
        read = self._read_nodes.get(boot.node)
        if read is not None and _version(read) <= _version(node):
            del self._read_nodes[boot.node]  # the watch has come as far
        elif read is not None:
            node = read
        # Of a thousand nodes hardly one says something new on a turn.
        evicted = node.name in evacuated
        before, self._marked[boot.node] = self._marked.get(boot.node), (node, boot, evicted, silent)
        if before is not None and before[0] is node and before[1:] == (boot, evicted, silent):
            return
        marks = Marks(
            annotations=node.marks,
            taints=frozenset(taint.key for taint in node.taints),
            shutting_down=node.ready.shutting_down,
            ready=node.ready.status.value == "True",
            deleting=node.deleting,
            cordoned=node.unschedulable,
            evicted=evicted,
        )
        self._intents.see(boot, marks, silent=silent)

    def _network_roles(self, node: str) -> Mapping[str, NetworkRole]:
        known = self._world.nodes.store.get(("", node))
        return roles(self._world.networks_of(known)) if known is not None else {}

    def _on_hung(self, evidence: Evidence) -> OnHung:
        """The policy of the node's zone, where it matters. A node in two zones is in none."""
        if evidence.ring.state is not RingState.AGENT_DOWN:
            return OnHung.ALERT
        zone, _ = self.zone_of(self._world.nodes.store.get(("", evidence.boot.node)))
        return zone.spec.on_hung if zone is not None else OnHung.ALERT

    def device_proved(self, node: str) -> bool:
        """Whether a device of the node has proved itself of late."""
        return any(
            (proof := self._devices.proof(name, node)) is not None and proof.ok
            for name in self._world.devices_of(node)
        )

    # --- records ---------------------------------------------------------------------------------------

    def _adopt(self, now: float) -> None:
        """Notice what is stored, whoever stored it: the instants count from here."""
        failovers = self._world.own.all(Failover)
        for (_, name), failover in failovers.items():
            version = int(failover.metadata.resource_version or 0)
            adopted = self._adopted.setdefault(name, Adopted(first_seen=now, known_at=version))
            status = failover.status
            adopted.seen = failover
            phase = status.phase or ""
            if phase and name in self._deleted:
                del self._deleted[name]  # another has written it anew
            if phase != adopted.phase:
                adopted.phase, adopted.phase_since = phase, now
            orders = (len(status.orders), status.ladder_pass)
            if orders != adopted.orders:
                adopted.orders, adopted.orders_seen = orders, now
            if len(status.begun_levels) != adopted.levels:
                adopted.levels, adopted.levels_seen = len(status.begun_levels), now
            called_off = tuple(f"{c.device} {c.no_order_before}" for c in status.called_off_by)
            if called_off != adopted.called_off:
                adopted.called_off, adopted.called_off_seen = called_off, now
            if status.proofs and adopted.proofs_seen == NEVER:
                adopted.proofs_seen = now
            if status.proofs and not adopted.proved:
                adopted.proved_at = int(failover.metadata.resource_version or 0)
            adopted.proved = bool(status.proofs)
            if failover.spec.confirm != adopted.confirmed[0]:
                adopted.confirmed = (failover.spec.confirm, now)
            if phase in ENDED:
                self._ended_at.setdefault(failover.spec.node, now)
                if adopted.record is not None and adopted.record.phase not in ENDED:
                    # The last write of the leader before came after we had read it. Nobody steps what has ended, so nothing else
                    # would show that; and as long as it counts as open its node gets no other incident.
                    adopted.record = None
        for name in [n for n in self._adopted if ("", n) not in failovers]:
            gone = self._adopted.pop(name)  # somebody has deleted the object
            self._forgotten.seen_deleted(name)
            if gone.record is None and gone.seen is not None:
                gone.record = _as_seen(gone, gone.seen)
            if gone.record is None or gone.record.phase in ENDED:
                continue
            if machine.outlives_its_object(gone.record, now):
                self._deleted[name] = gone

    def _record(self, name: str, failover: Failover) -> Adopted:
        adopted = self._adopted[name]
        if adopted.record is None:
            adopted.record = _as_seen(adopted, failover)
            adopted.raw = self._world.own.raw("failovers", ("", name)) or {}
        return adopted

    async def _reread(self, name: str, adopted: Adopted) -> None:
        """Somebody wrote first: look again."""
        try:
            raw = await self._cluster.get(kinds.FAILOVER, name)
        except ClusterError as error:  # gone, which its watch tells; or the next turn asks again
            logger.info("%s not read again: %s", name, error)
            return
        self._world.own.seen("failovers", raw)
        adopted.record, adopted.raw = None, raw

    def _turned_down(self, key: Hashable, what: str, error: ClusterError, boot: Boot, uid: str = "") -> None:
        """A write of an incident has failed. Raises the error again where the server doesn't answer: no other is begun on this turn."""
        about = (
            ObjectRef(kinds.FAILOVER, str(key), uid=uid)
            if uid
            else ObjectRef(kinds.NODE, boot.node, uid=boot.node_uid)
        )
        self._refusals.failed(key, what, error, about)
        if unanswered(error):
            raise error

    def _open_failovers(self) -> dict[str, Failover]:
        return {
            name: failover
            for (_, name), failover in self._world.own.all(Failover).items()
            if failover.status.phase not in ENDED
        }

    async def _open(self, now: float) -> None:
        """Open a failover for every node that may be fenced, has something to lose, and has none open."""
        assert self._executor is not None
        covered = set(self.busy_nodes())
        covered |= {
            a.record.boot.node
            for a in self._adopted.values()
            if a.record is not None and a.record.phase not in ENDED
        }
        for node, judgement in list(self.judgements.items()):
            boot = self._witness.boot(node)
            if not judgement.may_be_fenced or node in covered or boot is None:
                continue
            if not self._refusals.due(("open", boot)) or not self.affected(node):
                continue
            look = self._look(boot, None, now)
            evidence = self._witness.evidence(node, now, device_proved=False)
            assert evidence is not None
            doubted = self._clock.wall() - (now - evidence.silent_at)
            # One name for as long as it is tried: an answer that was lost must not make a second Failover of the node.
            name = self._names.setdefault(boot, f"{node}-{boot.boot_id[:8]}-{self._suffix()}")
            down_since = self._witness.down(node, may_be_fenced=True, now=now)
            record = machine.open_failover(
                name,
                boot,
                doubted,
                look,
                evidence.ring.voters,
                votes=evidence.ring.votes,
                vote_after=evidence.ring.vote_after,
                verdict_wall=self._clock.wall() - (now - down_since),
            )
            try:
                try:
                    raw = await self._executor.create(record)
                except AlreadyExists:
                    raw = await self._cluster.get(kinds.FAILOVER, name)
            except ClusterError as error:
                self._turned_down(("open", boot), f"the Failover of {node}", error, boot)
                continue
            self._refusals.taken(("open", boot))
            del self._names[boot]
            self._world.own.seen("failovers", raw)
            if not raw.get("status", {}).get("phase"):
                self._adopted[name] = Adopted(first_seen=now, raw=raw)
                await self._begin(name, record)

    async def _begin(self, name: str, record: Record) -> None:
        """Store the first status of an incident whose object stands."""
        assert self._executor is not None
        adopted, now = self._adopted[name], self._clock.monotonic()
        uid = adopted.raw["metadata"]["uid"]
        try:
            raw = await self._executor.store_first(record, adopted.raw)
        except ClusterError as error:
            self._first[name] = record
            if isinstance(error, Conflict):
                await self._reread(name, adopted)
            self._turned_down(name, f"the status of Failover {name}", error, record.boot, uid)
            return
        self._refusals.taken(name)
        self._first.pop(name, None)
        adopted.record, adopted.raw = record, raw
        adopted.phase, adopted.phase_since = record.phase, now
        self._world.own.seen("failovers", raw)
        self._narrator.phase(record, uid)

    async def _drive(self) -> bool:
        assert self._executor is not None
        busy = self._pressing()
        # All first: limits and places at a chassis look at every incident, whoever had begun it.
        opened = [
            (name, failover, self._record(name, failover))
            for name, failover in self._open_failovers().items()
        ]
        opened.sort(key=lambda one: machine.precedence(one[2].record) if one[2].record else ())
        for name, failover, adopted in opened:
            task = self._stepping.get(name)
            if task is None and adopted.record is None:
                # Another may have ended it while the ones before had their turn: then it isn't open any more.
                if self._refusals.due(name) and name in self._open_failovers():
                    await self._resume_empty(name, failover)
                continue
            if task is None:
                task = self._stepping[name] = asyncio.create_task(self._drive_one(name, adopted))
                await asyncio.wait((task,), timeout=BESIDE)
            if not task.done():
                busy = True
                continue
            del self._stepping[name]
            task.result()
            waits = not self._refusals.due(name)
            busy = busy or waits or (adopted.record is not None and _under_way(adopted.record))
        self._forget_steps()
        return busy

    def _forget_steps(self) -> None:
        """Of incidents that are not open any more: somebody has deleted the object while a write to it was on its way."""
        known = self._open_failovers()
        for name in [n for n, task in self._stepping.items() if task.done() and n not in known]:
            self._stepping.pop(name).result()

    async def _drive_one(self, name: str, adopted: Adopted) -> None:
        """The steps of one incident that are due, and what becomes of a write that was turned down. Raises TooLate."""
        try:
            await self._steps(name, adopted)
        except ClusterError as error:
            if isinstance(error, Conflict):
                logger.info("somebody wrote first, looking again: %s", error)
                await self._reread(name, adopted)
            about = ObjectRef(kinds.FAILOVER, name, uid=adopted.raw["metadata"]["uid"])
            self._refusals.failed(name, f"the status of Failover {name}", error, about)
        finally:
            self.poke()

    async def _steps(self, name: str, adopted: Adopted) -> None:
        """Take the steps of one incident that are due. Raises ClusterError, TooLate: not stored, so not done."""
        assert self._executor is not None
        # A step and its commands may call for the next step at once (proof stored, then taint).
        for _ in range(8):
            if adopted.record is None:
                return  # another has ended it meanwhile
            before, now = adopted.record, self._clock.monotonic()
            if now - self._judged_at > JUDGED_FOR:
                self._judge(now)
            step = machine.step(before, self._look(before.boot, adopted, now))
            if step.record == before:
                await self._executor.carry_out(before, step, adopted.raw)
                return
            if not self._refusals.due(name):
                return
            if _irrevocable(before, step) and now - adopted.read_at >= READ_FOR:
                if not await self._read_afresh(adopted, before.boot):
                    return
                continue
            orders = any(isinstance(command, OrderOff | OrderOn) for command in step.commands)
            if orders and self._ordering:
                return  # limits and places at a chassis go by what is on record: the other order is, in a moment
            if orders:
                self._ordering.add(name)
            try:
                adopted.record, adopted.raw = await self._executor.carry_out(before, step, adopted.raw)
            finally:
                self._ordering.discard(name)
            self._refusals.taken(name)
            if step.record.power_on_tries > before.power_on_tries:
                adopted.powered_on_at = now
            self._world.own.seen("failovers", adopted.raw)
            self._note(adopted, before, adopted.record, now)
            self._adopt(now)

    async def _read_afresh(self, adopted: Adopted, boot: Boot) -> bool:
        """Read consistently what speaks against the next step; False: it could not be read, so the step is not taken.

        A watch tells late, and one that is lost tells nothing for a minute: most of all where the API server has been away, and people
        have said meanwhile what may not be done. What has been stored of the incident itself, its own write finds out.
        """
        node, meta = boot.node, adopted.raw["metadata"]
        key, what = ("read", meta["name"]), f"the questions before {node} is fenced"
        if not self._refusals.due(key):
            return False
        own = self._world.own
        held = {plural: own.held(plural) for plural in WISHES}
        known = self.judgements.get(node)
        hangs = known is not None and known.verdict is Verdict.HUNG
        try:
            async with asyncio.timeout(timing.ORDER_SENT_WITHIN):
                found, lease, *wished = await asyncio.gather(
                    _answer(self._node_now(node)),
                    _answer(self._kubelet_lease_now(node) if hangs else _nothing()),
                    *(_answer(self._wishes_now(plural)) for plural in WISHES),
                )
            for answer in (found, lease, *wished):
                if isinstance(answer, ClusterError):
                    raise answer
        except (ClusterError, TimeoutError) as error:
            why = error if isinstance(error, ClusterError) else Unavailable("no answer in time")
            self._refusals.failed(key, what, why, ObjectRef(kinds.FAILOVER, meta["name"], uid=meta["uid"]))
            return False
        self._refusals.taken(key)
        for plural, raws in zip(WISHES, wished, strict=True):
            assert isinstance(raws, tuple)
            own.sweep(plural, raws, held[plural])
        if isinstance(found, NodeObject):
            self._read_nodes[node] = found
            self._witness.boot_seen(node, found.uid, found.boot_id, self._clock.monotonic())
            if hangs:
                self._renewed(found, lease if isinstance(lease, LeaseObject) else None)
        else:
            self._witness.forget(node)
        adopted.read_at = self._clock.monotonic()
        self._judge(adopted.read_at)
        return True

    def _renewed(self, node: NodeObject, lease: LeaseObject | None) -> None:
        """What is read of a node that hangs, as it seems: that nothing of it is renewed may be the watches' fault.

        One that is down is silent for its peers, whatever it has renewed last.
        """
        now, world, seen = self._clock.monotonic(), self._world, self._witness.renewal_seen
        seen(node.name, "heartbeat", node.virt_heartbeat, now, world.nodes.happened_after)
        if lease is not None:
            seen(node.name, "kubelet_lease", lease.renew_time, now, world.node_leases.happened_after)

    async def _kubelet_lease_now(self, node: str) -> LeaseObject | None:
        try:
            return LeaseObject.from_raw(await self._cluster.get(kinds.LEASE, node, NODE_LEASES))
        except NotFound:
            return None

    async def _wishes_now(self, plural: str) -> tuple[Json, ...]:
        return await self._cluster.list(WISHES[plural])

    async def _node_now(self, name: str) -> NodeObject | None:
        try:
            return NodeObject.from_raw(await self._cluster.get(kinds.NODE, name))
        except NotFound:
            return None

    async def _resume_empty(self, name: str, failover: Failover) -> None:
        """The former leader died between the object and its first status, or that was turned down: begin it again."""
        boot = Boot(failover.spec.node, failover.spec.node_uid, failover.spec.boot_id)
        adopted = self._adopted[name]
        adopted.raw = self._world.own.raw("failovers", ("", name)) or {}
        record = self._first.get(name)
        if record is None:
            look = self._look(boot, None, self._clock.monotonic())
            record = machine.open_failover(name, boot, self._clock.wall(), look, ())
        await self._begin(name, record)

    def _note(self, adopted: Adopted, before: Record, after: Record, now: float) -> None:
        for what, seconds in after.timings[len(before.timings) :]:
            self._metrics.step(what, seconds)
        if before.phase != after.phase:
            adopted.phase, adopted.phase_since = after.phase, now
            self._metrics.phase(after.phase)
            if after.phase in ENDED:
                self._ended_at[after.boot.node] = now

    # --- looks -----------------------------------------------------------------------------------------

    def supposing(
        self, boot: Boot, judgement: Judgement, down: frozenset[str], silent: frozenset[str]
    ) -> tuple[Look, limits.Situation]:
        """What an incident of the node would look at, were it judged so now; for `controller/foresight.py`.

        Args:
            down: the nodes that are supposed to be Down, this one included where it would be.
            silent: the nodes that are supposed not to be heard.
        """
        now = self._clock.monotonic()
        zone, _ = self.zone_of(self._world.nodes.store.get(("", boot.node)))
        situation = self.situation(boot.node)
        situation = replace(
            situation,
            alive=situation.alive - silent,
            down_in_zone=situation.down_in_zone | (down & frozenset(self._names_in(zone))),
            in_flight_elsewhere=situation.in_flight_elsewhere | (down - {boot.node}),
        )
        look = replace(
            self._look(boot, None, now),
            judgement=judgement,
            limit=limits.limitation(situation),
            limit_when_found_off=limits.limitation_when_found_off(situation),
            order_delay=zone.spec.fencing.delay_seconds if zone is not None else 0.0,
        )
        return look, situation

    def _no_older(self, boot: Boot, adopted: Adopted | None) -> bool:
        """Whether what this replica knows as the node's boot is the incident's, or a later one.

        Boot ids have no order. Whoever takes an incident over may have followed the Nodes by a watch that lags behind, and know an
        earlier boot: taken for a later one it would prove that the incident's boot, which may run, is over.
        """
        seen = boot.boot_id in self._witness.boots(boot.node)
        return seen or not self._lags(adopted)

    def _namesake(self, boot: Boot, adopted: Adopted | None, now: float) -> Namesake | None:
        """Another Node object that has the node's name. One of before the incident is none: a watch that lags behind shows it."""
        node = self._world.nodes.store.get(("", boot.node))
        if node is None or node.uid == boot.node_uid or self._lags(adopted):
            return None
        if adopted is not None and adopted.namesake[0] != node.uid:
            adopted.namesake = (node.uid, now)
        known = self.judgements.get(boot.node)
        return Namesake(node.boot_id, down=known is not None and known.may_be_fenced)

    def _lags(self, adopted: Adopted | None) -> bool:
        """Whether what this replica knows of the Nodes is older than the incident."""
        return adopted is not None and self._world.nodes.reached < adopted.known_at

    def _look(self, boot: Boot, adopted: Adopted | None, now: float) -> Look:
        node = self._world.nodes.store.get(("", boot.node))
        own = node if node is not None and node.uid == boot.node_uid else None
        namesake = self._namesake(boot, adopted, now)
        judgement = self.judgements.get(
            boot.node, Judgement(Verdict.SUSPECT, f"nothing is known of {boot.node}", known=False)
        )
        if namesake is not None:
            # What is found about that one is another incident's, and so are orders.
            judgement = Judgement(Verdict.SUSPECT, f"{boot.node} was deleted and registered again")
        current = self._witness.boot(boot.node)
        same_node = current is not None and current.node_uid == boot.node_uid
        life = self._witness.life_of(boot)
        # Whatever Node object it has by now: one that was deleted and registers again in the same boot is the same machine.
        same_boot = current is not None and current.boot_id == boot.boot_id
        life_at, life_sign = life.latest, life.latest_sign()
        if namesake is not None and same_boot and adopted is not None and adopted.namesake[1] > life_at:
            life_at, life_sign = adopted.namesake[1], "a new Node object of the same boot"
        # Whoever reads this runs: no proof about this replica's own node is true.
        lives_here = same_boot and boot.node == self._own_node
        down_since = self._witness.down(boot.node, judgement.may_be_fenced, now) if same_node else NEVER
        zone, trouble = self.zone_of(node)
        record = adopted.record if adopted else None
        affected = self.affected(boot.node)
        situation = self._situation_of(boot, adopted, zone, trouble, now, affected)
        protected, lost = restarts.protected(self._world), self._lost()
        vmis = frozenset(v.vmi_uid for v in affected) | frozenset(
            v.vmi_uid for v in (record.vms if record else ())
        )
        vmis |= restarts.targets_on(self._world, boot.node, protected.keys())
        vms = {(v.namespace, v.name) for v in (*affected, *(record.vms if record else ()))}
        pods = self._world.pods_on(boot.node, vmis, self._world.claims_of(vms))
        # What the next proof is about: instances may have changed since the incident was opened.
        about = record.vms if record and record.proofs else merged(record.vms if record else (), affected)
        volumes = written_by(self._world, about, pods)
        evidence = self._witness.evidence(boot.node, now, device_proved=False) if same_boot else None
        heartbeat = zone.spec.storage.heartbeat if zone and zone.spec.storage else None
        out_of_service = [t for t in (own.taints if own else ()) if t.key == OUT_OF_SERVICE]
        return Look(
            now=now,
            wall=self._clock.wall(),
            leader=self._identity,
            epoch=self._leadership.election.epoch,
            judgement=judgement,
            limit=limits.limitation(situation),
            limit_when_found_off=limits.limitation_when_found_off(situation),
            hold_over=down_since > NEVER
            and now - down_since >= self.spec.hold_seconds + judgement.hold_more
            and now >= judgement.not_before,
            heard_at=life.packet,
            heard_since=life.packets_since,
            renewed_after=life.renewed_after,
            down_at=self._witness.down_at(boot.node) if same_node else NEVER,
            life_at=now if lives_here else life_at,
            life_sign="the acting controller, which runs on it" if lives_here else life_sign,
            node_exists=own is not None or self._lags(adopted),
            namesake=namesake,
            current_boot_id=current.boot_id
            if same_node and current and self._no_older(boot, adopted)
            else "",
            node_ready=own is not None and own.ready.status.value == "True",
            suspect_taint=own is not None and any(t.key == SUSPECT for t in own.taints),
            out_of_service_taint=bool(out_of_service),
            foreign_taint=any(t.value != OUT_OF_SERVICE_VALUE for t in out_of_service),
            levels=self._levels(zone, boot, volumes, adopted.first_seen if adopted is not None else now),
            proofs_required=zone.spec.fencing.proofs if zone else 1,
            pods=pods,
            attachments=self._world.attachments_on(boot.node),
            vms=tuple(
                self._vm_look(v, record, protected, lost)
                for v in (record.vms if record and record.vms else affected)
            ),
            room=restarts.room(
                self._world,
                [a.record for a in self._adopted.values() if a.record],
                record.name if record else "",
                self._clock.wall(),
            ),
            unready=restarts.unready(
                self._world, {key for vm in vms for key in restarts.after(protected.get(vm), vm[0])}
            ),
            affected=affected,
            confirmation=self._confirmation(adopted),
            power_on=zone is not None and zone.spec.fencing.power_on == "Always",
            power_on_due=adopted is not None
            and not situation.forgotten
            and now - max(adopted.powered_on_at, adopted.phase_since) >= self._power_on_wait(record),
            retry_due=adopted is not None
            and record is not None
            and now - max(adopted.phase_since, adopted.orders_seen) >= _backoff(record.ladder_pass),
            slot_moved_at=life.slot if same_boot else NEVER,
            vm_volumes=volumes,
            guests=self._guests(boot, adopted),
            slot_due=slot_due(evidence) if same_boot and evidence is not None else NEVER,
            hedges=self._world.hedges(zone) if zone is not None else (),
            order_delay=self._order_delay(zone, adopted),
            told_fenced=self._witness.told_fenced(boot, now) if heartbeat is not None else None,
            stop_guests=heartbeat is not None and heartbeat.stop_guests,
            node_lease=self._node_leases.look(boot.node),
            set_back=self._setbacks.last,
            compared=self._setbacks.compared,
            storm=limits.storm(situation) is not None,
            hears=limits.not_settled(situation) is None,
            nodes_lag=self._lags(adopted),
            lies=self._world.own.known_lies(boot.node) if record is None else (),
            quarantined=situation.incidents_lately + (record is not None) >= limits.FLAPS,
        )

    def _incidents_lately(self, boot: Boot, but: str) -> int:
        """How many Failovers of the node are over that were begun within the last hour."""
        since = self._clock.wall() - limits.FLAPS_WITHIN
        return sum(
            one.spec.node_uid == boot.node_uid
            and name != but
            and one.status.phase in ENDED
            and one.status.started_at is not None
            and parse(one.status.started_at) >= since
            for (_, name), one in self._world.own.all(Failover).items()
        )

    def _quarantined(self) -> frozenset[str]:
        """Nodes that keep the suspect taint for having flapped."""
        boots = (self._witness.boot(f.spec.node) for f in self._world.own.all(Failover).values())
        return frozenset(
            boot.node
            for boot in boots
            if boot is not None and self._incidents_lately(boot, "") >= limits.FLAPS
        )

    def _levels(self, zone: HAZone | None, boot: Boot, volumes: tuple[CutVm, ...], since: float) -> Rungs:
        """The looks at the node's devices, level by level."""
        if zone is None:
            return ()
        return tuple(
            tuple(self._rung(name, boot, zone, volumes, since) for name in level)
            for level in self._world.levels(zone, boot.node)
        )

    def _rung(
        self, name: str, boot: Boot, zone: HAZone, volumes: tuple[CutVm, ...], since: float
    ) -> DeviceLook | WatchdogLook:
        if self._world.is_watchdog(name):
            return self._watchdogs.look(name, boot, zone.spec.fencing.watchdog)
        if self._world.is_manual(name):
            return DeviceLook(name, unusable=A_PERSON)
        seen, device = self._devices.look(name, boot.node), self._world.own.all(FenceDevice).get(("", name))
        # A reading names no boot: what was read before this incident was known may be of another one.
        called_off = seen.called_off_at if (seen.called_off_at or NEVER) >= since else None
        back_on = seen.back_on_at if (seen.back_on_at or NEVER) >= since else None
        readings = tuple(r for r in seen.readings if r.asked_at >= since)
        off = max(seen.off_since, since) if seen.off_since is not None and readings else None
        if (readings, called_off, back_on, off) != (
            *(seen.readings, seen.called_off_at, seen.back_on_at, seen.off_since),
        ):
            seen = replace(
                seen, readings=readings, called_off_at=called_off, back_on_at=back_on, off_since=off
            )
        if seen.chassis is not None:
            others = self._orders_at(seen.chassis.address, boot)
            seen = replace(seen, chassis=replace(seen.chassis, others=others))
        if device is None or device.spec.storage is None:
            return seen
        return as_storage(seen, device, zone, self._world, volumes)

    def _orders_at(self, address: str, boot: Boot) -> tuple[str, ...]:
        open_ = [a.record for a in self._adopted.values() if a.record and a.record.phase not in ENDED]
        incidents = [(record.boot, record.orders) for record in open_]
        now, drills = self._clock.monotonic(), self._devices.drill_orders()
        return orders_at(address, boot, incidents, self._devices.look, now, drills)

    def _order_delay(self, zone: HAZone | None, adopted: Adopted | None) -> float:
        """The zone's delay before the first order; the random part is drawn once an incident."""
        if zone is None or adopted is None:
            return 0.0
        if adopted.draw is None:
            adopted.draw = self._draw()
        fencing = zone.spec.fencing
        return fencing.delay_seconds + adopted.draw * fencing.delay_random_seconds

    def _guests(self, boot: Boot, adopted: Adopted | None) -> frozenset[str] | None:
        report = self._world.own.all(NodeReport).get(("", boot.node))
        if adopted is None or self._setbacks.unsettled:
            return None
        last = self._setbacks.last
        return guests_since(report, boot, max(adopted.proved_at, last.version if last is not None else 0))

    @staticmethod
    def _power_on_wait(record: Record | None) -> float:
        return timing.POWER_ON_SPACING if record is not None and record.power_on_tries else 1.0

    @property
    def leader(self) -> str:
        """Name of the replica that leads."""
        return self._leadership.election.holder

    @property
    def spec(self) -> HAClusterSpec:
        cluster = self._world.own.cluster
        return cluster.spec if cluster else HAClusterSpec()

    @property
    def mode(self) -> Mode:
        """Without an HACluster nothing is armed: nobody has asked for it."""
        cluster = self._world.own.cluster
        return Mode(cluster.spec.mode) if cluster else Mode.DISARMED

    def zone_of(self, node: NodeObject | None) -> tuple[HAZone | None, str | None]:
        if node is None:
            return None, None
        zones = self._world.zones_of(node)
        if len(zones) > 1:
            return (
                None,
                f"{node.name} is in more than one HAZone: {', '.join(z.metadata.name for z in zones)}",
            )
        return (zones[0], None) if zones else (None, None)

    def _situation(
        self,
        node: str,
        zone: HAZone | None,
        trouble: str | None,
        now: float,
        affected: tuple[VmRecord, ...],
        *,
        released: bool,
    ) -> limits.Situation:
        members = self._names_in(zone)
        roster = (
            frozenset(m.name for m in self._witness.roster.members) if self._witness.roster else frozenset()
        )
        open_records = [a.record for a in self._adopted.values() if a.record and a.record.phase not in ENDED]
        proved = self._proved()
        in_flight = frozenset(
            r.boot.node for r in open_records if r.phase not in PROVED and r.boot.node != node
        )
        window = self.spec.storm_window_seconds
        maintained = self._world.maintained()
        slots = {n: state for n, state in self._slot_states(zone, members, now).items() if n != node}
        alive = self._witness.alive(now)
        lately = {
            r.boot.node
            for r in open_records
            if self._clock.wall() - r.started_wall <= window or r.phase not in PROVED
        }
        down = {n for n, j in self.judgements.items() if j.may_be_fenced and n not in proved} | lately
        return limits.Situation(
            node=node,
            mode=self.mode,
            zone=zone.metadata.name if zone else None,
            zone_trouble=trouble,
            protected_vms=len(affected),
            alive=alive,
            electorate=roster - ((proved | maintained.keys()) - {node}),
            zone_size=len(members),
            storm_fraction=self.spec.storm_fraction,
            released=released,
            down_in_zone=frozenset((down & members) - (maintained.keys() - {node})),
            in_flight_elsewhere=in_flight,
            fencing=frozenset(
                r.boot.node for r in open_records if r.phase is Phase.FENCING or may_be_off_soon(r, now)
            ),
            proved=proved,
            leader_node=self._own_node,
            power_devices=zone is not None and self._only_power(zone, node),
            settled_for=now - self._settled_at if self._settled_at is not None else 0.0,
            cache_age=self._world.oldest_contact(now),
            writable=self._leadership.leads or not self._leadership.election.holder,
            remediator=self._node_leases.look(node).foreign,
            maintenance=maintained.get(node),
            maintained=frozenset(maintained),
            grace=self.spec.shutdown_grace_seconds,
            zone_members=frozenset(members),
            refuge=frozenset(self._elsewhere(zone) & alive),
            slots_seen=frozenset(slots),
            slots_moving=frozenset(n for n, state in slots.items() if state is SlotState.MOVING),
            slot_witnesses=self._witness.heartbeats.reporters(now) - {node},
            roster_epoch=self._witness.roster.epoch if self._witness.roster else 0,
            roster_epochs=tuple(v.roster_epoch for v in self._witness.fresh_views(now) if v.healthy),
        )

    def situation(self, node: str) -> limits.Situation:
        """What the limits see of the node now, as the open failover about it would."""
        zone, trouble = self.zone_of(self._world.nodes.store.get(("", node)))
        adopted = next(
            (
                a
                for a in self._adopted.values()
                if a.record is not None and a.record.boot.node == node and a.record.phase not in ENDED
            ),
            None,
        )
        now = self._clock.monotonic()
        record = adopted.record if adopted is not None else None
        boot = record.boot if record is not None else self._witness.boot(node)
        if boot is None:
            affected = self.affected(node)
            return self._situation(node, zone, trouble, now, affected, released=self._released(adopted))
        return self._situation_of(boot, adopted, zone, trouble, now)

    def _situation_of(
        self,
        boot: Boot,
        adopted: Adopted | None,
        zone: HAZone | None,
        trouble: str | None,
        now: float,
        affected: tuple[VmRecord, ...] | None = None,
    ) -> limits.Situation:
        """The node's situation with what is about this boot of it, and this incident.

        ``affected``: its protected VMs that would be lost with it, where whoever asks knows them.
        """
        affected = self.affected(boot.node) if affected is None else affected
        judgement, record = self.judgements.get(boot.node), adopted.record if adopted else None
        may_be_fenced = judgement is not None and judgement.may_be_fenced
        since = self._witness.down(boot.node, may_be_fenced, now) if self._witness.boot(boot.node) else NEVER
        return replace(
            self._situation(boot.node, zone, trouble, now, affected, released=self._released(adopted)),
            intent=self._intents.of(boot),
            down_for=now - since if since > NEVER else 0.0,
            incidents_lately=self._incidents_lately(boot, record.name if record else ""),
            forgotten=self._forgotten.at_work(boot.node, self._order_works(boot.node), now),
            stormed=record is not None and record.stormed,
        )

    def _order_works(self, node: str) -> float:
        """The longest that an order to one of the node's devices may take effect, from its decision."""
        devices = (name for (_, name), d in self._world.own.all(FenceDevice).items() if node in d.spec.nodes)
        lasts = (self._devices.look(name, node).order_lasts for name in devices)
        return timing.ORDER_SENT_WITHIN + max(lasts, default=timing.ORDER_EFFECT)

    def _elsewhere(self, zone: HAZone | None) -> set[str]:
        """The nodes of the other enabled zones."""
        zones = self._world.own.all(HAZone).values()
        others = [z for z in zones if zone is not None and z is not zone and z.spec.enabled]
        return {n.name for other in others for n in self._world.nodes_of(other)}

    def _slot_states(self, zone: HAZone | None, nodes: set[str], now: float) -> dict[str, SlotState]:
        """What is seen of the slots of the zone's nodes, where it has a heartbeat volume and they have one; as of the last look."""
        if zone is None or zone.spec.storage is None or zone.spec.storage.heartbeat is None:
            return {}
        seen_at, states = self._slots_seen.get(zone.metadata.name, (NEVER, {}))
        if (
            now - seen_at >= timing.SLOT_LOOK
        ):  # they are looked at no more often, and a zone may have hundreds
            found = {n: self._witness.slot(n, now).state for n in nodes}
            states = {n: state for n, state in found.items() if state is not SlotState.NONE}
            self._slots_seen[zone.metadata.name] = now, states
        return states

    def _names_in(self, zone: HAZone | None) -> set[str]:
        return {n.name for n in self._world.nodes_of(zone)} if zone else set()

    def _only_power(self, zone: HAZone, node: str) -> bool:
        """Whether it has devices, and each of them cuts: a watchdog is counted out, on whichever half."""
        names = [name for level in self._world.levels(zone, node) for name in level]
        return bool(names) and not any(self._world.is_watchdog(name) for name in names)

    def affected(self, node: str) -> tuple[VmRecord, ...]:
        """The protected VMs that would be lost with the node: that run there, or last ran there and run nowhere."""
        found = []
        lost = self._lost()
        declared = restarts.declared(self._world)
        for key, vmi in self._world.vmis_about(node).items():
            vm = self._world.vms.store.get(key)
            if vmi.phase in ("Succeeded", "") or vm is None or vm.run_strategy == "Halted":
                continue
            here = vmi.node == node and vmi.phase in ("Running", "Scheduled", "Unknown")
            arrives = restarts.arrives(vmi, node, lost)
            elsewhere = vmi.phase != "Running" and vmi.node != node
            for pvm in declared.get(key, ()):
                stuck = elsewhere and pvm.status.node == node
                if here or stuck or arrives:
                    uid, unstarted = vmi.uid if here or arrives else "", here and vmi.phase == "Scheduled"
                    found.append(VmRecord(key[0], vm.name, vm.uid, uid, unstarted=unstarted))
        return tuple(sorted(found, key=lambda v: (v.namespace, v.name)))

    def _vm_look(
        self,
        record: VmRecord,
        incident: Record | None,
        protected: Mapping[Key, ProtectedVM],
        lost: frozenset[str],
    ) -> VmLook:
        key = (record.namespace, record.name)
        pvm = protected.get(key)
        vm: VmObject | None = self._world.vms.store.get(key)
        vmi: VmiObject | None = self._world.vmis.store.get(key)
        stuck_since = self._world.lock_refused.get(vmi.uid) if vmi else None
        requests = [r.action for r in vm.state_change_requests] if vm else []
        by_user = vm is not None and (
            vm.run_strategy == "Halted"
            or vm.deleting
            or (requests != [] and requests[-1] == "Stop")
            or (incident is not None and self._deleted_by_user(record, vmi))
        )
        return VmLook(
            namespace=record.namespace,
            name=record.name,
            uid=vm.uid if vm else "",
            exists=vm is not None and vm.uid == record.vm_uid,
            run_strategy=vm.run_strategy if vm else "",
            stopped_by_user=by_user,
            vmi=VmiLook(
                uid=vmi.uid,
                phase=vmi.phase,
                node=vmi.node,
                lock_refused_for=self._clock.monotonic() - stuck_since if stuck_since is not None else None,
                deleting=vmi.deleting,
                on_lost_node=vmi.node in lost,
                unschedulable=restarts.unschedulable(vmi),
                bound=self._world.bound(vmi.uid),
            )
            if vmi
            else None,
            start_requested="Start" in requests,
            priority=pvm.spec.priority if pvm is not None else 0,
            after=restarts.after(pvm, record.namespace),
            failures=vm.start_failure.failures if vm and vm.start_failure else 0,
            blocked=restarts.blocked(vm),
            held_up=restarts.held_up(self._world, key) if record.released_wall is not None else "",
            snapshot=vm.snapshot_in_progress if vm else "",
            restore=vm.restore_in_progress if vm else "",
        )

    def _lost(self) -> frozenset[str]:
        """The nodes that may be fenced, or are proved off and not back yet."""
        records = (a.record for a in self._adopted.values() if a.record is not None)
        gone = {r.boot.node for r in records if r.phase not in ENDED and r.proofs and not r.new_boot_id}
        down = {name for name, judgement in self.judgements.items() if judgement.may_be_fenced}
        return frozenset(gone | down)

    def _deleted_by_user(self, record: VmRecord, vmi: VmiObject | None) -> bool:
        """The instance of the dead node is being deleted while it still counts as running: none of KubeVirt's doing."""
        vm = self._world.vms.store.get((record.namespace, record.name))
        always = vm is not None and vm.run_strategy == "Always"
        return (
            vmi is not None
            and not always
            and record.released_wall is None
            and vmi.uid == record.vmi_uid
            and vmi.deleting
            and vmi.phase == "Running"
        )

    def _released(self, adopted: Adopted | None) -> bool:
        failover = self._failover_of(adopted)
        return failover is not None and failover.spec.release is not None

    def _failover_of(self, adopted: Adopted | None) -> Failover | None:
        name = adopted.raw.get("metadata", {}).get("name", "") if adopted else ""
        return self._world.own.all(Failover).get(("", name))

    def _confirmation(self, adopted: Adopted | None) -> Confirmation | None:
        said, seen_at = adopted.confirmed if adopted is not None else (None, NEVER)
        return None if said is None else Confirmation(said.statement, said.confirmed_by, seen_at)

    async def sweep_taints(self) -> None:
        """Take our taints off nodes that no open failover is about (:mod:`~ringfence.controller.strays`)."""
        deadline = self._leadership.deadline  # of this decision, as the executor's
        nodes = list(self._world.nodes.store.values())
        quarantined = self._quarantined()
        for node, taint in self._strays.due(nodes, self.busy_nodes(), self._clock.monotonic(), quarantined):
            logger.info("node %s: its taint %s belongs to no open failover, it goes", node.name, taint.key)
            await self._cluster.remove_taint(
                node.name,
                node.uid,
                taint.key,
                taint.effect,
                value=taint.value,
                deadline=deadline,
            )

    async def sweep_words(self) -> None:
        """Take "you are fenced" back from boots that no open failover is about; a failover is stored before its word."""
        if self._scribe is None:
            return
        deadline = self._leadership.deadline
        about = {(f.spec.node_uid, f.spec.boot_id) for f in self._open_failovers().values()}
        nodes = {node.uid: node.name for node in self._world.nodes.store.values()}
        for uid, boot_id in self._witness.heartbeats.words(self._clock.monotonic()).items():
            if (uid, boot_id) not in about and uid in nodes:
                boot = Boot(nodes[uid], uid, boot_id)
                await self._scribe.tell(boot, "none", taken_back=True, deadline=deadline)

    @property
    def heartbeats(self) -> Heartbeats:
        """What the heartbeat processes report."""
        return self._witness.heartbeats

    def slot(self, node: str) -> SlotEvidence | None:
        """What is seen of the node's slot; None for an unknown node."""
        evidence = self._witness.evidence(node, self._clock.monotonic(), device_proved=False)
        return evidence.slot if evidence else None

    def busy_nodes(self) -> frozenset[str]:
        """Nodes whose devices an incident uses.

        Also one that is to be written anew, and was turned down: it goes on as soon as it is taken, and its orders may be at work.
        """
        deleted = {gone.record.boot.node for gone in self._deleted.values() if gone.record is not None}
        known = {failover.spec.node for failover in self._open_failovers().values()}
        return frozenset(known | deleted) | self._unread_nodes()

    def _unread_nodes(self) -> frozenset[str]:
        """Nodes of incidents that this controller can't read, most often of a newer one's."""
        unread = self._world.own.unread("failovers").values()
        return frozenset(one.node for one in unread if one.phase not in ENDED)


def _as_seen(adopted: Adopted, failover: Failover) -> Record | None:
    """The record that is stored there, by this replica's own instants; None: its first status is not stored yet."""
    return records.record_of(
        failover,
        adopted.orders_seen,
        adopted.proofs_seen,
        adopted.levels_seen,
        adopted.called_off_seen,
    )


async def _nothing() -> None:
    """No question."""


async def _answer(asked: Awaitable[Answer]) -> Answer | ClusterError:
    """Of several questions that are asked at once: one that fails ends no other."""
    try:
        return await asked
    except ClusterError as error:
        return error


def _version(node: NodeObject) -> int:
    """Versions of one object grow; Kubernetes >= 1.35 promises that they compare as numbers."""
    return int(node.resource_version or 0)


def _irrevocable(before: Record, step: Step) -> bool:
    """Whether it orders a node off, or is the first to call it off: what follows from that nobody takes back."""
    ordered = any(isinstance(command, OrderOff) for command in step.commands)
    return ordered or bool(step.record.proofs and not before.proofs)


def _under_way(record: Record) -> bool:
    """Whether the incident's next step may come without an event."""
    moving = any(not vm.state.settled and vm.state is not VmState.WAITING for vm in record.vms)
    return record.phase in (Phase.HOLDING, Phase.FENCING) or (record.phase is Phase.RECOVERING and moving)


def _patient(failover: Failover) -> bool:
    """Whether nothing of the incident is to be done soon: it waits for a person, for its node, or for a node that takes its VMs."""
    status = failover.status
    waits = all(vm.state.settled or vm.state is VmState.WAITING for vm in status.vms)
    return status.phase in _PATIENT or (status.phase is Phase.RECOVERING and bool(status.vms) and waits)


def _backoff(ladder_pass: int) -> float:
    return timing.LADDER_BACKOFF[min(ladder_pass, len(timing.LADDER_BACKOFF) - 1)]
