"""Whatever an agent refuses: it is counted by its reason, is said whose it was, and changes nothing.

The sender of most rows holds the group key and n2's signing key, as a thief would.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from ringfence.core.gossip.corroboration import vote_payload
from ringfence.core.gossip.members import Roster
from ringfence.core.gossip.rings import Rings
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
    Votes,
    boot_bytes,
    encode,
    tag_of,
)
from ringfence.core.model import RingState, SignedVote, Vote
from ringfence.metrics import AgentMetrics, AgentSample
from unit.core.gossip.ring_world import FakeCrypto, boot_id, member, roster_of

NOW = 100.0
THIEF = "10.0.0.2"
ROUND = b"round--1"


def key_of(name: str) -> FakeCrypto:
    return FakeCrypto(hashlib.sha256(f"{name} 0".encode()).digest())


def datagram(
    message: Message | bytes,
    *,
    sender: str = "n2",
    boot: int = 0,
    counter: int = 1000,
    receiver: str = "n1",
    epoch: int = 2,
) -> bytes:
    """Sealed under the group key, as that sender's."""
    raw = boot_bytes(boot_id(sender, boot))
    header = Header(tag_of(f"uid-{sender}"), raw, counter).encode()
    body = message if isinstance(message, bytes) else encode(message, epoch)
    sealed = FakeCrypto(b"").seal(f"uid-{sender}", raw, counter, header + tag_of(f"uid-{receiver}"), body)
    return header + sealed


PING = datagram(Ping(7))


def with_byte(at: int, value: int) -> bytes:
    return PING[:at] + bytes([value]) + PING[at + 1 :]


def vote(
    voter: str = "n4",
    *,
    key: str | None = None,
    about: str = "n3",
    epoch: int = 2,
    what: Vote = Vote.NONE,
    named: str | None = None,
) -> Votes:
    """One vote, by default a genuine one. ``key``: who has signed it really; ``named``: whose tag stands beside it."""
    subject = roster_of(20).by_name[about].boot
    unsigned = SignedVote(voter, subject, what, epoch, ROUND, b"")
    signature = key_of(key or voter).sign(vote_payload("test", unsigned))
    ballot = Ballot(tag_of(f"uid-{named or voter}"), what, signature)
    return Votes(ROUND, tag_of(f"uid-{about}"), boot_bytes(subject.boot_id), epoch, (ballot,))


def other_boot(message: Ask | Votes) -> Ask | Votes:
    return replace(message, boot=boot_bytes(boot_id("n3", 5)))


def not_an_observer() -> Votes:
    """Of a member that n1 does observe in a ring of twenty."""
    rings = Rings(large())
    about = next(m for m in rings.subjects("uid-n1") if m.name != "n2")
    observers = {m.name for m in rings.judges(about.uid, second=True)} | {"n1", about.name}
    stranger = next(m.name for m in large().members if m.name not in observers)
    return vote(stranger, about=about.name)


def small() -> Roster:
    return replace(roster_of(5), epoch=2)


def large() -> Roster:
    return replace(roster_of(20, zones=3), epoch=2)


ASK = Ask(ROUND, tag_of("uid-n3"), boot_bytes(boot_id("n3")))


@dataclass(frozen=True)
class Row:
    reason: str
    sent: tuple[bytes, ...]
    """All but the last are taken."""
    roster: Callable[[], Roster] = small
    by: str = "n2"


