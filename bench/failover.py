"""How long a VM is away when its node dies: ringfence, a script that waits for Kubernetes, and nobody. One run, one lab.

``python bench/failover.py --runs 10`` prints a table and writes ``bench/out/failover.json``. Times are seconds since
the fault, taken from outside: the lab's own power log, the API's audit trail and objects, the guest's disk; ``null``
where it never happened within the bound. ``carried`` names KubeVirt's controllers that died with the node, since they
are what its own part of the time hangs on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests"))

from lab import build  # noqa: E402 - the lab's package lies in tests/
from lab.audit import epoch, writes  # noqa: E402
from lab.cluster import NAMESPACE, Lab  # noqa: E402
from lab.console import say  # noqa: E402
from lab.wait import NeverHappenedError, until  # noqa: E402

VM = "db"
BOUND = 120.0
CONTROLLER = f"system:serviceaccount:{NAMESPACE}:ringfence-controller"


@dataclass
class Row:
    series: str
    fault: str
    run: int
    verdict_s: float | None = None
    order_s: float | None = None
    proof_s: float | None = None
    off_s: float | None = None
    deleted_s: float | None = None
    running_s: float | None = None
    tick_s: float | None = None
    carried: list[str] = field(default_factory=list)


STEPS = ("verdict_s", "order_s", "proof_s", "off_s", "deleted_s", "running_s", "tick_s")


def within(wait: Callable[[], Any]) -> Any:
    """What the wait gives, or None where it never happened."""
    try:
        return wait()
    except NeverHappenedError:
        return None


def carried(lab: Lab, node: str) -> list[str]:
    """KubeVirt's controllers on the node; the virt-controller that leads is told apart."""
    lease = lab.get("lease", "virt-controller", "kubevirt") or {}
    leader = lease.get("spec", {}).get("holderIdentity", "")
    names = []
    for pod in lab.get("pods"):
        kind = pod["metadata"].get("labels", {}).get("kubevirt.io")
        if pod["spec"].get("nodeName") == node and kind in ("virt-api", "virt-controller"):
            names.append(f"{kind} (leader)" if leader.startswith(pod["metadata"]["name"]) else kind)
    if lab.pod_node(lab.leader()) == node:
        names.append("ringfence (leader)")
    return sorted(names)


def fault(lab: Lab, kind: str, node: str) -> float:
    at = time.time()
    (lab.node(node).cut if kind == "network-cut" else lab.node(node).power_off)()
    return at


def measure(lab: Lab, row: Row, act: Callable[[Lab, Row, str, float], None]) -> None:
    """One run: the fault, whoever acts, and the times until a new guest ticks."""
    node = lab.wait_vm_running(VM)
    old = lab.wait_tick(VM).instance
    uid = lab.launchers(VM)[0]["metadata"]["uid"]
    row.carried = carried(lab, node)
    at = fault(lab, row.fault, node)
    act(lab, row, node, at)
    if within(lambda: lab.wait_vm_running(VM, BOUND - (time.time() - at), elsewhere_than=node)):
        row.running_s = time.time() - at
        if within(lambda: lab.wait_tick(VM, 60, other_than=old)):
            row.tick_s = time.time() - at
    gone = [
        w.at
        for w in writes(lab.layout.logs / "audit.log", at)
        if w.verb == "delete" and w.resource == "pods" and w.succeeded and "launcher" in w.name
    ]
    row.deleted_s = min(gone) - at if gone and uid else None
    offs = [p.t for p in lab.power_log.read() if p.node == node and p.what == "off" and p.t >= at]
    row.off_s = min(offs) - at if offs else None
    for name in STEPS:
        value = getattr(row, name)
        setattr(row, name, None if value is None else round(value, 2))
    say(
        f"{row.series} {row.fault} {row.run}: "
        + " ".join(f"{s[:-2]}={getattr(row, s)}" for s in STEPS)
        + f" {row.carried}"
    )


def ringfence(lab: Lab, row: Row, node: str, at: float) -> None:
    """Nobody acts but ringfence; its own record tells verdict and order."""
    failover = within(lambda: lab.wait_phase(node, "Recovered", "Closed", seconds=BOUND))
    if failover is None:
        return
    zero, timings = epoch(failover["status"]["doubtedAt"]) - at, failover["status"]["timings"]
    row.verdict_s = zero + timings["verdict"]
    row.order_s = zero + timings["order"] if "order" in timings else None
    row.proof_s = zero + timings["proof"]


