"""The chart starts the processes by options that they know."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apiserver.chart import documents, render, the

OPERATOR = Path(__file__).parents[2] / "operator"
pytestmark = pytest.mark.apiserver


def test_the_supervised_processes_know_every_option_of_the_chart() -> None:
    for container in the("DaemonSet", "agent.watchdog.enabled=true")["spec"]["template"]["spec"][
        "containers"
    ]:
        module = container["command"][-1]
        first = ["--realtime"] if module == "ringfence.agent.feeder" else []
        first.append("--log-format=text")
        assert container["command"] == [
            "python3", "-m", "ringfence.agent.supervise", *first, "python3", "-m", module,
        ]  # fmt: skip
        told = help_of(module)
        for argument in container["args"]:
            option = argument.partition("=")[0]
            assert option in told, f"{module} has no option {option}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["controller.logFormat=json"], {"controller"}),
        (["agent.logFormat=json", "agent.watchdog.enabled=true"], {"agent", "feeder"}),
        (["slots.logFormat=json", "slots.enabled=true", "slots.volume.hostPath=/srv/shared"], {"slots"}),
    ],
)
def test_the_form_of_a_log_reaches_each_process_of_its_pod(settings: list[str], told: set[str]) -> None:
    words = {
        container["name"]: [*container["command"], *container["args"]]
        for each in documents(*settings)
        if each["kind"] in ("Deployment", "DaemonSet")
        for container in each["spec"]["template"]["spec"]["containers"]
    }
    assert {name for name, said in words.items() if "--log-format=json" in said} == told
    assert all("--log-format=text" not in words[name] for name in told), "its supervisor's neither"
    refused = render(*settings, settings[0].replace("json", "xml"))
    assert refused.returncode != 0
    assert "logFormat" in refused.stderr


def help_of(module: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", module, "--help"],
        env={**os.environ, "PYTHONPATH": str(OPERATOR)},
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout


@pytest.mark.parametrize(("kind", "module"), [("Deployment", "controller"), ("DaemonSet", "agent")])
def test_the_process_knows_every_option_of_the_chart(kind: str, module: str) -> None:
    for needed in (f"ringfence.{module}.__main__", "ringfence.metrics"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not there yet")
    (container,) = the(kind)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python3", "-m", f"ringfence.{module}"]
    told = help_of(f"ringfence.{module}")
    for argument in container["args"]:
        option = argument.partition("=")[0]
        assert option in told, f"{module} has no option {option}"
