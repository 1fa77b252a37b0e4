"""A dry run says what then happens, and leaves no trace: the rig of the loop's tests, asked first and played afterwards."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from ringfence.controller.foresight import dry_run
from ringfence.ports import Json

from .test_loop import CEPH, Replica, Site, play, redfish, settled


def ask(replica: Replica, *nodes: str) -> dict[str, Any]:
    """The answer; nothing may have been written or ordered for it."""
    site = replica.site
    before = deepcopy((site.objects, site.deeds, site.version, site.lease, replica.loop.judgements))
    told = dry_run(nodes, replica.loop, replica.world, replica.witness, site.clock)
    assert (site.objects, site.deeds, site.version, site.lease, replica.loop.judgements) == before
    return told


def fencing(*devices: str, **more: Any) -> Json:
    return {"levels": [{"devices": list(devices)}], "powerOn": "Never", **more}


async def test_what_is_foretold_is_what_happens() -> None:
    site = Site(redfish("n1"), fencing=fencing("bmc-n1"))
    site.runs("db", "n1")
    leader = await settled(site)
    (row,) = ask(leader, "n1")["nodes"]
    assert row["supposed"]["verdict"] == "Down"
    assert row["supposed"]["sentence"] == "n1 is down: supposed: 4 of 4 peers: n2, n3, n4, n5"
    assert (row["refusals"], row["phase"]) == ([], "Fencing")
    assert row["outcome"] == "n1 would be fenced, and 1 VM restarted elsewhere"
    assert [device["name"] for level in row["fence"]["levels"] for device in level["devices"]] == ["bmc-n1"]
    assert row["deletions"] == [{"role": "LAUNCHER", "pods": ["shop/launcher-db"]}]
    (vm,) = row["vms"]
    assert (vm["name"], vm["runStrategy"], vm["then"]) == ("db", "Always", "the old launcher is gone")
    await play(leader, 3.0)
    assert not [plural for plural, _ in site.objects if plural == "failovers"], "it was only supposed"
    site.down.add("n1")
    site.obeys.add("n1")
    await play(leader, 8.0)
    story = [moment["phase"] for moment in site.failover()["status"]["history"]]
    assert story[:2] == ["Holding", row["phase"]]
    assert "launcher-db" not in site.pods


async def test_too_many_at_once_are_refused_with_every_reason() -> None:
    site = Site(redfish("n1"), fencing=fencing("bmc-n1"))
    site.runs("db", "n1")
    leader = await settled(site)
    row, *others = ask(leader, "n1", "n3", "n4")["nodes"]
    assert {one["limit"]: one["whenFoundOff"] for one in row["refusals"]} == {
        "minority": True,
        "storm": False,
    }
    assert row["phase"] == "Held"
    assert row["outcome"] == "n1 would not be fenced: our side is the minority: it sees 2 of 5 nodes alive"
    assert row["fence"]["first"].startswith("fencing, level 1")
    assert all("nothing_protected" in {one["limit"] for one in other["refusals"]} for other in others)


async def test_without_a_device_a_person_is_asked() -> None:
    site = Site(fencing=fencing("bmc-n1"))
    site.runs("db", "n1")
    (row,) = ask(await settled(site), "n1")["nodes"]
    assert (row["phase"], row["refusals"]) == ("AwaitingConfirmation", [])
    assert "ringfence fence confirm n1" in row["phaseSentence"]
    assert row["outcome"] == "1 VM of n1 would wait until a person confirms that it is off"


async def test_a_storages_cut_frees_only_what_it_cuts() -> None:
    site = Site(CEPH, fencing=fencing("ceph", allowStorageFence=True))
    site.runs("db", "n1")
    site.runs("web", "n1", storage_class="nfs")
    (row,) = ask(await settled(site), "n1")["nodes"]
    assert row["deletions"] == [{"role": "LAUNCHER", "pods": ["shop/launcher-db"]}]
    assert [vm["then"] for vm in row["vms"]] == [
        "the old launcher is gone",
        "no device of the node would let its old launcher be deleted",
    ]


async def test_the_leaders_own_node_is_for_another_to_judge() -> None:
    site = Site(redfish("n2"), fencing=fencing("bmc-n2"))
    site.runs("db", "n2")
    (row,) = ask(await settled(site), "n2")["nodes"]
    assert "own_node" in {one["limit"] for one in row["refusals"]}


async def test_a_guest_that_nobody_protects_is_named() -> None:
    site = Site(redfish("n1"), fencing=fencing("bmc-n1"))
    site.runs("db", "n1")
    site.vms["loose"], site.classes["loose"] = "n1", "rbd"
    (row,) = ask(await settled(site), "n1")["nodes"]
    assert row["left"] == [{"namespace": "shop", "name": "loose", "reason": "no ProtectedVM names it"}]


@pytest.mark.parametrize("node", ["n9", ""])
async def test_an_unknown_node_is_a_sentence(node: str) -> None:
    site = Site(fencing=fencing("bmc-n1"))
    assert ask(await settled(site), node) == {"trouble": f"no node {node}: Kubernetes doesn't know it"}
