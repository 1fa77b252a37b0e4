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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import kopf
from aiohttp import web

from ringfence import logs
from ringfence.controller import collector, handlers
from ringfence.controller.devices import OpenDevice
from ringfence.controller.replica import Doors, Place, Replica
from ringfence.controller.webhook import Door
from ringfence.fencing import open_device
from ringfence.fencing.network_fence import Epochs, NetworkFenceDevice
from ringfence.kube.client import ApiServer
from ringfence.metrics import CONTENT_TYPE, ControllerMetrics
from ringfence.net.crypto import verify
from ringfence.net.kernel_probe import CLOSED_PORT, probe_kernel
from ringfence.net.slot_stream import SlotClient
from ringfence.net.stream import StreamClient
from ringfence.ports import (
    Clock,
    Cluster,
    DeviceSpec,
    PowerDevice,
    SystemClock,
)

logger = logging.getLogger(__name__)


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
        "--webhook-port", type=int, default=0, help="where the API server asks about our objects; 0: nowhere"
    )
    parser.add_argument(
        "--webhook-certificates",
        type=Path,
        default=Path("/etc/ringfence/webhook"),
        help="the folder of tls.crt and tls.key",
    )
    parser.add_argument(
        "--fence-agents", default="/usr/sbin:/sbin", help="folders of fence_* programs, as in PATH"
    )
    parser.add_argument("--kubeconfig", default=None, help="outside a cluster only")
    parser.add_argument("--log-level", default=env("LOG_LEVEL", "INFO"))
    parser.add_argument("--log-format", choices=logs.FORMATS, default="text")
    return parser.parse_args(argv)


async def run(chosen: argparse.Namespace) -> None:
    """Connect a replica to the real cluster, agents and devices, start every task, and end when the first of them ends."""
    clock = SystemClock()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await ApiServer.connect(clock, kubeconfig=chosen.kubeconfig) as api:
        metrics = ControllerMetrics()
        agents = tuple(Path(folder) for folder in chosen.fence_agents.split(":"))
        replica = await Replica.begin(
            Place(
                chosen.namespace,
                chosen.identity,
                chosen.node_name,
                chosen.port,
                chosen.slots_port,
                chosen.node_leases,
            ),
            Doors(
                api=api,
                clock=clock,
                agents=StreamClient,
                heartbeats=SlotClient,
                opener=lambda cluster, epochs: opener(cluster, epochs, agents),
                probe=lambda address, heard: probe_kernel(address, (chosen.port, CLOSED_PORT), heard),
                verify=verify,
                draw=random.random,
                suffix=lambda: secrets.token_hex(2),
            ),
            metrics,
        )

        async def operator() -> None:
            await kopf.operator(
                registry=handlers.registry,
                settings=handlers.settings(Door(chosen.webhook_port, chosen.webhook_certificates)),
                memo=handlers.Shared(replica.world.own, replica.admission),
                standalone=True,
                clusterwide=True,
                stop_flag=stop,
            )

        health = await serve(
            *(chosen.metrics_port, metrics, lambda: replica.world.own.swept, replica.ring, replica.suppose)
        )
        tasks = [asyncio.create_task(start(), name=name) for name, start in replica.work().items()]
        tasks.append(asyncio.create_task(collector.tend(replica.world.filled()), name="collector"))
        tasks.append(by_kopf := asyncio.create_task(operator(), name="kopf"))
        waiting = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait({*tasks, waiting}, return_when=asyncio.FIRST_COMPLETED)
        # kopf takes SIGTERM for itself: where it returns, and raises nothing, the process was asked to end.
        failed = [t for t in done - {waiting} if t is not by_kopf or t.cancelled() or t.exception()]
        for task in failed:
            logger.critical(
                "%s ended: %r", task.get_name(), task.exception() if not task.cancelled() else "cancelled"
            )
        stop.set()
        for task in tasks[:-1]:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                await asyncio.gather(*tasks, return_exceptions=True)
        await replica.end()
        await health.cleanup()
        if failed:
            raise SystemExit(1)


def opener(cluster: Cluster, epochs: Epochs, agents: Sequence[Path]) -> OpenDevice:
    """How devices are opened: a storage is spoken to through the cluster's own API, all others by themselves."""

    def open_any(spec: DeviceSpec, secret: Mapping[str, bytes], clock: Clock) -> PowerDevice:
        if spec.driver == "storage":
            return NetworkFenceDevice(spec, cluster, clock, epochs)
        return open_device(spec, secret, clock, agents=agents)

    return open_any


async def serve(
    port: int,
    metrics: ControllerMetrics,
    ready: Callable[[], bool],
    ring: Callable[[], dict[str, Any]],
    suppose: Callable[[Sequence[str]], dict[str, Any]],
) -> web.AppRunner:
    """``/metrics``, ``/members``, ``/dry-run?node=``, ``/healthz``, ``/readyz`` on this port.

    A loop that does not turn answers none of them.
    """

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def table(_: web.Request) -> web.Response:
        return web.json_response(ring())

    async def supposed(request: web.Request) -> web.Response:
        return web.json_response(suppose(request.query.getall("node", [])))

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
            web.get("/dry-run", supposed),
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
    logs.begin(
        *(chosen.log_level, chosen.log_format),
        text="%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s",
        dates="%H:%M:%S",
    )
    for noisy in ("kopf.objects", "kopf.activities", "kopf._core", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    asyncio.run(run(chosen))


if __name__ == "__main__":
    main()
