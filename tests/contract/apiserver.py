"""A real kube-apiserver on a real etcd, alone on loopback: started, frozen, restarted and compacted by a test.

The programs are the lab's, built if the cache has none; ``RINGFENCE_BIN`` names another folder. Unlike
:mod:`apiserver.server`, which hands out a server to talk to, this one is there to be mistreated.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from apiserver.programs import binaries, program

TOKEN = "contract-admin"


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], bool], what: str, *, bound: float = 60.0) -> None:
    """Wait for a condition of another process, at most ``bound`` seconds."""
    end = time.monotonic() + bound
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {bound} s")
        time.sleep(0.05)


class ApiServerProcess:
    """etcd and kube-apiserver of one test session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = binaries()
        self.port = free_port()
        self._etcd_port = free_port()
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (folder / "sa.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (folder / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\nnobody,nobody,2,""\n')

    def kubeconfig(self, *, port: int | None = None, token: str = TOKEN) -> Path:
        path = self.folder / f"kubeconfig-{port or self.port}-{token}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": f"https://127.0.0.1:{port or self.port}",
                        "certificate-authority": str(self.folder / "apiserver.crt"),
                    },
                }
            ],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def start(self) -> None:
        if self._etcd is None:
            url = f"http://127.0.0.1:{self._etcd_port}"
            peer = f"http://127.0.0.1:{free_port()}"
            self._etcd = self._spawn(
                "etcd",
                [
                    *program(self._programs, "etcd"),
                    f"--data-dir={self.folder / 'etcd'}",
                    f"--listen-client-urls={url}",
                    f"--advertise-client-urls={url}",
                    f"--listen-peer-urls={peer}",
                    f"--initial-advertise-peer-urls={peer}",
                    f"--initial-cluster=default={peer}",
                    "--unsafe-no-fsync",
                ],
            )
        self._server = self._spawn(
            "kube-apiserver",
            [
                *program(self._programs, "kube-apiserver"),
                f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self.port}",
                f"--cert-dir={self.folder}",
                f"--token-auth-file={self.folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                "--disable-admission-plugins=ServiceAccount",
                "--service-cluster-ip-range=10.97.0.0/24",
                "--service-account-issuer=https://contract.invalid",
                f"--service-account-key-file={self.folder / 'sa.key'}",
                f"--service-account-signing-key-file={self.folder / 'sa.key'}",
                "--endpoint-reconciler-type=none",
                "--shutdown-delay-duration=0s",
            ],
        )
        until(self._ready, "kube-apiserver ready", bound=90)

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def _ready(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            raise RuntimeError(
                f"kube-apiserver ended: {(self.folder / 'kube-apiserver.log').read_text()[-2000:]}"
            )
        try:
            context = ssl.create_default_context(cafile=str(self.folder / "apiserver.crt"))
            request = urllib.request.Request(
                f"https://127.0.0.1:{self.port}/readyz", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            with urllib.request.urlopen(request, context=context, timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def freeze(self) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)
        # A signal takes its time on a busy machine; until all threads stand, the server may still answer.
        tasks = Path(f"/proc/{self._server.pid}/task")
        until(lambda: all(" T " in (t / "stat").read_text() for t in tasks.iterdir()), "the server's freeze")

    def thaw(self) -> None:
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def kill_server(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def compact(self) -> int:
        """Throw away all history in etcd; returns the revision."""
        revision = int(self._etcd_call("kv/range", {"key": "AA=="})["header"]["revision"])
        self._etcd_call("kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    def _etcd_call(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._etcd_port}/v3/{path}", data=json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def back_up(self) -> None:
        """Keep a copy of the store as it is now. The server is not there meanwhile."""
        self._between(lambda: shutil.copytree(self.folder / "etcd", self.folder / "backup"))

    def restore(self) -> None:
        """Set the store back to that copy, as one does who restores etcd: its versions are lower then than they were."""

        def swap() -> None:
            shutil.rmtree(self.folder / "etcd")
            shutil.move(self.folder / "backup", self.folder / "etcd")

        self._between(swap)

    def _between(self, act: Callable[[], object]) -> None:
        self.stop()
        act()
        self.start()

    def stop(self) -> None:
        self.kill_server()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()
            self._etcd = None
