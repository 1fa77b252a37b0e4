"""The nodes' watchdogs in virtual time: the real feeder's machine on each node, and what the controller asks about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ringfence.core.fencing.selffence import (
    NEVER,
    Feeder,
    Leg,
    Promise,
    Roll,
    SlotLook,
    WatchdogLook,
    Word,
    trouble_with,
    words_needed,
)
from ringfence.core.model import Boot

LOOKS_EVERY = 1.0
RENEWS_EVERY = 5.0
ATTENTION = 2.5


@dataclass
class Situation:
    """What the world tells a watchdog's node of itself, at one instant."""

    now: float
    boot: Boot
    up: bool
    """Its kernel runs and has booted."""
    agent: bool
    """Its agent's process runs, and isn't stopped."""
    most_answer: bool
    """More than half of the roster answer it."""
    api_answers: bool
    slot_written: bool = False
    """Its slot is written on a volume where others' slots move, and no word says that this boot is fenced."""


@dataclass
class Dog:
    """One node's watchdog, its feeder and its agent's legs. The node's clock runs ``rate`` times as fast as the world's."""

    isolation: float
    timeout: float
    rate: float = 1.0
    teeth: bool = True
    feeding: bool = True
    """The feeder's process runs, and isn't stopped."""
    by_slot: bool = False
    """Its slot is a leg."""
    boot: Boot | None = None
    """The boot whose state the rest is."""
    held: dict[Leg, float] = field(default_factory=dict)
    attentive_since: float = 0.0
    looked_at: float = NEVER
    renewed_at: float = NEVER
    word: Word | None = None
    feeder: Feeder = field(default_factory=lambda: Feeder(0.0, 10.0, 60.0))
    fed_at: float = NEVER
    """World's time of the last feeding; what the timer counts from."""
    disarming: bool = False
    reported: tuple[Boot, bool] | None = None
    """What the API server has last taken: for which boot, and whether armed."""
    of_backup: bool = False
    """That stands there out of a backup; the agent has reported nothing since."""
    revoked: Boot | None = None
    """The boot whose agent Lease is revoked."""
    why: str = ""

    def tick(self, s: Situation) -> str:
        """Let the node live for an instant: "bite", "stop" (its guests) or nothing."""
        if not s.up:
            return self._bites(s.now)
        if self.boot is None or s.boot.boot_id != self.boot.boot_id:
            self._boot(s)
        elif s.boot != self.boot:
            # Its Node object is another one: the agent's pod is made anew there, the feeder's timer runs on.
            self.boot = s.boot
            self.restart_agent(s.now)
        if s.agent and s.now - self.looked_at >= LOOKS_EVERY:
            self._look(s)
        if self.feeding:
            self.feeder.hear(self.word)
            turn = self.feeder.turn(s.now * self.rate)
            self.why = turn.why
            if turn.feed and s.now - self.fed_at >= LOOKS_EVERY:
                self.fed_at = s.now
                self.feeder.fed(s.now * self.rate, s.now * self.rate)
            if turn.disarm:
                self.fed_at = NEVER
                self.feeder.disarmed()
            if turn.stop_guests:
                return self._bites(s.now) or "stop"
        return self._bites(s.now)

    def _bites(self, now: float) -> str:
        if self.fed_at > NEVER and (now - self.fed_at) * self.rate >= self.timeout and self.teeth:
            self.fed_at = NEVER
            return "bite"
        return ""

    def _boot(self, s: Situation) -> None:
        self.boot, self.held, self.word, self.disarming = s.boot, {}, None, False
        self.looked_at = self.renewed_at = NEVER
        self.attentive_since = s.now
        self.feeder = Feeder(s.now * self.rate, self.isolation, self.timeout)

    def _look(self, s: Situation) -> None:
        if s.now - self.looked_at > ATTENTION:
            self.attentive_since = s.now
        self.looked_at = s.now
        if s.most_answer:
            self.held[Leg.GOSSIP] = s.now * self.rate
        if s.api_answers and self.revoked != s.boot and s.now - self.renewed_at >= RENEWS_EVERY:
            self.renewed_at = s.now
            self.held[Leg.API] = s.now * self.rate
        if s.slot_written and self.by_slot:
            self.held[Leg.STORAGE] = s.now * self.rate
        if s.api_answers:
            self.reported, self.of_backup = (s.boot, self.feeder.running and not self.disarming), False
        acknowledged = s.api_answers or not self.disarming
        self.word = Word(
            s.now * self.rate,
            self.attentive_since * self.rate,
            dict(self.held),
            leave=self.reported is not None and not self.disarming,
            disarm=self.disarming and acknowledged,
        )

    def restart_agent(self, now: float) -> None:
        """A new process: it has seen no leg hold yet. What the old one has told the feeder stands."""
        self.held, self.renewed_at, self.disarming = {}, NEVER, False
        self.looked_at = self.attentive_since = now

    def restart_feeder(self, now: float) -> None:
        fed_at = self.feeder.fed_at if self.feeder.running else NEVER
        self.feeder, self.feeding = Feeder(now * self.rate, self.isolation, self.timeout, fed_at), True


