"""Several networks at the controller: whose addresses they are, and what it makes of the agents' looks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.hazone import ZoneNetwork
from ringfence.controller.evidence import Witness
from ringfence.controller.members import members
from ringfence.controller.networks import on_networks, roles
from ringfence.controller.records import record_of, spec_of, status_of
from ringfence.core.detection.evidence import NetworkRole, RingEvidence
from ringfence.core.detection.verdict import Judgement, judge
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record
from ringfence.core.gossip.corroboration import tally
from ringfence.core.model import RingState, Verdict
from unit.core.gossip.ring_world import FakeCrypto, World

STORAGE = ZoneNetwork(name="storage", cidrs=["10.20.0.0/16", "fd00:20::/64"], role="Storage")
MIGRATION = ZoneNetwork(name="migration", cidrs=["10.30.0.0/16"], role="Migration")


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        (["10.1.0.1", "10.20.0.1", "10.30.0.1"], {"storage": "10.20.0.1", "migration": "10.30.0.1"}),
        (["fd00:20::1", "10.20.9.1", "10.20.0.5"], {"storage": "10.20.0.5"}),
        (["FD00:20:0::1", "192.0.2.1"], {"storage": "fd00:20::1"}),
        (["10.20.0.9"], {}),
        (["nonsense", ""], {}),
        ([], {}),
    ],
)
def test_a_nodes_addresses_on_its_zones_networks(addresses: list[str], found: dict[str, str]) -> None:
    chosen = on_networks((STORAGE, MIGRATION), addresses, ("10.1.0.1", "10.20.0.9"))
    assert dict(chosen) == found
    assert list(chosen) == sorted(chosen)
    assert on_networks((STORAGE, MIGRATION), addresses[::-1], ("10.1.0.1", "10.20.0.9")) == chosen


class Eye:
    """A controller's witness that follows some agents of a ring."""

    def __init__(self, world: World, *followed: str) -> None:
        self.world = world
        self.followed = followed
        self.witness = Witness(FakeCrypto(b"").verify)
        self.witness.roster = world.roster
        for one in world.roster.members:
            self.witness.boot_seen(one.name, one.uid, one.boot_id)

    def look(self) -> None:
        for name in self.followed:
            self.witness.view_seen(self.world.nodes[name].swim.view(self.world.now), self.world.now)

    def ring(self, node: str) -> RingEvidence:
        self.look()
        evidence = self.witness.evidence(
            node, self.world.now, device_proved=True, roles=roles((STORAGE, MIGRATION))
        )
        assert evidence is not None
        return evidence.ring

    def judge(self, node: str) -> Judgement:
        self.look()
        evidence = self.witness.evidence(
            node, self.world.now, device_proved=True, roles=roles((STORAGE, MIGRATION))
        )
        assert evidence is not None
        return judge(evidence, self.world.now)

    def comes(self, seconds: float, node: str, verdict: Verdict) -> bool:
        end = self.world.now + seconds
        while self.judge(node).verdict is not verdict:
            if self.world.now >= end:
                return False
            self.world.run(0.1)
        return True


def test_storage_lost_is_told_with_its_voters_and_withdrawn() -> None:
    world = World(4, networks=("migration", "storage"))
    eye = Eye(world, "n1", "n2", "n3")
    world.run(10)
    assert eye.judge("n4").verdict is Verdict.HEALTHY
    world.isolate("n4", on=["storage"])
    assert eye.comes(4, "n4", Verdict.STORAGE_LOST)
    assert "3 of 3 observers on storage: n1, n2, n3" in eye.judge("n4").sentence
    (dead,) = eye.ring("n4").dead_networks
    assert dead.role is NetworkRole.STORAGE
    (row,) = (row for row in members(eye.witness, {}, {}, world.now)["members"] if row["name"] == "n4")
    assert row["networks"]["storage"]["state"] == "dead"
    assert row["networks"]["storage"]["address"] == "storage.4"
    assert row["networks"]["migration"]["state"] == "answers"
    assert {eye.judge(name).verdict for name in ("n1", "n2", "n3")} == {Verdict.HEALTHY}
    world.run(60)
    assert eye.judge("n4").verdict is Verdict.STORAGE_LOST
    world.heal()
    assert eye.comes(5, "n4", Verdict.HEALTHY)


