"""From the agents' views to the Failover's record: each vote with its time, round, epoch and signature."""

from __future__ import annotations

import base64

from ringfence.api.v1alpha1.failover import Failover
from ringfence.controller.evidence import Witness
from ringfence.controller.records import record_of, spec_of, status_of
from ringfence.core.detection.evidence import RingEvidence
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record
from ringfence.core.gossip.corroboration import tally
from ringfence.core.model import RingState
from unit.core.gossip.ring_world import FakeCrypto, World

WALL = 1_790_000_000.0


def test_anyone_can_count_the_record_again_and_see_when_each_vote_came() -> None:
    world = World(4)
    world.run(10.0)
    verify = FakeCrypto(b"").verify
    witness = Witness(verify)
    witness.roster = world.roster
    subject = world.roster.by_name["n4"]
    witness.boot_seen("n4", subject.uid, subject.boot_id)
    world.crash("n4")

    def heard() -> RingEvidence:
        for name in ("n1", "n2", "n3"):
            witness.view_seen(world.nodes[name].swim.view(world.now), world.now)
        evidence = witness.evidence("n4", world.now, device_proved=False)
        assert evidence is not None
        return evidence.ring

    assert world.run(3.0, until=lambda: heard().state is RingState.UNREACHABLE)
    ring = heard()
    assert ring.state is RingState.UNREACHABLE
    assert len(ring.votes) == len(ring.vote_after) == 3
    # An examination takes 0.25 s; the votes are on their way at once after it.
    assert all(0.2 < after < 0.5 for after in ring.vote_after)

    record = Record(
        "n4-x",
        subject.boot,
        Phase.HOLDING,
        "n4 is down",
        WALL,
        WALL + 1,
        "",
        ring.voters,
        ring.votes,
        ring.vote_after,
    )
    stored = status_of(record, [], WALL)
    assert [one["afterSeconds"] for one in stored["votes"]] == list(ring.vote_after)
    assert all(base64.b64decode(one["signature"]) for one in stored["votes"])
    failover = Failover.model_validate(
        {"metadata": {"name": "n4-x"}, "spec": spec_of(record), "status": stored}
    )
    read = record_of(failover, 0.0, 0.0, 0.0, 0.0)
    assert read is not None
    assert (read.votes, read.vote_after) == (record.votes, record.vote_after)
    assert tally(read.votes, world.roster, subject.boot, verify).unreachable


def test_votes_without_times_are_kept_all_the_same() -> None:
    world = World(3)
    world.run(5.0)
    world.crash("n3")
    assert world.run(3.0, until=lambda: world.state("n1", "n3") is RingState.UNREACHABLE)
    votes = world.view("n1", "n3").votes
    record = Record("n3-x", world.roster.by_name["n3"].boot, Phase.HOLDING, "", WALL, WALL, votes=votes)
    stored = status_of(record, [], WALL)["votes"]
    assert len(stored) == len(votes)
    assert not any("afterSeconds" in one for one in stored)
