"""The virtual API server answers the real adapters as a real one does: conflicts, preconditions, watches that are lost, answers that are."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from ringfence.kube import kinds
from ringfence.kube.cluster import KubeCluster
from ringfence.kube.objects import NodeObject
from ringfence.kube.reflector import Reflector
from ringfence.ports import AlreadyExists, ClusterError, Conflict, Json, NotFound, Taint, TooLate, Unavailable
from simulator.system.apiserver import ApiServer
from simulator.system.connection import Connection, Weather
from simulator.system.processes import Agenda, VirtualClock

FAR = 1e6
"""A deadline that no test comes to: a write of the controller's has one (the connection sees to it)."""


def failover(name: str) -> Json:
    return {"metadata": {"name": name}, "spec": {"node": "n1", "nodeUID": "uid-n1", "bootID": "b"}}


@dataclass
class Site:
    """One process before a virtual API server."""

    agenda: Agenda = field(default_factory=Agenda)
    server: ApiServer = field(default_factory=ApiServer)
    weather: Weather = field(default_factory=lambda: Weather(random.Random(1)))
    reached: bool = True

    def __post_init__(self) -> None:
        self.process = self.agenda.process("c-1")
        clock = VirtualClock(self.agenda)
        self.connection = Connection(self.agenda, self.server, self.weather, clock, lambda: self.reached)
        self.cluster = KubeCluster(self.connection, namespace="ns", component="c", instance="c-1")

    def ask(self, work: Coroutine[Any, Any, Any], seconds: float = 10.0) -> Any:
        """What the work gives, or raises, within so many seconds of virtual time."""
        done: list[object] = []

        async def run() -> None:
            try:
                done.append(await work)
            except (ClusterError, TooLate) as error:
                done.append(error)

        self.process.call_soon(lambda: self.process.create_task(run()))
        end = self.agenda.now + seconds
        while not done and self.agenda.now < end:
            self.agenda.run(self.agenda.now + 0.1)
        return done[0] if done else None


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_status_is_replaced_at_its_version_only(site: Site) -> None:
    stored = site.ask(site.cluster.create(kinds.FAILOVER, failover("f"), deadline=FAR))
    assert isinstance(
        site.ask(site.cluster.create(kinds.FAILOVER, failover("f"), deadline=FAR)), AlreadyExists
    )
    first = site.ask(
        site.cluster.replace_status(kinds.FAILOVER, {**stored, "status": {"phase": "Held"}}, deadline=FAR)
    )
    assert first["status"] == {"phase": "Held"}
    late = site.ask(
        site.cluster.replace_status(kinds.FAILOVER, {**stored, "status": {"phase": "Fencing"}}, deadline=FAR)
    )
    assert isinstance(late, Conflict)
    assert site.ask(site.cluster.get(kinds.FAILOVER, "f"))["status"] == {"phase": "Held"}


def test_deletions_and_taints_are_of_the_object_that_was_meant(site: Site) -> None:
    site.server.put("nodes", "n1", {"metadata": {"uid": "new"}, "spec": {"taints": []}})
    taint = Taint("k", "NoExecute", "v")
    assert isinstance(site.ask(site.cluster.add_taint("n1", "old", taint, deadline=FAR)), NotFound)
    assert site.ask(site.cluster.add_taint("n1", "new", taint, deadline=FAR)) is True
    assert site.ask(site.cluster.add_taint("n1", "new", taint, deadline=FAR)) is False
    site.server.put("pods", "p", {"metadata": {"uid": "second"}}, "default")
    assert site.ask(site.cluster.delete_pod("default", "p", "first", 0, deadline=FAR)) is False
    assert site.ask(site.cluster.delete_pod("default", "p", "second", 0, deadline=FAR)) is True


def test_what_is_sent_too_late_is_not_sent_and_what_was_sent_meets_a_path_that_heals(site: Site) -> None:
    late = site.ask(site.cluster.create(kinds.FAILOVER, failover("f"), deadline=site.agenda.now))
    assert isinstance(late, TooLate)
    site.reached = False
    site.agenda.after(2.0, lambda: setattr(site, "reached", True))
    assert (
        site.ask(site.cluster.create(kinds.FAILOVER, failover("f"), deadline=FAR))["metadata"]["name"] == "f"
    )
    assert site.agenda.now >= 2.0


