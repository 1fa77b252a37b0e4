"""A guest with a real watchdog: Debian's kernel and its softdog under QEMU, and our own feeder inside of it.

No other double of a watchdog can tell whether a kernel does what we take it to do: start at the opening, bite at the time
that it has told, stop for the magic character and for nothing else. The guest is one initramfs: a kernel's modules, the
Python that runs the tests, our package. Its first process is `lab.watchdog.inside`, which is spoken to over its second serial
port; what its kernel says stands in ``console.log``; and QEMU, not the guest, tells of the reset, which is its end.

QEMU is that of the nodes' Debian root, entered in a mount namespace of its own. Times are seconds of the host's monotonic
clock; a guest's instants are brought to it by the quickest line that has come from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import urllib3

from lab import machine, roots
from lab.build import cache_root
from lab.console import say
from lab.guest import KERNEL, kernel, pack, plain
from lab.process import run
from lab.wait import end_of, until

NEEDS = ("busybox-static", "cpio", "xz-utils", "debootstrap")
_MODULES = ("watchdog", "softdog")
_APPLETS = ("sh", "mount", "insmod", "mkdir", "sleep")
_LEFT_OUT = (
    "test", "tests", "site-packages", "dist-packages", "config-*", "idlelib", "ensurepip", "tkinter", "turtledemo",
    "lib2to3", "pydoc_data", "*.opt-?.pyc", "_tkinter.*", "_sqlite3.*", "_test*.so", "_dbm.*", "_gdbm.*", "_curses*.so",
)  # fmt: skip
_HOME = Path("opt/ringfence")
"""Where our code is in the guest."""
_INIT = f"""#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
for name in {" ".join(_MODULES)}; do
  options=
  [ $name != softdog ] || options=nowayout=$nowayout
  insmod /modules/$name.ko $options
done
export PYTHONPATH=/{_HOME} LD_LIBRARY_PATH=$libraries
exec $python -m lab.watchdog.inside $isolation $watchdog
"""
_PROJECT = Path(__file__).parents[3]
ANSWERS_WITHIN = 60.0
"""Also its boot: five seconds on a machine that is idle, half a minute beside many others."""


class GuestError(Exception):
    """The guest has refused an order, or was reset meanwhile; the sentence holds its own words."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What QEMU starts, but for our own code."""

    kernel: Path
    initramfs: Path
    qemu_root: Path


def prepare() -> Parts:
    """Make what is missing in the cache: half a minute, and once more for another Python."""
    machine.equip(NEEDS)
    cache = cache_root()
    cache.mkdir(parents=True, exist_ok=True)
    recipe = (KERNEL, *_MODULES, *_APPLETS, *_LEFT_OUT, sys.version, sys.base_prefix, version("urllib3"))
    key = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:16]
    shelf = cache / "guests" / f"softdog-{key}"
    if not shelf.exists():
        say("guests: an initramfs with Python and a kernel with softdog ...")
        shelf.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shelf.parent, prefix=".softdog-") as name:
            work = Path(name)
            image, tree = kernel(work)
            made = work / "made"
            made.mkdir()
            shutil.copy(image, made / "vmlinuz")
            _furnish(work / "root", tree)
            pack(work / "root", made / "initramfs")
            made.rename(shelf)
    return Parts(shelf / "vmlinuz", shelf / "initramfs", roots.debian(cache))


def _furnish(root: Path, modules: Path) -> None:
    """Everything that is the same for every version of ours."""
    for folder in ("bin", "proc", "sys", "dev", "run", "tmp", "modules", _HOME):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in _APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    for module in _MODULES:
        plain(next(modules.glob(f"drivers/watchdog/{module}.ko*")), root / "modules" / f"{module}.ko")
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(library, _below(root, library), ignore=shutil.ignore_patterns(*_LEFT_OUT))
    own = Path(urllib3.__file__).parent
    shutil.copytree(own, root / _HOME / own.name)
    program = _interpreter()
    _copy(root, program)
    for binary in (program, *_below(root, library).rglob("*.so")):
        for line in run("ldd", binary, check=False).splitlines():
            path = line.split("=>")[-1].split()[0]
            if path.startswith("/"):
                _copy(root, Path(path))


def _interpreter() -> Path:
    """The program of the Python that runs this, without its virtual environment."""
    return Path(sys.base_exec_prefix, "bin", f"python3.{sys.version_info.minor}")


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _copy(root: Path, file: Path) -> None:
    target = _below(root, file)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)


def _own_code(work: Path) -> Path:
    """Our package as it stands here, compiled: the guest has no time for that."""
    home = work / "code" / _HOME
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(_PROJECT / "operator/ringfence", home / "ringfence", ignore=ignore)
    dogs = home / "lab/watchdog"
    dogs.mkdir(parents=True)
    for file in ("tests/lab/__init__.py", "tests/lab/watchdog/__init__.py", "tests/lab/watchdog/inside.py"):
        shutil.copy(_PROJECT / file, home / Path(file).relative_to("tests"))
    init = work / "code/init"
    init.write_text(_INIT)
    init.chmod(0o755)
    run(_interpreter(), "-m", "compileall", "-q", home)
    pack(work / "code", work / "code.cpio")
    return work / "code.cpio"


