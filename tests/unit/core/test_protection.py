"""Would this VM survive its node? Each reason why not, in the order in which they are said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.core.model import Mode
from ringfence.core.protection import RESTARTABLE, VmFacts, VolumeLook, assess

SHARED = VolumeLook("data", True, ("ReadWriteMany",))
GOOD = VmFacts(
    "db",
    exists=True,
    mode=Mode.ACTIVE,
    run_strategy="Always",
    node="n1",
    running=True,
    volumes=(SHARED,),
    zone="a",
    devices=(("bmc", None),),
    healthy_others=2,
)
OBSTACLES: list[tuple[dict[str, Any], str, str]] = [
    ({"exists": False}, "VMNotFound", "there is no VirtualMachine db"),
    ({"wants_restart": False}, "Ignored", "onNodeFailure is Ignore"),
    ({"mode": Mode.PAUSED}, "ClusterPaused", "nothing is fenced"),
    ({"run_strategy": "Halted"}, "RunStrategyNotRestartable", "run strategy is Halted"),
    ({"host_devices": True}, "HostDevicePinned", "devices of its host"),
    ({"host_disks": ("disk0",)}, "VolumeNotShared", "disk0 is a file of its host"),
    ({"running": False}, "NotRunning", "does not run now"),
    ({"zone": None}, "NodeNotInZone", "n1 is in no enabled HAZone"),
    (
        {"maintenance": "NodeMaintenance dimm"},
        "NodeInMaintenance",
        "n1 is in maintenance (NodeMaintenance dimm)",
    ),
    (
        {"devices": (), "by_hand": ("somebody",)},
        "ManualFence",
        (
            "only a person fences node n1 (somebody): if it dies, db waits until somebody has made sure that it is off"
            " and says so: ringfence fence confirm n1"
        ),
    ),
    ({"devices": ()}, "NoFenceDevice", "no FenceDevice of zone a reaches node n1"),
    (
        {"devices": (("bmc", None),), "proofs_required": 2},
        "TooFewProofs",
        "zone a asks for 2 independent proofs, and only bmc reaches node n1",
    ),
    (
        {"devices": (("ipmi", None), ("redfish", None)), "methods": 1, "proofs_required": 2},
        "TooFewProofs",
        "zone a asks for 2 independent proofs, and ipmi, redfish of node n1 are one method: they are behind one address",
    ),
    ({"devices": (("bmc", "wrong password"), ("pdu", None))}, "FenceDeviceUnproved", "bmc: wrong password"),
    (
        {"devices": (("ceph", None),), "storage_fences": ("ceph",), "not_cut": ("vms/scratch (why)",)},
        "VolumeNotFenced",
        "it does not cut vms/scratch (why); or add a power device",
    ),
    ({"healthy_others": 0}, "NoCapacity", "no other node"),
]


@pytest.mark.parametrize("strategy", RESTARTABLE)
def test_protected(strategy: str) -> None:
    found = assess(replace(GOOD, run_strategy=strategy))
    assert (found.protected, found.reason) == (True, "Ready")


@pytest.mark.parametrize("strategy", ["Manual", "Once"])
def test_who_is_started_by_an_incident_only_is_told_so(strategy: str) -> None:
    told = f"nobody starts db again: KubeVirt leaves a {strategy} VM as it has ended"
    assert told in assess(replace(GOOD, run_strategy=strategy)).message
    assert "nobody starts" not in assess(GOOD).message


@pytest.mark.parametrize(("change", "reason", "words"), OBSTACLES, ids=[o[1] for o in OBSTACLES])
def test_each_obstacle(change: dict[str, Any], reason: str, words: str) -> None:
    found = assess(replace(GOOD, **change))
    assert (found.protected, found.reason) == (False, reason)
    assert words in found.message


@pytest.mark.parametrize("first", range(len(OBSTACLES) - 1))
def test_the_first_obstacle_is_said(first: int) -> None:
    both = {**OBSTACLES[first + 1][0], **OBSTACLES[first][0]}
    assert assess(replace(GOOD, **both)).reason == OBSTACLES[first][1]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(Mode.PAUSED, "ClusterPaused"), (Mode.DISARMED, "ClusterDisarmed"), (Mode.DRY_RUN, "ClusterDryRun")],
)
def test_each_mode(mode: Mode, reason: str) -> None:
    assert assess(replace(GOOD, mode=mode)).reason == reason


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (VolumeLook("data", False), "claim data was not found"),
        (replace(SHARED, pinned_to=("n1",)), "claim data is bound to a volume of n1 alone"),
        (VolumeLook("data", True, ("ReadWriteOnce",)), "claim data (ReadWriteOnce) can't be attached"),
        (VolumeLook("data", True), "claim data (unknown access) can't be attached"),
    ],
)
def test_volumes_that_stay_behind(volume: VolumeLook, words: str) -> None:
    found = assess(replace(GOOD, volumes=(SHARED, volume)))
    assert found.reason == "VolumeNotShared"
    assert words in found.message


def test_an_attachable_volume_moves() -> None:
    assert assess(
        replace(GOOD, volumes=(VolumeLook("data", True, ("ReadWriteOnce",), attachable=True),))
    ).protected


def test_trouble_with_the_zone_is_told() -> None:
    assert assess(replace(GOOD, zone=None, zone_trouble="n1 is in two zones")).message == "n1 is in two zones"


def test_who_is_only_cut_from_his_storage_may_answer_on_the_network() -> None:
    only = replace(GOOD, devices=(("ceph", None),), storage_fences=("ceph",))
    assert "the old guest may answer on the network for a while" in assess(only).message
    both = replace(
        GOOD, devices=(("bmc", None), ("ceph", None)), storage_fences=("ceph",), not_cut=("vms/scratch",)
    )
    assert assess(both).protected
    assert "network" not in assess(both).message
