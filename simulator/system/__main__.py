"""Play random fault schedules against the whole system in virtual time; or one again.

``python -m simulator.system play --from 1 --seeds 300`` ends with code 1 where an invariant broke.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from simulator.system import triples
from simulator.system.ledger import Entry, Ledger, differing
from simulator.system.play import Led, Outcome, play, play_seed, shorten
from simulator.system.report import Piece, append, revision
from simulator.system.schedule import draw, read

_HUNDRED = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulator.system", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    many = commands.add_parser("play", help="random schedules, one a seed")
    many.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    many.add_argument("--seeds", type=int, default=300)
    many.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="schedules that are played at once"
    )
    many.add_argument(
        "--ledger", type=Path, help="where outcomes are kept; seeds that are in it aren't played again"
    )
    many.add_argument("--coverage", action="store_true", help="which possible triples were not seen")
    many.add_argument("--report", type=Path, help="a table to which a row about this run is appended")
    many.add_argument(
        "--real",
        type=Led,
        choices=list(Led),
        default=Led.SOME,
        help="which schedules are led by the controller's own loops (some: every twentieth, with the real ring inside)",
    )
    replay = commands.add_parser("replay", help="one schedule again, with everything that happens")
    replay.add_argument("schedule", help="a file, - for standard input, or a seed")
    replay.add_argument("--real", action="store_true", help="led by the controller's own loops")
    replay.add_argument("--ring", action="store_true", help="and the real ring tells them what it sees")
    replay.add_argument("--log", action="store_true", help="and what they log")
    same = commands.add_parser("same", help="whether the schedules of two ledgers went the same way")
    same.add_argument("ledgers", type=Path, nargs=2)
    options = parser.parse_args(arguments)
    if options.command == "same":
        both, others = differing(*options.ledgers)
        print(f"{len(both)} schedules in both, {len(others)} went another way: {others}")
        return 1 if others or not both else 0
    if options.command == "replay":
        real = options.real or options.ring or options.log
        return _replay(options.schedule, real=real, ring=options.ring, log=options.log)
    seeds = range(options.first, options.first + options.seeds)
    program = revision(Path(__file__).parent)
    ledger = Ledger(options.ledger, program)
    return _many(seeds, options.jobs, ledger, options.real, options.report, coverage=options.coverage)


def _many(seeds: range, jobs: int, ledger: Ledger, led: Led, report: Path | None, *, coverage: bool) -> int:
    began = time.monotonic()
    told: set[tuple[str, bool]] = set()
    known = ledger.entries
    left = [seed for seed in seeds if seed not in known or known[seed].real is not led.real(seed)]
    for done, outcome in enumerate(_outcomes(left, jobs, led), 1):
        ledger.enter(Entry.of(outcome))
        if outcome.broken:
            how = " (real loops)" * outcome.real + " (real ring)" * outcome.ring
            print(f"seed {outcome.schedule.seed}{how}: {outcome.broken}", flush=True)
            if (outcome.number, outcome.real) not in told:
                told.add((outcome.number, outcome.real))
                short = shorten(outcome)
                print(f"  the shortest: {short.broken}\n{_indented(str(short.schedule))}", flush=True)
        if done % _HUNDRED == 0:
            print(f"{done} of {len(left)} played", flush=True)
    entries = [ledger.entries[seed] for seed in seeds]
    possible = set(triples.all_possible())
    seen = {triple for entry in entries for triple in entry.triples}
    if coverage:
        for triple in sorted(possible - seen):
            print("not seen:", ", ".join(triple))
    incidents, failed = sum(e.incidents for e in entries), sum(bool(e.broken) for e in entries)
    held, recovered = sum(e.held for e in entries), sum(e.recovered for e in entries)
    real = sum(e.real for e in entries)
    if report is not None:
        seen_now = len(seen & possible)
        cpu = sum(e.cpu for e in entries)
        counts = (real, failed, incidents, held, recovered, seen_now, len(possible), cpu, len(entries))
        append(report, Piece(ledger.revision, f"{seeds.start}-{seeds.stop - 1}", *counts))
    print(f"led by the controller's own loops: {real} of {len(entries)}")
    print(f"coverage: {len(seen & possible)} of {len(possible)} possible triples, {incidents} incidents")
    print(
        f"sim: schedules={len(entries)} violations={failed} refused={held} recovered={recovered}"
        f" seconds={time.monotonic() - began:.0f}"
    )
    return 1 if failed else 0


def _outcomes(seeds: Iterable[int], jobs: int, led: Led) -> Iterator[Outcome]:
    """In the seeds' order, whichever ends first."""
    one = partial(play_seed, led=led)
    if jobs == 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(one, seeds)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _replay(what: str, *, real: bool, ring: bool, log: bool) -> int:
    if what.isdigit():
        schedule = draw(int(what))
    else:
        schedule = read(sys.stdin.read() if what == "-" else Path(what).read_text(encoding="utf-8"))
    logger = logging.getLogger("ringfence")
    logger.setLevel(logging.INFO if log else logging.CRITICAL)
    outcome = play(schedule, real=real, ring=ring, tell=logger if log else None)
    print(schedule, schedule.cluster, *outcome.log, sep="\n")
    print(outcome.broken or "no invariant broke")
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
