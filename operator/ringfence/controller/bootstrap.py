"""Keys and roster: made once, published by the leader, so that agents need to watch one object only.

The Secret ``ringfence-gossip`` is created by whichever replica comes first (creation is its own lock) and never
changed; one that is gone is written again by a leader that knows it (:mod:`~ringfence.controller.trust`). The roster is signed with its key and written to ConfigMap ``ringfence-roster`` whenever its content changes;
its epoch grows with each change. A node's public key is taken from its NodeReport and pinned: the first one seen for
a (node UID, boot id) stays.

Beside the roster stand what is proved and whether the store was set back (:mod:`~ringfence.controller.setbacks`). Agents read
neither; with each change of what is proved, or of what watchdogs promise, a roster is published all the same, so that a backup of
before can be told by its epoch.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.controller import records
from ringfence.controller.evidence import Witness
from ringfence.controller.networks import on_networks
from ringfence.controller.setbacks import Setbacks, StoreSetBack, settled
from ringfence.controller.watchdogs import promise_of
from ringfence.controller.world import World
from ringfence.core.failover.anew import proved_marks
from ringfence.core.failover.phase import ENDED, PROVED
from ringfence.core.fencing.proof import StorageCut
from ringfence.core.gossip.keys import KEY_BYTES
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
from ringfence.core.rosterkey import SECRET
from ringfence.core.setback import SetBack, SetBackError
from ringfence.core.setback import read as read_set_back
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

ROSTER = "ringfence-roster"
_PROVED, _SET_BACK = "proved", "setBack"
"""Keys of the ConfigMap beside the roster's."""
ZONE_LABEL = "topology.kubernetes.io/zone"
MEND = (
    "put back what stood there, or delete the Secret: a controller that still knows the keys writes it again"
)
WRITTEN_AGAIN_WITHIN = 30
"""Seconds for which a replica that starts leaves a lost Secret to a leader that still knows it."""


@dataclass(frozen=True, slots=True)
class Keys:
    group: bytes
    roster_seed: bytes
    roster_public: bytes

    @classmethod
    def of(cls, found: Mapping[str, bytes]) -> Keys:
        """As the Secret has them. Raises ValueError with the field and the mend."""
        for name in (GROUP_KEY_FILE, ROSTER_SEED_FILE, ROSTER_PUBLIC_FILE):
            if len(found.get(name, b"")) != KEY_BYTES:
                what = f"has {len(found[name])} bytes, not {KEY_BYTES}" if name in found else "is not there"
                raise ValueError(f"data.{name} {what}; {MEND}")
        if SigningKey(found[ROSTER_SEED_FILE]).public != found[ROSTER_PUBLIC_FILE]:
            raise ValueError(f"data.{ROSTER_PUBLIC_FILE} is not that of data.{ROSTER_SEED_FILE}; {MEND}")
        return cls(found[GROUP_KEY_FILE], found[ROSTER_SEED_FILE], found[ROSTER_PUBLIC_FILE])

    def files(self) -> dict[str, bytes]:
        """As the Secret carries them."""
        return {
            GROUP_KEY_FILE: self.group,
            ROSTER_SEED_FILE: self.roster_seed,
            ROSTER_PUBLIC_FILE: self.roster_public,
        }


async def keys(cluster: Cluster, namespace: str) -> Keys:
    """The release's keys; made if nobody has made them yet. Tried until the API server answers.

    Where there is a roster already somebody had made them: that is waited for, since with other keys no running agent would
    believe what this replica publishes. A Secret that lacks something is left as it is, and read again until it is mended.
    """
    waited, objection = 0, ""
    while True:
        try:
            return Keys.of(await cluster.read_secret(SECRET))
        except ValueError as error:
            if str(error) != objection:
                logger.error("Secret %s can't be used: %s", SECRET, error)
            objection = str(error)
            await asyncio.sleep(1.0)
        except NotFound:
            try:
                if await _was_here(cluster, namespace):
                    if waited < WRITTEN_AGAIN_WITHIN:
                        if not waited:
                            logger.warning(
                                "Secret %s is gone: a controller that still knows it has %d s to write it again",
                                *(SECRET, WRITTEN_AGAIN_WITHIN),
                            )
                        waited += 1
                        await asyncio.sleep(1.0)
                        continue
                    logger.error(
                        "Secret %s is lost: this controller makes other keys, and agents that run believe nothing that is"
                        " signed with them until they are restarted",
                        SECRET,
                    )
                await cluster.create_secret(SECRET, make_group_keys())
                logger.info("made the keys of this installation: Secret %s", SECRET)
            except AlreadyExists:
                continue
            except ClusterError as error:
                logger.warning("keys not made: %s", error)
                await asyncio.sleep(1.0)
        except ClusterError as error:
            logger.warning("keys not read: %s", error)
            await asyncio.sleep(1.0)


async def _was_here(cluster: Cluster, namespace: str) -> bool:
    """Whether a roster was published, with keys that this replica doesn't have. Raises ClusterError."""
    try:
        await cluster.get(kinds.CONFIG_MAP, ROSTER, namespace)
    except NotFound:
        return False
    return True


