"""What all heartbeat processes together say of one node's slot.

One who sees it move outweighs all who don't; silence is what at least one *fresh, good* look has seen and none
contradicts. A slot that was there and that nobody can read now counts as one that may move.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from ringfence.core.detection.evidence import SlotEvidence
from ringfence.core.fencing.slotreport import SlotReport
from ringfence.core.fencing.slots import Flag
from ringfence.core.fencing.slotwatch import NEVER, Sighting, SlotState
from ringfence.core.model import Boot
from ringfence.core.timing import VIEW_FRESH

_BOOTS = 8
"""Boots remembered of a node: the volume is not sealed, and what is invented there must not grow."""


@dataclass(slots=True)
class _Moves:
    """What is remembered of one boot's slot beyond the reports of now."""

    interval: float
    moved_at: float = NEVER
    moved_after: float = NEVER
    first_at: float = float("inf")
    """When it was first seen by anybody."""


@dataclass(slots=True)
class Heartbeats:
    """The reports of one controller's streams. Instants are its own clock."""

    _reports: dict[str, tuple[SlotReport, float]] = field(default_factory=dict)
    """By the reporter's node: its last report, and when it came."""
    _rows: dict[str, dict[str, tuple[Sighting, ...]]] = field(default_factory=dict)
    """Node UID -> reporter -> what that one sees of its slots."""
    _moves: dict[str, dict[str, _Moves]] = field(default_factory=dict)
    """Node UID -> boot id -> what was ever seen of it."""

    def take(self, report: SlotReport, now: float) -> None:
        """A report has arrived."""
        who = report.reporter.node
        before = self._reports.get(who)
        for row in before[0].rows if before else ():
            self._rows.get(row.boot.node_uid, {}).pop(who, None)
        self._reports[who] = (report, now)
        for row in report.rows:
            one = row.sighting(now)
            by_reporter = self._rows.setdefault(one.boot.node_uid, {})
            by_reporter[who] = (*by_reporter.get(who, ()), one)
            self._remember(one)

    def _remember(self, one: Sighting) -> None:
        boots = self._moves.setdefault(one.boot.node_uid, {})
        known = boots.setdefault(one.boot.boot_id, _Moves(one.interval))
        known.interval = one.interval
        known.moved_at = max(known.moved_at, one.moved_at)
        known.moved_after = max(known.moved_after, one.moved_after)
        known.first_at = min(known.first_at, one.first_at)
        if len(boots) > _BOOTS:
            del boots[min(boots, key=lambda boot_id: boots[boot_id].moved_at)]

    @property
    def size(self) -> int:
        """Nodes of which something is remembered."""
        return len(self._moves.keys() | self._rows.keys())

    def forget(self, node_uid: str) -> None:
        """The node, or the boot that it was in, is over."""
        self._moves.pop(node_uid, None)

    def reports(self, now: float) -> Iterator[SlotReport]:
        """Those that are fresh."""
        return (report for report, at in self._reports.values() if now - at <= VIEW_FRESH)

    def reporters(self, now: float) -> frozenset[str]:
        """The nodes whose reports are fresh."""
        return frozenset(report.reporter.node for report in self.reports(now))

    def moved_at(self, boot: Boot, past: Collection[str]) -> float:
        """When the slot of this boot was last seen to move; see :meth:`of` for ``past``."""
        moves = self._moves.get(boot.node_uid, {})
        return max((m.moved_at for boot_id, m in moves.items() if boot_id not in past), default=NEVER)

    def of(self, boot: Boot, past: Collection[str], now: float) -> SlotEvidence:
        """The evidence about the slot of this boot.

        Args:
            past: boots of the node that are over: their slots say nothing. One that is in neither place may be the next
                boot; it is a sign of life, and of nothing else: the volume is not sealed.
        """
        moves = [m for boot_id, m in self._moves.get(boot.node_uid, {}).items() if boot_id not in past]
        if not moves:
            return SlotEvidence()
        latest = max(moves, key=lambda m: m.moved_at)
        rows = [row for row in self._fresh(boot.node_uid, now) if row.boot.boot_id not in past]
        states = {_state(row, now) for row in rows}
        state = next((s for s in (SlotState.MOVING, SlotState.SILENT) if s in states), SlotState.UNREAD)
        since, others = NEVER, False
        if state is SlotState.SILENT:
            since = max(row.moved_at if row.moved_at > NEVER else row.first_at for row in rows)
            others = self._others_write(boot.node_uid, now)
        moved_after = max(m.moved_after for m in moves)
        own = self._moves[boot.node_uid].get(boot.boot_id)
        written_at = own.moved_at if own is not None else NEVER
        return SlotEvidence(state, latest.interval, moved_after, since, latest.first_at, written_at, others)

    def _others_write(self, node_uid: str, now: float) -> bool:
        """Whether one who shows this node's slot sees another's move: another process may read another volume."""
        showing = [who for who in self._rows.get(node_uid, {}) if now - self._reports[who][1] <= VIEW_FRESH]
        return any(
            row.boot.node_uid != node_uid and _state(row.sighting(at), now) is SlotState.MOVING
            for report, at in (self._reports[who] for who in showing)
            for row in report.rows
        )

    def told(self, boot: Boot, now: float) -> bool | None:
        """Whether the word "you are fenced" stands beside this boot's slot; None where nobody can say."""
        rows = [row for row in self._fresh(boot.node_uid, now) if row.boot == boot]
        return any(row.told == boot.boot_id for row in rows) if rows else None

    def words(self, now: float) -> dict[str, str]:
        """To whom "you are fenced" stands there: node UID -> boot id."""
        return {uid: row.told for uid in self._rows for row in self._fresh(uid, now) if row.told}

    def place(self, node_uid: str, now: float) -> tuple[int, int] | None:
        """Where the node's slot is, and the number of the last word to it; None where nobody shows it."""
        rows = list(self._fresh(node_uid, now))
        if not rows:
            return None
        best = max(rows, key=lambda row: (row.moved_at, row.looked_at))
        return best.index, max(row.issued for row in rows)

    def _fresh(self, node_uid: str, now: float) -> Iterator[Sighting]:
        for who, rows in self._rows.get(node_uid, {}).items():
            if now - self._reports[who][1] <= VIEW_FRESH:
                yield from rows


def _state(row: Sighting, now: float) -> SlotState:
    state = row.state(now)
    # Who has signed off is not silent: nothing is expected of it.
    return SlotState.UNREAD if state is SlotState.SILENT and Flag.LEFT in row.flags else state
