"""Routine proofs: how many at once, where, when again, and that an incident never waits behind one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import cast

from ringfence.controller.devices import DeviceBook
from ringfence.controller.proving import AT_ONCE, PROVE_EVERY, QUIET, Rota
from ringfence.controller.targets import DeviceTarget
from ringfence.core.fencing.chassis import Chassis
from ringfence.core.fencing.orders import Order
from ringfence.core.model import PowerState
from ringfence.ports import (
    Clock,
    Cluster,
    DeviceIdentity,
    DeviceSpec,
    OrderReceipt,
    PowerDevice,
    PowerReading,
)

Key = tuple[str, str]


def uuid(node: str) -> str:
    return f"00112233-4455-6677-8899-{int(node[1:]):012d}"


class Hand:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class Outlet:
    """One device behind an address; it answers when the hall's gate is open."""

    order_lasts = 10.0

    def __init__(self, hall: Hall, node: str) -> None:
        self._hall, self._node = hall, node

    async def open(self) -> None:
        await self._hall.enter(self._node)

    async def identity(self) -> DeviceIdentity:
        return DeviceIdentity(uuid(self._node), "")

    async def power(self) -> PowerReading:
        await self._hall.gate.wait()
        return PowerReading(PowerState.ON, self._hall.clock.now)

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        assert deadline is not None
        self._hall.ordered.append(self._node)
        now = self._hall.clock.now
        return OrderReceipt("off", now, now, now + self.order_lasts)

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        raise AssertionError(f"{self._node} is ordered on until {deadline}")

    async def close(self) -> None:
        self._hall.leave(self._node)


