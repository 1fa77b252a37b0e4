"""What is fed with bytes from outside, each as a function of bytes that must raise nothing.

The machine gets *plaintext* here: its seal is replaced by one that lets everything through, or no fuzzer would ever get
past the AEAD. So this is what a holder of the group key could send, forged votes included.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache

from ringfence.core.fencing import slots
from ringfence.core.fencing.slotwatch import SlotWatch
from ringfence.core.gossip import anti_entropy
from ringfence.core.gossip.members import Member, Roster, RosterError, open_roster, seal_roster
from ringfence.core.gossip.swim import Swim
from ringfence.core.gossip.wire import (
    Ack,
    Ask,
    Ballot,
    Header,
    Leave,
    Message,
    Ping,
    Relay,
    Relayed,
    Votes,
    WireError,
    boot_bytes,
    decode,
    encode,
    split,
    tag_of,
)
from ringfence.core.model import Answer, Boot, Column, Vote
from ringfence.net.views import ViewError, decode_view, encode_view

MEMBERS = 5


def _boot(number: int) -> str:
    return f"00000000-0000-4000-8000-00000000000{number}"


class OpenSeal:
    """Opens everything. A signature holds if its first byte is 1, so that the fuzzer can find both ways."""

    used = 0
    held = frozenset({0})

    def seal(self, uid: str, boot: bytes, counter: int, header: bytes, body: bytes) -> bytes:  # noqa: ARG002
        return body

    def open(self, *said: object) -> bytes | None:
        sealed = said[-1]
        assert isinstance(sealed, bytes)
        return sealed

    def sign(self, payload: bytes) -> bytes:  # noqa: ARG002
        return b"\1" * 64

    def verify(self, payload: bytes, signature: bytes, public_key: bytes) -> bool:  # noqa: ARG002
        return signature[:1] == b"\1"


@cache
def _roster(*networks: str) -> Roster:
    members = tuple(
        Member(
            *(f"n{n}", f"uid-{n}", _boot(n), (f"10.0.0.{n}",), "", bytes([n]) * 32),
            networks=tuple((network, f"{network}.{n}") for network in networks),
        )
        for n in range(1, MEMBERS + 1)
    )
    return Roster(7, "fuzz", b"salt", members)


def message(data: bytes) -> None:
    """One message's plaintext."""
    with suppress(WireError):
        decode(data)


def datagram(data: bytes) -> None:
    """One datagram as it comes from the socket."""
    with suppress(WireError):
        split(data)


def machine(data: bytes) -> None:
    """A running agent's machine: up to eight messages of its peers, with pauses between them."""
    _play(data, _roster())


def networks(data: bytes) -> None:
    """The same in a ring whose members are on two further networks."""
    _play(data, _roster("migration", "storage"))


def _play(data: bytes, roster: Roster) -> None:
    swim = Swim(node="n1", boot_id=_boot(1), crypto=OpenSeal(), dice=random.Random(1))
    swim.install(roster, 0.0)
    now = 0.0
    for number, piece in enumerate(data.split(b"\xff\xfe")[:8], start=1):
        sender, pause, body = piece[:1] or b"\2", piece[1:2] or b"\0", piece[2:]
        n = 2 + sender[0] % (MEMBERS - 1)
        now += pause[0] / 64
        swim.handle_timer(now)
        header = Header(tag_of(f"uid-{n}"), boot_bytes(_boot(n)), number).encode()
        member = roster.by_name[f"n{n}"]
        swim.receive(
            header + body, member.on("storage" if sender[0] & 128 else "") or member.addresses[0], now
        )
        drain(swim, now)
    for _ in range(40):
        now += 0.1
        swim.handle_timer(now)
        drain(swim, now)


def drain(swim: Swim, now: float) -> None:
    """Take everything that the machine gives out, as its outer loop would."""
    swim.datagrams_to_send(now)
    while swim.next_event() is not None:
        pass
    swim.next_deadline()
    swim.view(now)


def view(data: bytes) -> None:
    """A view as a controller reads it off an agent's stream."""
    with suppress(ViewError):
        decode_view(data)


def roster(data: bytes) -> None:
    """The text of the roster's ConfigMap, before and behind its signature."""
    with suppress(RosterError):
        open_roster(data.decode("utf-8", "replace"), lambda _data, _signature: True)


def delta(data: bytes) -> None:
    """What a peer answers to a wish for its roster, before and behind the signature."""
    known = _roster("storage") if data[-1:] == b"\1" else _roster()
    with suppress(RosterError):
        anti_entropy.apply(known.members, data, lambda _data, signature: signature[:1] == b"\1")


_HEART = slots.Header(slots.cluster_id(b"\1" * 32), 8)


def _signed(_payload: bytes, signature: bytes) -> bool:
    return signature[:1] == b"\1"


