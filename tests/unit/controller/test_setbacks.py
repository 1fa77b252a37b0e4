"""A store that was set back: who notices, what is published then, and what a living process does that was there before.

Played by the test are the ConfigMap and the agents' side of the stream; rosters, their signatures and deltas are the product's.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from ringfence.controller.bootstrap import Keys, Registrar
from ringfence.controller.evidence import Witness
from ringfence.controller.setbacks import COMPARED_WITHIN, SHOWN_WITHIN, Setbacks, StoreSetBack
from ringfence.controller.world import World
from ringfence.core import timing
from ringfence.core.gossip.anti_entropy import delta
from ringfence.core.gossip.members import Member, Roster, Standing, open_roster, seal_roster
from ringfence.core.gossip.report import AgentView
from ringfence.core.setback import SetBack, read
from ringfence.kube.client import ApiServer
from ringfence.kube.objects import NodeObject
from ringfence.net.crypto import SigningKey, check, verify
from ringfence.net.stream import StreamClient, StreamError
from ringfence.ports import Cluster, Json, Kind, NotFound, SystemClock
from unit.agent.test_agents_on_loopback import GROUP, ROSTER_KEY, Three, address

KEY, THIEF = SigningKey(b"k" * 32), SigningKey(b"t" * 32)
MEMBERS = tuple(Member(n, f"uid-{n}", f"boot-{n}", ("10.0.0.1",)) for n in ("n1", "n2"))
ROSTER = Roster(480, "ringfence-system", b"salt", MEMBERS)


@dataclass
class Store:
    """The ConfigMap, and the store's version. ``backup`` is what it can be set back to."""

    version: int = 100
    data: dict[str, str] | None = None
    written_at: int = 0

    async def get(self, _kind: Kind, name: str, _namespace: str = "") -> Json:
        if self.data is None:
            raise NotFound(name)
        return {"metadata": {"name": name, "resourceVersion": str(self.written_at)}, "data": dict(self.data)}

    async def apply_configmap(
        self, _name: str, data: dict[str, str], *, deadline: float | None = None
    ) -> bool:
        del deadline
        self.version += 1
        self.data, self.written_at = dict(data), self.version
        return True

    @property
    def roster(self) -> Roster:
        assert self.data is not None
        return open_roster(self.data["roster.json"], lambda d, s: check(d, s, KEY.public)).roster


@dataclass
class Agents:
    """What the agents hold and show; None: they show nothing."""

    holds: Roster
    signer: SigningKey = KEY
    silent: bool = False
    asked: int = 0

    async def roster(self, _address: str, _port: int, epoch: int, digests: bytes) -> bytes:
        self.asked += 1
        if self.silent:
            raise StreamError("no answer")
        sealed = seal_roster(self.holds, self.signer.sign)
        return delta(sealed, digests) if self.holds.epoch > epoch else b""


@dataclass
class Hands:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now


@dataclass
class Replica:
    """One controller process."""

    store: Store
    agents: Agents
    clock: Hands = field(default_factory=Hands)

    def __post_init__(self) -> None:
        self.witness = Witness(verify)
        self.world = World(
            cast("ApiServer", None), self.clock, "ringfence-system", self.witness, lambda: 0.5, lambda: None
        )
        for member in MEMBERS:
            raw = {
                "metadata": {"name": member.name, "uid": member.uid},
                "spec": {},
                "status": {
                    "nodeInfo": {"bootID": member.boot_id},
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                },
            }
            self.world.nodes.store["", member.name] = NodeObject.from_raw(raw)
            self.witness.boot_seen(member.name, member.uid, member.boot_id)
        self.setbacks = Setbacks(
            self.clock,
            self.witness,
            cast("StreamClient", self.agents),
            7947,
            lambda data, signature: check(data, signature, KEY.public),
        )
        self.registrar = Registrar(
            cast("Cluster", self.store),
            self.world,
            self.witness,
            self.setbacks,
            Keys(b"g" * 32, KEY.seed, KEY.public),
            lambda: 0.0,
        )

    async def read(self) -> None:
        await self.registrar.read(self.clock.now, every=0.0)

    def tells(self, epoch: int, node: str = "n1") -> None:
        boot = next(m.boot for m in MEMBERS if m.name == node)
        self.witness.view_seen(AgentView(boot, epoch, True, frozenset(), ()), self.clock.now)

    async def look(self) -> None:
        await self.setbacks.look(self.registrar.stored_epoch)


