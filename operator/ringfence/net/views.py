"""AgentView as bytes: JSON, with bytes as base64.

The agent writes it with the standard library, which it has loaded anyway; msgspec, which checks what the controller
reads, would cost each agent 7 MiB.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from dataclasses import dataclass, fields
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
_AGES = ("state_age", "heard_age", "two_way_age", "kernel_age", "round_age", "look_age", "loss")
_DIGITS = 4
"""Of an age's seconds, or of a share, after the point: more would only be noise that no compression makes shorter."""
_RTT_DIGITS = 6
OLD = 10.0
"""Seconds after which a sign of life of a member with which its agent has nothing to do is not told any more."""


class ViewError(ValueError):
    """These bytes are not an AgentView."""


@dataclass(frozen=True, slots=True)
class _Shown(AgentView):
    """A view as it comes over a stream."""

    same: tuple[str, ...] = ()
    """UIDs of members whose votes are those of the stream's view before."""


def encode_view(view: AgentView, same: Collection[str] = ()) -> bytes:
    """The view's bytes, without the votes about members of these UIDs: the reader has them (`view_stream`).

    Members of whom there is nothing to say are left out, or those of 5,000 would hold up the loop for longer than an agent may
    be late.
    """
    told = _fields(view, _VIEW)
    told["subjects"] = [
        _told(subject, same=subject.subject.node_uid in same)
        for subject in view.subjects
        if _worth_telling(subject)
    ]
    if same:
        told["same"] = sorted(same)
    return json.dumps(told, default=_plain, separators=(",", ":")).encode()


def _worth_telling(subject: SubjectView) -> bool:
    if subject.state is not RingState.UNKNOWN or subject.votes or subject.look_votes:
        return True
    ages = (subject.heard_age, subject.two_way_age, subject.kernel_age)
    return any(age is not None and age <= OLD for age in ages)


def _fields(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """As `dataclasses.asdict` without its copies, at a third of its price."""
    return {name: getattr(value, name) for name in names}


def _told(subject: SubjectView, *, same: bool) -> dict[str, Any]:
    told = _fields(subject, _SUBJECT)
    told["subject"] = _fields(subject.subject, _BOOT)
    if same:
        told["votes"] = told["vote_ages"] = told["look_votes"] = ()
    for name in _AGES:
        if told[name] is not None:
            told[name] = round(told[name], _DIGITS)
    if told["rtt"] is not None:
        told["rtt"] = round(told["rtt"], _RTT_DIGITS)
    told["vote_ages"] = tuple(round(age, _DIGITS) for age in told["vote_ages"])
    for name in _LATER:
        if told[name] in _DEFAULTS:
            del told[name]
    return told


def decode_view(data: bytes) -> AgentView:
    """A view that is complete in itself; errors as those of `decode_shown`."""
    view, same = decode_shown(data)
    if same:
        raise ViewError("votes as in the view before, and there is none")
    return view


def decode_shown(data: bytes) -> tuple[AgentView, tuple[str, ...]]:
    """The view, and of which members it leaves out the votes that the one before had.

    Unknown fields are passed over; those without a default that are missing, and mistyped ones, raise ViewError.
    """
    import msgspec  # noqa: PLC0415 (readers only, see above)

    try:
        shown = _decoder().decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise ViewError(str(error)) from error
    return AgentView(**_fields(shown, _VIEW)), shown.same


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
def _decoder() -> msgspec.json.Decoder[_Shown]:
    import msgspec  # noqa: PLC0415

    return msgspec.json.Decoder(_Shown)


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
