"""The control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler as plain processes on the bridge's address.

etcd keeps its data without fsync (``--unsafe-no-fsync``): the lab dies with its machine anyway. Node monitoring has
upstream's own times (50 s grace, 5 s period).
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from lab import processes
from lab.audit import POLICY
from lab.layout import API_PORT, Layout
from lab.pki import Pki
from lab.wait import until

ETCD_PORT = 2379
SERVICES = "10.96.0.0/16"
PARTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


class ControlPlane:
    """One lab's control plane."""

    def __init__(self, layout: Layout, pki: Pki, programs: Path) -> None:
        self._layout = layout
        self._pki = pki
        self._bin = programs
        self.group = f"{layout.prefix}-cp"

    def start(self) -> None:
        """Start all four; returns when the API server is ready."""
        processes.make(self.group)
        self._spawn("etcd")
        self._spawn("kube-apiserver")
        self.wait_ready()
        for part in ("kube-controller-manager", "kube-scheduler"):
            self._spawn(part)

    def start_part(self, part: str) -> None:
        """Start one part again after :meth:`stop_part`."""
        self._spawn(part)

    def stop_part(self, part: str) -> None:
        """Kill one part and wait for its end."""
        processes.kill(self._pids(part))
        until(f"{part} to end", lambda: not self._pids(part), 10)

    def freeze(self, part: str) -> None:
        for pid in self._pids(part):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self, part: str) -> None:
        for pid in self._pids(part):
            os.kill(pid, signal.SIGCONT)

    def running(self, part: str) -> bool:
        return bool(self._pids(part))

    def wait_ready(self) -> None:
        def ready() -> bool:
            kubectl = (
                str(self._bin / "kubectl"),
                "--kubeconfig",
                str(self._layout.kubeconfig),
                "--request-timeout=2s",
            )
            return processes.run(*kubectl, "get", "--raw", "/readyz", check=False) == "ok"

        until(
            "the API server to be ready", ready, 60, every=0.2, log=self._layout.logs / "kube-apiserver.log"
        )

    def _pids(self, part: str) -> list[int]:
        return processes.named(self.group, part)

    def _spawn(self, part: str) -> None:
        if self._pids(part):
            return
        processes.spawn(
            self.group, [str(self._bin / part), *self._flags(part)], self._layout.logs / f"{part}.log"
        )

    def _flags(self, part: str) -> list[str]:
        layout, pki = self._layout, self._pki
        host = layout.host
        etcd = f"http://{host}:{ETCD_PORT}"
        peer = f"http://{host}:{ETCD_PORT + 1}"
        if part == "etcd":
            return [
                f"--data-dir={layout.root / 'etcd'}", f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}", "--unsafe-no-fsync", "--log-level=warn",
            ]  # fmt: skip
        if part == "kube-apiserver":
            service_ip = SERVICES.rsplit(".", 1)[0] + ".1"
            hosts = (
                host,
                service_ip,
                "127.0.0.1",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "localhost",
            )
            crt, key = pki.certificate("apiserver", "kube-apiserver", hosts=hosts)
            kubelet_crt, kubelet_key = pki.certificate(
                "apiserver-kubelet", "apiserver-kubelet", "system:masters"
            )
            front_crt, front_key = pki.certificate("front-proxy", "front-proxy")
            pki.kubeconfig(layout.kubeconfig, layout.api, "admin", "admin", "system:masters")
            policy = layout.root / "audit-policy.yaml"
            policy.write_text(POLICY)
            return [
                f"--etcd-servers={etcd}", f"--bind-address={host}", f"--secure-port={API_PORT}", f"--advertise-address={host}",
                "--endpoint-reconciler-type=none", "--enable-aggregator-routing=true", "--allow-privileged=true",
                f"--tls-cert-file={crt}", f"--tls-private-key-file={key}", f"--client-ca-file={pki.path('ca.crt')}",
                "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
                f"--service-account-key-file={pki.path('sa.pub')}", f"--service-account-signing-key-file={pki.path('sa.key')}",
                "--service-account-issuer=https://kubernetes.default.svc", f"--service-cluster-ip-range={SERVICES}",
                f"--kubelet-client-certificate={kubelet_crt}", f"--kubelet-client-key={kubelet_key}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--requestheader-client-ca-file={pki.path('ca.crt')}", "--requestheader-allowed-names=front-proxy",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-username-headers=X-Remote-User",
                f"--proxy-client-cert-file={front_crt}", f"--proxy-client-key-file={front_key}",
                f"--audit-policy-file={policy}", f"--audit-log-path={layout.logs / 'audit.log'}", "--audit-log-mode=blocking",
            ]  # fmt: skip
        name, user = {
            "kube-controller-manager": ("kcm", "system:kube-controller-manager"),
            "kube-scheduler": ("scheduler", "system:kube-scheduler"),
        }[part]
        config = str(pki.kubeconfig(layout.root / f"{name}.kubeconfig", layout.api, name, user))
        common = [
            f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
            f"--bind-address={host}", "--leader-elect=false",
        ]  # fmt: skip
        if part == "kube-scheduler":
            return common
        return [
            *common,
            "--use-service-account-credentials=true", f"--service-account-private-key-file={pki.path('sa.key')}",
            f"--root-ca-file={pki.path('ca.crt')}", f"--cluster-signing-cert-file={pki.path('ca.crt')}",
            f"--cluster-signing-key-file={pki.path('ca.key')}", f"--cluster-cidr={layout.net}.128.0/17",
            "--allocate-node-cidrs=true", f"--service-cluster-ip-range={SERVICES}",
            "--node-monitor-grace-period=50s", "--node-monitor-period=5s",
        ]  # fmt: skip


class Kubectl:
    """kubectl as the lab's administrator."""

    def __init__(self, layout: Layout, programs: Path) -> None:
        self._command = (str(programs / "kubectl"), "--kubeconfig", str(layout.kubeconfig))

    def __call__(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        return processes.run(*self._command, *args, stdin=stdin, check=check)

    def get(self, kind: str, name: str = "", namespace: str = "") -> dict[str, object] | None:
        """One object, or the list of a kind in all namespaces; None if there is no such object."""
        where = ["-n", namespace] if namespace else ["-A"] if not name else []
        text = self(
            "get",
            kind,
            *([name] if name else []),
            *where,
            "-o",
            "json",
            "--ignore-not-found",
            "--request-timeout=10s",
        )
        found: dict[str, object] | None = json.loads(text) if text.strip() else None
        return found
