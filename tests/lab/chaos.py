"""Chaos: one lab, one protected VM, and faults drawn from a seed, cycle after cycle.

``make chaos CYCLES=N SEED=K`` (``python -m lab.chaos``). Each cycle plays the plan that :func:`lab.chaosplan.draw` deals for
it, waits until it has ended or waits for something that is told, heals everything, and waits until the VM runs and all is
armed again. Judged from outside: the guest's disk, the QEMU witness, the API's audit trail, the power log. A cycle that
breaks a rule or gets stuck prints its timeline, and the next one starts from a lab that was reset.

``--cycle I`` plays one cycle again. Faults and times are the plan's; where controllers and VM run is the cluster's own affair.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lab import invariants, timeline, vms
from lab.chaosplan import (
    Act,
    Deed,
    End,
    Fault,
    Incident,
    Place,
    Plan,
    Result,
    Sight,
    acts,
    draw,
    judge,
    summed,
)
from lab.cluster import NAMESPACE, Lab, traces
from lab.console import say
from lab.node import Node
from lab.prepare import PROJECT
from lab.wait import NeverHappenedError, until
from lab.witness import Watch
from ringfence.core.failover.phase import ENDED

ENDS_WITHIN = 100.0
"""Seconds after the last fault: two orders to a BMC that ignores both, each of which may take 18 s, on a busy machine."""
WELL_WITHIN = 180.0
POWERED_ON_WITHIN = 15.0
"""Seconds that are left to ringfence to power a node on that it has fenced; then it is done by hand."""


@dataclass(frozen=True, slots=True)
class Guest:
    """The VM of the cycle, before anything happens to it."""

    vm: str
    uid: str
    storage: str
    node: str = ""
    instance: str = ""


class Chaos:
    """Plays cycles in a lab that ringfence is installed in and that is declared to it."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab = lab
        self._seed = seed
        self._kept: Guest | None = None
        self._struck_at = 0.0
        self._seen: dict[str, tuple[str, float]] = {}
        """The phase of each failover, and since when (monotonic) it was seen in it."""
        self.results: list[Result] = []

    def run(self, numbers: Iterable[int]) -> list[Result]:
        for number in numbers:
            result = self.cycle(draw(self._seed, number))
            self.results.append(result)
            if result.failed:
                self.restore()
        return self.results

    def restore(self) -> None:
        """A known state from any: no VM, everything healed, declared and armed."""
        self._kept = None
        self._lab.reset()
        self._lab.declare()

    def cycle(self, plan: Plan) -> Result:
        say(f"chaos: {plan}")
        since, began = time.time(), time.monotonic()
        stage = Stage()
        with Watch(self._lab.layout.prefix, self._lab.layout.logs / "qemu.jsonl") as watch:
            try:
                end, why = self._play(plan, stage)
            except (NeverHappenedError, RuntimeError, OSError) as error:
                # RuntimeError: a program that the lab runs (kubectl most often) has failed; OSError: a process of it is gone.
                end, why = End.STUCK, f"{stage.name}: {error}"
        broken = (*self._judged(since, watch), *stage.broken)
        result = Result(plan, end, why, tuple(broken), round(time.monotonic() - began, 1))
        say(f"chaos: cycle {plan.number}: {end} in {result.took:.0f} s ({stage.told}): {why}")
        if result.failed:
            for sentence in broken:
                say(f"chaos: cycle {plan.number} BROKEN: {sentence}")
            zero = stage.zero or since
            print("\n".join(timeline.told(timeline.of_logs(self._lab.layout.logs, since), zero)), flush=True)
        return result

    def _judged(self, since: float, watch: Watch) -> list[str]:
        try:
            return invariants.check(self._lab, since, doubles=watch.found)
        except RuntimeError as error:
            return [f"the cycle can't be judged: {error}"]

    def _play(self, plan: Plan, stage: Stage) -> tuple[End, str]:
        lab = self._lab
        guest = self._guarded(plan)
        places = self._places(guest)
        stage.name, stage.zero = "after the faults", time.time()
        say(
            f"chaos: cycle {plan.number}: {', '.join(f'{p} is {n}' for p, n in places.items())}; {self._who()}"
        )
        self._strike(plan, places)

        def look() -> tuple[End, str] | None:
            sight = self._sight(plan, places, guest)
            seen = [f"{i.node} {i.phase} for {i.since:.0f} s: {i.sentence}" for i in sight.incidents]
            stage.told = f"last seen: {'; '.join(seen) or sight.said}"
            return judge(sight)

        end = until("an end, or a wait that is told", look, ENDS_WITHIN, every=1.0)
        stage.told = f"ended {time.time() - stage.zero:.0f} s after the first fault"
        stage.name = "healing"
        healed = time.time()
        self._heal(plan, places, stage.zero)
        self._well(guest, stage)
        if plan.spares_vm and lab.ticks(guest.vm)[-1].instance != guest.instance:
            stage.broken.append(f"{guest.vm} was restarted, and {guest.node} was never out of reach")
        stage.told += f", well {time.time() - healed:.0f} s after the healing"
        return end

    # --- before -------------------------------------------------------------------------------------------

    def _guarded(self, plan: Plan) -> Guest:
        """The plan's VM, protected, ticking, on an armed cluster; the last cycle's if it is of that storage."""
        lab, kept = self._lab, self._kept
        if kept is None or kept.storage != plan.storage:
            vm, node = f"chaos-{plan.storage}", sorted(lab.nodes)[plan.start]
            until("KubeVirt to take a VM", lambda: self._takes(vm, node), 90, every=0.5)
            lab.create_vm(vm, storage=plan.storage, node=node)
            lab.protect(vm)
            if kept is not None:
                self._forget(kept)
            uid = lab.get("vm", vm, "default")["metadata"]["uid"]
            kept = self._kept = Guest(vm, uid, plan.storage)
        self._spare_back_offs()
        lab.wait_armed()
        until("a leader", lab.leader, 30)
        node = lab.wait_vm_running(kept.vm)
        lab.wait_condition("protectedvm", kept.vm, "Protected", "True", namespace="default", seconds=90)
        instance = lab.wait_tick(kept.vm, 90).instance
        return Guest(kept.vm, kept.uid, kept.storage, node, instance)

    def _takes(self, vm: str, node: str) -> bool:
        """Whether a VM would be taken: the API server may still hold connections to a virt-api that is gone."""
        machine = json.dumps(vms.machine(vm, "default", "Always", node))
        return bool(self._lab.kubectl("apply", "--dry-run=server", "-f", "-", stdin=machine, check=False))

    def _spare_back_offs(self) -> None:
        """Replace controllers that kubelet makes wait: we kill them more often than anything else would, and know it."""
        for pod in self._lab.get("pods"):
            waiting = [
                status.get("state", {}).get("waiting", {}).get("reason")
                for status in pod.get("status", {}).get("containerStatuses", [])
            ]
            if pod["metadata"]["namespace"] == NAMESPACE and "CrashLoopBackOff" in waiting:
                self._lab.kubectl("-n", NAMESPACE, "delete", "pod", pod["metadata"]["name"], "--wait=false")

    def _forget(self, guest: Guest) -> None:
        self._lab.kubectl("-n", "default", "delete", "protectedvm", guest.vm, "--ignore-not-found")
        self._lab.delete_vm(guest.vm)

    def _places(self, guest: Guest) -> dict[Place, str]:
        other, third = (name for name in sorted(self._lab.nodes) if name != guest.node)
        return {Place.VM: guest.node, Place.OTHER: other, Place.THIRD: third}

    def _who(self) -> str:
        leader = self._lab.leader()
        return f"{leader} leads on {self._lab.pod_node(leader)}"

    # --- the faults ---------------------------------------------------------------------------------------

    def _strike(self, plan: Plan, places: dict[Place, str]) -> None:
        began = time.monotonic()
        for act in acts(plan):
            until("the next fault", lambda at=act.at: time.monotonic() - began >= at, act.at + 60, every=0.02)  # type: ignore[misc] # mypy knows no defaults in lambdas
            self._act(act, self._lab.node(places[act.fault.place]))
        self._struck_at = time.monotonic()

    def _act(self, act: Act, node: Node) -> None:
        deed = act.fault.deed
        if deed is Deed.KILL_LEADER:
            leader = self._lab.leader()
            if not (leader and self._lab.kill_controller(leader)):
                say(f"chaos: {leader or 'nobody'} leads and has no process to kill")
            return
        if deed is Deed.BMC:
            self._lab.bmc(node.name).mode(act.fault.mode, act.fault.delay)
            return
        if deed is Deed.POWER_OFF and not act.begins:
            node.power_on()
            return
        match deed:
            case Deed.CUT:
                _unless_off(node, node.cut if act.begins else node.heal)
            case Deed.POWER_OFF:
                node.power_off()
            case Deed.FREEZE:
                _unless_off(node, node.freeze if act.begins else node.thaw)
            case Deed.STOP_KUBELET:
                _unless_off(node, node.kill_kubelet if act.begins else node.start_kubelet)

    # --- looking ------------------------------------------------------------------------------------------

    def _sight(self, plan: Plan, places: dict[Place, str], guest: Guest) -> Sight:
        lab = self._lab
        out = frozenset(name for name, node in lab.nodes.items() if not node.running() or node.is_cut())
        broken = {places[f.place] for f in plan.faults if f.deed is not Deed.KILL_LEADER}
        newest: dict[str, Any] = {}
        for failover in sorted(lab.get("failovers"), key=lambda f: str(f["metadata"]["creationTimestamp"])):
            newest[failover["spec"]["node"]] = failover
        rows = (lab.get("hazone", "lab") or {}).get("status", {}).get("nodeVerdicts", [])
        return Sight(
            incidents=tuple(self._incident(guest, f, broken) for f in newest.values()),
            out=out,
            stricken=guest.node in out,
            watched=time.monotonic() - self._struck_at >= plan.watch,
            said="; ".join(f"{r['name']} is {r['verdict']}" for r in rows if r["name"] in broken)
            or "no node was broken",
        )

    def _incident(self, guest: Guest, failover: dict[str, Any], broken: set[str]) -> Incident:
        name, status = failover["metadata"]["name"], failover.get("status", {})
        phase = status.get("phase", "")
        if self._seen.get(name, ("", 0.0))[0] != phase:
            self._seen[name] = (phase, time.monotonic())
        node = failover["spec"]["node"]
        homes = {
            pod["spec"].get("nodeName")
            for pod in (self._lab.launchers(guest.vm) if phase == "Recovering" else ())
            if pod["status"].get("phase") == "Pending"
        }
        return Incident(
            node=node,
            phase=phase,
            sentence=status.get("sentence", ""),
            since=time.monotonic() - self._seen[name][1],
            orders=len(status.get("orders", [])),
            home_broken=bool(homes & broken - {node}),
        )

    # --- after --------------------------------------------------------------------------------------------

    def _heal(self, plan: Plan, places: dict[Place, str], zero: float) -> None:
        lab = self._lab
        for name in lab.nodes:
            lab.bmc(name).mode("ok")
        for fault in plan.faults:
            if fault.deed is Deed.BMC and fault.delay:
                self._late_orders(places[fault.place], fault, zero)
        for node in lab.nodes.values():
            _unless_off(node, node.thaw)
            if node.is_cut():
                _unless_off(node, node.heal)
        for fault in plan.faults:
            if fault.deed is Deed.STOP_KUBELET:
                node = lab.node(places[fault.place])
                _unless_off(node, node.start_kubelet)
        fenced = {failover["spec"]["node"] for failover in lab.get("failovers")}
        # What it has not fenced (a power cut, a BMC that hung) is a person's to switch on.
        with contextlib.suppress(NeverHappenedError):
            until(
                "ringfence to power its nodes on",
                lambda: all(lab.node(name).running() for name in fenced),
                POWERED_ON_WITHIN,
                every=0.5,
            )
        for node in lab.nodes.values():
            node.power_on()

    def _late_orders(self, name: str, fault: Fault, zero: float) -> None:
        """Until no order that the BMC holds back can hit the node's next boot."""
        rows = self._lab.bmc(name).log()
        late = [r["t"] for r in rows if r["what"] == "request" and r["t"] >= zero and r["mode"] == fault.mode]
        over = max(late, default=0.0) + fault.delay + 1.0
        until("the BMC's late orders to be over", lambda: time.time() >= over, fault.delay + 30, every=0.2)

    def _well(self, guest: Guest, stage: Stage) -> None:
        """Until the VM runs, Kubernetes is itself again and no failover is open; then nothing of the cycle is left."""
        lab = self._lab
        stage.name = "after the healing"
        until("the guest to tick", self._ticking(guest.vm), WELL_WITHIN, every=0.5)
        until(
            "every failover to end",
            lambda: all(f.get("status", {}).get("phase") in ENDED for f in lab.get("failovers")),
            WELL_WITHIN,
            every=0.5,
        )
        lab.wait_well(WELL_WITHIN)
        stage.broken.extend(self._another(guest))
        lab.kubectl("delete", "failovers", "--all", "--wait=false")
        self._seen.clear()

    def _ticking(self, vm: str) -> Callable[[], bool]:
        """A look that is true once the guest's disk has moved on since this call."""

        def newest() -> int:
            return max((run.last.sequence for run in self._lab.ticks(vm)), default=0)

        before = newest()
        return lambda: newest() > before + 1

    def _another(self, guest: Guest) -> list[str]:
        """Signs that what runs now is not the one VM of before, on its own disk."""
        lab, found = self._lab, []
        vm = lab.get("vm", guest.vm, "default")
        if vm is None or vm["metadata"]["uid"] != guest.uid:
            found.append(f"the VM {guest.vm} is not the one that was protected")
        for older, newer in pairwise(lab.ticks(guest.vm)):
            if newer.first.sequence <= older.last.sequence:
                found.append(f"instance {newer.instance} did not go on from the disk of {older.instance}")

        def at_home() -> bool:
            running = [p for p in lab.launchers(guest.vm) if p["status"].get("phase") == "Running"]
            return [p["spec"].get("nodeName") for p in running] == [lab.wait_vm_running(guest.vm)]

        until(f"{guest.vm} to have one launcher, where it runs", at_home, 60, every=0.5)
        return found


