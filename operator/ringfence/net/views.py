"""AgentView as bytes: JSON, with bytes as base64.

The agent writes it with the standard library, which it has loaded anyway; msgspec, which checks what the controller
reads, would cost each agent 7 MiB.
"""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from ringfence.core.gossip.report import AgentView, Hearing, NetworkView, SelfView, SubjectView
from ringfence.core.model import Boot, Column, RingState, SignedVote

if TYPE_CHECKING:
    import msgspec


_BOOT, _VOTE, _SUBJECT, _VIEW, _SELF, _HEARING, _NETWORK, _COLUMN = (
    tuple(one.name for one in fields(kind))
    for kind in (Boot, SignedVote, SubjectView, AgentView, SelfView, Hearing, NetworkView, Column)
)
_DEFAULTS = (None, ())
"""What the fields that came later have where there is nothing to say, and so need not be sent."""
_LATER = ("rtt", "loss", "vote_ages", "networks", "look_age", "look_votes")
OLD = 10.0
"""Seconds after which a sign of life of a member with which its agent has nothing to do is not told any more."""


class ViewError(ValueError):
    """These bytes are not an AgentView."""


def encode_view(view: AgentView) -> bytes:
    """The view's bytes. Members of whom there is nothing to say are left out, or those of 5,000 would hold up the loop
    for longer than an agent may be late.
    """
    told = _fields(view, _VIEW)
    told["subjects"] = [_told(subject) for subject in view.subjects if _worth_telling(subject)]
    return json.dumps(told, default=_plain, separators=(",", ":")).encode()


def _worth_telling(subject: SubjectView) -> bool:
    if subject.state is not RingState.UNKNOWN or subject.votes or subject.look_votes:
        return True
    ages = (subject.heard_age, subject.two_way_age, subject.kernel_age)
    return any(age is not None and age <= OLD for age in ages)


def _fields(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """As `dataclasses.asdict` without its copies, at a third of its price."""
    return {name: getattr(value, name) for name in names}


def _told(subject: SubjectView) -> dict[str, Any]:
    told = _fields(subject, _SUBJECT)
    told["subject"] = _fields(subject.subject, _BOOT)
    for name in _LATER:
        if told[name] in _DEFAULTS:
            del told[name]
    return told


def decode_view(data: bytes) -> AgentView:
    """The view; unknown fields are passed over, those without a default that are missing, and mistyped ones, raise ViewError."""
    import msgspec  # noqa: PLC0415 (readers only, see above)

    try:
        return _decoder().decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise ViewError(str(error)) from error


def encode_hearing(hearing: Hearing) -> bytes:
    """Its bytes."""
    return json.dumps(_fields(hearing, _HEARING), default=_plain, separators=(",", ":")).encode()


def decode_hearing(data: bytes) -> Hearing:
    """The hearing; ages below zero, and what isn't one, raise ViewError."""
    import msgspec  # noqa: PLC0415 (readers only, see above)

    try:
        found = msgspec.json.decode(data, type=Hearing)
    except (msgspec.DecodeError, ValueError) as error:
        raise ViewError(str(error)) from error
    if found.listens_age < 0 or (found.heard_age is not None and found.heard_age < 0):
        raise ViewError("an age is below zero")
    return found


@cache
def _decoder() -> msgspec.json.Decoder[AgentView]:
    import msgspec  # noqa: PLC0415

    return msgspec.json.Decoder(AgentView)


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case frozenset():
            return sorted(value)
        case Boot():
            return _fields(value, _BOOT)
        case SignedVote():
            return _fields(value, _VOTE)
        case SelfView():
            return _fields(value, _SELF)
        case NetworkView():
            return _fields(value, _NETWORK)
        case Column():
            return _fields(value, _COLUMN)
        case _:
            raise TypeError(f"a view has no {type(value).__name__}")
