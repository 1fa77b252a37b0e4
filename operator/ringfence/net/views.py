"""AgentView as bytes: JSON, with bytes as base64.

The agent writes it with the standard library, which it has loaded anyway; msgspec, which checks what the controller
reads, would cost each agent 7 MiB.
"""

from __future__ import annotations

import base64
import json
from dataclasses import MISSING, asdict, fields
from functools import cache
from typing import TYPE_CHECKING, Any

from ringfence.core.gossip.report import AgentView, SubjectView

if TYPE_CHECKING:
    import msgspec


_DEFAULTS = tuple((one.name, one.default) for one in fields(SubjectView) if one.default is not MISSING)


class ViewError(ValueError):
    """These bytes are not an AgentView."""


def encode_view(view: AgentView) -> bytes:
    """The view's bytes. Of most members there is little to say: what is as it is by default is left out."""
    plain = asdict(view)
    for subject in plain["subjects"]:
        for name, default in _DEFAULTS:
            if subject[name] == default:
                del subject[name]
    return json.dumps(plain, default=_plain, separators=(",", ":")).encode()


def decode_view(data: bytes) -> AgentView:
    """The view; unknown fields are passed over, those without a default that are missing, and mistyped ones, raise ViewError."""
    import msgspec  # noqa: PLC0415 (readers only, see above)

    try:
        return _decoder().decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise ViewError(str(error)) from error


@cache
def _decoder() -> msgspec.json.Decoder[AgentView]:
    import msgspec  # noqa: PLC0415

    return msgspec.json.Decoder(AgentView)


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case frozenset():
            return sorted(value)
        case _:
            raise TypeError(f"a view has no {type(value).__name__}")
