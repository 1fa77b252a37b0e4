"""A change of the group keys, as a controller and kubelets make it: `core.gossip.keys` by what has been reported.

The Secret, the mounts and the reports are simulated; which step is due and who is waited for is decided by the product's
own code. A kubelet brings a changed Secret to its node after up to ``delay`` seconds, each after a time of its own, when
the API server can be reached; the agent looks at it once a second, and reports what it goes by.
"""

from __future__ import annotations

import random
from collections.abc import Collection

from ringfence.core.gossip.keys import Holder, KeySet, advance, excuse
from ringfence.core.gossip.wire import Header, Ping, boot_bytes, encode, tag_of
from ringfence.core.model import Verdict
from simulator.node import Node
from simulator.world import World, boot_id

_TURN = 0.25
"""Seconds between two looks of the leader."""
_LOOK = 1.0
"""The agent looks at its mounted keys so often."""
_REPORTED = 0.5
"""A report reaches the API server within so many seconds."""
_RETRY = 0.5
LATE = 6.0
"""So many seconds longer a kubelet may take at a node that nobody waits for."""
_FOR_THIEVES = 3
"""So many nodes are tried with each removed key, by each node that has let go of it."""


class Rotation:
    """One change of the keys, until the end of the play."""

    def __init__(self, world: World, late: Collection[Node], delay: float, dice: random.Random) -> None:
        self._world = world
        self._late = late
        self._delay = delay
        self._dice = dice
        self._wanted = world.group.generation + 1
        self._ill = {node.name: False for node in late}
        for node in world.nodes:
            if node.swim is not None:
                world.report_keys(node)
        self._turn(None)

    def _turn(self, _: None) -> None:
        world = self._world
        holders = [self._holder(node) for node in world.nodes]
        keys = advance(world.group, self._wanted, holders, self._dice.randbytes(32))
        if keys != world.group:
            world.change_group(keys, {one.node for one in holders if one.excuse})
            for node in world.nodes:
                late = LATE * self._dice.random() if node in self._late else 0.0
                world.later(self._delay * self._dice.random() + late, self._mount, node)
                self._care_for(node)
        world.later(_TURN, self._turn)

    def _holder(self, node: Node) -> Holder:
        keys = node.reported[1] if node.reported is not None and node.reported[0] == node.boot else None
        verdict = Verdict.HEALTHY if node.kernel else Verdict.DOWN
        return Holder(
            node.name,
            held=None if keys is None else frozenset(keys.ids),
            used=None if keys is None else keys.used,
            verdict=verdict,
            excuse=excuse(
                named=node in self._late,
                verdict=verdict,
                reported=keys is not None,
                heard=node.swim is not None,
            ),
        )

    def _mount(self, node: Node) -> None:
        if not node.kernel:
            return  # its next boot mounts afresh
        if node.api or node.suspended:
            self._world.later(_RETRY, self._mount, node)
            return
        node.mounted = self._world.group
        self._world.later(_LOOK * self._dice.random(), self._look, (node, node.process))

    def _look(self, what: tuple[Node, int]) -> None:
        node, process = what
        if node.process != process or node.swim is None:
            return  # the next process begins by what is mounted
        if node.frozen:
            self._world.later(_RETRY / 5, self._look, what)
            return
        before = node.keys
        self._world.rekey(node)
        self._care_for(node)
        gone = KeySet(tuple(key for key in before.keys if key not in node.keys.keys), before.used)
        if gone.keys:
            self._world.later(_REPORTED * self._dice.random(), self._try_removed, (node, gone))

    def _care_for(self, node: Node) -> None:
        """A late node is ill until it has what the others have."""
        ill = self._ill.get(node.name)
        behind = node.keys != self._world.group
        if ill is None or ill is behind:
            return
        self._ill[node.name] = behind
        (self._world.trouble if behind else self._world.relieve)(node)

    def _try_removed(self, what: tuple[Node, KeySet]) -> None:
        """A thief has the key that was removed, and speaks by it in the name of some members."""
        node, gone = what
        world = self._world
        for key in gone.keys:
            for source in self._dice.sample(world.nodes, min(_FOR_THIEVES, len(world.nodes))):
                if source is node or not node.listens or key in node.keys.keys:
                    continue
                crypto, _ = world.make_crypto(source.name, source.boot)
                crypto.rekey(KeySet((key,), key.id))
                boot = boot_bytes(boot_id(source.name, source.boot))
                counter = world.first_counter(source) + 2**40
                header = Header(tag_of(source.uid), boot, counter, key.id).encode()
                body = encode(Ping(self._dice.getrandbits(63)), world.roster.epoch & 0xFFFF_FFFF)
                sealed = crypto.seal(source.uid, boot, counter, header + tag_of(node.uid), body)
                world.inject_removed(node, header + sealed, source.address)
