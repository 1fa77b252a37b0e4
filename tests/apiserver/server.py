"""A real kube-apiserver on a real etcd, for as long as a test session lasts."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from apiserver.programs import program

ADMIN_TOKEN = "administrator"
ADMIN = "admin"
START_SECONDS = 90.0
STOP_SECONDS = 20.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Json

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


class Server:
    """The API server as seen by one caller; ``acting`` gives another's view."""

    def __init__(
        self,
        url: str,
        authority: Path,
        kubectl: list[str],
        folder: Path,
        token: str = ADMIN_TOKEN,
        etcd: str = "",
    ) -> None:
        self.url, self.authority, self.folder, self.token = url, authority, folder, token
        self.etcd = etcd
        """Where its store answers: for whoever needs more objects than can be made one by one."""
        self._kubectl = kubectl
        # Those whose part is played beside a test ask as well.
        self._pool = urllib3.PoolManager(ca_certs=str(authority), timeout=30, retries=False, maxsize=4)
        self.kubeconfig = folder / f"{ADMIN}.kubeconfig"
        if token == ADMIN_TOKEN:
            self.kubeconfig.write_text(json.dumps(self._kubeconfig()))

    def acting(self, token: str) -> Server:
        return Server(self.url, self.authority, self._kubectl, self.folder, token)

    def call(self, method: str, path: str, body: Json | None = None, *, patch: str = "merge-patch") -> Answer:
        kind = f"application/{patch}+json" if method == "PATCH" else "application/json"
        answer = self._pool.request(
            method,
            self.url + path,
            body=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind},
        )
        return Answer(answer.status, json.loads(answer.data) if answer.data[:1] == b"{" else {})

    def must(self, method: str, path: str, body: Json | None = None, *, patch: str = "merge-patch") -> Json:
        answer = self.call(method, path, body, patch=patch)
        assert answer.ok, f"{method} {path}: {answer.status} {answer.message}"
        return answer.body

    def kubectl(self, *words: str, stdin: str | None = None, ok: bool = True) -> str:
        """Run kubectl as the administrator; its output, and its complaints where it may fail."""
        done = subprocess.run(
            [*self._kubectl, f"--kubeconfig={self.kubeconfig}", *words],
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
            env={"HOME": str(self.folder), "PATH": "/usr/bin:/bin"},
        )
        assert not ok or done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout + done.stderr

    def _kubeconfig(self) -> Json:
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": ADMIN, "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": ADMIN}}],
        }


def own_address() -> str:
    """An address of this machine that is no loopback: an API server refuses those for what is in the cluster."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect(("192.0.2.1", 9))  # sends nothing
        return str(way.getsockname()[0])


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run it in the log's folder; stop it, by its own id, at the end."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running_server(binaries: Path, folder: Path, *more: str) -> Iterator[Server]:
    """Start etcd and kube-apiserver on free ports of 127.0.0.1; stop them, by their own ids, at the end.

    ``more``: further words of the API server's command line.
    """
    client, peer, secure = _free_ports(3)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key_file = folder / "service-accounts.key"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    tokens = folder / "tokens.csv"
    tokens.write_text(
        f'{ADMIN_TOKEN},{ADMIN},{ADMIN},"system:masters"\nsomebody,somebody,somebody,"people"\n'
    )
    etcd = [
        *program(binaries, "etcd"),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
    ]
    apiserver = [
        *program(binaries, "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{client}",
        "--bind-address=127.0.0.1",
        f"--secure-port={secure}",
        f"--cert-dir={folder / 'pki'}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key_file}",
        f"--service-account-signing-key-file={key_file}",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--endpoint-reconciler-type=none",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        *more,
    ]
    with running(etcd, folder / "etcd.log"), running(apiserver, folder / "apiserver.log") as process:
        authority = folder / "pki" / "apiserver.crt"
        _until_ready(f"https://127.0.0.1:{secure}/readyz", authority, process, folder / "apiserver.log")
        url, store = f"https://127.0.0.1:{secure}", f"http://127.0.0.1:{client}"
        yield Server(url, authority, program(binaries, "kubectl"), folder, etcd=store)


def _until_ready(url: str, authority: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"kube-apiserver ended with {process.returncode}: {log.read_text()[-2000:]}")
        with (
            contextlib.suppress(urllib3.exceptions.HTTPError, OSError),
            urllib3.PoolManager(ca_certs=str(authority), timeout=5, retries=False) as pool,
        ):
            if pool.request("GET", url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}).status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"kube-apiserver was not ready after {START_SECONDS:g} s, see {log}")


def wait_for(what: str, condition: Any, seconds: float = 30.0) -> Any:
    """Ask ``condition`` again and again until it gives something true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


def listed(server: Server, path: str) -> list[Json]:
    """All objects of a kind, as soon as the API server has read its store ("storage is (re)initializing" before that)."""
    found: Json = wait_for(f"a list of {path}", lambda: (said := server.call("GET", path)).ok and said.body)
    return list(found["items"])
