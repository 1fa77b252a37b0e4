"""The chart starts the processes as they want to be started."""

from __future__ import annotations

import importlib
import importlib.util
import re

import pytest

from apiserver.chart import the

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize(("kind", "module"), [("Deployment", "controller"), ("DaemonSet", "agent")])
def test_the_process_knows_every_option_of_the_chart(kind: str, module: str) -> None:
    name = f"ringfence.{module}.__main__"
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not there yet")
    (container,) = the(kind)["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python3", "-m", f"ringfence.{module}"]
    # What the kubelet would put for $(NAME).
    args = [re.sub(r"\$\(\w+\)", "10.0.0.1", each) for each in container["args"]]
    assert importlib.import_module(name).options(args)
