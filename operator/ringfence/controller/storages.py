"""Storages as fence devices: which volumes are behind them, and what the VMs write to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.controller.world import World
from ringfence.core.failover.record import VmRecord
from ringfence.core.failover.recovery import PodLook
from ringfence.core.fencing.proof import CutVm
from ringfence.core.fencing.rungs import DeviceLook
from ringfence.core.model import Boot
from ringfence.kube.objects import PvcObject, PvObject
from ringfence.kube.store import Key

NOT_ALLOWED = "its zone does not let a storage's fence count: set spec.fencing.allowStorageFence"
Claims = Mapping[Key, PvcObject]
Volumes = Mapping[Key, PvObject]


def behind(device: FenceDevice, volumes: Iterable[str], claims: Claims, pvs: Volumes) -> frozenset[str]:
    """Which of these volumes (``namespace/claim``) the storage shuts the node out of."""
    return frozenset(volume for volume in volumes if not_behind(device, volume, claims, pvs) is None)


def not_behind(device: FenceDevice, volume: str, claims: Claims, pvs: Volumes) -> str | None:
    """Why nothing shows that this volume (``namespace/claim``) is behind the fence, with the mend; None: it is.

    A volume of the CSI driver has to be of a class that is named. One without a driver is another matter: its class is
    a mere word, by which a claim and a volume on whatever storage find each other, so somebody has to state what it is.
    """
    storage = device.spec.storage
    assert storage is not None
    namespace, _, name = volume.partition("/")
    claim = claims.get((namespace, name))
    pv = pvs.get(("", claim.volume_name)) if claim is not None and claim.volume_name else None
    if claim is None or pv is None or (pv.claim_namespace, pv.claim_name) != (namespace, name):
        return "it is no claim that is bound to a volume"
    if pv.host_path:
        return "it is a path of its host"
    class_ = claim.storage_class
    if not pv.csi_driver:
        if class_ and class_ in storage.static_storage_classes:
            return None
        return (
            f"no CSI driver made it, so nothing shows on which storage it is: if it is on this one, name its class {class_!r} in"
            " spec.storage.staticStorageClasses"
        )
    if pv.csi_driver != storage.csi_driver:
        return f"it is {pv.csi_driver}'s, not {storage.csi_driver}'s"
    if class_ not in storage.storage_classes:
        return f"name its class {class_!r} in spec.storage.storageClasses"
    return None


def written_by(world: World, vms: Iterable[VmRecord], pods: Iterable[PodLook]) -> tuple[CutVm, ...]:
    """Each VM of the incident with its pods on the node, and everything that its guest may write to."""
    pods = tuple(pods)
    found = []
    for vm in vms:
        key = (vm.namespace, vm.name)
        spec, instance = world.vms.store.get(key), world.vmis.store.get(key)
        mine = tuple(p for p in pods if p.vmi_uid and p.vmi_uid == vm.vmi_uid)
        held = (world.pods.store.get((p.ref.namespace, p.ref.name)) for p in mine)
        # What the pods mount is the truth: the state of EFI and TPM, and volumes on their way to another storage.
        claims = dict.fromkeys(
            (
                *(spec.claims if spec else ()),
                *(instance.claims if instance else ()),
                *(claim for pod in held if pod is not None for claim in pod.claims),
            )
        )
        hosts = dict.fromkeys(
            (*(spec.host_disks if spec else ()), *(instance.host_disks if instance else ()))
        )
        volumes = (
            *(f"{vm.namespace}/{claim}" for claim in claims),
            # No device cuts a file of the host, nor a device of it that is handed to the guest.
            *(f"hostDisk/{name}" for name in hosts),
            *(
                ("hostDevice/",)
                if (spec and spec.has_host_devices) or (instance and instance.has_host_devices)
                else ()
            ),
        )
        found.append(CutVm(vm.namespace, vm.name, vm.vmi_uid, tuple(p.ref.uid for p in mine), volumes))
    return tuple(found)


def guests_since(report: NodeReport | None, boot: Boot, proved_at: int) -> frozenset[str] | None:
    """What the agent of this boot has said of its guests since the proof; None: nothing.

    Args:
        proved_at: the version of the cluster's store that has the proof. One store keeps all of our objects, and its versions
            grow with each write: a report of an earlier one may be from before the guest had started, whenever it is seen.
    """
    if report is None or not proved_at or int(report.metadata.resource_version or 0) <= proved_at:
        return None
    status = report.status
    if (status.node_uid, status.boot_id) != (boot.node_uid, boot.boot_id) or status.guests is None:
        return None
    return frozenset(status.guests)


def only_a_reboot_lifts(nodes: Iterable[str], reports: Mapping[Key, NodeReport]) -> str:
    """Of which nodes nobody can say that the old guests are gone, as the end of a sentence; empty: of none.

    Their agents see no guests (:attr:`NodeReport.status.guests`), so a cut from the storage stands until they have rebooted.
    """
    blind = sorted(
        n for n in nodes if (report := reports.get(("", n))) is None or report.status.guests is None
    )
    if not blind:
        return ""
    return (
        f"; after a storage's fence only a reboot lets {', '.join(blind)} at the storage again, since the agent there sees no guests:"
        " agent.watchdog.enabled in the chart gives it hostPID"
    )


def as_storage(
    look: DeviceLook, device: FenceDevice, zone: HAZone, world: World, vms: Iterable[CutVm]
) -> DeviceLook:
    """The look at a storage as the ladder wants it."""
    wanted = {volume for vm in vms for volume in vm.volumes}
    cuts = behind(device, wanted, world.pvcs.store, world.pvs.store)
    refused = None if zone.spec.fencing.allow_storage_fence else NOT_ALLOWED
    # "Off" without an order of ours is no node that may be booting: nothing needs to wait for it.
    return replace(look, cuts=cuts, unusable=look.unusable or refused, called_off_at=None, back_on_at=None)
