"""How long a ReadWriteOnce volume stays on a dead node: without the out-of-service taint, and with ringfence. One lab.

``make bench-volumes`` (about 12 minutes) prints a table and writes ``bench/out/volumes.json``. Both times the node's
power is cut and its VM's launcher deleted by force, which is all that many guides say to do; the difference is the taint.
Times are seconds since the fault: until Kubernetes no longer calls the volume attached to the dead node, until the VM's
new instance is Running, until its guest ticks; ``null`` where it never happened within the bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "tests"), str(PROJECT)]

from bench.failover import within  # noqa: E402 - lies beside this file
from lab.cluster import Lab  # noqa: E402 - the lab's package lies in tests/
from lab.console import say  # noqa: E402
from lab.wait import until  # noqa: E402

VM = "db"
BOUND = 480.0
"""Kubernetes waits 360 s for an unmount; the rest is for everybody else."""


@dataclass
class Row:
    series: str
    detached_s: float | None = None
    running_s: float | None = None
    tick_s: float | None = None


def nothing_but_force(lab: Lab, node: str) -> None:
    """Keep new launchers off the node, then delete the old one by force: no taint."""
    lab.kubectl("cordon", node)
    (launcher,) = lab.launchers(VM)
    lab.kubectl("delete", "pod", launcher["metadata"]["name"], "--force", "--grace-period=0")


def ringfence(_lab: Lab, _node: str) -> None:
    """Nobody else acts."""


def measure(lab: Lab, series: str, act: Callable[[Lab, str], None]) -> Row:
    lab.reset()
    node = lab.quiet_node()
    lab.create_vm(VM, storage="csi-rwo", node=node)
    if act is ringfence:
        lab.declare()
        lab.protect(VM)
        lab.wait_armed()
    assert lab.wait_vm_running(VM) == node
    old = lab.wait_tick(VM).instance
    if act is ringfence:
        lab.wait_condition("protectedvm", VM, "Protected", "True", namespace="default")
    assert lab.attachments(VM) == {node: True}
    row = Row(series)
    at = time.time()
    lab.node(node).power_off()
    act(lab, node)

    def left(seconds: float = BOUND) -> float:
        return max(1.0, seconds - (time.time() - at))

    def detached() -> bool:
        return node not in lab.attachments(VM)

    if within(lambda: until("the volume to be detached", detached, left(), every=0.2)):
        row.detached_s = round(time.time() - at, 1)
    if within(lambda: lab.wait_vm_running(VM, left(), elsewhere_than=node)):
        row.running_s = round(time.time() - at, 1)
        if within(lambda: lab.wait_tick(VM, left(), other_than=old)):
            row.tick_s = round(time.time() - at, 1)
    say(f"{series}: detached={row.detached_s} running={row.running_s} tick={row.tick_s}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=PROJECT / "bench/out/volumes.json")
    out: Path = parser.parse_args().out
    lab = Lab.up("bench", nodes=3, progress=say)
    try:
        lab.install_ringfence()
        rows = [measure(lab, "ringfence", ringfence), measure(lab, "force delete only", nothing_but_force)]
    finally:
        lab.down()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(f"{'series':20} {'detached':>9} {'running':>9} {'tick':>9}   seconds since the fault")
    for row in rows:
        print(f"{row.series:20} {row.detached_s!s:>9} {row.running_s!s:>9} {row.tick_s!s:>9}")


if __name__ == "__main__":
    main()
