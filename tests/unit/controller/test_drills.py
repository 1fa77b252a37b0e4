"""The course of a drill, in virtual time: what is proved, and that no node is left off."""

from __future__ import annotations

import pytest

from ringfence.controller.drills import COMES_BACK, OTHERS_LIVE, Course, DrillFailed, carry_out
from ringfence.core.model import PowerState
from ringfence.ports import (
    DeviceIdentity,
    DeviceRefused,
    DeviceUnreachable,
    OrderReceipt,
    PowerReading,
    TooLate,
)

UUIDS = {"n1": "11111111-2222-3333-4444-555555555555", "n2": "66666666-7777-8888-9999-aaaaaaaaaaaa"}


class Machines:
    """Nodes by name with their boot ids; the device cuts one of them, which may be another than it should be."""

    order_lasts = 10.0
    sends_after = 0.0
    """Seconds from when it is asked for the order to when that is sent."""

    def __init__(self, cuts: str = "n1", *, boots_in: float = 60.0) -> None:
        self.now = 1000.0
        self.cuts = cuts
        self.boots_in = boots_in
        self.boots = {"n1": "a1", "n2": "a2"}
        self.on = True
        self.uuid = ""
        self.ready_at: float | None = None
        self.asked: list[str] = []
        self.off_fails: Exception | None = None
        self.off_works = True
        self.on_fails = 0
        self.also: str | None = None
        """A node that happens to reboot too."""
        self.twin: str | None = None
        """A node whose power goes with the other's. It boots more slowly."""
        self.heard_at = {"n1": 1000.0, "n2": 1000.0}
        self.api = True
        """Signs of life come."""

    # the clock and what is around the drill

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.now += seconds
        dark = {self.cuts, self.twin} if not self.on or self.boots.get(self.cuts) in {"a1", "a2"} else set()
        for name in self.heard_at.keys() - (dark if "off" in self.asked else set()) if self.api else ():
            self.heard_at[name] = self.now

    def lives(self) -> dict[str, float]:
        return self.heard_at

    def look(self) -> dict[str, str]:
        if self.ready_at is not None and self.now >= self.ready_at:
            self.boots = {**self.boots, self.cuts: "b1", **({self.also: "b9"} if self.also else {})}
        return self.boots

    @property
    def course(self) -> Course:
        return Course(self, self.pause, lambda: self.now + 3.0, self.look, lambda: UUIDS, self.lives)

    # the device

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def identity(self) -> DeviceIdentity:
        return DeviceIdentity(self.uuid, "")

    async def power(self) -> PowerReading:
        return PowerReading(PowerState.ON if self.on else PowerState.OFF, self.now)

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        assert deadline is not None
        if isinstance(self.off_fails, TooLate):
            raise self.off_fails
        self.asked.append("off")
        self.now += self.sends_after
        if self.off_works:
            self.on = False
        if self.off_fails is not None:
            raise self.off_fails
        return OrderReceipt("off", self.now, self.now, self.now + self.order_lasts)

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        assert deadline is not None
        self.asked.append("on")
        if self.on_fails > 0:
            self.on_fails -= 1
            raise DeviceUnreachable("no answer")
        self.on, self.ready_at = True, self.now + self.boots_in
        return OrderReceipt("on", self.now, self.now, self.now)


async def test_off_and_on_and_back_with_another_boot_id() -> None:
    machines = Machines()
    assert await carry_out(machines, "n1", machines.course) == ""
    assert machines.asked == ["off", "on"]
    assert machines.now < 1000.0 + 70


async def test_a_device_that_cuts_another_node_proves_nothing_and_leaves_nobody_off() -> None:
    machines = Machines(cuts="n2")
    with pytest.raises(DrillFailed, match="n1 is heard while the device reads off"):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == ["off", "on"]
    assert machines.on
    assert machines.now < 1000.0 + 20, "n2 is without power for no longer than it must be"


