"""The roster's key as the leader keeps it: Secret ``ringfence-gossip`` written again when it is gone, and who goes by which key.

Every replica has had the keys in its memory since its start. The leader looks after the Secret: one that is gone is written as
it was, so that whoever starts next signs with the key that the agents know. One that was replaced is left alone and told of
(:mod:`~ringfence.core.rosterkey`): it can't be changed by a right that a controller has, and neither can the ring's trust.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.controller.bootstrap import Keys
from ringfence.controller.evidence import Witness
from ringfence.controller.keys import Secrets
from ringfence.core.rosterkey import NOT_WRITTEN, SECRET, Trust, fingerprint, judge
from ringfence.net.crypto import ROSTER_PUBLIC_FILE, SigningKey
from ringfence.ports import AlreadyExists, NotFound, PortError, Refused

logger = logging.getLogger(__name__)

LOOK_EVERY = 2.0
"""Seconds between two looks at the Secret. While it is gone, the end of all controllers would be the end of the key; and a
replica that starts waits for longer before it makes other keys."""


class RosterTrust:
    """What one replica knows of it."""

    def __init__(
        self, secrets: Secrets, keys: Keys, namespace: str, witness: Witness, deadline: Callable[[], float]
    ) -> None:
        """``deadline`` until when a write may be sent."""
        self._secrets = secrets
        self._keys = keys
        self._namespace = namespace
        self._witness = witness
        self._deadline = deadline
        self._looked_at = float("-inf")
        self._stored: str | None = None
        self._refused = ""
        # Of the seed, for that is what signs: a public half that stands beside it and isn't its own deceives nobody.
        self.ours = fingerprint(SigningKey(keys.roster_seed).public)
        """The fingerprint of the key that this replica signs with."""

    async def keep(self, now: float, *, every: float = LOOK_EVERY) -> None:
        """Look at the Secret, if that was ``every`` seconds ago or longer, and write it if it is gone. For the leader.

        Raises PortError.
        """
        if now - self._looked_at < every:
            return
        self._looked_at = now
        try:
            found = await self._secrets.get_secret(SECRET)
        except NotFound:
            await self._write()
        else:
            public = found.data.get(ROSTER_PUBLIC_FILE)
            self._stored, self._refused = fingerprint(public) if public else "", ""

    async def _write(self) -> None:
        try:
            await self._secrets.create_secret(SECRET, self._keys.files(), deadline=self._deadline())
        except AlreadyExists:
            self._looked_at = float("-inf")  # another was faster: whose it is shows the next look
            return
        except PortError as error:
            if isinstance(error, Refused):
                self._refused = str(error)
            raise
        self._stored, self._refused = self.ours, ""
        logger.warning("Secret %s was gone: it is written again as it was", SECRET)

    def judge(self, reports: Mapping[tuple[str, str], NodeReport]) -> Trust:
        """Who goes by which key, by the agents' reports of their nodes' present boots."""
        if self._refused:
            return Trust(
                NOT_WRITTEN,
                f"Secret {SECRET} is gone and was not written again ({self._refused}): a controller that starts would make another"
                " roster key, which no running agent believes",
            )
        reported = {}
        for (_, node), report in reports.items():
            boot, status = self._witness.boot(node), report.status
            if boot is not None and (status.node_uid, status.boot_id) == (boot.node_uid, boot.boot_id):
                reported[node] = status.roster_key
        return judge(self.ours, self._stored, reported, self._namespace)
