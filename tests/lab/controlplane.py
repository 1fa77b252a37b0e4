"""The control plane: etcd and Kubernetes' own programs as plain processes of the host."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

from lab import process
from lab.audit import POLICY
from lab.build import Programs
from lab.pki import Authority
from lab.plan import SERVICES, Plan
from lab.process import run
from lab.state import State, write
from lab.wait import until


class Api:
    """The control plane of one lab, to start and to break."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.plan = state.plan

    @property
    def kubectl_program(self) -> Path:
        return self.plan.folder / "bin/kubectl"

    def kubectl(self, *words: str, text: str | None = None, within: float = 120, check: bool = True) -> str:
        """Call kubectl as the cluster's administrator."""
        config = str(self.plan.kubeconfig)
        return run(self.kubectl_program, "--kubeconfig", config, *words, text=text, within=within, check=check)

    # -- life -----------------------------------------------------------------------------------------------

    def install(self, programs: Programs) -> None:
        """Write certificates, kubeconfigs and the programs' links."""
        bin_folder = self.plan.folder / "bin"
        bin_folder.mkdir(parents=True)
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"):
            # A hard path to the multi-call binary: it goes by the name it is called by.
            (bin_folder / name).symlink_to(programs[name])
        authority = Authority(self.plan.pki)
        first = SERVICES.replace(".0/16", ".1")
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
        authority.issue("apiserver", "kube-apiserver", addresses=(self.plan.address, "127.0.0.1", first), names=names)
        authority.issue("front-proxy", "front-proxy")
        authority.issue("kubelet-client", "apiserver-kubelet", organization="system:masters")
        authority.account_keys()
        admin = authority.issue("admin", "admin", organization="system:masters")
        authority.kubeconfig(self.plan.kubeconfig, self.plan.api, admin)
        for program in ("kube-controller-manager", "kube-scheduler"):
            identity = authority.issue(program, f"system:{program}")
            authority.kubeconfig(self.plan.pki / f"{program}.kubeconfig", self.plan.api, identity)
        write(self.plan.pki / "audit-policy.yaml", POLICY)

    def start_all(self) -> None:
        """Start everything and return when the API server is ready."""
        self.plan.etcd.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "-o", "size=1g,mode=700", f"rf-etcd-{self.plan.name}", self.plan.etcd)
        self._start("etcd", self._etcd())
        self.start()
        for program in ("kube-controller-manager", "kube-scheduler"):
            self._start(program, self._controller(program))

    def start(self) -> None:
        """Start the API server, if it doesn't run, and return when it is ready."""
        if not self._process("kube-apiserver"):
            self._start("kube-apiserver", self._apiserver())
        self._await_ready()

    def stop(self) -> None:
        """End the API server."""
        if found := self._process("kube-apiserver"):
            found.end(grace=3)

    def freeze(self) -> None:
        """Stop the API server in its tracks: connections stay, nothing answers."""
        if found := self._process("kube-apiserver"):
            found.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the API server run on."""
        if found := self._process("kube-apiserver"):
            found.signal(signal.SIGCONT)

    def running(self) -> dict[str, bool]:
        """Which of the lab's own daemons live."""
        return {name: found.alive() for name, found in self.state.processes().items()}

    def down(self) -> None:
        """End every daemon of the lab and give back etcd's memory."""
        daemons = self.state.processes()
        for name in reversed(list(daemons)):
            # etcd's data goes away with its tmpfs: nothing to save
            daemons[name].end(grace=2)
        if self.plan.etcd.is_mount():
            run("umount", self.plan.etcd)
        shutil.rmtree(self.plan.etcd, ignore_errors=True)

    def _process(self, name: str) -> process.Process | None:
        found = self.state.processes().get(name)
        return found if found is not None and found.alive() else None

    def _start(self, name: str, command: list[str | Path]) -> None:
        self.state.remember(name, process.start(command, self.plan.logs / f"{name}.log"))

    def _await_ready(self) -> None:
        def ready() -> bool:
            answer = self.kubectl("get", "--raw", "/readyz", "--request-timeout=2s", check=False)
            return answer.strip() == "ok"

        until("the API server is ready", ready, 60, log=self.plan.logs / "kube-apiserver.log")

    # -- command lines --------------------------------------------------------------------------------------

    def _etcd(self) -> list[str | Path]:
        client, peer = (f"http://{self.plan.loopback}:{port}" for port in (2379, 2380))
        return [
            self.plan.folder / "bin/etcd",
            *("--data-dir", self.plan.etcd / "data", "--log-level", "warn", "--unsafe-no-fsync"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        ]

    def _apiserver(self) -> list[str | Path]:
        pki = self.plan.pki
        return [
            self.plan.folder / "bin/kube-apiserver",
            f"--etcd-servers=http://{self.plan.loopback}:2379",
            f"--bind-address={self.plan.address}",
            f"--advertise-address={self.plan.address}",
            f"--secure-port={self.plan.api_port}",
            # No kube-proxy: nobody would use the service's endpoints.
            "--endpoint-reconciler-type=none",
            # virt-api's service has no proxy either: the API server picks a pod's address itself.
            "--enable-aggregator-routing=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--service-cluster-ip-range={SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/accounts.pub",
            f"--service-account-signing-key-file={pki}/accounts.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--proxy-client-cert-file={pki}/front-proxy.crt",
            f"--proxy-client-key-file={pki}/front-proxy.key",
            f"--requestheader-client-ca-file={pki}/ca.crt",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--audit-policy-file={pki}/audit-policy.yaml",
            f"--audit-log-path={self.plan.logs}/audit.log",
            "--audit-log-maxsize=1000",
        ]

    def _controller(self, program: str) -> list[str | Path]:
        config = self.plan.pki / f"{program}.kubeconfig"
        common: list[str | Path] = [
            self.plan.folder / "bin" / program,
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            f"--bind-address={self.plan.address}",
            "--leader-elect=false",
        ]
        if program == "kube-scheduler":
            return common
        pki = self.plan.pki
        return [
            *common,
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={pki}/accounts.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            f"--service-cluster-ip-range={SERVICES}",
            f"--node-monitor-grace-period={self.plan.grace}s",
            "--node-monitor-period=5s",
        ]


def get(api: Api, kind: str, name: str | None = None, namespace: str | None = None) -> dict[str, object]:
    """One object, or the list of all of *kind* (of every namespace unless one is named), as the API gives it."""
    words = ["get", kind, *([name] if name else [])]
    if namespace:
        words += ["--namespace", namespace]
    elif not name:
        words += ["--all-namespaces"]
    answer: dict[str, object] = json.loads(api.kubectl(*words, "--output", "json"))
    return answer
