"""The leader changes the group keys by single writes: whoever takes over after any of them goes on, and nobody goes back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from ringfence.api.v1alpha1.nodereport import NodeKeys, NodeReport, NodeReportStatus
from ringfence.controller.evidence import Witness
from ringfence.controller.keys import NOT_WRITTEN, SECRET, UNREADABLE, KeyKeeper, holders
from ringfence.core.detection.verdict import Judgement
from ringfence.core.gossip.keys import Holder, KeySet, Step, open_keys
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.report import AgentView
from ringfence.core.model import Boot, Verdict
from ringfence.ports import AlreadyExists, Conflict, Forbidden, NotFound, SecretRecord, TooLate, Unavailable

FIRST = b"f" * 32
FILE = "group-keys.json"


class Killed(Exception):
    """The controller's process is gone."""


@dataclass
class SecretStore:
    """One Secret as the API server keeps it; can kill its caller before or after any write."""

    data: dict[str, bytes] | None = None
    version: int = 0
    writes: int = 0
    kill_at: int = -1
    """The number of the write at which the caller dies."""
    kill_after: bool = False
    """Whether it dies after the write instead of before it."""
    texts: list[str] = field(default_factory=list)
    refusal: Exception | None = None

    async def get_secret(self, name: str) -> SecretRecord:
        assert name == SECRET
        if self.data is None:
            raise NotFound(f'secrets "{name}" not found', status=404)
        return SecretRecord(dict(self.data), str(self.version))

    async def create_secret(
        self, name: str, data: Mapping[str, bytes], *, immutable: bool = True, deadline: float | None = None
    ) -> None:
        assert (name, immutable) == (SECRET, False)
        if self.data is not None:
            raise AlreadyExists("it is there", status=409)
        self._write(data, deadline)

    async def replace_secret(
        self, name: str, secret: SecretRecord, *, deadline: float | None = None
    ) -> SecretRecord:
        if (await self.get_secret(name)).resource_version != secret.resource_version:
            raise Conflict("changed by another", status=409)
        self._write(secret.data, deadline)
        return await self.get_secret(name)

    def _write(self, data: Mapping[str, bytes], deadline: float | None) -> None:
        if deadline is None or deadline < 0:
            raise TooLate("too late")
        if self.refusal is not None:
            raise self.refusal
        self.writes += 1
        if self.kill_at == self.writes and not self.kill_after:
            raise Killed
        self.data = dict(data)
        self.version += 1
        self.texts.append(data[FILE].decode())
        if self.kill_at == self.writes:
            raise Killed

    @property
    def keys(self) -> KeySet:
        assert self.data is not None
        return open_keys(self.data[FILE].decode())


