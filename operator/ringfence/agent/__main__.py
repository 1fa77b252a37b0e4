"""``python -m ringfence.agent``: the sidecar of a node."""

from __future__ import annotations

import argparse
import asyncio
import base64
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ringfence
from ringfence import logs
from ringfence.agent.agent import Agent, Identity, prepare
from ringfence.agent.health import HealthServer
from ringfence.agent.kubernetes_link import KubernetesLink
from ringfence.agent.lifeline import LEGS, Lifeline
from ringfence.agent.mailbox import RUN_DIRECTORY, Mailbox
from ringfence.agent.state import StateDirectory
from ringfence.agent.trace import TraceFile
from ringfence.core.fencing.selffence import Leg
from ringfence.core.gossip.members import RosterError, SealedRoster, open_roster
from ringfence.core.rosterkey import fingerprint
from ringfence.host import guests
from ringfence.host.addresses import own_addresses
from ringfence.host.clock import read_boot_id
from ringfence.host.privileges import return_spare_memory, take_privileges
from ringfence.kube.node_api import Access, NodeApi
from ringfence.metrics import AgentMetrics
from ringfence.net.crypto import ROSTER_PUBLIC_FILE, SigningKey, check
from ringfence.net.echo import EchoBy
from ringfence.net.key_folder import LOOK_EVERY, KeyFolder

logger = logging.getLogger("ringfence.agent")
_VERSION: str = getattr(ringfence, "__version__", "0")


def legs(text: str) -> frozenset[Leg]:
    """The watchdog's legs, from the command line."""
    try:
        named = frozenset(Leg(name) for name in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} has an unknown leg: name some of Gossip, Api and Storage, with commas between"
        ) from error
    if Leg.GOSSIP not in named:
        raise argparse.ArgumentTypeError(
            "Gossip must be among the legs: without it an outage of the API server would reset every node"
        )
    return named


def options(
    arguments: list[str] | None = None, environ: Mapping[str, str] = os.environ
) -> argparse.Namespace:
    """The command line, with its defaults from the environment."""
    parser = argparse.ArgumentParser(prog="ringfence-agent", description="The gossip sidecar of a node.")
    name, address = environ.get("NODE_NAME"), environ.get("NODE_IP")
    parser.add_argument(
        "--node-name", default=name, required=not name, help="this node's name (env NODE_NAME)"
    )
    parser.add_argument(
        "--node-ip", default=address, required=not address, help="its InternalIP (env NODE_IP)"
    )
    parser.add_argument("--namespace", default=environ.get("POD_NAMESPACE", "ringfence-system"))
    parser.add_argument("--keys-dir", type=Path, default=Path("/etc/ringfence/keys"))
    parser.add_argument("--state-dir", type=Path, default=Path("/var/lib/ringfence"))
    parser.add_argument("--boot-id-path", type=Path, default=Path("/proc/sys/kernel/random/boot_id"))
    parser.add_argument("--port", type=int, default=7947, help="UDP and TCP")
    parser.add_argument("--metrics-port", type=int, default=7948)
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--log-format", choices=logs.FORMATS, default="text")
    parser.add_argument(
        "--trace", type=Path, help="write every step and datagram of the ring to this file, as JSON lines"
    )
    parser.add_argument(
        "--watchdog", action="store_true", help="a feeder beside this process feeds the watchdog"
    )
    parser.add_argument("--isolation-seconds", type=float, default=10.0, help="of the feeder")
    parser.add_argument("--timeout-seconds", type=int, default=60, help="of the feeder")
    parser.add_argument("--legs", type=legs, default=LEGS, help="what feeds it: Gossip,Api,Storage")
    parser.add_argument("--run-dir", type=Path, default=RUN_DIRECTORY, help="where agent and feeder meet")
    return parser.parse_args(arguments)


