"""The word of a person that a node is off: how it is asked for, what was given, and when it doesn't count."""

from __future__ import annotations

import hashlib

from ringfence.core.failover import sentences
from ringfence.core.failover.look import Confirmation, Look
from ringfence.core.failover.record import Record
from ringfence.core.fencing.proof import AdminConfirmed, void_because


def given(record: Record, look: Look) -> AdminConfirmed | None:
    """What a person has said of this boot."""
    said = look.confirmation
    if said is None:
        return None
    return AdminConfirmed(record.boot, said.confirmed_by, said.statement, said.seen_at)


def digest(said: Confirmation) -> str:
    """What was said and by whom, as a mark."""
    return hashlib.sha256(f"{said.confirmed_by}\n{said.statement}".encode()).hexdigest()


def void(record: Record, look: Look) -> str | None:
    """Why what a person has said of this boot doesn't count, as a clause; None: it does, or nothing was said."""
    confirmed = given(record, look)
    if confirmed is None:
        return None
    if look.confirmation is not None and record.void_word == digest(look.confirmation):
        return "it was given before the cluster's store was set back: look again, and say in other words how you know"
    if void_because(confirmed, look.life_at, look.life_sign) is not None:
        return "a sign of life came after it"
    return None


def call_a_person(record: Record, look: Look) -> str:
    node = record.boot.node
    return (
        f"Make sure that {node} is off, then: ringfence fence confirm {node} --i-have-checked-that-it-is-off"
        f"{unheard(record, look)}{sentences.foreign_taint(look)}"
    )


def unheard(record: Record, look: Look) -> str:
    """Why a person's word is not taken."""
    confirmed, why = given(record, look), void(record, look)
    if confirmed is None or why is None:
        return ""
    return f" (the word of {confirmed.confirmed_by} does not count: {why})"
