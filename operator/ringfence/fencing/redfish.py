"""One node's power through Redfish (DMTF DSP0266): HTTPS, one system, its PowerState and its Reset action.

What a BMC *answers* to an order is worth nothing here: only what is read afterwards counts, and that is decided
elsewhere. This adapter sends, reads, and says who must act when it can't.

- **Log-in**: a session where the service offers one (it is deleted on close), else HTTP basic. Some BMCs keep only a
  handful of sessions, so an expired one is renewed once, in place.
- **Which system**: the one named, else the only one, else the one whose UUID is the node's. Never a guess.
- **Orders** are sent even if the last reading was as ordered, for a reading may be stale. ``If-Match`` goes with an
  order where the system's last reading offered an ETag. Servers disagree about weak tags (compared strongly they
  never match) and about tags on actions, so 412 leads to the strong form and then to none: the deadline, not the tag,
  is what keeps a late order from harm.
- **Trouble in transition** (409, 500, 503: many BMCs refuse while they are busy with a change) is tried again until
  the deadline, or one request's time-out where there is none.

- **What it says** is bounded and cleaned before anybody reads it, and whatever it says is at worst a DeviceError: any other
  would end the controller, and the next one.

Credentials and tokens are in requests only, never in a sentence or a log, also where the device quotes them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit
from weakref import WeakSet

import aiohttp
from aiohttp.connector import Connection

from ringfence.core.fencing.identity import same_machine
from ringfence.core.model import PowerState
from ringfence.fencing.program import sentence
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
    TooLate,
)

logger = logging.getLogger(__name__)

ROOT: Final = "/redfish/v1/"
BUSY: Final = frozenset({409, 429, 500, 502, 503, 504})
BUSY_PAUSE: Final = 0.5
"""Seconds between two tries of an order at a busy device."""
CARRYING_OUT: Final = 8.0
"""Seconds that a BMC may take from accepting an order to the power's change; slow ones need some ten."""
LARGEST_ANSWER: Final = 1024 * 1024
LONGEST_NAME: Final = 128
"""Characters of what it says of itself, as a status has room for it; no UUID or serial number is longer."""
LONGEST_PATH: Final = 1024
LONGEST_TAG: Final = 256
MOST_SYSTEMS: Final = 64
"""Systems that are asked who they are: each costs a request, for which an incident waits."""

_POWER: Final[Mapping[str, PowerState]] = {
    "On": PowerState.ON,
    "Off": PowerState.OFF,
    "PoweringOn": PowerState.TRANSITION,
    "PoweringOff": PowerState.TRANSITION,
}


@dataclass(slots=True)
class _Sending:
    """One request under way: until when it may go out, and when it did (CLOCK_BOOTTIME)."""

    deadline: float | None
    at: float | None = None


_sending: ContextVar[_Sending | None] = ContextVar("sending", default=None)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]
    sent_at: float

    @property
    def sentence(self) -> str:
        """The device's own words (DSP0266 error responses), as it says them."""
        error = self.body.get("error")
        if not isinstance(error, dict):
            return f"HTTP {self.status}"
        notes = error.get("@Message.ExtendedInfo")
        said = [n.get("Message") for n in notes if isinstance(n, dict)] if isinstance(notes, list) else []
        words = [str(w) for w in (*said, error.get("message")) if w]
        return f"HTTP {self.status}: {words[0]}" if words else f"HTTP {self.status}"


