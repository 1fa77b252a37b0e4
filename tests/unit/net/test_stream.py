"""The stream's parts that need no second side; with real agents it runs in tests/unit/agent."""

from __future__ import annotations

from ringfence.net.stream import AGAIN, PUSH_EVERY, SMALL, Rhythm


def test_what_is_new_is_shown_again_soon_and_what_is_large_is_not() -> None:
    rhythm = Rhythm()
    assert [rhythm.pause(100) for _ in range(2)] == [PUSH_EVERY] * 2
    rhythm.changed()
    assert [rhythm.pause(100) for _ in range(4)] == [*AGAIN, PUSH_EVERY, PUSH_EVERY]
    rhythm.changed()
    assert rhythm.pause(SMALL) == AGAIN[0]
    rhythm.changed()
    assert [rhythm.pause(100) for _ in range(3)] == [*AGAIN, PUSH_EVERY]
    rhythm.changed()
    assert rhythm.pause(SMALL + 1) == PUSH_EVERY
