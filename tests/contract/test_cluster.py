"""The Cluster port and the reflector on a real kube-apiserver and etcd."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from contract.apiserver import ApiServerProcess
from contract.relay import Relay
from ringfence.controller import rehearsal
from ringfence.controller.node_leases import NodeLeases
from ringfence.core.failover.node_lease import UNUSED
from ringfence.core.model import Boot
from ringfence.kube import kinds, objects
from ringfence.kube.client import ApiServer
from ringfence.kube.cluster import KubeCluster, micro_time
from ringfence.kube.reflector import Reflector, WentBack
from ringfence.kube.store import Key
from ringfence.ports import (
    AlreadyExists,
    Cluster,
    Conflict,
    Forbidden,
    Json,
    Kind,
    LeaseRecord,
    NotFound,
    ObjectRef,
    Refused,
    SecretRecord,
    SystemClock,
    Taint,
    TooLate,
    Unavailable,
)

pytestmark = pytest.mark.apiserver

RELEASE = "ringfence-system"
TENANT = "vms"
CLOCK = SystemClock()


def soon() -> float:
    return CLOCK.monotonic() + 10.0


def crd(kind: Kind) -> Json:
    open_schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {"plural": kind.plural, "kind": kind.kind, "singular": kind.kind.lower()},
            "versions": [
                {
                    "name": kind.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": open_schema},
                    # As KubeVirt has it: VMs have a status subresource, VMIs have none.
                    "subresources": {} if kind is kinds.VMI else {"status": {}},
                }
            ],
        },
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    process = ApiServerProcess(tmp_path_factory.mktemp("apiserver"))
    try:
        process.start()
        asyncio.run(_furnish(process))
        yield process
    finally:
        process.stop()


async def _furnish(server: ApiServerProcess) -> None:
    async with connected(server) as cluster:
        for namespace in (RELEASE, TENANT):
            await cluster.create(kinds.NAMESPACE, {"metadata": {"name": namespace}})
        for kind in (kinds.VM, kinds.VMI, kinds.FAILOVER):
            await cluster.create(kinds.CRD, crd(kind))
        for kind in (kinds.VM, kinds.VMI, kinds.FAILOVER):
            async with asyncio.timeout(30):
                while not await served(cluster, kind):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


async def served(cluster: Cluster, kind: Kind) -> bool:
    try:
        await cluster.list(kind)
    except (NotFound, Unavailable):
        return False
    return True


@asynccontextmanager
async def connected(
    server: ApiServerProcess, *, port: int | None = None, token: str = "contract-admin"
) -> AsyncIterator[KubeCluster]:
    async with await ApiServer.connect(CLOCK, kubeconfig=server.kubeconfig(port=port, token=token)) as api:
        yield KubeCluster(api, namespace=RELEASE, component="contract", instance="me")


@pytest.fixture
async def cluster(server: ApiServerProcess) -> AsyncIterator[Cluster]:
    async with connected(server) as adapter:
        yield adapter


_serial = iter(range(10**6))


def fresh(prefix: str) -> str:
    return f"{prefix}-{next(_serial)}"


async def make_node(cluster: Cluster) -> objects.NodeObject:
    return objects.NodeObject.from_raw(
        await cluster.create(kinds.NODE, {"metadata": {"name": fresh("node")}})
    )


async def make_pod(cluster: Cluster, **meta: Any) -> objects.PodObject:
    raw = await cluster.create(
        kinds.POD,
        {
            "metadata": {"name": fresh("pod"), "namespace": TENANT, **meta},
            "spec": {"containers": [{"name": "c", "image": "none"}], "nodeName": "somewhere"},
        },
    )
    return objects.PodObject.from_raw(raw)


async def read_node(cluster: Cluster, name: str) -> objects.NodeObject:
    return objects.NodeObject.from_raw(await cluster.get(kinds.NODE, name))


async def read_pod(cluster: Cluster, name: str) -> objects.PodObject:
    return objects.PodObject.from_raw(await cluster.get(kinds.POD, name, TENANT))


# --- deletions ---------------------------------------------------------------------------------------------------


async def test_a_pod_is_deleted_by_its_uid_and_once(cluster: Cluster) -> None:
    pod = await make_pod(cluster)
    assert await cluster.delete_pod(TENANT, pod.name, pod.uid, 0)
    assert not await cluster.delete_pod(TENANT, pod.name, pod.uid, 0)
    with pytest.raises(NotFound):
        await read_pod(cluster, pod.name)


async def test_another_pod_of_the_same_name_is_spared(cluster: Cluster) -> None:
    pod = await make_pod(cluster)
    assert not await cluster.delete_pod(TENANT, pod.name, "00000000-0000-0000-0000-000000000000", 0)
    assert (await read_pod(cluster, pod.name)).uid == pod.uid


async def test_a_pod_of_a_lost_node_only_terminates_until_it_is_forced(cluster: Cluster) -> None:
    pod = await make_pod(cluster)
    assert await cluster.delete_pod(TENANT, pod.name, pod.uid, None)
    assert (await read_pod(cluster, pod.name)).deleting
    assert await cluster.delete_pod(TENANT, pod.name, pod.uid, 0)
    with pytest.raises(NotFound):
        await read_pod(cluster, pod.name)


async def test_no_uid_no_deletion(cluster: Cluster) -> None:
    pod = await make_pod(cluster)
    with pytest.raises(ValueError, match="without the UID"):
        await cluster.delete_pod(TENANT, pod.name, "", 0)


async def test_a_vmi_is_deleted_by_its_uid(cluster: Cluster) -> None:
    raw = await cluster.create(kinds.VMI, {"metadata": {"name": fresh("vmi"), "namespace": TENANT}})
    vmi = objects.VmiObject.from_raw(raw)
    assert not await cluster.delete_vmi(TENANT, vmi.name, "00000000-0000-0000-0000-000000000000")
    assert await cluster.delete_vmi(TENANT, vmi.name, vmi.uid)
    assert not await cluster.delete_vmi(TENANT, vmi.name, vmi.uid)


async def test_a_rehearsal_leaves_nothing_behind(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    name = fresh("vm")
    for kind in (kinds.VM, kinds.VMI):
        await cluster.create(kind, {"metadata": {"name": name, "namespace": TENANT}, "spec": {"cores": 1}})
    before = [await cluster.list(kind, TENANT) for kind in (kinds.VM, kinds.VMI)]
    with caplog.at_level("INFO", rehearsal.__name__):
        await rehearsal.rehearse(cluster, TENANT, name, lambda: CLOCK.monotonic() + 30)
    assert [await cluster.list(kind, TENANT) for kind in (kinds.VM, kinds.VMI)] == before
    assert caplog.messages == ["dry runs, round 1: 0 of 9 without an answer"], (
        "one was refused, or it went on"
    )


# --- deadlines ---------------------------------------------------------------------------------------------------


async def test_nothing_is_sent_after_its_deadline(cluster: Cluster) -> None:
    pod, node = await make_pod(cluster), await make_node(cluster)
    past = CLOCK.monotonic() - 0.001
    with pytest.raises(TooLate):
        await cluster.delete_pod(TENANT, pod.name, pod.uid, 0, deadline=past)
    with pytest.raises(TooLate):
        await cluster.add_taint(
            node.name, node.uid, Taint("ringfence.io/suspect", "NoSchedule"), deadline=past
        )
    with pytest.raises(TooLate):
        await cluster.lift_tolerations(TENANT, pod.name, pod.uid, deadline=past)
    assert not (await read_pod(cluster, pod.name)).deleting
    future = CLOCK.monotonic() + 30
    assert await cluster.delete_pod(TENANT, pod.name, pod.uid, 0, deadline=future)


async def test_a_clock_that_jumps_while_connecting_stops_the_request(server: ApiServerProcess) -> None:
    """The process freezes between its own look at the clock and the first byte: the thawed leader sends nothing."""

    class Thawing(SystemClock):
        looks = 0

        def monotonic(self) -> float:
            self.looks += 1
            return super().monotonic() + (0 if self.looks == 1 else 60)

    clock = Thawing()
    async with (
        connected(server) as calm,
        await ApiServer.connect(clock, kubeconfig=server.kubeconfig()) as api,
    ):
        pod = await make_pod(calm)
        thawed = KubeCluster(api, namespace=RELEASE, component="contract", instance="me")
        for _ in range(2):  # on a new connection, and on a pooled one
            clock.looks = 0
            with pytest.raises(TooLate):
                await thawed.delete_pod(TENANT, pod.name, pod.uid, 0, deadline=SystemClock().monotonic() + 30)
            assert clock.looks == 2
            await thawed.get(kinds.POD, pod.name, TENANT)
        assert not (await read_pod(calm, pod.name)).deleting


# --- taints, tolerations, requests -------------------------------------------------------------------------------

SUSPECT = Taint("ringfence.io/suspect", "NoSchedule", "fo-1")
OUT = Taint("node.kubernetes.io/out-of-service", "NoExecute", "nodeshutdown")


async def test_taints_come_and_go_and_others_stay(cluster: Cluster) -> None:
    node = await make_node(cluster)
    before = node.taints  # the API server itself taints a new node not-ready
    assert await cluster.add_taint(node.name, node.uid, SUSPECT)
    assert not await cluster.add_taint(node.name, node.uid, SUSPECT)
    assert await cluster.add_taint(node.name, node.uid, OUT)
    assert set((await read_node(cluster, node.name)).taints) == {*before, SUSPECT, OUT}
    renamed = Taint(SUSPECT.key, SUSPECT.effect, "fo-2")
    assert await cluster.add_taint(node.name, node.uid, renamed)
    assert set((await read_node(cluster, node.name)).taints) == {*before, renamed, OUT}
    assert not await cluster.remove_taint(node.name, node.uid, OUT.key, "NoSchedule")
    assert await cluster.remove_taint(node.name, node.uid, OUT.key, OUT.effect)
    assert await cluster.remove_taint(node.name, node.uid, SUSPECT.key, SUSPECT.effect)
    assert not await cluster.remove_taint(node.name, node.uid, SUSPECT.key, SUSPECT.effect)
    assert (await read_node(cluster, node.name)).taints == before


async def test_somebody_elses_taint_stays(cluster: Cluster) -> None:
    node = await make_node(cluster)
    ours = Taint(OUT.key, OUT.effect, "ringfence")
    await cluster.add_taint(node.name, node.uid, OUT)
    assert not await cluster.add_taint(node.name, node.uid, ours, over=False)
    assert not await cluster.remove_taint(node.name, node.uid, OUT.key, OUT.effect, value="ringfence")
    assert OUT in (await read_node(cluster, node.name)).taints
    assert await cluster.add_taint(node.name, node.uid, ours)
    assert await cluster.remove_taint(node.name, node.uid, OUT.key, OUT.effect, value="ringfence")


async def test_the_last_taint_can_go(cluster: Cluster) -> None:
    node = await make_node(cluster)
    for taint in node.taints:
        assert await cluster.remove_taint(node.name, node.uid, taint.key, taint.effect)
    assert (await read_node(cluster, node.name)).taints == ()


async def test_another_node_of_the_same_name_is_not_tainted(cluster: Cluster) -> None:
    node = await make_node(cluster)
    with pytest.raises(NotFound):
        await cluster.add_taint(node.name, "another-uid", OUT)
    with pytest.raises(NotFound):
        await cluster.remove_taint(node.name, "another-uid", OUT.key, OUT.effect)


async def test_many_hands_on_one_node_lose_no_taint(cluster: Cluster) -> None:
    node = await make_node(cluster)
    wanted = [Taint(f"example.com/t{i}", "NoSchedule") for i in range(4)]
    assert all(await asyncio.gather(*(cluster.add_taint(node.name, node.uid, t) for t in wanted)))
    assert set(wanted) <= set((await read_node(cluster, node.name)).taints)


async def test_a_live_pods_tolerations_are_lifted_once(cluster: Cluster) -> None:
    pod = await make_pod(cluster)
    assert {t.seconds for t in pod.tolerations} == {300}
    await cluster.patch_status(kinds.POD, pod.name, TENANT, {"phase": "Running"})
    assert await cluster.lift_tolerations(TENANT, pod.name, pod.uid)
    lifted = await read_pod(cluster, pod.name)
    assert {t.key for t in lifted.tolerations} == {t.key for t in pod.tolerations}
    assert {t.seconds for t in lifted.tolerations} == {None}
    assert not await cluster.lift_tolerations(TENANT, pod.name, pod.uid)
    with pytest.raises(NotFound):
        await cluster.lift_tolerations(TENANT, pod.name, "another-uid")


async def make_vm(cluster: Cluster, status: Json | None = None) -> objects.VmObject:
    raw = await cluster.create(
        kinds.VM, {"metadata": {"name": fresh("vm"), "namespace": TENANT}, "spec": {"runStrategy": "Manual"}}
    )
    vm = objects.VmObject.from_raw(raw)
    if status is not None:
        await cluster.patch_status(kinds.VM, vm.name, TENANT, status)
    return vm


async def requests_of(cluster: Cluster, name: str) -> tuple[objects.StateChangeRequest, ...]:
    return objects.VmObject.from_raw(await cluster.get(kinds.VM, name, TENANT)).state_change_requests


@pytest.mark.parametrize("status", [None, {"printableStatus": "Stopped"}, {"stateChangeRequests": []}])
async def test_a_start_is_requested_once(cluster: Cluster, status: Json | None) -> None:
    vm = await make_vm(cluster, status)
    assert await cluster.request_start(TENANT, vm.name, vm.uid)
    assert not await cluster.request_start(TENANT, vm.name, vm.uid)
    assert await requests_of(cluster, vm.name) == (objects.StateChangeRequest("Start", ""),)


async def test_a_failed_vmi_is_stopped_before_the_start(cluster: Cluster) -> None:
    vm = await make_vm(cluster)
    assert await cluster.request_start(TENANT, vm.name, vm.uid, "vmi-uid")
    assert await requests_of(cluster, vm.name) == (
        objects.StateChangeRequest("Stop", "vmi-uid"),
        objects.StateChangeRequest("Start", ""),
    )


async def test_a_users_stop_is_not_overruled(cluster: Cluster) -> None:
    vm = await make_vm(cluster, {"stateChangeRequests": [{"action": "Stop", "uid": "x"}]})
    with pytest.raises(Conflict, match="pending"):
        await cluster.request_start(TENANT, vm.name, vm.uid)
    assert await requests_of(cluster, vm.name) == (objects.StateChangeRequest("Stop", "x"),)
    with pytest.raises(NotFound):
        await cluster.request_start(TENANT, vm.name, "another-uid")


# --- our own kinds -----------------------------------------------------------------------------------------------


async def test_a_status_is_stored_at_one_version_only(cluster: Cluster) -> None:
    name = fresh("fo")
    first = await cluster.create(kinds.FAILOVER, {"metadata": {"name": name}, "spec": {"node": "n1"}})
    with pytest.raises(AlreadyExists):
        await cluster.create(kinds.FAILOVER, {"metadata": {"name": name}, "spec": {"node": "n1"}})
    second = await cluster.replace_status(kinds.FAILOVER, {**first, "status": {"phase": "Fencing"}})
    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        await cluster.replace_status(kinds.FAILOVER, {**first, "status": {"phase": "Held"}})
    assert (await cluster.get(kinds.FAILOVER, name))["status"] == {"phase": "Fencing"}
    with pytest.raises(ValueError, match="version"):
        await cluster.replace_status(kinds.FAILOVER, {"metadata": {"name": name}, "status": {}})


async def test_a_status_survives_a_write_of_the_spec_and_the_reverse(cluster: Cluster) -> None:
    name = fresh("fo")
    await cluster.create(kinds.FAILOVER, {"metadata": {"name": name}, "spec": {"node": "n1"}})
    await cluster.patch_status(kinds.FAILOVER, name, "", {"phase": "Held"})
    await cluster.patch(
        kinds.FAILOVER, name, "", {"spec": {"release": {"by": "me"}}, "status": {"phase": "x"}}
    )
    stored = await cluster.get(kinds.FAILOVER, name)
    assert stored["spec"] == {"node": "n1", "release": {"by": "me"}}
    assert stored["status"] == {"phase": "Held"}


async def test_a_list_goes_on_over_pages_and_honours_selectors(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringfence.kube.cluster.PAGE", 3)
    mark = fresh("mark")
    pods = [await make_pod(cluster, labels={"mark": mark}) for _ in range(8)]
    await make_pod(cluster)
    found = await cluster.list(kinds.POD, TENANT, label_selector=f"mark={mark}")
    assert {raw["metadata"]["uid"] for raw in found} == {pod.uid for pod in pods}
    one = await cluster.list(kinds.POD, field_selector=f"metadata.name={pods[0].name}")
    assert [raw["metadata"]["uid"] for raw in one] == [pods[0].uid]


# --- events, secrets, configmaps ---------------------------------------------------------------------------------


async def test_events_about_namespaced_and_cluster_scoped_objects(cluster: Cluster) -> None:
    pod, name = await make_pod(cluster), fresh("fo")
    await cluster.record_event(ObjectRef(kinds.POD, pod.name, TENANT, pod.uid), "Normal", "Moved", "it moved")
    await cluster.record_event(ObjectRef(kinds.FAILOVER, name, uid="u"), "Warning", "Held", "ä" * 2000)
    (moved,) = [e for e in await cluster.list(kinds.EVENT, TENANT) if e["regarding"]["name"] == pod.name]
    assert (moved["note"], moved["type"], moved["reason"]) == ("it moved", "Normal", "Moved")
    (held,) = [e for e in await cluster.list(kinds.EVENT, "default") if e["regarding"]["name"] == name]
    assert held["note"] == "ä" * 512


async def test_a_lost_event_stops_nobody(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    await cluster.record_event(ObjectRef(kinds.POD, "p", "no-such-namespace"), "Normal", "Moved", "x")
    assert "is lost" in caplog.text


async def test_secrets_are_bytes_and_made_once(cluster: Cluster) -> None:
    name = fresh("secret")
    with pytest.raises(NotFound):
        await cluster.read_secret(name)
    await cluster.create_secret(name, {"group.key": bytes(range(32))})
    assert await cluster.read_secret(name) == {"group.key": bytes(range(32))}
    with pytest.raises(AlreadyExists):
        await cluster.create_secret(name, {"group.key": b"another"})


async def test_a_secret_is_replaced_at_its_version_or_not_at_all(cluster: Cluster) -> None:
    name = fresh("secret")
    with pytest.raises(NotFound):
        await cluster.get_secret(name)
    await cluster.create_secret(name, {"a": b"1", "b": b"2"}, immutable=False)
    labelled = {"metadata": {"labels": {"app": "x"}}}
    await cluster.patch(kinds.SECRET, name, RELEASE, labelled)
    first = await cluster.get_secret(name)
    second = await cluster.replace_secret(name, SecretRecord({"a": b"3"}, first.resource_version))
    assert second == await cluster.get_secret(name)
    assert second.data == {"a": b"3"}
    assert (await cluster.get(kinds.SECRET, name, RELEASE))["metadata"]["labels"] == {"app": "x"}
    with pytest.raises(Conflict):
        await cluster.replace_secret(name, SecretRecord({"a": b"4"}, first.resource_version))
    with pytest.raises(NotFound):
        await cluster.replace_secret(fresh("secret"), second)
    with pytest.raises(TooLate):
        await cluster.replace_secret(name, second, deadline=0.0)
    assert (await cluster.get_secret(name)).data == {"a": b"3"}


async def test_a_configmap_becomes_what_it_should_be(cluster: Cluster) -> None:
    name = fresh("map")
    assert await cluster.apply_configmap(name, {"roster.json": "1"})
    assert not await cluster.apply_configmap(name, {"roster.json": "1"})
    assert await cluster.apply_configmap(name, {"roster.json": "2"})
    assert (await cluster.get(kinds.CONFIG_MAP, name, RELEASE))["data"] == {"roster.json": "2"}


# --- leases ------------------------------------------------------------------------------------------------------


async def test_of_two_that_take_a_lease_one_wins(cluster: Cluster) -> None:
    name = fresh("lease")
    assert await cluster.get_lease(name) is None
    now = micro_time(CLOCK.wall())
    first = await cluster.create_lease(
        LeaseRecord(RELEASE, name, holder="a", duration_seconds=4, acquire_time=now, renew_time=now)
    )
    with pytest.raises(AlreadyExists):
        await cluster.create_lease(LeaseRecord(RELEASE, name, holder="b"))
    assert await cluster.get_lease(name) == first

    def taken_by(who: str) -> LeaseRecord:
        return LeaseRecord(
            RELEASE, name, holder=who, duration_seconds=4, renew_time=now, transitions=1,
            uid=first.uid, resource_version=first.resource_version,
        )  # fmt: skip

    outcomes = await asyncio.gather(
        *(cluster.replace_lease(taken_by(who)) for who in "bcdef"), return_exceptions=True
    )
    winners = [o for o in outcomes if isinstance(o, LeaseRecord)]
    assert len(winners) == 1
    assert sum(isinstance(o, Conflict) for o in outcomes) == 4
    assert await cluster.get_lease(name) == winners[0]
    released = await cluster.replace_lease(
        LeaseRecord(RELEASE, name, resource_version=winners[0].resource_version, transitions=1)
    )
    assert (released.holder, released.renew_time, released.transitions) == ("", "", 1)


async def test_a_lease_is_deleted_at_exactly_the_version_that_was_seen(cluster: Cluster) -> None:
    lease = await cluster.create_lease(LeaseRecord(RELEASE, fresh("lease"), holder="a"))
    newer = await cluster.replace_lease(replace(lease, holder="b"))
    with pytest.raises(Conflict):
        await cluster.delete_lease(lease)
    assert await cluster.get_lease(lease.name) == newer
    assert await cluster.delete_lease(newer)
    assert await cluster.get_lease(lease.name) is None
    assert not await cluster.delete_lease(newer)


def boot() -> Boot:
    return Boot(fresh("Node"), "uid-1", "boot-1")


def of_another(node: Boot, renewed_ago: float, duration: int) -> LeaseRecord:
    """As medik8s' programs write it."""
    at = micro_time(CLOCK.wall() - renewed_ago)
    return LeaseRecord(TENANT, f"node-{node.node.lower()}", "NHC", duration, at, at, transitions=3)


