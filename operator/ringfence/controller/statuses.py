"""Conditions of our own kinds, written by the leader when they change: what is protected, what is ready, and if not, why."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hacluster import HACluster
from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.api.v1alpha1.nodemaintenance import NodeMaintenance
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller.devices import DeviceBook
from ringfence.controller.keys import KeyKeeper
from ringfence.controller.loop import Loop
from ringfence.controller.narrator import Narrator
from ringfence.controller.policies import Policies
from ringfence.controller.protections import Places, Protections, Said
from ringfence.controller.refusals import Refusals, unanswered
from ringfence.controller.rfc3339 import parse, stamp
from ringfence.controller.setbacks import Setbacks
from ringfence.controller.storages import only_a_reboot_lifts
from ringfence.controller.trust import RosterTrust
from ringfence.controller.watchdogs import Watchdogs
from ringfence.controller.world import World
from ringfence.controller.zones import claims, troubles
from ringfence.core.detection.dissent import Dissent
from ringfence.core.detection.evidence import SlotEvidence
from ringfence.core.failover import lies
from ringfence.core.fencing.slottrouble import HeartbeatWanted, heartbeat_trouble
from ringfence.core.fencing.slotwatch import SlotState
from ringfence.core.gossip.keys import Step
from ringfence.kube import kinds
from ringfence.kube.store import Key
from ringfence.metrics import ControllerMetrics
from ringfence.ports import Clock, Cluster, ClusterError, Json, Kind, NotFound, ObjectRef

logger = logging.getLogger(__name__)

STAMP_EVERY = 300.0
"""Seconds by which a time on record may be behind."""
AT_A_TIME = 200
"""VMs between two of which everybody else has a turn."""
LOOKED_AT = 4000
"""ProtectedVMs that one round looks at: of more, each waits its turn, so that the rest of the house is kept meanwhile."""
AT_IT = 5.0
"""Seconds after which it goes on to something else, where many conditions are to be written."""
PLACES_FOR = 1.0
"""Seconds for which what a node gives to its VMs is taken for what it gives now: a round that writes takes longer."""
MOST_NAMED = 64
"""So many nodes fit into HACluster's status.keys.waitingFor."""


SENTENCES = 300_000
"""Characters of all sentences in one HAZone's status: with names, verdicts and managedFields it must stay below etcd's 1.5 MB."""


