"""A storage as a fence device, on a real API server that serves NetworkFence; csi-addons' part is played as its source does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from contract.apiserver import ApiServerProcess
from contract.test_cluster import CLOCK, connected, crd, served
from ringfence.core.model import PowerState
from ringfence.fencing.network_fence import NETWORK_FENCE, Epochs, NetworkFenceDevice, object_name
from ringfence.kube import kinds
from ringfence.ports import (
    Cluster,
    ClusterError,
    DeviceMisconfigured,
    DeviceRefused,
    DeviceSpec,
    Json,
    TooLate,
)

pytestmark = pytest.mark.apiserver

FINALIZER = "csiaddons.openshift.io/network-fence"
EPOCHS = Epochs(lambda: 1, lambda: 0)
SPEC = DeviceSpec(
    name="ceph",
    driver="storage",
    address="",
    expected_uuid="uuid-1",
    parameters=(("clusterID", "rook"),),
    node="n1",
    cidrs=("10.0.0.1/32", "fd00::1/128"),
    csi_driver="rbd.csi.ceph.com",
    fence_secret=("rook", "csi"),
)
NAME = object_name("ceph", "n1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    process = ApiServerProcess(tmp_path_factory.mktemp("fence"))
    try:
        process.start()
        yield process
    finally:
        process.stop()


async def answers(cluster: Cluster) -> bool:
    """Whether the kind can be listed as the device lists it: for a moment it is served, and "storage is (re)initializing".

    A page without a selector is no sign: until its cache is filled, the API server reads that from etcd and refuses the rest.
    """
    try:
        await cluster.list(NETWORK_FENCE, label_selector="ringfence.io/fence")
    except ClusterError:
        return False
    return True


@pytest.fixture
async def cluster(server: ApiServerProcess) -> AsyncIterator[Cluster]:
    async with connected(server) as adapter:
        if not await served(adapter, NETWORK_FENCE):
            with pytest.raises(DeviceMisconfigured, match="install csi-addons"):
                await NetworkFenceDevice(SPEC, adapter, CLOCK, EPOCHS).open()
            await adapter.create(kinds.CRD, crd(NETWORK_FENCE))
            async with asyncio.timeout(60):
                while not await answers(adapter):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        yield adapter
        for left in await adapter.list(NETWORK_FENCE):
            await adapter.patch(
                NETWORK_FENCE, left["metadata"]["name"], "", {"metadata": {"finalizers": None}}
            )
            await adapter.delete(NETWORK_FENCE, left["metadata"]["name"], left["metadata"]["uid"])


@pytest.fixture
def device(cluster: Cluster) -> NetworkFenceDevice:
    return NetworkFenceDevice(SPEC, cluster, CLOCK, EPOCHS)


async def read(device: NetworkFenceDevice) -> PowerState:
    return (await device.power()).state


async def csi_addons(cluster: Cluster, result: str = "Succeeded", message: str = "") -> Json:
    """One reconciliation: the finalizer, then the result; on deletion the finalizer goes, and nothing is lifted."""
    found = await cluster.get(NETWORK_FENCE, NAME)
    if found["metadata"].get("deletionTimestamp"):
        return await cluster.patch(NETWORK_FENCE, NAME, "", {"metadata": {"finalizers": None}})
    await cluster.patch(NETWORK_FENCE, NAME, "", {"metadata": {"finalizers": [FINALIZER]}})
    verb = "fencing" if found["spec"]["fenceState"] == "Fenced" else "unfencing"
    status = {"result": result, "message": message or f"{verb} operation successful"}
    return await cluster.patch_status(NETWORK_FENCE, NAME, "", status)


async def test_an_order_proves_nothing_until_the_storage_has_said_so(
    cluster: Cluster, device: NetworkFenceDevice
) -> None:
    await device.open()
    assert await read(device) is PowerState.ON
    receipt = await device.order_off()
    assert (receipt.action, receipt.already) == ("cut", False)
    assert receipt.effective_until == receipt.sent_at + device.order_lasts
    assert await read(device) is PowerState.TRANSITION
    await csi_addons(cluster)
    assert await read(device) is PowerState.OFF
    found = await cluster.get(NETWORK_FENCE, NAME)
    assert found["spec"] == {
        "fenceState": "Fenced",
        "cidrs": ["10.0.0.1/32", "fd00::1/128"],
        "driver": "rbd.csi.ceph.com",
        "secret": {"name": "csi", "namespace": "rook"},
        "parameters": {"clusterID": "rook"},
    }
    assert (await device.order_off()).already


async def test_it_is_lifted_before_it_is_removed(cluster: Cluster, device: NetworkFenceDevice) -> None:
    await device.order_off()
    await csi_addons(cluster)
    await device.order_on()
    assert await read(device) is PowerState.TRANSITION, "Succeeded is still about the state before"
    await device.order_on()
    assert (await cluster.get(NETWORK_FENCE, NAME))["spec"]["fenceState"] == "Unfenced"
    await csi_addons(cluster)
    await device.order_on()
    assert await read(device) is PowerState.TRANSITION
    await csi_addons(cluster)
    assert await read(device) is PowerState.ON
    assert (await device.order_on()).already


async def test_one_that_is_being_lifted_is_not_relied_upon(
    cluster: Cluster, device: NetworkFenceDevice
) -> None:
    await device.order_off()
    await csi_addons(cluster)
    await device.order_on()
    with pytest.raises(DeviceRefused, match="being lifted"):
        await device.order_off()


async def test_one_that_somebody_has_set_back_and_forth_is_not_believed(
    cluster: Cluster, device: NetworkFenceDevice
) -> None:
    await device.order_off()
    await csi_addons(cluster)
    for state in ("Unfenced", "Fenced"):
        await cluster.patch(NETWORK_FENCE, NAME, "", {"spec": {"fenceState": state}})
    assert await read(device) is PowerState.TRANSITION


async def test_a_failure_is_told_in_the_storages_words(cluster: Cluster, device: NetworkFenceDevice) -> None:
    await device.order_off()
    await csi_addons(cluster, "Failed", "rpc error: no such pool")
    with pytest.raises(DeviceRefused, match="no such pool"):
        await read(device)


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, cidrs=("10.0.0.1/32", "10.0.0.9/32")),
        replace(SPEC, csi_driver="other.csi"),
        replace(SPEC, fence_class="ceph"),
    ],
)
async def test_a_fence_for_other_addresses_or_another_storage_does_not_count(
    cluster: Cluster, device: NetworkFenceDevice, other: DeviceSpec
) -> None:
    await device.order_off()
    await csi_addons(cluster)
    with pytest.raises(DeviceMisconfigured):
        await NetworkFenceDevice(other, cluster, CLOCK, EPOCHS).power()


async def test_a_deposed_leader_shuts_nobody_out(cluster: Cluster, device: NetworkFenceDevice) -> None:
    with pytest.raises(TooLate):
        await device.order_off(deadline=CLOCK.monotonic() - 0.001)
    assert await read(device) is PowerState.ON
    await device.order_off()
    await csi_addons(cluster)
    with pytest.raises(TooLate):
        await device.order_on(deadline=CLOCK.monotonic() - 0.001)
    assert await read(device) is PowerState.OFF


async def test_a_class_takes_the_place_of_driver_and_secret(cluster: Cluster) -> None:
    device = NetworkFenceDevice(replace(SPEC, fence_class="ceph", parameters=()), cluster, CLOCK, EPOCHS)
    await device.order_off()
    spec = (await cluster.get(NETWORK_FENCE, NAME))["spec"]
    assert spec == {"fenceState": "Fenced", "cidrs": list(SPEC.cidrs), "networkFenceClassName": "ceph"}


async def test_it_is_the_node_that_its_addresses_name(device: NetworkFenceDevice) -> None:
    assert (await device.identity()).uuid == "uuid-1"


def test_a_node_without_an_address_is_said(server: ApiServerProcess) -> None:
    with pytest.raises(DeviceMisconfigured, match=r"spec\.storage\.addresses"):
        NetworkFenceDevice(replace(SPEC, cidrs=()), object(), CLOCK, EPOCHS)  # type: ignore[arg-type] # never asked
