"""How long ago a fence device was shown to work, and when that is too long ago to count on it.

Between incidents every device is exercised without harm: logged in to, its identity compared, its power read. That finds what rots
(a password, a certificate, a network), though not an outlet that was replugged: only an off/on drill does. A zone says how old
either may be before its VMs no longer count as protected.
"""

from __future__ import annotations

from dataclasses import dataclass

PROOF_MAX_AGE = 3600.0
"""Seconds; a device is exercised once a minute, so sixty times in vain."""
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Exercise:
    """What is known of one device with regard to one node."""

    device: str
    node: str
    trouble: str | None
    """What the last look found wrong; None: nothing."""
    proved_ago: float | None
    """Seconds since it was last proved usable; None: never, as far as this controller knows."""
    drilled_ago: float | None = None
    """Seconds since the last drill that was passed; None: never."""
    drillable: bool = True
    """It has power to switch: a storage and a watchdog have none."""


def unproved(exercise: Exercise, proof_max_age: float, drill_max_age: float | None) -> str | None:
    """Why the device can't be counted on; None: it can.

    Args:
        proof_max_age: seconds after which the last proof counts no more.
        drill_max_age: the same of the last drill; None: no drill is asked for.
    """
    if exercise.trouble is not None:
        return exercise.trouble
    if exercise.proved_ago is None:
        return "not looked at yet"
    if exercise.proved_ago > proof_max_age:
        return f"last proved {span(exercise.proved_ago)} ago, which its zone takes for too long (proofMaxAgeSeconds {proof_max_age:g})"
    if drill_max_age is None or not exercise.drillable:
        return None
    if exercise.drilled_ago is not None and exercise.drilled_ago <= drill_max_age:
        return None
    last = "never" if exercise.drilled_ago is None else f"last {span(exercise.drilled_ago)} ago"
    return (
        f"drilled {last}, and its zone wants a drill every {drill_max_age / DAY:g} days:"
        f" drain {exercise.node}, then ringfence fence drill {exercise.device} {exercise.node}"
    )


def span(seconds: float) -> str:
    """A duration in its largest whole unit, so that a sentence with it seldom changes."""
    for size, unit in ((DAY, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
