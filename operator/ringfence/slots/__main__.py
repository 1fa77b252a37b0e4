"""``python -m ringfence.slots``: the storage heartbeat of a node.

Two threads touch the volume: one writes this node's slot, one looks at the others'. Either may hang with the storage; the
loop goes on telling controllers so.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ringfence import logs
from ringfence.core.fencing.slotreport import OwnSlot, SlotReport, rows_of
from ringfence.core.fencing.slots import (
    BLOCK,
    MAX_INTERVAL,
    MAX_SLOTS,
    PAIR,
    Check,
    SlotError,
    cluster_id,
    decode_header,
    decode_slot,
    decode_word,
)
from ringfence.core.model import Boot
from ringfence.core.timing import SLOT_LOOK
from ringfence.host import guests
from ringfence.host.clock import read_boot_id
from ringfence.host.volume import Volume
from ringfence.kube.node_api import Access
from ringfence.net.crypto import ROSTER_PUBLIC_FILE, check
from ringfence.net.key_folder import LOOK_EVERY, KeyFolder
from ringfence.net.slot_stream import MAX_TTL, SLOTS_PORT, SlotServer, WordWish
from ringfence.slots.companion import Companion
from ringfence.slots.heartbeat import Heartbeat, prepare
from ringfence.slots.leg import LastWord, Leg
from ringfence.slots.lookout import Lookout, WordOrder
from ringfence.slots.worker import Worker

logger = logging.getLogger("ringfence.slots")

MIN_INTERVAL = 0.5
ENDING = 3.0
"""Seconds that an orderly end may take to sign off."""


def now() -> float:
    """CLOCK_BOOTTIME, seconds: what the self-fence counts by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def options(
    arguments: list[str] | None = None, environ: Mapping[str, str] = os.environ
) -> argparse.Namespace:
    """The command line, with its defaults from the environment."""
    parser = argparse.ArgumentParser(prog="ringfence.slots", description="The storage heartbeat of a node.")
    parser.add_argument(
        "command", nargs="?", choices=("run", "show"), default="run", help="show: print the volume's slots"
    )
    parser.add_argument(
        "--volume", type=Path, required=True, help="a file on shared storage, or a block device"
    )
    parser.add_argument("--volume-name", default="", help="as HAZone.spec.storage.heartbeat.volume names it")
    parser.add_argument(
        "--slots", type=int, default=256, help="room for so many nodes, where the volume is new"
    )
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two writes")
    parser.add_argument("--node-name", default=environ.get("NODE_NAME", ""), help="(env NODE_NAME)")
    parser.add_argument("--node-uid", default="", help="where the service account's token doesn't say it")
    parser.add_argument("--node-ip", default=environ.get("NODE_IP", ""), help="where to listen (env NODE_IP)")
    parser.add_argument("--port", type=int, default=SLOTS_PORT)
    parser.add_argument("--keys-dir", type=Path, default=Path("/etc/ringfence/keys"))
    parser.add_argument("--boot-id-path", type=Path, default=Path("/proc/sys/kernel/random/boot_id"))
    parser.add_argument(
        "--leg", type=Path, default=None, help="file that tells the self-fence of the last good write"
    )
    parser.add_argument(
        "--feeds-watchdog", action="store_true", help="write that file; costs one more read an interval"
    )
    parser.add_argument(
        "--stop-guests", action="store_true", help="a fenced node's guests are killed from here"
    )
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--log-format", choices=logs.FORMATS, default="text")
    chosen = parser.parse_args(arguments)
    if not MIN_INTERVAL <= chosen.interval <= MAX_INTERVAL:
        parser.error(f"--interval must be from {MIN_INTERVAL:g} to {MAX_INTERVAL:g} s")
    if not 1 <= chosen.slots <= MAX_SLOTS:
        parser.error(f"--slots must be from 1 to {MAX_SLOTS}")
    if chosen.command == "run" and not (chosen.node_name and chosen.node_ip):
        parser.error("--node-name and --node-ip are needed (env NODE_NAME and NODE_IP)")
    return chosen


