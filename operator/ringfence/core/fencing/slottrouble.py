"""Why a zone's storage heartbeat doesn't do what the zone says of it: a reason and a sentence with the mend."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ringfence.core.detection.evidence import SlotEvidence
from ringfence.core.fencing.slotreport import SlotReport
from ringfence.core.fencing.slotwatch import SlotState


@dataclass(frozen=True, slots=True)
class HeartbeatWanted:
    """What the zone says: ``HAZone.spec.storage.heartbeat``."""

    volume: str
    interval: float
    stop_guests: bool


def gone_for_all(slots: Mapping[str, SlotEvidence]) -> tuple[str, str] | None:
    """That nobody writes any more, as (reason, message): then it is the storage that is gone, and no node."""
    there = sorted(node for node, slot in slots.items() if slot.state is not SlotState.NONE)
    if len(there) < 2 or any(slots[node].state is SlotState.MOVING for node in there):
        return None
    return "StorageGone", (
        f"none of {', '.join(there)} writes its slot any more: the storage is gone for all, and nobody is fenced for it;"
        " bring it back, VMs wait for their disks"
    )


def heartbeat_trouble(
    wanted: HeartbeatWanted,
    nodes: Collection[str],
    reports: Iterable[SlotReport],
    slots: Mapping[str, SlotEvidence],
) -> tuple[str, str] | None:
    """The first trouble as (reason, message); None: there is none that could be seen.

    Args:
        nodes: those of the zone.
        reports: what heartbeat processes say now, of whichever zone. Only a few are listened to, but they are one DaemonSet.
        slots: what is seen of the zone's slots, by node.
    """
    heard = tuple(reports)
    volumes = {report.volume for report in heard}
    if wanted.volume not in volumes:
        found = f", they report {', '.join(sorted(volumes))}" if volumes else ", none answers"
        return "HeartbeatNotSeen", (
            f"no heartbeat process reports the volume {wanted.volume}{found}: set slots.enabled and slots.volume in the"
            " chart, or correct spec.storage.heartbeat.volume"
        )
    if len(heard) > 1 and (gone := gone_for_all(slots)) is not None:
        return gone
    slow = sorted(n for n, s in slots.items() if s.interval > wanted.interval)
    if slow:
        return "HeartbeatTooSlow", (
            f"{', '.join(slow)} write more rarely than every {wanted.interval:g} s: lower the chart's"
            " slots.intervalSeconds, or raise spec.storage.heartbeat.intervalSeconds"
        )
    blind = sorted(r.reporter.node for r in heard if r.own.guests is None and r.reporter.node in nodes)
    if wanted.stop_guests and blind:
        return "GuestsNotStopped", (
            f"the heartbeat processes of {', '.join(blind)} see no guests, so a fenced node would not stop its own: set"
            " slots.stopGuests in the chart (hostPID and CAP_KILL), or take spec.storage.heartbeat.stopGuests away"
        )
    return None
