"""Keys and roster: made once, published by the leader, so that agents need to watch one object only.

The Secret ``ringfence-gossip`` is created by whichever replica comes first (creation is its own lock) and never
changed. The roster is signed with its key and written to ConfigMap ``ringfence-roster`` whenever its content changes;
its epoch grows with each change. A node's public key is taken from its NodeReport and pinned: the first one seen for
a (node UID, boot id) stays.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.controller.evidence import Witness
from ringfence.controller.networks import on_networks
from ringfence.controller.world import World
from ringfence.core.failover.phase import ENDED, PROVED
from ringfence.core.gossip.members import (
    PUBLIC_KEY_BYTES,
    Member,
    Roster,
    RosterError,
    Standing,
    open_roster,
    seal_roster,
)
from ringfence.core.model import Boot
from ringfence.kube import kinds
from ringfence.net.crypto import (
    GROUP_KEY_FILE,
    ROSTER_PUBLIC_FILE,
    ROSTER_SEED_FILE,
    SigningKey,
    check,
    make_group_keys,
)
from ringfence.ports import AlreadyExists, Cluster, ClusterError, NotFound

logger = logging.getLogger(__name__)

SECRET = "ringfence-gossip"  # noqa: S105 - the name of the Secret
ROSTER = "ringfence-roster"
ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class Keys:
    group: bytes
    roster_seed: bytes
    roster_public: bytes


async def keys(cluster: Cluster) -> Keys:
    """The release's keys; made if nobody has made them yet. Tried until the API server answers."""
    while True:
        try:
            found = await cluster.read_secret(SECRET)
            return Keys(found[GROUP_KEY_FILE], found[ROSTER_SEED_FILE], found[ROSTER_PUBLIC_FILE])
        except NotFound:
            try:
                await cluster.create_secret(SECRET, make_group_keys())
                logger.info("made the keys of this installation: Secret %s", SECRET)
            except AlreadyExists:
                continue
        except ClusterError as error:
            logger.warning("keys not read: %s", error)
            await asyncio.sleep(1.0)


class Registrar:
    """Keeps the roster. Every replica reads it; the leader writes it."""

    def __init__(
        self, cluster: Cluster, world: World, witness: Witness, keys_: Keys, deadline: Callable[[], float]
    ) -> None:
        self._cluster = cluster
        self._world = world
        self._witness = witness
        self._signer = SigningKey(keys_.roster_seed)
        self._public = keys_.roster_public
        self._deadline = deadline
        self._stands = False
        self._read_at = float("-inf")

    async def read(self, now: float, *, every: float) -> None:
        """Take over the published roster, if it was last read ``every`` seconds ago or longer."""
        if now - self._read_at < every:
            return
        try:
            raw = await self._cluster.get(kinds.CONFIG_MAP, ROSTER, self._world.namespace)
        except NotFound:
            self._stands = False
            return
        finally:
            self._read_at = now
        self._stands = True
        try:
            found = open_roster(
                raw.get("data", {}).get("roster.json", ""),
                lambda data, signature: check(data, signature, self._public),
            ).roster
        except RosterError as error:
            logger.error("ConfigMap %s: %s; it is written anew", ROSTER, error)
            self._stands = False
            return
        if self._witness.roster is None or found.epoch >= self._witness.roster.epoch:
            self._witness.roster = found

    async def publish(self) -> None:
        """Write the roster if the nodes, their boots, addresses or keys say something new, or if it is gone."""
        before = self._witness.roster
        members = self.members(before)
        if not members:
            return
        if before is None:
            roster = Roster(
                epoch=1, cluster=self._world.namespace, salt=secrets.token_bytes(8), members=members
            )
        else:
            roster = replace(before, members=members)
            if roster == before and self._stands:
                return
            roster = replace(roster, epoch=before.epoch + 1)
        text = seal_roster(roster, self._signer.sign).text()
        await self._cluster.apply_configmap(ROSTER, {"roster.json": text}, deadline=self._deadline())
        self._witness.roster, self._stands = roster, True
        logger.info("roster %d: %s", roster.epoch, ", ".join(m.name for m in members))

    def members(self, before: Roster | None) -> tuple[Member, ...]:
        pinned = {(m.uid, m.boot_id): m.public_key for m in before.members if m.public_key} if before else {}
        reports = self._world.own.all(NodeReport)
        proved = self.proved()
        members = []
        for node in self._world.nodes.store.values():
            boot = self._witness.boot(node.name)
            if boot is None or not node.internal_ips:
                continue
            report = reports.get(("", node.name))
            key = pinned.get((boot.node_uid, boot.boot_id), b"")
            status = report.status if report else None
            same_node = status is not None and status.node_uid == boot.node_uid
            if not key and status and status.node_uid == boot.node_uid and status.boot_id == boot.boot_id:
                key = _key(status.public_key or "")
            members.append(
                Member(
                    name=node.name,
                    uid=node.uid,
                    boot_id=boot.boot_id,
                    addresses=node.internal_ips,
                    zone=node.labels.get(ZONE_LABEL, ""),
                    public_key=key,
                    standing=Standing.SUBJECT if boot in proved else Standing.VOTER,
                    networks=on_networks(
                        # Addresses outlast a boot: a node that reboots doesn't leave its networks meanwhile.
                        self._world.networks_of(node),
                        status.addresses if status and same_node else (),
                        node.internal_ips,
                    ),
                )
            )
        return tuple(members)

    def proved(self) -> frozenset[Boot]:
        """Boots that a stored proof has ended: still watched, but nobody waits for their votes (DESIGN §3, small clusters)."""
        return frozenset(
            Boot(one.spec.node, one.spec.node_uid, one.spec.boot_id)
            for one in self._world.own.all(Failover).values()
            if one.status.phase in PROVED - ENDED
        )


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
    return key if len(key) == PUBLIC_KEY_BYTES else b""
