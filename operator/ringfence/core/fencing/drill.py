"""The off/on drill: the one way to prove which machine a device cuts that can't say so itself.

A person asks for it, on a node that is empty and cordoned. The device switches the node off, it is read as off, switched
on, and comes back with another boot id, while every other node keeps its own: then this device cuts exactly this node
(DESIGN §3). What was proved is the *outlet* as declared, the machine (its ``systemUUID``) and what the device said of
itself: with any of them changed the drill is void.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ringfence.core.model import Mode


@dataclass(frozen=True, slots=True)
class Drilled:
    """A drill that was passed."""

    outlet: str
    """The fingerprint of the outlet as it was declared."""
    node_uuid: str
    device_uuid: str
    """What the device said it stands before; empty where it says nothing."""


@dataclass(frozen=True, slots=True)
class DrillFacts:
    """What is asked before a node is switched off on purpose."""

    device: str
    node: str
    cuts: bool
    """Whether the device is declared for the node and has power to switch."""
    objection: str | None
    """Why the device is never used for it."""
    mode: Mode
    known: bool
    ready: bool
    cordoned: bool
    guests: tuple[str, ...]
    """VMs that run on it, as namespace/name."""
    incidents: tuple[str, ...]
    """Nodes with an open Failover."""
    leader_here: bool


def refusal(facts: DrillFacts) -> str | None:
    """Why the node is not switched off, with the mend; None: go."""
    node = facts.node
    if not facts.cuts:
        return f"{facts.device} has no power of {node} to switch: name a node of its spec.nodes"
    if facts.objection is not None:
        return facts.objection
    if facts.mode is not Mode.ACTIVE:
        return f"HACluster mode is {facts.mode}: nothing is switched off, set it to Active"
    if not facts.known:
        return f"there is no node {node}: correct the name"
    if facts.incidents:
        return f"{', '.join(facts.incidents)} is being failed over: wait until that is over"
    if not facts.ready:
        return f"{node} is not Ready: a drill wants a healthy node"
    if not facts.cordoned:
        return f"{node} takes new pods: drain it first, kubectl drain {node}"
    if facts.guests:
        return f"{', '.join(facts.guests[:5])} runs on {node}: drain it first, kubectl drain {node}"
    if facts.leader_here:
        return f"the controller that acts runs on {node}: delete its pod, so that another one leads"
    return None


def shortfall(node: str, before: Mapping[str, str], after: Mapping[str, str]) -> str | None:
    """Why these boot ids (by node, before and after) don't prove that exactly this node was cut; None: they do."""
    if not before.get(node) or not after.get(node) or after[node] == before[node]:
        return f"{node} did not come back with another boot id"
    others = sorted(n for n, boot in after.items() if n != node and n in before and boot != before[n])
    if others:
        return f"{', '.join(others)} rebooted too: it is not certain whom the device cuts"
    return None
