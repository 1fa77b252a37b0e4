"""A real agent process on a real API server: what a kubelet mounts into its pod is mounted into a namespace of its own.

Root alone may do that. The agent's folders outlast it, as a node's do; its keys are those that the Secrets have at its start.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from apiserver.chart import NAMESPACE, token
from apiserver.controllers import boot
from apiserver.installed import ROOT
from apiserver.server import Server
from ringfence.core.gossip.members import open_roster

STOP_SECONDS = 20.0
KEYS = {"ringfence-gossip": ("group.key", "roster.pub"), "ringfence-group-keys": ("group-keys.json",)}
"""What the chart mounts of which Secret."""
_POD = """
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io
ln -s "$1" /run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"
"""


class AgentPod:
    """One node's agent, one process after the other."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        node: str,
        address: str,
        metrics_port: int,
        *more: str,
        source: Path = ROOT,
    ) -> None:
        """``more``: further words of its command line. ``source``: the tree whose code runs from the next start on."""
        self.source = source
        self.server, self.node, self.address, self.metrics_port = server, node, address, metrics_port
        self._folder = folder / node
        self._more = more
        self._started = 0
        self.running: subprocess.Popen[bytes] | None = None

    @property
    def metrics(self) -> str:
        return f"http://{self.address}:{self.metrics_port}/metrics"

    def start(self) -> None:
        """As a kubelet starts a pod of the DaemonSet: fresh mounts, the node's own state."""
        self._started += 1
        account, keys = self._folder / "account", self._folder / f"keys-{self._started}"
        for each in (account, keys):
            each.mkdir(parents=True, exist_ok=True)
        (account / "token").write_text(
            token(self.server, "ringfence-agent", pod=f"agent-{self.node}", node=self.node)
        )
        (account / "ca.crt").write_bytes(self.server.authority.read_bytes())
        for secret, names in KEYS.items():
            found = self.server.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{secret}").body.get(
                "data", {}
            )
            for name in found.keys() & names:
                (keys / name).write_bytes(base64.b64decode(found[name]))
        (self._folder / "boot_id").write_text(boot(self.node))
        place = urlsplit(self.server.url)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.source / "operator"),
            "KUBERNETES_SERVICE_HOST": str(place.hostname),
            "KUBERNETES_SERVICE_PORT": str(place.port),
        }
        command = ["unshare", "--mount", "sh", "-ec", _POD, "pod", str(account)]
        command += [sys.executable, "-m", "ringfence.agent", f"--node-name={self.node}"]
        command += [f"--node-ip={self.address}", f"--namespace={NAMESPACE}", f"--keys-dir={keys}"]
        command += [
            f"--state-dir={self._folder / 'state'}",
            f"--boot-id-path={self._folder / 'boot_id'}",
            f"--metrics-port={self.metrics_port}",
            *self._more,
        ]
        with (self._folder / "log").open("ab") as log:
            self.running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def end(self) -> None:
        """As a kubelet ends it: SIGTERM, and its time to sign off."""
        if self.running is not None:
            self.running.terminate()
            self.running.wait(STOP_SECONDS)
            self.running = None

    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text() if path.exists() else ""

    def zones(self) -> frozenset[str]:
        """Those of the nodes in the roster that it goes by, as it keeps it on its node's disk."""
        path = self._folder / "state" / "roster.json"
        return zones_of(path.read_text()) if path.exists() else frozenset()


def zones_of(roster: str) -> frozenset[str]:
    """The zones in a roster's text, whoever has signed it."""
    return frozenset(member.zone for member in open_roster(roster, lambda _, __: True).roster.members)