class _Process:
    """What the agent's process holds together."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._state = StateDirectory(chosen.state_dir)
        self._access = Access.in_cluster()
        self._permitted = take_privileges()
        self._roster_key = (chosen.keys_dir / ROSTER_PUBLIC_FILE).read_bytes()
        boot_id = read_boot_id(chosen.boot_id_path)
        uid = self._access.node_uid() if self._access else None
        self._identity = Identity(chosen.node_name, chosen.node_ip, boot_id, uid)
        self._uid = uid
        self._key: SigningKey = self._state.node_key(boot_id)
        self._guests = guests.Census()
        self._lifeline = (
            Lifeline(
                Mailbox(chosen.run_dir, boot_id),
                chosen.isolation_seconds,
                chosen.timeout_seconds,
                legs=chosen.legs,
            )
            if chosen.watchdog
            else None
        )

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        folder = KeyFolder(self._chosen.keys_dir)
        agent = Agent(
            self._identity,
            folder.read(),
            self._key,
            port=self._chosen.port,
            roster_key=self._roster_key,
            trace=TraceFile(self._chosen.trace) if self._chosen.trace else None,
        )
        if self._lifeline is not None:
            self._lifeline.watch(agent)
        await agent.start()
        self._permitted |= {
            "icmpDatagram": agent.echo_by is EchoBy.DATAGRAM,
            "icmpRaw": agent.echo_by is EchoBy.RAW,
        }
        health = self._serve_health(agent)
        kept = self._state.roster()
        if kept is not None and (sealed := self._open(kept)) is not None:
            agent.install(sealed)
        agent.on_roster = self._state.keep_roster
        link = self._link(agent, loop)
        following = asyncio.create_task(_follow_keys(folder, agent, link))
        logger.info(
            "agent of %s, boot %s, on %s port %d, ICMP echo: %s",
            self._identity.node,
            self._identity.boot_id,
            self._identity.address,
            agent.port,
            agent.echo_by,
        )
        return_spare_memory()
        await stop.wait()
        following.cancel()
        if self._lifeline is not None:
            await self._lifeline.sign_off(self._last_word(agent, link))
        if link is not None:
            link.stop()
        await agent.close()
        health.close()

    def _open(self, text: str) -> SealedRoster | None:
        """The roster in this text, ready to be installed; None, with a line in the log, where it isn't signed."""
        try:
            sealed = open_roster(text, lambda data, signature: check(data, signature, self._roster_key))
        except RosterError as error:
            logger.warning("a roster was refused: %s", error)
            return None
        return prepare(sealed)

    def _last_word(self, agent: Agent, link: KubernetesLink | None) -> Callable[[], bool]:
        """Writes the report once more; True: acknowledged."""

        def write() -> bool:
            status = self._status(agent, self._uid) if link is not None else None
            return link is not None and status is not None and link.say(status)

        return write

    def _serve_health(self, agent: Agent) -> HealthServer:
        metrics = AgentMetrics(lambda: agent.sample, _VERSION, self._permitted)
        health = HealthServer(
            self._identity.address,
            self._chosen.metrics_port,
            {
                "/metrics": lambda: (200, metrics.render()),
                "/healthz": lambda: (
                    (200, b"ok\n") if agent.loop_lives(time.monotonic()) else (503, b"loop is dead\n")
                ),
                "/readyz": lambda: (200, b"ok\n") if agent.ready else (503, b"no roster names this node\n"),
            },
        )
        health.start()
        return health

    def _link(self, agent: Agent, loop: asyncio.AbstractEventLoop) -> KubernetesLink | None:
        if self._access is None:
            logger.warning("no API server is known here; going by the roster on disk")
            return None
        api = NodeApi(self._access, self._chosen.namespace)
        node = self._identity.node

        def uid() -> str | None:
            me = agent.swim.me
            self._uid = self._identity.uid or (me.uid if me else None)
            return self._uid

        def set_lease(held: bool) -> None:
            agent.lease_held = held

        def on_roster(text: str) -> None:
            # Opened here, in the link's thread: with 5,000 members it would keep the loop from its probes for too long.
            sealed = self._open(text)

            def take() -> None:
                if sealed is None:
                    return
                if agent.install(sealed):
                    self._state.keep_roster(text)
                    link.roster_taken()
                elif agent.swim.roster is not None and sealed.roster.epoch < agent.swim.roster.epoch:
                    link.store_of_before()

            _hand_over(loop, take)

        link = KubernetesLink(
            api,
            node=node,
            status=lambda: self._status(agent, uid()),
            on_roster=on_roster,
            on_lease=set_lease,
            **({} if self._lifeline is None else self._lifeline.hears()),
        )
        agent.on_loneliness = link.hurry
        link.start()
        return link

    def _status(self, agent: Agent, uid: str | None) -> dict[str, Any] | None:
        if uid is None:
            return None
        keys = agent.keys
        return {
            "nodeUID": uid,
            "bootID": self._identity.boot_id,
            "publicKey": base64.b64encode(self._key.public).decode(),
            "addresses": list(own_addresses(self._identity.address)),
            "agentVersion": _VERSION,
            "port": self._chosen.port,
            "permitted": self._permitted,
            "keys": {"held": list(keys.ids), "used": keys.used},
            "rosterKey": fingerprint(self._roster_key),
            # These two are always said, also as null: what an earlier process has said of them must not stand.
            "guests": self._guests.names(),
            "watchdog": None if self._lifeline is None else self._lifeline.status(),
        }


async def _follow_keys(folder: KeyFolder, agent: Agent, link: KubernetesLink | None) -> None:
    """Take over the group keys whenever the kubelet has brought others, and report it at once."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        keys = folder.changed()
        if keys is not None:
            agent.rekey(keys)
            if link is not None:
                link.report()


def _hand_over(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(action)


def main() -> int:
    """Run the agent; 1 where what it needs is missing."""
    chosen = options()
    logs.begin(chosen.log_level, chosen.log_format)
    try:
        asyncio.run(_Process(chosen).run())
    except (OSError, ValueError) as error:
        logger.error("the agent can't run: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
