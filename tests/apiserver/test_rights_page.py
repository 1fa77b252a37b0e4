"""docs/rights.md and the roles that the chart renders say the same: no right that is not told of, none told of that is not given."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from apiserver.chart import CHART, documents
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