async def test_a_free_lease_of_a_node_is_taken_kept_and_given_back(cluster: Cluster) -> None:
    leases, node = NodeLeases(cluster, CLOCK, TENANT), boot()
    assert not leases.look(node.node).settled
    await leases.take(node, soon())
    look = leases.look(node.node)
    assert (look.ours, look.settled, look.renewal_due) == (True, True, False)
    stored = await cluster.get_lease(f"node-{node.node.lower()}", TENANT)
    assert stored is not None
    assert (stored.holder, stored.duration_seconds, stored.transitions) == ("ringfence", 60, 0)
    assert stored.acquire_time == stored.renew_time != ""
    next_leader = NodeLeases(cluster, CLOCK, TENANT)
    await next_leader.take(node, soon())
    renewed = await cluster.get_lease(stored.name, TENANT)
    assert renewed is not None
    assert (renewed.acquire_time, renewed.transitions) == (stored.acquire_time, 0)
    assert renewed.renew_time > stored.renew_time
    await next_leader.release(node, soon())
    assert await cluster.get_lease(stored.name, TENANT) is None
    assert not next_leader.look(node.node).ours


async def test_somebody_elses_lease_is_left_until_it_has_expired(cluster: Cluster) -> None:
    leases, node = NodeLeases(cluster, CLOCK, TENANT), boot()
    theirs = await cluster.create_lease(of_another(node, 5.0, 600))
    await leases.take(node, soon())
    look = leases.look(node.node)
    assert (look.ours, look.settled) == (False, True)
    assert look.foreign is not None
    assert f"NHC acts on {node.node}: it holds the Lease {TENANT}/{theirs.name}" in look.foreign
    await leases.release(node, soon())
    assert await cluster.get_lease(theirs.name, TENANT) == theirs
    await cluster.replace_lease(replace(theirs, renew_time=micro_time(CLOCK.wall() - 601.0)))
    await leases.take(node, soon())
    assert leases.look(node.node).ours
    taken = await cluster.get_lease(theirs.name, TENANT)
    assert taken is not None
    assert (taken.holder, taken.transitions) == ("ringfence", 4)


