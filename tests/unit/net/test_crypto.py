from __future__ import annotations

from pathlib import Path

from ringfence.agent.state import StateDirectory
from ringfence.core.gossip.keys import GroupKey, KeySet
from ringfence.host.clock import first_counter
from ringfence.net.crypto import GroupSeal, SigningKey, make_key, verify

BOOT, OTHER = b"b" * 16, b"c" * 16


def test_a_seal_opens_only_as_what_it_is() -> None:
    key = SigningKey.fresh()
    seal, stranger = (GroupSeal(KeySet.first(make_key()), key) for _ in range(2))
    sealed = seal.seal("uid", BOOT, 1, b"head", b"body")
    assert seal.open(0, "uid", BOOT, 1, b"head", sealed) == b"body"
    assert seal.open(0, "uid", BOOT, 2, b"head", sealed) is None
    assert seal.open(0, "uid", OTHER, 1, b"head", sealed) is None
    assert seal.open(0, "other", BOOT, 1, b"head", sealed) is None
    assert seal.open(0, "uid", BOOT, 1, b"Head", sealed) is None
    assert seal.open(0, "uid", BOOT, 1, b"head", sealed[:-1]) is None
    assert seal.open(0, "uid", BOOT, 1, b"head", b"") is None
    assert stranger.open(0, "uid", BOOT, 1, b"head", sealed) is None


def test_every_held_key_opens_one_seals_and_a_removed_one_opens_nothing() -> None:
    old, new = GroupKey(0, make_key()), GroupKey(1, make_key())
    one, other = (GroupSeal(KeySet((old, new), 0), SigningKey.fresh()) for _ in range(2))
    by_old = one.seal("uid", BOOT, 1, b"head", b"body")
    one.rekey(KeySet((old, new), 1))
    by_new = one.seal("uid", BOOT, 2, b"head", b"body")
    assert (one.used, other.used) == (1, 0)
    assert other.open(0, "uid", BOOT, 1, b"head", by_old) == b"body"
    assert other.open(1, "uid", BOOT, 2, b"head", by_new) == b"body"
    assert other.open(1, "uid", BOOT, 1, b"head", by_old) is None
    other.rekey(KeySet((new,), 1))
    assert other.open(0, "uid", BOOT, 1, b"head", by_old) is None
    assert other.open(1, "uid", BOOT, 1, b"head", by_old) is None
    assert other.open(1, "uid", BOOT, 2, b"head", by_new) == b"body"
    other.rekey(KeySet((GroupKey(0, make_key()),), 0))
    assert other.open(0, "uid", BOOT, 1, b"head", by_old) is None, "an id that comes again is another key"


def test_invented_boots_leave_no_keys_behind() -> None:
    seal = GroupSeal(KeySet.first(make_key()), SigningKey.fresh())
    for number in range(1000):
        assert seal.open(0, "uid", number.to_bytes(16, "big"), 1, b"head", b"garbage" * 9) is None
    assert len(seal._subkeys) == 0
    assert seal.open(0, "uid", BOOT, 1, b"head", seal.seal("uid", BOOT, 1, b"head", b"body")) == b"body"
    assert len(seal._subkeys) == 1, "who is heard again and again is not derived again"


def test_a_signature_is_its_keys_alone() -> None:
    key = SigningKey.fresh()
    signature = key.sign(b"vote")
    assert verify(b"vote", signature, key.public)
    assert not verify(b"Vote", signature, key.public)
    assert not verify(b"vote", signature[:-1], key.public)
    assert not verify(b"vote", signature, SigningKey.fresh().public)
    assert not verify(b"vote", signature, b"short")


def test_a_later_process_of_the_same_boot_counts_on_above() -> None:
    first = first_counter()
    assert first < 2**64
    later = first_counter()
    assert later >= first


def test_a_node_keeps_its_key_for_one_boot(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    key = state.node_key("boot-1")
    assert state.node_key("boot-1").public == key.public
    assert state.node_key("boot-2").public != key.public
    assert state.roster() is None
    state.keep_roster("text")
    assert state.roster() == "text"


def test_a_state_directory_that_cannot_be_written_costs_only_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = StateDirectory(tmp_path / "file" / "state")
    assert state.node_key("boot-1").public
    state.keep_roster("text")
    assert state.roster() is None
