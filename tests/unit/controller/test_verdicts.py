"""Who tells which verdict, while leaders come and go."""

from __future__ import annotations

from ringfence.controller.verdicts import ToldVerdicts
from ringfence.core.model import Verdict

HEALTHY, SUSPECT, DOWN, LEFT = Verdict.HEALTHY, Verdict.SUSPECT, Verdict.DOWN, Verdict.LEFT


def told(replica: ToldVerdicts, verdict: Verdict, *, leads: bool = True) -> bool:
    return "n2" in replica.due({"n1": HEALTHY, "n2": verdict}, leads=leads)


def test_each_verdict_once_suspicion_never_and_health_only_after_something_else() -> None:
    leader = ToldVerdicts()
    story = [HEALTHY, SUSPECT, DOWN, DOWN, SUSPECT, DOWN, SUSPECT, HEALTHY, HEALTHY, LEFT, DOWN]
    assert [verdict for verdict in story if told(leader, verdict)] == [DOWN, HEALTHY, LEFT, DOWN]


def test_a_standby_tells_nothing_and_tells_what_stands_once_it_leads() -> None:
    standby = ToldVerdicts()
    assert not any(told(standby, verdict, leads=False) for verdict in (HEALTHY, SUSPECT, DOWN, DOWN))
    assert told(standby, DOWN)  # the leader may have died with n2, before it could
    assert not told(standby, DOWN)
    assert told(standby, HEALTHY)


def test_what_the_leader_before_told_is_taken_back_by_the_next() -> None:
    standby = ToldVerdicts()
    told(standby, DOWN, leads=False)
    assert not told(standby, SUSPECT)
    assert told(standby, HEALTHY)


def test_a_replica_that_stands_back_and_leads_again_tells_what_has_changed_meanwhile() -> None:
    replica = ToldVerdicts()
    assert told(replica, DOWN)
    assert not told(replica, HEALTHY, leads=False)  # another has told that
    assert not told(replica, HEALTHY)
    assert told(replica, DOWN)


def test_a_node_that_is_gone_is_forgotten() -> None:
    leader = ToldVerdicts()
    assert told(leader, DOWN)
    assert leader.due({"n1": HEALTHY}, leads=True) == ()
    assert not told(leader, HEALTHY)
    assert told(leader, DOWN)