def test_a_write_may_be_carried_out_though_nobody_hears_of_it(site: Site) -> None:
    """One in four of those that go wrong."""
    site.weather.refusing = 1.0
    kinds_of_end: set[type] = set()
    for number in range(24):
        found = site.ask(site.cluster.create(kinds.FAILOVER, failover(f"f{number}"), deadline=FAR))
        stands = site.server.find("failovers", f"f{number}") is not None
        assert isinstance(found, Conflict | Unavailable)
        assert not (isinstance(found, Conflict) and stands)
        kinds_of_end |= {type(found)}
    assert kinds_of_end == {Conflict, Unavailable}
    assert 0 < len(list(site.server.of("failovers"))) < 24


@pytest.mark.parametrize("loses", ["history", "connection", "nothing"])
def test_a_reflector_follows_and_keeps_no_ghost(site: Site, loses: str) -> None:
    for name in ("n1", "n2"):
        site.server.put("nodes", name, {"metadata": {"uid": name}})
    nodes = Reflector(site.connection, kinds.NODE, NodeObject.from_raw, jitter=lambda: 0.5)
    site.process.call_soon(lambda: site.process.create_task(nodes.run()))
    site.agenda.run(1.0)
    assert sorted(name for _, name in nodes.store) == ["n1", "n2"]
    lose: dict[str, Callable[[], None]] = {
        "history": site.server.compact,
        "connection": lambda: site.server.lose_watches(Unavailable("gone")),
        "nothing": lambda: None,
    }
    site.weather.out = loses != "nothing"
    lose[loses]()
    site.server.take("nodes", "n2")
    site.agenda.run(2.0)
    site.weather.out = False
    site.agenda.run(6.0)
    assert sorted(name for _, name in nodes.store) == ["n1"]
    assert nodes.relists == (2 if loses == "history" else 1)
    site.agenda.end()


@pytest.mark.parametrize("loses", ["history", "connection", "still"])
def test_what_happened_in_a_cut_is_known_to_be_as_old_as_the_cut(site: Site, loses: str) -> None:
    """However it ends: by another list, by a watch that goes on from where it was, by one that was only kept waiting."""
    told: dict[str, tuple[float, float]] = {}
    nodes: Reflector[NodeObject] = Reflector(
        site.connection,
        kinds.NODE,
        NodeObject.from_raw,
        jitter=lambda: 0.5,
        on_change=lambda _key, _old, new: told.update(
            {new.labels.get("say", ""): (site.agenda.now, nodes.happened_after)} if new is not None else {}
        ),
    )
    number = 0

    def say(word: str) -> None:
        site.server.put("nodes", "n1", {"metadata": {"uid": "n1", "labels": {"say": word}}})

    def tick() -> None:
        nonlocal number
        number += 1
        site.server.put("nodes", f"m{number % 2}", {"metadata": {"uid": "m", "labels": {"n": str(number)}}})

    def run(until: float) -> None:
        while site.agenda.now < until:
            tick()
            site.agenda.run(site.agenda.now + 0.5)

    site.process.call_soon(lambda: site.process.create_task(nodes.run()))
    run(5.0)
    say("before")
    run(8.0)
    if loses == "still":
        site.weather.still = True
    else:
        site.weather.out = True
        site.server.lose_watches(Unavailable("gone"))
    run(9.0)
    say("within")
    run(20.0)
    if loses == "history":
        site.server.compact()
    site.weather.still = site.weather.out = False
    site.connection.flush()
    run(40.0)
    say("after")
    run(42.0)
    assert told["within"][0] >= 20.0
    for word, last_told_all_at in (("before", 5.0), ("within", 8.0), ("after", 40.0)):
        _, after = told[word]
        assert last_told_all_at - 2.5 <= after <= last_told_all_at, (word, told)
    site.agenda.end()


def test_watches_that_stand_still_tell_all_of_it_later_and_in_order(site: Site) -> None:
    seen: list[str] = []
    nodes = Reflector(
        site.connection,
        kinds.NODE,
        NodeObject.from_raw,
        jitter=lambda: 0.5,
        on_change=lambda key, _old, _new: seen.append(key[1]),
    )
    site.process.call_soon(lambda: site.process.create_task(nodes.run()))
    site.agenda.run(1.0)
    site.weather.still = True
    for name in ("n3", "n1", "n2"):
        site.server.put("nodes", name, {"metadata": {"uid": name}})
    site.agenda.run(5.0)
    assert seen == []
    site.weather.still = False
    site.connection.flush()
    site.agenda.run(5.1)
    assert seen == ["n3", "n1", "n2"]
    site.agenda.end()
