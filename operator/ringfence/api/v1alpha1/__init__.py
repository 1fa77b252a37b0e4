"""The kinds of `ringfence.io/v1alpha1`, one a file."""

from __future__ import annotations

from ringfence.api.v1alpha1.conditions import Condition
from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hacluster import HACluster
from ringfence.api.v1alpha1.hapolicy import HAPolicy
from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.api.v1alpha1.meta import API_VERSION, GROUP, VERSION, ObjectMeta, Resource
from ringfence.api.v1alpha1.nodemaintenance import NodeMaintenance
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.api.v1alpha1.protectedvm import ProtectedVM

KINDS: tuple[type[Resource], ...] = (
    HACluster,
    HAZone,
    ProtectedVM,
    HAPolicy,
    FenceDevice,
    NodeMaintenance,
    Failover,
    NodeReport,
)
"""Every kind, in the order in which a reader meets them."""

__all__ = [
    "API_VERSION",
    "GROUP",
    "KINDS",
    "VERSION",
    "Condition",
    "Failover",
    "FenceDevice",
    "HACluster",
    "HAPolicy",
    "HAZone",
    "NodeMaintenance",
    "NodeReport",
    "ObjectMeta",
    "ProtectedVM",
    "Resource",
]