class RedfishDevice:
    """See :class:`ringfence.ports.PowerDevice`. Used by one task at a time."""

    def __init__(self, spec: DeviceSpec, secret: Mapping[str, bytes], clock: Clock) -> None:
        """Raises DeviceMisconfigured; connects nowhere."""
        self._name = spec.name
        self._spec = spec
        self._clock = clock
        address = urlsplit(spec.address)
        if address.scheme != "https" or not address.hostname:
            raise self._wrong(f"address {spec.address!r} is no https://host[:port]")
        if address.username or address.password:
            raise self._wrong("credentials belong into the Secret, not into the address")
        self._base = f"https://{address.netloc}"
        self._user, self._password = (word(spec.name, secret, key) for key in ("username", "password"))
        self._tls = self._trust()
        self._limits = aiohttp.ClientTimeout(total=spec.timeout_seconds)
        self._http: aiohttp.ClientSession | None = None
        self._auth: dict[str, str] = {}
        self._session = ""  # the path of our session; empty with basic auth
        self._sessions = ""  # where sessions are made; empty: not offered
        self._system = ""
        self._reset = ""
        self._etag = ""

    @property
    def order_lasts(self) -> float:
        return self._spec.timeout_seconds + CARRYING_OUT

    # --- connecting ---

    async def open(self) -> None:
        if self._http is None:
            connector = _GatedConnector(self._gate, ssl=self._tls, limit=4)
            self._http = aiohttp.ClientSession(connector=connector, trust_env=False)
        try:
            await self._log_in()
            self._system = await self._find_system()
            await self._read()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        http, session = self._http, self._session
        self._http, self._session = None, ""
        if http is None:
            return
        try:
            if session:
                async with http.delete(
                    self._base + session,
                    headers=self._auth,
                    timeout=aiohttp.ClientTimeout(total=min(2.0, self._spec.timeout_seconds)),
                    allow_redirects=False,
                ):
                    pass
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            logger.info(
                "fence device %s: session not deleted, it will expire: %s", self._name, type(err).__name__
            )
        finally:
            self._auth = {}
            await http.close()

    async def _log_in(self) -> None:
        basic = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        self._auth, self._session, self._sessions = {}, "", ""
        # The root is open to everybody (DSP0266), but not on every device.
        root = await self._exchange("GET", ROOT)
        if root.status == 401:
            self._auth = {"Authorization": f"Basic {basic}"}
            root = await self._exchange("GET", ROOT)
        if root.status != 200 or "RedfishVersion" not in root.body:
            raise (
                self._failed(root, "service root")
                if root.status >= 400
                else DeviceUnreachable(f"fence device {self._name}: {self._base} answers, but not as Redfish")
            )
        self._sessions = _link(root.body, "Links", "Sessions")
        if self._auth or not self._sessions:
            self._auth = {"Authorization": f"Basic {basic}"}
            return
        made = await self._exchange(
            "POST", self._sessions, {"UserName": self._user, "Password": self._password}
        )
        token = _header(made.headers.get("X-Auth-Token", ""), LARGEST_ANSWER)
        if made.status in {200, 201} and token:
            self._auth = {"X-Auth-Token": token}
            self._session = _path(made.headers.get("Location", "")) or _link(made.body)
        elif made.status in {400, 401, 403}:
            raise DeviceUnauthorized(
                f"fence device {self._name}: the log-in is refused ({self._words(made.sentence)})"
            )
        else:  # all sessions taken, or offered and not implemented
            self._auth = {"Authorization": f"Basic {basic}"}

    async def _find_system(self) -> str:
        wanted = self._spec.system_id
        if wanted.startswith("/"):
            return wanted
        if wanted:
            return f"{ROOT}Systems/{quote(wanted, safe='')}"
        listed = await self._get(f"{ROOT}Systems")
        members = [path for m in _members(listed.body) if (path := _link(m))]
        if len(members) == 1:
            return members[0]
        if members and len(members) <= MOST_SYSTEMS and self._spec.expected_uuid:
            for path in members:
                found = await self._get(path)
                if same_machine(_text(found.body, "UUID"), self._spec.expected_uuid):
                    return path
            raise self._wrong(f"none of its {len(members)} systems has the UUID {self._spec.expected_uuid}")
        raise self._wrong(f"it has {len(members)} systems: say which by systemId")

    # --- reading ---

    async def identity(self) -> DeviceIdentity:
        found = await self._read()
        return DeviceIdentity(
            uuid=_name(found.body, "UUID").lower(), serial=_name(found.body, "SerialNumber")
        )

    async def power(self) -> PowerReading:
        at = self._clock.monotonic()
        found = await self._read()
        state = _POWER.get(_text(found.body, "PowerState"), PowerState.UNKNOWN)
        return PowerReading(state=state, at=at, etag=self._etag)

    async def _read(self) -> _Answer:
        found = await self._get(self._system)
        self._etag = _header(found.headers.get("ETag", "") or _text(found.body, "@odata.etag"), LONGEST_TAG)
        actions = found.body.get("Actions")
        reset = actions.get("#ComputerSystem.Reset") if isinstance(actions, dict) else None
        target = reset.get("target") if isinstance(reset, dict) else None
        self._reset = _path(target) if isinstance(target, str) else ""
        self._reset = self._reset or f"{self._system}/Actions/ComputerSystem.Reset"
        return found

    async def _get(self, path: str) -> _Answer:
        found = await self._authorized("GET", path)
        if found.status != 200:
            raise self._failed(found, path)
        return found

    # --- ordering ---

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        return await self._order("ForceOff", PowerState.OFF, deadline)

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        return await self._order("On", PowerState.ON, deadline)

    async def _order(self, reset: str, target: PowerState, deadline: float | None) -> OrderReceipt:
        until = self._clock.monotonic() + self._spec.timeout_seconds if deadline is None else deadline
        tags = _tags(self._etag)
        refused: DeviceError | None = None
        pending: float | None = None  # when an order went out that the device did not clearly refuse
        while True:
            try:
                answer = await self._authorized(
                    "POST", self._reset, {"ResetType": reset}, if_match=tags[0], deadline=until
                )
            except TooLate as err:
                if refused is None:
                    raise
                raise refused from err
            except DeviceError as err:
                err.sent_at = err.sent_at or pending
                raise
            if 200 <= answer.status < 300:
                return self._receipt(reset, answer, already=False)
            if answer.status == 412 and len(tags) > 1:
                tags = tags[1:]
                continue
            pending = answer.sent_at if answer.status >= 500 else pending
            refused = self._failed(answer, reset, sent_at=pending)
            if answer.status in {401, 403}:
                raise refused
            try:
                looked = (await self.power()).state
            except DeviceError as err:
                err.sent_at = pending
                raise
            # "It is off already" is a refusal on some devices and success on others.
            if looked is target:
                return self._receipt(reset, answer, already=True)
            if answer.status not in BUSY or self._clock.monotonic() + BUSY_PAUSE >= until:
                raise refused
            await asyncio.sleep(BUSY_PAUSE)

    def _receipt(self, reset: str, answer: _Answer, *, already: bool) -> OrderReceipt:
        now = self._clock.monotonic()
        return OrderReceipt(
            action=reset,
            sent_at=answer.sent_at,
            answered_at=now,
            effective_until=answer.sent_at + self.order_lasts,
            already=already,
        )

    # --- one request ---

    async def _authorized(
        self,
        method: str,
        path: str,
        body: dict[str, str] | None = None,
        *,
        if_match: str = "",
        deadline: float | None = None,
    ) -> _Answer:
        answer = await self._exchange(method, path, body, if_match=if_match, deadline=deadline)
        if answer.status == 401 and self._session:
            await self._log_in()  # the session has expired; a refused order has done nothing
            answer = await self._exchange(method, path, body, if_match=if_match, deadline=deadline)
        return answer

    async def _exchange(
        self,
        method: str,
        path: str,
        body: dict[str, str] | None = None,
        *,
        if_match: str = "",
        deadline: float | None = None,
    ) -> _Answer:
        """Send one request and read its answer, whatever its status; no redirect is followed."""
        if self._http is None:
            raise DeviceUnreachable(f"fence device {self._name}: not open")
        headers = {"Accept": "application/json", "OData-Version": "4.0", **self._auth}
        if if_match:
            headers["If-Match"] = if_match
        sending = _Sending(deadline)
        self._check(sending)
        token = _sending.set(sending)
        try:
            async with self._http.request(
                method,
                self._base + path,
                json=body,
                headers=headers,
                timeout=self._limits,
                allow_redirects=False,
            ) as response:
                data = await response.content.read(LARGEST_ANSWER)
                while not response.content.at_eof() and len(data) < LARGEST_ANSWER:
                    data += await response.content.read(LARGEST_ANSWER - len(data))
                return _Answer(response.status, _object(data), response.headers, sending.at or 0.0)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as err:
            raise self._wrong(f"TLS: {_why(err)}") from err
        except (TimeoutError, aiohttp.ClientError, OSError) as err:
            what = (
                f"no answer within {self._spec.timeout_seconds:g} s"
                if isinstance(err, TimeoutError)
                else self._words(_why(err))
            )
            raise DeviceUnreachable(
                f"fence device {self._name}: {what}", sent_at=sending.at if method == "POST" else None
            ) from err
        finally:
            _sending.reset(token)

    def _gate(self) -> None:
        if (sending := _sending.get()) is not None:  # the log-out has no deadline
            self._check(sending)
            sending.at = self._clock.monotonic()

    def _check(self, sending: _Sending) -> None:
        if sending.deadline is not None and (late := self._clock.monotonic() - sending.deadline) >= 0:
            raise TooLate(f"fence device {self._name}: not sent, the right to order ended {late:.3f} s ago")

    def _words(self, said: str) -> str:
        """What it said, for people: some devices quote what they were sent."""
        sent = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return sentence(said, (self._password, sent, self._auth.get("X-Auth-Token", "")))

    # --- what the administrator wrote ---

    def _trust(self) -> ssl.SSLContext:
        bundle = self._spec.ca_bundle.strip()
        try:
            if bundle and "-----BEGIN" not in bundle:
                bundle = base64.b64decode(bundle, validate=True).decode("ascii")
            context = ssl.create_default_context(cadata=bundle or None)
        except (binascii.Error, ValueError, ssl.SSLError) as err:
            raise self._wrong("caBundle is neither PEM nor base64 of PEM") from err
        if self._spec.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _wrong(self, sentence: str) -> DeviceMisconfigured:
        return DeviceMisconfigured(f"fence device {self._name}: {sentence}")

    def _failed(self, answer: _Answer, what: str, *, sent_at: float | None = None) -> DeviceError:
        why = f"fence device {self._name}: {self._words(f'{what}: {answer.sentence}')}"
        match answer.status:
            case 401 | 403:
                return DeviceUnauthorized(why, sent_at=sent_at)
            case 404:
                return DeviceMisconfigured(why, sent_at=sent_at)
            case status if 300 <= status < 400:
                return DeviceMisconfigured(f"{why}; redirects are not followed", sent_at=sent_at)
            case _:
                return DeviceRefused(why, sent_at=sent_at)