class Hall:
    """Devices by address, and the sessions that are open at each."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.clock = Hand()
        self.gate = asyncio.Event()
        self.addresses = dict(addresses)
        self.open: set[str] = set()
        self.ordered: list[str] = []
        self.most = 0
        self.most_at: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.entered = asyncio.Event()
        self.book = DeviceBook(cast("Cluster", self), self.clock, self.device, lambda: None, draw=lambda: 0.5)
        self.declare()

    def declare(self, chassis: Mapping[Key, Chassis] | None = None) -> None:
        keys = {self.key(n): n for n in self.addresses}
        self.book.declare(
            {k: DeviceTarget(DeviceSpec(k[0], "redfish", ""), (), n, uuid(n)) for k, n in keys.items()},
            chassis,
            {k: self.addresses[n] for k, n in keys.items()},
        )

    @staticmethod
    def key(node: str) -> Key:
        return f"bmc-{node}", node

    def device(self, spec: DeviceSpec, _secret: Mapping[str, bytes], _clock: Clock) -> PowerDevice:
        return Outlet(self, spec.name.removeprefix("bmc-"))

    async def enter(self, node: str) -> None:
        self.open.add(node)
        self.seen[node] += 1
        self.most = max(self.most, len(self.open))
        here = Counter(self.addresses[n] for n in self.open)
        self.most_at = self.most_at | here
        self.entered.set()

    def leave(self, node: str) -> None:
        self.open.discard(node)

    async def until_open(self, count: int) -> None:
        while len(self.open) < count:
            self.entered.clear()
            await asyncio.wait_for(self.entered.wait(), 10)

    def proved(self) -> set[str]:
        return {n for n in self.addresses if (p := self.book.proof(*self.key(n))) is not None and p.ok}


def iter_of(*values: float) -> Callable[[], float]:
    """A draw that goes round."""
    left = list(values)

    def draw() -> float:
        left.append(left.pop(0))
        return left[-1]

    return draw


async def test_a_hundred_devices_are_proved_a_few_at_a_time() -> None:
    hall = Hall({f"n{i}": f"10.0.0.{i}" for i in range(100)})
    round_ = asyncio.create_task(hall.book.prove(frozenset()))
    await hall.until_open(AT_ONCE)
    assert len(hall.open) == AT_ONCE, "and no more while none of them answers"
    hall.gate.set()
    await round_
    assert hall.most == AT_ONCE
    assert len(hall.proved()) == 100
    assert set(hall.seen.values()) == {1}
    assert hall.open == set(), "no session is left"


async def test_one_session_at_an_address_at_a_time() -> None:
    hall = Hall({f"n{i}": f"10.0.0.{i % 5}" for i in range(40)})
    hall.gate.set()
    await hall.book.prove(frozenset())
    assert len(hall.proved()) == 40
    assert set(hall.most_at.values()) == {1}


async def test_a_hanging_address_holds_up_its_own_devices_only() -> None:
    hall = Hall({"n1": "a", "n2": "a", "n3": "b"})
    round_ = asyncio.create_task(hall.book.prove(frozenset()))
    await hall.until_open(2)
    assert hall.open == {"n1", "n3"}
    hall.gate.set()
    await round_
    assert hall.proved() == {"n1", "n2", "n3"}


async def test_an_incidents_reading_does_not_wait_behind_a_proof_of_the_same_device() -> None:
    hall = Hall({"n1": "a"})
    round_ = asyncio.create_task(hall.book.prove(frozenset()))
    await hall.until_open(1)
    assert not hall.book.look(*hall.key("n1")).busy, "the ladder may read it"
    read = asyncio.create_task(hall.book.read(*hall.key("n1"), "n1-1"))
    await asyncio.wait_for(round_, 10)
    assert hall.book.proof(*hall.key("n1")) is None, "what was broken off says nothing"
    await hall.until_open(1)
    assert hall.book.look(*hall.key("n1")).busy
    hall.gate.set()
    await read
    assert [r.state for r in hall.book.look(*hall.key("n1")).readings] == [PowerState.ON]
    assert hall.book.look(*hall.key("n1")).error is None


async def test_nor_behind_one_of_another_device_at_its_address() -> None:
    hall = Hall({"n1": "a", "n2": "a", "n3": "b"})
    round_ = asyncio.create_task(hall.book.prove(frozenset({"n2"})))
    await hall.until_open(2)
    order = Order.decided(hall.key("n2")[0], 1, hall.clock.now, 10.0)
    await asyncio.create_task(hall.book.order_off(order, "n2", "n2-1", deadline=hall.clock.now + 10))
    assert hall.ordered == ["n2"]
    assert "n1" not in hall.open, "its session is given up for the order"
    hall.gate.set()
    await round_
    assert hall.proved() == {"n3"}


async def test_a_session_that_hangs_at_its_end_holds_up_nobody() -> None:
    hall = Hall({"n1": "a"})
    hall.gate.set()
    await hall.book.read(*hall.key("n1"), "n1-1")
    async with hall.book._lines[hall.key("n1")].lock:
        hall.book.end_incident("n1")
        assert hall.book.look(*hall.key("n1")).readings == ()
        assert "n1" in hall.open, "somebody uses it yet"
    await hall.book.close()
    assert "n1" not in hall.open


async def test_proofs_keep_away_from_an_address_while_an_incident_is_at_work_there() -> None:
    hall = Hall({"n1": "a", "n2": "a", "n3": "b"})
    hall.gate.set()
    await hall.book.read(*hall.key("n2"), "n2-1")
    await hall.book.prove_due(frozenset({"n2"}))
    assert hall.proved() == {"n3"}
    hall.clock.now += QUIET + 0.1
    await hall.book.prove_due(frozenset({"n2"}))
    assert hall.proved() == {"n1", "n3"}, "an incident that only waits keeps nobody from his proof"
    assert hall.seen["n2"] == 1


async def test_a_drills_order_counts_at_its_chassis() -> None:
    hall = Hall({"n1": "a", "n2": "a"})
    hall.declare({hall.key(n): Chassis("a", 1) for n in ("n1", "n2")})
    session, _ = await hall.book.open_for_drill(*hall.key("n1"))
    assert hall.book.drill_orders() == ()
    await session.order_off(deadline=hall.clock.now + 10)
    assert hall.book.drill_orders() == (("n1", Order("bmc-n1", 1, hall.clock.now, hall.clock.now + 10)),)
    await session.close()
    assert hall.book.drill_orders() == ()


async def test_proofs_keep_away_from_a_drill() -> None:
    hall = Hall({"n1": "a", "n2": "a", "n3": "b"})
    hall.gate.set()
    session, _ = await hall.book.open_for_drill(*hall.key("n1"))
    await hall.book.prove_due(frozenset())
    assert hall.proved() == {"n3"}
    await session.close()
    await hall.book.prove_due(frozenset())
    assert hall.proved() == {"n1", "n2", "n3"}


def test_who_is_new_is_looked_at_at_once_then_spread_over_the_period() -> None:
    rota = Rota(iter_of(0.0, 1.0, 0.5))
    keys = [(f"bmc-{i}", f"n{i}") for i in range(3)]
    rota.declare({key: key[0] for key in keys})
    for key in keys:
        assert rota.take(100.0, frozenset(), frozenset()) == key
    assert rota.take(100.0, frozenset(), frozenset()) is None
    for key in keys:
        rota.give_back(key, 100.0, looked=True)
    due = {key: rota.due(key) for key in keys}
    assert sorted(due.values()) == [100.0, 100.0 + PROVE_EVERY / 2, 100.0 + PROVE_EVERY]
    (first,) = [key for key in keys if rota.take(100.0, frozenset(), frozenset()) == key]
    rota.give_back(first, 101.0, looked=True)
    assert rota.due(first) == 101.0 + PROVE_EVERY


def test_whose_proof_was_broken_off_is_due_still() -> None:
    rota = Rota(iter_of(0.5))
    rota.declare({("bmc", "n1"): "a"})
    assert rota.take(100.0, frozenset(), frozenset()) == ("bmc", "n1")
    rota.give_back(("bmc", "n1"), 101.0, looked=False)
    assert rota.take(101.0, frozenset(), frozenset({"a"})) is None, "its address is in use"
    assert rota.take(101.0, frozenset({"n1"}), frozenset()) is None, "its node has an incident"
    assert rota.take(101.0, frozenset(), frozenset()) == ("bmc", "n1")


def test_the_most_overdue_goes_first_and_what_is_declared_no_more_goes() -> None:
    rota = Rota(iter_of(0.1, 0.2))
    a, b = ("bmc", "n1"), ("bmc", "n2")
    rota.declare({a: "a", b: "b"})
    for key in (a, b):
        rota.take(0.0, frozenset(), frozenset())
        rota.give_back(key, 0.0, looked=True)
    rota.declare({a: "a", b: "b", ("bmc", "n3"): "c"})
    assert rota.take(1000.0, frozenset(), frozenset()) == ("bmc", "n3")
    assert rota.take(1000.0, frozenset(), frozenset()) == a
    rota.declare({a: "a"})
    assert rota.take(1000.0, frozenset(), frozenset()) is None
