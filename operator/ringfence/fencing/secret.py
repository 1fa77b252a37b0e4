"""Words out of a FenceDevice's Secret, or the sentence that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping

from ringfence.ports import DeviceMisconfigured


def word(device: str, secret: Mapping[str, bytes], key: str) -> str:
    """The text under this key, without the newline that editors leave at its end. Raises DeviceMisconfigured."""
    try:
        found = secret[key].decode().rstrip("\r\n")
    except KeyError:
        raise _wrong(device, f"has no key {key!r}: add it", "SecretKeyNotFound") from None
    except UnicodeDecodeError:
        raise _wrong(device, f"key {key!r} is no UTF-8: write it as text", "SecretInvalid") from None
    if not found:
        raise _wrong(device, f"key {key!r} is empty: fill it", "SecretInvalid")
    if not found.isprintable():
        raise _wrong(device, f"key {key!r} has control characters: write it as one line", "SecretInvalid")
    return found


def _wrong(device: str, what: str, reason: str) -> DeviceMisconfigured:
    return DeviceMisconfigured(f"fence device {device}: its Secret {what}", reason=reason)
