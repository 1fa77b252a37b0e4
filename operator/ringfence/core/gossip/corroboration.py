"""What signed votes amount to: the one rule by which a subject is called unreachable (GOSSIP §3.5, DESIGN §3).

An agent applies it to the votes of its round, the controller applies it again to the same votes with keys of its own
roster; neither believes the other. A vote counts once, only from an observer whom the roster lets vote, only in its
own round, about exactly this boot, and only with a signature by the key that the roster pins.

H rule (more than K voters): H = ceil(0.6 K) observers say ``none``, from two zones where two zones have voters, none
says ``alive`` or ``agent-down``. Where too many observers died with the subject, the second set (`Rings.second`) may say
it instead: H of *that* set, never fewer because fewer are left; the controller then holds longer.
Small rule (up to K voters): eligible is who answered this round with something other than ``abstain``; all of them say
``none`` and they are at least two. With one eligible voter the tally says ``single``: that is no verdict, but the
controller may add its own kernel probe, the Lease and a proved device to it.

A node on several networks is silent only if it is silent on all of them: where an observer stands on one of its further
networks, some ``none`` that counts must have looked there. What the columns say of the networks: `networks.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.rings import K, Rings, is_small, rings_of
from ringfence.core.model import MANAGEMENT, Answer, Boot, SignedVote, Vote

ROUND_ID_BYTES = 8
H = math.ceil(0.6 * K)
"""Votes that a verdict takes in a roster of more than K voters."""
Verify = Callable[[bytes, bytes, bytes], bool]
"""``verify(payload, signature, public_key)``: whether this Ed25519 signature is that key's."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The result of one count. At most one of ``unreachable``, ``single``, ``agent_down`` and ``alive`` is true."""

    unreachable: bool
    single: bool
    """One eligible voter in a small roster, and it says ``none``."""
    agent_down: bool
    """Somebody's probe was answered by the node's kernel, nobody's by its agent."""
    alive: bool
    sentence: str
    voters: tuple[str, ...]
    """Names of those whose ``none`` counts."""
    refused: tuple[str, ...]
    """Why votes did not count, one sentence each."""
    round_id: bytes
    """The round that was counted; empty where there was no valid vote."""
    by_second: bool = False
    """``unreachable`` by the word of the second set: too few of its observers were left."""


def vote_payload(cluster: str, vote: SignedVote) -> bytes:
    """The bytes that a vote's signature covers. Every field is length-prefixed, so no two votes share them.

    A vote without columns has the bytes that the version before gave it.
    """
    subject = vote.subject
    fields = (cluster, vote.voter, subject.node, subject.node_uid, subject.boot_id, vote.vote.value)
    texts = (field.encode() for field in fields)
    parts = [b"ringfence vote 2\x00" if vote.columns else b"ringfence vote 1\x00"]
    parts += [*(len(text).to_bytes(2, "big") + text for text in texts)]
    parts += [vote.roster_epoch.to_bytes(8, "big"), len(vote.round_id).to_bytes(2, "big"), vote.round_id]
    for column in vote.columns:
        for text in (column.network.encode(), column.answer.encode()):
            parts += [len(text).to_bytes(2, "big"), text]
    return b"".join(parts)


def leave_payload(cluster: str, boot: Boot) -> bytes:
    """The bytes that a leave's signature covers. Said again later in the same boot it still harms nobody: it is believed
    only while the node's kernel answers.
    """
    texts = (field.encode() for field in (cluster, boot.node, boot.node_uid, boot.boot_id))
    return b"".join([b"ringfence leave 1\x00", *(len(text).to_bytes(2, "big") + text for text in texts)])


