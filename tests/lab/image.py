"""Our container image, made without a container engine.

An image is a list of tar files and a JSON document that names them. That is all an engine would add here, so the
lab writes them itself and needs nothing but ``debootstrap`` and the lock file:

=============  =====================================================  ==========================================
layer          holds                                                  made again when
=============  =====================================================  ==========================================
root           Debian (minbase) with python3 and ipmitool, trimmed;   this file's ``SUITE``/``PACKAGES``/``RECIPE``
               with fence agents if asked for
dependencies   the locked wheels, with their bytecode                 the exported lock changes
project        ``ringfence`` itself and its console script            any source file changes (a second's work)
=============  =====================================================  ==========================================

Each layer is kept in the cache under the hash of what it is made from; the archive under the hash of its layers, so
the same sources give the same path and nobody imports an image twice. Within a layer files are sorted, their times
are 0 and their owners numeric.

Bytecode is compiled by the *image's* Python with unchecked hashes: Debian's own bytecode remembers the times of its
sources, which are 0 in a layer, and every start would compile the standard library again.

Beside the archive lies what is in it, as a CycloneDX document (``.cdx.json``, :mod:`lab.sbom`).

``Containerfile`` says the same for those who have an engine: ``publish/containerfile.py`` writes it from the names below.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lab import sbom

NAME = "docker.io/local/ringfence:lab"
SUITE = "bookworm"
RELEASE = "debian-12"
PACKAGES = ("ca-certificates", "ipmitool", "python3")
AGENT_PACKAGES = ("openssh-client", "python3-pexpect", "python3-pycurl", "python3-requests")
"""What Debian's fence agents need to speak to PDUs and BMCs. Left out: clouds (90 MB), SNMP (its Perl: 55 MB)."""
SITE = "usr/local/lib/python3.11/dist-packages"
"""Where bookworm's python3 looks for what isn't Debian's."""
PYTHON = "3.11"
EXTRAS = ("controller", "cli")
"""Of pyproject.toml, beside what the agent needs."""
USER = 65532
RECIPE = 3
"""Raised when the root is made differently from the same suite and packages."""
KEPT = 4
"""Archives that stay in the cache: another lab may be reading the previous one."""

_TRIMMED = (
    "dev",
    "proc",
    "run",
    "sys",
    "tmp",
    "var/cache",
    "var/lib/apt/lists",
    "var/log",
    "var/tmp",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
)
"""Emptied, the folder itself stays."""
_REMOVED = (
    "debootstrap",
    "etc/hostname",  # of the machine that built the root
    "etc/resolv.conf",
    "etc/machine-id",
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "usr/lib/python3.11/idlelib",
    "usr/lib/python3.11/lib2to3",
    "usr/lib/python3.11/pydoc_data",
    "usr/lib/python3.11/test",
)
SHORTENED = {"usr/share/misc/enterprise-numbers.txt": 30}
"""Lines that stay. Every run of ipmitool reads the names of all vendors (4.6 MB, 20 ms) and fails on an empty list."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CONSOLE_SCRIPT = """\
#!/usr/bin/python3
from ringfence.cli.main import main

