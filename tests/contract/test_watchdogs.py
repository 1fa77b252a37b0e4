"""Revocation and last look on a real kube-apiserver, with real agents that are asked whom they hear."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from contract.apiserver import TOKEN, ApiServerProcess
from contract.test_cluster import CLOCK, RELEASE, connected, crd, served
from lab.wait import until
from lab.watchdog.build import shim
from ringfence.agent.kubernetes_link import KubernetesLink
from ringfence.agent.lifeline import Lifeline
from ringfence.api.v1alpha1.hazone import ZoneWatchdog
from ringfence.controller.evidence import Witness
from ringfence.controller.setbacks import Setbacks
from ringfence.controller.watchdogs import Watchdogs
from ringfence.controller.world import World
from ringfence.core.fencing.selffence import SlotLook, WatchdogLook
from ringfence.core.model import Boot
from ringfence.core.setback import SetBack
from ringfence.kube import kinds
from ringfence.kube.client import ApiServer
from ringfence.kube.cluster import KubeCluster
from ringfence.kube.node_api import Access, AgentLease, LeaseState, NodeApi
from ringfence.net.crypto import verify
from ringfence.net.stream import StreamClient
from unit.agent.test_agents_on_loopback import GROUP, Three, boot
from unit.agent.test_feeder import ISOLATION, TIMEOUT
from unit.agent.test_feeder import Node as FedNode

pytestmark = pytest.mark.apiserver

INCIDENT = Boot("n3", "uid-3", boot(3))
HOLDER = f"uid-3/{boot(3)}"
TIMES = ZoneWatchdog.model_validate({"assumeSeconds": 80})
ARMED = {
    "armed": True,
    "timeoutSeconds": 60,
    "isolationSeconds": 10,
    "legs": ["Api", "Gossip"],
    "nowayout": False,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    process = ApiServerProcess(tmp_path_factory.mktemp("apiserver"))
    try:
        process.start()
        asyncio.run(furnish(process))
        yield process
    finally:
        process.stop()


async def furnish(server: ApiServerProcess) -> None:
    async with connected(server) as cluster:
        await cluster.create(kinds.NAMESPACE, {"metadata": {"name": RELEASE}})
        await cluster.create(kinds.CRD, crd(kinds.NODE_REPORT))
        async with asyncio.timeout(30):
            while not await served(cluster, kinds.NODE_REPORT):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@dataclass
class Bench:
    """One controller's watchdogs, three agents, and the third one's Lease."""

    cluster: KubeCluster
    world: World
    dogs: Watchdogs
    agents: Three
    lease: Callable[[str], AgentLease]

    def look(self) -> WatchdogLook:
        return self.dogs.look("dogs", INCIDENT, TIMES)

    async def report(self, **changes: Any) -> None:
        status = {"nodeUID": "uid-3", "bootID": boot(3), "watchdog": {**ARMED, **changes}}
        raw = await self.cluster.patch_status(kinds.NODE_REPORT, "n3", "", status)
        self.world.own.seen("nodereports", raw)

    async def holder(self) -> str:
        lease = await self.cluster.get_lease("ringfence-agent-n3")
        return lease.holder if lease is not None else "nobody"

    async def revoke(self) -> None:
        self.look()  # a command follows a look
        await self.dogs.revoke(INCIDENT, CLOCK.monotonic() + 5.0)


def never_set_back(witness: Witness) -> Setbacks:
    return Setbacks(CLOCK, witness, StreamClient(GROUP), 7947, lambda _data, _signature: False)


def all_met(agents: Three) -> bool:
    return all(s.two_way_at is not None for agent in agents.agents.values() for s in agent.swim.subjects)


@pytest.fixture
async def bench(server: ApiServerProcess, tmp_path: Path) -> AsyncIterator[Bench]:
    (tmp_path / "token").write_text(TOKEN)
    access = Access(f"https://127.0.0.1:{server.port}", tmp_path / "token", server.folder / "apiserver.crt")
    agents = Three()
    await agents.start()
    async with await ApiServer.connect(CLOCK, kubeconfig=server.kubeconfig()) as api:
        cluster = KubeCluster(api, namespace=RELEASE, component="contract", instance="me")
        witness = Witness(verify)
        witness.roster = agents.roster
        witness.boot_seen("n3", "uid-3", boot(3))
        world = World(api, CLOCK, RELEASE, witness, lambda: 0.0, lambda: None)
        dogs = Watchdogs(
            cluster,
            CLOCK,
            world,
            witness,
            StreamClient(GROUP),
            agents.agents[1].port,
            lambda: None,
            never_set_back(witness),
        )
        dogs.watch_roster(CLOCK.monotonic())
        await cluster.create(kinds.NODE_REPORT, {"metadata": {"name": "n3"}, "spec": {}})
        node_api = NodeApi(access, RELEASE)
        made = Bench(cluster, world, dogs, agents, lambda holder: AgentLease(node_api, "n3", holder))
        await made.report()
        async with asyncio.timeout(20):
            while not all_met(agents):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        yield made
        node_api.close()
        path = "/apis/ringfence.io/v1alpha1/nodereports/n3"
        await api.request("DELETE", path, timeout=5.0)
        if await made.holder() != "nobody":
            lease = f"/apis/coordination.k8s.io/v1/namespaces/{RELEASE}/leases/ringfence-agent-n3"
            await api.request("DELETE", lease, timeout=5.0)
    await agents.close()


async def test_a_revoked_lease_is_not_renewed_in_its_boot(bench: Bench) -> None:
    lease = bench.lease(HOLDER)
    assert await asyncio.to_thread(lease.renew) is LeaseState.HELD
    assert bench.look().revoked_at is None
    before = CLOCK.monotonic()
    await bench.revoke()
    revoked_at = bench.look().revoked_at
    assert revoked_at is not None
    assert revoked_at >= before
    assert await bench.holder() == f"revoked/{HOLDER}"
    assert await asyncio.to_thread(lease.renew) is LeaseState.LOST
    assert await asyncio.to_thread(bench.lease(HOLDER).renew) is LeaseState.LOST
    await bench.revoke()
    assert await bench.holder() == f"revoked/{HOLDER}"
    assert await asyncio.to_thread(bench.lease("uid-3/later").renew) is LeaseState.HELD


async def test_a_lease_that_is_not_there_is_made_revoked(bench: Bench) -> None:
    await bench.revoke()
    assert await asyncio.to_thread(bench.lease(HOLDER).renew) is LeaseState.LOST


async def test_a_later_boots_lease_is_left_alone(bench: Bench) -> None:
    assert await asyncio.to_thread(bench.lease("uid-3/later").renew) is LeaseState.HELD
    await bench.revoke()
    assert await bench.holder() == "uid-3/later"
    look = bench.look()
    assert look.revoked_at is None
    assert "a boot that is not this incident's" in (look.error or "")
    assert look.next_try_at > CLOCK.monotonic()


async def test_after_the_deadline_nothing_is_revoked(bench: Bench) -> None:
    await bench.dogs.revoke(INCIDENT, CLOCK.monotonic() - 0.1)
    assert await bench.holder() == "nobody"
    assert bench.look().revoked_at is None


async def test_the_agents_say_when_they_last_heard_the_node(bench: Bench) -> None:
    await bench.revoke()
    asked_at = CLOCK.monotonic()
    await bench.dogs.look_once_more(INCIDENT)
    roll = bench.look().roll
    assert roll is not None
    assert roll.silent == {"n1", "n2"}
    assert roll.needed == 2
    assert roll.asked_at >= asked_at
    assert asked_at - 3.0 < roll.heard_at <= CLOCK.monotonic()

    await bench.agents.agents.pop(3).close()
    await asyncio.sleep(1.0)  # a second in which nothing is heard of it: what is measured
    asked_at = CLOCK.monotonic()
    await bench.dogs.look_once_more(INCIDENT)
    later = bench.look().roll
    assert later is not None
    assert later.heard_at < asked_at - 0.8

    await bench.agents.agents.pop(2).close()
    await bench.dogs.look_once_more(INCIDENT)
    lonely = bench.look().roll
    assert lonely is not None
    assert lonely.silent == {"n1"}

    again = CLOCK.monotonic()
    await bench.agents.agents.pop(1).close()
    agent = await bench.agents.start_agent(1)
    agent.install(bench.agents.sealed())
    assert agent.port != 0
    forgetful = Watchdogs(
        bench.cluster,
        CLOCK,
        bench.world,
        bench.world._witness,
        StreamClient(GROUP),
        agent.port,
        lambda: None,
        never_set_back(bench.world._witness),
    )
    forgetful.look("dogs", INCIDENT, TIMES)
    await forgetful.revoke(INCIDENT, CLOCK.monotonic() + 5.0)
    await forgetful.look_once_more(INCIDENT)
    new = forgetful.look("dogs", INCIDENT, TIMES).roll
    assert new is not None
    assert new.silent == {"n1"}
    assert new.heard_at >= again, "an agent that has just started can't tell of the time before"


async def test_where_the_slot_feeds_too_the_last_look_is_at_it_as_well(bench: Bench) -> None:
    looked: list[Boot] = []
    found = SlotLook(2.0, 1.0, frozenset({"n2"}))

    async def look_at_slot(boot: Boot) -> SlotLook:
        looked.append(boot)
        return found

    port = bench.agents.agents[1].port
    dogs = Watchdogs(
        *(bench.cluster, CLOCK, bench.world, bench.world._witness, StreamClient(GROUP), port, lambda: None),
        never_set_back(bench.world._witness),
        look_at_slot,
    )
    by_slot = TIMES.model_copy(update={"legs": ["Gossip", "Api", "Storage"]})
    assert dogs.look("dogs", INCIDENT, by_slot).unusable is None, "a leg less than the zone counts"
    await dogs.revoke(INCIDENT, CLOCK.monotonic() + 5.0)
    await dogs.look_once_more(INCIDENT)
    assert looked == [], "it feeds nothing there"

    await bench.report(legs=["Api", "Gossip", "Storage"])
    await dogs.look_once_more(INCIDENT)
    look = dogs.look("dogs", INCIDENT, by_slot)
    assert looked == [INCIDENT]
    assert look.roll is not None
    assert look.slot == found
    assert "name it in the zone's spec.fencing.watchdog.legs" in (bench.look().unusable or "")


async def test_an_undone_revocation_starts_anew(bench: Bench) -> None:
    await bench.revoke()
    lease = await bench.cluster.get_lease("ringfence-agent-n3")
    assert lease is not None
    await bench.cluster.replace_lease(replace(lease, holder=HOLDER))
    await bench.dogs.look_once_more(INCIDENT)
    look = bench.look()
    assert (look.revoked_at, look.roll) == (None, None)
    await bench.revoke()
    assert bench.look().revoked_at is not None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"armed": False, "reason": "no device"}, "not armed: no device"),
        ({"timeoutSeconds": 64}, "raise the zone's times"),
        ({"legs": ["Api", "Gossip", "Storage"]}, "Storage"),
    ],
    ids=["disarmed", "slower", "storage"],
)
async def test_the_report_is_read_again_at_the_last_look(
    bench: Bench, changes: dict[str, Any], why: str
) -> None:
    """What the cache doesn't know yet: the agent has signed off, or has been set to other times."""
    await bench.revoke()
    assert bench.look().unusable is None
    status = {"watchdog": {**ARMED, **changes}}
    await bench.cluster.patch_status(kinds.NODE_REPORT, "n3", "", status)
    await bench.dogs.look_once_more(INCIDENT)
    look = bench.look()
    assert look.roll is None
    assert why in (look.unusable or "")


