"""Our feeder before a real kernel's softdog, in a guest: what it believes of a watchdog, and what the kernel does.

The guest's instants are brought to the host's clock; that is late by the quickest line's way, tenths of a second, so a
reset may look that much too early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.watchdog.softdog import ANSWERS_WITHIN, Guest, GuestError, prepare
from ringfence.core import timing

pytestmark = pytest.mark.lab

ISOLATION, TIMEOUT = 2, 5
LONG = 60
"""A time-out that no Python's start on a busy machine outlasts."""
CLOCKS_DIFFER = 0.5
SOFTDOG = "softdog: Initiating system reboot"
NOT_STOPPED = "watchdog did not stop!"
NotYet = Callable[..., Guest]


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[NotYet]:
    """Start the guest; it ends with the test."""
    parts = prepare()
    started: list[Guest] = []

    def start(timeout: int, *, nowayout: bool) -> Guest:
        guest = Guest(tmp_path, parts, isolation=ISOLATION, timeout=timeout, nowayout=nowayout)
        started.append(guest)
        guest.start()
        return guest

    yield start
    for guest in started:
        guest.close()


def armed(guest: Guest) -> dict[str, Any]:
    return guest.until("the watchdog to be armed", lambda state: bool(state["report"]["armed"]))


def fed_after(instant: float, state: dict[str, Any]) -> bool:
    return bool(state["feeder"]["armed"] and state["feeder"]["fed_at"] > instant)


def told_is_true(state: dict[str, Any]) -> bool:
    """Whether what a controller would read is what the kernel says."""
    report, kernel = state["report"], state["kernel"]
    return (
        report["armed"] == (kernel["state"] == "active")
        and report["timeoutSeconds"] == int(kernel["timeout"])
        and report["nowayout"] == (kernel["nowayout"] == "1")
        and kernel["identity"] in report["device"]
    )


def test_a_fed_node_lives_and_one_whose_feeder_is_killed_is_reset(boot: NotYet) -> None:
    guest = boot(TIMEOUT, nowayout=False)
    assert guest.state["kernel"]["state"] == "inactive", "nothing runs before it is opened"
    guest.tell("legs", names=["Gossip"])
    guest.tell("feeder")
    state = armed(guest)
    assert told_is_true(state)
    assert state["report"]["timeoutSeconds"] == TIMEOUT
    assert not state["report"]["nowayout"]
    assert told_is_true(guest.passes(TIMEOUT + 2))

    # An orderly end is the one way to stop it.
    guest.tell("sign_off")
    guest.tell("end_feeder")
    assert guest.state["kernel"]["state"] == "inactive"
    assert guest.passes(TIMEOUT + 2)["kernel"]["state"] == "inactive"

    guest.tell("agent", timeout=TIMEOUT)
    guest.tell("feeder")
    armed(guest)
    guest.tell("kill_supervisor")
    after = guest.reset(ANSWERS_WITHIN) - guest.here(guest.state["feeder"]["fed_at"])
    assert TIMEOUT - CLOCKS_DIFFER < after < TIMEOUT + timing.SELF_FENCE_MARGIN
    assert SOFTDOG in guest.console.read_text()


def test_a_node_without_a_leg_is_reset_and_nowayout_can_not_be_closed(boot: NotYet) -> None:
    guest = boot(LONG, nowayout=True)
    # The magic character is written, and the kernel goes on: the feeder finds a watchdog that runs.
    guest.tell("feeder")
    guest.until("a feeder that has no leg yet", lambda state: bool(state["feeder"]))
    guest.tell("magic_close")
    assert guest.state["kernel"]["state"] == "active"
    assert NOT_STOPPED in guest.console.read_text()
    guest.tell("legs", names=["Api"])
    state = armed(guest)
    assert told_is_true(state)
    assert state["report"]["nowayout"]
    with pytest.raises(GuestError, match="somebody else feeds it"):
        guest.tell("magic_close")

    # No orderly end: what can't be stopped is neither reported as stopped nor left unfed.
    guest.tell("sign_off")
    state = guest.until("it is fed on", partial(fed_after, guest.state["now"]))
    assert told_is_true(state)
    assert state["report"]["armed"]

    # Its supervisor starts a killed feeder again; the watchdog has run meanwhile.
    guest.tell("kill_feeder")
    guest.until("another feeder feeds", partial(fed_after, guest.state["now"]))

    # An upgrade changes the time-out of a watchdog that runs.
    guest.tell("kill_supervisor")
    guest.tell("agent", timeout=TIMEOUT)
    guest.tell("feeder")
    state = armed(guest)
    assert told_is_true(state)
    assert state["report"]["timeoutSeconds"] == TIMEOUT

    guest.tell("guest")
    guest.until("its guest to run", lambda state: bool(state["guest"]))
    guest.tell("legs", names=[])
    stopped = guest.until("its guest to be stopped", lambda state: not state["guest"])
    assert stopped["now"] >= stopped["heldAt"] + ISOLATION
    reset_at = guest.reset(ANSWERS_WITHIN)
    last = guest.state
    assert reset_at - guest.here(last["feeder"]["fed_at"]) > TIMEOUT - CLOCKS_DIFFER
    promised = timing.self_fence_seconds(ISOLATION, TIMEOUT)
    assert reset_at - guest.here(last["heldAt"]) < promised
    assert SOFTDOG in guest.console.read_text()
