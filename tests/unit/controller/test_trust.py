"""The Secret with the roster's key: written again by a leader that knows it, left alone where it was replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from ringfence.api.v1alpha1.nodereport import NodeReport, NodeReportStatus
from ringfence.controller.bootstrap import Keys
from ringfence.controller.evidence import Witness
from ringfence.controller.trust import LOOK_EVERY, RosterTrust
from ringfence.core.rosterkey import BY_ANOTHER, IN_SECRET, NOT_WRITTEN, TRUSTED, fingerprint
from ringfence.net.crypto import make_group_keys
from ringfence.ports import AlreadyExists, Forbidden, NotFound, SecretRecord, TooLate, Unavailable


def made() -> Keys:
    return Keys(*make_group_keys().values())


@dataclass
class SecretStore:
    """The Secret as the API server keeps it."""

    data: Mapping[str, bytes] | None
    refusal: Exception | None = None
    reads: int = 0
    rival: Mapping[str, bytes] | None = None
    """What another writes right before the next creation."""

    async def get_secret(self, name: str) -> SecretRecord:
        assert name == "ringfence-gossip"
        self.reads += 1
        if self.data is None:
            raise NotFound("not found", status=404)
        return SecretRecord(dict(self.data), "1")

    async def create_secret(
        self, name: str, data: Mapping[str, bytes], *, immutable: bool = True, deadline: float | None = None
    ) -> None:
        assert (name, immutable) == ("ringfence-gossip", True)
        if deadline is None or deadline < 0:
            raise TooLate("too late")
        if self.refusal is not None:
            raise self.refusal
        if self.rival is not None:
            self.data = self.rival
        if self.data is not None:
            raise AlreadyExists("it is there", status=409)
        self.data = dict(data)

    async def replace_secret(
        self, name: str, secret: SecretRecord, *, deadline: float | None = None
    ) -> SecretRecord:
        raise AssertionError(f"{name} is never changed: {secret}, {deadline}")


def trust_in(store: SecretStore, keys: Keys, deadline: float = 1.0) -> RosterTrust:
    return RosterTrust(store, keys, "own", Witness(lambda *_: True), lambda: deadline)


async def test_one_that_is_gone_is_written_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    keys = made()
    store = SecretStore(keys.files())
    trust = trust_in(store, keys)
    await trust.keep(0.0)
    assert trust.judge({}).reason == TRUSTED
    store.data = None
    await trust.keep(LOOK_EVERY - 1)
    assert trust.judge({}).reason == TRUSTED
    assert store.reads == 1, "it is not looked at with every turn"
    await trust.keep(LOOK_EVERY)
    assert await store.get_secret("ringfence-gossip") == SecretRecord(keys.files(), "1")
    assert trust.judge({}).reason == TRUSTED
    assert "written again as it was" in caplog.text
    assert not any(value.hex() in caplog.text for value in keys.files().values())


async def test_a_deposed_leader_writes_nothing() -> None:
    store = SecretStore(None)
    with pytest.raises(TooLate):
        await trust_in(store, made(), deadline=-1.0).keep(0.0)
    assert store.data is None


@pytest.mark.parametrize("content", [made().files(), {}])
async def test_one_with_another_key_is_left_alone_and_told_of(content: Mapping[str, bytes]) -> None:
    store = SecretStore(content)
    trust = trust_in(store, made())
    await trust.keep(0.0)
    assert trust.judge({}).reason == IN_SECRET
    assert store.data == content


async def test_who_comes_second_looks_again_at_once() -> None:
    rival = made()
    store = SecretStore(None, rival=rival.files())
    trust = trust_in(store, made())
    await trust.keep(0.0)
    assert store.data == rival.files()
    await trust.keep(1.0)
    assert trust.judge({}).reason == IN_SECRET


async def test_a_refused_write_is_told_and_tried_again() -> None:
    keys, store = made(), SecretStore(None, refusal=Forbidden("cannot create secrets", status=403))
    trust = trust_in(store, keys)
    with pytest.raises(Forbidden):
        await trust.keep(0.0)
    said = trust.judge({})
    assert said.reason == NOT_WRITTEN
    assert "cannot create secrets" in said.sentence
    store.refusal = Unavailable("away")
    with pytest.raises(Unavailable):
        await trust.keep(LOOK_EVERY)
    store.refusal = None
    await trust.keep(2 * LOOK_EVERY)
    assert trust.judge({}).reason == TRUSTED


def test_reports_of_an_earlier_boot_or_of_a_node_that_is_gone_say_nothing() -> None:
    keys, other = made(), fingerprint(made().roster_public)
    witness = Witness(lambda *_: True)
    for node in ("n1", "n2", "n3"):
        witness.boot_seen(node, f"uid-{node}", "now")
    trust = RosterTrust(SecretStore(None), keys, "own", witness, lambda: 1.0)

    def report(node: str, boot_id: str, key: str | None) -> NodeReport:
        return NodeReport(status=NodeReportStatus(node_uid=f"uid-{node}", boot_id=boot_id, roster_key=key))

    reports = {
        ("", "n1"): report("n1", "before", other),
        ("", "n2"): report("n2", "now", fingerprint(keys.roster_public)),
        ("", "gone"): report("gone", "now", other),
    }
    assert trust.judge(reports).reason == TRUSTED
    said = trust.judge(reports | {("", "n3"): report("n3", "now", other)})
    assert (said.reason, said.refusing) == (BY_ANOTHER, ("n3",))
