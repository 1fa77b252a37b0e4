"""A Redfish BMC for each node: sushy-tools' emulator, with a power that is what the node really is.

``PowerState`` is read from the node's process 1 (or by a command, ``--reads``), ``ForceOff`` and ``On`` run the lab's own
commands and return when they have worked. A control file makes it misbehave, read anew for each request:

=========  ===================================================================================
ok         as above
ignore     answers 204 and does nothing; reads stay true
lie        answers 204 and does nothing; from then on reads ``Off`` while the node runs
refuse     answers 400 to power requests
hang       gives no answer for ``delay`` seconds, to anything
slow       answers at once, acts ``delay`` seconds later
flap       acts as ok; every second read says the opposite of what is
=========  ===================================================================================
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bcrypt

from lab.power import note, really_on

HANG = 60.0
HANDSHAKE = 15.0
"""Seconds that a connection may be silent."""
MODES = ("ok", "ignore", "lie", "refuse", "hang", "slow", "flap")
_OFF, _ON = ("off",), ("on",)
_HOOKS = {
    "ForceOff": _OFF,
    "GracefulShutdown": _OFF,
    "On": _ON,
    "ForceOn": _ON,
    "ForceRestart": _OFF + _ON,
    "GracefulRestart": _OFF + _ON,
    "PowerCycle": _OFF + _ON,
}
"""What each power request of Redfish does to the node, in that order."""


_READS = {"true": True, "false": False}
"""What a command of ``--reads`` may print."""


class ReadingError(Exception):
    """The power could not be read."""


class Bmc:
    """A BMC from outside: its control file and its log."""

    def __init__(self, control: Path, log: Path) -> None:
        self._control = control
        self._log = log

    def mode(self, mode: str, delay: float = 0.0) -> None:
        """Behave like this from the next request on. ValueError: no such mode, which would pass for ``ok``."""
        if mode not in MODES:
            raise ValueError(f"a BMC has no mode {mode!r}: {', '.join(MODES)}")
        fresh = self._control.with_suffix(".new")
        fresh.write_text(json.dumps({"mode": mode, "delay": delay}))
        fresh.rename(self._control)

    def log(self) -> list[dict[str, Any]]:
        """What was asked and done, one entry a line, with wall-clock times."""
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []


def write_htpasswd(path: Path, user: str, password: str) -> None:
    """The one account of the BMCs; a cheap hash, since every request checks it."""
    path.write_text(f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()}\n")


def lab_command(lab: str) -> list[str]:
    """How the lab's own command line is called for that lab."""
    return [sys.executable, "-m", "lab", "--name", lab]


def command(*, off: Sequence[str], on: Sequence[str], **options: object) -> list[str]:
    """The command that starts a BMC."""
    flags = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    return [
        sys.executable,
        "-m",
        "lab.bmc",
        *flags,
        "--off",
        json.dumps(list(off)),
        "--on",
        json.dumps(list(on)),
    ]


class Power:
    """The node's power, and what this BMC makes of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._lied = False
        self._flapped = False
        self._lock = threading.Lock()

    def _control(self) -> tuple[str, float]:
        try:
            control = json.loads(Path(self._options.control).read_text())
        except OSError:
            return "ok", 0.0
        return control.get("mode", "ok"), float(control.get("delay", 0.0))

    def _note(self, what: str, **more: object) -> None:
        with self._lock:
            note(Path(self._options.log), self._options.node, what, **more)

    def really_on(self) -> bool:
        """Raises ReadingError where the command doesn't know: what is not known must never read as off."""
        if not self._options.reads:
            return really_on(Path(self._options.node_dir))
        command = json.loads(self._options.reads)
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode or (word := done.stdout.strip()) not in _READS:
            raise ReadingError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-300:]}")
        return _READS[word]

    def read(self) -> str:
        mode, delay = self._control()
        if mode == "hang":
            time.sleep(delay or HANG)  # that is the fault: no answer for so long
        self._lied = self._lied and mode == "lie"
        try:
            on = self.really_on() and not self._lied
        except ReadingError as trouble:
            from sushy_tools import error  # noqa: PLC0415 - flask and all: only where a BMC runs

            self._note("unreadable", said=str(trouble))
            raise error.FishyError(str(trouble), 503) from None
        self._flapped = mode == "flap" and not self._flapped
        state = "On" if on != self._flapped else "Off"
        self._note("read", state=state, mode=mode)
        return state

    def request(self, state: str) -> None:
        mode, delay = self._control()
        self._note("request", state=state, mode=mode)
        from sushy_tools import error  # noqa: PLC0415 - flask and all: only where a BMC runs

        if state not in _HOOKS:
            raise error.NotSupportedError(f"power request {state}")  # an NMI must not count as "on"
        if mode == "refuse":
            raise error.BadRequest("refused")
        if mode == "hang":
            time.sleep(delay or HANG)
        if mode == "lie" and "Off" in state:
            self._lied = True
        if mode in ("ignore", "lie"):
            return
        if mode == "slow":
            threading.Timer(delay, self._act, (state,)).start()
            return
        self._act(state)

    def _act(self, state: str) -> None:
        for name in _HOOKS[state]:
            began = time.time()
            command = json.loads(getattr(self._options, name))
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            took = round(time.time() - began, 3)
            self._note("hook", key=name, rc=done.returncode, took=took, said=done.stderr[-300:])


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.bmc")
    for name in (
        "listen",
        "port",
        "cert",
        "key",
        "htpasswd",
        "node",
        "uuid",
        "node-dir",
        "control",
        "log",
        "off",
        "on",
    ):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--reads", default="", help="a command (JSON) that prints true or false: is it on?")
    options = parser.parse_args()
    from sushy_tools.emulator import main as emulator  # noqa: PLC0415 - flask and all: only where a BMC runs
    from sushy_tools.emulator.resources.systems import fakedriver  # noqa: PLC0415

    power = Power(options)

    class NodeDriver(fakedriver.FakeDriver):  # type: ignore[misc] # sushy-tools has no types
        """The emulator's driver for one system: the node."""

        def get_power_state(self, _identity: str) -> str:
            return power.read()

        def set_power_state(self, _identity: str, state: str) -> None:
            power.request(state)

    fakedriver.FakeDriver = NodeDriver
    config = Path(options.node_dir) / "bmc-sushy.conf"
    system = [{"uuid": options.uuid, "name": options.node, "power_state": "On", "nics": []}]
    config.write_text(
        f"SUSHY_EMULATOR_FAKE_DRIVER = True\nSUSHY_EMULATOR_FEATURE_SET = 'full'\n"
        f"SUSHY_EMULATOR_AUTH_FILE = {options.htpasswd!r}\nSUSHY_EMULATOR_FAKE_SYSTEMS = {system!r}\n"
        f"SUSHY_EMULATOR_STATE_DIR = {options.node_dir!r}\n"
    )
    os.environ.pop("SUSHY_EMULATOR_CONFIG", None)
    emulator.app.configure(config_file=str(config))
    from werkzeug.serving import WSGIRequestHandler  # noqa: PLC0415

    # A client that connects and falls silent (its node was cut just then) must hold up nobody else.
    WSGIRequestHandler.timeout = HANDSHAKE
    context = PatientContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    emulator.app.run(host=options.listen, port=int(options.port), ssl_context=context, threaded=True)


class PatientContext(ssl.SSLContext):
    """Leaves the handshake to the thread that serves the connection; by itself accept() would wait for it."""

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*arguments, **{**options, "do_handshake_on_connect": False})


if __name__ == "__main__":
    main()
