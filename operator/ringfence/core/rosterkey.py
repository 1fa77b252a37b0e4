"""Whose rosters are believed: whether the agents go by the key with which the leader signs, and whether its Secret still has it.

An agent knows the public half of the roster's key from its pod's mount, from its start on, and changes it for no other while it
runs: a new key that took effect by itself would let whoever can make that Secret say who belongs to the ring. A restart is the
word of somebody who may restart it. So what is lost is written again by a leader that knows it; and where nobody does, it is
said who goes by which key, and what to do. Keys are told apart by a fingerprint, which stands in the agents' NodeReports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

TRUSTED, BY_ANOTHER, IN_SECRET, NOT_WRITTEN = (
    "Trusted",
    "AgentsGoByAnotherKey",
    "SecretHasAnotherKey",
    "SecretNotWritten",
)
"""Reasons of HACluster's condition RosterTrusted."""
SECRET = "ringfence-gossip"  # noqa: S105 - the name of the Secret
_DIGITS = 16
_NAMED = 8
"""So many nodes are named in a sentence; of the others it says how many."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a person is told, and whose agents refuse the leader's rosters."""

    reason: str
    sentence: str
    refusing: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nobody is known to go by another key."""
        return self.reason == TRUSTED


def fingerprint(public_key: bytes) -> str:
    """What tells this roster key from another's, in public and by eye: 16 hexadecimal digits."""
    return hashlib.sha256(b"ringfence roster key\0" + public_key).hexdigest()[:_DIGITS]


def judge(ours: str, stored: str | None, reported: Mapping[str, str | None], namespace: str) -> Trust:
    """What is to be said.

    Args:
        ours: the fingerprint of the key that signs rosters now.
        stored: of the one in the Secret; empty where there is none in it, None where it has not been read.
        reported: by node, of the one that its agent of this boot goes by; None where it has reported none.
        namespace: the release's.
    """
    restart = f"kubectl -n {namespace} rollout restart"
    label = "-l app.kubernetes.io/name=ringfence"
    if stored is not None and stored != ours:
        return Trust(
            IN_SECRET,
            f"Secret {SECRET} has {f'the roster key {stored}' if stored else 'no roster key'}, but rosters are signed with {ours}"
            " since this controller started. If nobody meant to change it, delete the Secret and it is written again as it was;"
            f" if you did: {restart} deployment,daemonset {label}",
        )
    refusing = tuple(sorted(node for node, key in reported.items() if key is not None and key != ours))
    if refusing:
        others = sorted({key for node in refusing if (key := reported[node]) is not None})
        return Trust(
            BY_ANOTHER,
            f"the agents of {_listed(refusing)} go by another roster key ({_listed(others)}) than the one that signs rosters now"
            f" ({ours}): they refuse every roster, and watch no node that joins or boots from now on. If you know why it changed:"
            f" {restart} daemonset {label}",
            refusing,
        )
    return Trust(TRUSTED, f"no agent is known to go by another roster key than {ours}")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
