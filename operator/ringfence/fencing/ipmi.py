"""One machine's power through IPMI 2.0: RMCP+ sessions to its BMC, spoken by the program ``ipmitool``.

Each reading and each order is one run of ipmitool, one session, some 0.1 s: there is no session to keep open. The
password goes through a pipe (``-f /dev/fd/N``), never into arguments or environment. Version 1.5 (``lan``) isn't
offered: its sessions can be taken over.

- **Who is it**: *Get System GUID*. Many BMCs tell the machine's SMBIOS UUID there, in one of three orders of bytes
  (see :mod:`ringfence.core.fencing.identity`); some tell nothing, or a number of their own. Then the identity is not
  proved by words.
- **What went wrong** is read from ipmitool's own sentences (``-v`` makes it say at which step of the session it
  failed). What isn't known here is a refusal with the sentence in it; no sentence ever counts as success.
- **Success** is exit status 0 *and* the exact line that ipmitool prints for what was asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ringfence.core.fencing.identity import names_a_machine, spelled
from ringfence.core.model import PowerState
from ringfence.fencing import program
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

IPMITOOL: Final = "/usr/bin/ipmitool"
CARRYING_OUT: Final = 8.0
"""Seconds that a BMC may take from accepting an order to the power's change."""
PORT: Final = 623
LONGEST_USER, LONGEST_PASSWORD = 16, 20
"""Bytes, by the specification (IPMI 2.0, section 22.30)."""
_POWER: Final[Mapping[str, PowerState]] = {
    "Chassis Power is on": PowerState.ON,
    "Chassis Power is off": PowerState.OFF,
}
_ACCEPTED: Final[Mapping[str, str]] = {
    "off": "Chassis Power Control: Down/Off",
    "on": "Chassis Power Control: Up/On",
}
_GET_GUID: Final = ("raw", "0x06", "0x37")
_ADDRESS: Final = re.compile(
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::([0-9]{1,5}))?"
)


