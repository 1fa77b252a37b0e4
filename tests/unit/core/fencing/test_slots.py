"""The heartbeat volume's blocks: what is written is read, and nothing else is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.fencing.slots import (
    BLANK,
    BLOCK,
    MAX_SLOTS,
    Flag,
    Header,
    Slot,
    SlotError,
    Word,
    claim,
    cluster_id,
    decode_header,
    decode_slot,
    decode_word,
    encode_header,
    encode_slot,
    encode_word,
)
from ringfence.core.model import Boot

OURS, THEIRS = cluster_id(b"\1" * 32), cluster_id(b"\2" * 32)
BOOT = Boot("node-1", "6d9f6f4e-0000-4000-8000-000000000001", "0b0d0000-0000-4000-8000-000000000001")
SLOT = Slot(BOOT, 7, 1.0, Flag.FENCED)
WORD = Word(BOOT.node_uid, BOOT.boot_id, "node-1-0b0d0000-ab12", stop_guests=True)
HEADER = Header(OURS, 64)


def sign(payload: bytes) -> bytes:
    return hashlib.sha512(payload).digest()


def check(payload: bytes, signature: bytes) -> bool:
    return signature == sign(payload)


@given(
    st.text(min_size=1, max_size=60),
    st.text(min_size=1, max_size=30),
    st.uuids(),
    st.integers(0, 2**64 - 1),
    st.integers(100, 60_000),
    st.sampled_from([Flag.NONE, Flag.FENCED, Flag.FENCED | Flag.GUESTS_GONE, Flag.LEFT]),
)
def test_a_slot_is_read_as_it_was_written(
    node: str, uid: str, boot: object, sequence: int, milliseconds: int, flags: Flag
) -> None:
    slot = Slot(Boot(node, uid, str(boot)), sequence, milliseconds / 1000, flags)
    assert decode_slot(encode_slot(slot, OURS), OURS) == slot


@given(st.booleans(), st.uuids(), st.text(min_size=1, max_size=60), st.integers(0, 2**64 - 1), st.booleans())
def test_a_word_is_read_as_it_was_written(
    stop: bool, boot: object, incident: str, issued: int, taken_back: bool
) -> None:
    word = Word("uid", str(boot), incident, stop, issued, taken_back)
    assert decode_word(encode_word(word, OURS, sign), OURS, check) == word


def test_blank_blocks_say_nothing() -> None:
    assert decode_header(BLANK, OURS) is None
    assert decode_slot(BLANK, OURS) is None
    assert decode_word(BLANK, OURS, check) is None


def test_the_header_tells_the_size() -> None:
    assert decode_header(encode_header(HEADER), OURS) == HEADER
    assert HEADER.size == BLOCK * (1 + 2 * 64)
    assert HEADER.offset(0) == BLOCK
    assert HEADER.offset(63) + 2 * BLOCK == HEADER.size
    with pytest.raises(IndexError):
        HEADER.offset(64)


WHOLE: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "header": (encode_header(HEADER), lambda data: decode_header(data, OURS)),
    "slot": (encode_slot(SLOT, OURS), lambda data: decode_slot(data, OURS)),
    "word": (encode_word(WORD, OURS, sign), lambda data: decode_word(data, OURS, check)),
}


@pytest.mark.parametrize("kind", WHOLE)
@given(at=st.integers(0, BLOCK - 1), flip=st.integers(1, 255))
def test_one_wrong_byte_is_refused(kind: str, at: int, flip: int) -> None:
    data, decode = WHOLE[kind]
    broken = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
    with pytest.raises(SlotError):
        decode(broken)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("sector", range(8))
def test_a_torn_write_is_refused(kind: str, sector: int) -> None:
    """Half of one write and half of another: what a disk may show whose own sectors are 512 bytes."""
    data, decode = WHOLE[kind]
    old = encode_slot(replace(SLOT, sequence=6, boot=replace(BOOT, node="x" * 200)), OURS)
    torn = (
        data[: 512 * sector] + old[512 * sector :]
        if kind != "slot"
        else old[: 512 * sector] + data[512 * sector :]
    )
    if torn in (data, old):
        return
    with pytest.raises(SlotError):
        decode(torn)


@pytest.mark.parametrize("kind", WHOLE)
@given(data=st.binary(max_size=BLOCK + 10))
def test_garbage_is_refused(kind: str, data: bytes) -> None:
    _, decode = WHOLE[kind]
    for block in (data, data.ljust(BLOCK, b"\0")[:BLOCK]):
        if block == BLANK:
            continue
        with pytest.raises(SlotError):
            decode(block)


def test_another_installations_volume_is_not_touched() -> None:
    with pytest.raises(SlotError, match="another installation"):
        decode_header(encode_header(replace(HEADER, cluster=THEIRS)), OURS)
    with pytest.raises(SlotError, match="another installation"):
        decode_slot(encode_slot(SLOT, THEIRS), OURS)


def test_what_somebody_else_wrote_is_not_touched() -> None:
    with pytest.raises(SlotError, match="a volume of its own"):
        decode_header(b"\x7fELF".ljust(BLOCK, b"\1"), OURS)


def test_a_word_that_the_controller_has_not_signed_is_not_obeyed() -> None:
    forged = encode_word(WORD, OURS, lambda _payload: b"\7" * 64)
    with pytest.raises(SlotError, match="not signed"):
        decode_word(forged, OURS, check)


@pytest.mark.parametrize(
    "changed",
    [
        {"boot_id": "0b0d0000-0000-4000-8000-000000000002"},
        {"node_uid": "another"},
        {"stop_guests": False},
        {"incident": "other"},
        {"issued": 8},
        {"taken_back": True},
    ],
)
def test_a_signature_covers_the_whole_word(changed: dict[str, object]) -> None:
    """One that was signed for another boot, node or deed can't be used for this one."""
    genuine = sign_of(WORD)
    other = replace(WORD, **changed)  # type: ignore[arg-type]
    with pytest.raises(SlotError, match="not signed"):
        decode_word(encode_word(other, OURS, lambda _payload: genuine), OURS, check)


