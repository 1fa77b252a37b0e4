"""The ring's group keys, and how they are changed while the ring runs: install, use, remove.

A member holds several keys and opens with any of them; it seals with one. The id of the sealing key stands in each
datagram's header. `advance` takes one step at a time, each only when everybody who is waited for has reported that it
has followed the last one (the kubelet brings a changed Secret within a minute and a half, so no step goes by a clock):

- install: a fresh key joins the set; all seal with the old one. Some open with both by now, some with the old only.
- use: all open with both. Some seal with the new one by now, some with the old.
- remove: all seal with the new one. Some open with both still, some with the new only.

In each of the three everybody opens what everybody seals, whatever the order in which members follow. The stored set
*is* the state: the step under way is read off it, so whoever leads next goes on from there.

Who isn't waited for (`excuse`) hears nobody when it comes back, until its Secret is brought to it. It is then found
with an agent that doesn't answer and a kernel that does, which harms no node.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ringfence.core.model import Verdict

KEY_BYTES = 32
MAX_KEYS = 4
"""A rotation needs two."""
_IDS = 256
_NAMED = 8
"""So many nodes are named in a sentence; of the others it says how many."""


class KeysError(ValueError):
    """This text is no set of keys. The sentence names the field and never what stands in it."""


@dataclass(frozen=True, slots=True)
class GroupKey:
    """One key of the group. Its secret is in no representation, so that no log line can show it."""

    id: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys in the order in which they were made, the id of the one that seals, and how often they were changed."""

    keys: tuple[GroupKey, ...]
    used: int
    generation: int = 0

    @classmethod
    def first(cls, secret: bytes) -> KeySet:
        """What there is before anybody asks for a rotation: one key with the id 0, as all versions know it."""
        return cls((GroupKey(0, secret),), 0)

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of the keys that open."""
        return tuple(key.id for key in self.keys)

    @property
    def newest(self) -> int:
        """The id of the key that was made last."""
        return self.keys[-1].id

    def text(self) -> str:
        """As the Secret carries it."""
        keys = [{"id": key.id, "key": base64.b64encode(key.secret).decode()} for key in self.keys]
        return json.dumps({"generation": self.generation, "used": self.used, "keys": keys})


def open_keys(text: str) -> KeySet:
    """The set in this text; what a later version has added to it is passed over. Raises KeysError."""
    try:
        whole = json.loads(text)
    except ValueError:
        raise KeysError("it is no JSON") from None  # the cause quotes what it can't read
    if not isinstance(whole, dict):
        raise KeysError("it is no JSON object")
    listed = whole.get("keys")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_KEYS:
        raise KeysError(f"keys must be a list of 1 to {MAX_KEYS} keys")
    keys = tuple(_key(place, one) for place, one in enumerate(listed))
    found = KeySet(keys, _number(whole, "used", _IDS - 1), _number(whole, "generation", 2**31))
    if len(set(found.ids)) < len(keys):
        raise KeysError("an id stands twice in keys")
    if found.used not in found.ids:
        raise KeysError("used must be the id of one of the keys")
    return found


def _key(place: int, raw: object) -> GroupKey:
    if not isinstance(raw, dict):
        raise KeysError(f"keys[{place}] is no JSON object")
    try:
        secret = base64.b64decode(raw.get("key", ""), validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise KeysError(f"keys[{place}].key is no base64") from None
    if len(secret) != KEY_BYTES:
        raise KeysError(f"keys[{place}].key has {len(secret)} bytes, not {KEY_BYTES}")
    return GroupKey(_number(raw, "id", _IDS - 1, f"keys[{place}].id"), secret)


def _number(raw: dict[str, Any], name: str, most: int, shown: str = "") -> int:
    value = raw.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise KeysError(f"{shown or name} must be a number from 0 to {most}")
    return value


# --- who is waited for -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Holder:
    """One roster member and what its agent has reported of its keys, in this boot."""

    node: str
    held: frozenset[int] | None = None
    """The ids of the keys that it opens with; None where it has reported none."""
    used: int | None = None
    verdict: Verdict | None = None
    excuse: str = ""
    """Why nobody waits for it; empty: it is waited for."""


def excuse(*, named: bool, verdict: Verdict | None, reported: bool, heard: bool) -> str:
    """Why a member isn't waited for; empty where it is.

    Args:
        named: an administrator has said to go on without it.
        reported: its agent of this boot has written a report at all.
        heard: the ring hears its agent now.
    """
    if named:
        return "named in spec.gossip.rotateWithout"
    if verdict is Verdict.DOWN:
        return "down"
    if verdict is Verdict.LEFT:
        return "left"
    if not reported and not heard:
        return "no agent there"
    return ""


# --- the rotation ------------------------------------------------------------------------------------------------


class Step(StrEnum):
    """Where a rotation stands."""

    SETTLED = "Settled"
    """One key, and nobody is known to hold another."""
    INSTALLING = "Installing"
    USING = "Using"
    REMOVING = "Removing"
    """The old key is out of the set; some agents hold it still."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A rotation at one moment, for people."""

    step: Step
    waits: tuple[str, ...]
    """Names of the nodes that are waited for."""
    sentence: str


