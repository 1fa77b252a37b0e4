"""When a replica says that it finds something else than the leader."""

from __future__ import annotations

from ringfence.core.detection.dissent import DIFFERS_FOR, Dissent
from ringfence.core.model import Verdict


def test_it_is_told_when_it_has_lasted() -> None:
    dissent, own = Dissent(), {"n1": Verdict.DOWN, "n2": Verdict.HEALTHY}
    told = {"n1": "Healthy", "n2": "Healthy"}
    assert dissent.nodes(own, told, 100.0) == frozenset()
    assert dissent.nodes(own, told, 100.0 + DIFFERS_FOR - 0.1) == frozenset()
    assert dissent.nodes(own, told, 100.0 + DIFFERS_FOR) == {"n1"}


def test_once_of_one_mind_it_begins_anew() -> None:
    dissent, own = Dissent(), {"n1": Verdict.DOWN}
    dissent.nodes(own, {"n1": "Suspect"}, 100.0)
    assert dissent.nodes(own, {"n1": "Down"}, 120.0) == frozenset()
    assert dissent.nodes(own, {"n1": "Suspect"}, 125.0) == frozenset()
    assert dissent.nodes(own, {"n1": "Suspect"}, 100.0 + DIFFERS_FOR) == frozenset()
    assert dissent.nodes(own, {"n1": "Suspect"}, 125.0 + DIFFERS_FOR) == {"n1"}


def test_who_is_silent_about_a_node_does_not_differ() -> None:
    dissent = Dissent()
    for now in (100.0, 100.0 + DIFFERS_FOR):
        assert dissent.nodes({"n1": Verdict.DOWN}, {"n2": "Down"}, now) == frozenset()
