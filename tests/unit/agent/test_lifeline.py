"""What the agent says of its legs and of the watchdog, and in which order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringfence.agent.lifeline import GAP, LARGEST_ROSTER, LEGS, Lifeline
from ringfence.agent.mailbox import STORAGE_LEG, FeederState, Mailbox
from ringfence.core.fencing.selffence import Leg, Promise, Word
from ringfence.host import storage_leg
from ringfence.kube.node_api import LeaseState

BOOT = "b-1"
ARMED = FeederState(True, "", "/dev/watchdog (iTCO)", 58.0, 60.0, 10.0, nowayout=False, fed_at=1000.0)
"""Sixty seconds were asked for; its driver took 58."""


class Clock:
    """A host whose monotonic clock stands still while it sleeps."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.slept = 400.0

    def boottime(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - self.slept


class Agent:
    """One agent's lifeline, its clock and its folder."""

    def __init__(self, folder: Path, isolation: float = 10.0, legs: frozenset[Leg] = LEGS) -> None:
        self.folder = folder
        self.clock = Clock()
        self.box = Mailbox(folder, BOOT)
        self.lifeline = Lifeline(self.box, isolation, 60.0, self.clock.boottime, self.clock.monotonic, legs)

    def wrote(self, at: float) -> None:
        """The heartbeat beside it says that its leg held then."""
        storage_leg.put(self.folder / STORAGE_LEG, BOOT, at)

    def tick(self, passed: float = 1.0, *, answered: float | None = 0.0, members: int = 3) -> Word:
        """Let time pass and look: peers have answered what left ``answered`` seconds ago."""
        self.clock.at += passed
        now = self.clock.monotonic()
        self.lifeline.tick(now, None if answered is None else now - answered, members)
        word = self.box.word()
        assert word is not None
        return word


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def report(agent: Agent, **changes: Any) -> dict[str, Any]:
    return {"watchdog": {**agent.lifeline.status(), **changes}}


def test_both_legs_are_told_by_the_instant_of_what_was_sent(agent: Agent) -> None:
    agent.lifeline.lease_answered(LeaseState.HELD, 998.0)
    assert agent.tick(answered=0.25).held == {Leg.GOSSIP: 1000.75, Leg.API: 998.0}


def test_a_revoked_lease_is_a_leg_no_more(agent: Agent) -> None:
    agent.lifeline.lease_answered(LeaseState.HELD, 998.0)
    agent.lifeline.lease_answered(LeaseState.LOST, 999.0)
    assert agent.tick(answered=None).held == {Leg.API: 998.0}
    assert agent.lifeline.status()["legs"] == ["Gossip"]


def test_a_pause_begins_attention_anew(agent: Agent) -> None:
    first = agent.tick()
    assert agent.tick().attentive_since == first.attentive_since == 1000.0
    assert agent.tick(GAP + 0.1).attentive_since == agent.clock.at


def test_a_host_that_has_slept_counts_the_sleep(agent: Agent) -> None:
    """An answer to a ping that left before the host slept is as old as the sleep, though the monotonic clock stood still."""
    agent.tick(answered=0.0)
    agent.clock.at += 3600.0
    agent.clock.slept += 3600.0
    word = agent.tick(answered=0.5)
    assert word.held_at < agent.clock.at - 3600.0
    assert agent.tick(answered=0.2).held_at == pytest.approx(agent.clock.at - 0.2)


def test_leave_needs_an_acknowledged_report(agent: Agent) -> None:
    assert not agent.tick().leave
    agent.lifeline.reported(report(agent))
    assert agent.tick().leave


def test_a_successor_has_leave_if_no_less_was_promised(tmp_path: Path) -> None:
    first = Agent(tmp_path)
    first.box.put_state(ARMED)
    first.lifeline.reported(report(first))
    assert first.box.promise() == Promise(10.0, 60.0, frozenset({"Api", "Gossip"}))
    assert Agent(tmp_path).tick().leave
    slower = Agent(tmp_path, isolation=20.0)
    assert not slower.tick().leave, "the report still says 10 s"
    status = slower.lifeline.status()
    assert not status["armed"], "what runs is not what this agent promises"
    assert "settings of before" in status["reason"]
    slower.lifeline.reported({"watchdog": status})
    assert slower.tick().leave


def test_a_promise_of_another_boot_is_none(tmp_path: Path) -> None:
    Mailbox(tmp_path, "b-0").put_promise(Promise(10.0, 60.0, frozenset({"Gossip"})))
    assert not Agent(tmp_path).tick().leave


def test_a_promise_of_the_version_before_had_no_storage_leg(tmp_path: Path) -> None:
    text = '{"bootID": "b-1", "isolation": 10.0, "timeout": 60.0}'
    (tmp_path / "promise").write_text(text)
    found = Mailbox(tmp_path, BOOT).promise()
    assert found == Promise(10.0, 60.0, frozenset())
    assert Agent(tmp_path).tick().leave


WITH_STORAGE = LEGS | {Leg.STORAGE}


def test_the_slot_is_a_leg_only_once_a_report_that_says_so_is_acknowledged(tmp_path: Path) -> None:
    """Else a controller goes by a report without it, and looks at no slot."""
    agent = Agent(tmp_path, legs=WITH_STORAGE)
    agent.wrote(1000.5)
    assert Leg.STORAGE not in agent.tick().held
    assert agent.lifeline.status()["legs"] == ["Api", "Gossip", "Storage"]
    agent.lifeline.reported(report(agent))
    assert agent.tick(answered=None).held[Leg.STORAGE] == 1000.5
    agent.wrote(1001.5)
    assert agent.tick(answered=None).held_at == 1001.5
    agent.wrote(2000.0)
    assert Leg.STORAGE not in agent.tick(answered=None).held, "nothing holds in the future"


def test_a_revoked_lease_leaves_the_slot(tmp_path: Path) -> None:
    agent = Agent(tmp_path, legs=WITH_STORAGE)
    agent.lifeline.lease_answered(LeaseState.LOST, 999.0)
    assert agent.lifeline.status()["legs"] == ["Gossip", "Storage"]


def test_a_slot_that_is_not_configured_feeds_nothing(agent: Agent) -> None:
    agent.wrote(1000.5)
    agent.lifeline.reported(report(agent))
    assert Leg.STORAGE not in agent.tick().held
    assert agent.lifeline.status()["legs"] == ["Api", "Gossip"]


def test_a_successor_goes_on_by_the_slot_during_an_outage_of_the_api_server(tmp_path: Path) -> None:
    first = Agent(tmp_path, legs=WITH_STORAGE)
    first.box.put_state(ARMED)
    first.lifeline.reported(report(first))
    second = Agent(tmp_path, legs=WITH_STORAGE)
    second.wrote(1000.5)
    assert second.tick(answered=None).held == {Leg.STORAGE: 1000.5}


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_slot_that_feeds_no_more_is_named_for_as_long_as_what_it_fed_runs(
    tmp_path: Path, *, acknowledged: bool
) -> None:
    """The watchdog that it fed last bites T_iso + T_wd later; a report without it would have nobody look at the slot."""
    first = Agent(tmp_path, legs=WITH_STORAGE)
    first.box.put_state(ARMED)
    first.wrote(1000.0)
    if acknowledged:
        first.lifeline.reported(report(first))
    second = Agent(tmp_path)
    assert second.lifeline.status()["legs"] == ["Api", "Gossip", "Storage"]
    assert Leg.STORAGE not in second.tick(70.0).held
    assert second.lifeline.status()["legs"] == ["Api", "Gossip", "Storage"]
    second.tick(GAP)
    assert second.lifeline.status()["legs"] == ["Api", "Gossip"]


def test_too_large_a_roster_is_not_armed(agent: Agent) -> None:
    agent.lifeline.reported(report(agent))
    assert not agent.tick(members=LARGEST_ROSTER + 1).leave
    agent.box.put_state(FeederState(False, "no leg"))
    assert "at most" in agent.lifeline.status()["reason"]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (None, "no feeder has spoken: is its container running?"),
        (
            FeederState(False, "/dev/watchdog: No such file or directory"),
            "/dev/watchdog: No such file or directory",
        ),
        (
            replace(ARMED, fed_at=900.0),
            "has not bitten: does it really reset this node?",
        ),
    ],
    ids=["no feeder", "no device", "a dog without teeth"],
)
def test_what_is_not_armed_is_told_with_its_reason(
    agent: Agent, state: FeederState | None, reason: str
) -> None:
    if state is not None:
        agent.box.put_state(state)
    status = agent.lifeline.status()
    assert not status["armed"]
    assert reason in status["reason"]