@pytest.mark.parametrize(
    ("renewed", "kept"),
    [
        ("0000-01-01T00:00:00.000000Z", "0000-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.000000-10:00", "10000-01-01T09:59:59.000000Z"),
        ("0001-01-01T00:00:00.000000Z", ""),
    ],
)
async def test_a_lease_with_a_time_that_python_has_no_year_for_is_taken(
    cluster: Cluster, renewed: str, kept: str
) -> None:
    leases, node = NodeLeases(cluster, CLOCK, TENANT), boot()
    theirs = await cluster.create_lease(replace(of_another(node, 5.0, 600), renew_time=renewed))
    stored = await cluster.get_lease(theirs.name, TENANT)
    assert stored is not None
    assert stored.renew_time == kept
    await leases.take(node, soon())
    assert leases.look(node.node).ours


async def test_without_the_namespace_or_a_right_there_are_no_leases(
    server: ApiServerProcess, cluster: Cluster
) -> None:
    node = boot()
    nowhere = NodeLeases(cluster, CLOCK, "no-such-namespace")
    await nowhere.take(node, soon())
    assert nowhere.look(node.node) == UNUSED
    async with connected(server, token="nobody") as stranger:
        forbidden = NodeLeases(stranger, CLOCK, TENANT)
        await forbidden.take(node, soon())
        assert forbidden.look(node.node) == UNUSED
        await forbidden.release(node, soon())
    assert NodeLeases(cluster, CLOCK, "").look(node.node) == UNUSED