def step_of(keys: KeySet, holders: Iterable[Holder]) -> Step:
    """The step that this set is in."""
    if keys.used != keys.newest:
        return Step.INSTALLING
    if len(keys.keys) > 1:
        return Step.USING
    return Step.REMOVING if _lagging(keys, holders) else Step.SETTLED


def advance(keys: KeySet, wanted: int, holders: Collection[Holder], fresh: bytes) -> KeySet:
    """The set that is to be stored now; the same one while somebody is waited for or nothing is wanted.

    ``wanted`` is the generation asked for: several requests that came before the first step are one rotation. ``fresh``
    is a new random key, taken only where the answer is an installation.
    """
    step = step_of(keys, holders)
    if _lagging(keys, holders):
        return keys
    match step:
        case Step.INSTALLING:
            return replace(keys, used=keys.newest)
        case Step.USING:
            return replace(keys, keys=keys.keys[-1:])
        case _ if wanted > keys.generation:
            key = GroupKey((keys.newest + 1) % _IDS, fresh)
            return KeySet((*keys.keys, key), keys.used, wanted)
    return keys


def renew(generation: int, fresh: bytes) -> KeySet:
    """A set in place of one that is lost, which was of this generation: a key that never was in use before.

    The first key again, or any that was removed, would open what was sealed by whoever it was removed for.
    """
    number = (generation + 1) % _IDS  # ids grow by one a rotation, generations by one at least
    return KeySet((GroupKey(number, fresh),), number, generation + 1)


def progress(keys: KeySet, wanted: int, holders: Collection[Holder]) -> Progress:
    """What a person is told."""
    step = step_of(keys, holders)
    holders = sorted(holders, key=lambda one: one.node)
    waits = _lagging(keys, holders)
    newest = keys.newest
    match step:
        case Step.SETTLED if wanted > keys.generation:
            sentence = f"generation {wanted} is asked for, not begun yet"
        case Step.SETTLED:
            sentence = f"all agents use key {newest} and hold no other (generation {keys.generation})"
        case Step.INSTALLING:
            sentence = f"key {newest} is installed, not used yet"
        case Step.USING:
            old = ", ".join(str(one) for one in keys.ids if one != newest)
            sentence = f"key {newest} is used, key {old} not removed yet"
        case Step.REMOVING:
            sentence = f"all keys but {newest} are removed"
    if waits:
        sentence += f"; waits for {_listed([_lack(one, step) for one in waits])}"
    excused = [f"{one.node} ({one.excuse})" for one in holders if one.excuse]
    if excused and step is not Step.SETTLED:
        sentence += f"; goes on without {_listed(excused)}"
    return Progress(step, tuple(one.node for one in waits), sentence)


def _lagging(keys: KeySet, holders: Iterable[Holder]) -> list[Holder]:
    """Those that are waited for and have not followed to this set yet."""
    return [one for one in holders if not one.excuse and not _follows(keys, one)]


def _follows(keys: KeySet, holder: Holder) -> bool:
    if keys.used != keys.newest:
        return holder.held is not None and keys.newest in holder.held
    if len(keys.keys) > 1:
        return holder.used == keys.newest
    return holder.held is None or holder.held == {keys.newest}


def _lack(holder: Holder, step: Step) -> str:
    if holder.held is None:
        what = "its agent reports no keys: it is just starting, or older than key rotation"
    elif step is Step.USING:
        what = f"uses {holder.used}"
    else:
        what = f"holds {', '.join(map(str, sorted(holder.held)))}"
    ill = "" if holder.verdict in {None, Verdict.HEALTHY} else f"{holder.verdict}; "
    return f"{holder.node} ({ill}{what})"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
