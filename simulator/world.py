"""The world: a heap of happenings, nodes with the agents' real machine on them, and a registrar that keeps the roster.

Each process is carried exactly as `ringfence.agent.agent` carries it: a datagram is taken in when it arrives; before a
timer is judged the socket is read empty; answers of kernels come after the timers that were due with them; then events
are acted on, datagrams leave, and one wake-up stands at the machine's next deadline.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ringfence.core.gossip.awareness import LATE, RECOVERY
from ringfence.core.gossip.events import (
    AwarenessChanged,
    Event,
    KernelProbe,
    NetworkChanged,
    PathLost,
    RosterWanted,
    StateChanged,
)
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Member, Roster
from ringfence.core.gossip.swim import Swim
from ringfence.core.model import MANAGEMENT
from simulator.crypto import FIRST, Keyring, MakeCrypto
from simulator.links import LAN, Link, Links
from simulator.node import BACKLOG, Node

SYN_BYTES = 40
WINDOWS = 12
"""Four for each of three controller replicas."""
_TICK = 1.0
"""The agent looks for jumps of its clock once a second."""
_NOBODY: tuple[None, str] = (None, MANAGEMENT)
_IN_FLIGHT = 1.0
"""A node that has been given the others' group keys may have been heard under its old ones for so long."""
_PUBLISH = 1.0
"""Seconds in which the registrar gathers changes into one epoch."""


class Witness(Protocol):
    """Whoever watches the world while it runs."""

    def state_changed(self, node: Node, event: StateChanged) -> None:
        """One machine has said so."""

    def changed(self, node: Node) -> None:
        """One machine's view has a new version."""

    def heard(self, node: Node, source: int) -> None:
        """A datagram that the node of this index has sent itself was taken in by this node's machine."""

    def worked(self, node: Node) -> None:
        """The machine has just been called."""

    def started(self, node: Node) -> None:
        """This node has a new process, with a machine that knows nothing yet."""

    def crashed(self, node: Node) -> None:
        """This node is about to fall silent."""

    def booted(self, node: Node) -> None:
        """This node has begun its next boot."""

    def unopened(self, node: Node, source: Node) -> None:
        """This node does not hold the key that the other has sealed a datagram with."""

    def opened(self, node: Node) -> None:
        """What was sealed with a removed key has been taken in."""


