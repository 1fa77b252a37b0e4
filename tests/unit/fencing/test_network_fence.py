"""A NetworkFence between two orders, and whose it is; what csi-addons makes of one is in the contract's suite."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from ringfence.core.model import PowerState
from ringfence.fencing.network_fence import (
    NETWORK_FENCE,
    NETWORK_FENCE_CLASS,
    Epochs,
    NetworkFenceDevice,
    object_name,
)
from ringfence.ports import (
    AlreadyExists,
    Conflict,
    DeviceMisconfigured,
    DeviceRefused,
    DeviceSpec,
    Json,
    Kind,
    NotFound,
    SystemClock,
)

SPEC = DeviceSpec(
    name="ceph",
    driver="storage",
    address="",
    node="n1",
    cidrs=("10.0.0.1/32",),
    csi_driver="rbd.csi.ceph.com",
    fence_secret=("rook", "csi"),
)
NAME = object_name("ceph", "n1")
NEVER = Epochs(lambda: 480, lambda: 0)
"""The store was never set back."""


class Shelf:
    """The API server's part: names, UIDs, versions, generations."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Json] = {}
        self._version = 0

    def put(self, kind: Kind, name: str, obj: Json) -> Json:
        self._version += 1
        obj.setdefault("metadata", {}).update(
            name=name, uid=f"uid-{self._version}", resourceVersion=str(self._version), generation=1
        )
        self.objects[kind.plural, name] = obj
        return obj

    async def list(self, kind: Kind, **_: Any) -> list[Json]:
        return [obj for (plural, _), obj in self.objects.items() if plural == kind.plural]

    async def get(self, kind: Kind, name: str) -> Json:
        if (found := self.objects.get((kind.plural, name))) is None:
            raise NotFound(name)
        return copy.deepcopy(found)

    async def create(self, kind: Kind, obj: Json, **_: Any) -> Json:
        name = obj["metadata"]["name"]
        if (kind.plural, name) in self.objects:
            raise AlreadyExists(name)
        return self.put(kind, name, copy.deepcopy(obj))

    async def patch(self, kind: Kind, name: str, namespace: str, change: Json, **more: Any) -> Json:
        del namespace, more
        found = self.objects.get((kind.plural, name))
        if found is None:
            raise NotFound(name)
        meta = found["metadata"]
        if any(meta[key] != value for key, value in change.get("metadata", {}).items()):
            raise Conflict(name)
        self._version += 1
        found["spec"].update(change["spec"])
        meta.update(resourceVersion=str(self._version), generation=meta["generation"] + 1)
        return found

    async def delete(self, kind: Kind, name: str, uid: str, **_: Any) -> bool:
        found = self.objects.get((kind.plural, name))
        if found is None or found["metadata"]["uid"] != uid:
            return False
        del self.objects[kind.plural, name]
        return True

    def says(self, result: str, message: str) -> None:
        self.objects[NETWORK_FENCE.plural, NAME]["status"] = {"result": result, "message": message}


class Late(Shelf):
    """The order on its way takes so long that somebody else has made another object of that name meanwhile."""

    async def patch(self, kind: Kind, name: str, namespace: str, change: Json, **more: Any) -> Json:
        old = self.objects[kind.plural, name]
        self.put(kind, name, {"spec": {**old["spec"], "fenceState": "Fenced"}, "metadata": {}})
        return await super().patch(kind, name, namespace, change, **more)


def device(shelf: Shelf, spec: DeviceSpec = SPEC) -> NetworkFenceDevice:
    return NetworkFenceDevice(spec, shelf, SystemClock(), NEVER)  # type: ignore[arg-type] # the part of it that is used


async def test_a_late_lift_does_not_lift_the_fence_that_came_after() -> None:
    shelf = Late()
    ceph = device(shelf)
    await ceph.order_off()
    shelf.says("Succeeded", "fencing operation successful")
    with pytest.raises(Exception, match=NAME):
        await ceph.order_on()
    assert shelf.objects[NETWORK_FENCE.plural, NAME]["spec"]["fenceState"] == "Fenced"


