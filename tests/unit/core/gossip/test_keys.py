"""Group keys change while the ring runs: whoever is waited for opens what whoever is waited for seals, at every instant."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.core.gossip.keys import (
    GroupKey,
    Holder,
    KeysError,
    KeySet,
    Step,
    advance,
    excuse,
    open_keys,
    progress,
    renew,
    step_of,
)
from ringfence.core.model import Verdict

OLD, NEW = GroupKey(0, b"o" * 32), GroupKey(1, b"n" * 32)
FIRST = KeySet((OLD,), 0)
INSTALLED = KeySet((OLD, NEW), 0, 1)
IN_USE = KeySet((OLD, NEW), 1, 1)
DONE = KeySet((NEW,), 1, 1)


def holder(node: str, *held: int, used: int = 0, why: str = "") -> Holder:
    return Holder(node, frozenset(held), used, Verdict.HEALTHY, why)


# -- the text


def test_a_set_comes_back_as_it_was() -> None:
    for keys in (FIRST, INSTALLED, IN_USE, DONE):
        assert open_keys(keys.text()) == keys


def test_what_a_later_version_adds_is_passed_over() -> None:
    text = json.loads(IN_USE.text())
    assert (
        open_keys(json.dumps({**text, "more": 1, "keys": [{**k, "more": 1} for k in text["keys"]]})) == IN_USE
    )


BAD: list[tuple[dict[str, Any], str]] = [
    ({"keys": []}, "keys must be a list of 1 to 4 keys"),
    ({"keys": {}}, "keys must be a list of 1 to 4 keys"),
    ({"keys": [json.loads(FIRST.text())["keys"][0]] * 5}, "keys must be a list of 1 to 4 keys"),
    ({"keys": [json.loads(FIRST.text())["keys"][0]] * 2}, "an id stands twice in keys"),
    ({"keys": ["c2VjcmV0"]}, r"keys\[0\] is no JSON object"),
    ({"keys": [{"id": 0, "key": "secret!"}]}, r"keys\[0\].key is no base64"),
    ({"keys": [{"id": 0, "key": None}]}, r"keys\[0\].key is no base64"),
    ({"keys": [{"id": 0, "key": "c2VjcmV0"}]}, r"keys\[0\].key has 6 bytes, not 32"),
    ({"keys": [{**json.loads(FIRST.text())["keys"][0], "id": 256}]}, r"keys\[0\].id must be a number from 0"),
    (
        {"keys": [{**json.loads(FIRST.text())["keys"][0], "id": True}]},
        r"keys\[0\].id must be a number from 0",
    ),
    ({"used": 1}, "used must be the id of one of the keys"),
    ({"used": "0"}, "used must be a number from 0 to 255"),
    ({"generation": -1}, "generation must be a number"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD)
def test_bad_text_is_refused_by_the_name_of_its_field(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(KeysError, match=sentence) as refused:
        open_keys(json.dumps({**json.loads(FIRST.text()), **change}))
    assert "ecret" not in str(refused.value)


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_garbage_is_refused_by_a_keys_error_alone(text: str) -> None:
    with pytest.raises(KeysError) as refused:
        open_keys(text)
    assert refused.value.__cause__ is None


def test_a_secret_is_in_no_representation() -> None:
    for shown in (repr(IN_USE), str(IN_USE), repr(OLD)):
        assert "ooo" not in shown


# -- who is waited for


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"verdict": Verdict.HEALTHY}, ""),
        ({"verdict": None}, ""),
        ({"verdict": Verdict.AGENT_DOWN}, ""),
        ({"verdict": Verdict.SUSPECT}, ""),
        ({"verdict": Verdict.DOWN}, "down"),
        ({"verdict": Verdict.LEFT}, "left"),
        ({"named": True}, "named in spec.gossip.rotateWithout"),
        ({"reported": False}, ""),
        ({"heard": False}, ""),
        ({"reported": False, "heard": False}, "no agent there"),
    ],
)
def test_the_dead_and_the_absent_are_not_waited_for(facts: dict[str, Any], said: str) -> None:
    usual: dict[str, Any] = {"named": False, "verdict": Verdict.HEALTHY, "reported": True, "heard": True}
    assert excuse(**{**usual, **facts}) == said


# -- the steps


def test_a_rotation_goes_by_three_steps_and_each_waits_for_all() -> None:
    n1, n2 = holder("n1", 0), holder("n2", 0)
    assert advance(FIRST, 0, [n1, n2], NEW.secret) is FIRST
    assert advance(FIRST, 1, [n1, n2], NEW.secret) == INSTALLED
    both = holder("n1", 0, 1)
    assert advance(INSTALLED, 1, [both, n2], b"x" * 32) is INSTALLED
    assert advance(INSTALLED, 1, [both, holder("n2", 0, 1)], b"x" * 32) == IN_USE
    new = holder("n1", 0, 1, used=1)
    assert advance(IN_USE, 1, [new, both], b"x" * 32) is IN_USE
    assert advance(IN_USE, 1, [new, holder("n2", 0, 1, used=1)], b"x" * 32) == DONE
    assert advance(DONE, 1, [holder("n1", 1, used=1)], b"x" * 32) is DONE


def test_a_second_rotation_waits_until_the_old_key_is_let_go_everywhere() -> None:
    late = holder("n1", 0, 1, used=1)
    assert advance(DONE, 2, [late], b"x" * 32) is DONE
    begun = advance(DONE, 2, [holder("n1", 1, used=1)], b"x" * 32)
    assert (begun.ids, begun.used, begun.generation) == ((1, 2), 1, 2)


def test_requests_that_came_before_the_first_step_are_one_rotation() -> None:
    assert advance(FIRST, 7, [holder("n1", 0)], NEW.secret) == KeySet((OLD, NEW), 0, 7)


def test_ids_begin_anew_after_the_last() -> None:
    last = KeySet((GroupKey(255, b"l" * 32),), 255, 255)
    assert advance(last, 256, [], NEW.secret).ids == (255, 0)


def test_an_agent_of_the_version_before_disturbs_nothing_and_blocks_a_rotation_by_name() -> None:
    older = Holder("n2", verdict=Verdict.HEALTHY)
    assert step_of(FIRST, [older]) is Step.SETTLED
    assert advance(INSTALLED, 1, [holder("n1", 0, 1), older], NEW.secret) is INSTALLED
    told = progress(INSTALLED, 1, [holder("n1", 0, 1), older])
    assert told.waits == ("n2",)
    assert "n2 (its agent reports no keys: it is just starting, or older than key rotation)" in told.sentence


def test_who_is_excused_holds_up_nothing_and_is_named() -> None:
    down = holder("n2", 0, why="down")
    there = holder("n1", 0, 1)
    assert advance(INSTALLED, 1, [there, down], NEW.secret) == IN_USE
    assert progress(INSTALLED, 1, [there, down]).sentence == (
        "key 1 is installed, not used yet; goes on without n2 (down)"
    )


def test_sentences_say_the_step_and_who_lacks_what() -> None:
    ill = Holder("n2", frozenset({0}), 0, Verdict.AGENT_DOWN)
    said = [
        progress(FIRST, 0, []).sentence,
        progress(FIRST, 1, []).sentence,
        progress(INSTALLED, 1, [ill]).sentence,
        progress(IN_USE, 1, [holder("n1", 0, 1)]).sentence,
        progress(DONE, 1, [holder("n1", 0, 1, used=1)]).sentence,
        progress(DONE, 1, [holder("n1", 1, used=1)]).sentence,
    ]
    assert said == [
        "all agents use key 0 and hold no other (generation 0)",
        "generation 1 is asked for, not begun yet",
        "key 1 is installed, not used yet; waits for n2 (AgentDown; holds 0)",
        "key 1 is used, key 0 not removed yet; waits for n1 (uses 0)",
        "all keys but 1 are removed; waits for n1 (holds 0, 1)",
        "all agents use key 1 and hold no other (generation 1)",
    ]
    many = progress(INSTALLED, 1, [holder(f"n{number:02}", 0) for number in reversed(range(20))])
    assert len(many.waits) == 20
    assert many.sentence.endswith("n07 (holds 0) and 12 more")


def test_a_lost_set_is_replaced_by_a_key_that_never_was_in_use() -> None:
    keys = renew(3, b"f" * 32)
    assert (keys.ids, keys.used, keys.generation) == ((4,), 4, 4)


# -- any interleaving, the controller killed after any step


@dataclass
class Cluster:
    """A Secret, agents that see it late and report later, a controller that forgets everything at each turn."""

    count: int
    secret: str = FIRST.text()
    wanted: int = 0
    number: int = 0
    mounted: dict[int, KeySet] = field(default_factory=dict)
    reported: dict[int, KeySet | None] = field(default_factory=dict)
    down: set[int] = field(default_factory=set)
    behind: set[int] = field(default_factory=set)
    """Nodes that were excused and have not followed since: they may hear nobody."""
    used: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mounted = dict.fromkeys(range(self.count), FIRST)
        self.reported = dict.fromkeys(range(self.count), FIRST)

    def holders(self) -> list[Holder]:
        found = []
        for node, keys in self.reported.items():
            verdict = Verdict.DOWN if node in self.down else Verdict.HEALTHY
            why = excuse(named=False, verdict=verdict, reported=keys is not None, heard=node not in self.down)
            held = None if keys is None else frozenset(keys.ids)
            found.append(Holder(f"n{node}", held, None if keys is None else keys.used, verdict, why))
        return found

    def turn(self, *, killed: bool) -> None:
        """A leader that knows only what is stored and reported takes its step; killed, it dies before its write."""
        self.number += 1
        keys = advance(open_keys(self.secret), self.wanted, self.holders(), b"%032d" % self.number)
        if not killed:
            self.secret = keys.text()

    def mount(self, node: int) -> None:
        self.mounted[node] = open_keys(self.secret)
        if node not in self.down:
            self.behind.discard(node)

    def report(self, node: int) -> None:
        if node not in self.down:
            self.reported[node] = self.mounted[node]

    def cut(self, node: int) -> None:
        self.down.add(node)
        self.behind.add(node)

    def heal(self, node: int) -> None:
        self.down.discard(node)

    def reboot(self, node: int) -> None:
        self.heal(node)
        self.mount(node)
        self.reported[node] = None

    def check(self) -> None:
        there = [keys for node, keys in self.mounted.items() if node not in self.down | self.behind]
        for one in there:
            for other in there:
                assert {key.id: key.secret for key in other.keys}[one.used] == one.keys[
                    one.ids.index(one.used)
                ].secret


ACTIONS = st.tuples(st.sampled_from(["turn", "turn", "killed", "mount", "mount", "report", "cut", "heal", "reboot", "ask"]),
                    st.integers(0, 3))  # fmt: skip


@settings(deadline=None)
@given(st.lists(ACTIONS, max_size=120))
def test_in_any_interleaving_all_that_are_waited_for_open_what_all_of_them_seal(
    actions: list[tuple[str, int]],
) -> None:
    cluster = Cluster(4)
    for what, node in actions:
        match what:
            case "turn" | "killed":
                cluster.turn(killed=what == "killed")
            case "ask":
                cluster.wanted += 1
            case _:
                getattr(cluster, what)(node)
        cluster.check()
    for node in tuple(cluster.down):
        cluster.heal(node)
    for _ in range(9):  # what is under way, and all that was asked for since
        for node in range(4):
            cluster.mount(node)
            cluster.report(node)
        cluster.check()
        cluster.turn(killed=False)
    keys = open_keys(cluster.secret)
    assert step_of(keys, cluster.holders()) is Step.SETTLED
    assert keys.generation == cluster.wanted
    assert len(keys.keys) == 1
    assert all(held == keys for held in cluster.mounted.values())
    assert (keys == FIRST) is (cluster.wanted == 0)
