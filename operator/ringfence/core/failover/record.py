"""What is stored of a failover: everything that the next leader needs to go on, and nothing that only a clock knows.

Instants are wall-clock seconds for people (``*_wall``). Where a duration decides, the machine counts it on its own
monotonic clock from when *this* controller learnt of it: a successor counts anew, which is later and therefore safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ringfence.core.failover.phase import ENDED, PROVED, Phase
from ringfence.core.fencing.orders import Begun, CalledOff, Order
from ringfence.core.fencing.proof import FencingProof, Rebooted, about_the_node
from ringfence.core.model import Boot, SignedVote, Verdict


class VmState(StrEnum):
    PENDING = "Pending"
    """Its old launcher still stands."""
    RELEASED = "Released"
    """The old launcher is gone; KubeVirt has not made a new instance yet."""
    STARTING = "Starting"
    WAITING = "Waiting"
    """No node takes the new instance, or KubeVirt makes none before a person has done something: tried for ever."""
    STUCK = "Stuck"
    """The new instance failed on the old QEMU's image lock; it is deleted so that KubeVirt tries again."""
    RUNNING = "Running"
    LEFT = "Left"
    """Its user stopped or deleted it: left alone."""
    FAILED = "Failed"
    """Its new instances have failed so often that the incident goes on without it."""

    @property
    def settled(self) -> bool:
        return self in (VmState.RUNNING, VmState.LEFT, VmState.FAILED)


@dataclass(frozen=True, slots=True, order=True)
class PodRef:
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class VmRecord:
    """One protected VM of the incident. ``vmi_uid`` is the instance that ran on the dead node."""

    namespace: str
    name: str
    vm_uid: str
    vmi_uid: str
    pod_uid: str = ""
    state: VmState = VmState.PENDING
    new_node: str = ""
    message: str = ""
    released_wall: float | None = None
    """When its old launcher was deleted or seen to be gone: from then on it may run elsewhere."""
    running_wall: float | None = None
    failures: int = 0
    """New instances that have failed before they ran."""
    failed_uid: str = ""
    """The last of them, or the last that was stuck and deleted: neither counts again."""
    failed_wall: float | None = None
    unstarted: bool = False
    """That instance was on its way to the node, and was not seen to run there yet."""
    leftover: str = ""
    """What was under way on it before it ran again, and what that means to its owner."""


@dataclass(frozen=True, slots=True)
class Lie:
    """A device that was caught lying (:mod:`~ringfence.core.failover.lies`): it proves nothing about the node before a drill."""

    device: str
    wall: float
    """When it was caught."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the incident's story."""

    wall: float
    phase: Phase
    sentence: str


STATE_VERSION = 3
"""Of what is stored. A controller that finds a greater number leaves the incident to one that knows it: see :attr:`Record.state_version`."""


@dataclass(frozen=True, slots=True)
class Record:
    """The machine's stored state."""

    name: str
    boot: Boot
    phase: Phase
    sentence: str
    doubted_wall: float
    """When the peers began to doubt: the zero of all timings. Of a node that hangs, when they heard nothing but its kernel."""
    started_wall: float
    verdict_sentence: str = ""
    voters: tuple[str, ...] = ()
    votes: tuple[SignedVote, ...] = ()
    vote_after: tuple[float, ...] = ()
    """Seconds from the doubt until each of the votes had come to the agent that told us; empty where it didn't tell."""
    held_reason: str = ""
    stormed: bool = False
    """It was held while too many nodes were down at once: it goes on after the others, not beside them."""
    ladder_pass: int = 0
    orders: tuple[Order, ...] = ()
    begun: tuple[Begun, ...] = ()
    """The levels of the ladder that this pass has begun."""
    called_off: tuple[CalledOff, ...] = ()
    """Devices that have called the node off without an order (:mod:`~ringfence.core.failover.blackout`)."""
    lies: tuple[Lie, ...] = ()
    proofs: tuple[FencingProof, ...] = ()
    pods: tuple[PodRef, ...] = ()
    """The pods that the proof covers: nothing else is force-deleted under it."""
    vms: tuple[VmRecord, ...] = ()
    tainted: bool = False
    """Our out-of-service taint was seen on the node."""
    new_boot_id: str = ""
    power_on_tries: int = 0
    cuts: tuple[str, ...] = ()
    """Storages that were ordered to cut the node off: each has to be lifted before the incident ends."""
    lifting: bool = False
    """They are being lifted: what was read of them before proves nothing, and what was begun is finished."""
    set_back: int = 0
    """The last time that the cluster's store was set back, by the epoch that agents held: all on record is younger."""
    void_word: str = ""
    """A person's word that was given before that, as :func:`~ringfence.core.failover.word.digest` writes it."""
    never_off_on: str = ""
    """UID of the Node object on which it was told that its boot, which this incident has proved off, was never off."""
    leader: str = ""
    epoch: int = 0
    story: tuple[Moment, ...] = ()
    timings: tuple[tuple[str, float], ...] = ()
    """(step, seconds since the doubt), each step once."""
    verdict: Verdict = Verdict.DOWN
    """What is acted upon: ``Down``, or ``Hung``. Of a node that hangs a device's `off` counts only when its kernel is silent too."""

    @property
    def state_version(self) -> int:
        """The first that knows what is to be known here. To one that doesn't know ``Hung`` the kernel's answers end such an incident, or an
        `off` that is read between two of them is a proof. To one that knows no lies, what a liar says.
        """
        if self.phase in ENDED:
            return 1
        if self.lies:
            return 3
        return 2 if self.verdict is Verdict.HUNG else 1

    @property
    def later_boot(self) -> bool:
        """Whether a later boot of the node is on record: by its proof, or since it came back. A leader whose view of the Nodes lags behind
        may know an earlier one only.
        """
        return self.new_boot_id != "" or any(isinstance(proof, Rebooted) for proof in self.proofs)

    @property
    def ended_boot(self) -> bool:
        """Whether a standing proof says that the boot is over: then it has no vote, and nobody counts on it."""
        return self.phase in PROVED and about_the_node(self.proofs)
