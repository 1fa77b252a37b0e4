"""Would a node's death be proved: zones, fence devices as they were last proved, watchdogs as the nodes report them."""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.cli.devices import rows_of
from ringfence.cli.doctor.finding import Finding, broken, note, ok, warning
from ringfence.cli.doctor.look import Look, age
from ringfence.cli.document import Document, instant

PROOF_OLD = 900.0
"""Seconds; a device is asked once a minute, its status follows every five."""


def _zones(look: Look) -> Iterator[Finding]:
    zones = look.own("hazones")
    if not zones:
        yield note("HAZone", "there is none: no node is watched until you declare one")
    for zone in zones:
        ready = zone.condition("Ready")
        about = f"zone {zone.name}"
        if ready.text("status") == "True":
            yield ok(about, ready.text("message") or "ready")
        elif zone.at("spec", "enabled") is False:
            yield note(about, "spec.enabled is false: its nodes are not fenced")
        else:
            told = ready.text("message") or "no controller has judged it yet"
            yield broken(about, f"{ready.text('reason') or 'not ready'}: {told}")


def _devices(look: Look) -> Iterator[Finding]:
    devices = look.own("fencedevices")
    if not devices:
        yield note("FenceDevice", "there is none: after a node's death a person must confirm that it is off")
    for device in devices:
        if device.text("spec", "driver") == "manual":
            continue
        for row in rows_of(device):
            about = f"{row.device} for {row.node}"
            old = age(instant(row.proved_at), look.now)
            if row.ready != "True":
                yield broken(about, f"{row.ready}: {row.message or 'no controller has proved it yet'}")
            elif row.proved_at and old > PROOF_OLD:
                yield broken(
                    about, f"was last proved usable {old / 60:.0f} min ago: is a controller running?"
                )
            elif row.drill:
                yield warning(about, f"its last drill has not passed: {row.drill}")
            else:
                yield ok(about, "proved usable" + ("" if row.drilled_at else ", never drilled"))


def _watchdogs(look: Look) -> Iterator[Finding]:
    relied = {
        node
        for device in look.own("fencedevices")
        if device.text("spec", "driver") == "watchdog"
        for node in device.texts("spec", "nodes")
    }
    reports = {report.name: report for report in look.own("nodereports")}
    for node in sorted(relied):
        dog = reports.get(node, Document({})).part("status", "watchdog")
        if not dog.content:
            yield broken(
                node, "no watchdog is reported, though a FenceDevice counts on it: set agent.watchdog.enabled"
            )
        elif dog.at("armed") is not True:
            yield broken(
                node, f"its watchdog is not armed: {dog.text('reason') or 'its agent does not say why'}"
            )
        elif dog.at("nowayout") is True:
            yield note(
                node, "its watchdog can't be stopped (nowayout): an agent that stays away costs the node"
            )
        else:
            yield ok(node, f"its watchdog is armed, {dog.text('timeoutSeconds')} s")
    for name, report in sorted(reports.items()):
        if name not in relied and report.at("status", "watchdog", "armed") is True:
            yield note(name, "its watchdog is armed, and no FenceDevice of driver watchdog counts on it")


_BY_MODE = frozenset({"ClusterDryRun", "ClusterPaused", "ClusterDisarmed"})
"""Somebody wants it so, and it is the same for all."""


def _vms(look: Look) -> Iterator[Finding]:
    for vm in look.own("protectedvms"):
        protected = vm.condition("Protected")
        about = f"VM {vm.text('metadata', 'namespace')}/{vm.text('spec', 'vm', 'name')}"
        if protected.text("status") == "True":
            yield ok(about, protected.text("message"))
        elif (reason := protected.text("reason")) in {"NotRunning", "Ignored"}:
            yield note(about, protected.text("message") or reason)
        elif reason in _BY_MODE:
            yield warning(about, protected.text("message"))
        else:
            told = protected.text("message") or "no controller has judged it yet"
            yield broken(about, f"{reason or 'not protected'}: {told}")


CHECKS = (_zones, _devices, _watchdogs, _vms)
