"""How late a view is, without comparing two machines' clocks."""

from __future__ import annotations

import pytest

from ringfence.core.detection.lateness import SPAN, Lateness

AHEAD = 7_000.0
"""By so much the sender's clock is ahead."""


def test_what_waited_is_late_by_what_it_waited_longer_than_the_quickest() -> None:
    lateness = Lateness()
    came = [
        lateness.of(AHEAD + at, at + way)
        for at, way in ((0.0, 0.02), (0.5, 0.01), (1.0, 2.01), (1.5, 1.51), (3.2, 0.03))
    ]
    assert came == pytest.approx([0.0, 0.0, 2.0, 1.5, 0.02])


def test_a_view_that_does_not_tell_when_it_was_sent_is_not_late() -> None:
    assert Lateness().of(None, 5.0) == 0.0


def test_clocks_that_run_apart_make_nothing_late() -> None:
    lateness = Lateness()
    came = [lateness.of(AHEAD + at * 0.999, at + 0.01) for at in (tick / 2 for tick in range(7_200))]
    assert max(came) < 2 * SPAN / 1_000 + 1e-3


def test_after_a_clock_has_stood_still_views_are_on_time_again_within_two_spans() -> None:
    lateness = Lateness()
    lateness.of(AHEAD, 0.0)
    came = {at: lateness.of(AHEAD + at - 60.0, at) for at in (100.0 + tick / 2 for tick in range(60))}
    assert came[100.0] == pytest.approx(60.0)
    assert all(late == 0.0 for at, late in came.items() if at > 100.0 + 2 * SPAN)
