"""Three cycles of chaos with a fixed seed: what ``make chaos`` does for an hour."""

from __future__ import annotations

import pytest

from lab.chaos import Chaos
from lab.chaosplan import summed
from lab.cluster import Lab

pytestmark = pytest.mark.lab

SEED = 583
"""Deals a cut with a block volume, a cut with a BMC that refuses, and a cut just after the leader was killed."""
CYCLES = 3


def test_three_cycles(lab: Lab) -> None:
    results = Chaos(lab, SEED).run(range(CYCLES))
    told = [f"{result.plan}: {result.end}: {result.why} {result.broken}" for result in results]
    assert summed(results).startswith(f"chaos: cycles={CYCLES} overlaps=0 stuck=0 "), "\n".join(told)
