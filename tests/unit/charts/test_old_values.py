"""The chart with the values of one that was installed before: what `helm upgrade --reuse-values` makes of it.

Helm takes the old chart's defaults for this one's then, so whatever has been added since is not there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from apiserver.chart import CHART, OPERATOR, documents
from publish.defaults import VALUES, defaults

FIRST = Path(__file__).with_name("first-values.yaml")
"""The values of the first chart that there was."""
VERSIONS = ("4.3.1", "3.17.3")


@pytest.fixture
def upgraded(tmp_path: Path) -> Path:
    """The chart as helm has it after `--reuse-values`."""
    chart = tmp_path / "ringfence"
    shutil.copytree(CHART, chart)
    shutil.copy(FIRST, chart / "values.yaml")
    return chart


def test_the_templates_know_every_default() -> None:
    assert (CHART / "files" / "defaults.yaml").read_text() == defaults(), "run: make published"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "settings",
    [
        ("webhook.certManager=true",),
        (
            *("agent.watchdog.enabled=true", 'agent.watchdog.legs=["Gossip","Api","Storage"]'),
            *("slots.enabled=true", "slots.volume.hostPath=/srv/shared", "webhook.certManager=true"),
        ),
        ("webhook.enabled=false", "networkPolicy.create=false", "uninstall.check=false"),
    ],
    ids=["as it was", "with what is new", "without what is new"],
)
def test_values_of_the_first_chart_make_what_those_of_this_one_make(
    upgraded: Path, settings: tuple[str, ...], version: str
) -> None:
    old, new = yaml.safe_load(FIRST.read_text()), yaml.safe_load(VALUES.read_text())
    # What has a value keeps it: helm calls it the user's.
    kept = f"agent.resources.requests.memory={old['agent']['resources']['requests']['memory']}"
    assert old["agent"]["resources"] != new["agent"]["resources"]
    made = documents(*settings, version=version, more=OPERATOR, chart=upgraded)
    assert made == documents(*settings, kept, version=version, more=OPERATOR)
    assert "--log-format=text" in str(made)


@pytest.mark.parametrize("setting", ["agent=null", "agent.watchdog.device=null", "agent.logFormat=null"])
def test_a_value_that_is_taken_away_is_the_default(setting: str) -> None:
    certified = "webhook.certManager=true"  # helm's own differs each time
    assert documents(certified, setting) == documents(certified)


@pytest.mark.parametrize(
    ("setting", "missing"),
    [
        ("webhook.enabled=false", "ValidatingWebhookConfiguration"),
        ("controller.replicas=1", "PodDisruptionBudget"),
    ],
)
def test_a_value_that_is_there_is_left_as_it_is(upgraded: Path, setting: str, missing: str) -> None:
    """An empty one too, or false."""
    assert missing in {one["kind"] for one in documents(chart=upgraded)}
    assert missing not in {one["kind"] for one in documents(setting, chart=upgraded)}
