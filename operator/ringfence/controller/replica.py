"""One replica of the controller: everything that it does, around the doors that it is given.

The process (``__main__``) opens them to a real cluster, real agents and real devices; the simulator to virtual ones. kopf is not in
here: whoever runs a replica brings the events of our own kinds to ``world.own``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from ringfence.api.v1alpha1.hacluster import GossipSpec
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.controller import bootstrap
from ringfence.controller.admission import Admission
from ringfence.controller.devices import DeviceBook, OpenDevice
from ringfence.controller.drills import Drills
from ringfence.controller.evidence import Verify, Witness
from ringfence.controller.foresight import dry_run
from ringfence.controller.keys import KeyKeeper, holders
from ringfence.controller.launchers import Launchers
from ringfence.controller.leadership import Leadership
from ringfence.controller.loop import Loop
from ringfence.controller.members import members
from ringfence.controller.narrator import Narrator
from ringfence.controller.node_leases import NodeLeases
from ringfence.controller.policies import Policies
from ringfence.controller.questions import Questions
from ringfence.controller.refusals import Refusals
from ringfence.controller.setbacks import Setbacks
from ringfence.controller.slot_looks import SlotLooks
from ringfence.controller.slots import HeartbeatProcesses, SlotStreams
from ringfence.controller.statuses import Statuses
from ringfence.controller.streams import Agents, Streams
from ringfence.controller.trust import RosterTrust
from ringfence.controller.watchdogs import Watchdogs
from ringfence.controller.world import MANY, OWN, World
from ringfence.core.fencing.slots import cluster_id
from ringfence.core.gossip.keys import KeySet
from ringfence.fencing.network_fence import Epochs
from ringfence.kube import kinds
from ringfence.kube.client import Api
from ringfence.kube.cluster import KubeCluster
from ringfence.metrics import ControllerMetrics
from ringfence.net.crypto import SigningKey, check
from ringfence.net.kernel_probe import TIMEOUT
from ringfence.ports import Clock, Cluster, ClusterError, Conflict, Kind, PortError

logger = logging.getLogger(__name__)

SWEEP_EVERY = 60.0
HOUSEKEEPING_EVERY = 1.0
PROVE_LOOK = 1.0
"""Seconds between two looks whether a device is due for its proof."""
ROSTER_EVERY = 2.0
KEYS_EVERY = 2.0
OWN_KINDS: dict[str, Kind] = {
    "haclusters": kinds.HA_CLUSTER,
    "hazones": kinds.HA_ZONE,
    "fencedevices": kinds.FENCE_DEVICE,
    "failovers": kinds.FAILOVER,
    "nodereports": kinds.NODE_REPORT,
    "nodemaintenances": kinds.NODE_MAINTENANCE,
    "hapolicies": kinds.HA_POLICY,
}
assert OWN_KINDS.keys() == OWN.keys() - {MANY}


@dataclass(frozen=True, slots=True)
class Place:
    """As whom and where a replica runs, as its command line says."""

    namespace: str
    identity: str
    node: str
    port: int
    """The agents'."""
    slots_port: int
    """The heartbeat processes'; 0: there are none."""
    node_leases: str
    """The namespace of the Leases that remediators go by; empty: they are not used."""


@dataclass(frozen=True, slots=True)
class Doors:
    """What a replica reaches of the world, and how."""

    api: Api
    clock: Clock
    agents: Callable[[KeySet], Agents]
    heartbeats: Callable[[KeySet], HeartbeatProcesses]
    opener: Callable[[Cluster, Epochs], OpenDevice]
    probe: Callable[[str, Callable[[], None]], None]
    """Ask the kernel at this address, and call back when it answers."""
    verify: Verify
    draw: Callable[[], float]
    """A random number from 0 to 1."""
    suffix: Callable[[], str]
    """What makes a Failover's name its own."""


