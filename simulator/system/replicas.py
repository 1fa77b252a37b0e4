"""The controller's replicas, as they are: each a process in virtual time with the product's own house in it.

Loop, executor, leadership, caches, device book, witness, conditions: all of it is `ringfence.controller`'s own code, around a virtual API server
and virtual agents and devices. What stands in for kopf is `kopf_events`: it lists and watches, forgets nothing that vanished during
a list, and stores. A replica may be killed (-9) or frozen between any two of its steps, and starts again as Kubernetes would have it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from ringfence.controller import bootstrap
from ringfence.controller.devices import OpenDevice
from ringfence.controller.replica import OWN_KINDS, Doors, Place, Replica
from ringfence.core import timing
from ringfence.core.detection.evidence import NEVER
from ringfence.core.failover.record import Record
from ringfence.core.fencing.slots import cluster_id
from ringfence.core.gossip.members import Roster, open_roster
from ringfence.core.rosterkey import SECRET
from ringfence.fencing.network_fence import Epochs, NetworkFenceDevice
from ringfence.kube.client import Expired, path_of
from ringfence.metrics import ControllerMetrics
from ringfence.net.crypto import (
    GROUP_KEY_FILE,
    ROSTER_PUBLIC_FILE,
    ROSTER_SEED_FILE,
    SigningKey,
    check,
)
from ringfence.ports import Clock, Cluster, ClusterError, DeviceSpec, Json, Kind, PowerDevice, Unavailable
from simulator.crypto import Keyring
from simulator.system import triples
from simulator.system.apiserver import ApiServer
from simulator.system.connection import Connection, Weather, event_of
from simulator.system.deeds import Deeds
from simulator.system.memory import Memory
from simulator.system.mirror import NAMESPACE, NODE_LEASES, VOLUME, Mirror, address_of
from simulator.system.outlets import Outlet
from simulator.system.pens import Pens, Shelf
from simulator.system.plant import Plant
from simulator.system.processes import Agenda, Process, VirtualClock
from simulator.system.ring import RingVoices
from simulator.system.rules import Broken
from simulator.system.voices import Ears, Voices
from simulator.system.watch import Watch

WARM_UP = 10.0
"""Seconds before a schedule's time 0: caches, an election, a roster, streams, three seconds of settling, devices proved."""
RESTARTS = 2.0
"""Seconds until a process that was killed runs again."""
BOOTS = 3.0
"""Seconds from a node's kubelet to the pod of its replica."""
INSISTS, INSISTS_WITHIN = 12, 2.0
"""So often within so many seconds nobody writes the same in vain."""
PORT, SLOTS_PORT = 7947, 7948
KERNEL = 0.005
_SEED = bytes(range(32))


@dataclass
class Seat:
    """One replica's place, and what runs there now."""

    name: str
    process: Process | None = None
    connection: Connection | None = None
    replica: Replica | None = None
    boot: int = 0
    """The node's boot that it runs in."""
    asked_to_end: asyncio.Event = field(default_factory=asyncio.Event)
    back_after: float | None = None
    """It was asked to end, and starts again so many seconds after that."""
    ended: bool = False
    """And it has."""
    crashed: BaseException | None = None
    turned_down: dict[str, list[float]] = field(default_factory=dict)
    """When its writes to each path have come to nothing of late."""


