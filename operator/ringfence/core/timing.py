"""Every time-out of the controller's side, with the inequality that makes it safe. All in seconds.

The detector's own periods live beside its machine in :mod:`ringfence.core.gossip`.
"""

from __future__ import annotations

# --- the leader's Lease -------------------------------------------------------------------------------------
LEASE_DURATION = 4.0
LEASE_RENEW = 1.0
LEASE_RETRY = 0.5
LEASE_GIVE_WAY = 10.0
"""A candidate that sees no majority leaves a free Lease to others for so long."""
LEASE_UNABLE = 5.0
"""A leader that has seen no majority for so long gives the Lease back, once."""
ORDER_MARGIN = 0.5
"""An order may be *sent* until ``ORDER_MARGIN`` before the Lease could pass to another (DESIGN §3)."""
STANDS_DOWN = 0.25
"""Before the Lease is given back, what waits to be sent is ended; what hangs while it ends is waited for no longer."""
CLOCK_RATE_BOUND = 1e-3
"""How much faster one machine's clock may run than another's."""
assert LEASE_RENEW + 2 * LEASE_RETRY < LEASE_DURATION - ORDER_MARGIN
assert LEASE_DURATION * CLOCK_RATE_BOUND < ORDER_MARGIN
assert STANDS_DOWN < LEASE_RENEW, "time is left for the write that gives it back"

# --- evidence ---------------------------------------------------------------------------------------------
VIEW_FRESH = 2.0
"""An agent's view counts for "own side" this long."""
VIEW_SPEAKS = 1.0
"""An agent whose last view is no older than two pushes speaks to us now."""
UNDOUBTED = 5.0
"""In a ring too large for everybody to observe everybody: a member of which our agents have heard no ill for so long is
alive. More than the 3 s for which they keep a verdict that nobody renews."""
ROUND_FRESH = 3.0
"""Votes of a corroboration round count this long; while a node is unreachable the ring renews them every second."""
LOOK_EVERY = 0.5
"""Pause between a controller's own questions to the agent of a node that the ring calls unreachable."""
KUBELET_LEASE_VALID = 20.0
"""A kubelet renews every 10 s: one renewal vetoes ``Down`` for two periods."""
AGENT_LEASE_VALID = 11.0
"""An agent renews every 5 s, every second while it hears nobody."""
HEARTBEAT_VALID = 150.0
"""virt-handler's heartbeat comes every 60-132 s."""
HEARD_FRESH = 10.0
"""No person's word that a node is off is taken so soon after it was heard, or its kernel answered."""
HUNG_LEASE_AGE = 40.0
HUNG_HEARTBEAT_AGE = 180.0
"""A node whose kernel answers and whose agent, kubelet and virt-handler have all been silent for so long hangs."""
HUNG_HOLD = 60.0
"""How much longer than a dead node one that hangs is looked at before its zone's policy has it fenced: it may go on yet."""
CONTROL_PATH_LOST_AFTER = 40.0
"""Age of the kubelet's Lease from which a node that the ring hears has lost its control path."""
SINGLE_VOTER_LEASE_AGE = 20.0
"""With one eligible voter the kubelet's Lease must be this old as well (DESIGN §3, small clusters)."""
SLOT_LOOK = 0.5
"""Seconds between two looks of a heartbeat process at the others' slots, while a controller listens to it."""
STORAGE_LOST_AFTER = 10.0
"""Silence of its storage slot from which a node that the ring hears has lost its storage (a restarted process takes less)."""
SETTLE = 3.0
"""A controller that has just started judges nobody for so long after its caches and streams are up."""

SECOND_SET_HOLD = 3.0
"""How much longer a verdict is held that the second set of observers made: many nodes died at once (GOSSIP §11)."""

ZONE_HOLD = 30.0
"""How long a whole zone that is gone is looked at before the first of its nodes is ordered off (GOSSIP §7)."""

# --- hold and fence -----------------------------------------------------------------------------------------
READ_SPACING = 0.3
"""``off`` must be read twice, this far apart."""
READ_FRESH = 5.0
"""Two readings make a pair only if they are no further apart than this."""
ORDER_EFFECT = 10.0
"""How long after its sending an order may still take effect; until then nobody powers the node on or orders again."""
ORDER_SENT_WITHIN = 2.0
"""Seconds from its decision after which an order is not sent any more: what it was decided by is old then. On record it may take
effect for so much longer, since whoever reads that doesn't know when it was sent. Time for one write of the Failover (a leader
whose writes take a second loses its Lease, :data:`LEASE_RENEW`) and for one handshake with a slow BMC."""
ORDER_TRIES = 2
"""Orders to one device before the ladder goes on to the next level."""
LADDER_BACKOFF = (10.0, 20.0, 40.0, 60.0)
"""Pauses between whole passes of the ladder."""
FOUND_OFF_BLACKOUT = 120.0
"""After a device called the node ``off`` without our order, no order goes to it for so long (DESIGN §3)."""
POWER_ON_TRIES = 5
POWER_ON_SPACING = 30.0
HEARD_GAP = 2.0
"""Packets of a node that come no further apart than this are one row. Its peers probe it once a second."""
LIE_SURE = 3.0
"""Seconds on end for which a device has to call a node off that is heard all the while, before it is taken for a liar
(:mod:`ringfence.core.failover.lies`)."""
assert READ_SPACING < READ_FRESH
assert HEARD_GAP < LIE_SURE, "packets that came late, and are told in one go, must not be enough"
assert LEASE_RENEW < ORDER_SENT_WITHIN < LEASE_DURATION - ORDER_MARGIN