def boot_id(name: str, number: int) -> str:
    """The boot id of this boot of this node."""
    digest = hashlib.sha256(f"{name} {number}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


class World:
    """``count`` nodes named n1, n2, ... in ``zones`` zones, all agents started and given a roster at time 0.

    All of them are on ``networks`` beside the management network.
    """

    def __init__(
        self,
        count: int,
        *,
        seed: int = 1,
        zones: int = 3,
        networks: Iterable[str] = (),
        usual: Link = LAN,
        make_crypto: MakeCrypto | None = None,
        keys: KeySet = FIRST,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.now = 0.0
        self.seed = seed
        self.events = 0
        """Datagrams taken in, timers that were due, answers of kernels: what a machine was called for."""
        self.kernel_probes = 0
        self.dice = random.Random(f"{seed} world")
        self.links = Links(usual, random.Random(f"{seed} links"))
        self.witness: Witness | None = None
        self.networks = tuple(networks)
        self.nodes = [Node(index, f"z{index % zones}", keys, self.networks) for index in range(count)]
        self.by_name = {node.name: node for node in self.nodes}
        self._by_address = {
            node.on(network): (node, network)
            for node in self.nodes
            for network in (MANAGEMENT, *self.networks)
        }
        self.by_uid = {node.uid: node for node in self.nodes}
        self.make_crypto = make_crypto or Keyring().make
        self.group = keys
        """The group keys as they stand in the Secret."""
        self.behind: set[str] = set()
        """Nodes that a change of the keys didn't wait for, and that have not followed since."""
        self._trace = trace
        self._heap: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._sequence = 0
        self._publishing = False
        self.pinned = {node.uid: 0 for node in self.nodes}
        """The boot (its number) that the roster names for each node; one that isn't here has no Node object."""
        self.windows = frozenset(random.Random(f"{seed} windows").sample(range(count), min(WINDOWS, count)))
        """Nodes (indices) whose agents a controller reads."""
        self.sniffers: list[Callable[[Node, bytes, str], None]] = []
        """See every datagram that leaves (for faults that repeat them)."""
        self.roster = self._make_roster(1)
        for node in self.nodes:
            node.disk = self.roster
            self.start_agent(node)

    # -- time ---------------------------------------------------------------------------------------------------

    def later(self, delay: float, action: Callable[[Any], None], subject: Any = None) -> None:
        """Call ``action(subject)`` after so many seconds."""
        self._sequence += 1
        heapq.heappush(self._heap, (self.now + delay, self._sequence, action, subject))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Play so long, or until it holds (asked after every happening). Returns whether it holds."""
        end = self.now + seconds
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= end:
            self.now, _, action, subject = pop(heap)
            action(subject)
            if until is not None and until():
                return True
        self.now = end
        return until is not None and until()

    # -- what can happen to a node ------------------------------------------------------------------------------

    def crash(self, node: Node) -> None:
        """The power is gone, or the kernel has panicked: nothing of this boot is ever heard again."""
        self._note(node, "crashes")
        if self.witness is not None:
            self.witness.crashed(node)
        self.stop_agent(node)
        node.kernel = node.suspended = False
        node.set_rate(1.0, self.now)

    def power_on(self, node: Node) -> None:
        """The next boot, with an agent at once."""
        if node.kernel:
            return
        node.boot += 1
        node.booted_at = node.resumed_at = self.now
        node.kernel = True
        node.mounted = self.group
        self._note(node, "boots")
        self.start_agent(node)
        if self.witness is not None:
            self.witness.booted(node)

    def delete(self, node: Node) -> None:
        """Its Node object is deleted, the machine is gone. What boots next under its name registers with another UID."""
        if node.kernel:
            self.crash(node)
        self._note(node, "deleted")
        del self.by_uid[node.uid], self.pinned[node.uid]
        node.uid += "-new"
        node.disk = None
        self.by_uid[node.uid] = node
        self.publish()

    def stop_agent(self, node: Node) -> None:
        """The process is gone; the kernel goes on answering."""
        self._note(node, "agent ends")
        self._falls_silent(node)
        node.swim = None
        node.frozen = False
        node.process += 1
        node.backlog.clear()
        node.kernel_answers.clear()
        node.wake_at = math.inf

    def _falls_silent(self, node: Node) -> None:
        if node.listens:
            node.silent_since = self.now

    def leave(self, node: Node) -> None:
        """Its agent is told to end and takes its leave."""
        if node.swim is not None and not node.frozen:
            node.swim.leave(node.clock(self.now))
            self._settle(node)

    def start_agent(self, node: Node) -> None:
        """A new process of the present boot, with the roster that lies on its disk."""
        if node.swim is not None or not node.kernel:
            return
        node.process += 1
        node.version = -1
        node.late_until = -math.inf
        crypto, _ = self.make_crypto(node.name, node.boot)
        node.crypto = crypto
        self.rekey(node)
        node.swim = Swim(
            node=node.name,
            uid=node.uid,
            boot_id=boot_id(node.name, node.boot),
            crypto=crypto,
            dice=random.Random(f"{self.seed} {node.name} {node.process}"),
            counter=self.first_counter(node),
            wall_offset=1.6e9 + self.now + node.wall_jump - node.clock(self.now),
        )
        node.swim.window = node.index in self.windows
        if self.witness is not None:
            self.witness.started(node)
        self._note(node, "agent starts")
        node.calm_since = max(node.calm_since, self.now)
        if node.disk is not None:
            node.swim.install(node.disk, node.clock(self.now))
        self._settle(node)
        self._fetch(node)
        if self.pinned.get(node.uid) != node.boot:
            self.publish()

    def first_counter(self, node: Node) -> int:
        """Where a process that starts now begins to count its datagrams: by the age of the boot, as the host's does."""
        return int((self.now - node.booted_at + 100.0) * 1000) << 20

    def freeze(self, node: Node) -> None:
        """The process is stopped: it reads nothing, its timers don't fire, its socket goes on filling."""
        if node.swim is not None:
            self._note(node, "agent stands still")
            self._falls_silent(node)
            node.frozen = True

    def thaw(self, node: Node) -> None:
        """It goes on: reads what has come, then looks at its timers, then at the kernels' answers."""
        if not node.frozen or node.suspended:
            return
        self._note(node, "agent goes on")
        node.frozen = False
        self._work(node)

    def suspend(self, node: Node) -> None:
        """The whole host stands still, its monotonic clock too; what is sent to it is lost."""
        if not node.kernel or node.suspended:
            return
        self._note(node, "host suspended")
        self._falls_silent(node)
        node.suspended = node.frozen = True
        node.set_rate(0.0, self.now)

    def resume(self, node: Node, slept: float) -> None:
        """The host goes on; its agent learns of the sleep within a second, by comparing clocks."""
        if not node.suspended:
            return
        self._note(node, "host resumes")
        node.suspended = node.frozen = False
        node.resumed_at = self.now
        node.set_rate(1.0, self.now)
        self._work(node)
        self.later(self.dice.random() * _TICK, self._notice, (node, node.process, slept))

    def set_rate(self, node: Node, rate: float) -> None:
        """Its monotonic clock runs fast or slow from now on."""
        if node.suspended:
            return
        node.set_rate(rate, self.now)
        if node.swim is not None and (deadline := node.swim.next_deadline()) is not None:
            self._arm(node, deadline)

    def lose_disk(self, node: Node) -> None:
        """What its agents have stored is gone."""
        self._note(node, "loses its disk")
        node.disk = None

    def trouble(self, node: Node) -> None:
        """A fault begins at this node."""
        node.troubles += 1
        node.calm_since = math.inf

    def relieve(self, node: Node) -> None:
        """It has ended. Calm is the node when the last one has."""
        node.troubles -= 1
        if node.troubles == 0:
            node.calm_since = self.now

    # -- the group keys -----------------------------------------------------------------------------------------

    def change_group(self, keys: KeySet, without: Iterable[str]) -> None:
        """The Secret holds these keys now; the change has not waited for those nodes."""
        self.group = keys
        self.behind.update(without)
        if self._trace is not None:
            self._trace(f"{self.now:.9f} the group keys are {keys.ids}, {keys.used} is used")

    def rekey(self, node: Node) -> None:
        """Its agent goes by what is mounted, and reports it as soon as it can."""
        assert node.crypto is not None
        node.crypto.rekey(node.mounted)
        if node.keys != node.mounted:
            self._note(node, f"goes by the keys {node.mounted.ids}, {node.mounted.used} is used")
        node.keys = node.mounted
        if node.keys == self.group:
            self.later(_IN_FLIGHT, self._caught_up, node)
        if self.group.generation:
            self.report_keys(node)

    def _caught_up(self, node: Node) -> None:
        if node.keys == self.group:
            self.behind.discard(node.name)

    def report_keys(self, node: Node) -> None:
        """Its agent writes down what it goes by, as soon as it can."""
        self.later(0.05 + self.dice.random() * 0.5, self._report_keys, (node, node.process, node.keys))

    def _report_keys(self, what: tuple[Node, int, KeySet]) -> None:
        node, process, keys = what
        if node.process != process:
            return
        if node.api or node.frozen:
            self.later(0.5, self._report_keys, what)
            return
        node.reported = (node.boot, keys)

    def inject_removed(self, target: Node, datagram: bytes, address: str) -> None:
        """A datagram by a thief of a key that this node has removed."""
        assert target.swim is not None
        taken = target.swim.stats["received"]
        self._take(target, datagram, address)
        if self.witness is not None and target.swim.stats["received"] > taken:
            self.witness.opened(target)

    # -- the roster ---------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Boots and keys have changed: within a second or so there is a new epoch."""
        if not self._publishing:
            self._publishing = True
            self.later(_PUBLISH, self._publish)

    def fetch(self, nodes: Iterable[Node]) -> None:
        """These may reach the API server again: they get what they have missed."""
        for node in nodes:
            self._fetch(node)

    def _publish(self, _: None) -> None:
        self._publishing = False
        for node in self.nodes:
            if node.swim is not None and not node.api:
                self.pinned[node.uid] = node.boot
            elif node.swim is not None and self.pinned.get(node.uid) != node.boot:
                self.publish()  # its agent can't report yet
        roster = self._make_roster(self.roster.epoch + 1)
        if roster.members == self.roster.members:
            return
        self.roster = roster
        for node in self.nodes:
            self._fetch(node)

    def _make_roster(self, epoch: int) -> Roster:
        return Roster(
            epoch,
            "simulated",
            b"salt" + self.seed.to_bytes(8, "big"),
            tuple(self._member(node) for node in self.nodes if node.uid in self.pinned),
        )

    def _member(self, node: Node) -> Member:
        boot = self.pinned[node.uid]
        _, public = self.make_crypto(node.name, boot)
        return Member(
            *(node.name, node.uid, boot_id(node.name, boot), (node.address,), node.zone, public),
            networks=tuple(sorted(node.networks.items())),
        )

    def _fetch(self, node: Node) -> None:
        if node.swim is not None and not node.api:
            self.later(0.05 + self.dice.random() * 0.5, self._install, (node, node.process))

    def _install(self, what: tuple[Node, int]) -> None:
        node, process = what
        if node.process != process or node.swim is None or node.api:
            return
        if node.frozen:
            self.later(0.1, self._install, what)
            return
        if node.disk is None:
            node.calm_since = max(node.calm_since, self.now)
        self._take_roster(node, node.swim, self.roster)

    def _take_roster(self, node: Node, swim: Swim, roster: Roster) -> None:
        if node.disk is None or roster.epoch > node.disk.epoch:
            node.disk = roster
        if swim.install(roster, node.clock(self.now)):
            self._note(node, f"roster {roster.epoch}")
            self._settle(node)

    def _ask_for_roster(self, node: Node, address: str) -> None:
        """Over TCP; where the first packet is lost in either direction the machine asks again in time."""
        target, network = self._by_address.get(address, _NOBODY)
        if target is not None:
            for there in self.links.delays(node.index, target.index, SYN_BYTES, network)[:1]:
                self.later(there, self._asked_for_roster, (node, node.process, target))

    def _asked_for_roster(self, question: tuple[Node, int, Node]) -> None:
        node, process, target = question
        if target.swim is not None and target.swim.roster is not None and target.listens:
            for back in self.links.delays(target.index, node.index, SYN_BYTES)[:1]:
                self.later(back, self._told_roster, (node, process, target.swim.roster))

    def _told_roster(self, answer: tuple[Node, int, Roster]) -> None:
        node, process, roster = answer
        if node.swim is not None and node.process == process and node.listens:
            self._take_roster(node, node.swim, roster)

    # -- carrying -----------------------------------------------------------------------------------------------

    def _work(self, node: Node) -> None:
        """One turn of the process' loop, with whatever waits for it."""
        swim = node.swim
        if swim is None or node.frozen or not node.kernel:
            return
        clock = node.clock(self.now)
        deadline = swim.next_deadline()
        if deadline is not None and clock - deadline > LATE:
            node.late_until = self.now + RECOVERY
        if node.backlog:
            backlog, node.backlog = node.backlog, []
            for datagram, address, at in backlog:
                self.events += 1
                swim.receive(datagram, address, clock, at=at)
            node.received += len(backlog)
            self._settle(node)
            deadline = swim.next_deadline()
        if deadline is not None and deadline <= clock:
            self.events += 1
            swim.handle_timer(clock)
        self._settle(node)
        answers, node.kernel_answers = node.kernel_answers, []
        for uid, network in answers:
            self.events += 1
            swim.kernel_answered(uid, clock, network)
        if answers:
            self._settle(node)

    def _wake(self, node: Node) -> None:
        if node.wake_at != self.now:
            return  # another wake-up has taken its place
        node.wake_at = math.inf
        swim = node.swim
        if swim is None or node.frozen or not node.kernel:
            return
        deadline = swim.next_deadline()
        if deadline is None:
            return
        if node.world_time(deadline) <= self.now:
            if self._trace is not None:
                self._note(node, "timer")
            self.events += 1
            swim.handle_timer(max(deadline, node.clock(self.now)))  # the two may differ in the last bit
            self._settle(node)
        else:
            self._arm(node, deadline)

    def _settle(self, node: Node) -> None:
        swim = node.swim
        assert swim is not None
        while (event := swim.next_event()) is not None:
            self._act(node, event)
        for datagram, address in swim.datagrams_to_send(node.clock(self.now)):
            self.send(node, datagram, address)
        if self.witness is not None:
            self.witness.worked(node)
            if swim.version != node.version:
                node.version = swim.version
                self.witness.changed(node)
        deadline = swim.next_deadline()
        if deadline is not None and node.world_time(deadline) < node.wake_at:
            self._arm(node, deadline)

    def _arm(self, node: Node, deadline: float) -> None:
        at = max(self.now, node.world_time(deadline))
        if at < node.wake_at and at != math.inf:
            node.wake_at = at
            self._sequence += 1
            heapq.heappush(self._heap, (at, self._sequence, self._wake, node))

    def _act(self, node: Node, event: Event) -> None:
        match event:
            case KernelProbe():
                self._probe_kernel(node, event)
            case NetworkChanged(subject, network, dead, sentence):
                if self._trace is not None:
                    word = "dead" if dead else "alive"
                    self._note(node, f"{subject}: {network} {word} ({sentence})")
            case StateChanged(subject, old, new, sentence):
                if self._trace is not None:
                    self._note(node, f"{subject}: {old} -> {new} ({sentence})")
                if self.witness is not None:
                    self.witness.state_changed(node, event)
            case PathLost(subject):
                self._note(node, f"{subject} answers only others")
            case AwarenessChanged(isolated):
                self._note(node, "cut off" if isolated else "among the others again")
            case RosterWanted(_, address):
                self._ask_for_roster(node, address)

    def send(self, node: Node, datagram: bytes, address: str) -> None:
        """Put one datagram of this node's on its way to this address."""
        node.sent += 1
        node.sent_bytes += len(datagram)
        for sniffer in self.sniffers:
            sniffer(node, datagram, address)
        target, network = self._by_address.get(address, _NOBODY)
        if target is None:
            return
        for delay in self.links.delays(node.index, target.index, len(datagram), network):
            self._sequence += 1
            packet = (target, datagram, node, node.on(network))
            heapq.heappush(self._heap, (self.now + delay, self._sequence, self._arrive, packet))

    def inject(self, target: Node, datagram: bytes, address: str) -> None:
        """A datagram by somebody who is none of the nodes."""
        self._take(target, datagram, address)

    def _arrive(self, packet: tuple[Node, bytes, Node, str]) -> None:
        target, datagram, source, address = packet
        if self.witness is not None and target.swim is not None and not target.frozen:
            self.witness.heard(target, source.index)
        if not self.group.generation or target.swim is None:
            self._take(target, datagram, address)
            return
        unknown = target.swim.stats["drop unknown key"]
        self._take(target, datagram, address)
        if target.swim.stats["drop unknown key"] > unknown and self.witness is not None:
            self.witness.unopened(target, source)

    def _take(self, node: Node, datagram: bytes, address: str) -> None:
        swim = node.swim
        if swim is None or node.suspended:
            return
        if node.frozen:
            if len(node.backlog) < BACKLOG:
                node.backlog.append((datagram, address, node.clock(self.now)))
            return
        if self._trace is not None:
            digest = hashlib.blake2b(datagram, digest_size=6).hexdigest()
            self._note(node, f"<- {address} {len(datagram)} {digest}")
        self.events += 1
        node.received += 1
        swim.receive(datagram, address, node.clock(self.now))
        self._settle(node)

    def _probe_kernel(self, node: Node, probe: KernelProbe) -> None:
        target, network = self._by_address.get(probe.address, _NOBODY)
        if target is None:
            return
        for _port in range(2):
            self.kernel_probes += 1
            for there in self.links.delays(node.index, target.index, SYN_BYTES, network)[:1]:
                self.later(there, self._kernel_asked, (node, node.process, target, probe))

    def _kernel_asked(self, question: tuple[Node, int, Node, KernelProbe]) -> None:
        node, process, target, probe = question
        if target.kernel and not target.suspended:
            for back in self.links.delays(target.index, node.index, SYN_BYTES, probe.network)[:1]:
                self.later(back, self._kernel_answered, (node, process, probe))

    def _kernel_answered(self, answer: tuple[Node, int, KernelProbe]) -> None:
        node, process, probe = answer
        swim = node.swim
        if swim is None or node.process != process or node.suspended:
            return
        if node.frozen:
            node.kernel_answers.append((probe.uid, probe.network))
            return
        if self._trace is not None:
            self._note(node, f"kernel of {probe.uid} answers on {probe.network}")
        self.events += 1
        swim.kernel_answered(probe.uid, node.clock(self.now), probe.network)
        self._settle(node)

    def _notice(self, what: tuple[Node, int, float]) -> None:
        node, process, slept = what
        if node.swim is not None and node.process == process and not node.frozen:
            node.swim.impair(slept, node.clock(self.now))
            if slept > LATE:
                node.late_until = self.now + RECOVERY

    def _note(self, node: Node, text: str) -> None:
        if self._trace is not None:
            self._trace(f"{self.now:.9f} {node.name} {text}")