def sign_of(word: Word) -> bytes:
    kept: list[bytes] = []
    encode_word(word, OURS, lambda payload: kept.append(sign(payload)) or sign(payload))  # type: ignore[func-returns-value]
    return kept[0]


@pytest.mark.parametrize(
    "slot",
    [
        replace(SLOT, interval=0.05),
        replace(SLOT, interval=61.0),
        replace(SLOT, boot=replace(BOOT, boot_id="no-uuid")),
        replace(SLOT, boot=replace(BOOT, node_uid="")),
        replace(SLOT, boot=replace(BOOT, node="n" * 300)),
    ],
)
def test_what_no_slot_can_hold_is_refused_before_it_is_written(slot: Slot) -> None:
    with pytest.raises(SlotError):
        encode_slot(slot, OURS)


@pytest.mark.parametrize("slots", [0, MAX_SLOTS + 1])
def test_bounds_of_the_table(slots: int) -> None:
    with pytest.raises(SlotError, match="slots"):
        encode_header(Header(OURS, slots))


# --- which is mine ----------------------------------------------------------------------------------------------


@given(st.lists(st.uuids().map(str), min_size=1, max_size=64, unique=True), st.randoms())
def test_every_node_gets_a_slot_of_its_own_and_keeps_it(uids: list[str], dice: object) -> None:
    header, taken = Header(OURS, 64), dict[int, str]()
    for uid in uids:
        index = claim(header, uid, taken)
        assert index is not None
        assert index not in taken
        taken[index] = uid
    for uid in uids:
        index = claim(header, uid, taken)
        assert index is not None
        assert taken[index] == uid


def test_no_room() -> None:
    header = Header(OURS, 2)
    full = {0: "a", 1: "b"}
    assert claim(header, "c", full) is None
    assert claim(header, "c", full, frozenset({1})) == 1
    assert claim(header, "b", full, frozenset({0})) == 1


def test_a_block_that_can_not_be_read_is_nobodys_to_take() -> None:
    assert claim(Header(OURS, 1), "a", {0: ""}) is None


def test_two_who_take_the_same_slot_at_once_part() -> None:
    """Each reads before it writes; whoever wrote last stays. All interleavings of two claims end with two slots."""
    header = Header(OURS, 4)
    a, b = _colliding(header)
    for order in _interleavings(6, 6):
        blocks: dict[int, str] = {}
        at: dict[str, int | None] = {a: None, b: None}
        pending: dict[str, bool] = {a: False, b: False}
        for first in order:
            uid = a if first else b
            if pending[uid]:
                index = at[uid]
                assert index is not None
                blocks[index] = uid
                pending[uid] = False
            else:
                index = at[uid]
                if index is None or blocks.get(index) not in (uid, None):
                    at[uid] = claim(header, uid, blocks)
                pending[uid] = True
        for uid in (a, b, a, b):  # one whole, undisturbed turn each, twice
            index = at[uid]
            if index is None or blocks.get(index) != uid:
                at[uid] = index = claim(header, uid, blocks)
            assert index is not None
            blocks[index] = uid
        assert at[a] != at[b]
        assert {blocks[i] for i in at.values() if i is not None} == {a, b}


def _colliding(header: Header) -> tuple[str, str]:
    uids = [f"uid-{number}" for number in range(100)]
    first = uids[0]
    return first, next(u for u in uids[1:] if header.first_choice(u) == header.first_choice(first))


def _interleavings(a: int, b: int) -> list[list[bool]]:
    if a == 0 or b == 0:
        return [[True] * a + [False] * b]
    return [[True, *rest] for rest in _interleavings(a - 1, b)] + [
        [False, *rest] for rest in _interleavings(a, b - 1)
    ]
