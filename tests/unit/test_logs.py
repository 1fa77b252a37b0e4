"""What a process writes to its log, as JSON: read from a process of its own, for the root logger is one for all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

OPERATOR = Path(__file__).parents[2] / "operator"
SAYS = """
import logging
from ringfence import logs
logs.begin("info", {form!r})
logger = logging.getLogger("ringfence.x")
logger.debug("not told")
logger.warning("%s: two\\nlines and \\x1b[31m", "n1")
try:
    raise ValueError("no")
except ValueError:
    logger.exception("it failed")
"""


def written(form: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SAYS.format(form=form)],
        cwd=OPERATOR,
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == ""
    return done.stderr


def test_each_record_is_one_json_object_on_one_line() -> None:
    warning, failure = [json.loads(line) for line in written("json").splitlines()]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", warning.pop("time"))
    assert warning == {
        "level": "WARNING",
        "logger": "ringfence.x",
        "message": "n1: two\nlines and \x1b[31m",
    }
    assert failure["message"] == "it failed"
    assert "ValueError: no" in failure["error"]


def test_text_is_for_people() -> None:
    lines = written("text").splitlines()
    assert lines[0].endswith(" WARNING ringfence.x: n1: two")
    assert lines[-1] == "ValueError: no"


@pytest.mark.parametrize("process", ["controller", "slots", "agent", "agent.feeder"])
def test_an_unknown_form_is_refused(process: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"ringfence.{process}", "--log-format", "xml"],
        cwd=OPERATOR,
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "invalid choice: 'xml'" in done.stderr
