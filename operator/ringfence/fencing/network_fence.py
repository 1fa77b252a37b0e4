"""A storage that shuts a node out: csi-addons' ``NetworkFence`` as a device that is ordered and read like any other.

The order creates one object for the node, with the node's addresses, in the state ``Fenced``; csi-addons has the CSI driver
block them and writes the result into its status. *Off* is read from the object alone: ``Fenced``, never changed since it
was created (so that its status is about this state), and ``Succeeded``. One that was made before the cluster's store was set
back says what was true then: it is no *off*, and the next order removes it and makes another, which csi-addons has to carry
out anew. Lifting sets ``Unfenced``, waits for that result,
and removes the object: its mere deletion lifts nothing (csi-addons only takes its finalizer away).

Errors are the device's: DeviceRefused where csi-addons says Failed, DeviceMisconfigured where it isn't there at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ringfence.core.model import PowerState
from ringfence.fencing.program import sentence
from ringfence.ports import (
    AlreadyExists,
    Clock,
    Cluster,
    ClusterError,
    DeviceIdentity,
    DeviceMisconfigured,
    DeviceRefused,
    DeviceSpec,
    DeviceUnreachable,
    Forbidden,
    Json,
    Kind,
    NotFound,
    OrderReceipt,
    PowerReading,
)

NETWORK_FENCE = Kind("csiaddons.openshift.io", "v1alpha1", "networkfences", "NetworkFence", namespaced=False)
NETWORK_FENCE_CLASS = Kind(
    "csiaddons.openshift.io", "v1alpha1", "networkfenceclasses", "NetworkFenceClass", namespaced=False
)
FENCED, UNFENCED = "Fenced", "Unfenced"
_EPOCH = "ringfence.io/roster-epoch"
_SUCCEEDED, _FAILED = "Succeeded", "Failed"
_UNFENCE_DONE = "unfencing operation successful"
"""The one sign that a result is about ``Unfenced`` and not about the state before: csi-addons keeps no observed generation.
Mistaken for done it would let a node come back without its storage, nothing worse."""
ORDER_LASTS = 30.0
"""Seconds: csi-addons asks the CSI driver within moments, and gives it its own time."""


def object_name(device: str, node: str) -> str:
    """The NetworkFence's name: one for each device and node."""
    mark = hashlib.sha256(f"{device}/{node}".encode()).hexdigest()[:8]
    return f"ringfence-{node[:200]}-{mark}"


@dataclass(frozen=True, slots=True)
class Epochs:
    """The roster's epochs, by which what was made before the store was set back is told from what was made since."""

    now: Callable[[], int]
    """The present one, which is written on what is made."""
    set_back: Callable[[], int]
    """That up to which nothing in the store is believed (:mod:`ringfence.core.setback`); 0: it was never set back."""


