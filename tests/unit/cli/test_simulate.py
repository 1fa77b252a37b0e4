"""`ringfence simulate`: the library's stories and a person's own, and every way in which such a story can be wrong."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import rich.console

from ringfence.cli import show, simulation
from simulator import library

from .cluster import FakeReader
from .conftest import Run

NODES = "nodes: [n1, n2, n3]\nvms: {db: n1}\n"


def story(folder: Path, cluster: str = NODES, script: str = "1 cut n1\n9 end\n") -> str:
    (folder / "cluster.yaml").write_text(cluster)
    (folder / "script.txt").write_text(script)
    return str(folder)


def test_all_stories_are_listed_with_what_they_show(run: Run) -> None:
    shown = run(FakeReader(), "simulate")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["STORY", "WHAT", "IT", "SHOWS"]
    assert [line.split()[0] for line in lines[1:]] == sorted(library.names())
    assert any("a node is cut off while its guest lives on" in line for line in lines)


def test_a_story_is_played_and_told(run: Run) -> None:
    shown = run(FakeReader(), "simulate", "a1-network-cut")
    assert shown.exit_code == 0
    expected = (library.shelf() / "a1-network-cut" / "expected.log").read_text().splitlines()
    assert [line for line in shown.stdout.splitlines() if line in expected] == expected
    assert "The dangerous case." in shown.stdout
    assert shown.stdout.splitlines()[-1] == "40 s were played, and every invariant held"
    assert "\x1b[" not in shown.stdout


def test_json_says_the_same(run: Run) -> None:
    told = json.loads(run(FakeReader(), "simulate", "a1-network-cut", "-o", "json").stdout)
    assert (told["name"], told["seconds"], told["broken"]) == ("a1-network-cut", 40.0, "")
    assert told["lines"][0] == {"at": 1.0, "kind": "fault", "text": "cut n1"}
    assert {"order", "world", "Recovered"} <= {line["kind"] for line in told["lines"]}


def test_a_story_of_the_detector_is_played_too(run: Run, tmp_path: Path) -> None:
    own = story(tmp_path, "ring: {nodes: 3, controllers: [n1]}\n", "1 crash n3\n4 end\n")
    shown = run(FakeReader(), "simulate", own)
    assert shown.exit_code == 0
    assert "n1 finds n3 Down" in shown.stdout


def test_a_persons_own_story_needs_no_readme(run: Run, tmp_path: Path) -> None:
    shown = run(FakeReader(), "simulate", story(tmp_path))
    assert shown.exit_code == 0
    assert "bmc-n1 off, attempt 1" in shown.stdout


def test_an_unknown_story_is_exit_code_4(run: Run) -> None:
    shown = run(FakeReader(), "simulate", "nowhere")
    assert shown.exit_code == 4
    assert "there is no story nowhere" in shown.stderr


@pytest.mark.parametrize(
    ("cluster", "script", "sentence"),
    [
        (NODES, "1 cut n1\n", "script.txt: its last line says when it ends"),
        (NODES, "5 end\n1 end\n", "script.txt, line 2: times go from 0 to 3600 seconds and never back"),
        (NODES, "soon cut n1\n9 end\n", "script.txt, line 1: 'soon' is no time"),
        (NODES, "1\n9 end\n", "script.txt, line 1: nothing happens at 1"),
        (NODES, "1 end\n2 cut n1\n9 end\n", "script.txt: its last line says when it ends"),
        (NODES, "1 explode n1\n9 end\n", "script.txt, line 1: 'explode n1': no such fault: explode"),
        (NODES, "1 cut n9\n9 end\n", "script.txt, line 1: 'cut n9': there is no n9 in cluster.yaml"),
        (NODES, "1 cut\n9 end\n", "script.txt, line 1: 'cut': a word is missing"),
        (NODES, "1 confirm n1\n9 end\n", "there is no open failover of n1 then"),
        ("nodes: [n1\n", "9 end\n", "cluster.yaml is no YAML"),
        ("[]", "9 end\n", "cluster.yaml is no mapping"),
        (
            "nodes: 3\nvms: {}\n",
            "9 end\n",
            "cluster.yaml: nodes is no list of names; write `nodes: [n1, n2, n3]`",
        ),
        ("nodes: [n1]\n", "9 end\n", "cluster.yaml: vms is no mapping"),
        ("nodes: [n1]\nvms: {db: n2}\n", "9 end\n", "cluster.yaml: vms.db: 'n2' is none of n1"),
        (
            f"{NODES}bmcs: {{n1: igonre}}\n",
            "9 end\n",
            "cluster.yaml: bmcs.n1: 'igonre' is none of ok, ignore",
        ),
        (f"{NODES}mode: Off\n", "9 end\n", "cluster.yaml: mode: False is none of Active"),
        (f"{NODES}colour: red\n", "9 end\n", "cluster.yaml: colour is none of nodes, vms"),
        (f"{NODES}watchdog: {{}}\n", "9 end\n", "cluster.yaml: watchdog.nodes is no list of names"),
        ("ring: {nodes: many}\n", "9 end\n", "cluster.yaml: ring.nodes is 'many'"),
        ("ring: {nodes: 3, controllers: [n4]}\n", "9 end\n", "ring.controllers: 'n4' is none of n1, n2, n3"),
    ],
)
def test_a_bad_story_is_exit_code_2_and_names_the_place(
    run: Run, tmp_path: Path, cluster: str, script: str, sentence: str
) -> None:
    shown = run(FakeReader(), "simulate", story(tmp_path, cluster, script))
    assert shown.exit_code == 2
    assert sentence in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_folder_without_a_script_is_no_story(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(NODES)
    shown = run(FakeReader(), "simulate", str(tmp_path))
    assert shown.exit_code == 2
    assert "a story is a folder with cluster.yaml and script.txt" in shown.stderr


def test_a_broken_invariant_is_exit_code_7(run: Run, tmp_path: Path) -> None:
    # A BMC that lies, and a disk without a lock: what a proof by one device assumes does not hold.
    cluster = f"{NODES}bmcs: {{n1: lie}}\n"
    lied_to = story(tmp_path, cluster, "0.5 no-lock db\n1 cut n1\n20 end\n")
    shown = run(FakeReader(), "simulate", lied_to)
    assert shown.exit_code == 7
    assert "an invariant broke: 7.80: db runs on n1, n2 at once" in shown.stderr
    assert "fault: cut n1" in shown.stdout, "the story as far as it went"
    assert "every invariant held" not in shown.stdout


@pytest.mark.parametrize("colours", [True, False])
def test_colours_are_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch, colours: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    lines = (simulation.Line(1.0, "fault", "cut n1"), simulation.Line(2.0, "Recovered", "db runs on n2"))
    terminal = rich.console.Console(file=out, force_terminal=True, width=100)
    show.played(terminal, simulation.Played("own", "", "", 3.0, lines))
    assert ("\x1b[1;31mfault: " in out.getvalue()) == ("\x1b[32mRecovered: " in out.getvalue()) == colours


def test_where_there_is_no_simulator_it_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in the image, which leaves it out.
    for module in ("simulator", "simulator.library"):
        monkeypatch.setitem(sys.modules, module, None)
    for words in (["simulate"], ["simulate", "a1-network-cut"]):
        shown = run(FakeReader(), *words)
        assert shown.exit_code == 4
        assert "pip install 'ringfence[cli]'" in shown.stderr
    assert simulation.known("a1") == []


def test_names_are_completed() -> None:
    assert simulation.known("a1-net") == ["a1-network-cut"]
    assert simulation.known("zzz") == []