class Guest:
    """One life of one guest."""

    def __init__(self, folder: Path, parts: Parts, *, isolation: float, timeout: int, nowayout: bool) -> None:
        self._folder = folder
        self.console = folder / "console.log"
        with (folder / "initramfs").open("wb") as whole:
            for part in (parts.initramfs, _own_code(folder)):
                with part.open("rb") as file:
                    shutil.copyfileobj(file, whole)
        shutil.copy(parts.kernel, folder / "vmlinuz")
        inside = parts.qemu_root / "mnt"
        settings = {
            "nowayout": int(nowayout),
            "isolation": isolation,
            "watchdog": timeout,
            "python": _interpreter(),
            "libraries": Path(sys.base_exec_prefix, "lib"),
        }
        words = " ".join(f"{name}={value}" for name, value in settings.items())
        qemu = (
            "qemu-system-x86_64", "-M", "pc", "-accel", "tcg,thread=single,tb-size=64", "-cpu", "qemu64", "-m", "384",
            "-nodefaults", "-display", "none", "-no-reboot", "-kernel", "/mnt/vmlinuz", "-initrd", "/mnt/initramfs",
            "-append", f"console=ttyS0 loglevel=4 panic=-1 mitigations=off nokaslr {words}",
            "-serial", "file:/mnt/console.log", "-serial", "unix:/mnt/port,server=on,wait=off", "-qmp", "stdio",
        )  # fmt: skip
        enter = f'mount --bind "$1" {inside} && mount --rbind /dev {parts.qemu_root}/dev && shift && exec chroot {parts.qemu_root} "$@"'
        with (folder / "qemu.log").open("wb") as log:
            self._qemu = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", enter, "sh", str(folder), *qemu],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._port = socket.socket(socket.AF_UNIX)
        self._changed = threading.Condition()
        self._state: dict[str, Any] = {}
        self._answers: list[dict[str, Any]] = []
        self._ahead = float("inf")
        self.reset_at: float | None = None
        """When QEMU told of the reset."""
        self.end_reason = ""
        self._threads = [threading.Thread(target=self._watch_qemu), threading.Thread(target=self._listen)]

    def start(self) -> None:
        """Return when its first process has spoken."""
        assert self._qemu.stdin is not None
        self._qemu.stdin.write(b'{"execute": "qmp_capabilities"}\n')
        self._qemu.stdin.flush()
        self._threads[0].start()
        until("QEMU to listen", (self._folder / "port").exists, 20, log=self._folder / "qemu.log")
        self._port.connect(str(self._folder / "port"))
        self._threads[1].start()
        self.until("the guest to be up", bool)

    def close(self) -> None:
        """End QEMU, if the guest hasn't."""
        self._qemu.kill()
        self._qemu.wait()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for pipe in (self._qemu.stdin, self._qemu.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._port.close()

    # --- what it says ---------------------------------------------------------------------------------------------------

    def until(
        self, what: str, look: Callable[[dict[str, Any]], bool], within: float = ANSWERS_WITHIN
    ) -> dict[str, Any]:
        """The first state of which this holds. Raises GuestError where the guest is reset or silent before."""
        end = time.monotonic() + within
        with self._changed:
            while not (self._state and look(self._state)):
                if self.end_reason or not self._changed.wait(max(0.0, end - time.monotonic())):
                    why = self.end_reason or f"not within {within:g} s"
                    raise GuestError(f"{what}: {why}; last {self._state}{end_of(self.console)}")
            return self._state

    def passes(self, seconds: float) -> dict[str, Any]:
        """What is tried is that it lives on for so long, by its own clock."""
        begin = self.state["now"]
        return self.until(
            "it lives on", lambda state: state["now"] >= begin + seconds, seconds + ANSWERS_WITHIN
        )

    def here(self, instant: float) -> float:
        """That instant of the guest by the host's clock; late by what the quickest line took to come here."""
        return instant + self._ahead

    def reset(self, within: float) -> float:
        """When QEMU saw its reset. Raises GuestError where it lives on, or ends otherwise."""
        with self._changed:
            self._changed.wait_for(lambda: self.end_reason, within)
        if self.reset_at is None:
            raise GuestError(
                f"no reset within {within:g} s: {self.end_reason or self._state}{end_of(self.console)}"
            )
        return self.reset_at

    @property
    def state(self) -> dict[str, Any]:
        """What it said last, and never before it has done what it was told."""
        return self.until("a word from it", bool) if not self._state else self._state

    # --- what it is told ------------------------------------------------------------------------------------------------

    def tell(self, order: str, **words: Any) -> None:
        """Let `Inside` do this, and return when it is done. Raises GuestError."""
        with self._changed:
            self._answers.clear()
            self._port.sendall(json.dumps({"do": order, **words}).encode() + b"\n")
            self._changed.wait_for(lambda: self._answers or self.end_reason, ANSWERS_WITHIN)
            answer = self._answers[0] if self._answers else {"failed": self.end_reason or "no answer"}
        if "failed" in answer:
            raise GuestError(f"{order}: {answer['failed']}{end_of(self.console)}")

    # --- threads --------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        for line, at in _lines(self._port):
            with self._changed:
                said = json.loads(line)
                if "now" in said:
                    self._state = said
                    self._ahead = min(self._ahead, at - said["now"])
                else:
                    self._state = {}
                    self._answers.append(said)
                self._changed.notify_all()

    def _watch_qemu(self) -> None:
        assert self._qemu.stdout is not None
        reason = "QEMU has ended"
        for line in self._qemu.stdout:
            at = time.monotonic()
            event = json.loads(line)
            if event.get("event") == "SHUTDOWN":
                reason = event["data"]["reason"]
                if reason == "guest-reset":
                    self.reset_at = at
                break
        with self._changed:
            self.end_reason = reason
            self._changed.notify_all()


def _lines(port: socket.socket) -> Iterator[tuple[bytes, float]]:
    """Whole lines, with when they came."""
    rest = b""
    with contextlib.suppress(OSError):
        while data := port.recv(65536):
            at = time.monotonic()
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line, at