# --- who must act ------------------------------------------------------------------------------------------------


async def test_errors_tell_who_must_act(server: ApiServerProcess, cluster: Cluster) -> None:
    with pytest.raises(Refused, match=r"(?i)invalid"):
        await cluster.create(kinds.NODE, {"metadata": {"name": "Not A Name"}})
    async with connected(server, token="nobody") as stranger:
        with pytest.raises(Forbidden, match="cannot get resource"):
            await stranger.get(kinds.NODE, "x")
    async with connected(server, token="unknown") as stranger:
        with pytest.raises(Forbidden):
            await stranger.get(kinds.NODE, "x")


async def test_a_frozen_server_is_unavailable_within_the_time_out(server: ApiServerProcess) -> None:
    async with await ApiServer.connect(CLOCK, kubeconfig=server.kubeconfig()) as api:
        hasty = KubeCluster(
            api, namespace=RELEASE, component="c", instance="i", timeout=0.5, lease_timeout=0.5
        )
        await hasty.list(kinds.NODE)
        server.freeze()
        try:
            began = CLOCK.monotonic()
            with pytest.raises(Unavailable):
                await hasty.get(kinds.NODE, "x")
            with pytest.raises(Unavailable):
                await hasty.get_lease("x")
            assert CLOCK.monotonic() - began < 3
        finally:
            server.thaw()


