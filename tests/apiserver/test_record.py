"""What the machine stores of an incident is what its successor reads: through the real API, with nothing pruned."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from apiserver.server import Server
from ringfence.api.v1alpha1 import Failover
from ringfence.controller.records import conditions_of, record_of, spec_of, status_of
from ringfence.core.failover.blackout import SEEN_LATE
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Lie, Moment, PodRef, Record, VmRecord, VmState
from ringfence.core.fencing.orders import Action, Begun, CalledOff, Order
from ringfence.core.fencing.proof import (
    AdminConfirmed,
    CutVm,
    PoweredOff,
    PowerOffHow,
    Rebooted,
    StorageCut,
)
from ringfence.core.model import Boot, SignedVote, Vote

pytestmark = pytest.mark.apiserver

PATH = "/apis/ringfence.io/v1alpha1/failovers"
WALL = 1_790_000_000.25
BOOT = Boot("n1", "uid-of-n1", "0b0f5e9c-boot")
RECORD = Record(
    name="n1-0b0f5e9c-abc",
    boot=BOOT,
    phase=Phase.RECOVERING,
    sentence="n1 is off",
    doubted_wall=WALL,
    started_wall=WALL + 1,
    verdict_sentence="2 of 2 peers",
    voters=("n2", "n3"),
    votes=(SignedVote("n2", BOOT, Vote.NONE, 7, b"round", b"s" * 64),),
    vote_after=(0.312,),
    held_reason="storm",
    stormed=True,
    ladder_pass=3,
    orders=(Order("bmc-n1", 1, 10.0, 20.0), Order("bmc-n1", 1, 40.0, 50.0, Action.ON)),
    begun=(Begun(1, 9.0), Begun(2, 14.0, slow=1)),
    called_off=(CalledOff("bmc-n1", 130.0),),
    lies=(Lie("bmc-n1", WALL + 5),),
    proofs=(
        PoweredOff(BOOT, "bmc-n1", PowerOffHow.ORDERED, 30.0, "read as off twice"),
        PoweredOff(BOOT, "pdu-a", PowerOffHow.FOUND, 30.0, "read as off twice"),
        Rebooted(BOOT, "later-boot", 31.0, "reported by its agent"),
        AdminConfirmed(BOOT, "admin", "pulled both cords", 32.0, "by spec.confirm"),
        StorageCut(
            BOOT,
            "ceph",
            (CutVm("shop", "db", "vmi-uid", ("pod-uid",), ("shop/db",)),),
            ("shop/db",),
            33.0,
            "read",
        ),
    ),
    cuts=("ceph",),
    lifting=True,
    pods=(PodRef("shop", "virt-launcher-db", "pod-uid"),),
    vms=(
        VmRecord(
            "shop", "db", "vm-uid", "vmi-uid", "pod-uid", VmState.RUNNING, "n2", "runs", WALL + 2, WALL + 6
        ),
        VmRecord("shop", "web", "vm-2", "vmi-2"),
    ),
    tainted=True,
    new_boot_id="later-boot",
    power_on_tries=2,
    never_off_on="uid-of-n1-again",
    leader="ringfence-controller-x",
    epoch=4,
    story=(Moment(WALL, Phase.HOLDING, "n1 is down"), Moment(WALL + 3, Phase.RECOVERING, "n1 is off")),
    timings=(("order", 2.5), ("proof", 4.0)),
)
NOT_READ_BACK = {
    "votes",  # kept for people and for later checking; the machine needs them no more
    "begun",  # instants, like those of orders,
    "called_off",
    "orders",  # instants are counted anew by whoever takes over
    "proofs",
}


@pytest.mark.parametrize("phase", Phase)
def test_record_survives_the_api(server: Server, phase: Phase) -> None:
    record = replace(RECORD, phase=phase, name=f"n1-{phase.lower()}")
    made = {"apiVersion": "ringfence.io/v1alpha1", "kind": "Failover", "metadata": {"name": record.name}}
    server.must("POST", f"{PATH}?fieldValidation=Strict", made | {"spec": spec_of(record)})
    status = status_of(record, conditions_of(record, [], WALL, 1), WALL)
    server.must("PATCH", f"{PATH}/{record.name}/status?fieldValidation=Strict", {"status": status})
    read = record_of(
        Failover.model_validate(server.must("GET", f"{PATH}/{record.name}")), 100.0, 101.0, 102.0, 103.0
    )
    assert read is not None
    for field in fields(Record):
        if field.name not in NOT_READ_BACK:
            assert getattr(read, field.name) == getattr(record, field.name), field.name
    assert [(order.device, order.attempt, order.action) for order in read.orders] == [
        ("bmc-n1", 1, Action.OFF),
        ("bmc-n1", 1, Action.ON),
    ]
    assert read.begun == (Begun(1, 102.0), Begun(2, 102.0, slow=1))
    assert read.called_off == (CalledOff("bmc-n1", 103.0 + SEEN_LATE),)
    assert [replace(proof, seen_at=0.0) for proof in read.proofs] == [
        replace(proof, seen_at=0.0) for proof in record.proofs
    ]
    server.must("DELETE", f"{PATH}/{record.name}")
