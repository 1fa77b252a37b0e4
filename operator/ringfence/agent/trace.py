"""A trace of the ring's every step, for pictures and for puzzles: JSON lines, only where ``--trace`` asks for it.

``at`` is CLOCK_MONOTONIC, so the traces of agents on one machine can be laid side by side. ``what`` is a step of the
machine (`events.Trace`), an event of it, or ``view``: the controllers that read this agent are told something new.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from ringfence.core.gossip.events import (
    AwarenessChanged,
    Event,
    KernelProbe,
    NetworkChanged,
    PathLost,
    RosterWanted,
    StateChanged,
)
from ringfence.core.gossip.rounds import Round
from ringfence.core.gossip.swim import Swim
from ringfence.core.gossip.wire import Ack, Ask, Leave, Message, Ping, Relay, Relayed, Votes


class TraceFile:
    """One agent's trace. Raises OSError where the file can't be written."""

    def __init__(self, file: Path) -> None:
        self._file = file.open(
            "w", encoding="utf-8", buffering=1
        )  # a line is whole, however this process ends
        self._swim: Swim | None = None

    def follow(self, swim: Swim) -> None:
        """Write down what this machine does from now on."""
        self._swim = swim
        swim.trace = self._step

    def write(self, what: str, **more: object) -> None:
        """One line."""
        node = self._swim.node if self._swim else ""
        line = {"at": round(time.monotonic(), 6), "node": node, "what": what, **more}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def event(self, event: Event) -> None:
        """What the machine wants done, or tells."""
        match event:
            case KernelProbe(uid, _, network):
                self.write("asks kernel", about=self._name(uid), network=network)
            case StateChanged(subject, old, new, sentence):
                self.write("state", about=subject.node, old=old, new=new, sentence=sentence)
            case NetworkChanged(subject, network, dead, sentence):
                self.write("network", about=subject.node, network=network, dead=dead, sentence=sentence)
            case AwarenessChanged(isolated):
                self.write("isolated" if isolated else "among the others")
            case PathLost(subject):
                self.write("path lost", about=subject.node)
            case RosterWanted(uid, _):
                self.write("wants roster", peer=self._name(uid))

    def kernel_answered(self, uid: str, network: str) -> None:
        """A node's kernel has answered a probe."""
        self.write("kernel answers", about=self._name(uid), network=network)

    def close(self) -> None:
        """Write no more."""
        self._file.close()

    def _step(self, what: str, tag: bytes, thing: Message | Round | None) -> None:
        if thing is None:
            self.write(what, about=self._by_tag(tag))
        elif isinstance(thing, Round):
            votes = {name: vote.vote.value for name, vote in sorted(thing.votes.items())}
            self.write(what, about=self._by_tag(tag), round=thing.round_id.hex(), votes=votes)
        else:
            self.write(what, peer=self._by_tag(tag), kind=type(thing).__name__.lower(), **self._told(thing))

    def _told(self, message: Message) -> dict[str, object]:
        match message:
            case Ping(nonce, _) | Ack(nonce, _) | Relayed(nonce):
                return {"nonce": nonce}
            case Relay(nonce, tag):
                return {"nonce": nonce, "about": self._by_tag(tag)}
            case Ask(round_id=round_id, tag=tag):
                return {"round": round_id.hex(), "about": self._by_tag(tag)}
            case Votes():
                votes = {self._by_tag(ballot.tag): ballot.vote.value for ballot in message.ballots}
                return {"round": message.round_id.hex(), "about": self._by_tag(message.tag), "votes": votes}
            case Leave():
                return {}

    def _by_tag(self, tag: bytes) -> str:
        roster = self._swim.roster if self._swim else None
        member = roster.by_tag.get(tag) if roster else None
        return member.name if member else tag.hex()

    def _name(self, uid: str) -> str:
        roster = self._swim.roster if self._swim else None
        member = roster.by_uid.get(uid) if roster else None
        return member.name if member else uid
