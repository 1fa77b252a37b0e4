"""The controller's process: ``python -m ringfence.controller``.

One event loop. Our own tasks first, kopf last; the end of any of them ends the process, and the next replica leads.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import secrets
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import kopf
from aiohttp import web

from ringfence.api.v1alpha1.hacluster import GossipSpec
from ringfence.api.v1alpha1.nodereport import NodeReport
from ringfence.controller import bootstrap, handlers
from ringfence.controller.devices import DeviceBook, OpenDevice
from ringfence.controller.drills import Drills
from ringfence.controller.evidence import Witness
from ringfence.controller.keys import KeyKeeper, holders
from ringfence.controller.launchers import Launchers
from ringfence.controller.leadership import Leadership
from ringfence.controller.loop import Loop
from ringfence.controller.members import members
from ringfence.controller.narrator import Narrator
from ringfence.controller.node_leases import NodeLeases
from ringfence.controller.questions import Questions
from ringfence.controller.slot_looks import SlotLooks
from ringfence.controller.slots import SlotStreams
from ringfence.controller.statuses import Statuses
from ringfence.controller.streams import Streams
from ringfence.controller.watchdogs import Watchdogs
from ringfence.controller.world import OWN, World
from ringfence.core.fencing.slots import cluster_id
from ringfence.core.gossip.keys import KeySet
from ringfence.fencing import open_device
from ringfence.fencing.network_fence import NetworkFenceDevice
from ringfence.kube import kinds
from ringfence.kube.client import ApiServer
from ringfence.kube.cluster import KubeCluster
from ringfence.metrics import CONTENT_TYPE, ControllerMetrics
from ringfence.net.crypto import SigningKey, verify
from ringfence.net.kernel_probe import CLOSED_PORT, TIMEOUT, probe_kernel
from ringfence.net.slot_stream import SlotClient
from ringfence.net.stream import StreamClient
from ringfence.ports import (
    Clock,
    Cluster,
    ClusterError,
    Conflict,
    DeviceSpec,
    Kind,
    PortError,
    PowerDevice,
    SystemClock,
)

logger = logging.getLogger(__name__)

SWEEP_EVERY = 60.0
HOUSEKEEPING_EVERY = 1.0
PROVE_LOOK = 1.0
"""Seconds between two looks whether a device is due for its proof."""
ROSTER_EVERY = 2.0
KEYS_EVERY = 2.0
OWN_KINDS: dict[str, Kind] = {
    "haclusters": kinds.HA_CLUSTER,
    "hazones": kinds.HA_ZONE,
    "fencedevices": kinds.FENCE_DEVICE,
    "protectedvms": kinds.PROTECTED_VM,
    "failovers": kinds.FAILOVER,
    "nodereports": kinds.NODE_REPORT,
}
assert OWN_KINDS.keys() == OWN.keys()


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line; every option has its default from the environment that the chart sets."""
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="ringfence.controller", description=__doc__)
    parser.add_argument("--namespace", default=env("POD_NAMESPACE", "ringfence-system"))
    parser.add_argument("--identity", default=env("POD_NAME", ""), required=not env("POD_NAME"))
    parser.add_argument("--node-name", default=env("NODE_NAME", ""))
    parser.add_argument("--port", type=int, default=7947, help="the agents' port")
    parser.add_argument(
        "--slots-port", type=int, default=0, help="the heartbeat processes' port; 0: there are none"
    )
    parser.add_argument(
        "--node-leases",
        default="medik8s-leases",
        help="the namespace of the Leases node-<name> that remediators go by; empty: they are not used",
    )
    parser.add_argument("--metrics-port", type=int, default=7949)
    parser.add_argument(
        "--fence-agents", default="/usr/sbin:/sbin", help="folders of fence_* programs, as in PATH"
    )
    parser.add_argument("--kubeconfig", default=None, help="outside a cluster only")
    parser.add_argument("--log-level", default=env("LOG_LEVEL", "INFO"))
    return parser.parse_args(argv)


