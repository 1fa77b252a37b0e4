"""The board shows what there is, and is what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from publish.board import ROWS, board, text
from unit.test_metrics import documented

ROOT = Path(__file__).parents[3]
FILES = ROOT / "charts" / "ringfence" / "files"
SERIES = documented("Of an agent") | documented("Of a controller")
OF_THE_SCRAPE = {"instance", "le"}


def expressions() -> Iterator[tuple[str, str]]:
    """Every query of board and alerts, with where it stands."""
    for title, panels in ROWS:
        for panel in panels:
            yield from ((f"{title} {panel.title}", query.expr) for query in panel.queries)
    for group in yaml.safe_load((FILES / "alerts.yaml").read_text(encoding="utf-8"))["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])


@pytest.mark.parametrize(("where", "expr"), list(expressions()))
def test_queries_ask_for_series_and_labels_that_there_are(where: str, expr: str) -> None:
    names = {name.removesuffix("_bucket") for name in re.findall(r"ringfence_\w+", expr)}
    assert names, where
    assert names <= SERIES.keys()
    known = OF_THE_SCRAPE.union(*(SERIES[name] for name in names))
    by = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(",")}
    assert by <= known
    for name, matchers in re.findall(r"(ringfence_\w+)\{([^}]*)\}", expr):
        asked = set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))
        assert asked <= SERIES[name] | OF_THE_SCRAPE, name


def test_committed_board_is_what_the_code_makes() -> None:
    """Else: ``python -m publish.board > charts/ringfence/files/board.json``."""
    assert (FILES / "board.json").read_text(encoding="utf-8") == text()


def test_legends_name_labels_that_survive_the_query() -> None:
    for _, panels in ROWS:
        for panel in panels:
            for query in panel.queries:
                shown = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
                kept = {
                    label.strip()
                    for group in re.findall(r"by \(([^)]*)\)", query.expr)
                    for label in group.split(",")
                }
                whole = not re.search(r"\b(sum|max|min|avg|count)\b ?[(b]", query.expr)
                assert shown <= (kept | OF_THE_SCRAPE if whole else kept), panel.title


def test_panels_fill_the_grid_without_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 20
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_says_what_to_make_of_it() -> None:
    for _, panels in ROWS:
        for panel in panels:
            assert panel.says.endswith("."), panel.title