class Fresh:
    """Keys that tell when they were made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> bytes:
        self.made += 1
        return b"%032d" % self.made


async def begun(store: SecretStore, fresh: Fresh | None = None) -> KeyKeeper:
    keeper = KeyKeeper(store, FIRST, lambda: 1.0, fresh or Fresh())
    await keeper.begin()
    return keeper


def trouble(keeper: KeyKeeper) -> tuple[str, str]:
    return keeper.trouble or ("", "")


def agents(keys: KeySet) -> list[Holder]:
    return [Holder(f"n{n}", frozenset(keys.ids), keys.used, Verdict.HEALTHY) for n in (1, 2, 3)]


async def rotate(store: SecretStore, wanted: int, fresh: Fresh) -> list[KeySet]:
    """A controller, and its successor whenever it is killed, until all is settled; what the agents went by."""
    followed = [KeySet.first(FIRST)]
    keeper = await begun(store, fresh)
    for _ in range(20):
        try:
            await keeper.step(wanted, 0, agents(followed[-1]))
        except Killed:
            keeper = await begun(store, fresh)
            continue
        if keeper.told is not None and keeper.told.step is Step.SETTLED and keeper.keys.generation == wanted:
            return followed
        if store.keys != followed[-1]:
            followed.append(store.keys)
    raise AssertionError("it does not come to an end")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("write", [1, 2, 3, 4])
async def test_a_rotation_survives_the_controllers_death_at_every_write(write: int, after: bool) -> None:
    undisturbed = SecretStore()
    wanted = await rotate(undisturbed, 1, Fresh())
    store = SecretStore(kill_at=write, kill_after=after)
    followed = await rotate(store, 1, Fresh())
    shapes = [(keys.ids, keys.used, keys.generation) for keys in followed]
    assert shapes == [(keys.ids, keys.used, keys.generation) for keys in wanted]
    assert shapes == [((0,), 0, 0), ((0, 1), 0, 1), ((0, 1), 1, 1), ((1,), 1, 1)]
    assert len(store.texts) == len(undisturbed.texts) == 4
    assert len({key.secret for keys in followed for key in keys.keys}) == 2, (
        "one new key, not one a controller"
    )


async def test_two_leaders_can_not_both_step() -> None:
    store, fresh = SecretStore(), Fresh()
    one, other = await begun(store, fresh), await begun(store, fresh)
    await one.step(0, 0, agents(one.keys))
    await other.read(1.0, every=0.0)
    await one.step(1, 0, agents(one.keys))
    with pytest.raises(Conflict):
        await other.step(1, 0, agents(KeySet.first(FIRST)))
    await other.read(2.0, every=60.0)  # what it lost against is read at once, whenever it last looked
    assert other.keys == one.keys == store.keys
    assert store.keys.ids == (0, 1)


async def test_a_replica_takes_over_what_the_leader_has_written_and_tells_its_streams() -> None:
    store = SecretStore()
    leader, standby = await begun(store), await begun(store)
    told: list[KeySet] = []
    standby.on_change = told.append
    await leader.step(1, 0, agents(leader.keys))
    await standby.read(10.0, every=2.0)
    await leader.step(1, 0, agents(leader.keys))
    await standby.read(11.0, every=2.0)
    assert [keys.used for keys in told] == [0]
    await standby.read(12.0, every=2.0)
    assert [keys.used for keys in told] == [0, 1]
    assert standby.keys == leader.keys


async def test_a_deposed_leader_writes_nothing() -> None:
    store = SecretStore()
    keeper = await begun(store)
    await keeper.step(0, 0, agents(keeper.keys))
    late = KeyKeeper(store, FIRST, lambda: -1.0, Fresh())
    await late.begin()
    with pytest.raises(TooLate):
        await late.step(1, 0, agents(late.keys))
    assert store.keys == KeySet.first(FIRST)


async def test_a_deleted_secret_is_written_anew_by_who_knows_it() -> None:
    store = SecretStore()
    keeper = await begun(store)
    for _ in range(4):
        await keeper.step(1, 0, agents(keeper.keys))
    before = store.keys
    assert before.ids == (1,)
    store.data = None
    await keeper.read(5.0, every=0.0)
    await keeper.step(1, 1, agents(keeper.keys))
    assert store.keys == before


async def test_a_deleted_secret_that_nobody_knows_is_not_replaced_by_the_removed_first_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = SecretStore()
    keeper = await begun(store)
    await keeper.step(3, 3, agents(keeper.keys))
    assert store.keys.ids == (4,)
    assert FIRST not in {key.secret for key in store.keys.keys}
    assert "is gone after 3 rotations" in caplog.text


async def test_a_secret_that_cannot_be_read_stops_the_rotation_and_says_how_to_mend_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = SecretStore()
    keeper = await begun(store)
    await keeper.step(1, 0, agents(keeper.keys))
    good, before = store.data, keeper.keys
    store.data, store.version = {FILE: b'{"keys": "c2VjcmV0"}'}, 9
    for now in (10.0, 20.0):
        await keeper.read(now, every=0.0)
        await keeper.step(1, 0, agents(keeper.keys))
    assert keeper.keys == before
    assert store.version == 9
    assert trouble(keeper)[0] == UNREADABLE
    assert trouble(keeper)[1] == (
        "Secret ringfence-group-keys, group-keys.json: keys must be a list of 1 to 4 keys; "
        "the keys of before are in use: mend it, or delete it and they are written anew"
    )
    assert caplog.text.count("are in use") == 1
    assert "c2VjcmV0" not in caplog.text
    store.data, store.version = good, 10
    await keeper.read(30.0, every=0.0)
    await keeper.step(1, 0, agents(keeper.keys))
    assert trouble(keeper) == ("", "")
    assert store.keys.used == 1


async def test_a_refused_write_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    store = SecretStore()
    keeper = await begun(store)
    await keeper.step(0, 0, agents(keeper.keys))
    store.refusal = Forbidden('cannot update resource "secrets"', status=403)
    for _ in range(3):
        with pytest.raises(Forbidden):
            await keeper.step(1, 0, agents(keeper.keys))
    assert trouble(keeper)[0] == NOT_WRITTEN
    assert caplog.text.count("was not written") == 1
    store.refusal = Unavailable("away")
    with pytest.raises(Unavailable):
        await keeper.step(1, 0, agents(keeper.keys))
    store.refusal = None
    await keeper.step(1, 0, agents(keeper.keys))
    assert trouble(keeper) == ("", "")
    assert store.keys.ids == (0, 1)


async def test_no_key_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store = SecretStore()
    await rotate(store, 1, Fresh())
    secrets = {one["key"] for text in store.texts for one in json.loads(text)["keys"]}
    assert len(secrets) == 2
    assert "key 1 is installed" in caplog.text
    assert not any(secret in caplog.text for secret in secrets)
    assert repr(await store.get_secret(SECRET)).count("key") == 0


# -- what the agents have reported


def report(member: Member, keys: NodeKeys | None, boot_id: str | None = None) -> NodeReport:
    status = NodeReportStatus(node_uid=member.uid, boot_id=boot_id or member.boot_id, keys=keys)
    return NodeReport(status=status)


def test_holders_are_the_rosters_members_by_the_reports_of_their_present_boot() -> None:
    members = {name: Member(name, f"uid-{name}", f"boot-{name}", ("10.0.0.1",)) for name in "abcdef"}
    witness = Witness(lambda *_: True)
    assert holders(witness, {}, {}, (), 0.0) is None
    witness.roster = Roster(1, "test", b"salt", tuple(members.values()))
    for member in members.values():
        witness.boot_seen(member.name, member.uid, member.boot_id)
    view = AgentView(Boot("a", "uid-a", "boot-a"), 1, healthy=True, alive=frozenset("ad"), subjects=())
    witness.view_seen(view, 0.0)
    reports = {
        ("", "a"): report(members["a"], NodeKeys(held=[0, 1], used=1)),
        ("", "b"): report(members["b"], NodeKeys(held=[0, 1], used=1), "an earlier boot"),
        ("", "c"): report(members["c"], None),
        ("", "e"): report(members["e"], NodeKeys(held=[0], used=0)),
        ("", "f"): report(members["f"], NodeKeys(held=[0], used=0)),
    }
    judgements = {"e": Judgement(Verdict.DOWN, "e is down")}
    found = holders(witness, judgements, reports, ("f",), 0.5)
    assert found == [
        Holder("a", frozenset({0, 1}), 1),
        Holder("b", excuse="no agent there"),
        Holder("c"),
        Holder("d"),
        Holder("e", frozenset({0}), 0, Verdict.DOWN, "down"),
        Holder("f", frozenset({0}), 0, None, "named in spec.gossip.rotateWithout"),
    ]