@pytest.mark.parametrize("count", [4, 20])
def test_a_dead_management_network_is_no_death_while_storage_answers(count: int) -> None:
    world = World(count, networks=("storage",))
    eye = Eye(world, *(f"n{number}" for number in range(1, 4)))
    world.run(10)
    last = f"n{count}"
    world.isolate(last, on=["management"])
    assert eye.comes(8, last, Verdict.CONTROL_PATH_LOST)
    assert f"{last}'s management network is dead" in eye.judge(last).sentence
    for _ in range(100):
        world.run(0.2)
        assert eye.judge(last).verdict in {Verdict.CONTROL_PATH_LOST, Verdict.SUSPECT}
    assert eye.judge(last).verdict is Verdict.CONTROL_PATH_LOST


def test_a_network_that_an_agent_has_just_heard_from_is_not_called_dead_by_older_votes() -> None:
    world = World(4, networks=("storage",))
    eye = Eye(world, "n1", "n2", "n3")
    world.run(10)
    world.isolate("n4", on=["storage"])
    assert eye.comes(4, "n4", Verdict.STORAGE_LOST)
    stale = world.nodes["n1"].swim.view(world.now)
    fresh = world.nodes["n2"].swim.view(world.now)
    answers = tuple(
        replace(one, networks=tuple(replace(leg, two_way_age=0.0) for leg in one.networks))
        if one.subject.node == "n4"
        else one
        for one in fresh.subjects
    )
    witness = eye.witness
    witness.view_seen(stale, world.now)
    witness.view_seen(replace(fresh, subjects=answers), world.now)
    assert witness.dead_networks("n4", world.now) == ()


def test_forged_columns_call_nothing_dead() -> None:
    world = World(4, networks=("storage",))
    eye = Eye(world, "n1")
    world.run(10)
    world.isolate("n4", on=["storage"])
    assert eye.comes(4, "n4", Verdict.STORAGE_LOST)
    view = world.nodes["n1"].swim.view(world.now)

    def forged(network: str) -> None:
        lying = tuple(
            replace(
                one,
                look_votes=tuple(
                    replace(vote, columns=tuple(replace(said, network=network) for said in vote.columns[:1]))
                    for vote in one.look_votes
                ),
            )
            for one in view.subjects
        )
        eye.witness.view_seen(replace(view, subjects=lying), world.now)

    forged("management")
    assert eye.witness.dead_networks("n4", world.now) == ()


def test_a_zone_that_names_a_network_on_which_a_node_has_no_address_sees_it_said() -> None:
    world = World(3)
    eye = Eye(world, "n1")
    world.run(5)
    eye.look()
    told = members(eye.witness, {}, {}, world.now, named={"n2": ["storage"]})["members"]
    assert {row["name"]: row["networks"].get("storage", {}).get("state") for row in told} == {
        "n1": None,
        "n2": "no address",
        "n3": None,
    }


def test_a_record_with_columns_can_be_counted_again() -> None:
    world = World(4, networks=("storage",))
    eye = Eye(world, "n1", "n2", "n3")
    world.run(10)
    world.crash("n4")
    assert eye.comes(3, "n4", Verdict.DOWN)
    ring = eye.ring("n4")
    assert ring.state is RingState.UNREACHABLE
    subject = world.roster.by_name["n4"].boot
    record = Record("n4-x", subject, Phase.HOLDING, "down", 1e9, 1e9, "", ring.voters, ring.votes, ())
    stored = {
        "metadata": {"name": "n4-x"},
        "spec": spec_of(record),
        "status": status_of(record, [], 0.0),
    }
    read = record_of(Failover.model_validate(stored), 0.0, 0.0, 0.0, 0.0)
    assert read is not None
    assert read.votes == ring.votes
    assert tally(read.votes, world.roster, subject, FakeCrypto(b"").verify).unreachable