# --- the reflector -----------------------------------------------------------------------------------------------


class Mirror:
    """A reflector over the ConfigMaps of one mark, with what it reported."""

    def __init__(self, api: ApiServer, mark: str, **options: Any) -> None:
        self.changes: list[tuple[str, str]] = []
        self.reflector: Reflector[str] = Reflector(
            api,
            kinds.CONFIG_MAP,
            lambda raw: str((raw.get("data") or {}).get("v", "")) if isinstance(raw, dict) else "",
            jitter=random.Random(1).random,
            label_selector=f"mark={mark}",
            on_change=self._note,
            **options,
        )

    def _note(self, key: Key, old: str | None, new: str | None) -> None:
        word = "gone" if new is None else "new" if old is None else "changed"
        self.changes.append((word, key[1]))

    async def shows(self, wanted: dict[str, str], *, bound: float = 20.0) -> None:
        async with asyncio.timeout(bound):
            while {key[1]: value for key, value in self.reflector.store.items()} != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def reaches(self, condition: Callable[[], bool], *, bound: float = 20.0) -> None:
        async with asyncio.timeout(bound):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def mirrored(
    server: ApiServerProcess, mark: str, *, port: int | None = None, **options: Any
) -> AsyncIterator[Mirror]:
    async with await ApiServer.connect(CLOCK, kubeconfig=server.kubeconfig(port=port)) as api:
        mirror = Mirror(api, mark, **options)
        task = asyncio.create_task(mirror.reflector.run())
        try:
            yield mirror
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def put(cluster: Cluster, mark: str, name: str, value: str) -> None:
    await cluster.create(
        kinds.CONFIG_MAP,
        {"metadata": {"name": name, "namespace": TENANT, "labels": {"mark": mark}}, "data": {"v": value}},
    )


