"""What the pages say of the code is so: the reference, the reasons, the phases, the commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperCommand, TyperGroup

from apiserver.chapters import CHAPTERS
from apiserver.elsewhere import ELSEWHERE, Elsewhere
from apiserver.shown import PAGES, PROGRAMS, Shown, commands, indented, is_command, lines_of
from publish import refusals, verdicts
from publish.api_reference import page
from ringfence.api.v1alpha1 import KINDS
from ringfence.cli.main import app
from ringfence.controller.keys import NOT_WRITTEN, UNREADABLE
from ringfence.controller.records import conditions_of
from ringfence.core import protection
from ringfence.core.failover.phase import Phase
from ringfence.core.failover.record import Record
from ringfence.core.gossip.keys import Step
from ringfence.core.model import Boot, Mode
from ringfence.core.rosterkey import BY_ANOTHER, IN_SECRET
from ringfence.core.rosterkey import NOT_WRITTEN as NOT_WRITTEN_AGAIN
from ringfence.kube import kinds
from simulator.library import play
from simulator.library import read as read_story

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_api_reference_is_what_the_models_say() -> None:
    """Else: ``python -m publish.api_reference > docs/api-reference.md``."""
    assert read("api-reference.md") == page()


def test_api_reference_has_every_field_of_every_kind() -> None:
    text = read("api-reference.md")
    for kind in KINDS:
        part = text.partition(f"\n## {kind.names.kind}\n")[2].partition("\n## ")[0]
        for name in ("spec", "status"):
            if (field := kind.model_fields.get(name)) is not None and field.annotation is not None:
                for one in field.annotation.model_fields.values():
                    assert f"`{one.serialization_alias or one.alias}`" in part, (kind.names.kind, one.alias)


def test_the_pages_of_verdicts_and_refusals_are_what_the_code_says() -> None:
    """Else: ``make published``."""
    assert read("every-verdict.md") == verdicts.page()
    assert read("every-refusal.md") == refusals.page()


def _words(pattern: str, *names: str) -> set[str]:
    """What a pattern finds in these files of the product."""
    files = [path for name in names for path in sorted((ROOT / "operator/ringfence").glob(name))]
    assert files
    return {word for path in files for word in re.findall(pattern, path.read_text(encoding="utf-8"))}


def test_every_reason_of_a_condition_has_its_mend() -> None:
    told = (ROOT / "operator/ringfence/controller/statuses.py").read_text(encoding="utf-8")
    zones, devices = told.partition("async def _zones")[2].partition("async def _fence_devices")[::2]
    found = set(re.findall(r'ok, reason(?:, message)? = False, "(\w+)"', zones))
    found |= _words(r'Trouble\(\s*"(\w+)"', "controller/zones.py")
    found |= _words(r'return "(\w+)", \(', "core/fencing/slottrouble.py")
    assert refusals.ZONES.keys() == found
    devices = devices.partition("async def _protected_vms")[0]
    found = set(re.findall(r'(?:bad\.append\(\(|reason = )"(\w+)"', devices))
    found |= _words(
        r'(?:Objection\(\s*|reason(?:: str)? = |reason=)"(\w+)"', "controller/devices.py", "controller/targets.py",
        "core/fencing/*.py", "fencing/*.py",
    )  # fmt: skip
    found |= _words(r'_wrong\(.*, "(\w+)"\)', "fencing/secret.py")
    found |= set(re.findall(r'return "(\w+)"', _reason_of_errors()))
    assert refusals.DEVICES.keys() == found - {"Proved", "InForce"}
    assert refusals.MAINTENANCES.keys() == set(re.findall(r'reason = not missing, "(\w+)" if', told))
    found = _words(r'Word\(\s*False,\s*"(\w+)"', "core/policies.py")
    found |= _words(r'reason = "(\w+)" if trouble is LATER else "\w+"', "controller/policies.py")
    found |= _words(r'reason = "\w+" if trouble is LATER else "(\w+)"', "controller/policies.py")
    assert refusals.POLICIES.keys() == found
    assert refusals.KEYS.keys() == {step.value for step in Step if step is not Step.SETTLED} | {
        UNREADABLE,
        NOT_WRITTEN,
    }


def test_every_reason_for_a_distrusted_roster_has_its_mend() -> None:
    assert refusals.ROSTER_KEY.keys() == {BY_ANOTHER, IN_SECRET, NOT_WRITTEN_AGAIN}


def _reason_of_errors() -> str:
    source = (ROOT / "operator/ringfence/controller/devices.py").read_text(encoding="utf-8")
    return source.partition("def _reason(")[2]


def test_every_reason_of_an_unprotected_vm_is_explained() -> None:
    source = Path(protection.__file__ or "").read_text(encoding="utf-8")
    reasons = set(re.findall(r'Protection\(\s*False,\s*"(\w+)",', source))
    reasons |= {f"Cluster{mode}" for mode in Mode if mode is not Mode.ACTIVE}
    part = (
        read("why-was-my-vm-not-restarted.md")
        .partition("## The VM was not protected")[2]
        .partition("\n## ")[0]
    )
    told = {
        word
        for row in re.findall(r"^\| (`.*?) \|", part, re.MULTILINE)
        for word in re.findall(r"`(\w+)`", row)
    }
    assert len(reasons) > 10
    assert told == reasons


def test_every_condition_that_a_script_can_wait_for_is_told() -> None:
    statuses = (ROOT / "operator/ringfence/controller/statuses.py").read_text(encoding="utf-8")
    written = re.findall(r'kinds\.([A-Z_]+),\s*"\w+",\s*name,\s*(?:namespace|""),\s*"(\w+)"', statuses)
    found = {(getattr(kinds, kind).kind, condition) for kind, condition in written}
    incident = Record("n1-1", Boot("n1", "u", "b"), Phase.HELD, "held", 0.0, 1.0)
    found |= {("Failover", one["type"]) for one in conditions_of(incident, [], 0.0, 1)}
    part = read("command-line.md").partition("## Waiting in a script")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)` \| `(\w+)` \| ", part, re.MULTILINE))
    assert len(found) > 10
    assert told == found


def test_every_phase_in_which_a_failover_can_stand_is_explained() -> None:
    part = (
        read("why-was-my-vm-not-restarted.md")
        .partition("## There is one, and it waits")[2]
        .partition("\n## ")[0]
    )
    told = set(re.findall(r"^\| `(\w+)`", part, re.MULTILINE))
    assert told == set(Phase) - {Phase.RECOVERED, Phase.CLOSED}


def reached(words: list[str]) -> tuple[TyperCommand | TyperGroup, list[str]]:
    """The command that these words call, and what is left of them for it."""
    at = typer.main.get_command(app)
    assert isinstance(at, TyperCommand | TyperGroup)
    while isinstance(at, TyperGroup) and words and words[0] in at.commands:
        found = at.commands[words[0]]
        assert isinstance(found, TyperCommand | TyperGroup)
        at, words = found, words[1:]
    return at, words


@pytest.mark.parametrize("shown", commands("ringfence"), ids=lambda one: f"{one.page}: {one.line}")
def test_commands_in_the_pages_are_commands(shown: Shown) -> None:
    at, words = reached(shown.words)
    assert not isinstance(at, TyperGroup) or words in ([], ["--help"]), f"there is no {shown.line}"
    known = {option for one in at.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known
    if shown.whole and not isinstance(at, TyperGroup):
        at.make_context(
            shown.line, words
        )  # parses as the shell's words would be: raises what a person would be told


@pytest.mark.parametrize("shown", commands("make"), ids=lambda one: f"{one.page}: {one.line}")
def test_make_knows_what_the_pages_make(shown: Shown) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {word for word in shown.words if "=" not in word} <= targets


SHOWN = commands(*PROGRAMS)
TYPED = {step.shown for chapter in CHAPTERS for step in chapter}
"""What is typed before a real API server (`tests/apiserver/test_commands.py`)."""


PLACEHOLDER = re.compile(r"\b(?:NODE|DEVICE|NAME)\b(?!:)")
LEFT_OUT = re.compile(r'"\.\.\."|\.\.\.')


def is_typed(shown: Shown) -> bool:
    """With a name for each placeholder. A sentence may only name a command; then one that begins so is typed."""
    quoted = (re.escape(part) for part in LEFT_OUT.split(PLACEHOLDER.sub("\0", shown.line)))
    pattern = "(?:.+)".join(quoted).replace(re.escape("\0"), r"\S+")
    typed = re.compile(pattern if shown.whole else f"{pattern}(?: .*)?")
    return any(typed.fullmatch(line) for line in TYPED)


@pytest.mark.parametrize("shown", SHOWN, ids=lambda one: f"{one.page}: {one.line}")
def test_a_command_of_the_pages_is_typed_or_it_is_said_why_not(shown: Shown) -> None:
    told = [one.why for one in ELSEWHERE if one.covers(shown.line)]
    if is_typed(shown):
        assert told == [], "it is typed all the same: take it out of tests/apiserver/elsewhere.py"
    else:
        assert len(told) == 1, "type it (tests/apiserver/chapters.py), or say once why not (elsewhere.py)"


def test_nothing_is_typed_that_no_page_shows() -> None:
    assert TYPED - {shown.line for shown in SHOWN} == set()


@pytest.mark.parametrize("told", ELSEWHERE, ids=lambda one: one.command)
def test_what_is_not_typed_is_shown_by_a_page_and_played_where_it_is_said_to_be(told: Elsewhere) -> None:
    assert any(told.covers(shown.line) for shown in SHOWN)
    assert bool(told.test) == bool(told.part)
    if told.test:
        assert told.part in (ROOT / told.test).read_text(encoding="utf-8")


def _page_of_indented() -> list[tuple[str, str]]:
    return [(page.name, block) for page in PAGES for block in indented(page)]


@pytest.mark.parametrize(("page", "block"), _page_of_indented())
def test_a_block_of_code_is_commands_and_what_they_print_or_something_that_is_read(
    page: str, block: str
) -> None:
    """So no command stands in a page that no test sees, and no example that nobody reads."""
    lines = lines_of(block)
    prompts = any(line.startswith("$ ") for line in lines)
    if prompts or any(is_command(line) for line in lines):
        other = [one for one in lines if not (is_command(one) or one.startswith("#"))]
        assert prompts or not other, f"{page}: neither a command that is known here nor what one prints"
        return
    if lines[0] == "#!/bin/sh" or re.match(r"\d+(\.\d+)? \w", lines[0]):
        return  # the script and the story, which have tests of their own
    found = yaml.safe_load(block)
    assert isinstance(found, dict), page
    if "kind" in found:
        (model,) = (kind for kind in KINDS if kind.names.kind == found["kind"])
        model.model_validate({"metadata": {"name": "x"}, **found})
    elif page != "simulate.md":
        values = yaml.safe_load((ROOT / "charts/ringfence/values.yaml").read_text(encoding="utf-8"))
        assert _paths(found) <= _paths(values), page


def _paths(values: dict[str, object], before: str = "") -> set[str]:
    here = {f"{before}{name}" for name in values}
    return here.union(*(_paths(v, f"{before}{k}.") for k, v in values.items() if isinstance(v, dict)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_fenced_block_says_what_it_is(page: Path) -> None:
    """YAML is applied to a real API server by another test; text is a picture."""
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= {"yaml", "text"}
    assert set(fences[1::2]) <= {""}


def test_the_story_in_the_page_can_be_played(tmp_path: Path) -> None:
    blocks = indented(DOCS / "simulate.md")
    (cluster,) = (block for block in blocks if block.startswith("nodes:"))
    (script,) = (block for block in blocks if block.startswith("1.0 "))
    (tmp_path / "cluster.yaml").write_text(cluster)
    (tmp_path / "script.txt").write_text(script)
    told = list(play(read_story(tmp_path)))
    assert any("bmc-n1 off, attempt 2" in line for line in told), told
    assert told[-1].endswith("withdrawn: n1 is alive")


def test_the_script_in_the_page_completes(tmp_path: Path) -> None:
    (script,) = (block for block in indented(DOCS / "command-line.md") if block.startswith("#!/bin/sh"))
    (tmp_path / "kubectl_complete-ringfence").write_text(script)
    done = subprocess.run(
        ["sh", str(tmp_path / "kubectl_complete-ringfence"), "fen"],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["fence", ":4"]


PYTHON = re.compile(r"`python3? (?:-m ([\w.]+)|(\S+\.py))")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_finds_what_the_pages_run(page: Path) -> None:
    for module, file in PYTHON.findall(page.read_text(encoding="utf-8")):
        place = Path(*module.split("."))
        homes = [ROOT, ROOT / "tests", ROOT / "operator"]
        runs = any(
            (home / place / "__main__.py").exists() or (home / f"{place}.py").exists() for home in homes
        )
        assert runs if module else (ROOT / file).exists(), (page.name, module or file)


def test_the_image_takes_what_the_page_gives_it() -> None:
    (given,) = {name for one in commands("podman") for name in re.findall(r"--build-arg (\w+)=", one.line)}
    assert f"ARG {given}" in (ROOT / "Containerfile").read_text(encoding="utf-8")


def test_the_pages_show_commands() -> None:
    assert len(commands("ringfence")) > 50
    assert {one.line for one in commands("ringfence") if one.page == "README.md"} >= {
        "ringfence status",
        "ringfence doctor",
        "ringfence dry-run --kill NODE",
    }


def test_every_page_has_its_place_in_the_site() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = re.findall(r"([\w-]+\.md)", yaml.safe_dump(yaml.safe_load(text)["nav"]))
    assert sorted(nav) == sorted(path.name for path in DOCS.glob("*.md"))


def test_the_site_begins_with_what_can_go_wrong() -> None:
    before, table = read("index.md").split("\n|", 1)
    assert before.count("\n## ") == 1
    assert table.startswith(" what happens |")


UNSOURCED = {"", "nothing is said", "the sum of its settings"}
"""That there is nothing to say, and what follows from the row above."""


def test_every_fact_about_others_has_its_source() -> None:
    table = re.findall(r"^\| \*\*.*\|$", read("comparison.md"), re.MULTILINE)
    cells = [cell.strip() for row in table for cell in row.split("|")[3:-1]]
    assert len(cells) > 30
    assert [cell for cell in cells if cell not in UNSOURCED and not re.search(r"\[\d+\]", cell)] == []


def test_every_source_of_the_comparison_is_used_and_given() -> None:
    body, sources = read("comparison.md").split("## Sources")
    given = {int(number) for number in re.findall(r"^(\d+)\. ", sources, re.MULTILINE)}
    used = {int(number) for number in re.findall(r"\[(\d+)\]", body)}
    assert used == given
