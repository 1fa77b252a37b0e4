"""What chance has found: the shortest script of each bug, and its story."""

from __future__ import annotations

import pytest

from simulator.script import random_script, read
from simulator.story import play


def broken(script: str) -> set[int]:
    return {one.number for one in play(read(script)).broken}


def test_a_datagram_of_an_old_boot_sent_again_moves_no_agent_that_has_just_started() -> None:
    """n2 reboots, later the agents are rolled out, and somebody repeats what n2's first boot once said.

    A fresh agent had no memory of that boot being over: it took the old boot for the new one, the real one for past,
    refused all that it said, and called a healthy node agent-down until the next roster change.
    """
    assert not broken(
        """
        nodes 5 zones 1 seed 1
        0.000 replay * for 20.0
        1.000 crash n2 for 2.0
        6.000 rollout * for 4.0 by 0.3
        """
    ) & {6, 8}


def test_a_veto_goes_as_far_as_the_verdict_and_may_overtake_it() -> None:
    """A partition heals at the instant at which verdicts are told around.

    A veto that came before the verdict that it withdraws was thrown away and passed on by nobody; the verdict, coming
    later, was believed until it lapsed: 138 members called somebody unreachable who had answered 1.5 s before.
    """
    assert 7 not in {one.number for one in play(random_script(1, 100)).broken}


def test_a_dead_nodes_datagrams_sent_again_to_others_keep_nobody_alive() -> None:
    """Each receiver has a replay window of its own: what n2 had said to n1 was fresh to n3, and vetoed the verdict there.

    The seal covers the receiver since.
    """
    assert not broken("nodes 5 zones 1 seed 1\n0.000 replay * for 8.000\n1.000 crash n2")


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_a_node_that_hears_nobody_is_not_called_unreachable(seed: int) -> None:
    """n5 still sends, but hears nothing: its acks stop, and those who watch it need not be those that it probes.

    It told them that it lives only once it held itself for cut off, half a second later: too late for their round.
    """
    outcome = play(read(f"nodes 30 zones 3 seed {seed}\n3.0 cut * > n5 for 6.0"))
    assert not outcome.verdicts