async def drop(server: ApiServerProcess, *names: str) -> None:
    async with await ApiServer.connect(CLOCK, kubeconfig=server.kubeconfig()) as api:
        for name in names:
            await api.request("DELETE", f"/api/v1/namespaces/{TENANT}/configmaps/{name}")


async def test_it_follows_creations_changes_and_deletions(server: ApiServerProcess, cluster: Cluster) -> None:
    mark = fresh("m")
    for i in range(5):
        await put(cluster, mark, f"{mark}-{i}", "1")
    async with mirrored(server, mark, page=2) as mirror:
        await asyncio.wait_for(mirror.reflector.synced.wait(), 20)
        await mirror.shows({f"{mark}-{i}": "1" for i in range(5)})
        began = mirror.reflector.fresh_at
        await cluster.patch(kinds.CONFIG_MAP, f"{mark}-0", TENANT, {"data": {"v": "2"}})
        await drop(server, f"{mark}-1", f"{mark}-2", f"{mark}-3")
        await mirror.shows({f"{mark}-0": "2", f"{mark}-4": "1"})
        # Without the label it is out of sight, hence gone.
        await cluster.patch(kinds.CONFIG_MAP, f"{mark}-4", TENANT, {"metadata": {"labels": {"mark": None}}})
        await mirror.shows({f"{mark}-0": "2"})
        assert mirror.reflector.fresh_at > began
        assert mirror.reflector.relists == 1
        assert ("changed", f"{mark}-0") in mirror.changes


