"""The page of refusals, made from the limits and from what stands here of conditions: ``python -m publish.refusals > docs/every-refusal.md``."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from ringfence.core.failover import intent
from ringfence.core.failover.refusals import REFUSALS

MADE = "<!-- Made by `python -m publish.refusals`; edit operator/ringfence/core/failover/refusals.py or publish/refusals.py, not this. -->"

ZONES: Mapping[str, str] = {
    "Disabled": "Set `spec.enabled: true` when the zone is to be watched.",
    "NodeInTwoZones": "Take the node out of one of the zones that are named: until then none acts on it.",
    "FenceDeviceNotFound": "Make the FenceDevice that is named, or correct `spec.fencing.levels`.",
    "NoNodes": "Correct `spec.nodes`: by names, or by labels that nodes have.",
    "NodeNotFound": "Correct the name in `spec.nodes.names`, or take it out.",
    "NoFenceDevice": "Make a FenceDevice that names the node and stands in a level: [choose a fence](choosing-a-fence.md). Until"
    " then a person confirms.",
    "HeartbeatNotSeen": "Set `slots.enabled` and `slots.volume` in the chart, or correct `spec.storage.heartbeat.volume`.",
    "HeartbeatTooSlow": "Lower the chart's `slots.intervalSeconds`, or raise `spec.storage.heartbeat.intervalSeconds`.",
    "GuestsNotStopped": "Set `slots.stopGuests` in the chart, or take `spec.storage.heartbeat.stopGuests` away.",
    "StorageGone": "Bring the storage back: no node writes its slot any more, and nobody is fenced for it.",
}
"""HAZone, condition Ready: reason and mend."""

DEVICES: Mapping[str, str] = {
    "NotProvedYet": "Nothing: it is looked at within a minute.",
    "Manual": "Nothing: a person confirms each fence.",
    "WatchdogNotArmed": "See the NodeReport of the node that is named: it says why its watchdog isn't armed"
    " ([watchdogs](fence-by-watchdog.md)).",
    "SecretNotFound": "Make the Secret in ringfence's namespace.",
    "SecretKeyNotFound": "Add the key to the Secret.",
    "SecretInvalid": "Write the Secret's value as one line of text.",
    "Misconfigured": "Correct the field that the message names.",
    "Unauthorized": "Correct user and password in the Secret; see that the BMC has not locked the account.",
    "RefusedByDevice": "Give the BMC's account the right to switch power: the message is the device's own.",
    "TooLate": "Nothing: the device answered after its time was over, and is asked again. If it stays, see why it is slow.",
    "Unreachable": "See to the address, the network to the BMCs, and their certificates.",
    "IdentityUnproved": "Run a drill: `ringfence fence drill DEVICE NODE` ([why](choosing-a-fence.md)).",
    "IdentityMismatch": "The device stands before another machine: correct the address or the node.",
    "IdentityShared": "Two nodes say that they are one machine: correct the systemUUID in their firmware, or run a drill.",
    "AddressNotAllowed": "Take the address into the zone's `allowedAddresses`, or correct it.",
    "OutletShared": "Two nodes name one outlet: correct the plug of one of them.",
    "CaughtLying": "See to the device, then drill it when its node is well and empty: `ringfence fence drill DEVICE NODE`"
    " ([why](what-if-my-bmc-lies.md)).",
    "FenceStands": "The storage still shuts the node out, and no incident is open: [lift it](fence-by-storage.md).",
}
"""FenceDevice, condition Ready: reason and mend."""

POLICIES: Mapping[str, str] = {
    "Overlap": "Narrow one of the selectors, or give the VM a ProtectedVM of its own: that goes before both ([how](many-vms-at-once.md)).",
    "NameTaken": "A policy's ProtectedVM has its VM's name: rename or delete the one that has it and names another VM.",
    "NothingSelected": "Label the VMs (`kubectl label vm NAME KEY=VALUE`: the VM, not its template), or correct `spec.selector`.",
    "Applying": "Wait: fifty are written a second.",
    "NotWritten": "The message is the API server's: a quota, a webhook, or a right that the chart's upgrade would give. It is tried again, with pauses.",
}
"""HAPolicy, condition Ready: reason and mend."""

KEYS: Mapping[str, str] = {
    "Installing": "Wait for the agents that the message names, or leave them out: [change the keys](rotate-the-keys.md).",
    "Using": "The same.",
    "Removing": "The same.",
    "KeysUnreadable": "Restore the Secret `ringfence-group-keys`, or delete it: the controller makes a new one.",
    "KeysNotWritten": "See why the API server refuses to write the Secret `ringfence-group-keys`.",
}
"""HACluster, condition KeysSettled: reason and mend."""

ROSTER_KEY: Mapping[str, str] = {
    "AgentsGoByAnotherKey": "Find out why the key changed, then restart the agents, as the message says: [the roster's key](rotate-the-keys.md#the-rosters-key).",
    "SecretHasAnotherKey": "Somebody has replaced the Secret `ringfence-gossip`. Delete it and the leader writes it again as it was; if it was meant, restart all.",
    "SecretNotWritten": "See why the API server refuses; until it is written, don't restart the controllers.",
}
"""HACluster, condition RosterTrusted: reason and mend."""

MAINTENANCES: Mapping[str, str] = {
    "NodeNotFound": "Correct the name in `spec.nodes`: a name that is no node's keeps nobody from being fenced.",
}
"""NodeMaintenance, condition InForce: reason and mend."""


def page() -> str:
    """The whole page."""
    lines = [
        MADE,
        "# Every refusal and what to do",
        "",
        "ringfence says each refusal in one sentence, and the same one everywhere: in the log, as an Event, in `ringfence explain NODE`. Find",
        "it here. `…` stands for what is another each time.",
        "",
        "## A failover is held",
        "",
        "A node is down, and it is not fenced. The limits are asked in this order, and the first that holds is told. Each ends by",
        "itself when its reason does, and the failover goes on; where it says *may be released*, `ringfence failover release NAME` (with",
        "the name of the node or of the Failover) lets a person overrule it. A node that its device reads as off without an order is dead",
        "whoever looks: the limits marked *not if found off* don't hold it.",
        "",
    ]
    for one in REFUSALS.values():
        notes = [
            *(["may be released"] if one.releasable else []),
            *([] if one.binds_found_off else ["not if found off"]),
        ]
        lines += [
            f"### {one.name}",
            "",
            *(f"> {shape}" + "<br>" for shape in one.says[:-1]),
            f"> {one.says[-1]}",
        ]
        lines += [
            "",
            one.why,
            "",
            f"**What to do.** {one.mend}" + (f" *({', '.join(notes)})*" if notes else ""),
            "",
        ]
    lines += [
        "#### What counts as taken away on purpose",
        "",
        "A mark counts if it was there before the node fell silent; what comes after answers the failure, and is no reason for it. A",
        "bare cordon is none: nodes stay cordoned for weeks, and their power fails too.",
        "",
        "| on the Node | who takes it away |",
        "|---|---|",
        f"| condition `Ready=False`, *node is shutting down* (needs `shutdownGracePeriod` in the kubelet's settings) | {intent.SHUTTING_DOWN} |",
        *(
            f"| annotation `{key}`{f'={value}' if value else ''} | {who} |"
            for key, (value, who) in intent.ANNOTATIONS.items()
        ),
        *(f"| taint `{key}` | {who} |" for key, who in intent.TAINTS.items()),
        f"| `metadata.deletionTimestamp` | {intent.DELETED} |",
        f"| cordoned, and KubeVirt is asked to move a VM off it | {intent.DRAINED} |",
        "",
        "kured writes its annotation with `--annotate-nodes` only.",
        "",
        "## A VM is not protected",
        "",
        "The condition `Protected` of its ProtectedVM says so before anything happens: [its reasons](why-was-my-vm-not-restarted.md#the-vm-was-not-protected).",
        "",
        "## Nobody is accused",
        "",
        "A node that looks dead to you and not to ringfence: [every verdict and why](every-verdict.md).",
    ]
    for title, reasons in (
        ("A HAZone is not ready", ZONES),
        ("A FenceDevice is not ready", DEVICES),
        ("A HAPolicy is not ready", POLICIES),
        ("A NodeMaintenance is not in force", MAINTENANCES),
        ("The ring's keys are not settled", KEYS),
        ("The roster's key is not everybody's", ROSTER_KEY),
    ):
        lines += ["", f"## {title}", "", "| reason | what to do |", "|---|---|"]
        lines += [f"| `{reason}` | {mend} |" for reason, mend in reasons.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