def stored(roster: Roster = ROSTER) -> Store:
    return Store(data={"roster.json": seal_roster(roster, KEY.sign).text()}, written_at=100)


@pytest.fixture
async def noticed() -> Replica:
    """A process that has just started, after the store went from 501 back to 480."""
    replica = Replica(stored(), Agents(replace(ROSTER, epoch=501, salt=b"later")))
    await replica.read()
    replica.tells(501)
    await replica.look()
    return replica


async def test_a_roster_of_ours_that_the_store_has_lost_shows_that_it_was_set_back(noticed: Replica) -> None:
    assert noticed.setbacks.last == SetBack(501, 480)
    assert noticed.setbacks.unsettled
    assert noticed.setbacks.compared


async def test_what_agents_hold_is_published_again_above_them_and_nothing_else_until_it_has_settled(
    noticed: Replica,
) -> None:
    await noticed.registrar.publish()
    assert noticed.store.roster == replace(ROSTER, epoch=502, salt=b"later")
    assert noticed.store.data is not None
    assert not read(noticed.store.data["setBack"]).settled
    noted_at = noticed.store.version

    noticed.clock.now += timing.STORE_SETTLES - 1
    await noticed.registrar.publish()
    assert noticed.store.version == noted_at, "nothing is written while what the store says may be false"

    noticed.clock.now += 1
    await noticed.registrar.publish()
    assert noticed.store.roster.epoch == 503
    assert read(noticed.store.data["setBack"]) == SetBack(501, 480, noted_at, settled=True)
    assert not noticed.setbacks.unsettled
    assert noticed.setbacks.held == 501

    await noticed.registrar.publish()
    assert noticed.store.roster.epoch == 503


async def test_the_next_leader_counts_anew_and_knows_from_which_version_on_it_is_anew(
    noticed: Replica,
) -> None:
    await noticed.registrar.publish()
    noted_at = noticed.store.version
    following = Replica(noticed.store, noticed.agents, Hands(5000.0))
    await following.read()
    assert following.setbacks.unsettled
    following.clock.now += timing.STORE_SETTLES
    await following.registrar.publish()
    assert following.setbacks.last == SetBack(501, 480, noted_at, settled=True)


async def test_an_agent_that_heard_of_a_roster_before_we_did_shows_nothing() -> None:
    replica = Replica(stored(), Agents(replace(ROSTER, epoch=481)))
    await replica.read()
    replica.tells(481)
    replica.store.data = {"roster.json": seal_roster(replace(ROSTER, epoch=481), KEY.sign).text()}
    await replica.look()
    assert replica.setbacks.last is None
    assert replica.agents.asked == 0


@pytest.mark.parametrize("agents", [Agents(replace(ROSTER, epoch=501), THIEF), Agents(ROSTER, silent=True)])
async def test_a_claim_that_is_not_shown_holds_up_a_process_that_has_just_started_and_is_passed_over_then(
    agents: Agents,
) -> None:
    replica = Replica(stored(), agents)
    await replica.read()
    replica.tells(501)
    await replica.look()
    assert replica.agents.asked == 1
    assert replica.setbacks.last is None
    replica.setbacks.settled_for(timing.SETTLE)
    assert not replica.setbacks.compared

    replica.clock.now += SHOWN_WITHIN
    replica.tells(501)
    replica.setbacks.settled_for(timing.SETTLE)
    assert replica.setbacks.compared


async def test_who_claims_another_roster_each_time_holds_it_up_for_a_minute_only() -> None:
    replica = Replica(stored(), Agents(ROSTER, silent=True))
    await replica.read()
    for seconds in range(int(COMPARED_WITHIN) + 1):
        replica.clock.now += 1.0
        replica.tells(501 + seconds)
        await replica.look()
        replica.setbacks.settled_for(seconds)
        assert replica.setbacks.compared == (seconds >= COMPARED_WITHIN)


async def test_who_has_heard_agents_for_a_while_has_compared() -> None:
    replica = Replica(stored(), Agents(ROSTER))
    await replica.read()
    replica.tells(480)
    replica.setbacks.settled_for(timing.SETTLE - 0.1)
    assert not replica.setbacks.compared
    replica.setbacks.settled_for(timing.SETTLE)
    assert replica.setbacks.compared


