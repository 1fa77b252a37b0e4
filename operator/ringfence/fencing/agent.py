"""One machine's power through a fence agent: any ``fence_*`` program of the cluster stacks, by its standard protocol.

The program is started without arguments, gets ``name=value`` lines on its standard input and answers by its exit
status. Secrets go there too and nowhere else; what an agent does with them is its own affair (Debian's fence_ipmilan
gives the password to ipmitool as an argument: the driver ``ipmi`` does not).

- **Off is believed only in full**: exit status 2 *and* the line ``Status: OFF``. By itself 2 is also how a shell with a
  syntax error or a Python that can't open its file ends.
- **Which program**: by its name, in fixed folders. A FenceDevice names no path, and no parameter that makes an agent run
  a program.
- **Parameters** are compared with the agent's metadata before the first run, see :mod:`ringfence.fencing.metadata`.
- **Who is it**: no agent tells. The identity is proved by an off/on drill or not at all.
- **What went wrong** is the agent's last line, masked. Only a few sentences that Debian's agents share say more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ringfence.core.model import PowerState
from ringfence.fencing import metadata, program
from ringfence.fencing.metadata import Metadata, MetadataError
from ringfence.fencing.program import Outcome
from ringfence.fencing.secret import word
from ringfence.ports import (
    Clock,
    DeviceError,
    DeviceIdentity,
    DeviceMisconfigured,
    DeviceRefused,
    DeviceSpec,
    DeviceUnauthorized,
    DeviceUnreachable,
    OrderReceipt,
    PowerReading,
)

FOLDERS: Final = (Path("/usr/sbin"), Path("/sbin"))
CARRYING_OUT: Final = 8.0
"""Seconds that the device may take from accepting an order to the power's change."""
METADATA_TIMEOUT: Final = 10.0
_PROGRAM: Final = re.compile(r"fence_[a-z0-9_]+")
_PARAMETER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_STATUS: Final[Mapping[tuple[int, str], PowerState]] = {
    (0, "Status: ON"): PowerState.ON,
    (2, "Status: OFF"): PowerState.OFF,
}
# What Debian's agents have in common (fencing.py, fail()). They say "Unable to obtain correct plug status" for nearly
# everything, a wrong password included.
_UNREACHABLE: Final = ("Connection timed out", "Connection lost")
_UNAUTHORIZED: Final = (
    "Unable to connect/login to fencing device",
    "Failed: You have to set login password",
    "Failed: The user does not have the correct privileges to do the requested action.",
)

_known: dict[tuple[str, int, int], Metadata] = {}
"""By path, time and size: an agent says the same as long as it is the same file."""


