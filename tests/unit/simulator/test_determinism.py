"""The same seed tells the same story, in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from simulator.script import Script, random_script, read

ROOT = Path(__file__).parents[3]
SCRIPT = """\
nodes 12 zones 3 seed 5
1.000 crash n3 for 3.000
1.500 loss * > * for 4.000 by 0.1
2.000 pause n5,n6 for 1.000
2.500 split n1,n2,n4 > n7,n8 for 1.500
3.000 replay * for 1.000
"""


def traced(hash_seed: str) -> bytes:
    return subprocess.run(
        [sys.executable, "-m", "simulator", "replay", "-"],
        input=SCRIPT.encode(),
        stdout=subprocess.PIPE,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "operator:.", "PYTHONHASHSEED": hash_seed},
    ).stdout


def test_the_same_script_gives_the_same_trace_in_any_process() -> None:
    one, other = traced("1"), traced("2")
    assert one == other
    assert one.count(b"\n") > 5000
    assert b"unreachable" in one


def test_a_script_is_its_text() -> None:
    for seed in range(200):
        script = random_script(seed)
        assert read(str(script)) == Script(100, 3, seed, script.faults, script.networks)
        assert random_script(seed) == script
