from __future__ import annotations

from pathlib import Path

from ringfence.agent.state import StateDirectory
from ringfence.host.clock import first_counter
from ringfence.net.crypto import GroupSeal, SigningKey, make_group_keys, verify

BOOT, OTHER = b"b" * 16, b"c" * 16


def test_a_seal_opens_only_as_what_it_is() -> None:
    keys = make_group_keys()
    key = SigningKey.fresh()
    seal, stranger = GroupSeal(keys["group.key"], key), GroupSeal(make_group_keys()["group.key"], key)
    sealed = seal.seal("uid", BOOT, 1, b"head", b"body")
    assert seal.open("uid", BOOT, 1, b"head", sealed) == b"body"
    assert seal.open("uid", BOOT, 2, b"head", sealed) is None
    assert seal.open("uid", OTHER, 1, b"head", sealed) is None
    assert seal.open("other", BOOT, 1, b"head", sealed) is None
    assert seal.open("uid", BOOT, 1, b"Head", sealed) is None
    assert seal.open("uid", BOOT, 1, b"head", sealed[:-1]) is None
    assert seal.open("uid", BOOT, 1, b"head", b"") is None
    assert stranger.open("uid", BOOT, 1, b"head", sealed) is None


def test_invented_boots_leave_no_keys_behind() -> None:
    keys = make_group_keys()
    seal = GroupSeal(keys["group.key"], SigningKey.fresh())
    for number in range(1000):
        assert seal.open("uid", number.to_bytes(16, "big"), 1, b"head", b"garbage" * 9) is None
    assert len(seal._subkeys) == 0
    assert seal.open("uid", BOOT, 1, b"head", seal.seal("uid", BOOT, 1, b"head", b"body")) == b"body"
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
