"""The door for the API server's questions: it waits for its certificate, and nothing that happens there ends the process."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from contract.tls import make_certificate
from ringfence.controller.webhook import Door


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def answered(*_: Any, **more: Any) -> dict[str, Any]:
    return {"asked": more["webhook"]}


def brought(folder: Path) -> None:
    """Another certificate lies there: each of its files whole, as the kubelet does it."""
    (made := folder / "made").mkdir(exist_ok=True)
    for file in reversed(make_certificate(made, "tls")):
        file.rename(folder / file.name)


async def asked(port: int, folder: Path) -> None:
    """By somebody who trusts the certificate that lies there, and no other."""
    trust = ssl.create_default_context(cafile=str(folder / "tls.crt"))
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"https://127.0.0.1:{port}/asked", json={}, ssl=trust) as answer,
    ):
        assert await answer.json() == {"asked": "asked"}


async def test_it_waits_for_a_certificate_and_opens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    port = free_port()
    door = Door(port, tmp_path, look_every=0.01)
    async with aclosing(cast("Any", door(cast("Any", answered)))) as opened:
        opens = asyncio.ensure_future(anext(opened))
        async with asyncio.timeout(20):
            while "webhook: closed: " not in caplog.text:  # noqa: ASYNC110 - a line of a log has no event
                await asyncio.sleep(0)
            assert not opens.done()
            brought(tmp_path)
            await opens
        assert caplog.text.count("webhook: closed") == 1, "said once, however often it is tried"
        await asked(port, tmp_path)


async def test_it_opens_anew_behind_a_renewed_certificate(tmp_path: Path) -> None:
    port = free_port()
    brought(tmp_path)
    door = Door(port, tmp_path, look_every=0.01)
    async with aclosing(cast("Any", door(cast("Any", answered)))) as opened, asyncio.timeout(20):
        await anext(opened)
        await asked(port, tmp_path)
        again = asyncio.ensure_future(anext(opened))
        await asyncio.sleep(0)  # from here on it compares
        brought(tmp_path)
        await again
        await asked(port, tmp_path)


async def test_without_a_port_nobody_is_let_in(tmp_path: Path) -> None:
    async with aclosing(cast("Any", Door(0, tmp_path)(cast("Any", answered)))) as opened:
        opens = asyncio.ensure_future(anext(opened))
        done, _ = await asyncio.wait({opens}, timeout=0.05)
        assert not done
        opens.cancel()
        await asyncio.gather(opens, return_exceptions=True)