async def test_watches_that_the_server_ends_are_resumed(server: ApiServerProcess, cluster: Cluster) -> None:
    mark = fresh("m")
    async with mirrored(server, mark, watch_seconds=1) as mirror:
        await asyncio.wait_for(mirror.reflector.synced.wait(), 20)
        for i in range(3):
            fresh_at = mirror.reflector.fresh_at
            await put(cluster, mark, f"{mark}-{i}", "1")
            await mirror.shows({f"{mark}-{n}": "1" for n in range(i + 1)})
            # A watch ends and the next one's bookmark or event proves contact, with nothing of ours happening.
            await mirror.reaches(lambda at=fresh_at: mirror.reflector.fresh_at > at + 1.5)  # type: ignore[misc]
        assert mirror.reflector.relists == 1


async def test_a_cut_is_resumed_without_a_relist(server: ApiServerProcess, cluster: Cluster) -> None:
    mark, relay = fresh("m"), Relay(server.port)
    await relay.open()
    await put(cluster, mark, f"{mark}-a", "1")
    async with mirrored(server, mark, port=relay.port) as mirror:
        await mirror.shows({f"{mark}-a": "1"})
        await relay.cut()
        await put(cluster, mark, f"{mark}-b", "1")
        await drop(server, f"{mark}-a")
        await relay.open()
        await mirror.shows({f"{mark}-b": "1"})
        assert mirror.reflector.relists == 1
        await relay.cut()


