"""CRDs of other projects that the lab stands in for: one served version, with a status of its own."""

from __future__ import annotations

from typing import Any


def definition(
    group: str, version: str, kind: str, schema: dict[str, Any], *, scope: str = "Cluster"
) -> dict[str, Any]:
    """The CRD of this kind, whose objects are as the OpenAPI schema says."""
    singular = kind.lower()
    plural = f"{singular}es" if singular.endswith("s") else f"{singular}s"
    served = {
        "name": version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", **schema}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # The API server takes no kind of a *.k8s.io group without it.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in of a test lab"},
        },
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": singular},
            "versions": [served],
        },
    }
