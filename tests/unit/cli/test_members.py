from __future__ import annotations

import json

from .cluster import MEMBER, FakeReader, Object
from .conftest import Run

CALM: Object = MEMBER | {"name": "n1", "healthy": True, "states": {"n2": "alive", "n3": "alive"}, "paths": {}}
READER = FakeReader(
    rings={
        "ringfence-system": {"rosterEpoch": 7, "reporters": ["n1", "n2"], "members": [MEMBER, {"name": "n9"}]}
    }
)


def test_a_row_for_each_member_and_empty_cells_where_nothing_is_known(run: Run) -> None:
    shown = run(READER, "members", "-o", "wide")
    assert shown.exit_code == 0
    head, n2, n9, *_ = (line.split("   ") for line in shown.stdout.splitlines())
    told = dict(
        zip(
            filter(None, (cell.strip() for cell in head)),
            filter(None, (cell.strip() for cell in n2)),
            strict=True,
        )
    )
    assert told == {
        "NAME": "n2",
        "ZONE": "b",
        "VERDICT": "Suspect",
        "STATE": "1 doubted, 1 alive",
        "RTT MS": "0.31",
        "LOSS %": "12.5",
        "HEARD S": "1.4",
        "AGENT": "abstains",
        "LAG MS": "212.5",
        "STRETCH": "1.5",
        "EPOCH": "7",
        "VERSION": "0.1.0",
        "PERMITTED": "-icmpRaw mlock",
        "NETWORKS": "migration=no address storage=dead",
        "OBSERVERS": "n1, n3",
        "SEEN BY": "n1=doubted[0.31ms,12.5%] n3=alive",
        "SENTENCE": "n2 is doubted by its peers",
    }
    assert {cell.strip() for cell in n9 if cell.strip()} == {"n9", "-"}


def test_what_the_controller_cant_know_is_said(run: Run) -> None:
    told = run(READER, "members").stdout
    assert "known of those that the controller follows (n1, n2)" in told
    assert "none of these observes 1 of the 2 members" in told
    known = FakeReader(rings={"ringfence-system": {"reporters": ["n1"], "members": [CALM]}})
    assert "note" not in run(known, "members").stdout
    deaf = FakeReader(rings={"ringfence-system": {"reporters": [], "members": [{"name": "n1"}]}})
    assert "the controller hears no agent" in run(deaf, "members").stdout
    empty = FakeReader(rings={"ringfence-system": {}})
    assert "the controller has no roster yet" in run(empty, "members").stdout


def test_an_agents_opinion_of_itself_is_one_word(run: Run) -> None:
    for awareness, healthy, word in (
        ({"isolated": True, "carrier": False}, False, "isolated"),
        ({"isolated": False, "carrier": False}, False, "no link"),
        ({"isolated": False, "carrier": None}, False, "abstains"),
        ({}, True, "healthy"),  # a controller of before
    ):
        member = MEMBER | {"healthy": healthy, "awareness": awareness}
        reader = FakeReader(rings={"ringfence-system": {"reporters": ["n2"], "members": [member]}})
        (row,) = json.loads(run(reader, "members", "-o", "json").stdout)["members"]
        assert row["agent"] == word


def test_json_carries_the_same(run: Run) -> None:
    told = json.loads(run(READER, "members", "-o", "json").stdout)
    assert (told["rosterEpoch"], told["followed"]) == ("7", ["n1", "n2"])
    row, _ = told["members"]
    assert (row["observers"], row["states"]) == (["n1", "n3"], ["n1=doubted[0.31ms,12.5%]", "n3=alive"])
    assert (row["loss"], row["permitted"]) == ("12.5", ["-icmpRaw", "mlock"])


def test_another_release_or_none(run: Run) -> None:
    shown = run(READER, "members", "--release-namespace", "elsewhere")
    assert shown.exit_code == 4
    assert "not found in elsewhere" in shown.stderr


def test_a_watch_shows_it_anew(run: Run) -> None:
    reader = FakeReader(rings=READER.rings, events=[[], []])
    assert run(reader, "members", "-w").stdout.count("n2") == 2 * run(READER, "members").stdout.count("n2")
