"""What a cut from the storage allows: its VMs, pod by pod, and never anything about the node."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.failover.commands import AddOutOfServiceTaint, RecoverPods
from ringfence.core.failover.record import PodRef
from ringfence.core.failover.recovery import (
    DeletePod,
    DeleteVmi,
    FreeLeadership,
    RecoveryCommand,
    RequestStart,
)
from ringfence.core.fencing.proof import (
    AdminConfirmed,
    CutVm,
    FencingProof,
    PoweredOff,
    PowerOffHow,
    Rebooted,
    RecoverVms,
    SelfFenced,
    StorageCut,
    permit,
    permit_vms,
)
from ringfence.core.model import Boot

BOOT, OTHER = Boot("n1", "uid-1", "boot-1"), Boot("n1", "uid-1", "boot-2")
DB = CutVm("shop", "db", "vmi-db", ("pod-db", "hotplug-db"), ("shop/db", "shop/log"))
WEB = CutVm("shop", "web", "vmi-web", ("pod-web",), ("shop/web",))
BARE = CutVm("shop", "bare", "vmi-bare", ("pod-bare",), ())
OFF = PoweredOff(BOOT, "bmc", PowerOffHow.ORDERED, 10.0)


def cut(*volumes: str, device: str = "ceph", boot: Boot = BOOT) -> StorageCut:
    return StorageCut(boot, device, (DB, WEB, BARE), volumes, 10.0)


def names(recover: RecoverVms | None) -> list[str]:
    return [vm.name for vm in recover.vms] if recover else []


@pytest.mark.parametrize(
    ("proofs", "required", "allowed"),
    [
        ((cut("shop/db", "shop/log", "shop/web"),), 1, ["db", "web"]),
        ((cut("shop/db", "shop/web"),), 1, ["web"]),
        ((cut("shop/db"),), 1, []),
        ((cut("shop/db"), cut("shop/log", device="nfs")), 1, ["db"]),
        ((cut("shop/db", "shop/log", boot=OTHER),), 1, []),
        ((cut("shop/db", "shop/log"),), 2, []),
        ((cut("shop/db", "shop/log"), cut("shop/db", device="nfs")), 2, []),
        ((cut("shop/db", "shop/log"), cut("shop/db", "shop/log", device="nfs")), 2, ["db"]),
        ((cut("shop/db", "shop/log"), OFF), 2, ["db"]),
        ((cut("shop/db", "shop/log"), SelfFenced(BOOT, "dogs", 1.0)), 2, ["db"]),
        ((cut("shop/db"), OFF), 2, []),
        ((cut("shop/db", "shop/log"), replace(OFF, boot=OTHER)), 2, []),
        ((OFF,), 1, []),
    ],
)
def test_only_a_vm_cut_from_every_volume_is_named(
    proofs: tuple[FencingProof, ...], required: int, allowed: list[str]
) -> None:
    assert names(permit_vms(BOOT, proofs, required)) == allowed


cuts = st.builds(
    cut,
    *[st.sampled_from(["shop/db", "shop/log", "shop/web", "x/y"])] * 3,
    device=st.sampled_from(["ceph", "nfs", "san"]),
    boot=st.sampled_from([BOOT, OTHER]),
)


@given(st.lists(cuts, max_size=6), st.sampled_from([1, 2]))
def test_no_number_of_cuts_is_a_proof_about_the_node(found: list[StorageCut], required: int) -> None:
    assert permit(BOOT, tuple(found), required) is None
    recover = permit_vms(BOOT, tuple(found), required)
    for vm in recover.vms if recover else ():
        for volume in vm.volumes:
            assert len({c.device for c in found if volume in c.volumes and c.boot == BOOT}) >= required
        assert vm.volumes


@given(st.lists(st.one_of(cuts, st.just(OFF)), max_size=6))
def test_a_cut_does_not_help_where_two_whole_proofs_are_asked_for(found: list[FencingProof]) -> None:
    assert permit(BOOT, tuple(found), 2) is None


def test_a_whole_proof_beside_a_cut_stands_as_before() -> None:
    watchdog = SelfFenced(BOOT, "dogs", 1.0)
    for whole in (OFF, watchdog, Rebooted(BOOT, "boot-2", 1.0), AdminConfirmed(BOOT, "kim", "pulled", 1.0)):
        found = permit(BOOT, (cut("shop/db"), whole), 1)
        assert found is not None
        assert found.proofs == (whole,)


def leave() -> RecoverVms:
    found = permit_vms(BOOT, (cut("shop/db", "shop/log"),), 1)
    assert found is not None
    return found


def test_it_comes_from_nowhere_else() -> None:
    with pytest.raises(TypeError, match="permit_vms"):
        RecoverVms(BOOT, (DB,), (), object())


def test_the_taint_can_not_be_built_from_it() -> None:
    with pytest.raises(TypeError, match="whole node"):
        AddOutOfServiceTaint(leave())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (DeletePod(PodRef("shop", "l", "pod-db"), force=True), True),
        (DeletePod(PodRef("shop", "h", "hotplug-db"), force=True), True),
        (DeletePod(PodRef("shop", "l", "pod-web"), force=True), False),
        (DeletePod(PodRef("kubevirt", "virt-api", "pod-api"), force=True), False),
        (DeletePod(PodRef("kubevirt", "virt-api", "pod-api"), force=False), False),
        (FreeLeadership("kubevirt", "virt-controller-1"), False),
        (DeleteVmi("shop", "db", "vmi-2"), True),
        (DeleteVmi("shop", "web", "vmi-3"), False),
        (RequestStart("shop", "db", "vm-1"), True),
        (RequestStart("shop", "web", "vm-2"), False),
    ],
)
def test_only_its_vms_are_touched(command: RecoveryCommand, allowed: bool) -> None:
    if allowed:
        assert RecoverPods(leave(), (command,)).commands == (command,)
    else:
        with pytest.raises(TypeError, match="not named"):
            RecoverPods(leave(), (command,))