def test_what_is_armed_is_told_with_its_times(agent: Agent) -> None:
    agent.box.put_state(ARMED)
    assert agent.lifeline.status() == {
        "armed": True,
        "reason": None,
        "device": "/dev/watchdog (iTCO)",
        "timeoutSeconds": 58.0,
        "nowayout": False,
        "isolationSeconds": 10.0,
        "legs": ["Api", "Gossip"],
    }


async def test_it_is_disarmed_after_the_api_server_has_acknowledged_it(agent: Agent) -> None:
    agent.box.put_state(ARMED)
    agent.tick()
    seen: list[tuple[bool, bool]] = []

    def write() -> bool:
        word = agent.box.word()
        assert word is not None
        seen.append((agent.lifeline.status()["armed"], word.disarm))
        agent.box.put_state(FeederState(False, ""))
        return True

    await agent.lifeline.sign_off(write)
    assert seen == [(False, False)], "first the report, then the word"
    word = agent.box.word()
    assert word is not None
    assert word.disarm


async def test_without_the_acknowledgement_it_stays_armed(agent: Agent) -> None:
    agent.box.put_state(ARMED)
    await agent.lifeline.sign_off(lambda: False)
    word = agent.tick()
    assert not word.disarm
    assert not word.leave
    assert agent.lifeline.status()["armed"]


async def test_what_cannot_be_stopped_is_not_said_to_be(agent: Agent) -> None:
    agent.box.put_state(replace(ARMED, nowayout=True))
    await agent.lifeline.sign_off(lambda: pytest.fail("nothing is written"))
    assert agent.lifeline.status()["armed"]
    assert not agent.tick().disarm


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"bootID": "b-1"}',
        '{"bootID": "b-1", "lookedAt": NaN, "attentiveSince": 0, "held": {}, "leave": true, "disarm": false}',
    ],
)
def test_a_file_that_cannot_be_read_is_no_word(tmp_path: Path, text: str) -> None:
    for name in ("legs", "feeder", "promise"):
        (tmp_path / name).write_text(text)
    box = Mailbox(tmp_path, BOOT)
    assert (box.word(), box.state(), box.promise()) == (None, None, None)