async def test_what_is_left_of_a_lifted_fence_does_not_stand_in_the_way_of_the_next() -> None:
    shelf = Shelf()
    ceph = device(shelf)
    await ceph.order_off()
    shelf.says("Succeeded", "fencing operation successful")
    await ceph.order_on()
    shelf.says("Succeeded", "unfencing operation successful")
    receipt = await ceph.order_off()
    assert not receipt.already
    assert shelf.objects[NETWORK_FENCE.plural, NAME]["metadata"]["generation"] == 1
    assert (await ceph.power()).state is PowerState.TRANSITION
    shelf.says("Succeeded", "fencing operation successful")
    assert (await ceph.power()).state is PowerState.OFF


@pytest.mark.parametrize(
    ("provisioner", "says"),
    [
        ("rbd.csi.ceph.com", None),
        ("cephfs.csi.ceph.com", r"is cephfs\.csi\.ceph\.com's, not rbd\.csi\.ceph\.com's"),
        (None, "there is no NetworkFenceClass rook"),
    ],
)
async def test_a_class_of_another_driver_would_cut_from_another_storage(
    provisioner: str | None, says: str | None
) -> None:
    shelf = Shelf()
    if provisioner is not None:
        shelf.put(NETWORK_FENCE_CLASS, "rook", {"spec": {"provisioner": provisioner}})
    ceph = device(shelf, replace(SPEC, fence_class="rook", fence_secret=("", "")))
    if says is None:
        await ceph.open()
    else:
        with pytest.raises(DeviceMisconfigured, match=says):
            await ceph.open()


async def test_why_it_is_not_lifted_is_told_in_the_storages_words() -> None:
    shelf = Shelf()
    ceph = device(shelf)
    await ceph.order_off()
    shelf.says("Succeeded", "fencing operation successful")
    await ceph.order_on()
    shelf.says("Failed", "rpc error:\n\x1b[2Jno such pool" + 5000 * "!")
    with pytest.raises(DeviceRefused, match=r"is not lifted: rpc error: \[2Jno such pool!{200,300}$"):
        await ceph.order_on()


async def test_the_result_of_the_lift_before_is_not_taken_for_the_fence() -> None:
    """A result that comes late, onto the object that was made anew under the same name."""
    shelf = Shelf()
    ceph = device(shelf)
    await ceph.order_off()
    shelf.says("Succeeded", "unfencing operation successful")
    assert (await ceph.power()).state is PowerState.TRANSITION


async def test_a_fence_of_before_the_store_was_set_back_is_made_anew_and_never_believed() -> None:
    shelf, epoch, set_back = Shelf(), 480, 0
    ceph = NetworkFenceDevice(
        SPEC,
        shelf,  # type: ignore[arg-type] # the part of it that is used
        SystemClock(),
        Epochs(lambda: epoch, lambda: set_back),
    )
    await ceph.order_off()
    shelf.says("Succeeded", "fencing operation successful")
    assert (await ceph.power()).state is PowerState.OFF
    before = shelf.objects[NETWORK_FENCE.plural, NAME]["metadata"]["uid"]

    epoch, set_back = 502, 501
    assert (await ceph.power()).state is PowerState.TRANSITION
    receipt = await ceph.order_off()
    assert not receipt.already
    assert shelf.objects[NETWORK_FENCE.plural, NAME]["metadata"]["uid"] != before
    assert (await ceph.power()).state is PowerState.TRANSITION
    shelf.says("Succeeded", "fencing operation successful")
    assert (await ceph.power()).state is PowerState.OFF


async def test_a_fence_that_says_nothing_of_when_it_was_made_is_of_before() -> None:
    shelf = Shelf()
    await device(shelf).order_off()
    shelf.says("Succeeded", "fencing operation successful")
    del shelf.objects[NETWORK_FENCE.plural, NAME]["metadata"]["annotations"]
    assert (await device(shelf).power()).state is PowerState.OFF, "the store was never set back"
    ceph = NetworkFenceDevice(SPEC, shelf, SystemClock(), Epochs(lambda: 502, lambda: 501))  # type: ignore[arg-type]
    assert (await ceph.power()).state is PowerState.TRANSITION
