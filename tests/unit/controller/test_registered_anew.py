"""Somebody deletes a Node object in mid-failover, and its kubelet may register it anew: same name, another UID.

Deleting an object says nothing of the machine. What shows that it lives counts as before, and what is found about the new object is
another incident's.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.controller.failovers import OUT_OF_SERVICE
from ringfence.core import timing
from ringfence.ports import Json, ObjectRef, Taint

from .test_loop import NODES, TICK, Replica, Site, play, redfish, until

LEVELS: Json = {"levels": [{"devices": ["bmc-n1"]}], "powerOn": "Never"}


class Registry(Site):
    """A site whose Node objects come and go."""

    def __init__(self) -> None:
        super().__init__(redfish("n1"), fencing=LEVELS)
        self.runs("db", "n1")
        self.uids = {name: f"uid-{name}" for name in NODES}
        self.deleted: set[str] = set()
        self.graces: list[int | None] = []
        self.warned: list[str] = []

    def node(self, name: str) -> Json:
        raw = super().node(name)
        return raw | {"metadata": raw["metadata"] | {"uid": self.uids[name]}}

    def register_again(self, boot: str) -> None:
        """N1's kubelet, of that boot."""
        self.uids["n1"], self.boots["n1"], self.taints["n1"] = "uid-n1-again", boot, set()
        members = (
            replace(m, uid="uid-n1-again", boot_id=boot) if m.name == "n1" else m for m in self.roster.members
        )
        self.roster = replace(self.roster, epoch=2, members=tuple(members))

    async def record_event(self, regarding: ObjectRef, _type: str, _reason: str, message: str) -> None:
        await super().record_event(regarding, _type, _reason, message)
        if _reason == "NeverOff":
            assert (regarding.kind.kind, regarding.uid) == ("Node", self.uids[regarding.name])
            self.warned.append(message)

    async def add_taint(
        self, node: str, _uid: str, taint: Taint, *, over: bool = True, deadline: float | None = None
    ) -> bool:
        if _uid != self.uids[node] or node in self.deleted:
            return False
        return await super().add_taint(node, _uid, taint, over=over, deadline=deadline)

    async def delete_pod(
        self, namespace: str, name: str, uid: str, grace: int | None, *, deadline: float | None = None
    ) -> bool:
        self.graces.append(grace)
        return await super().delete_pod(namespace, name, uid, 0, deadline=deadline)


class Leader(Replica):
    """One that sees them come and go."""

    site: Registry

    def _watch(self) -> None:
        super()._watch()
        for name in self.site.deleted:
            self.world.nodes.store.pop(("", name), None)
            self.witness.forget(name)


async def proved() -> Leader:
    """N1 is proved off, and nothing is done about it yet."""
    site = Registry()
    leader = Leader(site, "c-1", "n2")
    await play(leader, timing.SETTLE + 1.0)
    leader.witness.renewal_seen("n1", "kubelet_lease", "1", site.clock.now, site.clock.now)
    site.down.add("n1")
    site.obeys.add("n1")
    await until(leader, "Recovering")
    assert site.graces == []
    return leader


async def test_the_boot_that_was_proved_off_registers_its_node_anew() -> None:
    leader = await proved()
    site = leader.site
    site.down.clear()
    site.off.clear()
    site.register_again("boot-n1")
    site.mute = True  # no agent has said anything of it yet
    await play(leader, 1.0)
    assert site.graces == []
    assert "the proof is void: a new Node object of the same boot" in str(site.failover()["status"])
    site.mute = False
    await play(leader, timing.ORDER_EFFECT + timing.ORDER_SENT_WITHIN + timing.SETTLE)
    assert site.failover()["status"]["phase"] == "Withdrawn"
    assert site.graces == []


async def test_a_kubelet_that_renews_its_lease_without_a_node_object_lives() -> None:
    leader = await proved()
    site = leader.site
    site.deleted.add("n1")
    leader._watch()
    leader.witness.renewal_seen("n1", "kubelet_lease", "2", site.clock.now, site.clock.now)
    await play(leader, 1.0)
    assert site.graces == []
    assert "the proof is void: its kubelet's Lease was seen" in str(site.failover()["status"])


async def test_what_was_seen_of_a_node_before_it_was_deleted_counts() -> None:
    """Both between two turns."""
    leader = await proved()
    site = leader.site
    leader.witness.renewal_seen("n1", "kubelet_lease", "2", site.clock.now, site.clock.now)
    site.deleted.add("n1")
    await play(leader, 1.0)
    assert site.graces == []


async def test_nothing_is_force_deleted_on_a_node_that_another_boot_has_registered_anew() -> None:
    leader = await proved()
    site = leader.site
    site.down.clear()
    site.register_again("boot-2")
    await play(leader, 1.0)
    assert site.graces == [None]
    assert OUT_OF_SERVICE not in site.taints["n1"]


async def test_nobody_orders_the_next_machine_off_for_the_one_before() -> None:
    """An order may be at work, so the incident of before is still open when the next one dies."""
    site = Registry()
    leader = Leader(site, "c-1", "n2")
    await play(leader, timing.SETTLE + 1.0)
    site.down.add("n1")
    await until(leader, "Fencing")
    await play(leader, TICK)
    assert site.count("bmc-n1 off") == 1
    site.down.clear()
    site.register_again("boot-2")
    await play(leader, 2.0)
    site.down.add("n1")
    await play(leader, timing.ORDER_EFFECT + timing.ORDER_SENT_WITHIN + 6.0)
    first, second = (raw for (plural, _), raw in site.objects.items() if plural == "failovers")
    assert first["status"]["phase"] == "Withdrawn"
    assert len(first["status"]["orders"]) == 1
    assert second["spec"]["bootID"] == "boot-2"
    assert len(second["status"]["orders"]) == 1
    assert site.count("bmc-n1 off") == 2


async def test_a_node_object_of_before_the_incident_that_a_late_watch_shows_is_no_sign_that_it_was_deleted() -> (
    None
):
    leader = await proved()
    site = leader.site
    site.uids["n1"] = "uid-n1-of-before"
    leader.world.nodes.reached = 0
    leader.loop._adopted[site.failover()["metadata"]["name"]].known_at = 1
    await play(leader, 1.0)
    assert site.graces == []


@pytest.mark.parametrize(("boot", "told"), [("boot-n1", True), ("boot-2", False)])
async def test_the_boot_that_was_proved_off_registers_anew_when_the_incident_is_over(
    boot: str, *, told: bool
) -> None:
    """Somebody deletes the Node object of a node that is out; minutes later its kubelet is started again, and had never been off."""
    leader = await proved()
    site = leader.site
    await play(leader, 1.0)
    site.vms["db"] = "n3"
    await until(leader, "Recovered")
    site.deleted.add("n1")
    await until(leader, "Closed")
    await play(leader, 30.0)
    assert site.warned == []
    site.deleted.clear()
    site.down.clear()
    site.register_again(boot)
    await play(leader, 5.0)
    assert len(site.warned) == told, "and once"
    if told:
        assert "is registered again in the boot that" in site.warned[0]
        assert site.warned[0].endswith("make sure that no old guest runs there, and reboot it")
        other = Leader(site, "c-2", "n3")
        await play(other, timing.LEASE_DURATION + timing.SETTLE + 5.0)
        assert other.leadership.leads
        assert len(site.warned) == 1, "the next leader finds on record that it was told"
