"""Questions to a node's kernel: who answers there lives, though its agent may not."""

from __future__ import annotations

from ringfence.core.gossip.events import KernelProbe
from ringfence.core.gossip.journal import Journal
from ringfence.core.gossip.subject import Subject
from ringfence.core.model import MANAGEMENT


class Kernels:
    """The asker. The process around sends the probe and brings the answer by `Swim.kernel_answered`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def ask(self, subject: Subject, network: str) -> None:
        """On this network, if it has an address there."""
        address = subject.address if network == MANAGEMENT else subject.member.on(network)
        if address is not None:
            self._journal.stats["kernel probes"] += 1
            self._journal.tell(KernelProbe(subject.member.uid, address, network))

    def ask_everywhere(self, subject: Subject) -> None:
        """On every network: whatever answers, it lives."""
        if subject.address is not None:
            for network in subject.reach.legs or (MANAGEMENT,):
                self.ask(subject, network)
