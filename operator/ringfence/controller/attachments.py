"""Which volumes are attached to a node, and which of them nobody there wants any more.

A pod of the node that has not ended wants the volumes of its claims; that is also how Kubernetes' attach-detach
controller decides. What nobody wants is a left-over of pods that are gone, and that controller is to detach it: at once
where the node is out of service, otherwise when its kubelet has unmounted it. Nothing here, and nothing of ours, deletes
a VolumeAttachment: only the storage driver knows when it has let go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ringfence.core.failover.recovery import AttachmentLook
from ringfence.kube.objects import PodObject, PvcObject, VolumeAttachmentObject
from ringfence.kube.store import Key

_ENDED = frozenset({"Succeeded", "Failed"})


def attached_to(
    node: str,
    attachments: Iterable[VolumeAttachmentObject],
    pods: Iterable[PodObject],
    pvcs: Mapping[Key, PvcObject],
) -> tuple[AttachmentLook, ...]:
    """The node's attachments, by name.

    One without a PersistentVolume (a volume written into a pod's own spec) is left out: nothing ties it to its pod.
    """
    here = [a for a in attachments if a.node == node and a.pv]
    if not here:
        return ()
    claims = {
        (pod.namespace, claim)
        for pod in pods
        if pod.node == node and pod.phase not in _ENDED
        for claim in pod.claims
    }
    wanted = {pvc.volume_name for claim in claims if (pvc := pvcs.get(claim)) is not None}
    return tuple(
        AttachmentLook(a.name, a.pv, wanted=a.pv in wanted) for a in sorted(here, key=lambda a: a.name)
    )
