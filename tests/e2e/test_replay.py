"""The simulator against the real cluster: the same story in both, and the same things happen in the same order.

Where they differ the model is wrong, or the product is. Compared are the incident's phases, the power requests that reach the
BMC, and whether the VM runs elsewhere in the end; times are not: a laboratory has its own.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from functools import partial

import pytest

from e2e.stories import guarded_vm, leader_away_from, orders
from lab.cluster import Lab
from lab.wait import until
from simulator.library import Story, find, play

pytestmark = [pytest.mark.lab, pytest.mark.more]

LOGGED = re.compile(
    r"^\s*[\d.]+ (?:(?P<phase>[A-Z]\w+): |order: \S+ (?P<order>off|on)|world: db runs on (?P<node>n\d))"
)
LAST = {"a14-bmc-ignores": "AwaitingConfirmation", "b10-user-stops": "Held"}
"""Behind it stands what a person does at an instant of his own, or nothing."""


@pytest.mark.parametrize("name", ["a1-network-cut", "a1-power-cut", "a14-bmc-ignores", "b10-user-stops"])
def test_the_same_happens_in_the_same_order(lab: Lab, name: str) -> None:
    story = find(name)
    last = LAST.get(name, "Closed")
    told, moved = in_virtual_time(story, last)
    victim = lab.quiet_node()
    leader_away_from(lab, victim)
    guarded_vm(lab, "db", victim)
    lab.bmc(victim).mode(story.cluster.get("bmcs", {}).get("n1", "ok"))
    since, began = time.time(), time.monotonic()
    for fault in story.faults:
        at = fault.at - story.faults[0].at
        if at > 30.0:
            break  # behind what is compared
        until(f"{at} s to be over", partial(passed, began + at), at + 5, every=0.02)
        act(lab, victim, fault.words[0])
    lab.wait_phase(victim, last, seconds=180)
    assert in_the_lab(lab, victim, since, last) == told
    vmi = lab.get("vmi", "db", "default")
    assert (vmi is not None and vmi["status"].get("nodeName") != victim) == moved
    assert len(lab.failovers(victim)) == 1


def passed(instant: float) -> bool:
    return time.monotonic() >= instant


def in_virtual_time(story: Story, last: str) -> tuple[list[str], bool]:
    """What happens to n1, in its order, up to that phase; and whether db has run elsewhere by then."""
    events: list[str] = []
    moved = False
    for found in filter(None, map(LOGGED.match, play(story))):
        if found["node"] is not None:
            moved |= found["node"] != "n1"
        elif [event := found["phase"] or f"order {found['order']}"] != events[-1:]:
            events.append(event)
        if events[-1:] == [last]:
            break
    return events, moved


def in_the_lab(lab: Lab, victim: str, since: float, last: str) -> list[str]:
    """The same of a real node: the phases on record and the BMC's log, by their times."""
    (failover,) = lab.failovers(victim)
    seen = [
        (datetime.fromisoformat(moment["at"]).timestamp(), moment["phase"])
        for moment in failover["status"]["history"]
    ]
    seen += [(entry["t"], "order off") for entry in orders(lab, victim, since)]
    seen += [(entry["t"], "order on") for entry in orders(lab, victim, since, "On")]
    events: list[str] = []
    for _, event in sorted(seen):
        if [event] != events[-1:]:
            events.append(event)
        if event == last:
            break
    return events


def act(lab: Lab, victim: str, verb: str) -> None:
    """What a line of the script does to the real cluster."""
    match verb:
        case "cut":
            lab.node(victim).cut()
        case "power-cut":
            lab.node(victim).power_off()
        case "stop-vm":
            patch = json.dumps({"spec": {"runStrategy": "Halted"}})
            lab.kubectl("-n", "default", "patch", "vm", "db", "--type=merge", "-p", patch)
        case _:
            raise AssertionError(f"{verb} can't be played here")