class NetworkFenceDevice:
    """See the module; it is a PowerDevice whose power is the node's way to the storage."""

    def __init__(
        self,
        spec: DeviceSpec,
        cluster: Cluster,
        clock: Clock,
        epochs: Epochs,
    ) -> None:
        self._epochs = epochs
        if not spec.cidrs:
            raise DeviceMisconfigured(
                f"fence device {spec.name}: node {spec.node} has no address to shut out: give it one in spec.storage.addresses"
            )
        self._spec = spec
        self._cluster = cluster
        self._clock = clock
        self._name = object_name(spec.name, spec.node)

    @property
    def order_lasts(self) -> float:
        """Seconds after its sending for which an order may still take effect."""
        return ORDER_LASTS

    async def open(self) -> None:
        """Look whether csi-addons is there, and whether the class is about the driver whose volumes are counted on."""
        try:
            await self._cluster.list(NETWORK_FENCE, label_selector=f"ringfence.io/fence={self._name[-8:]}")
        except NotFound:
            raise DeviceMisconfigured(
                f"fence device {self._spec.name}: the cluster has no NetworkFence ({NETWORK_FENCE.api_version}): install csi-addons"
            ) from None
        except ClusterError as error:
            raise self._failed(error) from error
        if self._spec.fence_class:
            await self._class_fits(self._spec.fence_class)

    async def _class_fits(self, name: str) -> None:
        """A class of another CSI driver would shut the node out of another storage, and say Succeeded."""
        try:
            found = await self._cluster.get(NETWORK_FENCE_CLASS, name)
        except NotFound:
            raise DeviceMisconfigured(
                f"fence device {self._spec.name}: there is no NetworkFenceClass {name}: correct"
                " spec.storage.networkFenceClassName, or create it"
            ) from None
        except ClusterError as error:
            raise self._failed(error) from error
        driver = _at(found, "spec", "provisioner")
        if driver != self._spec.csi_driver:
            raise DeviceMisconfigured(
                f"fence device {self._spec.name}: NetworkFenceClass {name} is {driver}'s, not {self._spec.csi_driver}'s: its"
                " fence would cut the node from another storage; correct spec.storage.csiDriver or networkFenceClassName"
            )

    async def identity(self) -> DeviceIdentity:
        """The node is named by its own addresses, as its Node object has them: it can't be another's outlet."""
        return DeviceIdentity(uuid=self._spec.expected_uuid, serial="")

    async def power(self) -> PowerReading:
        """``off``: the node is shut out; ``on``: nothing of ours stands against it."""
        at = self._clock.monotonic()
        return PowerReading(self._state(await self._get()), at)

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        """Create the object; one that stands fenced already is left as it is, what is left of a lifted one goes first.

        So does one of before the store was set back. Its removal lifts nothing.
        """
        sent_at = self._clock.monotonic()
        found = await self._get()
        try:
            if found is not None and (_lifted(found) or (self._of_before(found) and not _deleting(found))):
                await self._remove(found, deadline)
                found = None
        except ClusterError as error:
            raise self._failed(error, sent_at) from error
        already = found is not None
        if found is not None:
            if _state(found) != FENCED or _deleting(found):
                raise DeviceRefused(
                    f"NetworkFence {self._name} is being lifted: it is tried again when that is over"
                )
            self._fits(found)
        else:
            try:
                await self._cluster.create(NETWORK_FENCE, self._object(), deadline=deadline)
            except AlreadyExists:
                already = True
            except ClusterError as error:
                raise self._failed(error, sent_at) from error
        answered_at = self._clock.monotonic()
        return OrderReceipt("cut", sent_at, answered_at, sent_at + ORDER_LASTS, already)

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        """Lift it, one step a call: state ``Unfenced`` first, removal once that has succeeded."""
        sent_at = self._clock.monotonic()
        found = await self._get()
        try:
            if found is not None and not _deleting(found):
                if _state(found) != UNFENCED:
                    # This very object and no other: one that was made meanwhile is another order's.
                    seen = {key: _at(found, "metadata", key) for key in ("uid", "resourceVersion")}
                    change: Json = {"metadata": seen, "spec": {"fenceState": UNFENCED}}
                    await self._cluster.patch(NETWORK_FENCE, self._name, "", change, deadline=deadline)
                elif _lifted(found):
                    await self._remove(found, deadline)
                elif _result(found) == _FAILED:
                    raise DeviceRefused(
                        f"NetworkFence {self._name} is not lifted: {_message(found)}", sent_at=sent_at
                    )
        except NotFound:
            found = None
        except ClusterError as error:
            raise self._failed(error, sent_at) from error
        answered_at = self._clock.monotonic()
        return OrderReceipt("lift", sent_at, answered_at, sent_at + ORDER_LASTS, found is None)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _remove(self, found: Json, deadline: float | None) -> None:
        await self._cluster.delete(
            NETWORK_FENCE, self._name, str(_at(found, "metadata", "uid")), deadline=deadline
        )

    def _state(self, found: Json | None) -> PowerState:
        if found is None:
            return PowerState.ON
        self._fits(found)
        if _state(found) != FENCED or _deleting(found) or self._of_before(found):
            return PowerState.TRANSITION
        if _result(found) == _FAILED:
            raise DeviceRefused(f"NetworkFence {self._name}: {_message(found)}")
        # Changed since it was created: its status may be about what stood there before.
        untouched = _at(found, "metadata", "generation") == 1
        about_this = _at(found, "status", "message") != _UNFENCE_DONE
        done = _result(found) == _SUCCEEDED and untouched and about_this
        return PowerState.OFF if done else PowerState.TRANSITION

    def _of_before(self, found: Json) -> bool:
        """Whether it was made before the store was set back, or nobody can tell: what it says is old."""
        set_back = self._epochs.set_back()
        made = str(_at(found, "metadata", "annotations", _EPOCH) or "")
        return set_back > 0 and (int(made) if made.isdecimal() else 0) <= set_back

    def _fits(self, found: Json) -> None:
        """It must be about this very node: all of its addresses, by this CSI driver."""
        missing = sorted(set(self._spec.cidrs) - set(_at(found, "spec", "cidrs") or ()))
        if missing:
            raise DeviceMisconfigured(
                f"NetworkFence {self._name} does not shut out {', '.join(missing)} of {self._spec.node}: it was made for other"
                " addresses; delete it once no guest of the node needs it"
            )
        wanted = self._choice()
        if any(_at(found, "spec", key) != value for key, value in wanted.items() if key != "secret"):
            raise DeviceMisconfigured(f"NetworkFence {self._name} was made for another storage than {wanted}")

    def _choice(self) -> dict[str, Any]:
        spec = self._spec
        if spec.fence_class:
            return {"networkFenceClassName": spec.fence_class}
        namespace, name = spec.fence_secret
        return {"driver": spec.csi_driver, "secret": {"name": name, "namespace": namespace}}

    def _object(self) -> Json:
        spec: Json = {"fenceState": FENCED, "cidrs": list(self._spec.cidrs), **self._choice()}
        if self._spec.parameters:
            spec["parameters"] = dict(self._spec.parameters)
        return {
            "apiVersion": NETWORK_FENCE.api_version,
            "kind": NETWORK_FENCE.kind,
            "metadata": {
                "name": self._name,
                "labels": {
                    "app.kubernetes.io/managed-by": "ringfence",
                    "ringfence.io/fence": self._name[-8:],
                },
                "annotations": {
                    "ringfence.io/node": self._spec.node,
                    _EPOCH: str(self._epochs.now()),
                    "ringfence.io/why": "this node's VMs may run elsewhere on these volumes: don't lift it while their old guests may live",
                },
            },
            "spec": spec,
        }

    async def _get(self) -> Json | None:
        try:
            return await self._cluster.get(NETWORK_FENCE, self._name)
        except NotFound:
            return None
        except ClusterError as error:
            raise self._failed(error) from error

    def _failed(
        self, error: ClusterError, sent_at: float | None = None
    ) -> DeviceMisconfigured | DeviceUnreachable:
        if isinstance(error, Forbidden):
            return DeviceMisconfigured(f"fence device {self._spec.name}: {error}", sent_at=sent_at)
        return DeviceUnreachable(f"fence device {self._spec.name}: {error}", sent_at=sent_at)


def _at(raw: object, *path: str) -> Any:
    for step in path:
        raw = raw.get(step) if isinstance(raw, dict) else None
    return raw


def _state(found: Json) -> str:
    return str(_at(found, "spec", "fenceState") or FENCED)


def _result(found: Json) -> str:
    return str(_at(found, "status", "result") or "")


def _message(found: Json) -> str:
    return sentence(str(_at(found, "status", "message") or "Failed"), ())


def _lifted(found: Json) -> bool:
    """Whether it is lifted, so that its removal hides nothing."""
    done = _result(found) == _SUCCEEDED and _at(found, "status", "message") == _UNFENCE_DONE
    return _state(found) == UNFENCED and done and not _deleting(found)


def _deleting(found: Json) -> bool:
    return bool(_at(found, "metadata", "deletionTimestamp"))
