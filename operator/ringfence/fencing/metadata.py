"""What a fence agent says of itself (``action=metadata``), and what is wrong with what it is to be given.

An agent ignores a parameter that it doesn't know, with a line in a log that nobody reads. So what a FenceDevice declares
is compared with the agent's own metadata (the XML of the cluster stacks' FenceAgentAPI) when it is declared, not when a
node has died.

The XML comes from a program, so it is read by a parser that stops at a document type: no entity is ever expanded.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

_FORBIDDEN: Final[Mapping[str, str]] = {
    "action": "ringfence says what is to be done: remove it",
    "option": "ringfence says what is to be done: remove it",
    "delay": "an order must not leave later than ringfence decided: use HACluster spec.holdSeconds",
    "missing_as_off": "a machine that the device doesn't know would count as off: remove it",
    "quiet": "ringfence has to read what the agent says: remove it",
    "verbose": "secrets would be told: remove it",
    "verbose_level": "secrets would be told: remove it",
    "debug": "secrets would be written to a file: remove it",
    "debug_file": "secrets would be written to a file: remove it",
    "logfile": "secrets would be written to a file: remove it",
    "help": "it does nothing: remove it",
    "version": "it does nothing: remove it",
    "sudo": "it runs a program of its own: remove it",
    "use_sudo": "it runs a program of its own: remove it",
    "ssh_options": "it runs a program of its own: remove it",
    "exec": "it runs a program of its own: remove it",
    "runonfail": "it runs a program of its own: remove it",
    "runonwarn": "it runs a program of its own: remove it",
}
_NO_PROGRAM: Final = frozenset({"api_path", "store_path"})
SECRETS: Final = frozenset(
    {
        *("password", "passwd", "snmp_priv_passwd", "community", "apikey", "token"),
        *("secret_key", "hexadecimal_kg"),
    }
)
"""Parameters that may only come out of a Secret."""
_NO_POWER: Final[Mapping[str, str]] = {
    "fence_ack_manual": "it asks a person: use the driver manual",
    "fence_crosslink": "it calls a node off that doesn't answer a ping",
    "fence_evacuate": "it moves instances and switches nothing off",
    "fence_heuristics_ping": "it is a vote, it switches nothing off",
    "fence_kdump": "it waits for a message and switches nothing off",
    "fence_sbd": "it leaves a message on a disk and can't read the power",
}
_NEEDED: Final = ("off", "on", "status")


@dataclass(slots=True)
class Parameter:
    """One parameter of an agent."""

    required: bool = False
    deprecated: bool = False
    obsoletes: str = ""
    """The older name that this one replaces."""
    type: str = "string"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metadata:
    """One agent: its parameters by name, and the actions that it knows."""

    parameters: Mapping[str, Parameter]
    actions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong: the condition's reason, and a sentence with field and mend."""

    reason: str
    sentence: str


class MetadataError(Exception):
    """It is no metadata of a fence agent; the sentence says why."""


@dataclass(slots=True)
class _Reader:
    parameters: dict[str, Parameter] = field(default_factory=dict)
    actions: set[str] = field(default_factory=set)
    current: Parameter | None = None
    root: str = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        match name:
            case "parameter":
                self.current = Parameter(
                    required=attributes.get("required") == "1",
                    deprecated=attributes.get("deprecated") == "1",
                    obsoletes=attributes.get("obsoletes", ""),
                )
                self.parameters[attributes.get("name", "")] = self.current
            case "content" if self.current is not None:
                self.current.type = attributes.get("type", "string")
            case "option" if self.current is not None:
                self.current.choices += (attributes.get("value", ""),)
            case "action":
                self.actions.add(attributes.get("name", ""))

    def end(self, name: str) -> None:
        if name == "parameter":
            self.current = None


def parse(text: str) -> Metadata:
    """Read an agent's metadata. Raises MetadataError."""
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise MetadataError(f"its metadata is no XML: {error}") from None
    if reader.root != "resource-agent" or not reader.actions:
        raise MetadataError("its metadata describes no fence agent")
    return Metadata(reader.parameters, frozenset(reader.actions))


def _refuse(*_: object) -> None:
    raise MetadataError("its metadata has a document type or entities, which are not read")


def forbidden(name: str) -> str | None:
    """Why nobody may give an agent this parameter, with the mend; None: it may be given."""
    if (why := _FORBIDDEN.get(name)) is not None:
        return why
    if name.endswith("_script") or (name.endswith("_path") and name not in _NO_PROGRAM):
        return "a FenceDevice names no programs and scripts: remove it, the agent finds its own"
    return None


def check(program: str, metadata: Metadata, plain: Mapping[str, str], secret: frozenset[str]) -> Fault | None:
    """What is wrong with giving the agent these parameters: the first fault, or None.

    Args:
        plain: the parameters of one node, the common ones and its own.
        secret: the names of those that come out of a Secret.
    """
    if program in _NO_POWER or "reboot" not in metadata.actions or not metadata.actions.issuperset(_NEEDED):
        lacks = sorted({*_NEEDED, "reboot"} - metadata.actions)
        why = _NO_POWER.get(program) or f"it has no action {', '.join(lacks)}"
        return Fault("NoPowerAgent", f"spec.agent.program: {program} proves no power off: {why}; use another")
    for name in sorted({*plain, *secret}):
        where = f"spec.agent: parameter {name}"
        if (why_not := forbidden(name)) is not None:
            return Fault("ForbiddenParameter", f"{where}: {why_not}")
        known = metadata.parameters.get(name)
        if known is None:
            return Fault(
                "UnknownParameter", f"{where}: {program} does not know it{_perhaps(name, program, metadata)}"
            )
        if known.deprecated:
            newer = next((n for n, p in metadata.parameters.items() if p.obsoletes == name), "")
            mend = f"use {newer}" if newer else "remove it"
            return Fault("DeprecatedParameter", f"{where} is deprecated: {mend}")
        if name in SECRETS and name in plain:
            return Fault("SecretInTheClear", f"{where} is a secret: move it to spec.agent.secretParameters")
        if name in plain and (wrong := _unfit(known, plain[name])):
            return Fault("InvalidParameter", f"{where}: {wrong}")
    missing = sorted(
        name
        for name, known in metadata.parameters.items()
        if known.required
        and not known.deprecated
        and name != "action"
        and name not in plain
        and name not in secret
    )
    if missing:
        where = "nodeParameters" if missing == ["plug"] else "parameters"
        return Fault(
            "MissingParameter",
            f"spec.agent.{where}: {program} needs {', '.join(missing)}: add what is missing",
        )
    return None


def _unfit(known: Parameter, value: str) -> str:
    if known.choices and value not in known.choices:
        return f"{value!r} is not among {', '.join(known.choices)}"
    if known.type in {"integer", "second"} and not value.removeprefix("-").isdecimal():
        return f"{value!r} is no whole number"
    return ""


def _perhaps(name: str, program: str, metadata: Metadata) -> str:
    """The parameter that was probably meant."""
    names = [known for known, about in metadata.parameters.items() if not about.deprecated]
    meant = difflib.get_close_matches(name.lower(), names, n=1)
    return f"; did you mean {meant[0]}?" if meant else f"; `{program} -o metadata` tells what it knows"
