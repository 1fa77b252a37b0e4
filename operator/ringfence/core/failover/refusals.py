"""What each limit means and what a person can do about it: for the page of refusals, and for whoever explains a held failover.

A limit says its reason as a sentence about one node; here stands what is the same for all. ``of`` finds the entry again by
the sentence, so that what is stored needs no second name for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ringfence.core.failover import limits

GAP = "…"
"""Stands in a sentence for what is another each time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One limit, for people."""

    name: str
    """In one word, for programs."""
    says: tuple[str, ...]
    """Its sentences, with gaps."""
    why: str
    mend: str
    """What to do, beside waiting for its end."""

    def fits(self, sentence: str) -> bool:
        """Whether the limit has said this."""
        return any(_pattern(shape).fullmatch(sentence) for shape in self.says)

    @property
    def limit(self) -> limits.Limit:
        return next(limit for limit in limits.LIMITS if REFUSALS[limit.__name__] is self)

    @property
    def releasable(self) -> bool:
        """Whether a person's leave overrules it."""
        return self.limit in limits.RELEASABLE

    @property
    def binds_found_off(self) -> bool:
        """Whether it holds a node that was read as off without an order."""
        return self.limit not in limits.FOUND_OFF_EXEMPT


def _pattern(shape: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in shape.split(GAP)), re.DOTALL)


def of(sentence: str) -> Refusal | None:
    """The limit that has said this; None for a sentence of another release."""
    return next((one for one in REFUSALS.values() if one.fits(sentence)), None)


