"""The lab's watchdogs: what is put into the feeders' container, and what a bite does."""

from __future__ import annotations

import yaml

from lab.layout import Layout
from lab.watchdog.kennel import INSIDE, Kennel

MANIFESTS = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: ringfence-agent}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ringfence-agent}
spec:
  template:
    spec:
      containers:
        - {name: agent, volumeMounts: []}
        - {name: feeder, env: [{name: A, value: b}], volumeMounts: [{name: run, mountPath: /run/ringfence}]}
      volumes: [{name: run, hostPath: {path: /run/ringfence}}]
---
"""


def test_only_the_feeder_is_dressed() -> None:
    kennel = Kennel(Layout("dogs", 7))
    account, agents = yaml.safe_load_all(kennel.dress(MANIFESTS))
    assert account["kind"] == "ServiceAccount"
    pod = agents["spec"]["template"]["spec"]
    agent, feeder = pod["containers"]
    assert agent == {"name": "agent", "volumeMounts": []}
    environment = {each["name"]: each.get("value") for each in feeder["env"]}
    assert environment["LD_PRELOAD"] == f"{INSIDE}/shim.so"
    assert environment["WATCHDOG_SOCKET"] == f"{INSIDE}/$(NODE_NAME).sock"
    assert environment["A"] == "b"
    assert [each["name"] for each in feeder["env"]].index("NODE_NAME") < [
        each["name"] for each in feeder["env"]
    ].index("WATCHDOG_SOCKET")
    assert [each["hostPath"]["path"] for each in pod["volumes"]] == ["/run/ringfence", str(kennel.folder)]
