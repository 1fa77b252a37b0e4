"""The alerts as Prometheus itself reads them: what fires, what doesn't, and where their links lead."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.chart import CHART, OPERATOR, documents
from lab.promtool import promtool
from publish.board import ROWS

pytestmark = pytest.mark.apiserver

RUNBOOKS = CHART.parents[1] / "docs" / "runbooks.md"
STORY = Path(__file__).with_name("alerts.yaml")


def rules(*settings: str) -> dict[str, Any]:
    (rule,) = (each for each in documents(*settings, more=OPERATOR) if each["kind"] == "PrometheusRule")
    spec: dict[str, Any] = rule["spec"]
    return spec


def alerts(*settings: str) -> dict[str, Any]:
    return {each["alert"]: each for group in rules(*settings)["groups"] for each in group["rules"]}


def run_promtool(*words: str) -> str:
    done = subprocess.run([str(promtool()), *words], text=True, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    (tmp_path / "story.yaml").write_text(STORY.read_text())
    assert "SUCCESS" in run_promtool("test", "rules", str(tmp_path / "story.yaml"))


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    cases = [case for test in yaml.safe_load(STORY.read_text())["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts().keys()
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts().keys()


def test_the_plain_rule_file_is_what_the_chart_installs() -> None:
    assert yaml.safe_load((CHART / "files" / "alerts.yaml").read_text()) == rules()
    run_promtool("check", "rules", str(CHART / "files" / "alerts.yaml"))


def test_values_reach_the_rules() -> None:
    assert alerts()["RingfenceFenceDeviceUnproved"]["expr"].endswith("> 900")
    changed = alerts("alerts.proofMaxAgeSeconds=1800", "alerts.runbooks=https://wiki.example/ha")
    assert changed["RingfenceFenceDeviceUnproved"]["expr"].endswith("> 1800")
    for name, rule in changed.items():
        assert rule["annotations"]["runbook_url"] == f"https://wiki.example/ha#{name.lower()}"


def test_every_alert_has_a_chapter_and_every_chapter_an_alert() -> None:
    chapters = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(chapters) == sorted(alerts())
    for name, rule in alerts().items():
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        # As GitHub and mkdocs make anchors of headings.
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_chapters_answer_the_same_three_questions() -> None:
    for chapter in RUNBOOKS.read_text(encoding="utf-8").split("\n## ")[1:]:
        assert re.findall(r"^\*\*(\w+)\.\*\*", chapter, re.MULTILINE) == ["Lost", "Look", "Do"], chapter[:40]


def test_prometheus_can_parse_every_query_of_the_board(tmp_path: Path) -> None:
    asked = [query.expr for _, panels in ROWS for panel in panels for query in panel.queries]
    plain = [expr.replace("$__rate_interval", "1m").replace("$agent", ".*") for expr in asked]
    group = {"name": "board", "rules": [{"record": f"q{i}", "expr": expr} for i, expr in enumerate(plain)]}
    (tmp_path / "board.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    assert f"{len(plain)} rules found" in run_promtool("check", "rules", str(tmp_path / "board.yaml"))
