"""What the controller serves at ``/members``, of views as a real ring's agents give them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from ringfence.api.v1alpha1.nodereport import NodeReportStatus
from ringfence.cli.ballot import vote_rows
from ringfence.cli.document import Document
from ringfence.cli.ring import ring
from ringfence.controller.evidence import Witness
from ringfence.controller.members import members
from ringfence.core.detection.verdict import Judgement
from ringfence.core.model import RingState, Verdict
from unit.core.gossip.ring_world import FakeCrypto, World

DOWN = {"n4": Judgement(Verdict.DOWN, "n4 is down")}


def followed(world: World, *names: str, later: float = 0.0) -> Witness:
    """A witness who has just heard these agents."""
    witness = Witness(FakeCrypto(b"").verify)
    witness.roster = world.roster
    for name in names:
        witness.view_seen(world.nodes[name].swim.view(world.now), world.now - later)
    return witness


def rows(world: World, witness: Witness) -> dict[str, dict[str, object]]:
    reports = {"n1": NodeReportStatus(agent_version="0.2.0", permitted={"mlock": True})}
    told = members(witness, DOWN, reports, world.now)
    return {row["name"]: row for row in told["members"]}


def test_a_small_ring_is_known_whole() -> None:
    world = World(4)
    world.run(20.0)
    world.crash("n4")
    assert world.run(3.0, until=lambda: world.state("n1", "n4") is RingState.UNREACHABLE)
    told = rows(world, followed(world, "n1", "n2", later=0.4))
    n1, n3, n4 = told["n1"], told["n3"], told["n4"]
    assert (n1["agentVersion"], n1["permitted"]) == ("0.2.0", {"mlock": True})
    assert n1["healthy"] is True
    assert n1["awareness"] == {"isolated": False, "carrier": None, "lagMillis": 0.0, "stretch": 1.0}
    assert n1["epoch"] == 1
    assert n3["awareness"] is n3["epoch"] is None
    assert n3["lossPercent"] == 0.0
    assert n3["states"] == {"n1": "alive", "n2": "alive"}
    assert n3["observers"] == ["n1", "n2", "n4"]
    assert (n4["verdict"], n4["sentence"]) == ("Down", "n4 is down")
    paths = n4["paths"]
    assert isinstance(paths, dict)
    assert paths.keys() == {"n1", "n2"}
    assert paths["n1"]["lossPercent"] > 0
    assert n4["life"] == []
    latest = n4["round"]
    assert isinstance(latest, dict)
    assert {vote["voter"]: vote["vote"] for vote in latest["votes"]} == dict.fromkeys(
        ("n1", "n2", "n3"), "none"
    )
    # Ages are of now: what came 0.4 s ago has aged since.
    assert all(0.4 <= vote["age"] < latest["age"] < 1.5 for vote in latest["votes"])
    assert all(len(base64.b64decode(vote["signature"])) == 64 for vote in latest["votes"])


def test_in_a_larger_ring_nothing_is_made_up_for_those_whom_nobody_followed_observes() -> None:
    world = World(30)
    world.run(4.0)
    told = rows(world, followed(world, "n1"))
    observed = {name for name, row in told.items() if row["lossPercent"] is not None}
    assert 4 <= len(observed) <= 12
    assert observed == {name for name, row in told.items() if "n1" in row["observers"]}  # type: ignore[operator]
    assert {name for name, row in told.items() if row["awareness"]} == {"n1"}


def test_an_agent_of_before_tells_less() -> None:
    world = World(3)
    world.run(4.0)
    view = world.nodes["n1"].swim.view(world.now)
    subjects = tuple(replace(one, loss=None, vote_ages=()) for one in view.subjects)
    witness = followed(world)
    witness.view_seen(replace(view, itself=None, subjects=subjects), world.now)
    told = rows(world, witness)
    assert told["n1"]["awareness"] is told["n2"]["lossPercent"] is None
    assert told["n2"]["states"] == {"n1": "alive"}


def test_signs_of_life_are_told_with_their_ages() -> None:
    world = World(3)
    world.run(4.0)
    witness = followed(world)
    boot = world.roster.by_name["n1"].boot
    witness.boot_seen(boot.node, boot.node_uid, boot.boot_id)
    witness.renewal_seen("n1", "kubelet_lease", "1", world.now - 30.0, world.now - 30.0)
    witness.renewal_seen("n1", "kubelet_lease", "2", world.now - 25.0, world.now - 25.0)
    witness.probe_seen("n1", answered=True, now=world.now - 1.5)
    assert rows(world, witness)["n1"]["life"] == [
        {"sign": "an answer of its kernel", "age": 1.5, "fresh": True},
        {"sign": "its kubelet's Lease", "age": 25.0, "fresh": False},
    ]


def test_without_a_roster_there_are_no_members() -> None:
    assert members(Witness(FakeCrypto(b"").verify), {}, {}, 0.0)["members"] == []


def test_the_command_line_finds_everything_in_it() -> None:
    world = World(4)
    world.run(20.0)
    world.crash("n4")
    assert world.run(3.0, until=lambda: world.state("n1", "n4") is RingState.UNREACHABLE)
    reports = {
        name: NodeReportStatus(agent_version="0.2.0", permitted={"mlock": True}) for name in world.nodes
    }
    answer = json.loads(json.dumps(members(followed(world, "n1", "n2", "n3"), DOWN, reports, world.now)))
    shown = ring(answer)
    assert (shown.roster_epoch, shown.followed) == ("1", ("n1", "n2", "n3"))
    rows = {row.name: row for row in shown.members}
    n1, n4 = rows["n1"], rows["n4"]
    told = (n1.state, n1.loss, n1.agent, n1.lag, n1.stretch, n1.epoch, n1.version, n1.permitted)
    assert told == ("alive", "0.0", "healthy", "0.0", "1.0", "1", "0.2.0", ("mlock",))
    assert (n4.verdict, n4.agent) == ("Down", "")
    assert len(n4.states) == 3
    assert all("%]" in word for word in n4.states)
    votes = vote_rows(Document(answer).parts("members")[3].parts("round", "votes"))
    assert {vote.voter for vote in votes} == {"n1", "n2", "n3"}
    assert all(vote.ago_seconds is not None and vote.signature and vote.round for vote in votes)