REFUSALS: Mapping[str, Refusal] = MappingProxyType(
    {
        "maintained": Refusal(
            "InMaintenance",
            ("… is in maintenance (…)",),
            "A NodeMaintenance names the node: whatever becomes of it meanwhile is planned.",
            "Delete the NodeMaintenance when the work is done (`kubectl get nodemaintenances`); to have the VMs run elsewhere"
            " now, drain the node.",
        ),
        "paused": Refusal(
            "NotActive",
            ("HACluster mode is …: nothing is fenced",),
            "The cluster's mode says how far ringfence may go, and this one doesn't let it begin anything.",
            '`kubectl patch hacluster default --type merge -p \'{"spec":{"mode":"Active"}}\'`',
        ),
        "not_writable": Refusal(
            "NotWritable",
            ("the API server does not take our writes",),
            "What can't be stored is not done: another leader would not know of it.",
            "See to the API server and to etcd; nothing is lost meanwhile.",
        ),
        "not_settled": Refusal(
            "NotSettled",
            ("this controller has been watching for less than … s",),
            "A controller that has just started has seen too little to judge anybody.",
            "Nothing: it ends within seconds. If it comes back again and again, see why the controller restarts.",
        ),
        "cache_too_old": Refusal(
            "ViewTooOld",
            ("the view of the cluster is more than … s old",),
            "Where the VMs run and who is ready is known from watches, and one of them has brought nothing for too long.",
            "See to the API server, and to the network between it and the controller; a restart of the controller begins anew.",
        ),
        "roster_in_doubt": Refusal(
            "RosterInDoubt",
            ("agents go by a newer roster than this controller: it is not sure who the members are",),
            "The majority is counted by the roster, and the agents have one that this controller has not read.",
            "Nothing: it reads it within seconds. If not, it can't read the ConfigMap `ringfence-roster`: see its log.",
        ),
        "no_zone": Refusal(
            "NotInZone",
            ("… is in no enabled HAZone", "… is in more than one HAZone: …"),
            "Only a zone says how a node may be fenced; a node in two is in none, since nobody can say which of them is meant.",
            "Put the node into `spec.nodes` of exactly one HAZone with `enabled: true`.",
        ),
        "nothing_protected": Refusal(
            "NothingProtected",
            ("no protected VM runs on …: it is not fenced",),
            "A node is fenced for its VMs' sake, never for its own.",
            "Make a ProtectedVM for each VM that has to survive its node.",
        ),
        "own_node": Refusal(
            "OwnNode",
            ("the acting controller runs on … itself: another must judge it, if one takes the lead",),
            "Whoever runs on a node knows that it runs: what it believes of that node is wrong.",
            "Nothing: another replica takes over. Keep two or more, on different nodes.",
        ),
        "forgotten": Refusal(
            "OrderForgotten",
            (
                "… bears the taint of Failover …, which was deleted while nobody watched: an order of it may be at work",
            ),
            "Somebody has deleted the Failover of a node that may have been ordered off, and no controller ran that could have"
            " seen it. What is on record nowhere is not ordered beside.",
            "Nothing: it ends when such an order could do nothing any more, twelve seconds or a little longer after a controller"
            " was there again. What else that incident had begun is not known any more: see"
            " [what is left then](what-if-ringfence-itself-fails.md#a-failover-is-deleted-while-it-is-open).",
        ),
        "going_away": Refusal(
            "GoesOnPurpose",
            ("… goes away on purpose (…): it has … s to come back",),
            "It was announced before the node fell silent: its operating system shuts down, a tool reboots or deletes it, or it"
            " is being drained.",
            "If it will not come back: `ringfence failover release NAME`. If the mark is an old one, take it off the Node. The"
            " time is `spec.shutdownGraceSeconds` of the HACluster.",
        ),
        "minority": Refusal(
            "Minority",
            ("our side is the minority: it sees … of … nodes alive",),
            "Most nodes are not heard on this controller's side: as likely as not it is this side that was cut off.",
            "Mend the network between the nodes. If most nodes are really off, switch them on, or"
            " [confirm by hand](command-line.md#confirming-a-fence-by-hand) once this side is the larger one again.",
        ),
        "whole_zone": Refusal(
            "ZoneGone",
            (
                "zone … is gone as a whole (…), and no node of another zone is alive that its VMs could go to",
                "zone … is gone as a whole (…), and no device cuts …'s power",
                "zone … is gone as a whole (…): it is looked at for … s before anybody is ordered off",
                "zone … is gone as a whole (…): one at a time, after …",
            ),
            "All nodes of a zone at once are as likely cut off as dead. It is one decision, after a longer look: they go one after"
            " the other, to another zone, or none goes.",
            "Mend what the zone's nodes have in common (a switch, the room's power). If the zone is lost:"
            " `ringfence failover release NAME`, node by node.",
        ),
        "storm": Refusal(
            "Storm",
            ("too many nodes of zone … are down at once: … (at most … of …)",),
            "So many nodes don't die at once: a switch does, or a storage, and fencing them would make an outage of it.",
            "Mend what they have in common. If they are really lost: `ringfence failover release NAME`. How many are too many is"
            " `spec.stormFraction` of the HACluster.",
        ),
        "after_storm": Refusal(
            "AfterStorm",
            ("too many nodes of zone … were down at once: one at a time, after …",),
            "No more nodes are down than may be, but more were: what made them silent may yet come to an end. Those that the"
            " storm has held are fenced one after the other, each when the fence of the one before is over or was in vain.",
            "Nothing: its turn comes within seconds, or within a minute or two where watchdogs are counted out. If they are really"
            " lost: `ringfence failover release NAME`.",
        ),
        "half": Refusal(
            "ExactlyHalf",
            (
                "our side sees exactly half of the nodes (…) and no device cuts power",
                "our side sees exactly half of the nodes (…): one at a time, after …",
            ),
            "The other half has the same right. Whoever holds the leader's Lease goes first, by devices that cut, on one node"
            " after the other.",
            "Give the nodes a power device, or the cluster an odd number of nodes; else wait for the node that is named.",
        ),
        "storage_gone": Refusal(
            "StorageGone",
            (
                "no node of zone … writes its slot any more: the storage is gone for all, and no VM would start elsewhere",
            ),
            "An outage of the storage is nobody's death. VMs wait for their disks, and would find none elsewhere.",
            "Bring the storage back. If only the heartbeat volume is lost: `ringfence failover release NAME`, or take it out of"
            " the zone (`spec.storage.heartbeat`).",
        ),
        "flapping": Refusal(
            "Flapping",
            ("… flaps: … incidents within … min, and so it is in quarantine",),
            "It was found down, and came back, again and again: one more fence mends nothing. No new VM comes to it.",
            "Move its VMs (`kubectl drain`) and look at the machine, its cable and its switch. To have it fenced all the same:"
            " `ringfence failover release NAME`.",
        ),
        "somebody_acts": Refusal(
            "AnotherActs",
            ("… acts on …: it holds the Lease … until it gives that back or lets it expire; …",),
            "Another remediator has taken the node's Lease: two that switch it off and on undo each other's work.",
            "Wait, or end the other's work; its Lease expires by itself.",
        ),
    }
)
"""By the names of the limits, in the order in which they are asked."""
