"""The cluster's programs, built from their Go modules and kept outside the checkout.

A component's binaries stand in ``CACHE/bin/<component>-<key>``; the key is a hash of our module's files, Go's version
and the command line, so a second run builds nothing and a changed pin builds exactly what it concerns.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.console import say
from lab.process import run

MODULES = Path(__file__).parent / "go"
KUBERNETES = "v1.36.3"
KUBEVIRT = "v1.7.0"


def cache_root() -> Path:
    """Where everything lives that is dear to make: ``$RINGFENCE_CACHE``, else ``~/.cache/ringfence``."""
    return Path(os.environ.get("RINGFENCE_CACHE") or Path.home() / ".cache" / "ringfence")


def _stamps() -> str:
    """Linker flags that tell Kubernetes' programs their version: clients parse it and refuse an empty one."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = {
        "gitVersion": KUBERNETES,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "0000000",
        "buildDate": "1970-01-01T00:00:00Z",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return "".join(f" -X {package}.{key}={value}" for package in packages for key, value in values.items())


@dataclass(frozen=True, slots=True)
class Component:
    """One Go module of ours: what is built from it, how, and how long that takes on two idle cores."""

    module: str
    packages: tuple[str, ...]
    minutes: float
    cgo: bool = False
    tags: str = ""
    stamps: str = ""
    links: tuple[str, ...] = ()

    def command(self, out: Path) -> list[str]:
        """The build, from the module's folder, into the folder *out*."""
        tags = [f"-tags={self.tags}"] if self.tags else []
        flags = ["-mod=readonly", "-trimpath", *tags, "-ldflags", "-s -w" + self.stamps]
        return ["go", "build", *flags, "-o", f"{out}/", *self.packages]

    def key(self, go: str) -> str:
        """A hash of everything that the binaries are made from."""
        digest = hashlib.sha256(
            " ".join([go, *self.command(Path("/out")), *self.links, str(self.cgo)]).encode()
        )
        for file in sorted((MODULES / self.module).iterdir()):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()[:16]


_KUBEVIRT_PROGRAMS = (
    "virt-api", "virt-controller", "virt-handler", "virt-launcher", "virt-launcher-monitor",
    "virt-chroot", "virt-freezer", "virt-tail", "virt-probe",
)  # fmt: skip
COMPONENTS = (
    Component("etcd", (".",), minutes=1.5),
    Component(
        "kubernetes",
        (".",),
        minutes=8,
        stamps=_stamps(),
        links=("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"),
    ),
    Component(
        "kubevirt",
        (".", *(f"kubevirt.io/kubevirt/cmd/{program}" for program in _KUBEVIRT_PROGRAMS)),
        minutes=7,
        cgo=True,
        tags="libvirt_dlopen",
    ),
    Component("csi", (".", "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher"), minutes=4),
)

KIND = Component("kind", (".",), minutes=1)
"""No part of the lab: its loader reads our kind-config.yaml for a test."""
CERT_MANAGER = Component("certmanager", (".",), minutes=3)
"""No part of the lab either: it makes the webhook's certificate for a test."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the built programs are."""

    folders: tuple[Path, ...]

    def __getitem__(self, name: str) -> Path:
        """The path of the program *name*."""
        for folder in self.folders:
            if (folder / name).exists():
                return folder / name
        raise KeyError(f"no program {name} in {self.folders}")

    @property
    def version(self) -> str:
        """Names this set of programs: changes when any of them does."""
        return hashlib.sha256(" ".join(folder.name for folder in self.folders).encode()).hexdigest()[:16]


def programs(cache: Path, components: Sequence[Component] = COMPONENTS) -> Programs:
    """Build what is missing of these, one ``go build`` a component, while the others' sources are still coming down."""
    go = run("go", "env", "GOVERSION").strip()
    folders = [cache / "bin" / f"{component.module}-{component.key(go)}" for component in components]
    missing = [
        (component, folder)
        for component, folder in zip(components, folders, strict=True)
        if not folder.exists()
    ]
    if missing:
        minutes = sum(component.minutes for component, _ in missing)
        names = ", ".join(component.module for component, _ in missing)
        say(f"build: {names} to build, about {minutes:.0f} min on two cores if Go's own cache is cold")
        with ThreadPoolExecutor(max_workers=len(missing)) as pool:
            downloads = {c.module: pool.submit(_download, c) for c, _ in missing}
            for left, (component, folder) in zip(range(len(missing) - 1, -1, -1), missing, strict=True):
                downloads[component.module].result()
                _build(component, folder, left)
    return Programs(tuple(folders))


def _environment(component: Component) -> dict[str, str]:
    return {**os.environ, "GOWORK": "off", "GOFLAGS": "", "CGO_ENABLED": "1" if component.cgo else "0"}


def _go(component: Component, command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        cwd=MODULES / component.module,
        env=_environment(component),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} in {component.module} failed:\n{done.stderr[-3000:]}")


def _download(component: Component) -> None:
    # `go list -deps` fetches what the packages need; `go mod download` would fetch the tests' needs too.
    tags = [f"-tags={component.tags}"] if component.tags else []
    _go(component, ["go", "list", "-mod=readonly", "-deps", *tags, *component.packages])


def _build(component: Component, folder: Path, left: int) -> None:
    began = time.monotonic()
    folder.parent.mkdir(parents=True, exist_ok=True)
    say(f"build: {component.module} ...")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as work:
        out = Path(work) / "out"
        out.mkdir()
        _go(component, component.command(out))
        for link in component.links:
            (out / link).symlink_to(component.module)
        out.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        out.rename(folder)
    took = time.monotonic() - began
    say(f"build: {component.module} done in {took:.0f} s; {left} component{'s' * (left != 1)} left")


def binaries() -> Path:
    """One folder with every program by its name, as links; built now if the cache has none."""
    cache = cache_root()
    built = programs(cache)
    shelf = cache / "programs" / built.version
    if not shelf.exists():
        shelf.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf.parent) as work:
            fresh = Path(work) / "fresh"
            fresh.mkdir()
            for folder in built.folders:
                for program in folder.iterdir():
                    (fresh / program.name).symlink_to(program)
            fresh.rename(shelf)
    return shelf
