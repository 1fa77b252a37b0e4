"""One node of the virtual cluster: what is true of it, and what the API server and the others have last seen of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from ringfence.core.detection.evidence import NEVER
from ringfence.core.model import Boot
from simulator.world import boot_id

_ring_boot = cache(boot_id)


@cache
def _boot(name: str, boot_id: str, registration: int) -> Boot:
    uid = f"uid-{name}" if registration == 1 else f"uid-{name}-{registration}"
    return Boot(name, uid, boot_id)


@cache
def _registration(boot: Boot) -> int:
    """Which of the node's objects that boot was told under."""
    number = boot.node_uid.removeprefix(f"uid-{boot.node}").removeprefix("-")
    return int(number) if number else 1


@cache
def _plain_boot(name: str, number: int) -> str:
    return f"boot-{number}-{name}"


def _ordinal(boot_id: str) -> int:
    return int(boot_id.split("-")[1])


WAKE_NEEDS = 3.0
"""Seconds from power to what was running, on a machine that had hibernated."""
BOOT_NEEDS = 8.0
"""Seconds from power to a kubelet."""


@dataclass
class Node:
    name: str
    boot: int = 1
    powered: bool = True
    linked: bool = True
    agent: bool = True
    kubelet: bool = True
    api: bool = True
    peers: bool = True
    """The ring's packets pass between it and the others."""
    doubted: bool = False
    """So much of them is lost that its peers doubt it, and never agree that it is gone."""
    left: bool = False
    """Its agent has taken its leave."""
    cordoned: bool = False
    suspect: bool = False
    suspect_for: str = ""
    """The value of that taint, where the controller's own loops write it: the incident's name."""
    out_of_service: bool = False
    registered: bool = True
    """There is a Node object of that name."""
    registrations: int = 1
    """How many there have been: each has a UID of its own."""
    registered_at: float = NEVER
    """When its kubelet has made the last of them, where that is not the first."""
    unregistered_at: float = NEVER
    """When somebody has deleted the last one."""
    registers: bool = False
    """Its kubelet was started since its Node object was deleted: only then it makes another, as soon as it reaches the API server."""
    foreign_taint: bool = False
    """That taint is somebody else's."""
    silent_since: float | None = None
    booted_at: float = NEVER
    known_boot: str = ""
    """The boot id that the API server has last been told."""
    came_up: int = 1
    """The last of its boots that has got as far as its kubelet. One whose power goes before that has told nobody of itself."""
    heard: int = 1
    """The last of its boots that has been heard, or has written something, where the leader's side could see it."""
    renewed: int = 1
    """The boot whose kubelet has renewed the node's Lease."""
    storage: bool = True
    """Its path to the shared storage."""
    slot: tuple[str, int] = ("", 0)
    """Boot and sequence on the heartbeat volume, where there is one."""
    slot_seen: tuple[str, int] = ("", 0)
    slot_looked_at: float = NEVER
    slot_moved: tuple[float, float] = (NEVER, NEVER)
    """After when and before when its last write came, as the others saw it."""
    word: str = ""
    """The boot that is told beside its slot that it is fenced."""
    shut_out: bool = False
    """The storage lets it at none of the disks behind the fence."""
    outlet: bool = True
    """Its outlet at the PDU, where it has one, is on."""
    switched_off: bool = False
    """Its BMC has been told to keep it off."""
    annotations: dict[str, str] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    """Taints of others than us."""
    shutting_down: bool = False
    """Its operating system has announced that it goes down."""
    evicted: bool = False
    """VMs are to be moved off it: a drain, where it is cordoned too."""
    guests: frozenset[str] | None = None
    """What its agent has reported last of its guests, and when that was seen to change."""
    guests_at: float = NEVER
    suspended: bool = False
    """The whole machine stands still."""
    hangs_since: float | None = None
    """Since when its userspace stands still, and its kernel answers; until it goes on, or boots."""
    hibernated: bool = False
    """Its memory is on its disk, its power off: it goes on in the same boot when it is on again."""
    machine: str = ""
    """The name under which its machine was first known, where that is another."""
    plain_boots: bool = True
    """Its boot ids are words; False: UUIDs, as real ones, which a slot can carry."""

    @property
    def identity(self) -> Boot:
        return _boot(self.name, self._boot_id, self.registrations)

    def runs(self, boot: Boot) -> bool:
        """Whether that boot runs, under whichever UID its node is registered by now."""
        return self.powered and self._boot_id == boot.boot_id

    @property
    def _boot_id(self) -> str:
        machine = self.machine or self.name
        return _plain_boot(machine, self.boot) if self.plain_boots else _ring_boot(machine, self.number)

    @property
    def number(self) -> int:
        """Of its present boot, as the ring's simulator counts them."""
        return self.boot - 1

    @property
    def knows_boot(self) -> bool:
        """Whether the API server has been told its present boot."""
        return self.known_boot == self._boot_id

    @property
    def is_news(self) -> bool:
        """Whether there is nobody who could know of its present boot. A slot that moves doesn't tell whose it is."""
        return not self.knows_boot and self.heard != self.boot

    @property
    def known(self) -> Boot:
        """The boot that the controller knows of."""
        return _boot(self.name, self.known_boot or self._boot_id, self.registrations)

    def is_object_of(self, boot: Boot) -> bool:
        """Whether its Node object is there, and is the one that this boot was told under."""
        return self.registered and self.known.node_uid == boot.node_uid

    def registered_after(self, boot: Boot) -> bool:
        """Whether there is a Node object of its name, and it is a later one."""
        return self.registered and self.registrations > _registration(boot)

    def registered_before(self, boot: Boot) -> bool:
        """Whether what is known of it is of an earlier Node object: a cache that lags behind shows that."""
        return self.registrations < _registration(boot)

    def knows_earlier_than(self, boot: Boot) -> bool:
        """Whether what the API server was told last is an earlier boot than this one, as ``controller/loop.py`` finds it out by the
        versions of the store.
        """
        return self.plain_boots and _ordinal(self.known.boot_id) < _ordinal(boot.boot_id)

    @property
    def kernel_answers(self) -> bool:
        return self.powered and self.linked

    def hang(self, now: float | None) -> None:
        """Its userspace stands still from now on; None: it runs."""
        self.hangs_since = now
        self.agent = self.kubelet = self.api = self.storage = now is None

    def up(self, now: float) -> bool:
        """Whether it runs, has booted, and is in reach of the others."""
        return self.powered and self.linked and now >= self.booted_at
