"""docs/rights.md and the roles that the chart renders say the same: no right that is not told of, none told of that is not given."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from apiserver.chart import CHART, NAMESPACE, documents, token
from apiserver.server import Server

pytestmark = pytest.mark.apiserver

PAGE = CHART.parents[1] / "docs" / "rights.md"
ROW = re.compile(r"^\| `([\w-]+)` \| ([\w-]+) \| `([\w./]+)`(?: named `([\w-]+)`)? \| ([a-z ]+) \| (.+) \|$")
Right = tuple[str, str, str, str, str]
"""Role, where, resource, name, verb."""
EVERYTHING = (
    "nodeLeases.rights=always",
    "agent.watchdog.enabled=true",
    "slots.enabled=true",
    "slots.volume.hostPath=/x",
)


def rows() -> list[tuple[str, ...]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    read = [ROW.match(line) for line in lines]
    assert all(read), [line for line, row in zip(lines, read, strict=True) if not row]
    return [row.groups(default="") for row in read if row]


def told() -> Counter[Right]:
    return Counter(
        (role, where, resource, name, verb)
        for role, where, resource, name, verbs, _ in rows()
        for verb in verbs.split()
    )


def given() -> Counter[Right]:
    found: Counter[Right] = Counter()
    for role in documents(*EVERYTHING):
        if role["kind"] not in {"Role", "ClusterRole"}:
            continue
        where = role["metadata"].get("namespace", "cluster")
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        full = f"{resource}.{group}" if group else resource
                        found.update(
                            (role["metadata"]["name"], where, full, name, verb) for verb in rule["verbs"]
                        )
    return found


def test_table_and_roles_say_the_same() -> None:
    assert told() == given()


STANDARD = ("default", "kube-node-lease", "kube-system", NAMESPACE)
ACCOUNTS = {
    "ringfence-controller": ("ringfence-controller", "ringfence-node-leases"),
    "ringfence-agent": ("ringfence-agent",),
    "default": (),
}
"""The accounts of the release's namespace, and the roles that are theirs; the last has none: what anybody has."""


def held(server: Server, account: str, namespace: str) -> set[tuple[str, str, str]]:
    """Resource, name and verb of everything that the API server lets this account's own token do in a namespace."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = server.acting(token(server, account)).must("POST", path, review)["status"]
    return {
        (f"{resource}.{group}" if group else resource, name, verb)
        for rule in status["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames") or [""]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("namespace", STANDARD)
@pytest.mark.parametrize("account", ["ringfence-controller", "ringfence-agent"])
def test_a_token_may_do_what_the_table_says_and_nothing_else(
    governed: Server, account: str, namespace: str
) -> None:
    accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    if not governed.call("GET", f"{accounts}/default").ok:  # no controller manager runs here
        governed.must("POST", accounts, {"metadata": {"name": "default"}})
    expected = {
        (resource, name, verb)
        for role, where, resource, name, verb in told()
        if role in ACCOUNTS[account] and where in {"cluster", namespace}
    }
    assert held(governed, account, namespace) - held(governed, "default", namespace) == expected


def test_a_tenant_declares_in_his_own_namespace_and_sees_nothing_else_of_ours(governed: Server) -> None:
    governed.must("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
    for role in ("view", "edit"):
        binding = {
            "metadata": {"name": role},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": f"ringfence-{role}",
            },
            "subjects": [{"kind": "User", "name": "somebody", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        governed.must("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings", binding)
    tenant, api = governed.acting("somebody"), "/apis/ringfence.io/v1alpha1"
    declared = {
        "apiVersion": "ringfence.io/v1alpha1",
        "kind": "ProtectedVM",
        "metadata": {"name": "db"},
        "spec": {"vm": {"name": "db"}},
    }
    tenant.must("POST", f"{api}/namespaces/shop/protectedvms", declared)
    assert tenant.must("GET", f"{api}/namespaces/shop/protectedvms/db")["spec"]["vm"]["name"] == "db"
    said = {"status": {"node": "n1"}}
    for method, path, body in (
        ("POST", f"{api}/namespaces/default/protectedvms", declared),
        ("GET", f"{api}/protectedvms", None),
        ("PATCH", f"{api}/namespaces/shop/protectedvms/db/status", said),
        ("GET", f"{api}/fencedevices", None),
        ("GET", f"{api}/failovers", None),
        ("GET", f"{api}/hazones", None),
    ):
        assert tenant.call(method, path, body).status == 403, (method, path)
    tenant.must("DELETE", f"{api}/namespaces/shop/protectedvms/db")


def test_every_right_has_its_reason_and_none_is_a_wildcard() -> None:
    assert all(len(why) > 5 for *_, why in rows())
    assert not [right for right in given() if "*" in "".join(right)]


def test_roles_are_bound_to_our_accounts_and_tenants_by_nobody() -> None:
    bound = {
        (each["roleRef"]["name"], subject["name"])
        for each in documents(*EVERYTHING)
        if each["kind"] in {"RoleBinding", "ClusterRoleBinding"}
        for subject in each["subjects"]
    }
    roles = {right[0] for right in given()}
    assert {role for role, _ in bound} == roles - {"ringfence-view", "ringfence-edit"}
    assert {account for _, account in bound} == {"ringfence-controller", "ringfence-agent"}


def test_tenants_parts_are_aggregated_into_kubernetes_own_roles(governed: Server) -> None:
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    for own, into in (("view", "view"), ("view", "edit"), ("edit", "edit"), ("edit", "admin")):
        labels = governed.must("GET", f"{path}/ringfence-{own}")["metadata"]["labels"]
        rule = governed.must("GET", f"{path}/{into}")["aggregationRule"]["clusterRoleSelectors"]
        assert any(each["matchLabels"].items() <= labels.items() for each in rule), (own, into)
    labels = governed.must("GET", f"{path}/ringfence-edit")["metadata"]["labels"]
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in labels