def tally(
    votes: Iterable[SignedVote],
    roster: Roster,
    subject: Boot,
    verify: Verify,
    *,
    k: int = K,
    rings: Rings | None = None,
) -> Tally:
    """Count the votes about one boot. ``rings`` saves drawing them again where the caller keeps them."""
    rings = rings or (rings_of(roster) if k == K else Rings(roster, k))
    counted, refused, round_id = count_once(votes, roster, subject, verify, rings)
    by_vote = {vote: tuple(sorted(name for name, v in counted.items() if v.vote is vote)) for vote in Vote}
    outcome, sentence = _judge(by_vote, roster, subject, rings, k)
    by_second = False
    if outcome is _Outcome.OPEN and len(by_vote[Vote.NONE]) >= math.ceil(0.6 * k):
        second, words = _count_set(by_vote[Vote.NONE], rings.second(subject.node_uid), roster, subject, k)
        if second is _Outcome.UNREACHABLE:
            outcome, sentence, by_second = (
                second,
                f"{words} of the second set, too few observers are left",
                True,
            )
    if outcome is _Outcome.ALIVE:
        sentence += _only_on(counted[name] for name in by_vote[Vote.ALIVE])
    elif outcome in {_Outcome.UNREACHABLE, _Outcome.SINGLE}:
        judges = rings.judges(subject.node_uid, second=by_second)
        unlooked = _unlooked([counted[name] for name in by_vote[Vote.NONE]], roster, subject, judges)
        if unlooked:
            outcome, by_second = _Outcome.OPEN, False
            sentence = f"{sentence}; none of them has looked on {', '.join(unlooked)}"
    return Tally(
        unreachable=outcome is _Outcome.UNREACHABLE,
        single=outcome is _Outcome.SINGLE,
        agent_down=outcome is _Outcome.AGENT_DOWN,
        alive=outcome is _Outcome.ALIVE,
        sentence=sentence,
        voters=by_vote[Vote.NONE],
        refused=tuple(refused),
        round_id=round_id,
        by_second=by_second,
    )


def count_once(
    votes: Iterable[SignedVote], roster: Roster, subject: Boot, verify: Verify, rings: Rings
) -> tuple[dict[str, SignedVote], list[str], bytes]:
    """The votes about this boot that count, one a voter and all of one round; why the others don't; and the round."""
    refused: list[str] = []
    valid: list[SignedVote] = []
    votes = list(votes)
    judges = {member.name for member in rings.observers(subject.node_uid)}
    if not judges.issuperset(vote.voter for vote in votes):
        judges |= {member.name for member in rings.second(subject.node_uid)}
    for vote in votes:
        reason = _refusal(vote, roster, subject, judges, verify)
        if reason is None:
            valid.append(vote)
        else:
            refused.append(f"{vote.voter}'s vote: {reason}")
    round_id = _fullest_round(valid)
    counted: dict[str, SignedVote] = {}
    for vote in valid:
        if vote.round_id != round_id:
            refused.append(f"{vote.voter}'s vote: of another round")
        elif vote.voter not in counted or _WEIGHT[vote.vote] > _WEIGHT[counted[vote.voter].vote]:
            counted[vote.voter] = vote  # who changed its mind within a round has heard something since
    return counted, refused, round_id


def decisive(votes: Iterable[SignedVote], roster: Roster, uid: str, *, k: int = K) -> list[SignedVote]:
    """As few of a round's votes about this member as still decide it.

    One that reached it; or H of one set that didn't, from as many zones as may be, and one more for a network on which
    none of the H has looked.
    """
    ranked = sorted(votes, key=lambda vote: (-_WEIGHT[vote.vote], -len(vote.columns), vote.voter))
    if not ranked or _WEIGHT[ranked[0].vote] > _WEIGHT[Vote.NONE]:
        return ranked[:1]
    needed = math.ceil(0.6 * k)
    silent = [vote for vote in ranked if vote.vote is Vote.NONE]
    rings = rings_of(roster) if k == K else Rings(roster, k)
    observers = {member.name for member in rings.observers(uid)}
    if not is_small(roster, k) and sum(vote.voter in observers for vote in silent) < needed:
        observers = {member.name for member in rings.second(uid)}
    zones: Counter[str] = Counter()
    turns: list[tuple[int, SignedVote]] = []
    for vote in silent:
        if vote.voter in observers:
            zone = roster.by_name[vote.voter].zone
            turns.append((zones[zone], vote))
            zones[zone] += 1
    turns.sort(key=lambda turn: turn[0])
    silent = [vote for _, vote in turns]
    chosen, others = silent[:needed], silent[needed:]
    looked = {column.network for vote in chosen for column in vote.columns}
    for vote in others:
        more = {column.network for column in vote.columns}
        if not more <= looked:
            looked |= more
            chosen.append(vote)
    return chosen


def refusal(vote: SignedVote, roster: Roster, subject: Boot, verify: Verify, rings: Rings) -> str | None:
    """Why this vote does not count about this boot, in words that are fit for a metric's label; None where it does."""
    judges = {member.name for member in rings.observers(subject.node_uid)}
    if vote.voter not in judges:
        judges = {member.name for member in rings.second(subject.node_uid)}
    return _refusal(vote, roster, subject, judges, verify)


class _Outcome(Enum):
    UNREACHABLE = auto()
    SINGLE = auto()
    AGENT_DOWN = auto()
    ALIVE = auto()
    OPEN = auto()


