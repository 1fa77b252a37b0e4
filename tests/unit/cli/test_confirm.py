from __future__ import annotations

from .cluster import failover, incident
from .conftest import Run

NAME = "n2-b0075678-x1"
STATEMENT = ("--statement", "I pulled both plugs of n2")


def test_confirm_shows_what_is_at_stake_and_asks(run: Run) -> None:
    reader = incident()
    shown = run(reader, "fence", "confirm", NAME, *STATEMENT, answer="y\n")
    assert shown.exit_code == 0
    for told in (
        "as alice",
        "uid-of-n2",
        "boot-of-n2",
        "bmc-n2 still reads on",
        "VM        shop/db",
        "run twice",
    ):
        assert told in shown.stdout
    assert reader.confirmed == [(NAME, f"uid-of-{NAME}", "I pulled both plugs of n2", "alice")]


def test_no_is_the_default(run: Run) -> None:
    reader = incident()
    shown = run(reader, "fence", "confirm", NAME, *STATEMENT, answer="\n")
    assert shown.exit_code == 1
    assert reader.confirmed == []


def test_nobody_at_the_terminal_is_no_consent(run: Run) -> None:
    reader = incident()
    shown = run(reader, "fence", "confirm", NAME, *STATEMENT)
    assert shown.exit_code == 1
    assert reader.confirmed == []


def test_yes_does_not_ask_but_still_shows(run: Run) -> None:
    reader = incident()
    shown = run(reader, "fence", "confirm", NAME, *STATEMENT, "--yes")
    assert shown.exit_code == 0
    assert "run twice" in shown.stdout
    assert len(reader.confirmed) == 1


def test_a_failover_that_does_not_wait_is_refused_with_its_sentence(run: Run) -> None:
    reader = incident()
    running = failover(phase="Fencing")
    running["status"] = {"phase": "Fencing", "sentence": "n2: off ordered from bmc-n2"}
    reader.objects["failovers"] = [running]
    shown = run(reader, "fence", "confirm", NAME, *STATEMENT, "--yes")
    assert shown.exit_code == 1
    assert "does not wait for a confirmation; it is in Fencing: n2: off ordered from bmc-n2" in shown.stderr
    assert reader.confirmed == []


def test_a_second_word_changes_nothing(run: Run) -> None:
    reader = incident()
    reader.objects["failovers"] = [failover(confirm={"statement": "seen", "confirmedBy": "bob"})]
    shown = run(reader, "fence", "confirm", NAME, *STATEMENT, "--yes")
    assert shown.exit_code == 1
    assert "confirmed by bob already" in shown.stderr
    assert reader.confirmed == []


def test_an_empty_statement_and_an_unknown_failover(run: Run) -> None:
    assert run(incident(), "fence", "confirm", NAME, "--statement", " ", "--yes").exit_code == 2
    assert run(incident(), "fence", "confirm", "other", *STATEMENT, "--yes").exit_code == 4