async def run(chosen: argparse.Namespace) -> None:
    """Build the house, start every task, and end when the first of them ends."""
    clock = SystemClock()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await ApiServer.connect(clock, kubeconfig=chosen.kubeconfig) as api:
        cluster = KubeCluster(
            api, namespace=chosen.namespace, component="ringfence-controller", instance=chosen.identity
        )
        metrics = ControllerMetrics()
        keys = await bootstrap.keys(cluster)
        witness = Witness(verify)
        poked: list[Callable[[], None]] = []

        def poke() -> None:
            for one in poked:
                one()

        world = World(api, clock, chosen.namespace, witness, random.random, poke)
        agents = tuple(Path(folder) for folder in chosen.fence_agents.split(":"))
        devices = DeviceBook(cluster, clock, opener(cluster, agents), poke)
        narrator = Narrator(cluster)

        def able() -> bool:
            return loop.sees_majority()

        def accused() -> bool:
            return loop.finds_own_node_down()

        leadership = Leadership(
            cluster,
            clock,
            chosen.identity,
            chosen.namespace,
            metrics.leader,
            able,
            accused,
        )
        keeper = KeyKeeper(cluster, keys.group, lambda: leadership.deadline)
        await keeper.begin()
        registrar = bootstrap.Registrar(cluster, world, witness, keys, lambda: leadership.deadline)
        probes: set[asyncio.Task[None]] = set()

        def probe(node: str) -> None:
            member = witness.roster.by_name.get(node) if witness.roster else None
            if member is None or not member.addresses or probes:
                return

            async def ask() -> None:
                heard = asyncio.Event()
                probe_kernel(member.addresses[0], (chosen.port, CLOSED_PORT), heard.set)
                try:
                    async with asyncio.timeout(2 * TIMEOUT):
                        await heard.wait()
                except TimeoutError:
                    pass
                witness.probe_seen(node, heard.is_set(), clock.monotonic())

            task = asyncio.create_task(ask())
            probes.add(task)
            task.add_done_callback(probes.discard)

        client, slot_client = StreamClient(keeper.keys), SlotClient(keeper.keys)

        def rekey(keys: KeySet) -> None:
            client.rekey(keys)
            slot_client.rekey(keys)

        keeper.on_change = rekey
        questions = Questions(client, witness, clock, chosen.port, poke)
        slot_streams = (
            SlotStreams(
                slot_client,
                witness,
                clock,
                chosen.identity,
                chosen.node_name,
                chosen.slots_port,
                poke,
                metrics,
                cluster=cluster_id(keys.roster_public),
                sign=SigningKey(keys.roster_seed).sign,
            )
            if chosen.slots_port
            else None
        )
        slot_looks = (
            SlotLooks(slot_client, clock, chosen.slots_port, lambda: witness.roster) if slot_streams else None
        )
        watchdogs = Watchdogs(
            *(cluster, clock, world, witness, client, chosen.port, poke),
            slot_looks.look if slot_looks else None,
        )
        loop = Loop(
            cluster=cluster,
            clock=clock,
            world=world,
            witness=witness,
            devices=devices,
            watchdogs=watchdogs,
            node_leases=NodeLeases(cluster, clock, chosen.node_leases),
            leadership=leadership,
            narrator=narrator,
            identity=chosen.identity,
            own_node=chosen.node_name,
            suffix=lambda: secrets.token_hex(2),
            draw=random.random,
            probe=probe,
            ask=questions.ask,
            metrics=metrics,
            scribe=slot_streams,
        )
        poked.append(loop.poke)
        statuses = Statuses(
            cluster,
            clock,
            world,
            devices,
            watchdogs,
            loop,
            narrator,
            keeper,
            lambda: leadership.deadline,
            metrics,
        )
        launchers = Launchers(cluster, world, lambda: leadership.deadline)
        drills = Drills(
            cluster, clock, world, devices, loop, narrator, chosen.node_name, lambda: leadership.deadline
        )
        streams = Streams(
            client,
            witness,
            clock,
            chosen.identity,
            chosen.node_name,
            chosen.port,
            poke,
            metrics,
        )

        async def sweep() -> None:
            """Kopf forgets nothing but deletions during its own relist: a LIST a minute sees those (STYLE, kopf)."""
            while True:
                for plural, kind in OWN_KINDS.items():
                    try:
                        world.own.sweep(plural, await cluster.list(kind))
                    except ClusterError as error:
                        logger.warning("%s not listed: %s", plural, error)
                        break
                else:
                    world.own.swept = True
                    leadership.ready()
                await asyncio.sleep(SWEEP_EVERY if world.own.swept else 1.0)

        async def group_keys(every: float) -> None:
            """Their trouble must not hold up anything else."""
            try:
                await keeper.read(clock.monotonic(), every=every)
                if leadership.leads:
                    await rotate()
            except Conflict as error:
                logger.info("group keys: %s; looking again", error)
            except PortError as error:
                if keeper.trouble is None:  # else it is said there
                    logger.warning("group keys: %s", error)

        async def rotate() -> None:
            declared = world.own.cluster
            asked = declared.spec.gossip if declared else GossipSpec()
            last = declared.status.keys if declared else None
            found = holders(
                witness,
                loop.judgements,
                world.own.all(NodeReport),
                asked.rotate_without,
                clock.monotonic(),
            )
            if found is not None:
                await keeper.step(asked.key_generation, last.generation if last else 0, found)
                metrics.keys(keeper.keys.generation, len(keeper.told.waits) if keeper.told else 0)

        async def housekeeping() -> None:
            """What may wait a second: roster, group keys, conditions, tolerations."""
            await asyncio.gather(*(r.synced.wait() for r in world.reflectors))
            led = False
            while True:
                statuses.declare()
                statuses.measure()
                leads = leadership.leads
                try:
                    # What another leader wrote last must be known before this one writes.
                    await registrar.read(clock.monotonic(), every=ROSTER_EVERY if led == leads else 0.0)
                    await group_keys(KEYS_EVERY if led == leads else 0.0)
                    led = leads
                    if leads:
                        await registrar.publish()
                        await statuses.write()
                        await launchers.lift()
                        await drills.step()
                        await loop.sweep_taints()
                        await loop.sweep_words()
                except PortError as error:
                    logger.warning("housekeeping: %s", error)
                await asyncio.sleep(HOUSEKEEPING_EVERY)

        async def prove() -> None:
            """Prove the devices before they are needed: at once when declared, then once a minute."""
            while True:
                await devices.prove_due(loop.busy_nodes())
                await asyncio.sleep(PROVE_LOOK)

        async def operator() -> None:
            await kopf.operator(
                registry=handlers.registry,
                settings=handlers.settings(),
                memo=handlers.Shared(world.own),
                standalone=True,
                clusterwide=True,
                stop_flag=stop,
            )

        def ring() -> dict[str, Any]:
            reports = {name: report.status for (_, name), report in world.own.all(NodeReport).items()}
            named = {
                node.name: [network.name for network in world.networks_of(node)]
                for node in world.nodes.store.values()
            }
            return members(witness, loop.judgements, reports, clock.monotonic(), named=named)

        health = await serve(chosen.metrics_port, metrics, lambda: world.own.swept, ring)
        work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "leadership": leadership.run,
            "streams": streams.run,
            **({"slot streams": slot_streams.run} if slot_streams else {}),
            "sweep": sweep,
            "housekeeping": housekeeping,
            "prove": prove,
            "loop": loop.run,
            **{f"watch {number}, {r.kind.plural}": r.run for number, r in enumerate(world.reflectors)},
        }
        tasks = [asyncio.create_task(start(), name=name) for name, start in work.items()]
        tasks.append(asyncio.create_task(operator(), name="kopf"))
        waiting = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait({*tasks, waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            logger.critical(
                "%s ended: %r", task.get_name(), task.exception() if not task.cancelled() else "cancelled"
            )
        stop.set()
        for task in tasks[:-1]:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                await asyncio.gather(*tasks, return_exceptions=True)
        await questions.close()
        await leadership.release()
        await devices.close()
        await health.cleanup()
        if done != {waiting}:
            raise SystemExit(1)


def opener(cluster: Cluster, agents: Sequence[Path]) -> OpenDevice:
    """How devices are opened: a storage is spoken to through the cluster's own API, all others by themselves."""

    def open_any(spec: DeviceSpec, secret: Mapping[str, bytes], clock: Clock) -> PowerDevice:
        if spec.driver == "storage":
            return NetworkFenceDevice(spec, cluster, clock)
        return open_device(spec, secret, clock, agents=agents)

    return open_any


async def serve(
    port: int, metrics: ControllerMetrics, ready: Callable[[], bool], ring: Callable[[], dict[str, Any]]
) -> web.AppRunner:
    """``/metrics``, ``/members``, ``/healthz``, ``/readyz`` on this port. A loop that does not turn answers none of them."""

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def table(_: web.Request) -> web.Response:
        return web.json_response(ring())

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        return (
            web.Response(text="ok")
            if ready()
            else web.Response(status=503, text="the first list is not complete")
        )

    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", exposition),
            web.get("/members", table),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner


def main() -> None:
    chosen = options()
    logging.basicConfig(
        level=chosen.log_level,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    for noisy in ("kopf.objects", "kopf.activities", "kopf._core", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    asyncio.run(run(chosen))


if __name__ == "__main__":
    main()