class Replicas:
    """See the module; a :class:`~simulator.system.control.Control`."""

    def __init__(
        self, plant: Plant, memory: Memory, names: tuple[str, ...], seed: int, *, ring: bool = False
    ) -> None:
        """``ring``: the agents are the real ring's machines, not the detector's model."""
        assert memory.election is not None
        self.backup_when: str | None = None
        self.backed_up = False
        self.die_after: str | None = None
        self.server = ApiServer()
        self._plant = plant
        self._memory = memory
        self._election = memory.election
        self._dice = random.Random(f"replicas {seed}")
        self._agenda = Agenda()
        self._agenda.now = plant.now
        self._clock = VirtualClock(self._agenda)
        self._weather = Weather(random.Random(f"weather {seed}"))
        self._keyring = Keyring()
        self._roster: tuple[str, Roster | None] = ("", None)
        voices = RingVoices if ring else Voices
        self._voices = voices(plant, self._keyring, self._published)
        self._mirror = Mirror(plant, memory, self.server, self._voices)
        self._deeds = Deeds(plant, memory, self.server, self._mirror, self._entered)
        self._seats = [Seat(name) for name in names]
        self._reach: dict[str, bool] = {}
        for node in plant.nodes.values():
            node.plain_boots = False
            node.known_boot = node.identity.boot_id
        self._secrets()
        self._mirror.declare()
        self.server.admits = self._admits

    def _secrets(self) -> None:
        signer = SigningKey(_SEED)
        self._public = signer.public
        keys = {GROUP_KEY_FILE: _SEED, ROSTER_SEED_FILE: signer.seed, ROSTER_PUBLIC_FILE: signer.public}
        account = {"username": b"admin", "password": b"secret"}
        for name, data in ((SECRET, keys), ("bmc", account)):
            encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
            self.server.put("secrets", name, {"data": encoded}, NAMESPACE)
        cluster = cluster_id(signer.public)
        self._shelf = Shelf(
            self._plant, VOLUME, cluster, lambda data, signature: check(data, signature, self._public)
        )

    def _admits(self, plural: str, _raw: Json) -> str | None:
        refused = plural == "failovers" and not self._memory.admits
        return "admission webhook denied the request: policy not ready" if refused else None

    def _published(self) -> Roster | None:
        """The roster as agents have it."""
        raw = self.server.find("configmaps", bootstrap.ROSTER, NAMESPACE)
        text = str(raw["data"]["roster.json"]) if raw is not None else ""
        if text != self._roster[0]:
            self._roster = (text, open_roster(text, lambda _data, _signature: True).roster)
        return self._roster[1]

    # --- one tick -----------------------------------------------------------------------------------------------------

    def watched_by(self, watch: Watch) -> None:
        """Tell it of everything that is stored or done."""
        self._deeds.watch = watch

    def turn(self) -> None:
        """The plant has moved: show it, and let everybody who runs do what is due until now."""
        plant = self._plant
        self._voices.tick()
        self._see_weather()
        self._mirror.tick()
        for seat in self._seats:
            self._keep(seat)
        self._agenda.run(plant.now)
        for seat in self._seats:
            self._examine(seat)
        self._see_leader()
        plant.viewer = self._election.leader

    def _see_weather(self) -> None:
        plant, memory, weather = self._plant, self._memory, self._weather
        if plant.api_out and not weather.out:
            self.server.lose_watches(Unavailable("the API server is gone"))
        was_still = weather.still
        weather.out, weather.write_needs = plant.api_out, plant.write_needs
        weather.refusing, weather.still = memory.refusing, memory.cache is not None
        weather.late = memory.watches_late
        if memory.compactions > self._compactions:
            self._compactions = memory.compactions
            self.server.compact()
        weather.hidden = frozenset() if memory.remediators.answer else frozenset({NODE_LEASES})
        for seat in self._seats:
            reached = self._reaches(seat.name)
            opened = reached and not self._reach.get(seat.name)
            self._reach[seat.name] = reached
            if seat.connection is not None and (opened or (was_still and not weather.still)):
                seat.connection.flush()

    def _reaches(self, name: str) -> bool:
        node = self._plant.nodes[name]
        return node.powered and node.linked and node.api and self._plant.now >= node.booted_at

    def _keep(self, seat: Seat) -> None:
        """A process dies with its node's power, stands still with its machine, and is started again."""
        node, now = self._plant.nodes[seat.name], self._plant.now
        if seat.process is not None and not (node.powered and node.boot == seat.boot):
            self._end(seat)
            self._election.back_at[seat.name] = float("inf")
        if seat.ended and seat.back_after is not None:
            self._end(seat)
            self._election.back_at[seat.name] = now + seat.back_after
            seat.ended = False
        back_at = self._election.back_at.get(seat.name, NEVER)
        if seat.process is None and node.powered and now >= node.booted_at:
            if back_at == float("inf"):
                back_at = self._election.back_at[seat.name] = max(node.booted_at, now) + BOOTS
            if now >= back_at:
                self._start(seat)
        if seat.process is not None:
            held = self._held is not None and self._held == seat.name
            seat.process.frozen = node.suspended or held

    _compactions = 0
    _held: str | None = None
    """The replica that was stopped with SIGSTOP."""

    def _examine(self, seat: Seat) -> None:
        """Nothing may come out of a process but its own end."""
        if seat.crashed is not None:
            raise seat.crashed
        if seat.process is not None and seat.process.troubles:
            raise seat.process.troubles[0]

    def _see_leader(self) -> None:
        """Who leads; more than one is invariant 3."""
        memory, now = self._memory, self._plant.now
        leading = [
            seat
            for seat in self._seats
            if seat.replica is not None and seat.process is not None and seat.replica.leadership.leads
        ]
        if len(leading) > 1:
            raise Broken(f"3: {now:.2f}: {', '.join(seat.name for seat in leading)} lead at once")
        running = [seat for seat in leading if seat.process is not None and seat.process.runs]
        leader = running[0].name if running else ""
        if leader and leader != self._election.leader:
            self._plant.time.say(f"controller: {leader} leads")
        self._election.leader = leader
        down = self._down(running[0].replica) if running and running[0].replica is not None else set()
        for name in self._plant.nodes:
            if name in down:
                memory.down_since.setdefault(name, now)
            else:
                memory.down_since.pop(name, None)

    def seen_of(self, node: str) -> triples.Sight | None:
        """What the leader makes of the node; None: nobody leads, or it knows nothing of it."""
        for seat in self._seats:
            if seat.name == self._election.leader and seat.replica is not None:
                loop = seat.replica.loop
                if (judgement := loop.judgements.get(node)) is not None:
                    return judgement.verdict, triples.name_of(loop.situation(node))
        return None

    @staticmethod
    def _down(replica: Replica) -> set[str]:
        return {n for n, j in replica.loop.judgements.items() if j.may_be_fenced}

    # --- processes ------------------------------------------------------------------------------------------------------

    def _start(self, seat: Seat) -> None:
        name = seat.name
        process = seat.process = self._agenda.process(name)
        connection = seat.connection = Connection(
            *(self._agenda, self.server, self._weather, self._clock, lambda: self._reaches(name)),
            turned_down=lambda about: self._turned_down(seat, about),
        )
        seat.boot, seat.replica = self._plant.nodes[name].boot, None
        seat.asked_to_end, seat.back_after, seat.ended = asyncio.Event(), None, False
        place = Place(
            NAMESPACE,
            name,
            name,
            PORT,
            SLOTS_PORT if self._plant.heartbeat else 0,
            NODE_LEASES if self._memory.remediators.used else "",
        )
        doors = self._doors(name, connection)

        async def live() -> None:
            try:
                replica = seat.replica = await Replica.begin(place, doors, ControllerMetrics())
                tasks = [asyncio.create_task(start(), name=n) for n, start in replica.work().items()]
                for plural, kind in OWN_KINDS.items():
                    tasks.append(asyncio.create_task(kopf_events(connection, plural, kind, replica)))
                stop = asyncio.create_task(seat.asked_to_end.wait(), name="stop")
                done, _ = await asyncio.wait({*tasks, stop}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if done == {stop}:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                    await replica.end()
                    seat.ended = True
                    return
                seat.crashed = RuntimeError(f"{', '.join(t.get_name() for t in done)} ended")
            except Exception as error:  # noqa: BLE001 (whatever it is, it would have ended the process)
                seat.crashed = error

        process.call_soon(lambda: process.create_task(live()))

    def _turned_down(self, seat: Seat, about: str) -> None:
        """Whoever is turned down asks again with pauses (invariant 10)."""
        now = self._plant.now
        lately = [at for at in seat.turned_down.get(about, ()) if now - at < INSISTS_WITHIN]
        seat.turned_down[about] = [*lately, now]
        if len(lately) >= INSISTS:
            raise Broken(f"10: {now:.2f}: {seat.name} has been turned down {INSISTS} times with {about}")

    def _doors(self, name: str, connection: Connection) -> Doors:
        voices, agenda = self._voices, self._agenda

        def by_address(address: str) -> str:
            return next(node for node in self._plant.nodes if address_of(node) == address)

        def probe(address: str, heard: Callable[[], None]) -> None:
            nodes = self._plant.nodes
            loop = asyncio.get_running_loop()
            if voices.reaches(nodes[name], nodes[by_address(address)]):
                agenda.after(KERNEL, lambda: _call(loop, heard))

        return Doors(
            api=connection,
            clock=self._clock,
            agents=lambda _keys: Ears(voices, agenda, name, by_address),
            heartbeats=lambda _keys: Pens(voices, agenda, name, by_address, shelf=lambda: self._shelf),
            opener=lambda cluster, epochs: self._opener(cluster, epochs, connection),
            probe=probe,
            verify=self._keyring.verify,
            draw=self._dice.random,
            suffix=lambda: f"{self._dice.randrange(1 << 16):04x}",
        )

    def _opener(self, cluster: Cluster, epochs: Epochs, connection: Connection) -> OpenDevice:
        def open_any(spec: DeviceSpec, _secret: Mapping[str, bytes], clock: Clock) -> PowerDevice:
            if spec.driver == "storage":
                return NetworkFenceDevice(spec, cluster, clock, epochs)
            node = spec.name.partition("-")[2]
            deeds = self._deeds
            return Outlet(
                *(self._plant, self._agenda, spec.name, node, deeds.ordered, deeds.switched_on),
                alive=lambda: not connection.closed,
            )

        return open_any

    def _end(self, seat: Seat) -> None:
        """SIGKILL: what it has sent is on its way, nothing else of it happens."""
        if seat.process is None:
            return
        assert seat.connection is not None
        seat.connection.closed = True
        self._agenda.kill(seat.process)
        seat.process = seat.connection = seat.replica = None
        if self._held == seat.name:
            self._held = None

    def close(self) -> None:
        """End all, at the end of a schedule."""
        for seat in self._seats:
            self._end(seat)

    # --- faults ---------------------------------------------------------------------------------------------------------

    def _entered(self, record: Record) -> None:
        """An incident has entered a phase, and its leader has not heard yet that this is stored."""
        leader = self._election.leader
        if self._election.freeze_when == record.phase and leader:
            self._election.freeze_when = ""
            self._agenda.after(0.0, lambda: self._hold(leader))
        if self.die_after == record.phase and leader:
            self.die_after = None
            self._agenda.after(0.0, lambda: self.kill(leader, RESTARTS))

    def _hold(self, name: str) -> None:
        self._held = name
        for seat in self._seats:
            if seat.name == name and seat.process is not None:
                seat.process.frozen = True
                self._plant.time.say(f"controller: {name} is stopped")

    def kill(self, replica: str, back_after: float) -> None:
        """One replica's process dies, and is started again after so many seconds."""
        self._plant.time.say(f"controller: {replica}'s process is dead")
        for seat in self._seats:
            if seat.name == replica:
                self._end(seat)
        self._election.back_at[replica] = self._plant.now + back_after

    def dies(self, replica: str) -> None:
        """A replica's process dies in the middle of its own step: nothing of it runs from this line on."""
        for seat in self._seats:
            if seat.name == replica and seat.process is not None:
                seat.process.frozen = True
        self._agenda.after(0.0, lambda: self.kill(replica, RESTARTS))

    def stop(self, replica: str, back_after: float) -> None:
        """SIGTERM: it ends as the product's own process does."""
        self._plant.time.say(f"controller: {replica} is asked to end")
        for seat in self._seats:
            if seat.name == replica and seat.process is not None and seat.back_after is None:
                seat.back_after = back_after
                seat.process.call_soon(seat.asked_to_end.set)

    def thaw(self) -> None:
        """A frozen leader goes on where it stood: with what it had decided, and the deadline that it had then."""
        self._election.freeze_when = ""
        self._held = None

    def new_leader(self) -> None:
        """The leader dies."""
        self.kill(self._election.leader or self._seats[0].name, RESTARTS + timing.LEASE_DURATION)

    def restore(self) -> None:
        """Backups are the stories' matter."""
        raise ValueError("no schedule restores the cluster's store")


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    loop.call_soon(what)


class Story(logging.Handler):
    """Each line with the name of the replica that has logged it."""

    def __init__(self, plant: Plant) -> None:
        super().__init__()
        self._plant = plant

    def emit(self, record: logging.LogRecord) -> None:
        try:
            process = asyncio.get_running_loop()
        except RuntimeError:
            return
        name = process.name if isinstance(process, Process) else "?"
        self._plant.time.say(f"  {name}: {record.getMessage()}")


async def kopf_events(api: Connection, plural: str, kind: Kind, replica: Replica) -> None:
    """What kopf does for a replica: list, watch, tell each object that is seen; what vanished during a list it doesn't tell."""
    own, path = replica.world.own, path_of(kind)
    while True:
        try:
            answer = await api.request("GET", path, timeout=30.0)
            for raw in answer["items"]:
                own.seen(plural, raw)
            version = answer["metadata"]["resourceVersion"]
            while True:
                query = {"resourceVersion": str(version), "timeoutSeconds": "60"}
                async with aclosing(api.lines(path, query=query, silence=90.0)) as lines:
                    async for line in lines:
                        type_, raw = event_of(line)
                        version = raw["metadata"]["resourceVersion"]
                        if type_ != "BOOKMARK":
                            own.seen(plural, raw, deleted=type_ == "DELETED")
        except Expired:
            pass
        except ClusterError as error:
            logging.getLogger(__name__).debug("%s: %s", plural, error)
        await asyncio.sleep(0.2)
