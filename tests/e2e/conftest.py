"""One lab for all stories: before each it is brought to a known state, after each the invariants are checked from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab import invariants, timeline
from lab.cluster import Lab, traces
from lab.console import say
from lab.witness import Watch

NAME = "test"
REFUSED_WITHIN = 1.0
"""Seconds: a QEMU that is refused the image's lock ends sooner; one that runs lives longer."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Lab]:
    """The lab of this session, with ringfence installed as its users install it."""
    lab = Lab.up(NAME, nodes=3, progress=say)
    lab.install_ringfence()
    yield lab
    lab.down()
    assert traces(lab.layout) == []


@pytest.fixture
def bare(cluster: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab in its known state: all nodes well, no VM, nothing declared to ringfence."""
    cluster.reset()
    since = time.time()
    with Watch(cluster.layout.prefix, cluster.layout.logs / "qemu.jsonl") as watch:
        yield cluster
    doubles = watch.found
    if request.node.get_closest_marker("image_lock_refuses"):
        # The story is that second QEMUs are started and refused the image's lock: those end within a look or two.
        doubles = tuple(d for d in doubles if d.last - d.first > REFUSED_WITHIN)
    if request.node.get_closest_marker("old_guest_without_disk"):
        doubles = ()  # two QEMUs, one disk for one of them: the disk's own history tells (ticks.overlaps)
    broken = invariants.check(cluster, since, doubles=doubles)
    if broken or request.node.stash.get(FAILED, False):
        print("\n".join(timeline.told(timeline.of_logs(cluster.layout.logs, since), since)))
    assert broken == []


@pytest.fixture
def lab(bare: Lab) -> Lab:
    """The lab, armed: a zone of all nodes, a proved BMC for each."""
    bare.declare()
    bare.wait_armed()
    return bare


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or bool(report.failed)  # type: ignore[attr-defined]
    return report