@dataclass(slots=True)
class HostGuests:
    """The guests of this host, where they can be seen and may be killed."""

    allowed: bool

    def left(self) -> int | None:
        """How many run; None where they can't be seen."""
        return len(guests.guests()) + guests.dying() if self.allowed and guests.sees_host() else None

    def stop(self) -> None:
        """Kill all of them."""
        for guest in guests.guests():
            killed = guests.kill(guest)
            logger.warning(
                "guest %s %s", guest.name, "is killed" if killed else "can't be killed: CAP_KILL is missing"
            )


class Process:
    """What the process holds together."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        public = (chosen.keys_dir / ROSTER_PUBLIC_FILE).read_bytes()
        self._cluster = cluster_id(public)
        self._folder = KeyFolder(chosen.keys_dir)
        self._keys = self._folder.read()
        self._check: Check = lambda payload, signature: check(payload, signature, public)
        access = Access.in_cluster()
        uid = chosen.node_uid or (access.node_uid() if access else None)
        if not uid:
            raise SlotError(
                "the node's UID is not known: its token doesn't tell it (Kubernetes before 1.32): use --node-uid"
            )
        self.boot = Boot(chosen.node_name, uid, read_boot_id(chosen.boot_id_path))
        self._guests = HostGuests(chosen.stop_guests)
        self._leg = Leg(chosen.leg if chosen.feeds_watchdog else None, self.boot.boot_id)
        self._companion: Companion | None = None
        self._writing: Volume | None = None
        self._looking: Volume | None = None
        self.heartbeat: Heartbeat | None = None
        self.lookout: Lookout | None = None
        self.writer = Worker("heartbeat", chosen.interval, self._beat, now)
        self.looker = Worker("lookout", min(SLOT_LOOK, chosen.interval), self._look, now)
        self.port = chosen.port
        self._readers = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; then sign off."""
        loop = asyncio.get_running_loop()
        server = SlotServer(self._keys, self.report, self._wished)

        def changed() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(server.changed)

        def read_by(readers: int) -> None:
            if self.lookout is not None:
                self.lookout.readers = readers
            self._readers = readers
            self.looker.wake()

        server.on_readers = read_by
        self.looker.on_turn = changed
        await server.start(self._chosen.node_ip, self.port)
        self.writer.start()
        self.looker.start()
        logger.info("heartbeat of %s on %s every %g s", self.boot, self._chosen.volume, self._chosen.interval)
        follow = asyncio.create_task(self._follow_keys(server))
        await stop.wait()
        follow.cancel()
        await server.close()
        await asyncio.to_thread(self._leave)

    async def _follow_keys(self, server: SlotServer) -> None:
        """Take over the group keys whenever the kubelet has brought others.

        A rotation doesn't wait for heartbeats: one that is late is not heard for a moment, and its slots can't be read.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if (keys := self._folder.changed()) is not None:
                server.rekey(keys)

    def report(self) -> SlotReport:
        """What controllers are told."""
        at = now()
        heartbeat, lookout = self.heartbeat, self.lookout
        standing = heartbeat.standing if heartbeat else None
        patience = max(3 * self._chosen.interval, 3.0)
        hanging = [
            since
            for worker in (self.writer, self.looker)
            if (since := worker.hanging_since(patience)) is not None
        ]
        own = OwnSlot(
            index=standing.index if standing else None,
            written_age=at - standing.written_at if standing and standing.written_at is not None else None,
            hanging_age=at - min(hanging) if hanging else None,
            trouble=self.writer.trouble or self.looker.trouble,
            fenced=standing is not None and standing.word is not None,
            guests=standing.guests if standing else None,
        )
        rows = rows_of(lookout.sightings, at) if lookout else ()
        return SlotReport(self.boot, self._chosen.volume_name or str(self._chosen.volume), own, rows, at)

    def _beat(self, at: float) -> None:
        if self._writing is None:
            self._writing = Volume.open(self._chosen.volume, create=True)
        if self.heartbeat is None:
            header = prepare(self._writing, self._cluster, self._chosen.slots)
            self.heartbeat = Heartbeat(
                *(self.boot, header, self._chosen.interval, self._check, self._guests, self._held),
                LastWord(self._chosen.leg, self.boot.boot_id),
            )
            if self._chosen.feeds_watchdog:
                self._companion = Companion(header, self._check, self.boot.node_uid)
            self.lookout = Lookout(header, self._check, now)
            self.lookout.readers = self._readers
        self.heartbeat.turn(self._writing, at)

    def _held(self, began_at: float) -> None:
        """A write of the slot that began then is on the storage, and nothing says that this boot is fenced."""
        if self._companion is not None and self._writing is not None:
            # Through the same open file: only so does it tell of the volume that was written to.
            self._leg.held(min(began_at, self._companion.turn(self._writing, now())))

    def _look(self, at: float) -> None:
        if self.lookout is None:
            return
        if self._looking is None:
            self._looking = Volume.open(self._chosen.volume)
        self.lookout.turn(self._looking, at)

    def _wished(self, wish: WordWish) -> None:
        if self.lookout is not None:
            self.lookout.ask(WordOrder(wish.index, wish.block, min(wish.until, now() + MAX_TTL)))
            self.looker.wake()

    def _leave(self) -> None:
        if self.writer.close(ENDING) and self._writing is not None and self.heartbeat is not None:
            try:
                self.heartbeat.leave(self._writing, now())
            except (OSError, SlotError) as error:
                logger.warning("not signed off: %s", error)
        self.looker.close(ENDING)


def show(path: Path, cluster: bytes, checks: Check) -> str:
    """The volume's slots as a table for people. Raises OSError, SlotError."""
    volume = Volume.open(path)
    header = decode_header(volume.read(0, BLOCK), cluster)
    if header is None:
        return f"{path} is blank\n"
    lines = [f"{path}: {header.slots} slots"]
    for index in range(header.slots):
        pair = volume.read(header.offset(index), PAIR)
        try:
            slot = decode_slot(pair[:BLOCK], cluster)
            word = decode_word(pair[BLOCK:], cluster, checks)
        except SlotError as error:
            lines.append(f"{index:5}  {error}")
            continue
        if slot is not None:
            flags = ", ".join(flag.name.lower().replace("_", " ") for flag in slot.flags if flag.name)
            told = f"; told: fenced ({word.incident})" if word is not None and not word.taken_back else ""
            lines.append(
                f"{index:5}  {slot.boot}  sequence {slot.sequence}  every {slot.interval:g} s  {flags}{told}"
            )
    return "\n".join(lines) + "\n"


async def _run(process: Process) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await process.run(stop)


def _thread_died(what: threading.ExceptHookArgs) -> None:
    """A heartbeat without its thread would look well and be dead."""
    logger.critical("a thread has died", exc_info=what.exc_value)
    logging.shutdown()
    os._exit(1)


def main() -> int:
    """Run the heartbeat; 1 where what it needs is missing."""
    chosen = options()
    logs.begin(chosen.log_level, chosen.log_format)
    try:
        if chosen.command == "show":
            public = (chosen.keys_dir / ROSTER_PUBLIC_FILE).read_bytes()
            sys.stdout.write(
                show(
                    chosen.volume, cluster_id(public), lambda said, signature: check(said, signature, public)
                )
            )
            return 0
        threading.excepthook = _thread_died
        asyncio.run(_run(Process(chosen)))
    except (OSError, ValueError) as error:
        logger.error("the heartbeat can't run: %s", error)
        return 1
    # A thread that hangs in the storage is not waited for.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
