"""Whose rosters are believed: what is told when Secret, leader and agents don't go by one key."""

from __future__ import annotations

import pytest

from ringfence.core.rosterkey import BY_ANOTHER, IN_SECRET, TRUSTED, fingerprint, judge

OURS, OTHER = fingerprint(b"o" * 32), fingerprint(b"x" * 32)
RESTART = "kubectl -n own rollout restart daemonset -l app.kubernetes.io/name=ringfence"


def test_a_fingerprint_tells_keys_apart_and_is_short_enough_to_be_compared_by_eye() -> None:
    assert OURS != OTHER
    assert len(OURS) == 16
    assert set(OURS) <= set("0123456789abcdef")


@pytest.mark.parametrize("reported", [{}, {"n1": OURS, "n2": OURS}, {"n1": OURS, "n2": None}])
def test_all_is_well_while_nobody_says_otherwise(reported: dict[str, str | None]) -> None:
    """An agent that is older than this has reported none: nothing is known of it."""
    trust = judge(OURS, OURS, reported, "own")
    assert (trust.reason, trust.refusing) == (TRUSTED, ())
    assert OURS in trust.sentence


def test_agents_that_go_by_another_key_are_named_with_the_command_that_mends_it() -> None:
    trust = judge(OURS, OURS, {"n2": OTHER, "n1": OTHER, "n3": OURS, "n4": None}, "own")
    assert (trust.reason, trust.refusing) == (BY_ANOTHER, ("n1", "n2"))
    assert "n1, n2 go by another roster key" in trust.sentence
    assert RESTART in trust.sentence
    assert OURS in trust.sentence
    assert OTHER in trust.sentence


def test_a_secret_with_another_key_is_told_before_the_agents_are() -> None:
    trust = judge(OURS, OTHER, {"n1": OURS}, "own")
    assert (trust.reason, trust.refusing) == (IN_SECRET, ())
    assert "delete the Secret" in trust.sentence
    assert "rollout restart" in trust.sentence
    assert judge(OURS, "", {}, "own").reason == IN_SECRET, "no key in it"
    assert judge(OURS, None, {}, "own").reason == TRUSTED, "not read yet"


def test_of_many_only_some_are_named() -> None:
    trust = judge(OURS, OURS, {f"n{i:03}": OTHER for i in range(500)}, "own")
    assert len(trust.refusing) == 500
    assert "and 492 more" in trust.sentence
    assert len(trust.sentence) < 1024, "a condition's message"