class _GatedConnector(aiohttp.TCPConnector):
    """Asks ``gate()`` once more when a connection is at hand, new or pooled; what it raises stops the request."""

    def __init__(self, gate: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._gate = gate
        self._transports: WeakSet[asyncio.Transport] = WeakSet()

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        connection = await super().connect(*args, **kwargs)
        try:
            self._gate()
        except TooLate:
            connection.release()
            raise
        if connection.transport is not None:
            self._transports.add(connection.transport)
        return connection

    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        # A connection that timed out says farewell in TLS, for which the silent other end would keep us waiting.
        for transport in self._transports:
            transport.abort()
        await asyncio.sleep(0)


def _tags(etag: str) -> tuple[str, ...]:
    """The ``If-Match`` values to try in turn; the last is none."""
    strong = etag.removeprefix("W/")
    return tuple(dict.fromkeys((etag, strong, ""))) if etag else ("",)


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _header(value: str, longest: int) -> str:
    """What we can send back as it is; empty if we can't."""
    return value if value.isascii() and value.isprintable() and len(value) <= longest else ""


def _name(body: Mapping[str, Any], key: str) -> str:
    return sentence(_text(body, key), ())[:LONGEST_NAME]


def _link(body: Mapping[str, Any], *path: str) -> str:
    node: Any = body
    for step in path:
        node = node.get(step) if isinstance(node, dict) else None
    target = node.get("@odata.id") if isinstance(node, dict) else None
    return _path(target) if isinstance(target, str) else ""


def _members(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    members = body.get("Members")
    return [m for m in members if isinstance(m, dict)] if isinstance(members, list) else []


def _path(target: str) -> str:
    """The path of a link; whatever host it names, our credentials go to the configured one only."""
    try:
        path = urlsplit(target).path
    except ValueError:
        return ""
    return path if path.startswith("/") and len(path) <= LONGEST_PATH else ""


def _why(err: BaseException) -> str:
    return str(err) or type(err).__name__