def _unless_off(node: Node, act: Callable[[], None]) -> None:
    """Do it to a node that is on; the other fault, or the fence, may switch it off just then."""
    try:
        if node.running():
            act()
    except (NeverHappenedError, RuntimeError):
        if node.running():
            raise


class Stage:
    """How far a cycle has come, for its last words."""

    def __init__(self) -> None:
        self.name = "before the faults"
        self.told = "did not end"
        self.zero = 0.0
        """Wall time of the first fault."""
        self.broken: list[str] = []


def record(results: Iterable[Result], out: Path) -> None:
    """Append the cycles to a file of JSON lines."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        for r in results:
            line = {
                "seed": r.plan.seed,
                "cycle": r.plan.number,
                "plan": str(r.plan),
                "end": r.end,
                "why": r.why,
            }
            file.write(json.dumps({**line, "broken": r.broken, "took_s": r.took}) + "\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.chaos", description=__doc__)
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first cycle")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cycle", type=int, help="play this one only")
    parser.add_argument("--plan", action="store_true", help="print the plans and play none")
    parser.add_argument("--name", default="chaos", help="of the lab")
    parser.add_argument("--out", type=Path, default=PROJECT / "bench/out/chaos.jsonl")
    chosen = parser.parse_args(argv)
    numbers = (
        range(chosen.first, chosen.first + chosen.cycles)
        if chosen.cycle is None
        else range(chosen.cycle, chosen.cycle + 1)
    )
    if chosen.plan:
        for number in numbers:
            print(draw(chosen.seed, number))
        return 0
    lab = Lab.up(chosen.name, nodes=3, progress=say)
    chaos = Chaos(lab, chosen.seed)
    try:
        lab.install_ringfence()
        chaos.restore()
        chaos.run(numbers)
    finally:
        record(chaos.results, chosen.out)
        lab.down()
        for trace in traces(lab.layout):
            say(f"left behind: {trace}")
        print(summed(chaos.results), flush=True)
    return 1 if any(result.failed for result in chaos.results) else 0


if __name__ == "__main__":
    sys.exit(main())