class Replica:
    """See the module; made by :meth:`begin`."""

    @classmethod
    async def begin(cls, place: Place, doors: Doors, metrics: ControllerMetrics) -> Replica:
        """Read the keys, for as long as it takes, and build the house."""
        cluster = KubeCluster(
            doors.api,
            namespace=place.namespace,
            component="ringfence-controller",
            instance=place.identity,
        )
        replica = cls(place, doors, metrics, cluster, await bootstrap.keys(cluster, place.namespace))
        await replica._keeper.begin()
        return replica

    def __init__(
        self,
        place: Place,
        doors: Doors,
        metrics: ControllerMetrics,
        cluster: KubeCluster,
        keys: bootstrap.Keys,
    ) -> None:
        clock = self._clock = doors.clock
        self._place = place
        self._doors = doors
        self._metrics = metrics
        self._cluster = cluster
        self._pokes: list[Callable[[], None]] = []
        self._probes: set[asyncio.Task[None]] = set()
        self._witness = witness = Witness(doors.verify)
        self.world = world = World(
            doors.api, clock, place.namespace, witness, doors.draw, self._poke, self._stir
        )
        narrator = Narrator(cluster)
        self._refusals = refusals = Refusals(clock, narrator, metrics, doors.draw)
        self.leadership = Leadership(
            *(cluster, clock, place.identity, place.namespace, metrics.leader),
            able=self._able,
            accused=self._accused,
            stand_down=self._stand_down,
        )
        self._keeper = KeyKeeper(cluster, keys.group, self._deadline)
        self._trust = RosterTrust(cluster, keys, place.namespace, witness, self._deadline)
        client, slot_client = doors.agents(self._keeper.keys), doors.heartbeats(self._keeper.keys)
        self._setbacks = setbacks = Setbacks(
            *(clock, witness, client, place.port),
            lambda data, signature: check(data, signature, keys.roster_public),
        )
        epochs = Epochs(
            lambda: witness.roster.epoch if witness.roster is not None else 0, lambda: setbacks.held
        )
        open_any = doors.opener(cluster, epochs)
        self._devices = devices = DeviceBook(cluster, clock, open_any, self._poke, draw=doors.draw)
        self._registrar = bootstrap.Registrar(cluster, world, witness, setbacks, keys, self._deadline)

        def rekey(keys: KeySet) -> None:
            client.rekey(keys)
            slot_client.rekey(keys)

        self._keeper.on_change = rekey
        self._questions = Questions(client, witness, clock, place.port, self._poke)
        seen = (witness, clock, place.identity, place.node)
        self._slot_streams = (
            SlotStreams(
                *(slot_client, *seen, place.slots_port, self._poke, metrics),
                cluster=cluster_id(keys.roster_public),
                sign=SigningKey(keys.roster_seed).sign,
            )
            if place.slots_port
            else None
        )
        slot_looks = (
            SlotLooks(slot_client, clock, place.slots_port, lambda: witness.roster)
            if place.slots_port
            else None
        )
        watchdogs = Watchdogs(
            *(cluster, clock, world, witness, client, place.port, self._poke, setbacks),
            slot_looks.look if slot_looks else None,
        )
        self.loop = Loop(
            cluster=cluster,
            clock=clock,
            world=world,
            witness=witness,
            devices=devices,
            watchdogs=watchdogs,
            node_leases=NodeLeases(cluster, clock, place.node_leases),
            setbacks=setbacks,
            leadership=self.leadership,
            narrator=narrator,
            identity=place.identity,
            own_node=place.node,
            suffix=doors.suffix,
            draw=doors.draw,
            probe=self._probe,
            ask=self._questions.ask,
            metrics=metrics,
            refusals=refusals,
            scribe=self._slot_streams,
        )
        self._pokes.append(self.loop.poke)
        self._policies = Policies(
            cluster, clock, world, narrator, doors.draw, self._deadline, self.loop.busy_nodes
        )
        self._statuses = Statuses(
            *(cluster, clock, world, devices, watchdogs, self.loop, narrator, self._keeper, self._trust),
            setbacks,
            self._policies,
            self._deadline,
            metrics,
            refusals,
        )
        self.admission = Admission(cluster, clock, world, open_any, self._statuses.protections.of)
        self._launchers = Launchers(cluster, world, refusals, self._deadline)
        self._drills = Drills(
            *(cluster, clock, world, devices, self.loop, narrator, place.node, self._deadline),
            lambda node: witness.life(node).latest,
        )
        self._streams = Streams(client, *seen, place.port, self._poke, metrics)

    def _able(self) -> bool:
        return self.loop.sees_majority()

    def _accused(self) -> bool:
        return self.loop.finds_own_node_down()

    async def _stand_down(self) -> None:
        await asyncio.gather(self.loop.stand_down(), self._drills.stand_down())

    def _deadline(self) -> float:
        return self.leadership.deadline

    def _poke(self) -> None:
        for one in self._pokes:
            one()

    def _stir(self) -> None:
        if self._pokes:
            self.loop.stir()

    def _probe(self, node: str) -> None:
        """Ask the node's kernel, unless somebody's is being asked."""
        witness = self._witness
        member = witness.roster.by_name.get(node) if witness.roster else None
        if member is None or not member.addresses or self._probes:
            return

        async def ask() -> None:
            heard = asyncio.Event()
            self._doors.probe(member.addresses[0], heard.set)
            try:
                async with asyncio.timeout(2 * TIMEOUT):
                    await heard.wait()
            except TimeoutError:
                pass
            witness.probe_seen(node, heard.is_set(), self._clock.monotonic())

        task = asyncio.create_task(ask())
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    # --- tasks ---------------------------------------------------------------------------------------------

    def work(self) -> dict[str, Callable[[], Coroutine[Any, Any, None]]]:
        """What runs side by side, by name; the end of any of it is the end of the replica."""
        return {
            "leadership": self.leadership.run,
            "streams": self._streams.run,
            **({"slot streams": self._slot_streams.run} if self._slot_streams else {}),
            "sweep": self._sweep,
            "housekeeping": self._housekeeping,
            "setbacks": lambda: self._setbacks.run(self._registrar.stored_epoch),
            "prove": self._prove,
            "loop": self.loop.run,
            **{f"watch {number}, {r.kind.plural}": r.run for number, r in enumerate(self.world.reflectors)},
        }

    async def end(self) -> None:
        """The last that it does, when its tasks are over: send nothing more, give the Lease back, hang up."""
        await self._questions.close()
        await self.leadership.release()
        await self._devices.close()

    def ring(self) -> dict[str, Any]:
        """The table of members, as ``/members`` shows it."""
        world = self.world
        reports = {name: report.status for (_, name), report in world.own.all(NodeReport).items()}
        named = {
            node.name: [network.name for network in world.networks_of(node)]
            for node in world.nodes.store.values()
        }
        return members(self._witness, self.loop.judgements, reports, self._clock.monotonic(), named=named)

    def suppose(self, nodes: Sequence[str]) -> dict[str, Any]:
        """What would follow if these nodes fell silent now, as ``/dry-run`` tells it."""
        return dry_run(nodes, self.loop, self.world, self._witness, self._clock)

    async def _sweep(self) -> None:
        """Kopf forgets nothing but deletions during its own relist: a LIST a minute sees those (STYLE, kopf)."""
        own, declared = self.world.own, self.world.protected_vms
        await declared.synced.wait()
        while True:
            own.agree(MANY, declared.store, declared.reached)
            for plural, kind in OWN_KINDS.items():
                try:
                    before = own.held(plural)
                    own.sweep(plural, await self._cluster.list(kind), before)
                except ClusterError as error:
                    logger.warning("%s not listed: %s", plural, error)
                    break
            else:
                own.swept = True
                self.leadership.ready()
            await asyncio.sleep(SWEEP_EVERY if own.swept else 1.0)

    async def _group_keys(self, every: float) -> None:
        """Their trouble must not hold up anything else."""
        try:
            await self._keeper.read(self._clock.monotonic(), every=every)
            if self.leadership.leads:
                await self._rotate()
        except Conflict as error:
            logger.info("group keys: %s; looking again", error)
        except PortError as error:
            if self._keeper.trouble is None:  # else it is said there
                logger.warning("group keys: %s", error)

    async def _keep_trust(self) -> None:
        """Its trouble must not hold up anything else either."""
        try:
            await self._trust.keep(self._clock.monotonic())
        except PortError as error:
            logger.warning("the roster's key: %s", error)

    async def _rotate(self) -> None:
        keeper, own = self._keeper, self.world.own
        declared = own.cluster
        asked = declared.spec.gossip if declared else GossipSpec()
        last = declared.status.keys if declared else None
        found = holders(
            self._witness,
            self.loop.judgements,
            own.all(NodeReport),
            asked.rotate_without,
            self._clock.monotonic(),
        )
        if found is not None:
            await keeper.step(asked.key_generation, last.generation if last else 0, found)
            self._metrics.keys(keeper.keys.generation, len(keeper.told.waits) if keeper.told else 0)

    async def _housekeeping(self) -> None:
        """What may wait a second: roster, group keys, conditions, tolerations."""
        while missing := self.world.not_listed():
            try:
                await self._statuses.wait(missing, write=self.leadership.leads)
            except PortError as error:
                logger.warning("housekeeping: %s", error)
            await asyncio.sleep(HOUSEKEEPING_EVERY)
        led = False
        while True:
            self._statuses.declare()
            self._statuses.measure()
            leads = self.leadership.leads
            try:
                # What another leader wrote last must be known before this one writes.
                await self._registrar.read(
                    self._clock.monotonic(), every=ROSTER_EVERY if led == leads else 0.0
                )
                await self._group_keys(KEYS_EVERY if led == leads else 0.0)
                led = leads
            except PortError as error:
                logger.warning("housekeeping: %s", error)
            else:
                await self._keep_house(leads=leads)
            await asyncio.sleep(HOUSEKEEPING_EVERY)

    async def _keep_house(self, *, leads: bool) -> None:
        """The leader's chores, each by itself: a write that is refused to one of them must not hold up the others."""
        if not leads:
            return
        await self._chore("the roster's key", self._keep_trust)
        await self._chore("the roster", self._registrar.publish)
        await self._chore("what HAPolicies ask for", self._policies.step)
        await self._chore("conditions", self._statuses.write)
        await self._chore("the tolerations of launchers", self._launchers.lift)
        if self._setbacks.compared and not self._setbacks.unsettled:
            # What these go by is what the store says, and it may be false.
            await self._chore("what drills come to", self._drills.step)
            await self._chore("the end of stray taints", self.loop.sweep_taints)
            await self._chore("words on heartbeat volumes", self.loop.sweep_words)

    async def _chore(self, what: str, chore: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._refusals.due(("chore", what)):
            return
        try:
            await chore()
        except ClusterError as error:
            self._refusals.failed(("chore", what), what, error)
        except PortError as error:
            logger.warning("housekeeping: %s", error)
        else:
            self._refusals.taken(("chore", what))

    async def _prove(self) -> None:
        """Prove the devices before they are needed: at once when declared, then once a minute."""
        while True:
            await self._devices.prove_due(self.loop.busy_nodes())
            await asyncio.sleep(PROVE_LOOK)
