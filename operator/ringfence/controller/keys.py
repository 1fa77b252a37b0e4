"""The ring's group keys in Secret ``ringfence-group-keys``: every replica reads them, the leader changes them.

They have a Secret of their own, so that what is rewritten never holds the roster's key. The set in it is the rotation's
whole state (`core.gossip.keys`); each step is one write at the version that it was decided on. A leader that dies
between two steps, or whose write went unanswered, is followed by one that reads and goes on.

Where nobody has made that Secret yet, the first key is that of Secret ``ringfence-gossip``, which agents and controllers
of the version before know. One that is gone is made anew from what this replica knows of it; where it knows nothing and
there have been rotations, by a fresh key, for the first key is a removed one then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from ringfence.api.v1alpha1.nodereport import NodeReport, NodeReportStatus
from ringfence.controller.evidence import Witness
from ringfence.core.detection.verdict import Judgement
from ringfence.core.gossip.keys import (
    Holder,
    KeysError,
    KeySet,
    Progress,
    advance,
    excuse,
    open_keys,
    progress,
    renew,
)
from ringfence.net.crypto import GROUP_KEYS_FILE, make_key
from ringfence.ports import ClusterError, NotFound, PortError, Refused, SecretRecord

logger = logging.getLogger(__name__)

SECRET = "ringfence-group-keys"  # noqa: S105 - the name of the Secret
UNREADABLE, NOT_WRITTEN = "KeysUnreadable", "KeysNotWritten"
"""Reasons of HACluster's condition KeysSettled beside the steps."""


class Secrets(Protocol):
    """What of `ringfence.ports.Cluster` is needed here."""

    async def get_secret(self, name: str) -> SecretRecord: ...

    async def create_secret(
        self, name: str, data: Mapping[str, bytes], *, immutable: bool = True, deadline: float | None = None
    ) -> None: ...

    async def replace_secret(
        self, name: str, secret: SecretRecord, *, deadline: float | None = None
    ) -> SecretRecord: ...


class KeyKeeper:
    """The group keys as this replica knows them."""

    def __init__(
        self,
        secrets: Secrets,
        first: bytes,
        deadline: Callable[[], float],
        fresh: Callable[[], bytes] = make_key,
    ) -> None:
        """``first`` is the group key of ``ringfence-gossip``, ``deadline`` until when a write may be sent."""
        self.keys = KeySet.first(first)
        self.told: Progress | None = None
        """Where the rotation stands; the leader alone knows."""
        self.trouble: tuple[str, str] | None = None
        """Why nothing goes on: a condition's reason, and a sentence."""
        self.on_change: Callable[[KeySet], None] = lambda _keys: None
        self._secrets = secrets
        self._deadline = deadline
        self._fresh = fresh
        self._version = ""
        """The Secret's version that `keys` stands in; empty where there is no such Secret."""
        self._known = False
        """Whether `keys` has ever stood in the Secret."""
        self._read_at = float("-inf")

    async def begin(self) -> None:
        """Read the keys, or find that there is no such Secret yet. Tried until the API server answers."""
        while True:
            try:
                await self.read(0.0, every=0.0)
            except ClusterError as error:
                logger.warning("group keys not read: %s", error)
                await asyncio.sleep(1.0)
            else:
                return

    async def read(self, now: float, *, every: float) -> None:
        """Take over what the Secret says, if it was last read ``every`` seconds ago or longer. Raises ClusterError."""
        if now - self._read_at < every:
            return
        try:
            found = await self._secrets.get_secret(SECRET)
        except NotFound:
            self._version = ""
            self.trouble = None
        else:
            self._take(found)
        self._read_at = now

    async def step(self, wanted: int, lost: int, holders: Collection[Holder]) -> None:
        """Take the next step of a rotation, if there is one to take. For the leader. Raises PortError.

        Args:
            wanted: the generation asked for.
            lost: the generation that the HACluster was last told of: what the Secret had, if it is gone.
        """
        if self.trouble is not None and self.trouble[0] == UNREADABLE:
            return
        try:
            if not self._version:
                await self._make(lost)
            keys = advance(self.keys, wanted, holders, self._fresh())
            if keys != self.keys:
                record = SecretRecord({GROUP_KEYS_FILE: keys.text().encode()}, self._version)
                self._take(await self._secrets.replace_secret(SECRET, record, deadline=self._deadline()))
        except PortError as error:
            self._read_at = float("-inf")  # it may have been written all the same, or by another
            if isinstance(error, Refused):
                self._complain(NOT_WRITTEN, f"Secret {SECRET} was not written: {error}")
            raise
        self.trouble = None
        told = progress(self.keys, wanted, holders)
        if self.told is None or told.sentence != self.told.sentence:
            logger.info("group keys: %s", told.sentence)
        self.told = told

    async def _make(self, lost: int) -> None:
        keys = self.keys
        if not self._known and lost > keys.generation:
            keys = renew(lost, self._fresh())
            logger.error("Secret %s is gone after %d rotations: a fresh key is made", SECRET, lost)
        await self._secrets.create_secret(
            SECRET,
            {GROUP_KEYS_FILE: keys.text().encode()},
            immutable=False,
            deadline=self._deadline(),
        )
        logger.info("made Secret %s, generation %d", SECRET, keys.generation)
        self._take(await self._secrets.get_secret(SECRET))

    def _take(self, found: SecretRecord) -> None:
        try:
            keys = open_keys(found.data.get(GROUP_KEYS_FILE, b"").decode())
        except (KeysError, UnicodeDecodeError) as error:
            reason = error if isinstance(error, KeysError) else "it is no text"
            self._complain(
                UNREADABLE,
                f"Secret {SECRET}, {GROUP_KEYS_FILE}: {reason}; the keys of before are in use: "
                "mend it, or delete it and they are written anew",
            )
            return
        if self.trouble is not None and self.trouble[0] == UNREADABLE:
            self.trouble = None
        self._version, self._known = found.resource_version, True
        if keys != self.keys:
            self.keys = keys
            self.on_change(keys)

    def _complain(self, reason: str, sentence: str) -> None:
        if self.trouble != (reason, sentence):
            logger.error("%s", sentence)
        self.trouble = (reason, sentence)


def holders(
    witness: Witness,
    judgements: Mapping[str, Judgement],
    reports: Mapping[tuple[str, str], NodeReport],
    without: Collection[str],
    now: float,
) -> list[Holder] | None:
    """Every roster member with what its agent of this boot has reported; None while there is no roster to go by."""
    if witness.roster is None:
        return None
    alive = witness.alive(now)
    found = []
    for member in witness.roster.members:
        boot = witness.boot(member.name)
        report = reports.get(("", member.name))
        status = report.status if report else NodeReportStatus()
        reported = boot is not None and (status.node_uid, status.boot_id) == (boot.node_uid, boot.boot_id)
        keys = status.keys if reported else None
        judgement = judgements.get(member.name)
        verdict = judgement.verdict if judgement else None
        found.append(
            Holder(
                member.name,
                held=frozenset(keys.held) if keys else None,
                used=keys.used if keys else None,
                verdict=verdict,
                excuse=excuse(
                    named=member.name in without,
                    verdict=verdict,
                    reported=reported,
                    heard=member.name in alive,
                ),
            )
        )
    return found