def room_for_each(nodes: int) -> int:
    """Characters that the sentence of one of so many nodes may have."""
    return min(1024, SENTENCES // max(1, nodes))


class Statuses:
    """Compares what each object says with what it should say, and writes the difference."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        world: World,
        devices: DeviceBook,
        watchdogs: Watchdogs,
        loop: Loop,
        narrator: Narrator,
        keeper: KeyKeeper,
        trust: RosterTrust,
        setbacks: Setbacks,
        policies: Policies,
        deadline: Callable[[], float],
        metrics: ControllerMetrics,
        refusals: Refusals,
    ) -> None:
        self._metrics = metrics
        self._refusals = refusals
        self._keeper = keeper
        self._trust = trust
        self._setbacks = setbacks
        self._policies = policies
        self._cluster = cluster
        self._clock = clock
        self._world = world
        self._devices = devices
        self._loop = loop
        self.protections = Protections(world, devices, watchdogs, loop)
        self._narrator = narrator
        self._deadline = deadline
        self._places: Places | None = None
        self._said: dict[Key, Said] = {}
        """By ProtectedVM: what was last said of it, and stands there."""
        self._left: list[Key] = []
        """The ProtectedVMs that this round has yet to come to, the next one last."""
        self._counted = 0
        """How many of those before are protected."""
        self._waiting = ""
        self._unread: dict[str, str] = {}
        """What was told of Failovers that can't be read, by name."""
        self._dissent = Dissent()
        self._rekeyed = False
        """Whether it was told that rosters are signed with another key than before: once a process."""

    # --- what devices are declared: every replica keeps this, since every replica may have to fence ----------

    def declare(self) -> None:
        """Tell the book of devices what the FenceDevices say now."""
        said = self._world.declared()
        self._devices.declare(said.targets, said.chassis, said.sessions, said.hosts)

    def measure(self) -> None:
        """Show the open failovers, where this replica finds something else than the leader, and how old each device's last proof is:
        what this replica could not do after a takeover, or would do otherwise, is worth an alert now.
        """
        self._metrics.open_failovers(
            Counter(f.status.phase for f in self._world.own.all(Failover).values() if f.status.phase)
        )
        self._metrics.unread_failovers(len(self._world.own.left_alone()))
        told = {
            row.name: row.verdict
            for zone in self._world.own.all(HAZone).values()
            for row in zone.status.node_verdicts
        }
        own = {node: judgement.verdict for node, judgement in self._loop.judgements.items()}
        self._metrics.verdicts_differing(len(self._dissent.nodes(own, told, self._clock.monotonic())))
        self._metrics.devices(self._devices.proved_walls(), self._world.own.drilled())

    # --- writing ---------------------------------------------------------------------------------------------

    async def write(self) -> None:
        """One round over all objects; up to one that nobody answers, for each of the others might take as long."""
        try:
            for round_ in (
                self._clusters,
                self._zones,
                self._fence_devices,
                self._protected_vms,
                self._maintenances,
                self._ha_policies,
            ):
                await round_()
        except ClusterError as error:
            if not unanswered(error):
                raise
            logger.debug("the round of conditions ends here: %s", error)  # told by `Refusals`

    async def wait(self, missing: Mapping[str, ClusterError | None], *, write: bool) -> None:
        """Say what can't be listed, and that nothing is protected meanwhile; in HACluster where this replica may write."""
        unserved = [kind for kind, trouble in missing.items() if isinstance(trouble, NotFound)]
        failed = {kind: trouble for kind, trouble in missing.items() if trouble is not None}
        if not failed:
            return  # it has only just begun
        if unserved:
            reason, why = (
                "KindNotServed",
                f"the cluster has no {', '.join(unserved)}: install KubeVirt, it is waited for",
            )
        else:
            reason, why = "NotListed", "; ".join(f"{kind}: {trouble}" for kind, trouble in failed.items())
        sentence = f"nothing is protected yet: {why}"
        if sentence != self._waiting:
            self._waiting = sentence
            logger.warning("%s", sentence)
        for _, name in self._world.own.all(HACluster) if write else ():
            await self._say(kinds.HA_CLUSTER, "haclusters", name, "", "Ready", False, reason, sentence, {})

    async def _clusters(self) -> None:
        for (_, name), cluster in self._world.own.all(HACluster).items():
            mode = cluster.spec.mode
            ready: tuple[bool, str, str] = (True, mode, f"mode {mode}, led by {self._loop.leader}")
            if (last := self._setbacks.last) is not None and not last.settled:
                ready = (False, "StoreSetBack", last.sentence)
            elif (refused := self._refusals.sentence) is not None:
                ready = (False, "WriteRefused", refused)
            elif unread := self._left_alone():
                more = f" (and {len(unread) - 1} more)" if len(unread) > 1 else ""
                ready = (False, "FailoverUnread", f"{unread[0]}{more}")
            wanted: Json = {"leader": self._loop.leader}
            await self._say(kinds.HA_CLUSTER, "haclusters", name, "", "Ready", *ready, wanted)
            await self._group_keys(name)
            await self._roster_key(name, cluster)

    def _left_alone(self) -> list[str]:
        """What is to be said of Failovers that can't be read; of each there is an Event."""
        found = self._world.own.left_alone()
        for name, sentence in found.items():
            if self._unread.get(name) != sentence:
                raw = self._world.own.raw("failovers", ("", name)) or {}
                ref = ObjectRef(kinds.FAILOVER, name, uid=raw.get("metadata", {}).get("uid", ""))
                self._narrator.tell(ref, "FailoverUnread", sentence, warning=True)
        self._unread = found
        return list(found.values())

    async def _group_keys(self, name: str) -> None:
        keeper, told = self._keeper, self._keeper.told
        extra: Json = {}
        if told is not None:
            extra["keys"] = {
                "generation": keeper.keys.generation,
                "step": told.step.value,
                "held": list(keeper.keys.ids),
                "used": keeper.keys.used,
                "waitingFor": list(told.waits[:MOST_NAMED]),
            }
        if keeper.trouble is not None:
            ok, (reason, message) = False, keeper.trouble
        elif told is not None:
            ok, reason, message = told.step is Step.SETTLED, told.step.value, told.sentence
        else:
            return
        await self._say(
            *(kinds.HA_CLUSTER, "haclusters", name, "", "KeysSettled", ok, reason, message, extra),
            warning=keeper.trouble is not None,
        )

    async def _roster_key(self, name: str, cluster: HACluster) -> None:
        trust, before = self._trust.judge(self._world.own.all(NodeReport)), cluster.status.roster_key
        self._metrics.distrust(len(trust.refusing))
        if before is not None and before != self._trust.ours and not self._rekeyed:
            self._rekeyed = True
            sentence = f"rosters are signed with the key {self._trust.ours} now, before with {before}"
            logger.error("%s", sentence)
            raw = self._world.own.raw("haclusters", ("", name)) or {}
            ref = ObjectRef(kinds.HA_CLUSTER, name, "", raw.get("metadata", {}).get("uid", ""))
            self._narrator.tell(ref, "RosterKeyChanged", sentence, warning=True)
        extra: Json = {"rosterKey": self._trust.ours}
        said = (trust.ok, trust.reason, trust.sentence)
        await self._say(kinds.HA_CLUSTER, "haclusters", name, "", "RosterTrusted", *said, extra)

    async def _zones(self) -> None:
        zones = self._world.own.all(HAZone)
        claimed = claims(self._world, zones.values())
        states: Counter[SlotState] = Counter()
        for (_, name), zone in zones.items():
            nodes = sorted(n.name for n in self._world.nodes_of(zone))
            ok, reason, message = True, "Ready", f"{len(nodes)} nodes, each with a fence device"
            if not zone.spec.enabled:
                ok, reason, message = False, "Disabled", "spec.enabled is false"
            elif (trouble := next(troubles(self._world, zone, claimed), None)) is not None:
                ok, reason, message = False, trouble.reason, trouble.sentence
            slots = self._slots(zone, nodes)
            states.update(slot.state for slot in slots.values())
            if ok and (silent := self._heartbeat_trouble(zone, nodes, slots)) is not None:
                ok, (reason, message) = False, silent
            if ok and (by_hand := [n for n in nodes if not self._world.unaided_levels(zone, n)]):
                message += f"; only a person fences {', '.join(by_hand)}: ringfence fence confirm NODE"
            if ok and zone.spec.fencing.allow_storage_fence:
                message += only_a_reboot_lifts(nodes, self._world.own.all(NodeReport))
            verdicts = [
                {"name": n, "verdict": j.verdict.value, "sentence": j.sentence[: room_for_each(len(nodes))]}
                | ({"slot": slots[n].state.value} if n in slots else {})
                for n in nodes
                if (j := self._loop.judgements.get(n)) is not None
            ]
            extra: Json = {"nodes": nodes, "nodeVerdicts": verdicts}
            await self._say(kinds.HA_ZONE, "hazones", name, "", "Ready", ok, reason, message, extra)
        self._metrics.slots({state.value: states[state] for state in SlotState})

    def _slots(self, zone: HAZone, nodes: list[str]) -> dict[str, SlotEvidence]:
        if zone.spec.storage is None or zone.spec.storage.heartbeat is None:
            return {}
        return {n: slot for n in nodes if (slot := self._loop.slot(n)) is not None}

    def _heartbeat_trouble(
        self, zone: HAZone, nodes: list[str], slots: dict[str, SlotEvidence]
    ) -> tuple[str, str] | None:
        """Why the zone's storage heartbeat doesn't do what the zone says: (reason, message)."""
        declared = zone.spec.storage.heartbeat if zone.spec.storage else None
        if declared is None:
            return None
        wanted = HeartbeatWanted(declared.volume, declared.interval_seconds, declared.stop_guests)
        reports = self._loop.heartbeats.reports(self._clock.monotonic())
        return heartbeat_trouble(wanted, nodes, reports, slots)

    async def _fence_devices(self) -> None:
        lied = self._lied()
        for (_, name), device in self._world.own.all(FenceDevice).items():
            if device.spec.driver == "watchdog":
                await self._watchdog(name, device)
                continue
            before = self._world.own.raw("fencedevices", ("", name)) or {}
            rows, bad = [], []
            for node in device.spec.nodes:
                if (name, node) in lied:
                    bad.append(("CaughtLying", f"{node}: {lied[name, node]}"))
                proof = self._devices.proof(name, node)
                if proof is None:
                    bad.append(("NotProvedYet", f"{node}: not looked at yet"))
                    continue
                if not proof.ok:
                    bad.append((proof.reason, f"{node}: {proof.message}"))
                row = {"node": node, "power": proof.power.value, "uuid": proof.uuid}
                proved = self._devices.proved_wall(name, node)
                rows.append(row | _stamps(before, node, checked=proof.checked_wall, proved=proved))
            manual = device.spec.driver == "manual"
            ok = not bad and not manual
            reason = "Manual" if manual else (bad[0][0] if bad else "Proved")
            message = "; ".join(text for _, text in bad) or f"answers for {', '.join(device.spec.nodes)}"
            if (limit := self._limit(name, device)) is not None:
                message = f"{message}; {limit}"
            if manual:
                message = "a person confirms: ringfence fence confirm NODE"
            # Stamps are of one form, so the first by letters is the oldest.
            stamps = [row.get("provedAt") or "" for row in rows]
            all_proved = len(rows) == len(device.spec.nodes) and all(stamps)
            extra: Json = {"powerState": rows, "provedAt": min(stamps) if all_proved else None}
            await self._say(kinds.FENCE_DEVICE, "fencedevices", name, "", "Ready", ok, reason, message, extra)

    def _lied(self) -> dict[tuple[str, str], str]:
        """Of each (device, node): in which incident it was caught lying, for as long as that is kept and no drill has been passed since."""
        drilled, told = self._world.own.drilled(), dict[tuple[str, str], str]()
        liars = [one for one in self._world.own.all(Failover).values() if one.status.lied_by]
        # Later incidents of the node have it from the first, which tells what happened.
        for failover in sorted(liars, key=lambda one: one.status.started_at or ""):
            name, node = failover.metadata.name, failover.spec.node
            for lie in failover.status.lied_by:
                if parse(lie.at) > drilled.get((lie.device, node), float("-inf")):
                    why = (
                        f"it called {node} off while that was heard (Failover {name}), and proves nothing before a drill:"
                        f" {lies.drill((lie.device,), node)}"
                    )
                    told.setdefault((lie.device, node), why)
        return told

    def _limit(self, name: str, device: FenceDevice) -> str | None:
        """How many orders its addresses take at once, and that another FenceDevice says so; None: any number."""
        looks = (self._devices.look(name, node).chassis for node in device.spec.nodes)
        limits = {chassis.address: chassis.most for chassis in looks if chassis is not None}
        own = device.spec.max_concurrent_orders
        told = [
            f"{address} takes {most} at once" + ("" if most == own else ", as another FenceDevice there says")
            for address, most in sorted(limits.items())
        ]
        return "orders: " + "; ".join(told) if told else None

    async def _watchdog(self, name: str, device: FenceDevice) -> None:
        """A FenceDevice of nodes' own watchdogs: ready where each of them is armed as its zone counts on."""
        bad = [
            trouble
            for node in device.spec.nodes
            if (trouble := self.protections.self_fence_trouble(node)) is not None
        ]
        message = "; ".join(bad) or f"armed on {', '.join(device.spec.nodes)}"
        extra: Json = {"powerState": []}
        before = (self._world.own.raw("fencedevices", ("", name)) or {}).get("status", {})
        if not bad:
            extra["provedAt"] = _restamped(before.get("provedAt"), self._clock.wall())
        reason = "WatchdogNotArmed" if bad else "Armed"
        await self._say(
            kinds.FENCE_DEVICE, "fencedevices", name, "", "Ready", not bad, reason, message, extra
        )

    async def _maintenances(self) -> None:
        for (_, name), one in self._world.own.all(NodeMaintenance).items():
            missing = [n for n in one.spec.nodes if ("", n) not in self._world.nodes.store]
            ok, reason = not missing, "NodeNotFound" if missing else "InForce"
            message = f"{', '.join(one.spec.nodes)}: not fenced, and no VM restarted, until this is deleted"
            if missing:
                message = f"there is no node {', '.join(missing)}: spec.nodes goes by their names; {message}"
            await self._say(
                kinds.NODE_MAINTENANCE, "nodemaintenances", name, "", "InForce", ok, reason, message, {}
            )

    async def _ha_policies(self) -> None:
        for (namespace, name), word in self._policies.words.items():
            extra: Json = {"protects": word.protects}
            said = (word.ready, word.reason, word.message, extra)
            await self._say(kinds.HA_POLICY, "hapolicies", name, namespace, "Ready", *said)

    async def _protected_vms(self) -> None:
        """The next of them, in their order: at most :data:`LOOKED_AT`, for :data:`AT_IT` seconds."""
        own, began = self._world.own, self._clock.monotonic()
        places, since = self._see_places(), began
        if not self._left:
            self._left, self._counted = list(own.all(ProtectedVM))[::-1], 0
        for number in range(1, min(len(self._left), LOOKED_AT) + 1):
            if number % AT_A_TIME == 0:
                # Where nothing is to be written nothing else yields, and the leader's Lease is short.
                await asyncio.sleep(0)
                now = self._clock.monotonic()
                if now - began >= AT_IT:
                    return
                if now - since >= PLACES_FOR:
                    places, since = self._see_places(), now
            key = self._left.pop()
            if (pvm := own.one(ProtectedVM, key)) is not None:
                self._counted += await self._protected_vm(key, pvm, places)
        if not self._left:
            declared = own.all(ProtectedVM)
            self._said = {key: said for key, said in self._said.items() if key in declared}
            self._metrics.vms(self._counted, len(declared))

    async def _protected_vm(self, key: Key, pvm: ProtectedVM, places: Places) -> bool:
        """Say whether it is protected."""
        (namespace, name), known = key, self._said.get(key)
        if known is not None and self.protections.stands(known, pvm, namespace, places):
            return known.protection.protected
        said = self.protections.say(pvm, namespace, places)
        protection = said.protection
        extra: Json = {} if said.node is None else {"node": said.node}
        word = (protection.protected, protection.reason, protection.message, extra)
        if await self._say(kinds.PROTECTED_VM, "protectedvms", name, namespace, "Protected", *word):
            self._said[key] = said
        return protection.protected

    def _see_places(self) -> Places:
        self._places = self.protections.places(self._places)
        return self._places

    async def _say(
        self,
        kind: Kind,
        plural: str,
        name: str,
        namespace: str,
        condition: str,
        status: bool,
        reason: str,
        message: str,
        extra: Json,
        *,
        warning: bool | None = None,
    ) -> bool:
        """Write the condition where it isn't so already. Whether it was."""
        raw = self._world.own.raw(plural, (namespace, name))
        if raw is None:
            return False
        before = raw.get("status", {})
        old = _condition(raw, condition)
        text = "True" if status else "False"
        generation = raw["metadata"].get("generation", 0)
        changed = (old.get("status"), old.get("reason"), old.get("message")) != (text, reason, message[:1024])
        same_extra = all(before.get(k) == v for k, v in extra.items())
        if not changed and same_extra and before.get("observedGeneration") == generation:
            return True
        write = ("status", plural, namespace, name, condition)
        if not self._refusals.due(write):
            return False
        moved = old.get("status") != text
        entry = {
            "type": condition,
            "status": text,
            "reason": reason,
            "message": message[:1024],
            "observedGeneration": generation,
            "lastTransitionTime": stamp(self._clock.wall())[:19] + "Z"
            if moved
            else old["lastTransitionTime"],
        }
        others = [c for c in before.get("conditions", []) if c.get("type") != condition]
        try:
            stored = await self._cluster.patch_status(
                kind,
                name,
                namespace,
                {"conditions": [*others, entry], "observedGeneration": generation, **extra},
                deadline=self._deadline(),
            )
        except ClusterError as error:
            self._refusals.failed(write, f"the status of {kind.kind} {name}", error)
            if unanswered(error):
                raise
            return False
        self._refusals.taken(write)
        self._world.own.seen(plural, stored)
        if moved or old.get("reason") != reason:
            ref = ObjectRef(kind, name, namespace, raw["metadata"].get("uid", ""))
            self._narrator.tell(ref, reason, message, warning=not status if warning is None else warning)
        return False


def _condition(raw: Json, kind: str) -> Json:
    found: Json = next((c for c in raw.get("status", {}).get("conditions", []) if c.get("type") == kind), {})
    return found


def _stamps(before: Json, node: str, *, checked: float, proved: float | None) -> Json:
    """When the node's device was looked at and proved; what this process doesn't know stays as it is on record."""
    status = before.get("status", {})
    same = status.get("observedGeneration") == before.get("metadata", {}).get("generation", 0)
    row: Json = next((r for r in status.get("powerState", []) if same and r.get("node") == node), {})
    stamps = {"checkedAt": _restamped(row.get("checkedAt"), checked)}
    known = row.get("provedAt") if proved is None else _restamped(row.get("provedAt"), proved)
    return stamps | ({"provedAt": known} if known else {})


def _restamped(known: str | None, wall: float) -> str:
    """The instant as a stamp, or the known one while that is near enough: a status is not written every minute for it."""
    return known if known and abs(wall - parse(known)) < STAMP_EVERY else stamp(wall)
