"""What nodes do, played on an API server that has none: pods are placed and run, and end when they are told to.

Kubernetes' own controllers make the pods; no container runs, but for the doctor's, whose command is run for real, as its account.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from apiserver.chart import token
from apiserver.installed import ROOT, kubeconfig
from apiserver.server import Json, Server

GONE = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
EVERY = 0.2
"""Seconds between two looks."""


class Played(threading.Thread):
    """Somebody whose part is played beside a test: looks again and again, until it ends."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._over = threading.Event()
        self._error: Exception | None = None

    def turn(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        try:
            while not self._over.wait(EVERY):
                self.turn()
        except Exception as error:  # noqa: BLE001 - raised again where it is ended
            self._error = error

    def end(self) -> None:
        """Raises what the part has failed of."""
        self._over.set()
        self.join()
        if self._error is not None:
            raise self._error


class Kubelets(Played):
    """All nodes' kubelets, and the scheduler; every pod has the one address that leads to this machine."""

    def __init__(self, server: Server, folder: Path, nodes: tuple[str, ...], address: str) -> None:
        super().__init__("kubelets")
        self._server, self._folder, self._nodes, self._address = server, folder, nodes, address
        self._placed = 0
        self._doctors: dict[str, subprocess.Popen[bytes]] = {}

    def turn(self) -> None:
        for pod in self._server.must("GET", "/api/v1/pods")["items"]:
            path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
            if "deletionTimestamp" in pod["metadata"]:
                self._server.call("DELETE", path, GONE)
            elif "nodeName" not in pod["spec"]:
                target = {"apiVersion": "v1", "kind": "Node", "name": self._place(pod)}
                name = {"name": pod["metadata"]["name"]}
                self._server.call("POST", f"{path}/binding", {"metadata": name, "target": target})
            elif pod["spec"]["restartPolicy"] == "Never":
                self._examine(pod, path)
            elif pod.get("status", {}).get("phase") == "Pending":
                self._server.call("PATCH", f"{path}/status", {"status": self._running()})

    def _place(self, pod: Json) -> str:
        """Where a DaemonSet wants it; any other goes round the nodes that take pods."""
        affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
        for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get(
            "nodeSelectorTerms", []
        ):
            for field in term.get("matchFields", []):
                return str(field["values"][0])
        self._placed += 1
        cordoned = {
            node["metadata"]["name"]
            for node in self._server.must("GET", "/api/v1/nodes")["items"]
            if node["spec"].get("unschedulable")
        }
        free = [node for node in self._nodes if node not in cordoned]
        return free[self._placed % len(free)]

    def _running(self) -> Json:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        where = {"podIP": self._address, "podIPs": [{"ip": self._address}]}
        return {"phase": "Running", "startTime": now, "conditions": [ready], **where}

    def _examine(self, pod: Json, path: str) -> None:
        """Run its command as its account; its phase is the command's."""
        uid, phase = pod["metadata"]["uid"], pod.get("status", {}).get("phase")
        if phase in {"Succeeded", "Failed"}:
            return
        if uid not in self._doctors:
            (container,) = pod["spec"]["containers"]
            words = [*container["command"], *container["args"]]
            words = [word.replace("$(POD_NAMESPACE)", pod["metadata"]["namespace"]) for word in words]
            acting = self._server.acting(token(self._server, pod["spec"]["serviceAccountName"]))
            config = kubeconfig(acting, self._folder, pod["metadata"]["name"])
            assert words[0] == "ringfence"
            with (self._folder / f"{pod['metadata']['name']}.log").open("wb") as log:
                self._doctors[uid] = subprocess.Popen(
                    [sys.executable, "-c", "from ringfence.cli.main import main; main()", *words[1:]],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={
                        **os.environ,
                        "PYTHONPATH": str(ROOT / "operator"),
                        "KUBECONFIG": str(config),
                    },
                )
        elif (code := self._doctors[uid].poll()) is not None:
            ended = "Succeeded" if code == 0 else "Failed"
            self._server.call("PATCH", f"{path}/status", {"status": {**self._running(), "phase": ended}})

    def end(self) -> None:
        super().end()
        for doctor in self._doctors.values():
            doctor.kill()
            doctor.wait()