main()
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One tar file of the image; ``digest`` is the sha256 of the (uncompressed) file, in hex."""

    tar: Path
    digest: str
    what: str


def build(cache: Path, project: Path, *, agents: bool = False, name: str = NAME) -> Path:
    """Make the image of ``project`` (a checkout) and return its docker-archive; ``agents``: with fence agents.

    ``cache`` is the lab's folder outside the checkout; everything made here lies under ``cache/image``. The path
    returned changes with the content and with nothing else. Needs root (debootstrap, chroot). Two builds at once
    wait for each other.

    Raises ``subprocess.CalledProcessError`` when a program fails; its output has gone to stderr.
    """
    shelf = cache / "image"
    shelf.mkdir(parents=True, exist_ok=True)
    with _locked(shelf / ".lock"):
        begun = time.monotonic()
        root = _root(shelf, agents=agents)
        _empty(root / "tmp")  # what a killed build left behind
        lock = _lock(project)
        layers = (
            _root_layer(shelf, root),
            _dependencies(shelf, lock, root),
            _project(shelf, project, root),
        )
        archive = _archive(shelf, layers, name)
        listed = _list_content(archive, name, layers, root, lock)
        sizes = ", ".join(f"{layer.what} {_megabytes(layer.tar)}" for layer in layers)
        took = time.monotonic() - begun
        print(
            f"image: {name} {_megabytes(archive)} ({sizes}) in {took:.1f} s: {archive}, its content: {listed}",
            flush=True,
        )
        return archive


def _root(shelf: Path, *, agents: bool) -> Path:
    """The unpacked Debian root, trimmed; nothing but the standard library's bytecode is added to it."""
    packages = (*PACKAGES, *(AGENT_PACKAGES if agents else ()))
    key = _key(
        *("root", SUITE, *packages, "trimmed", *_TRIMMED, *_REMOVED, str(SHORTENED), str(RECIPE)),
        _architecture(),
    )
    root = shelf / f"root-{key}"
    if root.exists():
        return root
    print(f"image: making a Debian {SUITE} root with {', '.join(packages)}", flush=True)
    with _workshop(shelf) as work:
        new = work / "root"
        _run(
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(packages)}",
            SUITE,
            str(new),
            mirror(),
        )
        if agents:
            _add_agents(new)
        for name in _TRIMMED:
            _empty(new / name)
        for name in _REMOVED:
            _remove(new / name)
        for name, lines in SHORTENED.items():
            whole = (new / name).read_text().splitlines(keepends=True)
            (new / name).write_text("".join(whole[:lines]))
        for path in (new / "usr/share/doc").glob("*/*"):
            if path.name != "copyright":
                _remove(path)
        for bytecode in list(new.glob("usr/lib/python3*/**/__pycache__")):
            _remove(bytecode)
        _compile(new, "usr/lib/python3.11", as_if="usr/lib/python3.11")
        _forget_the_day(new / "etc/shadow")
        with (new / "etc/passwd").open("a") as passwd, (new / "etc/group").open("a") as group:
            passwd.write(f"ringfence:x:{USER}:{USER}::/nonexistent:/usr/sbin/nologin\n")
            group.write(f"ringfence:x:{USER}:\n")
        new.rename(root)
    return root


def _forget_the_day(shadow: Path) -> None:
    """Passwords that nobody has were last changed on the day of the build: it would be in the layer's digest."""
    rows = [line.split(":") for line in shadow.read_text().splitlines()]
    shadow.write_text("".join(":".join([*row[:2], "", *row[3:]]) + "\n" for row in rows))


def _add_agents(root: Path) -> None:
    """Debian's fence agents without what only those for clouds need."""
    for file in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc") / file, root / "etc" / file)
    script = (
        "apt-get -qq update && cd /tmp && apt-get -qq download fence-agents"
        " && dpkg --force-depends --install fence-agents_*.deb"
    )
    _run("chroot", str(root), "/bin/sh", "-ec", script)


def _root_layer(shelf: Path, root: Path) -> Layer:
    return _layer(shelf / f"{root.name}.tar", "root", lambda: ((root, PurePosixPath()),))


def _lock(project: Path) -> str:
    """The locked wheels, one a line."""
    return _run(
        *(sys.executable, "-m", "uv", "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project"),
        *("--no-header", "--no-annotate", *(word for extra in EXTRAS for word in ("--extra", extra))),
        *("--directory", str(project)),
        capture=True,
    )


def _dependencies(shelf: Path, lock: str, root: Path) -> Layer:
    """The locked wheels for the image's Python, whatever Python runs this."""
    tar = shelf / f"dependencies-{_key('dependencies', root.name, lock)}.tar"
    if tar.exists():
        return _layer(tar, "dependencies", tuple)
    print("image: installing the locked packages", flush=True)
    with _workshop(root / "tmp") as work:
        stage = work / "site"
        requirements = work / "requirements.txt"
        requirements.write_text(lock)
        _run(
            *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps"),
            *("--only-binary", ":all:", "--link-mode", "copy", "--python", sys.executable),
            *("--python-version", PYTHON, "--python-platform", f"{platform.machine()}-manylinux_2_28"),
            *("--target", str(stage), "--requirement", str(requirements)),
        )
        _remove(stage / "bin")
        _remove(stage / ".lock")
        _compile(root, str(stage.relative_to(root)), as_if=SITE)
        return _layer(tar, "dependencies", lambda: ((stage, PurePosixPath(SITE)),))