async def test_a_device_that_cuts_two_nodes_proves_nothing() -> None:
    machines = Machines()
    machines.also = "n2"
    with pytest.raises(DrillFailed, match="n2 rebooted too"):
        await carry_out(machines, "n1", machines.course)


async def test_a_device_that_cuts_a_twin_too_proves_nothing_though_that_boots_later() -> None:
    """When n1 is back n2 still has its old boot id: nothing of it was seen to change yet."""
    machines = Machines()
    machines.twin = "n2"
    with pytest.raises(DrillFailed, match="n2 was not heard while n1 was off"):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == ["off", "on"]
    assert machines.on


async def test_a_node_whose_drill_has_failed_is_ordered_on_again_where_the_device_fails_at_it() -> None:
    machines = Machines()
    machines.twin, machines.on_fails = "n2", 2
    with pytest.raises(DrillFailed, match="n2 was not heard"):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == ["off", "on", "on", "on"]
    assert machines.on


async def test_where_nobody_is_heard_nothing_is_proved_and_nobody_left_off() -> None:
    machines = Machines()
    machines.api = False
    with pytest.raises(DrillFailed, match="n2 was not heard"):
        await carry_out(machines, "n1", machines.course)
    assert machines.on
    assert machines.now < 1000.0 + OTHERS_LIVE + 20


async def test_a_device_that_reads_off_beside_a_running_node_is_another_machines() -> None:
    machines = Machines()
    machines.on = False
    with pytest.raises(DrillFailed, match="stands before another machine"):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == []


async def test_a_device_that_says_it_is_another_nodes_is_not_tried_on_it() -> None:
    machines = Machines(cuts="n2")
    machines.uuid = UUIDS["n2"]
    with pytest.raises(DrillFailed, match="stands before n2, which would be switched off"):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == []


async def test_a_number_of_its_own_is_kept() -> None:
    machines = Machines()
    machines.uuid = "0c9f3a52-5d64-4a5e-8a43-6f1c2f1b7d11"
    assert await carry_out(machines, "n1", machines.course) == machines.uuid


async def test_an_order_without_a_deed_fails_the_drill() -> None:
    machines = Machines()
    machines.off_works = False
    with pytest.raises(DrillFailed, match="still reads on"):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == ["off"]


async def test_a_lost_answer_may_have_been_an_order() -> None:
    machines = Machines()
    machines.off_fails = DeviceUnreachable("no answer", sent_at=1000.0)
    with pytest.raises(DeviceUnreachable):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == ["off", "on"]
    assert machines.now > 1000.0 + machines.order_lasts, "it was looked at before the order could have worked"


async def test_what_an_order_may_do_is_waited_for_from_when_it_may_have_been_sent() -> None:
    """A BMC whose connection takes seconds to be made: the order goes out at its end, and its answer is lost."""
    machines = Machines()
    machines.sends_after = 3.0
    machines.off_fails = DeviceUnreachable("no answer", sent_at=1003.0)
    with pytest.raises(DeviceUnreachable):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == ["off", "on"]
    assert machines.now > 1003.0 + machines.order_lasts


async def test_a_refusal_leaves_a_node_that_is_on_alone() -> None:
    machines = Machines()
    machines.off_works, machines.off_fails = False, DeviceRefused("not today")
    with pytest.raises(DeviceRefused):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == ["off"]


async def test_who_may_order_no_more_has_ordered_nothing() -> None:
    machines = Machines()
    machines.off_fails = TooLate("the right to order ended")
    with pytest.raises(TooLate):
        await carry_out(machines, "n1", machines.course)
    assert machines.asked == []
    assert machines.on


async def test_the_order_on_is_repeated() -> None:
    machines = Machines()
    machines.on_fails = 2
    await carry_out(machines, "n1", machines.course)
    assert machines.asked == ["off", "on", "on", "on"]


async def test_a_machine_that_never_boots_is_told() -> None:
    machines = Machines(boots_in=COMES_BACK + 1)
    with pytest.raises(DrillFailed, match="switch it on"):
        await carry_out(machines, "n1", machines.course)
