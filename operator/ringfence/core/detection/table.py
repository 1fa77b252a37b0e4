"""The verdict table as people read it: every reason that :func:`ringfence.core.detection.verdict.judge` gives.

In the order in which the rules are tried. A reason is found again by its sentence; a test lets all combinations of evidence
be judged and holds each judgement to exactly one reason here, and each reason here to a judgement.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ringfence.core.model import RingState, Verdict

GAP = "…"
"""Stands in a sentence for what is another each time."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict is given."""

    verdict: Verdict
    says: tuple[str, ...]
    """Its sentences, with gaps."""
    ring: RingState
    """What the ring says of the node, whatever else is known."""
    when: str
    then: str
    """What ringfence does, and what a person can."""

    def fits(self, sentence: str) -> bool:
        """Whether this is what was said."""
        return any(
            re.fullmatch(".*".join(re.escape(part) for part in shape.split(GAP)), sentence)
            for shape in self.says
        )


def of(verdict: Verdict, sentence: str) -> tuple[Reason, ...]:
    """The reasons that fit a judgement; one, if the table is whole."""
    return tuple(one for one in REASONS if one.verdict is verdict and one.fits(sentence))


NOT_GIVEN = {
    Verdict.ISOLATED: "a node that nobody hears is `Down` or `Suspect`; that it holds *itself* for cut off is for its own watchdog",
    Verdict.MAINTENANCE: "a NodeMaintenance forbids to fence ([in maintenance](every-refusal.md)); what is found of the node is told all the same",
}
"""Verdicts that no rule gives today, and what stands in for them."""

_NOTHING = "Nothing is done to the node; its VMs run on."

