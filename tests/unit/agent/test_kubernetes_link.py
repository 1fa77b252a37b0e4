"""When the agent writes its NodeReport though it says nothing else: after the cluster's store was set back."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest

from ringfence.agent.kubernetes_link import KubernetesLink
from ringfence.kube.node_api import NodeApi

STATUS = {"nodeUID": "uid-1", "bootID": "boot-1"}


class Api:
    """The API server's part, with every report that it has taken; ``version`` is the Lease's."""

    def __init__(self) -> None:
        self.reports: queue.Queue[Mapping[str, Any]] = queue.Queue()
        self.closed = threading.Event()

    def watch_roster(self) -> Iterator[str]:
        self.closed.wait()
        yield from ()

    def report(self, _node: str, status: Mapping[str, Any], _version: str = "") -> str:
        self.reports.put(status)
        return "1"

    def read_lease(self, _name: str) -> None:
        return None

    def write_lease(self, _name: str, holder: str, _known: object) -> dict[str, Any]:
        return {"metadata": {}, "spec": {"holderIdentity": holder}}

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def link(api: Api) -> Iterator[KubernetesLink]:
    made = KubernetesLink(
        cast("NodeApi", api),
        node="n1",
        status=lambda: STATUS,
        on_roster=lambda _: None,
        on_lease=lambda _: None,
    )
    made.start()
    yield made
    made.stop()


def test_after_a_store_that_was_set_back_the_next_roster_makes_it_report_anew(
    api: Api, link: KubernetesLink
) -> None:
    assert api.reports.get(timeout=10) == STATUS
    link.roster_taken()
    link.store_of_before()
    link.roster_taken()
    assert api.reports.get(timeout=10) == STATUS
    assert api.reports.empty(), "once: a roster alone is no reason"