class Registrar:
    """Keeps the roster. Every replica reads it; the leader writes it."""

    def __init__(
        self,
        cluster: Cluster,
        world: World,
        witness: Witness,
        setbacks: Setbacks,
        keys_: Keys,
        deadline: Callable[[], float],
    ) -> None:
        self._setbacks = setbacks
        self._cluster = cluster
        self._world = world
        self._witness = witness
        self._signer = SigningKey(keys_.roster_seed)
        self._public = keys_.roster_public
        self._deadline = deadline
        self._stands = False
        self._proved = ""
        """What was proved when the roster that stands was written."""
        self._version = 0
        """The version of the store in which it was last read."""
        self._read_at = float("-inf")
        self._one = asyncio.Lock()
        """Who reads while another writes would take what stood there before for a store that was set back."""

    async def read(self, now: float, *, every: float) -> None:
        """Take over the published roster, if it was last read ``every`` seconds ago or longer.

        Raises StoreSetBack where it is older than the one that this process has read before.
        """
        if now - self._read_at < every:
            return
        self._read_at = now
        async with self._one:
            await self._read()

    async def _read(self) -> None:
        before, found = self._witness.roster, await self._look()
        if found is None:
            return
        if before is not None and found.epoch < before.epoch:
            raise StoreSetBack(
                f"ConfigMap {ROSTER} has roster {found.epoch}, and had roster {before.epoch} before: the cluster's store was set"
                " back; this process begins anew"
            )
        self._witness.roster = found

    async def stored_epoch(self) -> int:
        """The epoch that stands in the store now, by a consistent read; 0: none. Raises PortError, StoreSetBack."""
        async with self._one:
            await self._read()
        return self._witness.roster.epoch if self._stands and self._witness.roster is not None else 0

    async def _look(self) -> Roster | None:
        """The roster that stands there; None: there is none that counts."""
        try:
            raw = await self._cluster.get(kinds.CONFIG_MAP, ROSTER, self._world.namespace)
        except NotFound:
            self._stands = False
            return None
        self._stands = True
        data = raw.get("data", {})
        self._version = int(raw.get("metadata", {}).get("resourceVersion") or 0)
        self._proved = data.get(_PROVED, "")
        try:
            self._setbacks.read(read_set_back(data[_SET_BACK]) if data.get(_SET_BACK) else None)
            return open_roster(
                data.get("roster.json", ""),
                lambda data, signature: check(data, signature, self._public),
            ).roster
        except (RosterError, SetBackError) as error:
            logger.error("ConfigMap %s: %s; it is written anew", ROSTER, error)
            self._stands = False
            return None

    async def publish(self) -> None:
        """Write the roster if the nodes, their boots, addresses or keys say something new, if what is proved does, or if it is gone.

        After the store was set back: first the roster that agents hold, under a later epoch; nothing else until it has settled.
        """
        async with self._one:
            await self._publish()

    async def _publish(self) -> None:
        before, noted = self._witness.roster, self._setbacks.last
        if (shown := self._setbacks.shown) is not None:
            await self._write(replace(shown.roster, epoch=max(shown.roster.epoch, shown.stored) + 1), noted)
            logger.warning("published anew what agents hold: %s", noted.sentence if noted else "")
            return
        if noted is not None and not noted.settled:
            if not self._setbacks.due():
                return
            noted = settled(noted, self._version)
        members, proved = self.members(before), self.marks()
        if not members:
            return
        if before is None:
            roster = Roster(
                epoch=1, cluster=self._world.namespace, salt=secrets.token_bytes(8), members=members
            )
        else:
            roster = replace(before, members=members)
            same = roster == before and self._stands and proved == self._proved
            if same and noted == self._setbacks.last:
                return
            roster = replace(roster, epoch=before.epoch + 1)
        await self._write(roster, noted, proved)
        logger.info("roster %d: %s", roster.epoch, ", ".join(m.name for m in members))

    async def _write(self, roster: Roster, noted: SetBack | None, proved: str | None = None) -> None:
        data = {
            "roster.json": seal_roster(roster, self._signer.sign).text(),
            _PROVED: self._proved if proved is None else proved,
        }
        if noted is not None:
            data[_SET_BACK] = noted.text()
        await self._cluster.apply_configmap(
            ROSTER, {name: text for name, text in data.items() if text}, deadline=self._deadline()
        )
        self._witness.roster, self._stands = roster, True
        self._proved = data[_PROVED]
        self._setbacks.wrote(noted)
        if noted is not None and not noted.settled:
            await self._look()  # for the version in which the note stands

    def marks(self) -> str:
        """What is proved now, and what watchdogs promise, as it stands beside the roster."""
        reports = {key: one.status for key, one in self._world.own.all(NodeReport).items()}
        records_ = (
            records.record_of(one, 0.0, 0.0, 0.0, 0.0)
            for one in self._world.own.all(Failover).values()
            if one.status.phase not in ENDED
        )
        promises = {
            Boot(name, said.node_uid or "", said.boot_id or ""): promise
            for (_, name), said in reports.items()
            if (promise := promise_of(said)) is not None
        }
        marks = proved_marks((record for record in records_ if record is not None), promises)
        return hashlib.sha256(repr(marks).encode()).hexdigest()[:32] if any(marks) else ""

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
        """Boots that a stored proof has ended: still watched, but nobody waits for their votes (DESIGN §3, small clusters).

        A cut from the storage has ended none: the node may live, and votes.
        """
        return frozenset(
            Boot(one.spec.node, one.spec.node_uid, one.spec.boot_id)
            for one in self._world.own.all(Failover).values()
            if one.status.phase in PROVED - ENDED
            and any(proof.kind != StorageCut.__name__ for proof in one.status.proofs)
        )


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
    return key if len(key) == PUBLIC_KEY_BYTES else b""
