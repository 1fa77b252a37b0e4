from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from ringfence.ports import Unavailable

from .cluster import FakeReader, Object, condition, named
from .conftest import Run

WAITS = "key 1 is installed, not used yet; waits for n2 (holds 0)"
DONE = "all agents use key 1 and hold no other (generation 1)"


def cluster(
    asked: int, generation: int, step: str, sentence: str, *, held: tuple[int, ...] = (0,), used: int = 0
) -> list[Object]:
    keys = {"generation": generation, "step": step, "held": list(held), "used": used, "waitingFor": []}
    if "waits" in sentence:
        keys["waitingFor"] = ["n2"]
    status = "True" if step == "Settled" else "False"
    told: Object = {"keys": keys, "conditions": [condition("KeysSettled", status, step, sentence)]}
    return [named("default", spec={"gossip": {"keyGeneration": asked}}, status=told)]


BEFORE = cluster(0, 0, "Settled", "all agents use key 0 and hold no other (generation 0)")
INSTALLING = cluster(1, 1, "Installing", WAITS, held=(0, 1))
SETTLED = cluster(1, 1, "Settled", DONE, held=(1,), used=1)


def test_keys_shows_the_step_and_who_lacks_a_key(run: Run) -> None:
    for command in (("keys",), ("keys", "status")):
        shown = run(FakeReader({"haclusters": INSTALLING}), *command)
        assert shown.exit_code == 0
        rows = dict(line.strip().split("  ", 1) for line in shown.stdout.splitlines())
        assert {name: text.strip() for name, text in rows.items()} == {
            "generation": "1 (1 is asked for)",
            "step": "Installing",
            "keys that open": "0, 1",
            "key that seals": "0",
            "waits for": "n2",
            "sentence": WAITS,
        }


def test_json_carries_the_same(run: Run) -> None:
    row = json.loads(run(FakeReader({"haclusters": SETTLED}), "keys", "-o", "json").stdout)
    assert row == {
        "generation": 1,
        "asked": 1,
        "step": "Settled",
        "held": ["1"],
        "used": "1",
        "waitingFor": [],
        "sentence": DONE,
    }


def test_trouble_with_the_secret_is_the_step(run: Run) -> None:
    ill = cluster(1, 1, "Installing", WAITS)
    trouble = condition("KeysSettled", "False", "KeysUnreadable", "Secret ringfence-group-keys: mend it")
    ill[0]["status"] = {"keys": {"generation": 1, "step": "Installing"}, "conditions": [trouble]}
    shown = run(FakeReader({"haclusters": ill}), "keys")
    assert "KeysUnreadable" in shown.stdout
    assert "mend it" in shown.stdout


def test_rotate_asks_and_tells_each_step_until_it_is_done(run: Run) -> None:
    using = cluster(1, 1, "Using", "key 1 is used, key 0 not removed yet; waits for n2 (uses 0)")
    turns = [
        cluster(1, 0, "Settled", "generation 1 is asked for, not begun yet"),
        INSTALLING,
        INSTALLING,
        using,
    ]
    reader = FakeReader({"haclusters": BEFORE}, turns=[*turns, SETTLED])
    shown = run(reader, "keys", "rotate")
    assert shown.exit_code == 0
    assert reader.asked == [(1, ())]
    assert shown.stdout.splitlines() == [
        "generation 1 of the group keys is asked for",
        "all agents use key 0 and hold no other (generation 0)",
        "generation 1 is asked for, not begun yet",
        WAITS,
        "key 1 is used, key 0 not removed yet; waits for n2 (uses 0)",
        DONE,
    ]


class Away(FakeReader):
    """The API server is away at the second look."""

    looks = 0

    def list_objects(self, plural: str, namespace: str | None = None) -> Sequence[Mapping[str, object]]:
        self.looks += 1
        if self.looks == 2:
            raise Unavailable("the API server does not answer")
        return super().list_objects(plural, namespace)


def test_rotate_waits_on_while_the_api_server_is_away(run: Run) -> None:
    shown = run(Away({"haclusters": BEFORE}, turns=[INSTALLING, SETTLED]), "keys", "rotate")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[1:] == ["the API server does not answer", WAITS, DONE]


def test_rotate_without_waiting_only_asks(run: Run) -> None:
    reader = FakeReader({"haclusters": SETTLED})
    assert run(reader, "keys", "rotate", "--no-wait").exit_code == 0
    assert reader.asked == [(2, ())]


def test_while_a_change_is_under_way_asking_again_goes_on_with_it_without_a_node(run: Run) -> None:
    reader = FakeReader({"haclusters": INSTALLING}, turns=[SETTLED])
    shown = run(reader, "keys", "rotate", "--without", "n2", "--without", "n3")
    assert shown.exit_code == 0
    assert reader.asked == [(1, ("n2", "n3"))]


def test_a_cluster_made_anew_asks_for_more_than_the_keys_have(run: Run) -> None:
    reader = FakeReader({"haclusters": cluster(0, 4, "Settled", DONE)})
    assert run(reader, "keys", "rotate", "--no-wait").exit_code == 0
    assert reader.asked == [(5, ())]


def test_who_stops_waiting_is_told_that_it_goes_on(run: Run) -> None:
    shown = run(FakeReader({"haclusters": INSTALLING}), "keys", "rotate")
    assert shown.exit_code == 6
    assert "it goes on in the cluster: ringfence keys status" in shown.stderr


def test_without_a_cluster_or_a_controller_nothing_is_asked(run: Run) -> None:
    for objects, code, sentence in (
        ({"haclusters": []}, 4, "no HACluster named default: create it first"),
        ({"haclusters": [named("default")]}, 1, "no controller has told of the group keys yet"),
        ({}, 4, "install ringfence's CRDs"),
    ):
        reader = FakeReader(dict(objects))
        shown = run(reader, "keys", "rotate")
        assert (shown.exit_code, reader.asked) == (code, [])
        assert sentence in shown.stderr


def test_who_may_not_ask_is_told_so(run: Run) -> None:
    shown = run(FakeReader({"haclusters": BEFORE}, forbidden=frozenset({"haclusters"})), "keys", "rotate")
    assert shown.exit_code == 5
