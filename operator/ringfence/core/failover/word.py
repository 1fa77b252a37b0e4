"""The word of a person that a node is off: how it is asked for, what was given, and when it doesn't count."""

from __future__ import annotations

from ringfence.core.failover import sentences
from ringfence.core.failover.look import Look
from ringfence.core.failover.record import Record
from ringfence.core.fencing.proof import AdminConfirmed, void_because


def given(record: Record, look: Look) -> AdminConfirmed | None:
    """What a person has said of this boot."""
    said = look.confirmation
    if said is None:
        return None
    return AdminConfirmed(record.boot, said.confirmed_by, said.statement, said.seen_at)


def too_old(confirmed: AdminConfirmed, look: Look) -> bool:
    return void_because(confirmed, look.life_at, look.life_sign) is not None


def call_a_person(record: Record, look: Look) -> str:
    node = record.boot.node
    return (
        f"Make sure that {node} is off, then: ringfence fence confirm {node} --i-have-checked-that-it-is-off"
        f"{unheard(record, look)}{sentences.foreign_taint(look)}"
    )


def unheard(record: Record, look: Look) -> str:
    """Why a person's word is not taken."""
    confirmed = given(record, look)
    if confirmed is None or not too_old(confirmed, look):
        return ""
    return f" (the word of {confirmed.confirmed_by} does not count: a sign of life came after it)"