async def test_a_process_that_was_there_before_ends_when_it_reads_an_older_roster() -> None:
    replica = Replica(stored(replace(ROSTER, epoch=501)), Agents(ROSTER))
    await replica.read()
    replica.store.data = stored().data
    with pytest.raises(StoreSetBack, match="has roster 480, and had roster 501"):
        await replica.read()


async def test_a_process_that_was_there_before_ends_when_another_has_noticed(noticed: Replica) -> None:
    late = Replica(noticed.store, Agents(ROSTER))
    await late.read()
    await noticed.registrar.publish()
    with pytest.raises(StoreSetBack, match="another controller"):
        await late.read()


async def test_a_roster_that_somebody_deleted_is_written_above_what_agents_hold() -> None:
    replica = Replica(Store(), Agents(replace(ROSTER, epoch=501)))
    await replica.read()
    await replica.registrar.publish()
    assert replica.store.roster.epoch == 1
    replica.tells(501)
    await replica.look()
    assert replica.setbacks.last == SetBack(501, 1)
    await replica.registrar.publish()
    assert replica.store.roster.epoch == 502


async def test_with_each_change_of_what_is_proved_a_roster_is_published() -> None:
    replica = Replica(stored(), Agents(ROSTER))
    await replica.read()
    await replica.registrar.publish()
    assert replica.store.roster == ROSTER

    proof = {"kind": "StorageCut", "device": "ceph", "node": "n1"}
    failover: Json = {
        "metadata": {"name": "n1-1", "uid": "fo", "resourceVersion": "1"},
        "spec": {"node": "n1", "nodeUID": "uid-n1", "bootID": "boot-n1"},
        "status": {"phase": "Recovering", "proofs": [proof], "storageCuts": ["ceph"]},
    }
    replica.world.own.seen("failovers", failover)
    await replica.registrar.publish()
    assert replica.store.roster.epoch == 481, "a backup of before would know nothing of this proof"
    assert all(m.standing is Standing.VOTER for m in replica.store.roster.members), (
        "a cut node may live, and votes"
    )
    await replica.registrar.publish()
    assert replica.store.roster.epoch == 481

    ended = {**failover, "metadata": {**failover["metadata"], "resourceVersion": "2"}}
    ended["status"] = {**failover["status"], "storageLifting": True}
    replica.world.own.seen("failovers", ended)
    await replica.registrar.publish()
    assert replica.store.roster.epoch == 482, "a backup of before would know nothing of the lift"


async def test_with_each_change_of_what_a_watchdog_promises_a_roster_is_published() -> None:
    replica = Replica(stored(), Agents(ROSTER))
    await replica.read()
    armed = {"armed": True, "timeoutSeconds": 60, "isolationSeconds": 10, "legs": ["Gossip", "Api"]}
    epochs = []
    for version, watchdog in enumerate(
        ({"armed": False}, armed, armed, {**armed, "timeoutSeconds": 90}, {**armed, "armed": False}), start=1
    ):
        report: Json = {
            "metadata": {"name": "n1", "uid": "nr", "resourceVersion": str(version)},
            "status": {"nodeUID": "uid-n1", "bootID": "boot-n1", "watchdog": watchdog},
        }
        replica.world.own.seen("nodereports", report)
        await replica.registrar.publish()
        epochs.append(replica.store.roster.epoch)
    assert epochs == [480, 481, 481, 482, 483], "a backup of before would know nothing of the sign-off"


async def test_agents_show_what_they_hold_on_their_stream() -> None:
    agents = Three()
    await agents.start()
    for agent in agents.agents.values():
        agent.install(agents.sealed(5))
    clock, witness, client, port = SystemClock(), Witness(verify), StreamClient(GROUP), agents.agents[1].port
    witness.roster = agents.roster
    for member in agents.roster.members:
        witness.boot_seen(member.name, member.uid, member.boot_id)
    setbacks = Setbacks(
        *(clock, witness, client, port), lambda data, signature: check(data, signature, ROSTER_KEY.public)
    )
    async with aclosing(client.views(address(1), port)) as views:
        witness.view_seen(await anext(views), clock.monotonic())

    async def stored() -> int:
        return agents.roster.epoch

    await setbacks.look(stored)
    assert setbacks.last == SetBack(5, 1)
    assert setbacks.shown is not None
    assert setbacks.shown.roster == agents.sealed(5).roster
    await agents.close()