def _project(shelf: Path, project: Path, root: Path) -> Layer:
    package = project / "operator" / "ringfence"
    sources = sorted(p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    digest = hashlib.sha256()
    for source in sources:
        content = source.read_bytes()
        digest.update(f"{source.relative_to(package)}\0{len(content)}\0".encode())
        digest.update(content)
    tar = shelf / f"project-{_key('project', root.name, CONSOLE_SCRIPT, digest.hexdigest())}.tar"
    if tar.exists():
        return _layer(tar, "project", tuple)
    with _workshop(root / "tmp") as work:
        stage = work / "site"
        for source in sources:
            copy = stage / "ringfence" / source.relative_to(package)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
        _compile(root, str(stage.relative_to(root)), as_if=SITE)
        scripts = work / "bin"
        scripts.mkdir()
        (scripts / "ringfence").write_text(CONSOLE_SCRIPT)
        (scripts / "ringfence").chmod(0o755)
        return _layer(
            tar,
            "project",
            lambda: ((scripts, PurePosixPath("usr/local/bin")), (stage, PurePosixPath(SITE))),
        )


def _archive(shelf: Path, layers: tuple[Layer, ...], name: str) -> Path:
    """Put the layers and their description into one docker-archive."""
    config = json.dumps(
        {
            "architecture": _architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Env": [
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "LANG=C.UTF-8",
                    "PYTHONUNBUFFERED=1",
                    "PYTHONDONTWRITEBYTECODE=1",
                ],
                "User": f"{USER}:{USER}",
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
            "history": [{"created_by": f"ringfence: {layer.what}"} for layer in layers],
        },
        sort_keys=True,
    )
    archive = shelf / f"ringfence-{_key('archive', name, config)}.tar"
    if archive.exists():
        archive.touch()  # the youngest are kept
        return archive
    manifest = json.dumps(
        [{"Config": "config.json", "RepoTags": [name], "Layers": [f"{la.digest}.tar" for la in layers]}]
    )
    with _workshop(shelf) as work:
        new = work / "archive.tar"
        with tarfile.open(new, "w", format=tarfile.PAX_FORMAT) as tar:
            for file, text in (("manifest.json", manifest), ("config.json", config)):
                member = tarfile.TarInfo(file)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
            for layer in layers:
                member = tarfile.TarInfo(f"{layer.digest}.tar")
                member.size = layer.tar.stat().st_size
                with layer.tar.open("rb") as content:
                    tar.addfile(member, content)
        new.rename(archive)
    _forget(shelf.glob("ringfence-*.tar"))
    _forget(shelf.glob("project-*.tar"))
    return archive


def _list_content(archive: Path, name: str, layers: tuple[Layer, ...], root: Path, lock: str) -> Path:
    """The archive's content as a CycloneDX document beside it."""
    packages = sbom.debian((root / "var/lib/dpkg/status").read_text(), RELEASE)
    version = importlib.metadata.version("ringfence")
    digest = hashlib.sha256("".join(layer.digest for layer in layers).encode()).hexdigest()
    listed = archive.with_suffix(".cdx.json")
    listed.write_text(
        sbom.document(
            name.rpartition(":")[0], version, digest, [*packages, *sbom.wheels(lock), sbom.itself(version)]
        )
    )
    return listed


def mirror(sources: Path = Path("/etc/apt")) -> str:
    """The Debian mirror that this machine's own apt uses (deb822 and one-line files), else Debian's."""
    files = [sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))]
    uris = [uri for file in files if file.is_file() for uri in _uris(file)]
    return next((uri for uri in uris if uri.rstrip("/").endswith("/debian")), "http://deb.debian.org/debian")


