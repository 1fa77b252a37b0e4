"""How each kind that we read or write is addressed in the API."""

from __future__ import annotations

from ringfence.ports import Kind

NODE = Kind("", "v1", "nodes", "Node", namespaced=False)
POD = Kind("", "v1", "pods", "Pod", namespaced=True)
SECRET = Kind("", "v1", "secrets", "Secret", namespaced=True)
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap", namespaced=True)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
PVC = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", namespaced=True)
PV = Kind("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
VOLUME_ATTACHMENT = Kind("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", namespaced=False)
STORAGE_CLASS = Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
EVENT = Kind("events.k8s.io", "v1", "events", "Event", namespaced=True)
CRD = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)

VM = Kind("kubevirt.io", "v1", "virtualmachines", "VirtualMachine", namespaced=True)
VMI = Kind("kubevirt.io", "v1", "virtualmachineinstances", "VirtualMachineInstance", namespaced=True)

HA_CLUSTER = Kind("ringfence.io", "v1alpha1", "haclusters", "HACluster", namespaced=False)
HA_ZONE = Kind("ringfence.io", "v1alpha1", "hazones", "HAZone", namespaced=False)
FENCE_DEVICE = Kind("ringfence.io", "v1alpha1", "fencedevices", "FenceDevice", namespaced=False)
PROTECTED_VM = Kind("ringfence.io", "v1alpha1", "protectedvms", "ProtectedVM", namespaced=True)
HA_POLICY = Kind("ringfence.io", "v1alpha1", "hapolicies", "HAPolicy", namespaced=True)
FAILOVER = Kind("ringfence.io", "v1alpha1", "failovers", "Failover", namespaced=False)
NODE_MAINTENANCE = Kind("ringfence.io", "v1alpha1", "nodemaintenances", "NodeMaintenance", namespaced=False)
NODE_REPORT = Kind("ringfence.io", "v1alpha1", "nodereports", "NodeReport", namespaced=False)