NODE_LEASE_DURATION = 60.0
"""For so long the Lease ``node-<name>`` stays ours without a renewal: a controller that dies holds nobody up for longer."""
NODE_LEASE_RENEW = 20.0
NODE_LEASE_WAIT = 3.0
"""A fence waits so long for that Lease, from when it is first asked for: at the start of the hold, so a second at the usual hold."""

STORE_SETTLES = 180.0
"""For so long nothing is done after the cluster's store was set back: kubelets end the guests that it doesn't know (a launcher
has 30 s of grace, and longer where its VM says so), and everybody writes into it what is true."""

# --- the watchdog's self-fence --------------------------------------------------------------------------------
FEED_EVERY = 1.0
"""A feeder looks at the legs, and feeds, this often."""
SELF_FENCE_MARGIN = 5.0
"""On top of isolation and time-out: a feeding that came late (:data:`FEED_LATE`), a timer that counts whole seconds
(2 s), a reset that takes its time and lets the last write of a device through (2 s)."""
FEED_LATE = 1.0
"""A feeding that ended later than this after the last instant at which it was right is made good at once."""
GUESTS_BEFORE = 3.0
"""Seconds before the watchdog bites at which the guests are stopped, where nobody has stopped them before."""
ROLL_AGAIN = 2.0
"""Seconds between two rounds of asking most agents whether they still hear a node."""
ROSTER_SETTLES = 60.0
"""A node that was heard so long after the last change of members goes by those members."""


def self_fence_seconds(isolation_seconds: float, timeout_seconds: float) -> float:
    """The longest that a node may live after its last sign of life, on another machine's clock, with the margin.

    The inequality: a node feeds its watchdog until ``isolation_seconds`` after the last leg that held, and no leg held
    later than what the controller takes for the last sign of life; the watchdog bites ``timeout_seconds`` after the last
    feeding; both on a clock that may run slower than ours by :data:`CLOCK_RATE_BOUND`. Whoever assumes *after* this time
    assumes something that has happened: W(self-fence) + margin < T(assume).
    """
    return (isolation_seconds + timeout_seconds) * (1 + CLOCK_RATE_BOUND) + SELF_FENCE_MARGIN


assert FEED_LATE + 4.0 <= SELF_FENCE_MARGIN
assert GUESTS_BEFORE > FEED_EVERY

# --- recovery -----------------------------------------------------------------------------------------------
STUCK_AFTER = 3.0
"""A VMI that fails on the old QEMU's image lock for so long is deleted, once the proof stands (KUBEVIRT §7)."""
DETACH_TOLD_AFTER = 5.0
"""A volume that the dead node still has, so long after its launchers are gone, is named: the storage driver is slow."""
STARTS_PER_NODE = 8
"""VMs that are on their way to Running at once, for each node that can take some."""
START_COUNTS = 30.0
"""A VM that was let go this long ago keeps no other waiting any more: whatever it waits for, it is not its turn."""
PLACED_WITHIN = 10.0
"""A VM that was let go has a node, or a reason why it has none, after a second or two; nobody of lower priority waits longer."""
DEPENDENCY_WAIT = 60.0
"""A VM waits this long after the proof for those that it depends on. Kubernetes itself deletes what is left on a node that is
out of service as soon as it counts as not ready (some 40 to 75 s after its death): no order could be kept for longer."""
START_BACKOFF = (10.0, 40.0, 90.0, 160.0)
"""Pauses before another start of a VM whose new instance has failed, where KubeVirt makes none by itself. Its own are these."""
START_TRIES = 5
"""So many failed starts, and the incident waits for that VM no longer."""
assert len(START_BACKOFF) == START_TRIES - 1
COMMAND_BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses before a command that a device has failed is tried again."""

# --- writes that the API server turns down ------------------------------------------------------------------
WRITE_PAUSE = 0.1
"""The first pause before such a write is tried again; each one after it is twice as long."""
WRITE_LONGEST = 0.8
"""The longest pause of one write that nobody else's keeps company: when the reason ends, work goes on within a second."""
WRITES_A_SECOND = 10.0
"""About so many are tried a second, however many are turned down: with more of them each waits longer. So many of
incidents, and so many of chores."""
WRITE_WISH = 10.0
"""The longest ``Retry-After`` that is honoured: a node is dead meanwhile, and its VMs are down."""
WRITE_UNANSWERED = 12.0
"""Seconds for which a chore that nobody answers makes room for the others, for each that goes unanswered: twice what its time-out
costs a round, so that every second round is theirs."""
WRITE_OVER = 30.0
"""A write that nobody has wanted for so long is not waited for any more."""


def slot_due(moved_at: float, interval: float) -> float:
    """The instant by which a node whose slot moved at ``moved_at``, if it lives, has written again and been seen.

    Half an interval of grace: a busy disk is not a dead node.
    """
    return moved_at + 1.5 * interval + SLOT_LOOK


def write_pause(failures: int, wish: float | None, draw: float, waiting: int) -> float:
    """Seconds until a write that was turned down is tried again.

    Args:
        failures: how often in a row it was turned down, this time included.
        wish: the server's ``Retry-After``, None where it named none; honoured up to :data:`WRITE_WISH`.
        draw: a random number from 0 to 1: up to half of the pause is taken off, so that what failed together doesn't
            come back together.
        waiting: how many writes are turned down now, of incidents or of chores as this one is; this one included.
    """
    longest = max(WRITE_LONGEST, waiting / WRITES_A_SECOND / 0.75)
    pause = min(longest, WRITE_PAUSE * 2.0 ** min(failures - 1, 16)) * (1 - draw / 2)
    return pause if wish is None else max(pause, min(wish, WRITE_WISH))
