"""A dry run on a real cluster with a real ring: what the acting controller foretells of a node's death, and that nothing came of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.stories import leader_away_from, ringfence
from lab.cluster import Lab

pytestmark = [pytest.mark.lab, pytest.mark.more]


def test_what_would_follow_is_told_and_nothing_is_done(lab: Lab) -> None:
    lab.create_vm("db", node="n1")
    lab.protect("db")
    lab.wait_vm_running("db")
    lab.wait_condition("protectedvm", "db", "Protected", "True", namespace="default")
    leader_away_from(lab, "n1")
    before = lab.get("failovers")
    said = ringfence(lab, "dry-run", "--kill", "n1", "-o", "json")
    assert said.returncode == 0, said.stderr
    told: dict[str, Any] = json.loads(said.stdout)
    (node,) = told["nodes"]
    assert (node["verdict"], node["supposed"]["verdict"], node["phase"]) == ("Healthy", "Down", "Fencing")
    assert node["refusals"] == []
    assert [vm["name"] for vm in node["vms"]] == ["db"]
    assert node["deletions"][-1]["role"] == "LAUNCHER"
    assert "n1" not in node["targets"]
    assert node["targets"]
    everybody = [word for name in ("n1", "n2", "n3") for word in ("--kill", name)]
    assert ringfence(lab, "dry-run", *everybody).returncode == 7
    assert lab.get("failovers") == before
    explained = json.loads(ringfence(lab, "explain", "default/db", "-o", "json").stdout)
    assert (explained["protected"], explained["node"]["name"]) == ("True", "n1")
    assert explained["couldDo"] == ["ringfence dry-run --kill n1: what would follow"]