def script(lab: Lab, row: Row, node: str, at: float) -> None:
    """What a careful person's script does: wait until Kubernetes says Unknown, taint, delete by force."""

    def unknown() -> bool:
        conditions = lab.get("node", node)["status"]["conditions"]
        return any(c["type"] == "Ready" and c["status"] == "Unknown" for c in conditions)

    if within(lambda: until("the node to be Unknown", unknown, BOUND, every=0.2)) is None:
        return
    row.verdict_s = row.order_s = time.time() - at
    lab.kubectl("taint", "node", node, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
    pods = [p for p in lab.get("pods") if p["spec"].get("nodeName") == node]
    for pod in pods:
        if pod["metadata"].get("labels", {}).get("kubevirt.io") in (
            "virt-api",
            "virt-controller",
            "virt-launcher",
        ):
            where = pod["metadata"]["namespace"]
            lab.kubectl("-n", where, "delete", "pod", pod["metadata"]["name"], "--force", "--grace-period=0")


def nobody(_lab: Lab, _row: Row, _node: str, _at: float) -> None:
    """Kubernetes and KubeVirt alone."""


def series(
    lab: Lab, name: str, faults: tuple[str, ...], runs: int, act: Callable[[Lab, Row, str, float], None]
) -> list[Row]:
    rows = []
    for kind in faults:
        for number in range(1, runs + 1):
            lab.reset()
            lab.create_vm(VM, node=sorted(lab.nodes)[number % len(lab.nodes)])
            if act is ringfence:
                lab.declare()
                lab.protect(VM)
                lab.wait_armed()
                lab.wait_vm_running(VM)
                lab.wait_condition("protectedvm", VM, "Protected", "True", namespace="default")
            row = Row(name, kind, number)
            measure(lab, row, act)
            rows.append(row)
    return rows


def footprint(lab: Lab, seconds: float = 60.0) -> dict[str, dict[str, float]]:
    """CPU (per cent of a core) and RSS (MiB) of our own processes while nothing happens."""
    found = {
        f"{role} {name}": node.pids_with(word)
        for name, node in lab.nodes.items()
        for role, word in (("agent", b"ringfence.agent"), ("controller", b"ringfence.controller"))
    }
    ticks = os.sysconf("SC_CLK_TCK")

    def cpu(pid: int) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    before = {who: sum(cpu(p) for p in pids) for who, pids in found.items() if pids}
    end = time.monotonic() + seconds
    until("the time of measuring to be over", lambda: time.monotonic() >= end, seconds + 10, every=1.0)
    result = {}
    for who, spent in before.items():
        rss = sum(
            int(line.split()[1]) / 1024
            for pid in found[who]
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("VmRSS:")
        )
        result[who] = {
            "cpu_percent": round(100 * (sum(cpu(p) for p in found[who]) - spent) / seconds, 2),
            "rss_mib": round(rss, 1),
        }
    return result


def table(rows: list[Row]) -> str:
    lines = [f"{'series':10} {'fault':12} {'n':>3}  " + "  ".join(f"{s[:-2]:>14}" for s in STEPS), ""]
    for key in dict.fromkeys((r.series, r.fault) for r in rows):
        own = [r for r in rows if (r.series, r.fault) == key]
        cells = []
        for step in STEPS:
            values = sorted(v for r in own if (v := getattr(r, step)) is not None)
            if not values:
                cells.append(f"{'never':>14}")
                continue
            p90 = values[min(len(values) - 1, int(0.9 * len(values)))]
            cells.append(f"{statistics.median(values):6.2f}/{p90:6.2f} ")
        lines.append(f"{key[0]:10} {key[1]:12} {len(own):3}  " + "  ".join(cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--lab", default="bench")
    chosen = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.strip()
    lab = Lab.up(chosen.lab, nodes=3, progress=say)
    try:
        lab.install_ringfence()
        rows = series(lab, "ringfence", ("network-cut", "power-cut"), chosen.runs, ringfence)
        lab.reset()
        lab.declare()
        lab.wait_armed()
        idle = footprint(lab)
        rows += series(lab, "none", ("power-cut",), 1, nobody)
        rows += series(lab, "script", ("power-cut",), max(1, chosen.runs // 3), script)
    finally:
        load = os.getloadavg()
        lab.down()
    setup = {
        "command": " ".join(sys.argv),
        "nodes": 3,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "kubernetes": build.KUBERNETES,
        "kubevirt": build.KUBEVIRT,
        "grace_s": 50,
        "etcd": "--unsafe-no-fsync",
        "load_average": load,
        "commit": commit,
    }
    out = PROJECT / "bench/out"
    out.mkdir(parents=True, exist_ok=True)
    (out / "failover.json").write_text(json.dumps([asdict(r) for r in rows], indent=1))
    (out / "failover-setup.json").write_text(json.dumps({"setup": setup, "idle": idle}, indent=1))
    print(table(rows))
    print("median/p90, seconds since the fault")
    print(json.dumps({"setup": setup, "idle": idle}, indent=1))


if __name__ == "__main__":
    main()