ROWS = {
    "nothing": Row("truncated", (b"",), by=THIEF),
    "truncated": Row("truncated", (PING[:31],), by=THIEF),
    "a header alone": Row("bad seal", (PING[:32],), by=THIEF),
    "oversized": Row("oversized", (PING + bytes(1200),), by=THIEF),
    "wrong version": Row("wrong version", (with_byte(0, 99),), by=THIEF),
    "unknown key": Row("unknown key", (with_byte(1, 77),), by=THIEF),
    "unknown sender": Row("unknown sender", (datagram(Ping(7), sender="stranger"),), by=THIEF),
    "our own, sent back": Row("unknown sender", (datagram(Ping(7), sender="n1"),), by=THIEF),
    "forged": Row("bad seal", (PING[:-1] + bytes([PING[-1] ^ 1]),), by=THIEF),
    "another header on it": Row("bad seal", (with_byte(31, PING[31] ^ 1),), by=THIEF),
    "meant for another": Row("bad seal", (datagram(Ping(7), receiver="n3"),), by=THIEF),
    "replayed": Row("replayed", (PING, PING), by=THIEF),
    "too old for the window": Row("replayed", (PING, datagram(Ping(7), counter=900)), by=THIEF),
    "of a boot that the roster has replaced": Row(
        "unproved boot", (datagram(Ping(7), sender="n5"),), by=THIEF
    ),
    "of a boot that nobody knows": Row("unproved boot", (datagram(Ping(7), boot=3),), by=THIEF),
    "no body": Row("cut short", (datagram(b""),), by=THIEF),
    "cut short": Row("cut short", (datagram(encode(ASK, 2)[:-1]),), by=THIEF),
    "unknown kind": Row("unknown kind", (datagram(b"\xc8" + bytes(12)),), by=THIEF),
    "unknown vote": Row("unknown vote", (datagram(encode(vote(), 2)[:-65] + b"\x09" + bytes(64)),), by=THIEF),
    "too many votes": Row(
        "too many votes", (datagram(encode(replace(vote(), ballots=vote().ballots * 13), 2)),), by=THIEF
    ),
    "unasked answer": Row("answer that nobody waits for", (datagram(Ack(7)),)),
    "relay to a stranger": Row("about a stranger", (datagram(Relay(7, tag_of("uid-stranger"))),)),
    "question about a stranger": Row(
        "about a stranger", (datagram(replace(ASK, tag=tag_of("uid-stranger"))),)
    ),
    "question about another boot": Row("about another boot", (datagram(other_boot(ASK)),)),
    "votes about a stranger": Row(
        "about a stranger", (datagram(replace(vote(), tag=tag_of("uid-stranger"))),)
    ),
    "votes about another boot": Row("about another boot", (datagram(other_boot(vote())),)),
    "vote signed by itself in another's name": Row(
        "vote: its signature is not by the key in the roster", (datagram(vote("n4", key="n2")),)
    ),
    "another's vote in the thief's name": Row(
        "vote: its signature is not by the key in the roster", (datagram(vote("n4", named="n2")),)
    ),
    "vote about itself": Row("vote: about itself", (datagram(vote("n3")),)),
    "vote of another epoch": Row("vote: of another roster epoch", (datagram(vote(epoch=9)),)),
    "vote of a stranger": Row("vote: not in the roster", (datagram(vote(named="stranger")),)),
    "vote of who doesn't observe": Row(
        "vote: not an observer of this node", (datagram(not_an_observer()),), roster=large
    ),
    "forged leave": Row("leave", (datagram(Leave(bytes(64))),)),
}


def machine(roster: Roster) -> Swim:
    """n1's, which knows n5 from a boot before."""
    swim = Swim(node="n1", boot_id=boot_id("n1"), crypto=key_of("n1"), dice=random.Random(1))
    swim.install(replace(roster, epoch=1), NOW - 50.0)
    heard = datagram(Ping(1), sender="n5", counter=1)
    swim.receive(heard, "10.0.0.5", NOW - 50.0)
    later = tuple(member(5, zone=m.zone, boot=1) if m.name == "n5" else m for m in roster.members)
    swim.install(replace(roster, members=later), NOW)
    swim.datagrams_to_send(NOW)
    while swim.next_event() is not None:
        pass
    return swim


def states(swim: Swim, now: float) -> dict[str, RingState]:
    return {one.subject.node: one.state for one in swim.view(now).subjects}


@pytest.mark.parametrize("name", ROWS)
def test_what_is_refused_is_counted_by_reason_and_changes_nothing(name: str) -> None:
    row = ROWS[name]
    swim = machine(row.roster())
    for number, one in enumerate(row.sent):
        swim.receive(one, THIEF, NOW + 0.001 * number)
    refused = {
        key.removeprefix("drop "): count for key, count in swim.stats.items() if key.startswith("drop ")
    }
    assert refused == {row.reason: 1}
    assert swim.refused == {row.reason: row.by}
    assert swim.next_event() is None or row.reason.startswith(
        "vote"
    )  # a vote makes us look ourselves, whoever sent it
    before = states(swim, NOW)
    assert set(before.values()) == {RingState.UNKNOWN}
    swim.handle_timer(NOW + 0.5)  # the round is over, if there is one
    assert RingState.UNREACHABLE not in states(swim, NOW + 0.5).values()


def test_a_genuine_vote_is_not_refused_nor_kept_out_by_a_forged_one_that_came_first() -> None:
    swim = machine(small())
    swim.receive(datagram(vote("n4", key="n2")), THIEF, NOW)
    swim.receive(datagram(vote("n4"), sender="n4"), "10.0.0.4", NOW + 0.001)
    about = next(one for one in swim.subjects if one.member.name == "n3")
    assert [v.signature for r in about.rounds.values() for v in r.votes.values()] == [
        vote("n4").ballots[0].signature
    ]
    assert swim.stats["drop vote: its signature is not by the key in the roster"] == 1


def test_a_forged_alive_counts_as_refused_and_is_reason_to_wait_all_the_same() -> None:
    """The voter may have booted, and the roster not have its new key yet."""
    swim = machine(small())
    swim.receive(datagram(vote("n4", key="n2", what=Vote.ALIVE)), THIEF, NOW)
    assert swim.stats["drop vote: its signature is not by the key in the roster"] == 1
    assert states(swim, NOW)["n3"] is RingState.PARTIAL


def test_every_reason_is_a_label_of_the_metric() -> None:
    counts: Counter[str] = Counter()
    for row in ROWS.values():
        swim = machine(row.roster())
        for one in row.sent:
            swim.receive(one, THIEF, NOW)
        counts += swim.stats
    text = AgentMetrics(lambda: AgentSample(counts=counts)).render().decode()
    for reason in {row.reason for row in ROWS.values()}:
        assert f'ringfence_agent_drops_total{{reason="{reason}"}} ' in text