async def test_the_watchdog_is_disarmed_only_once_the_api_server_has_acknowledged_it(
    bench: Bench, server: ApiServerProcess, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A real feeder, the agent's lifeline and its link; the API server stands still when the agent first wants to end."""
    folder = tmp_path / "node"
    folder.mkdir()
    node = FedNode(folder, shim(tmp_path_factory.mktemp("shim")))
    access = Access(f"https://127.0.0.1:{server.port}", tmp_path / "token", server.folder / "apiserver.crt")
    lifeline = Lifeline(node.mailbox, ISOLATION, TIMEOUT)

    def status() -> dict[str, Any]:
        return {"nodeUID": "uid-3", "bootID": boot(3), "watchdog": lifeline.status()}

    def last_word() -> bool:
        return link.say(status())

    async def tick() -> None:
        while True:
            lifeline.tick(time.monotonic(), time.monotonic(), 3)
            await asyncio.sleep(0.3)

    link = KubernetesLink(
        NodeApi(access, RELEASE), node="n3", status=status, on_roster=lambda _: None, on_lease=lambda _: None,
        **lifeline.hears(),
    )  # fmt: skip
    link.hurry(on=True)
    ticking = asyncio.create_task(tick())

    async def reported() -> bool:
        return bool((await bench.cluster.get(kinds.NODE_REPORT, "n3"))["status"]["watchdog"]["armed"])

    try:
        await asyncio.to_thread(until, "the timer to listen", (folder / "dog.sock").exists, 10)
        link.start()
        node.feeder()
        async with asyncio.timeout(30):
            while not (node.log("open") and await reported()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        server.freeze()
        try:
            await lifeline.sign_off(last_word)
        finally:
            server.thaw()
        assert node.log("stop") == []
        assert lifeline.status()["armed"]

        async with asyncio.timeout(30):
            while not await reported():  # noqa: ASYNC110 - what the frozen server may have taken is put right
                await asyncio.sleep(0.1)
        await lifeline.sign_off(last_word)
        assert not await reported()
        assert len(node.log("stop")) == 1
        assert node.log("bite") == []
    finally:
        link.stop()
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        node.close()


async def test_a_report_of_another_boot_promises_nothing(bench: Bench) -> None:
    other = bench.dogs.look("dogs", Boot("n3", "uid-3", "later"), TIMES)
    assert "has not reported about this boot" in (other.unusable or "")
    assert "no spec.fencing.watchdog" in (bench.dogs.look("dogs", INCIDENT, None).unusable or "")


async def test_a_promise_of_before_the_store_was_set_back_is_worth_nothing(bench: Bench) -> None:
    assert bench.look().unusable is None
    raw = await bench.cluster.get(kinds.NODE_REPORT, "n3")
    noted = SetBack(501, 480, int(raw["metadata"]["resourceVersion"]), settled=True)
    bench.dogs._setbacks.wrote(noted)
    assert "has not reported since the cluster's store was set back" in (bench.look().unusable or "")
    assert "restart its agent" in (bench.dogs.trouble("n3", TIMES) or "")
    await bench.report(nowayout=True)  # the agent writes when it wrote, so its report always is another
    assert bench.look().unusable is None
