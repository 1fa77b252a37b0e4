"""What our accounts may do, and that they may do nothing else of what would hurt."""

from __future__ import annotations

import pytest

from apiserver.chart import NAMESPACE
from apiserver.server import Server

pytestmark = pytest.mark.apiserver

OWN, NODE_LEASES, OTHER = NAMESPACE, "kube-node-lease", "default"

ALLOWED = [
    ("controller", "patch", "", "nodes", ""),
    ("controller", "watch", "", "pods", OTHER),
    ("controller", "delete", "", "pods", OTHER),
    ("controller", "patch", "", "pods", OTHER),
    ("controller", "list", "", "persistentvolumeclaims", OTHER),
    ("controller", "list", "storage.k8s.io", "volumeattachments", ""),
    ("controller", "get", "storage.k8s.io", "storageclasses", ""),
    ("controller", "delete", "kubevirt.io", "virtualmachineinstances", OTHER),
    ("controller", "create", "kubevirt.io", "virtualmachineinstances", OTHER),
    ("controller", "patch", "kubevirt.io", "virtualmachineinstances", OTHER),
    ("controller", "update", "coordination.k8s.io", "leases/virt-controller", "kubevirt"),
    ("controller", "patch", "kubevirt.io", "virtualmachines/status", OTHER),
    ("controller", "watch", "kubevirt.io", "virtualmachineinstancemigrations", OTHER),
    ("controller", "create", "events.k8s.io", "events", OTHER),
    ("controller", "create", "ringfence.io", "failovers", ""),
    ("controller", "patch", "ringfence.io", "failovers/status", ""),
    ("controller", "patch", "ringfence.io", "protectedvms/status", OTHER),
    ("controller", "create", "ringfence.io", "protectedvms", OTHER),
    ("controller", "patch", "ringfence.io", "protectedvms", OTHER),
    ("controller", "delete", "ringfence.io", "protectedvms", OTHER),
    ("controller", "watch", "ringfence.io", "hapolicies", OTHER),
    ("controller", "patch", "ringfence.io", "hapolicies/status", OTHER),
    ("controller", "create", "csiaddons.openshift.io", "networkfences", ""),
    ("controller", "patch", "csiaddons.openshift.io", "networkfences", ""),
    ("controller", "delete", "csiaddons.openshift.io", "networkfences", ""),
    ("controller", "create", "", "secrets", OWN),
    ("controller", "get", "", "secrets", OWN),
    ("controller", "update", "", "secrets/ringfence-group-keys", OWN),
    ("controller", "patch", "", "configmaps", OWN),
    ("controller", "update", "coordination.k8s.io", "leases", OWN),
    ("controller", "watch", "coordination.k8s.io", "leases", NODE_LEASES),
    ("agent", "get", "", "nodes", ""),
    ("agent", "create", "ringfence.io", "nodereports", ""),
    ("agent", "patch", "ringfence.io", "nodereports/status", ""),
    ("agent", "update", "coordination.k8s.io", "leases", OWN),
    ("agent", "watch", "", "configmaps/ringfence-roster", OWN),
]
REFUSED = [
    ("controller", "create", "ringfence.io", "hapolicies", OTHER),
    ("controller", "delete", "ringfence.io", "hapolicies", OTHER),
    ("controller", "delete", "", "nodes", ""),
    ("controller", "patch", "", "nodes/status", ""),
    ("controller", "create", "", "pods", OTHER),
    ("controller", "get", "", "secrets", OTHER),
    ("controller", "list", "", "secrets", OWN),
    ("controller", "patch", "", "secrets", OWN),
    ("controller", "update", "", "secrets", OWN),
    ("controller", "update", "", "secrets/ringfence-gossip", OWN),
    ("controller", "delete", "", "secrets/ringfence-group-keys", OWN),
    ("controller", "update", "", "secrets/ringfence-group-keys", OTHER),
    ("controller", "get", "", "configmaps", OTHER),
    ("controller", "update", "kubevirt.io", "virtualmachineinstances", OTHER),
    ("controller", "update", "coordination.k8s.io", "leases", "kubevirt"),
    ("controller", "update", "coordination.k8s.io", "leases/virt-operator", "kubevirt"),
    ("controller", "create", "coordination.k8s.io", "leases/virt-controller", "kubevirt"),
    ("controller", "delete", "kubevirt.io", "virtualmachines", OTHER),
    ("controller", "patch", "kubevirt.io", "virtualmachines", OTHER),
    ("controller", "patch", "coordination.k8s.io", "leases", NODE_LEASES),
    ("controller", "patch", "ringfence.io", "failovers", ""),
    ("controller", "patch", "ringfence.io", "haclusters", ""),
    ("controller", "patch", "ringfence.io", "nodereports/status", ""),
    ("controller", "delete", "storage.k8s.io", "volumeattachments", ""),
    ("controller", "patch", "admissionregistration.k8s.io", "validatingwebhookconfigurations/ringfence", ""),
    ("controller", "patch", "csiaddons.openshift.io", "networkfences/status", ""),
    ("controller", "delete", "csiaddons.openshift.io", "networkfenceclasses", ""),
    ("agent", "create", "csiaddons.openshift.io", "networkfences", ""),
    ("agent", "list", "", "nodes", ""),
    ("agent", "patch", "", "nodes", ""),
    ("agent", "list", "", "pods", OWN),
    ("agent", "get", "", "secrets/ringfence-gossip", OWN),
    ("agent", "get", "", "secrets/ringfence-group-keys", OWN),
    ("agent", "get", "", "configmaps", OWN),
    ("agent", "patch", "", "configmaps/ringfence-roster", OWN),
    ("agent", "delete", "coordination.k8s.io", "leases", OWN),
    ("agent", "get", "coordination.k8s.io", "leases", NODE_LEASES),
    ("agent", "create", "ringfence.io", "failovers", ""),
    ("agent", "patch", "ringfence.io", "failovers/status", ""),
    ("agent", "delete", "ringfence.io", "nodereports", ""),
]


@pytest.mark.parametrize(("right", "expected"), [(r, True) for r in ALLOWED] + [(r, False) for r in REFUSED])
def test_rights(governed: Server, right: tuple[str, str, str, str, str], expected: bool) -> None:
    account, verb, group, resource, namespace = right
    plural, _, rest = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plural, "namespace": namespace}
    attributes["subresource" if rest == "status" else "name"] = rest
    spec = {
        "user": f"system:serviceaccount:{NAMESPACE}:ringfence-{account}",
        "resourceAttributes": attributes,
    }
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer = governed.must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert answer["status"]["allowed"] is expected
