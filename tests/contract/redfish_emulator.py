"""sushy-tools' Redfish emulator with a power driver that acts at once and can be told to misbehave.

Run as a program: ``python redfish_emulator.py FOLDER PORT``. FOLDER holds ``bmc.crt``, ``bmc.key``, ``users``
(htpasswd, bcrypt) and ``systems.json``: {uuid: {"name": ..., "power": "On", "mode": "ok"}}, which the test may
rewrite at any time and which is where the power *is*. Modes: ok, ignore (204 and nothing happens), refuse (400),
busy (409 and one try less in "busy"), hang (no answer), slow (204, and it happens "delay" seconds later).
"""

# ruff: noqa: PLC0415 - a test imports this file for its path; only the program needs the emulator
from __future__ import annotations

import json
import os
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
LOCK = threading.Lock()


def load() -> dict[str, Any]:
    with LOCK:
        found: dict[str, Any] = json.loads((FOLDER / "systems.json").read_text())
        return found


def store(systems: dict[str, Any]) -> None:
    with LOCK:
        fresh = FOLDER / "systems.json.new"
        fresh.write_text(json.dumps(systems))
        fresh.replace(FOLDER / "systems.json")


def change(uuid: str, power: str) -> None:
    systems = load()
    systems[uuid]["power"] = power
    store(systems)


def main() -> None:
    from sushy_tools import error
    from sushy_tools.emulator import main as emulator
    from sushy_tools.emulator.resources.systems import fakedriver

    class ActingDriver(fakedriver.FakeDriver):  # type: ignore[misc]
        def get_power_state(self, identity: str) -> str:
            system = load()[self.uuid(identity)]
            if system["mode"] == "hang":
                threading.Event().wait(30)
            return str(system["power"])

        def set_power_state(self, identity: str, state: str) -> None:
            systems = load()
            system = systems[self.uuid(identity)]
            system.setdefault("orders", []).append(state)
            mode = system["mode"]
            if mode == "busy" and system["busy"] > 0:
                system["busy"] -= 1
                store(systems)
                raise error.Conflict("a power change is under way")
            power = "Off" if state == "ForceOff" else "On"
            if mode in {"ok", "busy"}:
                system["power"] = power
            store(systems)
            if mode == "slow":
                threading.Timer(system["delay"], change, (self.uuid(identity), power)).start()
            if mode == "refuse":
                raise error.BadRequest("not today")
            if mode == "hang":
                threading.Event().wait(30)

    fakedriver.FakeDriver = ActingDriver
    settings = {
        "SUSHY_EMULATOR_FAKE_DRIVER": True,
        "SUSHY_EMULATOR_FEATURE_SET": "full",
        "SUSHY_EMULATOR_AUTH_FILE": str(FOLDER / "users"),
        "SUSHY_EMULATOR_STATE_DIR": str(FOLDER),
        "SUSHY_EMULATOR_FAKE_SYSTEMS": [
            {"uuid": uuid, "name": s["name"], "power_state": "On", "nics": []} for uuid, s in load().items()
        ],
    }
    path = FOLDER / "sushy.conf"
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in settings.items()))
    os.environ.pop("SUSHY_EMULATOR_CONFIG", None)
    emulator.app.configure(config_file=str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "bmc.crt", FOLDER / "bmc.key")
    emulator.app.run(host="127.0.0.1", port=int(sys.argv[2]), ssl_context=context, threaded=True)


if __name__ == "__main__":
    main()
