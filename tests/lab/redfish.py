"""The BMCs' own program: one Redfish service per node, each on its own port, its power the node's real one.

sushy-tools speaks Redfish; in place of its drivers for libvirt and clouds stands one that acts on the lab's nodes.
``PowerState`` is never remembered: it is whether the node's init lives. A control file makes a BMC misbehave:

==========  ====================================================================================
``ok``      does what it is told
``ignore``  answers 204 and does nothing; the state it reports is the true one
``lie``     answers 204, does nothing and reports Off from then on: fenced on paper only
``refuse``  answers power actions with an error
``hang``    answers nothing for *delay* seconds (default 60)
``slow``    answers at once and acts *delay* seconds later
==========  ====================================================================================

``python -m lab.redfish LAB`` serves all nodes of the lab. Each request and each act is a line of ``logs/bmc.jsonl``.
"""

from __future__ import annotations

import logging
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import flask
from sushy_tools import error
from sushy_tools.emulator import main as emulator
from sushy_tools.emulator.resources.systems import fakedriver
from sushy_tools.emulator.resources.systems.base import AbstractSystemsDriver
from werkzeug.serving import WSGIRequestHandler, make_server

from lab.bmc import Bmc
from lab.cluster import Lab
from lab.node import Node

_NODE = "lab.node"


class Power(AbstractSystemsDriver):  # type: ignore[misc]
    """sushy-tools' view of the one node behind the port that a request came in by."""

    bmcs: dict[str, Bmc]
    nodes: dict[str, Node]

    @classmethod
    def initialize(cls, _config: Any, _logger: Any, *_more: Any) -> type[Power]:
        return cls

    @property
    def driver(self) -> str:
        return "<lab>"

    def _here(self) -> tuple[Bmc, Node]:
        name = flask.request.environ[_NODE]
        return self.bmcs[name], self.nodes[name]

    def _check(self, identity: str) -> tuple[Bmc, Node]:
        bmc, node = self._here()
        if identity not in (bmc.uuid, node.name):
            raise error.NotFound(f"no system {identity} behind this BMC")
        if identity == node.name:
            raise error.AliasAccessError(bmc.uuid)
        return bmc, node

    @property
    def systems(self) -> list[str]:
        return [self._here()[0].uuid]

    def uuid(self, identity: str) -> str:
        return self._check(identity)[0].uuid

    def name(self, identity: str) -> str:
        return self._check(identity)[1].name

    def get_power_state(self, identity: str) -> str:
        bmc, node = self._check(identity)
        mode, delay = bmc.behaviour()
        if mode == "hang":
            time.sleep(delay or 60)
        state = "On" if node.running() else "Off"
        if mode == "lie" and bmc.lied():
            state = "Off"
        bmc.note("read", state=state, mode=mode)
        return state

    def set_power_state(self, identity: str, state: str) -> None:
        bmc, node = self._check(identity)
        mode, delay = bmc.behaviour()
        bmc.note("request", state=state, mode=mode)
        acts: dict[str, tuple[Callable[[str], None], ...]] = {
            "On": (node.power_on,),
            "ForceOn": (node.power_on,),
            "ForceOff": (node.power_off,),
            "GracefulShutdown": (node.power_off,),
            "ForceRestart": (node.power_off, node.power_on),
            "GracefulRestart": (node.power_off, node.power_on),
            "PowerCycle": (node.power_off, node.power_on),
        }
        if state not in acts:
            raise error.NotSupportedError(f"power state {state}")
        if mode == "refuse":
            raise error.BadRequest("the lab told this BMC to refuse")
        if mode == "ignore":
            return
        if mode == "lie":
            bmc.lie(off=state not in ("On", "ForceOn"))
            return

        def act() -> None:
            began = time.monotonic()
            for step in acts[state]:
                step("bmc")
            seconds = round(time.monotonic() - began, 3)
            bmc.note("done", state=state, power="On" if node.running() else "Off", seconds=seconds)

        if mode == "hang":
            time.sleep(delay or 60)
        if mode == "slow":
            threading.Timer(delay, act).start()
            return
        act()

    def get_boot_device(self, identity: str) -> str:
        self._check(identity)
        return "Hdd"

    def set_boot_device(self, identity: str, boot_source: str) -> None:
        raise error.NotSupportedError(f"boot from {boot_source}")

    def get_boot_mode(self, identity: str) -> str:
        self._check(identity)
        return "UEFI"

    def get_nics(self, identity: str) -> list[dict[str, str]]:
        self._check(identity)
        return []


class Requests(WSGIRequestHandler):
    """Connections stay open between requests, as those of real BMCs do."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: Any, **__: Any) -> None:
        """Not werkzeug's log: the service writes its own."""


def _behind(bmc: Bmc, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """*application*, told which BMC it is; every answer is noted."""

    def serve(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        environ[_NODE] = bmc.node

        def noted(status: str, headers: Any, *more: Any) -> Any:
            path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
            bmc.note("answer", method=method, path=path, status=int(status.split()[0]))
            return start(status, headers, *more)

        return application(environ, noted)

    return serve


def serve(name: str) -> None:
    """Serve the BMCs of the lab *name* until killed."""
    lab = Lab.load(name)
    Power.nodes = {node.name: node for node in lab.nodes}
    Power.bmcs = {node.name: lab.bmc(node.name) for node in lab.nodes}
    # sushy-tools chooses its driver by configuration among its own four; ours takes the place of the fake one.
    fakedriver.FakeDriver = Power
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    emulator.app.configure(
        extra_config={
            "SUSHY_EMULATOR_FAKE_DRIVER": True,
            "SUSHY_EMULATOR_AUTH_FILE": str(lab.plan.pki / "bmc.htpasswd"),
        }
    )
    threads = []
    for bmc in Power.bmcs.values():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(lab.plan.pki / "bmc.crt", lab.plan.pki / "bmc.key")
        server = make_server(
            lab.plan.address,
            bmc.port,
            _behind(bmc, emulator.app),
            threaded=True,
            request_handler=Requests,
            ssl_context=context,
        )
        threads.append(threading.Thread(target=server.serve_forever, name=bmc.node))
        threads[-1].start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    serve(sys.argv[1])
