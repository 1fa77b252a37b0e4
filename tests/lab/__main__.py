"""The lab's command line: ``python -m lab [--name NAME] COMMAND``, with ``tests/`` on the path."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from lab import cluster, demo, prepare, standins, vms
from lab.bmc import MODES
from lab.build import binaries
from lab.cluster import Lab
from lab.console import say
from lab.layout import Layout
from lab.node import Node
from lab.watchdog.kennel import Kennel

FAULTS: dict[str, Callable[[Node], None]] = {
    "cut": Node.cut,
    "heal": Node.heal,
    "poweroff": Node.power_off,
    "poweron": Node.power_on,
    "freeze": Node.freeze,
    "thaw": Node.thaw,
    "cut-api": Node.cut_api,
    "cut-peers": Node.cut_peers,
    "heal-api": Node.heal_api,
    "kill-kubelet": Node.kill_kubelet,
    "start-kubelet": Node.start_kubelet,
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    top.add_argument("--name", default="lab", help="which lab; several can stand side by side")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("prepare", help="build and download what a lab needs, once")
    up = commands.add_parser("up", help="start a cluster, with ringfence unless told otherwise")
    up.add_argument("--nodes", type=int, default=3)
    up.add_argument("--bare", action="store_true", help="without ringfence")
    commands.add_parser("down", help="remove it without a trace")
    commands.add_parser("status", help="what is up")
    commands.add_parser("reset", help="heal everything, remove all VMs and all objects of ringfence")
    for fault in FAULTS:
        commands.add_parser(fault, help=f"{fault} a node").add_argument("node")
    commands.add_parser("bite", help="what a node's watchdog does: reset it").add_argument("node")
    api = commands.add_parser("api", help="break or mend the API server")
    api.add_argument("action", choices=["freeze", "thaw", "stop", "start"])
    bmc = commands.add_parser("bmc", help="make a node's BMC misbehave")
    bmc.add_argument("node")
    bmc.add_argument("mode", choices=MODES)
    bmc.add_argument("--delay", type=float, default=0.0)
    bmc.add_argument("--ipmi", action="store_true", help="the node's IPMI BMC instead of its Redfish BMC")
    vm = commands.add_parser("vm", help="make a ticking VM")
    vm.add_argument("vm")
    vm.add_argument("--storage", choices=vms.STORAGES, default="file")
    vm.add_argument("--run-strategy", default="Always")
    vm.add_argument("--node", default=None, help="where it starts, if there is room")
    vm.add_argument("--protect", action="store_true", help="declare it HA-protected")
    ticks = commands.add_parser("ticks", help="what a VM has written on its disk")
    ticks.add_argument("vm")
    kubectl = commands.add_parser("kubectl", help="kubectl as the cluster's administrator")
    kubectl.add_argument("words", nargs=argparse.REMAINDER)
    commands.add_parser("demo", help="the story: a node is cut off, its VM comes back")
    return top


def node_of(layout: Layout, name: str) -> Node:
    """A node alone: what a BMC's hook needs, without loading a whole lab."""
    return standins.node(layout, int(name.removeprefix("n")), binaries())


def main(argv: list[str] | None = None) -> int:
    chosen = parser().parse_args(argv)
    if chosen.command == "prepare":
        prepare.prepare()
        return 0
    if chosen.command == "up":
        return bring_up(chosen.name, chosen.nodes, bare=chosen.bare)
    if chosen.command == "demo":
        return demo.run(chosen.name)
    layout = Layout.find(chosen.name)
    if layout is None:
        say(f"there is no lab {chosen.name!r}")
        return 0 if chosen.command in ("down", "status") else 1
    if chosen.command == "down":
        cluster.remove(layout)
        for trace in cluster.traces(layout):
            say(f"left behind: {trace}")
        return 1 if cluster.traces(layout) else 0
    if chosen.command in FAULTS:
        FAULTS[chosen.command](node_of(layout, chosen.node))
        return 0
    if chosen.command == "bite":
        Kennel(layout).dog(chosen.node).bite(node_of(layout, chosen.node))
        return 0
    return command(Lab.load(chosen.name), chosen)


def bring_up(name: str, nodes: int, *, bare: bool) -> int:
    lab = Lab.up(name, nodes, progress=say)
    if not bare:
        lab.install_ringfence()
        lab.declare()
        say("ringfence is installed; waiting until it is armed")
        lab.wait_armed()
    say(f"export KUBECONFIG={lab.layout.kubeconfig} PATH={lab.prepared.bin}:$PATH")
    return 0


def command(lab: Lab, chosen: argparse.Namespace) -> int:
    match chosen.command:
        case "status":
            for node in lab.nodes.values():
                say(
                    f"{node.name}: {'on' if node.running() else 'off'}, {len(node.processes_of('qemu-system-x86_64'))} guests"
                )
            print(lab.kubectl("get", "node,vmi,hazone,protectedvm,failover", "-A", check=False), end="")
        case "reset":
            lab.reset()
        case "api":
            getattr(lab.api, chosen.action)()
        case "bmc":
            (lab.ipmi if chosen.ipmi else lab.bmc)(chosen.node).mode(chosen.mode, chosen.delay)
        case "vm":
            lab.create_vm(
                chosen.vm, storage=chosen.storage, run_strategy=chosen.run_strategy, node=chosen.node
            )
            if chosen.protect:
                lab.protect(chosen.vm)
        case "ticks":
            for run in lab.ticks(chosen.vm):
                print(
                    f"{run.instance}: {run.count} ticks, {run.first.epoch} to {run.last.epoch}, longest gap {run.longest_gap} s"
                )
        case "kubectl":
            words = chosen.words[1:] if chosen.words[:1] == ["--"] else chosen.words
            kubectl = str(lab.prepared.bin / "kubectl")
            os.execv(kubectl, [kubectl, "--kubeconfig", str(lab.layout.kubeconfig), *words])
    return 0


if __name__ == "__main__":
    sys.exit(main())