@dataclass
class Kennel:
    """What the controller knows of the watchdogs; a new leader begins without."""

    isolation: float
    timeout: float
    assume_after: float
    dogs: dict[str, Dog]
    legs: frozenset[str]
    revoked_at: dict[str, float] = field(default_factory=dict)
    rolls: dict[str, Roll] = field(default_factory=dict)
    slots: dict[str, SlotLook] = field(default_factory=dict)

    @property
    def promise(self) -> Promise:
        """What each of them reports while it is armed."""
        return Promise(self.isolation, self.timeout, self.legs)

    def look(self, boot: Boot, *, set_back: bool) -> WatchdogLook:
        """``set_back``: it has shown that the store was, and what agents have not written since counts no more."""
        promise = self.promise
        dog = self.dogs[boot.node]
        armed = dog.reported == (boot, True) and not (set_back and dog.of_backup)
        trouble = trouble_with(promise, self.isolation, self.timeout, self.assume_after, self.legs)
        return WatchdogLook(
            "watchdogs",
            unusable=trouble if armed else f"{boot.node}'s watchdog is not armed",
            promise=promise if armed else None,
            assume_after=self.assume_after,
            revoked_at=self.revoked_at.get(boot.node),
            roll=self.rolls.get(boot.node),
            slot=self.slots.get(boot.node),
        )

    def revoke(self, boot: Boot, now: float) -> None:
        self.dogs[boot.node].revoked = boot
        self.revoked_at.setdefault(boot.node, now)

    def call_roll(
        self, boot: Boot, now: float, silent: frozenset[str], heard_at: float, members: int
    ) -> None:
        self.rolls[boot.node] = Roll(now, silent, heard_at, words_needed(members, settled=True))

    def read_slot(self, boot: Boot, now: float, moved_at: float, observers: frozenset[str]) -> None:
        self.slots[boot.node] = SlotLook(now, moved_at, observers)

    def forget(self, node: str) -> None:
        for known in (self.revoked_at, self.rolls, self.slots):
            known.pop(node, None)

    def new_leader(self) -> None:
        for known in (self.revoked_at, self.rolls, self.slots):
            known.clear()


def kennel(given: dict[str, object]) -> Kennel:
    """From a story's ``watchdog:``, by the names of HAZone.spec.fencing.watchdog."""
    nodes = given["nodes"]
    assert isinstance(nodes, list)
    isolation, timeout, assume, rate = (
        float(str(given.get(name, default)))
        for name, default in (
            ("isolationSeconds", 10),
            ("timeoutSeconds", 60),
            ("assumeSeconds", 80),
            ("rate", 1),
        )
    )
    legs = given.get("legs", [Leg.GOSSIP.value, Leg.API.value])
    assert isinstance(legs, list)
    dog = Dog(isolation, timeout, rate, by_slot=Leg.STORAGE in legs)
    dogs = {name: replace(dog, held={}) for name in nodes}
    return Kennel(isolation, timeout, assume, dogs, frozenset(legs))