class AgentDevice:
    """See :class:`ringfence.ports.PowerDevice`. Used by one task at a time."""

    def __init__(
        self,
        spec: DeviceSpec,
        secret: Mapping[str, bytes],
        clock: Clock,
        folders: Sequence[Path] = FOLDERS,
    ) -> None:
        """``secret`` has the secret parameters by name. Raises DeviceMisconfigured; starts nothing."""
        self._name = spec.name
        self._spec = spec
        self._clock = clock
        if not _PROGRAM.fullmatch(spec.program):
            raise self._wrong(f"spec.agent.program: {spec.program!r} is no name like fence_apc: write one")
        self._path = next((f / spec.program for f in folders if (f / spec.program).is_file()), None)
        self._folders = folders
        self._plain = dict(spec.parameters)
        self._secret = {key: word(spec.name, secret, key) for key in secret}
        for name, value in (*self._plain.items(), *self._secret.items()):
            if not _PARAMETER.fullmatch(name):
                raise self._wrong(f"spec.agent: parameter {name!r} is no name: letters, digits, _ . and -")
            if not value.isprintable():
                raise self._wrong(
                    f"spec.agent: parameter {name} has control characters: write it as one line"
                )
            if (why := metadata.forbidden(name)) is not None:
                raise self._wrong(f"spec.agent: parameter {name}: {why}", "ForbiddenParameter")
        if twice := sorted(self._plain.keys() & self._secret.keys()):
            raise self._wrong(
                f"spec.agent: parameter {twice[0]} is given in the clear and as a secret: remove one"
            )

    @property
    def order_lasts(self) -> float:
        return self._spec.timeout_seconds + CARRYING_OUT

    async def open(self) -> None:
        """Compare the parameters with the agent's metadata. The first reading finds what else is wrong."""
        fault = metadata.check(
            self._spec.program, await self._metadata(), self._plain, frozenset(self._secret)
        )
        if fault is not None:
            raise self._wrong(fault.sentence, fault.reason)

    async def close(self) -> None:
        """Nothing to close: every run has a session of its own."""

    async def identity(self) -> DeviceIdentity:
        return DeviceIdentity(uuid="", serial="")

    async def power(self) -> PowerReading:
        outcome = await self._act("status")
        state = _STATUS.get((outcome.code, outcome.stdout.strip()))
        if state is None:
            raise self._failure(outcome, "status")
        return PowerReading(state=state, at=outcome.began_at)

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        return await self._order("off", deadline)

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        return await self._order("on", deadline)

    async def _order(self, action: str, deadline: float | None) -> OrderReceipt:
        outcome = await self._act(action, deadline=deadline, order=True)
        if outcome.code != 0:
            # An agent that failed may have given the order all the same, and waited in vain for its effect.
            raise self._failure(outcome, action, sent_at=outcome.began_at)
        return OrderReceipt(
            action=action,
            sent_at=outcome.began_at,
            answered_at=outcome.ended_at,
            effective_until=outcome.began_at + self.order_lasts,
            already="Already" in outcome.stdout,
        )

    async def _act(self, action: str, *, deadline: float | None = None, order: bool = False) -> Outcome:
        lines = {**self._plain, **self._secret, "action": action}
        return await program.run(
            self._name,
            (str(self._found()),),
            self._clock,
            timeout=self._spec.timeout_seconds,
            stdin="".join(f"{name}={value}\n" for name, value in lines.items()).encode(),
            deadline=deadline,
            order=order,
        )

    async def _metadata(self) -> Metadata:
        path = self._found()
        found = path.stat()
        key = (str(path), found.st_mtime_ns, found.st_size)
        if key not in _known:
            outcome = await program.run(
                self._name, (str(path),), self._clock, timeout=METADATA_TIMEOUT, stdin=b"action=metadata\n"
            )
            if outcome.code != 0:
                raise self._failure(outcome, "metadata")
            try:
                _known[key] = metadata.parse(outcome.stdout)
            except MetadataError as error:
                raise self._wrong(
                    f"{self._spec.program}: {error}: use another agent", "NoFenceAgent"
                ) from None
        return _known[key]

    def _found(self) -> Path:
        if self._path is None:
            raise self._wrong(
                f"spec.agent.program: there is no {self._spec.program} in {', '.join(map(str, self._folders))}"
                " of the controller's image: install it there or correct the name",
                "AgentNotFound",
            )
        return self._path

    def _failure(self, outcome: Outcome, action: str, *, sent_at: float | None = None) -> DeviceError:
        lines = [line for line in outcome.stderr.splitlines() if line.strip() and "-h' for usage" not in line]
        words = program.sentence(lines[-1] if lines else outcome.stdout, self._secret.values())
        said = re.sub(r"^\S+ \S+ ERROR: ", "", words)
        sentence = f"fence device {self._name}: {self._spec.program} {action}: " + (
            said or f"exit status {outcome.code} without a word"
        )
        if said in _UNREACHABLE:
            return DeviceUnreachable(sentence, sent_at=sent_at)
        if said in _UNAUTHORIZED:
            return DeviceUnauthorized(sentence, sent_at=sent_at)
        return DeviceRefused(sentence, sent_at=sent_at)

    def _wrong(self, sentence: str, reason: str = "Misconfigured") -> DeviceMisconfigured:
        return DeviceMisconfigured(f"fence device {self._name}: {sentence}", reason=reason)