def slot(data: bytes) -> None:
    """Blocks of the heartbeat volume as anyone may have written them: as they are, and behind the checksum.

    The first byte says how long the pieces are, the rest are looks at one pair after the other.
    """
    size = 16 * (1 + data[0] % 128) if data else 16
    watch = SlotWatch(_HEART, _signed)
    for number, at in enumerate(range(1, len(data), size)):
        piece = data[at : at + size]
        for block in (piece, piece.ljust(slots.BLOCK, b"\0"), _resealed(piece)):
            for read in (
                lambda raw: slots.decode_header(raw, _HEART.cluster),
                lambda raw: slots.decode_slot(raw, _HEART.cluster),
                lambda raw: slots.decode_word(raw, _HEART.cluster, _signed),
            ):
                with suppress(slots.SlotError):
                    read(block)
        watch.see(
            _resealed(piece) + piece.ljust(slots.BLOCK, b"\0"),
            float(number),
            float(number),
            number % _HEART.slots,
        )
    for one in watch.sightings:
        one.state(9.0)


def _resealed(piece: bytes) -> bytes:
    whole = piece[: slots.BLOCK - 4].ljust(slots.BLOCK - 4, b"\0")
    return whole + zlib.crc32(whole).to_bytes(4, "big")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "message": message,
    "datagram": datagram,
    "machine": machine,
    "networks": networks,
    "view": view,
    "roster": roster,
    "delta": delta,
    "slot": slot,
}


def _with_columns(ballots: tuple[Ballot, ...], vote: Vote = Vote.NONE) -> tuple[Ballot, ...]:
    """Votes that found storage silent, and the management network too unless they say ``alive``."""
    management = Answer.AGENT if vote is Vote.ALIVE else Answer.NONE
    columns = (Column("management", management), Column("storage", Answer.NONE))
    return tuple(Ballot(one.tag, vote, one.signature, columns) for one in ballots)


def seeds() -> dict[str, list[bytes]]:
    """Genuine inputs to begin with: JSON, base64 and a round of votes are not found by chance."""
    ids = (b"\5" * 8, tag_of("uid-2"), boot_bytes(_boot(2)))
    ballots = tuple(Ballot(tag_of(f"uid-{n}"), Vote.NONE, b"\1" * 64) for n in (1, 3, 4, 5))
    kinds: list[Message] = [
        Ping(1),
        Ack(1),
        Relay(1, tag_of("uid-2")),
        Relayed(1),
        Leave(b"\1" * 64),
        Ask(*ids),
        Votes(*ids, 7, ballots),
        Ask(*ids, look=True),
        Votes(*ids, 7, _with_columns(ballots)),
        Votes(b"\6" * 8, *ids[1:], 7, _with_columns(ballots, Vote.ALIVE), look=True),
        Votes(*ids, 7, (Ballot(tag_of("uid-3"), Vote.ALIVE, b"\1" * 64),)),
        Votes(*ids, 6, (Ballot(tag_of("uid-3"), Vote.AGENT_DOWN, b"\0" * 64),)),
    ]
    bodies = [encode(kind, 7) for kind in kinds]
    swim = Swim(node="n1", boot_id=_boot(1), crypto=OpenSeal(), dice=random.Random(1))
    swim.install(_roster("storage"), 0.0)
    views = []
    for number, body in enumerate(bodies, start=1):
        swim.receive(Header(tag_of("uid-3"), boot_bytes(_boot(3)), number).encode() + body, "10.0.0.3", 1.0)
        swim.handle_timer(1.0 + number)
        drain(swim, 1.0 + number)
        views.append(encode_view(swim.view(1.0 + number)))
    sealed = seal_roster(_roster(), lambda _payload: b"\1" * 64)
    whole = sealed.text().encode()
    known = [anti_entropy.digests(_roster().members[:number]) for number in range(MEMBERS + 1)]
    named = seal_roster(_roster("storage"), lambda _payload: b"\1" * 64)
    deltas = [anti_entropy.delta(sealed, theirs) for theirs in known]
    deltas += [anti_entropy.delta(named, theirs) for theirs in (known[0], known[3])]
    machines = [b"\xff\xfe".join(b"\3\20" + body for body in bodies)] + [b"\3\20" + body for body in bodies]
    me = Boot("n1", "uid-1", _boot(1))
    blocks = [
        slots.encode_header(_HEART),
        slots.encode_slot(slots.Slot(me, 7, 1.0), _HEART.cluster),
        slots.encode_slot(slots.Slot(me, 8, 1.0, slots.Flag.FENCED), _HEART.cluster),
        slots.encode_slot(slots.Slot(Boot("n2", "uid-2", _boot(2)), 1, 60.0), _HEART.cluster),
        slots.encode_word(
            slots.Word("uid-1", _boot(1), "n1-1", stop_guests=True), _HEART.cluster, lambda _: b"\1" * 64
        ),
    ]
    return {
        "message": bodies,
        "datagram": [Header(tag_of("uid-3"), boot_bytes(_boot(3)), 9).encode() + body for body in bodies],
        "machine": machines,
        "networks": machines + [b"\x83" + one[1:] for one in machines],
        "view": [*views, b"{}", b"[]", b"null"],
        "roster": [
            whole,
            named.text().encode(),
            *(whole[:length] for length in range(0, len(whole), 60)),
            b"{}",
            b"[]",
        ],
        "slot": [
            *(b"\x0f" + block[:256] for block in blocks),
            *(b"\x0f" + blocks[1][:256] + block[:256] for block in blocks),
            b"\x07" + blocks[1][:128] + blocks[2][:128] + blocks[1][:128],
            b"\xff" + blocks[1],
        ],
        "delta": [*deltas, *(deltas[0][:length] for length in range(0, len(deltas[0]), 60))],
    }
