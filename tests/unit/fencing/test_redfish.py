"""What the emulator can't do: sessions, ETags, devices that stop half-way, clocks that jump."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from contract.tls import make_certificate
from ringfence.core.model import PowerState
from ringfence.fencing import open_device
from ringfence.ports import (
    Clock,
    DeviceError,
    DeviceMisconfigured,
    DeviceRefused,
    DeviceSpec,
    DeviceUnauthorized,
    DeviceUnreachable,
    PowerDevice,
    SystemClock,
    TooLate,
)

SYSTEM = "/redfish/v1/Systems/1"
SESSIONS = "/redfish/v1/SessionService/Sessions"


@dataclass
class FakeBmc:
    """A service with sessions and ETags; every request is noted as ``METHOD path [If-Match]``."""

    password: str = "right"
    etag: str = ""
    accepts_tag: str | None = None
    """The only If-Match that passes; None: all do, and none at all too."""
    power: str = "On"
    reset_status: int = 204
    sessions_status: int = 201
    says: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """By path: the status and the body that it answers instead, whatever they are."""
    notes: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    made: int = 0
    address: str = ""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.oddly])
        app.router.add_get("/redfish/v1/", self.root)
        app.router.add_post(SESSIONS, self.log_in)
        app.router.add_delete(SESSIONS + "/{id}", self.log_out)
        app.router.add_get("/redfish/v1/Systems", self.systems)
        app.router.add_get(SYSTEM, self.system)
        app.router.add_post(SYSTEM + "/Actions/Reset", self.reset)
        return app

    @web.middleware
    async def oddly(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if (said := self.says.get(request.path)) is None:
            return await handler(request)
        self.note(request)
        return web.Response(status=said[0], body=said[1], content_type="application/json")

    def note(self, request: web.Request) -> None:
        tag = request.headers.get("If-Match")
        self.notes.append(f"{request.method} {request.path}" + (f" {tag}" if tag else ""))

    def authorized(self, request: web.Request) -> None:
        self.note(request)
        if request.headers.get("X-Auth-Token") not in self.tokens and "Authorization" not in request.headers:
            raise web.HTTPUnauthorized

    async def root(self, request: web.Request) -> web.Response:
        self.note(request)
        return web.json_response({"RedfishVersion": "1.6.0", "Links": {"Sessions": {"@odata.id": SESSIONS}}})

    async def log_in(self, request: web.Request) -> web.Response:
        self.note(request)
        if self.sessions_status != 201:
            return web.json_response({}, status=self.sessions_status)
        said = await request.json()
        if said != {"UserName": "fence", "Password": self.password}:
            return web.json_response({"error": {"message": "no such user"}}, status=401)
        self.made += 1
        token = f"token-{self.made}"
        self.tokens.add(token)
        # The host in the Location is the BMC's own idea of its name; credentials must not follow it.
        where = f"https://elsewhere.invalid{SESSIONS}/{self.made}"
        return web.json_response({}, status=201, headers={"X-Auth-Token": token, "Location": where})

    async def log_out(self, request: web.Request) -> web.Response:
        self.authorized(request)
        return web.Response(status=204)

    async def systems(self, request: web.Request) -> web.Response:
        self.authorized(request)
        return web.json_response({"Members": [{"@odata.id": SYSTEM}]})

    async def system(self, request: web.Request) -> web.Response:
        self.authorized(request)
        return web.json_response(
            {
                "UUID": "ABC",
                "SerialNumber": "S-1",
                "PowerState": self.power,
                "Actions": {"#ComputerSystem.Reset": {"target": SYSTEM + "/Actions/Reset"}},
            },
            headers={"ETag": self.etag} if self.etag else {},
        )

    async def reset(self, request: web.Request) -> web.Response:
        self.authorized(request)
        if self.accepts_tag is not None and request.headers.get("If-Match", "") != self.accepts_tag:
            return web.json_response({}, status=412)
        if self.reset_status == 204:
            self.power = {"ForceOff": "Off", "On": "On"}[(await request.json())["ResetType"]]
        return web.Response(status=self.reset_status)

    @property
    def orders(self) -> list[str]:
        return [note for note in self.notes if note.startswith("POST") and "Reset" in note]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def bmc(certificate: tuple[Path, Path]) -> AsyncIterator[FakeBmc]:
    fake = FakeBmc()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    runner = web.AppRunner(fake.app(), shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    fake.address = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@asynccontextmanager
async def opened(
    bmc: FakeBmc, bundle: Path, *, password: bytes = b"right", clock: Clock | None = None, uuid: str = ""
) -> AsyncIterator[PowerDevice]:
    trusted = bundle.read_text()  # noqa: ASYNC240
    spec = DeviceSpec("d", "redfish", bmc.address, ca_bundle=trusted, timeout_seconds=2.0, expected_uuid=uuid)
    device = open_device(spec, {"username": b"fence", "password": password}, clock or SystemClock())
    try:
        await device.open()
        yield device
    finally:
        await device.close()


async def test_a_session_is_made_used_and_deleted(bmc: FakeBmc, certificate: tuple[Path, Path]) -> None:
    async with opened(bmc, certificate[0]) as device:
        await device.order_off()
        assert (await device.power()).state is PowerState.OFF
        assert (await device.identity()).serial == "S-1"
    assert bmc.made == 1
    assert bmc.notes[-1] == f"DELETE {SESSIONS}/1"


async def test_an_expired_session_is_renewed_once(bmc: FakeBmc, certificate: tuple[Path, Path]) -> None:
    async with opened(bmc, certificate[0]) as device:
        bmc.tokens.clear()
        await device.order_off()
        assert bmc.power == "Off"
        bmc.tokens.clear()
        bmc.password = "changed"
        with pytest.raises(DeviceUnauthorized):
            await device.power()
    assert bmc.made == 2


async def test_a_wrong_password_is_told_from_the_session_service(
    bmc: FakeBmc, certificate: tuple[Path, Path]
) -> None:
    with pytest.raises(DeviceUnauthorized, match="no such user"):
        async with opened(bmc, certificate[0], password=b"wr0ng"):
            pass


@pytest.mark.parametrize("status", [404, 405, 503])
async def test_without_sessions_it_falls_back_to_basic(
    bmc: FakeBmc, certificate: tuple[Path, Path], status: int
) -> None:
    bmc.sessions_status = status
    async with opened(bmc, certificate[0]) as device:
        assert (await device.power()).state is PowerState.ON
    assert not any(note.startswith("DELETE") for note in bmc.notes)


@pytest.mark.parametrize(
    ("etag", "accepts", "sent"),
    [
        ("", None, [""]),
        ('"7"', None, [' "7"']),
        ('W/"7"', '"7"', [' W/"7"', ' "7"']),
        ('W/"7"', "", [' W/"7"', ' "7"', ""]),
    ],
)
async def test_tags_go_with_an_order_as_far_as_the_device_bears_them(
    bmc: FakeBmc, certificate: tuple[Path, Path], etag: str, accepts: str | None, sent: list[str]
) -> None:
    bmc.etag, bmc.accepts_tag = etag, accepts
    async with opened(bmc, certificate[0]) as device:
        await device.order_off()
    assert bmc.power == "Off"
    assert bmc.orders == [f"POST {SYSTEM}/Actions/Reset{tag}" for tag in sent]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PoweringOff", PowerState.TRANSITION),
        ("Paused", PowerState.UNKNOWN),
        ("", PowerState.UNKNOWN),
        ("off", PowerState.UNKNOWN),
    ],
)
async def test_only_off_is_off(
    bmc: FakeBmc, certificate: tuple[Path, Path], word: str, state: PowerState
) -> None:
    bmc.power = word
    async with opened(bmc, certificate[0]) as device:
        assert (await device.power()).state is state


async def test_an_inner_error_may_have_done_it(bmc: FakeBmc, certificate: tuple[Path, Path]) -> None:
    bmc.reset_status = 500
    async with opened(bmc, certificate[0]) as device:
        with pytest.raises(DeviceRefused) as failed:
            await device.order_off(deadline=SystemClock().monotonic() + 0.3)
    assert failed.value.sent_at is not None


async def test_a_leader_that_thaws_between_look_and_send_orders_nothing(
    bmc: FakeBmc, certificate: tuple[Path, Path]
) -> None:
    class Thawing(SystemClock):
        looks = -1000

        def monotonic(self) -> float:
            self.looks += 1
            return super().monotonic() + (0 if self.looks <= 1 else 60)

    clock = Thawing()
    async with opened(bmc, certificate[0], clock=clock) as device:
        clock.looks = 0  # the first look passes, the one at the connection is a minute later
        with pytest.raises(TooLate):
            await device.order_off(deadline=SystemClock().monotonic() + 30)
        assert clock.looks == 2
    assert bmc.orders == []


NESTED = b"[" * 200_000
"""Deeper than a parser goes; well below the most that is read of one answer."""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/redfish/v1/", NESTED),
        ("/redfish/v1/", b'{"RedfishVersion": "1", "Links": {"Sessions": {"@odata.id": "//["}}}'),
        ("/redfish/v1/Systems", NESTED),
        ("/redfish/v1/Systems", b'{"Members": [{"@odata.id": "http://[x"}]}'),
        ("/redfish/v1/Systems", b'{"Members": [{"@odata.id": ["a"]}, 7, null]}'),
        (SYSTEM, NESTED),
        ("/redfish/v1/Systems", b'{"Members": [{"@odata.id": "/%s"}]}' % (b"x" * 100_000)),
        (SYSTEM, b"\xff\xfe"),
        (SYSTEM, b"9" * 10_000),
        (SYSTEM, b'{"UUID": 7, "PowerState": {"a": "Off"}, "@odata.etag": ["x"], "Actions": []}'),
        (SYSTEM, b'{"Actions": {"#ComputerSystem.Reset": {"target": "//["}}}'),
        (SYSTEM, b'{"@odata.etag": "a\\r\\nX-Auth-Token: b"}'),
        (SYSTEM, b'{"@odata.etag": "\\ud800"}'),
        (SYSTEM + "/Actions/Reset", NESTED),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
async def test_no_answer_is_more_than_a_device_in_trouble(
    bmc: FakeBmc, certificate: tuple[Path, Path], path: str, body: bytes, status: int
) -> None:
    """An error that isn't a device's would end the controller, and with it the next one."""
    bmc.says[path] = status, body
    read, told = PowerState.UNKNOWN, ""
    try:
        async with opened(bmc, certificate[0]) as device:
            await device.identity()
            read = (await device.power()).state
            await device.order_off(deadline=SystemClock().monotonic() + 0.3)
    except DeviceError as trouble:
        told = str(trouble)
    assert read is not PowerState.OFF
    assert told.isprintable()
    assert len(told) < 1000


async def test_what_a_device_says_of_itself_fits_into_a_status(
    bmc: FakeBmc, certificate: tuple[Path, Path]
) -> None:
    """A status with an answer that is too long for it would be refused as a whole, and nothing of the device be told."""
    bmc.says[SYSTEM] = 200, json.dumps({"UUID": "a" * 900, "SerialNumber": "s\n\x1b[2J" * 90}).encode()
    async with opened(bmc, certificate[0]) as device:
        who = await device.identity()
    assert len(who.uuid) == len(who.serial) == 128
    assert who.serial.isprintable()


async def test_a_refusal_is_told_clean_and_without_the_password(
    bmc: FakeBmc, certificate: tuple[Path, Path]
) -> None:
    """Redfish's own messages quote the value that was wrong."""
    said = "The value s3cret-1 for the property Password\n\x1b[2J\u202e is not of fence's"
    bmc.says[SESSIONS] = 400, json.dumps({"error": {"message": said}}).encode()
    with pytest.raises(DeviceUnauthorized) as refused:
        async with opened(bmc, certificate[0], password=b"s3cret-1"):
            pass
    assert "The value *** for the property Password [2J is not of fence's" in str(refused.value)


async def test_of_many_systems_only_so_many_are_asked_who_they_are(
    bmc: FakeBmc, certificate: tuple[Path, Path]
) -> None:
    """Each costs a request, and an incident waits for it."""
    many = [{"@odata.id": f"/redfish/v1/Systems/{number}"} for number in range(1000)]
    bmc.says["/redfish/v1/Systems"] = 200, json.dumps({"Members": many}).encode()
    with pytest.raises(DeviceMisconfigured, match="1000 systems: say which by systemId"):
        async with opened(bmc, certificate[0], uuid="0f8fad5b-d9cb-469f-a165-70867728950e"):
            pass
    assert len(bmc.notes) < 10


async def test_a_web_server_that_is_no_redfish(bmc: FakeBmc, certificate: tuple[Path, Path]) -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/redfish/v1/", hello)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    bmc.address = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        with pytest.raises(DeviceUnreachable, match="not as Redfish"):
            async with opened(bmc, certificate[0]):
                pass
    finally:
        await runner.cleanup()