class IpmiDevice:
    """See :class:`ringfence.ports.PowerDevice`. Used by one task at a time."""

    def __init__(self, spec: DeviceSpec, secret: Mapping[str, bytes], clock: Clock) -> None:
        """Raises DeviceMisconfigured; connects nowhere."""
        self._name = spec.name
        self._spec = spec
        self._clock = clock
        self._user, self._password = (word(spec.name, secret, key) for key in ("username", "password"))
        for text, key, most in (
            (self._user, "username", LONGEST_USER),
            (self._password, "password", LONGEST_PASSWORD),
        ):
            if len(text.encode()) > most:
                raise self._wrong(
                    f"its Secret's key {key!r} is longer than the {most} bytes that IPMI allows: shorten it",
                    "SecretInvalid",
                )
        host, port = self._address()
        self._command = (
            *(IPMITOOL, "-v", "-I", "lanplus", "-C", str(spec.cipher_suite), "-L", spec.privilege),
            *("-H", host, "-p", str(port), "-U", self._user, "-f", "{secret}"),
            *("-N", "1", "-R", str(_tries(spec.timeout_seconds))),
        )

    @property
    def order_lasts(self) -> float:
        return self._spec.timeout_seconds + CARRYING_OUT

    async def open(self) -> None:
        """Nothing: every run has a session of its own, the first of them finds what is wrong."""

    async def close(self) -> None:
        """Nothing to close."""

    async def identity(self) -> DeviceIdentity:
        outcome = await self._run(*_GET_GUID)
        digits = "".join(outcome.stdout.split())
        if outcome.code == 0 and re.fullmatch(r"[0-9a-f]{32}", digits):
            uuid = spelled(bytes.fromhex(digits), self._spec.expected_uuid)
            return DeviceIdentity(uuid=uuid if names_a_machine(uuid) else "", serial="")
        error = self._failure(outcome, "system GUID")
        if isinstance(error, DeviceRefused):  # a BMC without this command is no broken one
            return DeviceIdentity(uuid="", serial="")
        raise error

    async def power(self) -> PowerReading:
        outcome = await self._run("chassis", "power", "status")
        state = _POWER.get(outcome.stdout.strip()) if outcome.code == 0 else None
        if state is None:
            raise self._failure(outcome, "chassis power status")
        return PowerReading(state=state, at=outcome.began_at)

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        return await self._order("off", deadline)

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        return await self._order("on", deadline)

    async def _order(self, what: str, deadline: float | None) -> OrderReceipt:
        outcome = await self._run("chassis", "power", what, deadline=deadline, order=True)
        if outcome.code != 0 or outcome.stdout.strip() != _ACCEPTED[what]:
            raise self._failure(outcome, f"chassis power {what}", order=True)
        return OrderReceipt(
            action=f"chassis power {what}",
            sent_at=outcome.began_at,
            answered_at=outcome.ended_at,
            effective_until=outcome.began_at + self.order_lasts,
        )

    async def _run(self, *words: str, deadline: float | None = None, order: bool = False) -> Outcome:
        return await program.run(
            self._name,
            (*self._command, *words),
            self._clock,
            timeout=self._spec.timeout_seconds,
            secret=self._password.encode(),
            deadline=deadline,
            order=order,
        )

    def _failure(self, outcome: Outcome, what: str, *, order: bool = False) -> DeviceError:
        """Whose turn it is, by the step at which the session failed."""
        said = outcome.stderr
        name = f"fence device {self._name}"
        if "RAKP 2 HMAC is invalid" in said:
            return DeviceUnauthorized(f"{name}: the password is refused")
        if "unauthorized name" in said:
            return DeviceUnauthorized(f"{name}: the BMC knows no such user")
        words = program.sentence(_last_line(said) or _last_line(outcome.stdout), (self._password,))
        # Only the last line: on its way ipmitool asks for things that few users may have.
        if "unauthorized role" in said or words.endswith("Insufficient privilege level"):
            return DeviceUnauthorized(
                f"{name}: the user may not act at level {self._spec.privilege}: raise the user's privilege in the BMC"
            )
        if "Error in open session response" in said:
            return DeviceMisconfigured(
                f"{name}: the BMC takes no session with cipher suite {self._spec.cipher_suite}:"
                " set spec.ipmi.cipherSuite to one that it offers (3 with old ones)"
            )
        if "Address lookup for" in said:
            return DeviceUnreachable(f"{name}: {self._spec.address} is no address and no name that is known")
        if "Unable to establish IPMI v2" in said:
            return DeviceUnreachable(f"{name}: no answer from {self._spec.address}")
        sent_at = outcome.began_at if order else None
        if "failed: " in words or "rsp=" in words:  # the BMC answered with a completion code
            return DeviceRefused(f"{name}: {what}: {words}")
        if "Unable to " in words or "Close Session command failed" in said:
            return DeviceUnreachable(f"{name}: {what}: no answer: {words}", sent_at=sent_at)
        return DeviceRefused(f"{name}: {what}: {words or f'exit status {outcome.code}'}", sent_at=sent_at)

    def _address(self) -> tuple[str, int]:
        found = _ADDRESS.fullmatch(self._spec.address)
        if found is None or (port := int(found[2] or PORT)) > 65535 or not port:
            raise self._wrong(f"address {self._spec.address!r} is no host[:port]: say for instance 10.0.8.1")
        return found[1].strip("[]"), port

    def _wrong(self, sentence: str, reason: str = "Misconfigured") -> DeviceMisconfigured:
        return DeviceMisconfigured(f"fence device {self._name}: {sentence}", reason=reason)


def _tries(timeout: float) -> int:
    """How often ipmitool sends a packet that nothing answers.

    It waits 1, 2, 3 ... seconds for each try, and without an answer to its first question asks another one as often:
    within the time-out it then gives up by itself, with words of its own. A single lost packet must never be the end.
    """
    return max((n for n in range(2, 10) if n * (n + 1) < timeout), default=2)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
