"""Who takes a node away on purpose, by what stands on its Node; and what is no such word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.core.failover.intent import (
    ANNOTATIONS,
    DELETED,
    DRAINED,
    SHUTTING_DOWN,
    TAINTS,
    Intents,
    Marks,
    found,
)
from ringfence.core.model import Boot

BOOT = Boot("n1", "uid-n1", "boot-1")
KURED = Marks(annotations={"weave.works/kured-reboot-in-progress": "2026-11-26T03:00:00Z"}, ready=True)


@pytest.mark.parametrize(
    ("marks", "who"),
    [
        (Marks(), None),
        (Marks(shutting_down=True), SHUTTING_DOWN),
        (KURED, "kured reboots it"),
        (Marks(annotations={"machineconfiguration.openshift.io/state": "Done"}), None),
        (
            Marks(annotations={"machineconfiguration.openshift.io/state": "Working"}),
            "OpenShift's machine-config daemon updates it",
        ),
        (Marks(taints=frozenset({"karpenter.sh/disrupted"})), "Karpenter deletes it"),
        (Marks(taints=frozenset({"DeletionCandidateOfClusterAutoscaler"})), None),
        (Marks(deleting=True), DELETED),
        (Marks(cordoned=True, evicted=True), DRAINED),
    ],
)
def test_who_takes_it_away(marks: Marks, who: str | None) -> None:
    assert found(marks) == who


def test_a_cordon_by_hand_is_no_intent() -> None:
    """It may stand for weeks, and its power fails all the same."""
    assert found(Marks(cordoned=True, ready=True)) is None
    assert found(Marks(evicted=True, ready=True)) is None, "one VM that is moved is no drain"


@pytest.mark.parametrize("key", ANNOTATIONS)
def test_every_tools_annotation_counts_with_its_value_only(key: str) -> None:
    wanted, who = ANNOTATIONS[key]
    assert found(Marks(annotations={key: wanted or "x"})) == who
    assert found(Marks(annotations={key: ""})) is None


@pytest.mark.parametrize("key", TAINTS)
def test_every_tools_taint_counts(key: str) -> None:
    assert found(Marks(taints=frozenset({key, "node.kubernetes.io/unschedulable"}))) == TAINTS[key]


def test_what_comes_after_the_silence_is_an_answer_to_it_and_no_reason() -> None:
    intents = Intents()
    assert intents.see(BOOT, Marks(ready=True), silent=False) is None
    assert intents.see(BOOT, replace(KURED, ready=False), silent=True) is None
    assert intents.see(BOOT, Marks(cordoned=True, evicted=True), silent=True) is None
    assert intents.see(BOOT, KURED, silent=False) == "kured reboots it"


def test_the_kubelets_word_outlives_the_condition_that_it_stood_in() -> None:
    intents = Intents()
    assert intents.see(BOOT, Marks(shutting_down=True), silent=False) == SHUTTING_DOWN
    assert intents.see(BOOT, Marks(), silent=False) == SHUTTING_DOWN, "Ready is Unknown by now"
    assert intents.see(BOOT, Marks(), silent=True) == SHUTTING_DOWN
    assert intents.see(BOOT, Marks(ready=True), silent=False) is None, "the shutdown was called off"


def test_the_kubelets_word_counts_however_late_it_is_read() -> None:
    intents = Intents()
    assert intents.see(BOOT, Marks(ready=True), silent=True) is None
    assert intents.see(BOOT, Marks(shutting_down=True), silent=True) == SHUTTING_DOWN


def test_the_next_boot_begins_without_it() -> None:
    intents = Intents()
    intents.see(BOOT, Marks(shutting_down=True), silent=False)
    assert intents.see(replace(BOOT, boot_id="boot-2"), Marks(), silent=False) is None


def test_a_mark_that_a_person_takes_away_holds_nobody() -> None:
    intents = Intents()
    intents.see(BOOT, KURED, silent=False)
    assert intents.see(BOOT, replace(KURED, ready=False), silent=True) == "kured reboots it"
    assert intents.see(BOOT, Marks(), silent=True) is None


def test_who_begins_to_watch_in_the_middle_takes_what_it_finds() -> None:
    assert Intents().see(BOOT, replace(KURED, ready=False), silent=True) == "kured reboots it"


def test_only_living_boots_are_kept() -> None:
    intents = Intents()
    intents.see(BOOT, KURED, silent=False)
    intents.keep([BOOT])
    assert intents.of(BOOT) == "kured reboots it"
    intents.keep([])
    assert intents.of(BOOT) is None
