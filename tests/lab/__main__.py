"""The lab's command line: ``python -m lab COMMAND``."""

from __future__ import annotations

import argparse
import sys

from lab.cluster import Lab, prepare
from lab.console import say
from lab.machine import UnfitError
from lab.state import NoLabError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("--name", default="lab", help="which lab (default: lab)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring it up")
    up.add_argument("--nodes", type=int, default=3)
    up.add_argument("--index", type=int, default=0, help="sets the lab apart: its network is 10.(97+INDEX)")
    up.add_argument("--zones", type=int, default=0)
    up.add_argument("--grace", type=int, default=50)
    commands.add_parser("down")
    commands.add_parser("prepare")
    for fault in ("cut", "heal", "poweroff", "poweron", "freeze", "thaw"):
        commands.add_parser(fault).add_argument("node")
    vm = commands.add_parser("vm")
    vm.add_argument("vm")
    vm.add_argument("--storage", default="file", choices=["file", "block"])
    vm.add_argument("--node")
    args = parser.parse_args()
    try:
        if args.command == "prepare":
            prepare()
        elif args.command == "up":
            Lab.up(args.name, args.nodes, index=args.index, zones=args.zones, grace=args.grace)
        elif args.command == "down":
            Lab.load(args.name).down()
        elif args.command == "vm":
            lab = Lab.load(args.name)
            lab.create_vm(args.vm, storage=args.storage, node=args.node)
            say(f"running on {lab.wait_vm_running(args.vm)}")
            say(f"tick {lab.first_tick_after(args.vm)}")
        else:
            node = Lab.load(args.name).node(args.node)
            getattr(node, {"poweroff": "power_off", "poweron": "power_on"}.get(args.command, args.command))()
    except (NoLabError, UnfitError, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
