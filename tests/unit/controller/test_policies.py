"""HAPolicies carried out: what is written, how much at once, and what is said where the API server refuses."""

from __future__ import annotations

from typing import Any, cast

from ringfence.controller import policies
from ringfence.controller.evidence import Witness
from ringfence.controller.narrator import Narrator
from ringfence.controller.policies import Policies
from ringfence.controller.world import World
from ringfence.core import timing
from ringfence.kube.client import ApiServer
from ringfence.kube.objects import VmiObject, VmObject
from ringfence.net.crypto import verify
from ringfence.ports import Cluster, ClusterError, Forbidden, Json, Kind, ObjectRef, Unavailable

QUOTA = Forbidden("exceeded quota", status=403)


class Still:
    """A clock that a test sets forward."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_790_000_000.0


class Site:
    """One namespace and the writes to it."""

    def __init__(self) -> None:
        self.clock = Still()
        self.world = World(
            *(cast("ApiServer", None), self.clock, "ringfence-system", Witness(verify)),
            *(lambda: 0.5, lambda: None),
        )
        self.world.own.swept = True
        self.world.protected_vms.synced.set()
        self.busy: frozenset[str] = frozenset()
        self.refuses: dict[str, ClusterError] = {}
        """By namespace."""
        self.asked: list[str] = []
        self.versions = 0
        self.did: list[str] = []
        self.told: list[str] = []
        cluster = cast("Cluster", self)
        narrator = Narrator(cluster)
        self.policies = Policies(
            *(cluster, self.clock, self.world, narrator, lambda: 0.5),
            *(lambda: 1.0, lambda: self.busy),
        )

    def vm(self, name: str, node: str = "n1", namespace: str = "shop", **labels: str) -> None:
        meta = {"name": name, "namespace": namespace, "uid": f"vm-{name}", "labels": labels}
        self.world.vms.store[namespace, name] = VmObject.from_raw({"metadata": meta, "spec": {}})
        self.world.vmis.store[namespace, name] = VmiObject.from_raw(
            {"metadata": meta, "status": {"phase": "Running", "nodeName": node}}
        )

    def stored(self, plural: str, name: str, spec: Json, **meta: Any) -> Json:
        self.versions += 1
        raw: Json = {
            "metadata": {"name": name, "namespace": "shop", "uid": f"{plural}-{name}"}
            | {"resourceVersion": str(self.versions)}
            | meta,
            "spec": spec,
        }
        self.world.own.seen(plural, raw)
        return raw

    def policy(self, name: str = "dbs", tier: str = "db", namespace: str = "shop", **template: Any) -> None:
        spec = {"selector": {"matchLabels": {"tier": tier}}, "template": template}
        self.stored("hapolicies", name, spec, namespace=namespace)

    async def seconds(self, number: int) -> None:
        """So many rounds, one a second."""
        for _ in range(number):
            await self.policies.step()
            self.clock.now += 1.0

    def protected(self, name: str) -> Json:
        raw = self.world.own.raw("protectedvms", ("shop", name))
        assert raw is not None
        return raw

    # the cluster

    async def create(self, kind: Kind, obj: Json, *, deadline: float) -> Json:
        assert (kind.plural, deadline) == ("protectedvms", 1.0)
        meta = obj["metadata"]
        self.asked.append(meta["name"])
        if (error := self.refuses.get(meta["namespace"])) is not None:
            raise error
        self.did.append(f"create {meta['name']}")
        return self.stored(
            "protectedvms",
            meta["name"],
            obj["spec"],
            ownerReferences=meta["ownerReferences"],
            namespace=meta["namespace"],
        )

    async def patch(self, _kind: Kind, name: str, namespace: str, changes: Json, *, deadline: float) -> Json:
        assert (namespace, deadline) == ("shop", 1.0)
        assert changes["metadata"]["uid"] == f"protectedvms-{name}", "of exactly that object"
        self.did.append(f"patch {name}")
        spec = {**self.protected(name)["spec"], **changes["spec"]}
        refs = changes["metadata"]["ownerReferences"]
        return self.stored("protectedvms", name, spec, ownerReferences=refs)

    async def delete(self, _kind: Kind, name: str, uid: str, namespace: str, *, deadline: float) -> bool:
        assert (uid, namespace, deadline) == (f"protectedvms-{name}", "shop", 1.0)
        self.did.append(f"delete {name}")
        return True

    async def record_event(self, regarding: ObjectRef, _type: str, reason: str, message: str) -> None:
        self.told.append(f"{regarding.name} {reason}: {message}")


async def test_a_policys_vms_are_protected_as_it_says_and_stay_so() -> None:
    site = Site()
    site.vm("a", tier="db")
    site.vm("b", tier="web")
    site.policy(priority=500, dependsOn=[{"name": "b"}])
    await site.policies.step()
    assert site.did == ["create a"]
    made = site.protected("a")
    assert made["spec"] == {
        "vm": {"name": "a"},
        "onNodeFailure": "Restart",
        "priority": 500,
        "dependsOn": [{"name": "b"}],
    }
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("HAPolicy", "dbs", "hapolicies-dbs")
    word = site.policies.words["shop", "dbs"]
    assert (word.ready, word.reason, word.protects) == (True, "Applied", 1)

    await site.policies.step()
    assert site.did == ["create a"], "nothing differs"
    site.stored("protectedvms", "a", {"vm": {"name": "a"}, "priority": 1}, ownerReferences=[owner])
    await site.policies.step()
    assert site.did[1:] == ["patch a"]
    assert site.protected("a")["spec"]["priority"] == 500


async def test_who_takes_the_reference_out_makes_it_his_own() -> None:
    site = Site()
    site.vm("a", tier="db")
    site.policy()
    site.stored("protectedvms", "a", {"vm": {"name": "a"}, "priority": 1})
    await site.policies.step()
    assert site.did == []
    assert "protected by hand, and left alone: a" in site.policies.words["shop", "dbs"].message


async def test_what_loses_its_label_is_given_up_after_the_incident() -> None:
    site = Site()
    site.vm("a", tier="db")
    site.policy()
    await site.policies.step()
    site.vm("a", tier="none")
    site.busy = frozenset({"n1"})
    await site.policies.step()
    assert site.did == ["create a"], "its node's incident goes by what was declared"
    site.busy = frozenset()
    await site.policies.step()
    assert site.did == ["create a", "delete a"]
    assert site.world.own.raw("protectedvms", ("shop", "a")) is None


async def test_a_vm_of_an_open_failover_keeps_it_wherever_it_is_now() -> None:
    site = Site()
    site.vm("a", tier="db")
    site.policy()
    await site.policies.step()
    spec = {"node": "n9", "nodeUID": "u", "bootID": "b"}
    vm = {"namespace": "shop", "name": "a", "uid": "vm-a", "vmiUID": "old", "state": "Waiting"}
    raw = {"metadata": {"name": "n9-b", "resourceVersion": "999"}, "spec": spec}
    site.world.own.seen("failovers", raw | {"status": {"phase": "Recovering", "vms": [vm]}})
    assert not site.world.own.unread("failovers")
    site.vm("a", tier="none")
    await site.policies.step()
    assert site.did == ["create a"]


async def test_thousands_are_written_some_a_second_and_it_says_so(monkeypatch: Any) -> None:
    monkeypatch.setattr(policies, "MOST", 2)
    site = Site()
    for name in ("a", "b", "c"):
        site.vm(name, tier="db")
    site.policy()
    await site.policies.step()
    word = site.policies.words["shop", "dbs"]
    assert (site.did, word.reason, word.protects) == (["create a", "create b"], "Applying", 2)
    await site.policies.step()
    assert site.policies.words["shop", "dbs"].reason == "Applied"


async def test_a_refusal_is_said_and_tried_again() -> None:
    site = Site()
    site.vm("a", tier="db")
    site.policy()
    site.refuses["shop"] = QUOTA
    await site.policies.step()
    word = site.policies.words["shop", "dbs"]
    assert (word.ready, word.reason, word.protects) == (False, "NotWritten", 0)
    assert word.message == "ProtectedVM a was not written, it is tried again: exceeded quota"
    site.refuses.clear()
    site.clock.now += 1.0
    await site.policies.step()
    assert site.policies.words["shop", "dbs"].protects == 1


async def test_a_namespace_whose_objects_are_refused_keeps_no_other_waiting_and_is_not_insisted_on() -> None:
    """One tenant's quota: his policy has more VMs than a round writes, and comes first by name."""
    site = Site()
    for number in range(policies.MOST + 10):
        site.vm(f"a{number}", namespace="a", tier="db")
    site.vm("b", namespace="b", tier="db")
    site.policy(namespace="a")
    site.policy(namespace="b")
    site.refuses["a"] = QUOTA
    await site.seconds(30)
    assert site.did == ["create b"]
    assert site.policies.words["b", "dbs"].reason == "Applied"
    word = site.policies.words["a", "dbs"]
    assert (word.reason, word.protects) == ("NotWritten", 0)
    assert "exceeded quota" in word.message
    site.asked.clear()
    await site.seconds(30)
    assert len(site.asked) <= 2 * 30 * timing.WRITES_A_SECOND
    site.refuses.clear()
    await site.seconds(30)
    assert site.policies.words["a", "dbs"].protects == policies.MOST + 10


async def test_where_no_answer_comes_a_round_waits_for_one_of_them_only() -> None:
    """Each takes the seconds of a time-out, and all other chores stand behind."""
    site = Site()
    for name in ("a", "b", "c"):
        site.vm(name, tier="db")
    site.policy()
    site.refuses["shop"] = Unavailable("no answer within 5 s")
    await site.policies.step()
    assert site.asked == ["a"]
    assert site.policies.words["shop", "dbs"].reason == "NotWritten"


async def test_before_all_is_known_nothing_is_made_or_deleted() -> None:
    site = Site()
    site.vm("a", tier="db")
    site.policy()
    site.world.own.swept = False
    await site.policies.step()
    assert (site.did, site.policies.words) == ([], {})
