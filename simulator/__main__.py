"""Play the ring in virtual time: random fault scripts against the invariants, one script again, figures.

``python -m simulator fuzz --seeds 1000`` ends with code 1 where an invariant broke; figures are JSON, a row a line.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from simulator import figures
from simulator.script import read
from simulator.story import Outcome, play, play_seed, shorten

_HUNDRED = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fuzz = commands.add_parser("fuzz", help="random fault scripts, one a seed")
    fuzz.add_argument("--seeds", type=int, default=100)
    fuzz.add_argument("--first", type=int, default=0, help="the first seed")
    fuzz.add_argument("--n", type=int, default=100, help="nodes")
    fuzz.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="seeds that are played at once")
    replay = commands.add_parser("replay", help="one script again, with everything that happens")
    replay.add_argument("script", help="a file, or - for standard input")
    replay.add_argument("--quiet", action="store_true", help="only what was broken")
    for name, command in figures.COMMANDS.items():
        figure = commands.add_parser(name, help=command.description)
        figure.add_argument("--n", type=int, nargs="+", default=[100])
        figure.add_argument("--seed", type=int, default=1)
        for option, default in command.options.items():
            figure.add_argument(f"--{option}", type=type(default), default=default)
    options = vars(parser.parse_args(arguments))
    match options.pop("command"):
        case "fuzz":
            seeds = range(options["first"], options["first"] + options["seeds"])
            return _fuzz(seeds, options["n"], options["jobs"])
        case "replay":
            return _replay(options["script"], quiet=options["quiet"])
        case name:
            return _measure(name, options.pop("n"), options)


def _fuzz(seeds: Iterable[int], nodes: int, jobs: int) -> int:
    broken: Counter[int] = Counter()
    done = events = failed = 0
    cpu = 0.0
    for outcome, spent in _outcomes(seeds, nodes, jobs):
        cpu += spent
        done += 1
        events += outcome.events
        if outcome.broken:
            failed += 1
            numbers = {one.number for one in outcome.broken}
            _tell(outcome, numbers - broken.keys())
            broken.update(numbers)
        if done % _HUNDRED == 0:
            _sum(done, failed, events, cpu)
    found = ", ".join(f"{number} in {times}" for number, times in sorted(broken.items())) or "none"
    _sum(done, failed, events, cpu)
    print(f"{done} seeds x {nodes} nodes: broken invariants: {found}", flush=True)
    return 1 if failed else 0


def _outcomes(seeds: Iterable[int], nodes: int, jobs: int) -> Iterator[tuple[Outcome, float]]:
    """In the seeds' order, whichever ends first."""
    if jobs == 1:
        yield from map(play_seed, seeds, repeat(nodes))
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(play_seed, seeds, repeat(nodes))


def _sum(done: int, failed: int, events: int, cpu: float) -> None:
    print(
        f"{done} seeds, {failed} failed, {events} events, {events / max(cpu, 1e-9):.0f} a second", flush=True
    )


def _tell(outcome: Outcome, new: Iterable[int]) -> None:
    """What broke; and for an invariant that no seed has broken before, the shortest script that breaks it."""
    print(f"seed {outcome.script.seed}: {_first_of_each(outcome)}\n{_indented(outcome)}", flush=True)
    for number in sorted(new):
        short = shorten(outcome, number)
        print(
            f"  the shortest for invariant {number}: {_first_of_each(short)}\n{_indented(short)}", flush=True
        )


def _first_of_each(outcome: Outcome) -> str:
    first = {one.number: one for one in reversed(outcome.broken)}
    return "; ".join(str(one) for _, one in sorted(first.items()))


def _indented(outcome: Outcome) -> str:
    return "\n".join(f"    {line}" for line in str(outcome.script).splitlines())


def _replay(path: str, *, quiet: bool) -> int:
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    outcome = play(read(text), None if quiet else print)
    for one in outcome.broken:
        print(one)
    print(f"{len(outcome.verdicts)} verdicts, {len(outcome.broken)} times an invariant broke")
    return 1 if outcome.broken else 0


def _measure(name: str, sizes: Iterable[int], options: dict[str, int | float]) -> int:
    measure: Callable[..., figures.Row] = figures.COMMANDS[name].measure
    for size in sizes:
        gc.collect()
        gc.disable()  # a world of thousands leaves no cycles behind while it lives, and looking for them is a quarter of the time
        print(json.dumps(measure(size, **options)), flush=True)
        gc.enable()
    return 0


if __name__ == "__main__":
    sys.exit(main())
