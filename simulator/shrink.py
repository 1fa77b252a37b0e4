"""Make what fails as short as it will go: the one loop by which scripts of the ring and schedules of the system are shrunk.

Greedy: the first shorter form that still fails is taken, and its own shorter forms are tried next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Form = TypeVar("Form")
Outcome = TypeVar("Outcome")


def shrink(
    outcome: Outcome,
    shorter: Callable[[Outcome], Iterable[Form]],
    play: Callable[[Form], Outcome],
    fails: Callable[[Outcome], bool],
    *,
    attempts: int,
) -> Outcome:
    """The outcome of the shortest form that still fails, as far as so many plays find it.

    Args:
        outcome: what is to be shrunk; it fails.
        shorter: the forms to try next, each a little shorter than the outcome's.
        fails: whether an outcome shows the same failure.
    """
    best = outcome
    while attempts > 0:
        for form in shorter(best):
            attempts -= 1
            played = play(form)
            if fails(played):
                best = played
                break
            if attempts <= 0:
                break
        else:
            break
    return best
