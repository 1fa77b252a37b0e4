"""The story: a node is cut off while its guest lives on, and the VM comes back elsewhere, never twice.

Every line is told from what others recorded (the Failover's history, the BMC's log, the guest's own disk), with the
seconds since the cut. The last line of the output is for programs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import cluster, invariants
from lab.audit import epoch, writes
from lab.cluster import NAMESPACE, Lab
from lab.console import say
from lab.witness import Watch

VM = "db"


@dataclass(frozen=True, slots=True)
class Act:
    """What one act of the story came to: seconds since the cut."""

    verdict: float
    proof: float
    running: float
    tick: float


def run(name: str) -> int:
    """Bring the lab up, tell both acts, take it down. 0: all went as promised."""
    began = time.monotonic()
    lab = Lab.up(name, nodes=3, progress=say)
    try:
        lab.install_ringfence()
        lab.declare()
        victim = lab.quiet_node()
        lab.create_vm(VM, node=victim)
        lab.protect(VM)
        lab.wait_armed()
        say(f"ringfence is armed; in all {time.monotonic() - began:.0f} s")
        if lab.wait_vm_running(VM) != victim:
            raise AssertionError(f"the VM did not start on {victim}")
        lab.wait_condition("protectedvm", VM, "Protected", "True", namespace="default")
        say(f"VM {VM} ticks on {victim}")
        since = time.time()
        with Watch(lab.layout.prefix, lab.layout.logs / "qemu.jsonl") as watch:
            say("")
            say(f"Act 1. The network of {victim} is cut. Its guest lives on and writes to the shared disk.")
            act = first_act(lab, victim)
            lab.wait_phase(victim, "Closed", seconds=120)
            lab.wait_armed()
            say("")
            say("Act 2. The same, and the BMC answers 204 to the order and leaves the node on.")
            second_act(lab)
        broken = invariants.check(lab, since, doubles=watch.found)
        for sentence in broken:
            say(f"BROKEN: {sentence}")
    finally:
        lab.down()
        for trace in cluster.traces(lab.layout):
            say(f"left behind: {trace}")
    say("the lab is down")
    overlap = len(broken)
    print(
        f"demo: {'ok' if not broken else 'failed'} verdict={act.verdict:.1f}s proof={act.proof:.1f}s "
        f"running={act.running:.1f}s tick={act.tick:.1f}s overlap={overlap}",
        flush=True,
    )
    return 1 if broken else 0


def first_act(lab: Lab, victim: str) -> Act:
    """The network cut, from the first doubt to the first tick."""
    old = lab.wait_tick(VM).instance
    cut = time.time()
    lab.node(victim).cut()
    node = lab.wait_vm_running(VM, 90, elsewhere_than=victim)
    running = time.time() - cut
    new = lab.wait_tick(VM, 60, other_than=old)
    tick = time.time() - cut
    failover = lab.wait_phase(victim, "Recovered", "Closed")
    for at, line in sorted(told(lab, victim, failover, cut)):
        print(f"  {at:7.2f} s  {line}", flush=True)
    print(f"  {running:7.2f} s  VMI Running on {node}", flush=True)
    print(f"  {tick:7.2f} s  first new tick on the disk: {new.first.sequence} by {new.instance}", flush=True)
    proof = failover["status"]["timings"]["proof"] + _zero(failover) - cut
    runs = {run.instance: run for run in lab.ticks(VM)}
    late = runs[old].last.epoch - (cut + proof) if old in runs else 0.0
    print(
        f"           the old guest's last tick on the disk is {-late:.1f} s older than the proof", flush=True
    )
    if late > 1:
        raise AssertionError(f"the old guest ticked {late:.1f} s after the proof")
    return Act(failover["status"]["timings"]["verdict"] + _zero(failover) - cut, proof, running, tick)


def _zero(failover: dict[str, Any]) -> float:
    return epoch(failover["status"]["doubtedAt"])


def told(lab: Lab, victim: str, failover: dict[str, Any], cut: float) -> Iterator[tuple[float, str]]:
    """What others recorded of the incident."""
    status = failover["status"]
    yield _zero(failover) - cut, f"peers doubt {victim}"
    voters = ", ".join(status["verdict"]["voters"])
    for moment in status["history"]:
        line = f"{moment['phase']}: {moment['sentence']}"
        yield (
            epoch(moment["at"]) - cut,
            line + (f" (votes of {voters})" if moment["phase"] == "Holding" else ""),
        )
    for entry in lab.bmc(victim).log():
        if entry["t"] >= cut and entry["what"] in ("request", "hook") and "On" not in str(entry.get("state")):
            done = (
                "BMC was asked: ForceOff"
                if entry["what"] == "request"
                else f"BMC has cut the power ({entry['key']})"
            )
            yield entry["t"] - cut, done
    for write in writes(lab.layout.logs / "audit.log", cut):
        if (
            write.verb == "delete"
            and write.resource == "pods"
            and NAMESPACE in write.user
            and write.succeeded
        ):
            yield write.at - cut, f"pod {write.name} deleted"
        if (
            write.verb == "create"
            and write.resource == "pods"
            and write.subresource == "binding"
            and "launcher" in write.name
        ):
            yield write.at - cut, f"new launcher {write.name} on {write.body.get('target', {}).get('name')}"


def second_act(lab: Lab) -> None:
    """A BMC that ignores: read-back refuses, a person confirms after the power is really off."""
    victim = lab.wait_vm_running(VM)
    old = lab.wait_tick(VM).instance
    launchers = {pod["metadata"]["uid"] for pod in lab.launchers(VM)}
    lab.bmc(victim).mode("ignore")
    cut = time.time()
    lab.node(victim).cut()
    failover = lab.wait_phase(victim, "AwaitingConfirmation", seconds=90)
    for at, line in sorted(told(lab, victim, failover, cut)):
        print(f"  {at:7.2f} s  {line}", flush=True)
    if {pod["metadata"]["uid"] for pod in lab.launchers(VM)} != launchers:
        raise AssertionError("the VM was started twice on a BMC's word")
    print(f"  {time.time() - cut:7.2f} s  read-back refused: the VM was not started twice", flush=True)
    lab.node(victim).power_off()
    print(
        f"  {time.time() - cut:7.2f} s  somebody really pulls the plug of {victim}, and says so:", flush=True
    )
    command = ["fence", "confirm", failover["metadata"]["name"], "--yes", "--statement", "I pulled the plug"]
    said = subprocess.run(
        [str(Path(sys.executable).with_name("ringfence")), *command, "--kubeconfig", str(lab.layout.kubeconfig)],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    print("           " + " ".join(["ringfence", *command]), flush=True)
    print("           " + (said.stdout or said.stderr).strip().replace("\n", "\n           "), flush=True)
    node = lab.wait_vm_running(VM, 90, elsewhere_than=victim)
    print(f"  {time.time() - cut:7.2f} s  VMI Running on {node}", flush=True)
    lab.wait_tick(VM, 60, other_than=old)
    print(f"  {time.time() - cut:7.2f} s  first new tick on the disk", flush=True)
    failover = lab.wait_phase(victim, "Recovered", "Closed")
    print("           proof: " + ", ".join(p["kind"] for p in failover["status"]["proofs"]), flush=True)
