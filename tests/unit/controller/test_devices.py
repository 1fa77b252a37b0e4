"""The book of devices: what they get out of Secrets, who they are, and those that are not even asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest

from ringfence.controller.devices import DeviceBook, mismatch
from ringfence.controller.targets import DeviceTarget, SecretWord
from ringfence.core.fencing.drill import Drilled
from ringfence.core.fencing.orders import Order
from ringfence.core.fencing.outlets import Objection
from ringfence.core.model import PowerState
from ringfence.ports import (
    Clock,
    Cluster,
    DeviceIdentity,
    DeviceSpec,
    NotFound,
    OrderReceipt,
    PowerDevice,
    PowerReading,
    SystemClock,
)

CLOCK = SystemClock()
UUID = "00112233-4455-6677-8899-aabbccddeeff"
TARGET = DeviceTarget(
    DeviceSpec("pdu", "agent", ""),
    (SecretWord("password", "pdu", "word"), SecretWord("token", "pdu", "token")),
    "n1",
    UUID,
)
KEY = ("pdu", "n1")
ORDER = Order.decided(KEY[0], 1, 0.0, 10.0)


class Device:
    """A device that is on, and is who it was made to be."""

    order_lasts = 1.0

    def __init__(self, uuid: str, power: PowerState = PowerState.ON) -> None:
        self.uuid = uuid
        self.state = power
        self.closed = False

    async def open(self) -> None:
        assert not self.closed

    async def identity(self) -> DeviceIdentity:
        return DeviceIdentity(self.uuid, "")

    async def power(self) -> PowerReading:
        return PowerReading(self.state, CLOCK.monotonic())

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        raise AssertionError(f"ordered off until {deadline}")

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        raise AssertionError(f"ordered on until {deadline}")

    async def close(self) -> None:
        self.closed = True


class Site:
    """Secrets, and the devices that were opened."""

    def __init__(self, uuid: str = UUID, secrets: Mapping[str, dict[str, bytes]] | None = None) -> None:
        self.uuid = uuid
        self.power = PowerState.ON
        self.secrets = {"pdu": {"word": b"w", "token": b"t"}} if secrets is None else secrets
        self.opened: list[Mapping[str, bytes]] = []
        self.book = DeviceBook(cast("Cluster", self), CLOCK, self.open, lambda: None)

    async def read_secret(self, name: str) -> dict[str, bytes]:
        try:
            return self.secrets[name]
        except KeyError:
            raise NotFound(name) from None

    def open(self, _spec: DeviceSpec, secret: Mapping[str, bytes], _clock: Clock) -> PowerDevice:
        self.opened.append(secret)
        return Device(self.uuid, self.power)

    async def proof(self, target: DeviceTarget = TARGET) -> tuple[str, str]:
        self.book.declare({KEY: target})
        await self.book.prove(frozenset())
        found = self.book.proof(*KEY)
        assert found is not None
        return found.reason, found.message


async def test_a_driver_gets_its_words_by_its_own_names() -> None:
    site = Site()
    assert await site.proof() == ("Proved", "pdu is n1's and reads on")
    assert site.opened == [{"password": b"w", "token": b"t"}]


@pytest.mark.parametrize(
    ("secrets", "reason", "words"),
    [
        ({}, "SecretNotFound", "Secret pdu was not found in ringfence's namespace: create it"),
        ({"pdu": {"word": b"w"}}, "SecretKeyNotFound", "Secret pdu has no key 'token': add it"),
    ],
)
async def test_a_secret_that_is_missing(
    secrets: dict[str, dict[str, bytes]], reason: str, words: str
) -> None:
    site = Site(secrets=secrets)
    assert await site.proof() == (reason, words)
    assert site.opened == []


async def test_a_device_with_an_objection_is_not_even_asked() -> None:
    site = Site()
    target = replace(TARGET, objection=Objection("OutletShared", "the same outlet is declared for n2"))
    assert await site.proof(target) == ("OutletShared", "the same outlet is declared for n2")
    await site.book.read(*KEY, "n1-1")
    await site.book.order_off(ORDER, "n1", "n1-1", deadline=CLOCK.monotonic() + 10)
    assert site.opened == []
    assert site.book.look(*KEY).unusable == "the same outlet is declared for n2"


async def test_a_device_of_another_machine_is_never_ordered() -> None:
    site = Site(uuid="ffffffff-2222-3333-4444-555555555555")
    reason, message = await site.proof()
    assert reason == "IdentityMismatch"
    assert message.startswith("identity mismatch: ")
    await site.book.order_off(
        ORDER, "n1", "n1-1", deadline=CLOCK.monotonic() + 10
    )  # the device would raise AssertionError
    assert site.book.look(*KEY).unusable == message


async def test_a_device_that_can_not_say_who_it_is() -> None:
    site = Site(uuid="")
    reason, message = await site.proof()
    assert reason == "IdentityUnproved"
    assert "can't say which machine it stands before" in message
    await site.book.order_off(ORDER, "n1", "n1-1", deadline=CLOCK.monotonic() + 10)
    assert site.book.look(*KEY).unusable == message


@pytest.mark.parametrize("uuid", ["", "ffffffff-2222-3333-4444-555555555555"])
async def test_a_drill_proves_whom_it_cuts_as_long_as_it_says_the_same_of_itself(uuid: str) -> None:
    target = replace(TARGET, drilled=Drilled("outlet", UUID, uuid))
    assert await Site(uuid=uuid).proof(target) == ("Proved", "pdu is n1's (proved by a drill) and reads on")
    reason, _ = await Site(uuid="eeeeeeee-2222-3333-4444-555555555555").proof(target)
    assert reason == "IdentityMismatch"


def test_a_uuid_in_the_other_order_of_bytes_is_the_same_machine() -> None:
    assert mismatch("33221100-5544-7766-8899-aabbccddeeff", TARGET) is None


@pytest.mark.parametrize("power", [PowerState.OFF, PowerState.TRANSITION])
async def test_a_fence_that_stands_without_an_incident_is_told(power: PowerState) -> None:
    """The node lives and can't write: nothing else would say so."""
    site, target = Site(), replace(TARGET, by_address=True)
    assert (await site.proof(target))[0] == "Proved"
    site.power = power
    reason, message = await site.proof(target)
    assert reason == "FenceStands"
    assert "lift it" in message


