from __future__ import annotations

import json

from .cluster import FakeReader, Object
from .conftest import Run

MEMBER: Object = {
    "name": "n2",
    "zone": "b",
    "bootID": "boot-of-n2",
    "verdict": "Suspect",
    "sentence": "n2 is doubted by its peers",
    "agentVersion": "0.1.0",
    "healthy": False,
    "epoch": 7,
    "heardAge": 1.4,
    "rttMillis": 0.31,
    "observers": ["n1", "n3"],
    "states": {"n1": "doubted", "n3": "alive"},
}
READER = FakeReader(rings={"ringfence-system": {"members": [MEMBER, {"name": "n9"}]}})


def test_a_row_for_each_member_and_empty_cells_where_nothing_is_known(run: Run) -> None:
    shown = run(READER, "members", "-o", "wide")
    assert shown.exit_code == 0
    head, n2, n9 = (line.split() for line in shown.stdout.splitlines())
    assert head[:3] == ["NAME", "ZONE", "VERDICT"]
    assert n2[:9] == ["n2", "b", "Suspect", "0.31", "1.4", "abstains", "7", "0.1.0", "n1,"]
    assert "n1=doubted" in n2
    assert n9[0] == "n9"


def test_json_carries_the_same(run: Run) -> None:
    (row, _) = json.loads(run(READER, "members", "-o", "json").stdout)
    assert (row["observers"], row["states"]) == (["n1", "n3"], ["n1=doubted", "n3=alive"])


def test_another_release_or_none(run: Run) -> None:
    shown = run(READER, "members", "--release-namespace", "elsewhere")
    assert shown.exit_code == 4
    assert "not found in elsewhere" in shown.stderr


def test_a_watch_shows_it_anew(run: Run) -> None:
    reader = FakeReader(rings=READER.rings, events=[[], []])
    assert run(reader, "members", "-w").stdout.count("n2") == 2 * run(READER, "members").stdout.count("n2")