REASONS = (
    Reason(
        Verdict.SUSPECT,
        ("… is silent for its peers (…), but …",),
        RingState.UNREACHABLE,
        "enough observers vote that neither its agent nor its kernel answers, and something shows that it lives: a packet or an"
        " answer of its kernel since the round began; its kubelet's Lease, its agent's Lease, virt-handler's heartbeat or its"
        " storage slot since the doubt began",
        "No fence while the sign is fresh. It is cut from its peers only: see to the network.",
    ),
    Reason(
        Verdict.SUSPECT,
        ("… is silent for its peers, but no vote stands behind it",),
        RingState.UNREACHABLE,
        "an agent calls it unreachable without votes that this controller could check",
        "No fence. What can't be proved to others is no reason.",
    ),
    Reason(
        Verdict.SUSPECT,
        ("… is silent for its only voter (…); …",),
        RingState.UNREACHABLE,
        "there is one eligible voter, and what must stand beside its vote is missing: the controller's own probe of the kernel"
        " unanswered, the kubelet's Lease silent for 20 s, a proved fence device",
        "No fence before all three are there. The sentence names the one that is missing.",
    ),
    Reason(
        Verdict.DOWN,
        ("… is down: …",),
        RingState.UNREACHABLE,
        "enough observers vote that neither its agent nor its kernel answers, each by its own key, and nothing else is heard of"
        " it. A single voter is not enough, but for a cluster of two (see above)",
        "Held for two seconds and looked at once more; then the [limits](every-refusal.md) are asked, and the fence follows.",
    ),
    Reason(
        Verdict.SUSPECT,
        ("… is doubted by its peers: …",),
        RingState.DOUBTED,
        "a probe, its retry and the relays went unanswered; the votes are being taken",
        "Nothing yet: within a second it is one of the others.",
    ),
    Reason(
        Verdict.CONTROL_PATH_LOST,
        ("…'s management network is dead (…), another one carries its packets: it lives and its VMs run on",),
        RingState.PARTIAL,
        "votes call its management network dead while another of its networks carries packets",
        f"{_NOTHING} Mend the management network; the kubelet can't end or start anything there meanwhile.",
    ),
    Reason(
        Verdict.SUSPECT,
        ("… is reached by some peers only…",),
        RingState.PARTIAL,
        "some observers reach it, some don't",
        "Nobody is fenced on that. See to the path between it and those who don't reach it.",
    ),
    Reason(
        Verdict.LEFT,
        ("…'s agent has left; its kernel answers",),
        RingState.LEFT,
        "its agent has said goodbye (an upgrade, a drain), and its kernel answers",
        f"{_NOTHING} As soon as its kernel is silent too, it is found down like any other.",
    ),
    Reason(
        Verdict.HUNG,
        ("… hangs: its kernel answers, …; nothing is done without evidence from its guests: look at it",),
        RingState.AGENT_DOWN,
        "its kernel answers, but its agent doesn't, its kubelet's Lease has been silent for more than 40 s and virt-handler for"
        " 180 s, and its storage slot doesn't move; and its zone is in `onHung: Alert`, the default",
        "Told, and nothing else. Look at it; to have its VMs moved, switch it off.",
    ),
    Reason(
        Verdict.HUNG,
        ("… hangs: its kernel answers, …; its zone has such a node fenced",),
        RingState.AGENT_DOWN,
        "the same, its zone says `onHung: Fence`, and its guests are lost as far as anybody can tell: this boot was seen to write its"
        " storage slot, good looks find it silent now, and who looks sees another node's slot move on the same volume",
        "Held for a minute more than a node that is `Down`; then the [limits](every-refusal.md) are asked, and the fence follows. Any"
        " sign of life but its kernel's ends that at once.",
    ),
    Reason(
        Verdict.HUNG,
        ("… hangs: its kernel answers, …; its zone has such a node fenced, but …: look at it",),
        RingState.AGENT_DOWN,
        "the same, its zone says `onHung: Fence`, and there is no such evidence from its guests. The sentence names what is missing",
        "Told, and nothing else, until the evidence is there. Look at it; to have its VMs moved, switch it off.",
    ),
    Reason(
        Verdict.AGENT_DOWN,
        ("…'s kernel answers, its agent does not: the node lives",),
        RingState.AGENT_DOWN,
        "its kernel answers, its agent doesn't",
        f"{_NOTHING} See why the agent's pod is not running there.",
    ),
    Reason(
        Verdict.STORAGE_LOST,
        (
            "… is alive, but its … network is dead (…): its VMs can't reach their disks there; nobody is fenced for it",
        ),
        RingState.ALIVE,
        "votes call its storage network dead while it lives on another",
        "Nobody is fenced for it. Its VMs are paused by QEMU or see errors: mend the network, or drain the node.",
    ),
    Reason(
        Verdict.GUEST_NET_LOST,
        (
            "… is alive, but its … network is dead (…): its VMs can't be reached there; nobody is fenced for it",
        ),
        RingState.ALIVE,
        "votes call its guests' network dead while it lives on another",
        "Nobody is fenced for it. Mend the network, or drain the node: its VMs can be migrated.",
    ),
    Reason(
        Verdict.CONTROL_PATH_LOST,
        ("… is alive for its peers, but not for the API server (Ready=…): its VMs run on",),
        RingState.ALIVE,
        "its peers hear it, and Kubernetes says `Ready=False` or `Unknown`, or its kubelet's Lease is older than 40 s. A"
        " condition that is missing or stale says nothing",
        f"{_NOTHING} See to its kubelet and to its way to the API server.",
    ),
    Reason(
        Verdict.STORAGE_LOST,
        ("… is alive, but its storage slot is silent: …",),
        RingState.ALIVE,
        "its peers hear it, and others have seen its slot on the heartbeat volume stand still for 10 s",
        "Nobody is fenced for it. See its heartbeat's pod and its path to the storage.",
    ),
    Reason(
        Verdict.HEALTHY,
        ("… is alive", "… is alive; its … network is dead (…)"),
        RingState.ALIVE,
        "its peers hear it, and nothing speaks against it",
        "Nothing.",
    ),
    Reason(
        Verdict.SUSPECT,
        ("… renews its Lease, but no agent tells us of it now",),
        RingState.UNKNOWN,
        "its kubelet renews its Lease, it has an agent, and no agent that this controller listens to says anything of it",
        "No fence: it is this controller that hears of nobody. See whether it reaches the agents' port.",
    ),
    Reason(
        Verdict.AGENT_DOWN,
        ("… renews its Lease, but no agent of it was heard yet",),
        RingState.UNKNOWN,
        "its kubelet renews its Lease, and no agent of this boot has ever reported",
        f"{_NOTHING} Until its agent runs the node can't be found down.",
    ),
    Reason(
        Verdict.SUSPECT,
        ("… was not heard of yet",),
        RingState.UNKNOWN,
        "nothing is heard of it: neither an agent nor a fresh Lease",
        "No fence: what has never been heard can't have fallen silent.",
    ),
)