class Obeys(Device):
    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        assert deadline is not None
        return OrderReceipt("off", CLOCK.monotonic(), CLOCK.monotonic(), deadline)


async def test_power_that_is_back_after_it_was_off_is_remembered_for_the_incident() -> None:
    device = Obeys(UUID)
    site = Site()
    book = DeviceBook(cast("Cluster", site), CLOCK, lambda *_: device, lambda: None)
    book.declare({KEY: TARGET})
    await book.order_off(ORDER, "n1", "n1-1", deadline=CLOCK.monotonic() + 10)
    for device.state in (PowerState.ON, PowerState.OFF, PowerState.OFF):
        await book.read(*KEY, "n1-1")
        assert book.look(*KEY).back_on_at is None
    device.state = PowerState.ON
    await book.read(*KEY, "n1-1")
    back = book.look(*KEY).back_on_at
    assert back is not None
    await book.read(*KEY, "n1-1")
    assert book.look(*KEY).back_on_at == back, "only that it came back"
    assert book.look(*KEY).called_off_at is None
    book.end_incident("n1")
    assert book.look(*KEY).back_on_at is None


async def test_since_when_a_device_says_nothing_but_off_is_remembered_for_the_incident() -> None:
    device = Device(UUID)
    book = DeviceBook(cast("Cluster", Site()), CLOCK, lambda *_: device, lambda: None)
    book.declare({KEY: TARGET})
    seen = []
    for device.state in (PowerState.ON, PowerState.OFF, PowerState.OFF):
        await book.read(*KEY, "n1-1")
        seen.append(book.look(*KEY))
    assert seen[0].off_since is None
    assert seen[1].off_since == seen[2].off_since == seen[1].readings[-1].seen_at
    await book.read(*KEY, "n1-2")
    assert book.look(*KEY).off_since == book.look(*KEY).readings[-1].seen_at, "another incident's begins anew"
    book.end_incident("n1")
    assert book.look(*KEY).off_since is None
