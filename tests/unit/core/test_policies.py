"""Which ProtectedVMs HAPolicies call for: a person's word first, a conflict on both, nothing given up in mid-incident."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.policies import Change, Create, Declared, Delete, Plan, Policy, Settings, plan

USUAL = Settings("Restart", 100, ())
FIRST = Settings("Restart", 900, ("dns",))


def policy(name: str, *vms: str, settings: Settings = USUAL) -> Policy:
    return Policy(name, f"uid-{name}", frozenset(vms), settings)


def declared(
    vm: str, owner: str | None = None, settings: Settings = USUAL, name: str | None = None
) -> Declared:
    return Declared(name or vm, f"pvm-{name or vm}", vm, None if owner is None else f"uid-{owner}", settings)


def test_each_selected_vm_gets_one_and_none_waits_for_itself() -> None:
    dbs = policy("dbs", "db", "dns", settings=FIRST)
    found = plan([dbs], {"db", "dns", "web"}, [], set())
    assert found.acts == [
        Create(dbs, "db", FIRST),
        Create(dbs, "dns", replace(FIRST, depends_on=())),
    ]
    assert found.words["dbs"].message == "protects 2 VMs"
    assert (found.words["dbs"].ready, found.words["dbs"].protects) == (True, 2)


def test_what_differs_from_its_policy_is_set_right_and_what_does_not_is_left() -> None:
    dbs = policy("dbs", "a", "b", settings=FIRST)
    edited = declared("b", "dbs", replace(FIRST, priority=1))
    found = plan([dbs], {"a", "b"}, [declared("a", "dbs", FIRST), edited], set())
    assert found.acts == [Change(dbs, edited, FIRST)]


def test_a_persons_word_goes_first() -> None:
    dbs = policy("dbs", "db")
    by_hand = declared("db", name="the-db")
    found = plan([dbs], {"db"}, [by_hand], set())
    assert found.acts == []
    assert found.words["dbs"].message == "protects 0 VMs; protected by hand, and left alone: db"
    both = plan([dbs], {"db"}, [by_hand, declared("db", "dbs")], set())
    assert both.acts == [Delete(declared("db", "dbs"), "ProtectedVM the-db protects db by hand")]


def test_two_policies_that_want_one_vm_both_say_so_and_change_nothing() -> None:
    a, b = policy("a", "db", "web"), policy("b", "db")
    found = plan([a, b], {"db", "web"}, [], set())
    assert found.acts == [Create(a, "web", USUAL)]
    assert not found.words["a"].ready
    assert found.words["a"].reason == found.words["b"].reason == "Overlap"
    assert found.words["a"].message.startswith(
        "db is also selected by HAPolicy b: narrow one of the selectors"
    )
    # What one of them had made before the other came stays as it is, whatever either says now.
    stays = plan(
        [a, replace(b, settings=FIRST)], {"db", "web"}, [declared("db", "a"), declared("web", "a")], set()
    )
    assert stays.acts == []
    assert (stays.words["a"].protects, stays.words["b"].protects) == (2, 0)


def test_a_vm_that_goes_over_to_another_policy_is_never_without_protection() -> None:
    a, b = policy("a"), policy("b", "db", settings=FIRST)
    old = declared("db", "a")
    assert plan([a, b], {"db"}, [old], set()).acts == [Change(b, old, FIRST)]


def test_what_no_policy_wants_any_more_is_deleted_but_not_in_mid_incident() -> None:
    dbs = policy("dbs", "other")
    mine = [declared("db", "dbs"), declared("gone", "dbs"), declared("other", "dbs")]
    found = plan([dbs], {"db", "other"}, mine, {"gone"})
    assert found.acts == [Delete(mine[0], "no HAPolicy selects VM db any more")]
    assert plan([dbs], {"db", "other"}, mine, set()).acts[1:] == [Delete(mine[1], "VM gone is gone")]


def test_one_of_an_unknown_policy_is_left_to_the_garbage_collector() -> None:
    b = policy("b", "db")
    found = plan([b], {"db"}, [declared("db", "deleted")], set())
    assert found.acts == []


def test_a_name_that_another_vms_has_taken_is_said() -> None:
    dbs = policy("dbs", "db")
    found = plan([dbs], {"db", "web"}, [declared("web", name="db")], set())
    assert found.acts == []
    assert found.words["dbs"].reason == "NameTaken"
    assert "db (of VM web): rename or delete them" in found.words["dbs"].message


def test_a_selector_that_selects_nothing_is_said() -> None:
    assert plan([policy("dbs")], {"db"}, [], set()).words["dbs"].reason == "NothingSelected"


def test_of_many_only_some_are_named() -> None:
    names = [f"vm{number}" for number in range(9)]
    found = plan([policy("a", *names), policy("b", *names)], set(names), [], set())
    assert found.words["a"].message.startswith("vm0, vm1, vm2, vm3, vm4 and 4 more are also selected")


NAMES = ("a", "b", "c")
SETTINGS = st.sampled_from([USUAL, FIRST, Settings("Ignore", 0, ("a", "b"))])
POLICIES = st.dictionaries(
    st.sampled_from(["p", "q", "r"]), st.tuples(st.frozensets(st.sampled_from(NAMES)), SETTINGS)
)
OWNERS = st.sampled_from([None, "p", "q", "r", "deleted"])
DECLARED = st.dictionaries(
    st.sampled_from([*NAMES, "x"]), st.tuples(st.sampled_from([*NAMES, "gone"]), OWNERS, SETTINGS)
)


def carried_out(before: list[Declared], found: Plan) -> list[Declared]:
    after = {one.name: one for one in before}
    for act in found.acts:
        match act:
            case Create(one, vm, settings):
                assert vm not in after, "a create would be refused"
                after[vm] = Declared(vm, f"new-{vm}", vm, one.uid, settings)
            case Change(one, old, settings):
                after[old.name] = replace(old, owner=one.uid, settings=settings)
            case Delete(old, _):
                del after[old.name]
    return list(after.values())


@given(POLICIES, st.frozensets(st.sampled_from(NAMES)), DECLARED, st.frozensets(st.sampled_from(NAMES)))
def test_it_settles_and_never_touches_a_persons_or_an_incidents(
    said: dict[str, tuple[frozenset[str], Settings]],
    vms: frozenset[str],
    there: dict[str, tuple[str, str | None, Settings]],
    incident: frozenset[str],
) -> None:
    policies = [Policy(n, f"uid-{n}", selected & vms, settings) for n, (selected, settings) in said.items()]
    before = [
        Declared(name, f"pvm-{name}", vm, None if owner is None else f"uid-{owner}", settings)
        for name, (vm, owner, settings) in there.items()
    ]
    found = plan(policies, vms, before, incident)
    for act in found.acts:
        if not isinstance(act, Create):
            assert act.old.owner is not None
            assert not isinstance(act, Delete) or act.old.vm not in incident
    after = carried_out(before, found)
    assert {one.vm for one in before} - {one.vm for one in after} <= {
        act.old.vm for act in found.acts if isinstance(act, Delete)
    }
    again = plan(policies, vms, after, incident)
    # A name that a deletion has freed may be taken now; after that there is nothing left to do.
    assert plan(policies, vms, carried_out(after, again), incident).acts == []
    for name, word in found.words.items():
        mine = [one for one in after if one.owner == f"uid-{name}" and one.vm in vms]
        assert word.protects <= len(mine)
