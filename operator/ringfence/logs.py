"""How a process writes its log: text for people, or one JSON object a line for machines (``--log-format json``)."""

from __future__ import annotations

import json
import logging
import time
from typing import Final

FORMATS: Final = ("text", "json")
TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, and ``error`` with the stack where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        # By `time`: the feeder, which is small, would have `datetime` for this alone.
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said = {
            "time": f"{at}.{int(record.created % 1 * 1000):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return json.dumps(said)


def begin(level: str, form: str, *, text: str = TEXT, dates: str | None = None) -> None:
    """Write the root logger's records to standard error.

    Args:
        level: a name of Python's.
        form: one of :data:`FORMATS`.
        text: the line's format where that is ``text``, and ``dates`` that of its time.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(text, dates))
    logging.basicConfig(level=level.upper(), handlers=[handler])
