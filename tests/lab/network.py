"""Cables and switches of the lab: one bridge, one veth pair and one network namespace a node."""

from __future__ import annotations

from pathlib import Path

from lab.plan import NodePlan, Plan
from lab.process import run


def build(plan: Plan) -> None:
    """Make the bridge; the host has the last address of its network."""
    run("ip", "link", "add", plan.bridge, "type", "bridge")
    run("ip", "address", "add", f"{plan.address}/24", "dev", plan.bridge)
    run("ip", "link", "set", plan.bridge, "up")


def connect(plan: Plan, node: NodePlan) -> None:
    """Make the node's network namespace, its cable, and the routes to every node's pods."""
    inside = ("ip", "-netns", node.tag)
    run("ip", "netns", "add", node.tag)
    run("ip", "link", "add", node.tag, "type", "veth", "peer", "name", "eth0", "netns", node.tag)
    run("ip", "link", "set", node.tag, "master", plan.bridge)
    run(*inside, "address", "add", f"{node.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        run(*inside, "link", "set", device, "up")
    run(*inside, "route", "add", "default", "via", plan.address)
    for other in plan.all_nodes():
        if other != node:
            run(*inside, "route", "add", other.pods, "via", other.address)
    run("ip", "route", "replace", node.pods, "via", node.address)


def cable(node: NodePlan, *, plugged: bool) -> None:
    """Plug the node's cable in or pull it."""
    run("ip", "link", "set", node.tag, "up" if plugged else "down")


def plugged(node: NodePlan) -> bool:
    """Whether the node's cable is in."""
    flags = Path(f"/sys/class/net/{node.tag}/flags")
    return flags.exists() and bool(int(flags.read_text(), 16) & 1)


def within(node: NodePlan, *command: str, text: str | None = None, check: bool = True) -> str:
    """Run *command* in the node's network namespace (and nothing else of it)."""
    return run("nsenter", f"--net=/run/netns/{node.tag}", *command, text=text, check=check)


def demolish(plan: Plan) -> None:
    """Remove every device and namespace of the lab, whatever of it is there."""
    for node in plan.all_nodes():
        if Path(f"/sys/class/net/{node.tag}").exists():
            run("ip", "link", "delete", node.tag, check=False)
        if Path(f"/run/netns/{node.tag}").exists():
            run("ip", "netns", "delete", node.tag)
    if Path(f"/sys/class/net/{plan.bridge}").exists():
        run("ip", "link", "delete", plan.bridge)
