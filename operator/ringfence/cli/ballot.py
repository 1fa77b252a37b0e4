"""A signed vote as people read it: who found what, when, in which round."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from ringfence.cli.document import Document


@dataclass(frozen=True, slots=True)
class VoteRow:
    voter: str
    vote: str
    after_seconds: float | None
    """Seconds from the first doubt; of a recorded vote."""
    ago_seconds: float | None
    """Seconds ago; of a present one."""
    round: str
    """Base64, as in the Failover."""
    roster_epoch: str
    signature: str
    """Base64; empty: the vote is not signed, and nobody counted it."""
    columns: tuple[str, ...] = ()
    """``network: answer`` for each network that the voter looked on; none: only the management network."""

    @property
    def line(self) -> str:
        """All in one line, without the signature's own bytes."""
        when = ""
        if self.after_seconds is not None:
            when = f"{self.after_seconds:+.2f} s"
        elif self.ago_seconds is not None:
            when = f"{self.ago_seconds:.1f} s ago"
        told = (
            when,
            *self.columns,
            f"round {_short(self.round)}" if self.round else "",
            f"roster epoch {self.roster_epoch}" if self.roster_epoch else "",
            "signed" if self.signature else "NOT SIGNED",
        )
        return f"{self.voter} {self.vote or '?'} ({', '.join(filter(None, told))})"


def vote_rows(votes: Sequence[Document]) -> tuple[VoteRow, ...]:
    """Those of a Failover or of the controller's ``/members``, in their order."""
    return tuple(
        VoteRow(
            voter=one.text("voter"),
            vote=one.text("vote"),
            after_seconds=_number(one.at("afterSeconds")),
            ago_seconds=_number(one.at("age")),
            round=one.text("round"),
            roster_epoch=one.text("rosterEpoch"),
            signature=one.text("signature"),
            columns=tuple(f"{network}: {answer}" for network, answer in sorted(one.part("columns").leaves())),
        )
        for one in votes
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _short(round_id: str) -> str:
    """Enough of a round's id to tell it from the next."""
    try:
        return base64.b64decode(round_id, validate=True).hex()[:8]
    except binascii.Error:
        return round_id[:8]
