"""The door through which the API server asks before it stores one of our objects: kopf's webhook server, held open.

It stands behind the certificate of a folder (the chart's own, or cert-manager's), and is opened anew when another lies there.
Nothing that happens here ends the process: fencing needs no webhook, and nobody waits for one
(``failurePolicy: Ignore``). The configuration is the chart's: kopf's own (``admission.managed``) would write ``Fail`` and 30 s.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, cast

import kopf

logger = logging.getLogger(__name__)

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
LOOK_EVERY: Final = 5.0
"""Seconds between two looks for a certificate that is not there, or is another; or between two tries to open."""


class Door:
    """What kopf calls a webhook server."""

    def __init__(self, port: int, certificates: Path, *, look_every: float = LOOK_EVERY) -> None:
        """``port`` 0: there is no door, and nobody comes."""
        self._port = port
        self._certificates = certificates
        self._look_every = look_every

    async def __call__(self, fn: kopf.WebhookFn) -> AsyncIterator[kopf.WebhookClientConfig]:
        """Serve for ever. What is yielded kopf wants for a configuration that it doesn't write here."""
        if not self._port:
            await asyncio.Event().wait()
        said = ""
        while True:
            try:
                async with aclosing(cast("Any", self._server()(fn))) as served:
                    async for config in served:
                        logger.info("webhook: open at port %d", self._port)
                        said = ""
                        yield config
            except (OSError, ssl.SSLError) as error:
                if str(error) != said:
                    logger.warning("webhook: closed: %s; trying again", error)
                    said = str(error)
            await asyncio.sleep(self._look_every)

    def _server(self) -> kopf.WebhookServer:
        return kopf.WebhookServer(
            port=self._port,
            host="localhost",
            certfile=self._certificates / CERTIFICATE,
            pkeyfile=self._certificates / KEY,
            file_check_interval=self._look_every,
        )
