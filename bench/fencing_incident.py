"""The controller's side of a fence in the bench: its own book of devices, executor, machine and ladder, on real devices.

What is left out is the cluster: the failover is stored in memory (an API server takes another 5 to 20 ms), and the node is
``Down`` from the first instant on, so that nothing of the detection is in these figures. The turns are those of
``controller/loop.py``: at once when something has changed, else every 50 ms.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from bench.fencing_figures import Row, spread
from contract.power_rigs import IpmiRig, RedfishRig
from contract.redfish_bmc import SECRET, Bmc
from lab.console import say
from ringfence.controller.devices import DeviceBook
from ringfence.controller.failovers import Executor
from ringfence.controller.loop import BUSY
from ringfence.controller.narrator import Narrator
from ringfence.controller.node_leases import NodeLeases
from ringfence.controller.refusals import Refusals
from ringfence.controller.targets import DeviceTarget, SecretWord
from ringfence.controller.watchdogs import Watchdogs
from ringfence.core.detection.verdict import Judgement
from ringfence.core.failover import machine
from ringfence.core.failover.look import Look
from ringfence.core.failover.phase import PROVED
from ringfence.core.failover.record import Record, VmRecord
from ringfence.core.fencing.proof import PoweredOff, PowerOffHow
from ringfence.core.model import Boot, Verdict
from ringfence.fencing import open_device
from ringfence.metrics import ControllerMetrics
from ringfence.ports import Cluster, DeviceSpec, Json, Kind, NotFound, ObjectRef, SystemClock

CLOCK = SystemClock()
BOUND = 60.0
NEVER = float("-inf")
HEDGE = 1.0
"""Seconds after which a slow level is hedged."""
WORDS = tuple(SecretWord(word, "bmc", word) for word in ("username", "password"))


class InMemory:
    """As much of a cluster as a fence needs: what is stored is taken, at once."""

    def __init__(self, secret: Mapping[str, bytes]) -> None:
        self._secret = dict(secret)

    async def read_secret(self, name: str) -> dict[str, bytes]:
        if name != "bmc":
            raise NotFound(name)
        return self._secret

    async def replace_status(self, _kind: Kind, obj: Json, **_deadline: float) -> Json:
        return obj

    async def record_event(self, _about: ObjectRef, _type: str, _reason: str, _message: str) -> None:
        """Events are told to nobody."""


class Desk:
    """One leader, its devices, one incident at a time."""

    def __init__(
        self,
        node: str,
        levels: Sequence[Sequence[DeviceSpec]],
        secret: Mapping[str, bytes],
        hedges: tuple[float | None, ...] = (),
    ) -> None:
        """``hedges``: the zone's ``hedgeAfterSeconds``, level by level."""
        cluster = cast("Cluster", InMemory(secret))
        self._poked = asyncio.Event()
        self._levels = levels
        self._hedges = hedges
        self._node = node
        self.book = DeviceBook(cluster, CLOCK, open_device, self._poked.set)
        self.book.declare({(s.name, node): target(s, node) for level in levels for s in level})
        narrator = Narrator(cluster)
        self._executor = Executor(
            cluster,
            CLOCK,
            self.book,
            cast("Watchdogs", None),  # no level has one
            NodeLeases(cluster, CLOCK, ""),  # nobody else fences here
            narrator,
            Refusals(CLOCK, narrator, ControllerMetrics(), lambda: 0.5),
            lambda: CLOCK.monotonic() + 10.0,
            self._poked.set,
        )

    async def prove(self, *, hold_over: bool) -> tuple[Record, float]:
        """Open an incident and climb until a proof is stored; the record, and the seconds that it took."""
        began = CLOCK.monotonic()
        boot = Boot(self._node, "uid", str(uuid.uuid4()))
        record = machine.open_failover("bench", boot, CLOCK.wall(), self._look(boot, hold_over), ("n2", "n3"))
        raw: Json = {"metadata": {"name": "bench", "uid": "bench"}}
        while record.phase not in PROVED:
            for _ in range(8):
                step = machine.step(record, self._look(boot, hold_over))
                before = record
                record, raw = await self._executor.carry_out(record, step, raw)
                if record == before or record.phase in PROVED:
                    break
            if CLOCK.monotonic() - began > BOUND:
                raise TimeoutError(f"no proof within {BOUND:.0f} s: {record.phase}: {record.sentence}")
            if record.phase not in PROVED:
                await self._pause()
        took = CLOCK.monotonic() - began
        self.book.end_incident(self._node)
        await self._executor.close()
        return record, took

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(BUSY):
                await self._poked.wait()
        except TimeoutError:
            pass
        self._poked.clear()
        await asyncio.sleep(0.01)

    def _look(self, boot: Boot, hold_over: bool) -> Look:
        vm = VmRecord("default", "db", "vm", "vmi")
        return Look(
            now=CLOCK.monotonic(),
            wall=CLOCK.wall(),
            leader="bench",
            epoch=1,
            judgement=Judgement(Verdict.DOWN, f"{self._node} is down"),
            limit=None,
            limit_when_found_off=None,
            hold_over=hold_over,
            life_at=NEVER,
            life_sign="",
            node_exists=True,
            current_boot_id=boot.boot_id,
            node_ready=False,
            suspect_taint=True,
            out_of_service_taint=False,
            levels=tuple(tuple(self.book.look(s.name, self._node) for s in level) for level in self._levels),
            proofs_required=1,
            pods=(),
            vms=(),
            affected=(vm,),
            confirmation=None,
            power_on=False,
            hedges=self._hedges,
        )


def target(spec: DeviceSpec, node: str) -> DeviceTarget:
    return DeviceTarget(spec, WORDS, node, spec.expected_uuid)


