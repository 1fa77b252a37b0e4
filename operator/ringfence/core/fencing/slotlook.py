"""The last look at a slot: whether a node that its slot may feed has written since the count began (DESIGN §3, `SelfFenced`).

A heartbeat process is asked afresh, over a connection of its own: its first answer was put together after the question, so what it
began to read after that, by its own clock, began after the question by ours. No clock is compared, and how long an
answer took on its way doesn't matter: a stale one can't look fresh.

Only a process that has seen that very boot's slot move counts: another may read another volume, and would see it stand still
for ever. The node itself doesn't count.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringfence.core.fencing.selffence import SlotLook
from ringfence.core.fencing.slotreport import SlotReport
from ringfence.core.model import Boot
from ringfence.core.timing import CLOCK_RATE_BOUND


def look_of(
    report: SlotReport, boot: Boot, *, asked_at: float, first_said: float, heard_at: float
) -> SlotLook | None:
    """What one process says of this boot's slot; None where it can say nothing.

    Args:
        asked_at: when it was asked (our clock).
        first_said: its own clock when it put its first answer to that question together.
        heard_at: when this answer, the first or a later one, had come (our clock).
    """
    rows = [row for row in report.rows if row.boot == boot]
    if report.reporter.node_uid == boot.node_uid or not rows:
        return None
    moved = [row.moved_age for row in rows if row.moved_age is not None]
    if len(moved) < len(rows):
        return None
    # The other clock may run slower or faster than ours: each age is taken the way that proves less.
    began = report.at - max(row.looked_age for row in rows) - first_said
    began = began * (1 - CLOCK_RATE_BOUND) if began > 0 else began / (1 - CLOCK_RATE_BOUND)
    moved_at = heard_at - max(0.0, min(moved)) * (1 - CLOCK_RATE_BOUND)
    return SlotLook(asked_at + began, moved_at, frozenset({report.reporter.node}))


def together(looks: Iterable[SlotLook]) -> SlotLook | None:
    """What several say: one read after the time is enough, and the latest write that any of them has seen counts."""
    known = tuple(looks)
    if not known:
        return None
    looked_at = max(look.looked_at for look in known)
    return SlotLook(
        looked_at,
        max(look.moved_at for look in known),
        frozenset(name for look in known if look.looked_at == looked_at for name in look.observers),
    )