def _judge(
    by_vote: dict[Vote, tuple[str, ...]], roster: Roster, subject: Boot, rings: Rings, k: int
) -> tuple[_Outcome, str]:
    silent = by_vote[Vote.NONE]
    if by_vote[Vote.ALIVE]:
        return _Outcome.ALIVE, f"{', '.join(by_vote[Vote.ALIVE])} reached it"
    if by_vote[Vote.AGENT_DOWN]:
        return (
            _Outcome.AGENT_DOWN,
            f"its kernel answered {', '.join(by_vote[Vote.AGENT_DOWN])}, its agent nobody",
        )
    if not silent:
        return _Outcome.OPEN, "no observer has said anything"
    if is_small(roster, k):
        # Nobody reached it: eligible are exactly those that said none.
        counted = (
            f"{len(silent)} of {len(silent)} {'peer' if len(silent) == 1 else 'peers'}: {', '.join(silent)}"
        )
        return (_Outcome.SINGLE if len(silent) == 1 else _Outcome.UNREACHABLE), counted
    return _count_set(silent, rings.observers(subject.node_uid), roster, subject, k)


def _count_set(
    silent: Iterable[str], members: tuple[Member, ...], roster: Roster, subject: Boot, k: int
) -> tuple[_Outcome, str]:
    """Whether those of one set that said ``none`` are enough."""
    names = {member.name for member in members}
    silent = [name for name in silent if name in names]
    needed = math.ceil(0.6 * k)
    counted = f"{len(silent)} of {len(members)} observers: {', '.join(silent)}"
    if len(silent) < needed:
        return _Outcome.OPEN, f"{counted}; {needed} are needed"
    accused = roster.by_uid.get(subject.node_uid)
    alone_in_zone = accused is not None and accused.votes and roster.voters_in[accused.zone] == 1
    if len(roster.voters_in) - alone_in_zone > 1 and len({roster.by_name[name].zone for name in silent}) < 2:
        return _Outcome.OPEN, f"{counted}; all in one zone, two are needed"
    return _Outcome.UNREACHABLE, counted


def _only_on(votes: Iterable[SignedVote]) -> str:
    """Where all who reached it say on which networks, and the management network is none of them."""
    votes = list(votes)
    reached = {column.network for vote in votes for column in vote.columns if column.answer is Answer.AGENT}
    if MANAGEMENT in reached or not all(vote.columns for vote in votes):
        return ""
    return f" on {', '.join(sorted(reached))}, nobody on {MANAGEMENT}"


def _unlooked(
    silent: Iterable[SignedVote], roster: Roster, subject: Boot, judges: tuple[Member, ...]
) -> list[str]:
    """Networks of the subject on which one of its judges stands, but none of those who say ``none`` has looked."""
    accused = roster.by_uid.get(subject.node_uid)
    if accused is None or not accused.networks:
        return []
    looked = {column.network for vote in silent for column in vote.columns if column.answer is Answer.NONE}
    return [
        network
        for network, _ in accused.networks
        if network not in looked and any(member.on(network) for member in judges)
    ]


_WEIGHT = {Vote.ABSTAIN: 0, Vote.NONE: 1, Vote.AGENT_DOWN: 2, Vote.ALIVE: 3}
_EPOCHS_APART = 1
"""A roster reaches agents and controllers seconds apart; further apart a vote is out of date."""


def _refusal(
    vote: SignedVote, roster: Roster, subject: Boot, observers: Iterable[str], verify: Verify
) -> str | None:
    member = roster.by_name.get(vote.voter)
    if member is None:
        return "not in the roster"
    if vote.subject != subject:
        return "about another boot"
    if member.uid == subject.node_uid:
        return "about itself"
    if abs(vote.roster_epoch - roster.epoch) > _EPOCHS_APART:
        return "of another roster epoch"
    if not member.votes:
        return "it has no vote now"
    if vote.voter not in observers:
        return "not an observer of this node"
    if not member.public_key:
        return "the roster has no key of it"
    if vote.vote is Vote.NONE and any(column.answer is not Answer.NONE for column in vote.columns):
        return "it contradicts its own columns"
    if not verify(vote_payload(roster.cluster, vote), vote.signature, member.public_key):
        return "its signature is not by the key in the roster"
    return None


def _fullest_round(votes: list[SignedVote]) -> bytes:
    voters_of = Counter(round_id for _, round_id in {(vote.voter, vote.round_id) for vote in votes})
    return max(voters_of, key=lambda round_id: (voters_of[round_id], round_id), default=b"")