def device_of(rig: RedfishRig | IpmiRig, name: str, **more: float) -> DeviceSpec:
    return rig.spec(name=name, expected_uuid=rig.uuid, **more)


# --- the parts ------------------------------------------------------------------------------------------------


async def found(runs: int) -> list[Row]:
    """The node's power is off when the verdict falls: proof without an order, log-in included."""
    rows = []
    kinds: dict[str, Callable[[Path], RedfishRig | IpmiRig]] = {"redfish": RedfishRig, "ipmi": IpmiRig}
    for name, kind in kinds.items():
        with TemporaryDirectory(prefix="rff-") as place:
            rig = kind(Path(place))
            try:
                spec = device_of(rig, "bmc", timeout_seconds=20.0)
                proofs: list[float] = []
                reads: list[float] = []
                for _ in range(runs):
                    rig.behave("ok", on=False)
                    desk = Desk("n1", [[spec]], rig.secret())
                    record, took = await desk.prove(hold_over=False)
                    (proof,) = record.proofs
                    if (
                        not isinstance(proof, PoweredOff)
                        or proof.how is not PowerOffHow.FOUND
                        or rig.orders()
                    ):
                        raise RuntimeError(f"not found off, but {proof}; orders: {rig.orders()}")
                    proofs.append(took)
                    reads.append(await one_read(spec, rig.secret()))
            finally:
                rig.stop()
        rows.append(
            {"driver": name, "n": runs, **spread("proof_s", proofs), **spread("read_s", reads), "orders": 0}
        )
        say(" ".join(f"{key}={value}" for key, value in rows[-1].items()))
    return rows


async def one_read(spec: DeviceSpec, secret: Mapping[str, bytes]) -> float:
    """Seconds of one reading on an open session."""
    device = open_device(spec, secret, CLOCK)
    await device.open()
    began = CLOCK.monotonic()
    await device.power()
    took = CLOCK.monotonic() - began
    await device.close()
    return took


async def hanging(runs: int) -> list[Row]:
    """Two levels, the first of which gives no answer to anything: from the end of the hold to the proof."""
    timeout = 5.0
    rows = []
    for first, hedge in (("ok", None), ("hang", None), ("hang", HEDGE)):
        with ExitStack() as stack:
            rigs = []
            for _ in range(2):
                rigs.append(RedfishRig(Path(stack.enter_context(TemporaryDirectory(prefix="rff-")))))
                stack.callback(rigs[-1].stop)
            levels = [
                [device_of(rig, f"level-{n}", timeout_seconds=timeout)] for n, rig in enumerate(rigs, start=1)
            ]
            took = []
            for _ in range(runs):
                rigs[0].behave(first)
                rigs[1].behave("ok")
                record, seconds = await Desk("n1", levels, SECRET, (hedge, None)).prove(hold_over=True)
                by = {proof.device for proof in record.proofs if isinstance(proof, PoweredOff)}
                if by != {"level-2" if first == "hang" else "level-1"}:
                    raise RuntimeError(f"proved by {by}: {record.sentence}")
                took.append(seconds)
        rows.append(
            {
                "first_level": first,
                "hedge_after_s": hedge,
                "timeout_s": timeout,
                "n": runs,
                **spread("proof_s", took),
            }
        )
        say(" ".join(f"{key}={value}" for key, value in rows[-1].items()))
    return rows


class Rack(Bmc):
    """One Redfish service before several machines. A hundred at once are too many for one emulator's database."""

    MACHINES = 10

    def __init__(self, folder: Path, first: int, last: int) -> None:
        numbers = range(first, last + 1)
        self._names = {str(uuid.uuid5(uuid.NAMESPACE_DNS, f"n{n}.bench")): f"n{n}" for n in numbers}
        super().__init__(folder)

    def names(self) -> dict[str, str]:
        return self._names

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def proving(runs: int, devices: int) -> list[Row]:
    """One round of the periodic proof over all devices: opened, compared, read, closed."""
    with ExitStack() as stack:

        def rack(first: int) -> Rack:
            place = Path(stack.enter_context(TemporaryDirectory(prefix="rff-")))
            made = Rack(place, first, min(first + Rack.MACHINES - 1, devices))
            stack.callback(made.stop)
            return made

        with ThreadPoolExecutor() as pool:
            racks = list(pool.map(rack, range(1, devices + 1, Rack.MACHINES)))
        book = DeviceBook(cast("Cluster", InMemory(SECRET)), CLOCK, open_device, lambda: None)
        targets = {}
        for one in racks:
            for system, node in one.names().items():
                spec = one.spec(
                    name=f"bmc-{node}", system_id=system, expected_uuid=system, timeout_seconds=30.0
                )
                targets[spec.name, node] = target(spec, node)
        book.declare(targets)
        seconds, own, theirs = [], [], []
        for _ in range(runs):
            before, used = sum(one.cpu() for one in racks), time.process_time()
            began = CLOCK.monotonic()
            await book.prove(frozenset())
            seconds.append(CLOCK.monotonic() - began)
            own.append(time.process_time() - used)
            theirs.append(sum(one.cpu() for one in racks) - before)
            if bad := [p.message for key in targets if (p := book.proof(*key)) is not None and not p.ok]:
                raise RuntimeError(f"{len(bad)} of {devices} not proved: {bad[0]}")
        await book.close()
    row = {
        "devices": devices,
        "n": runs,
        **spread("pass_s", seconds),
        **spread("cpu_s", own),
        **spread("emulators_cpu_s", theirs),
    }
    say(" ".join(f"{key}={value}" for key, value in row.items()))
    return [row]