async def test_after_a_compaction_no_ghost_survives(server: ApiServerProcess, cluster: Cluster) -> None:
    mark, relay = fresh("m"), Relay(server.port)
    await relay.open()
    names = [f"{mark}-{i}" for i in range(6)]
    for name in names:
        await put(cluster, mark, name, "1")
    async with mirrored(server, mark, port=relay.port, page=2) as mirror:
        await mirror.shows(dict.fromkeys(names, "1"))
        await relay.cut()
        await drop(server, *names[:3])
        await put(cluster, mark, f"{mark}-new", "1")
        server.compact()
        # A new server has no watch cache that could still bridge the gap: the version is really gone.
        server.kill_server()
        await asyncio.to_thread(server.start)
        await relay.open()
        await mirror.shows({**dict.fromkeys(names[3:], "1"), f"{mark}-new": "1"}, bound=40)
        assert mirror.reflector.relists == 2
        assert {("gone", name) for name in names[:3]} <= set(mirror.changes)
        assert not any(change in mirror.changes for change in (("gone", n) for n in names[3:]))
        await relay.cut()


async def test_a_frozen_server_is_noticed_and_left_for_its_return(
    server: ApiServerProcess, cluster: Cluster
) -> None:
    mark = fresh("m")
    async with mirrored(server, mark, watch_seconds=2, grace=1.0) as mirror:
        await asyncio.wait_for(mirror.reflector.synced.wait(), 20)
        server.freeze()
        try:
            frozen_at = CLOCK.monotonic()
            await mirror.reaches(lambda: CLOCK.monotonic() > frozen_at + 4)
            assert mirror.reflector.fresh_at < frozen_at + 1
        finally:
            server.thaw()
        await put(cluster, mark, f"{mark}-a", "1")
        await mirror.shows({f"{mark}-a": "1"}, bound=40)
        assert mirror.reflector.fresh_at > frozen_at + 4


async def test_a_store_that_was_set_back_ends_it_however_quiet_its_kind_is(
    server: ApiServerProcess, cluster: Cluster
) -> None:
    """The versions of the restored store are lower: a watch from where this one stood would hear nothing until they are reached."""
    mark, relay = fresh("m"), Relay(server.port)
    await put(cluster, mark, f"{mark}-a", "1")
    await asyncio.to_thread(server.back_up)
    await relay.open()
    async with await ApiServer.connect(CLOCK, kubeconfig=server.kubeconfig(port=relay.port)) as api:
        mirror = Mirror(api, mark)
        task = asyncio.create_task(mirror.reflector.run())
        for value in range(50):
            await put(cluster, mark, f"{mark}-{value}", "1")
        await mirror.shows({f"{mark}-a": "1"} | {f"{mark}-{value}": "1" for value in range(50)})
        await relay.cut()
        await asyncio.to_thread(server.restore)
        await relay.open()
        with pytest.raises(WentBack, match="it was set back"):
            await asyncio.wait_for(task, 60)
        await relay.cut()


async def test_deletions_during_a_relist_leave_no_ghost(server: ApiServerProcess, cluster: Cluster) -> None:
    """Pages of one list show one version; what goes while they are read comes as an event after it."""
    mark = fresh("m")
    names = [f"{mark}-{i:02}" for i in range(24)]
    await asyncio.gather(*(put(cluster, mark, name, "1") for name in names))
    async with mirrored(server, mark, page=1) as mirror:
        await drop(server, *names[::2])
        await mirror.shows(dict.fromkeys(names[1::2], "1"))


async def test_a_kind_that_is_not_installed_is_waited_for(server: ApiServerProcess, cluster: Cluster) -> None:
    async with await ApiServer.connect(CLOCK, kubeconfig=server.kubeconfig()) as api:
        zones = Reflector(api, kinds.HA_ZONE, str, jitter=lambda: 0.0)
        task = asyncio.create_task(zones.run())
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(zones.synced.wait(), 0.5)
            await cluster.create(kinds.CRD, crd(kinds.HA_ZONE))
            await asyncio.wait_for(zones.synced.wait(), 30)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