def _uris(file: Path) -> list[str]:
    text = file.read_text()
    if file.suffix == ".sources":
        return [uri for line in re.findall(r"(?mi)^URIs:(.*)$", text) for uri in line.split()]
    return re.findall(r"(?m)^deb\s+(?:\[[^]]*\]\s+)?(\S+)", text)


def _layer(tar: Path, what: str, folders: Callable[[], Iterable[tuple[Path, PurePosixPath]]]) -> Layer:
    """The layer ``tar``, packed from ``folders`` unless it lies there already; its digest lies beside it."""
    noted = tar.with_suffix(".sha256")
    if not (tar.exists() and noted.exists()):
        with _workshop(tar.parent) as work:
            new = work / "layer.tar"
            _pack(new, folders())
            with new.open("rb") as content:
                noted.write_text(hashlib.file_digest(content, "sha256").hexdigest())
            new.rename(tar)
    return Layer(tar, noted.read_text(), what)


def _pack(tar_file: Path, folders: Iterable[tuple[Path, PurePosixPath]]) -> None:
    """Pack each folder's content under the place given for it; the same content gives the same bytes."""
    with tarfile.open(tar_file, "w", format=tarfile.PAX_FORMAT) as tar:
        for folder, place in folders:
            for parent in reversed(place.parents[:-1]):
                tar.addfile(_directory(str(parent)))
            if place.name:
                tar.addfile(_directory(str(place)))
            for path in sorted(folder.rglob("*")):
                member = tar.gettarinfo(str(path), arcname=str(place / path.relative_to(folder)))
                member.mtime = 0
                member.uname = member.gname = ""
                if member.isreg():
                    with path.open("rb") as content:
                        tar.addfile(member, content)
                else:
                    tar.addfile(member)


def _directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    member.mode = 0o755
    return member


def _compile(root: Path, folder: str, *, as_if: str) -> None:
    """Compile ``folder`` with the root's own Python; tracebacks will say ``as_if``."""
    _run(
        *("chroot", str(root), "/usr/bin/python3", "-m", "compileall", "-q"),
        *("--invalidation-mode", "unchecked-hash", "-s", f"/{folder}", "-p", f"/{as_if}", f"/{folder}"),
    )


def _run(*command: str, capture: bool = False) -> str:
    done = subprocess.run(
        command,
        check=True,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else sys.stderr,
        env={**os.environ, "LC_ALL": "C", "PYTHONHASHSEED": "0"},
    )
    return done.stdout or ""


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _workshop(place: Path) -> Iterator[Path]:
    """A folder for things half made, on the file system where they will lie."""
    with tempfile.TemporaryDirectory(prefix=".making-", dir=place) as work:
        Path(work).chmod(0o755)
        yield Path(work)


def _forget(files: Iterable[Path]) -> None:
    by_age = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)
    for file in by_age[KEPT:]:
        file.unlink()
        for beside in (".sha256", ".cdx.json"):
            file.with_suffix(beside).unlink(missing_ok=True)


def _empty(folder: Path) -> None:
    if folder.is_mount():  # debootstrap was interrupted: this would be the machine's own /proc or /dev
        raise RuntimeError(f"{folder} is still a mount point; unmount it and try again")
    for path in folder.iterdir() if folder.is_dir() else ():
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _architecture() -> str:
    return _ARCHITECTURES[platform.machine()]


def _megabytes(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:.1f} MB"


def cache_root() -> Path:
    """Where the lab keeps what it builds: ``$RINGFENCE_CACHE``, else ``~/.cache/ringfence``."""
    return Path(os.environ.get("RINGFENCE_CACHE") or Path.home() / ".cache" / "ringfence")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build ringfence's image without a container engine.")
    parser.add_argument("--cache", type=Path, default=cache_root())
    parser.add_argument("--project", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--agents", action="store_true", help="with Debian's fence agents (15 MB)")
    arguments = parser.parse_args()
    print(build(arguments.cache, arguments.project, agents=arguments.agents))


if __name__ == "__main__":
    main()
