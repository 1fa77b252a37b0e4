"""The kernel's watchdog device: opened, set, fed, and stopped only on purpose.

Opening starts it (Documentation/watchdog/watchdog-api.rst). After that it resets the machine ``timeout`` seconds after the
last feeding, whatever becomes of the process: closing stops it only where the magic character ``V`` was written before,
and not at all with ``nowayout``. A driver that would stop at any close is refused: the feeder's death would disarm it.

The device's path is always given by whoever starts the feeder; nothing here has a default. Figures are seconds. Errors:
WatchdogError, with a sentence that names the mend.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

_GETSUPPORT = 0x80285700
_KEEPALIVE = 0x80045705
_SETTIMEOUT = 0xC0045706
_GETTIMEOUT = 0x80045707
"""Numbers of <linux/watchdog.h> where _IOR is 2 << 30: all of today's server architectures but POWER and MIPS."""
_WDIOF_SETTIMEOUT, _WDIOF_MAGICCLOSE = 0x0080, 0x0100
_INFO = struct.Struct("=II32s")


class WatchdogError(Exception):
    """The device can't be used as a watchdog of ours; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What the driver says of itself."""

    identity: str
    timeout: int
    """The time-out that it really took."""
    nowayout: bool | None
    """None where the kernel doesn't tell."""


class Watchdog:
    """One open watchdog. It runs from here on."""

    def __init__(self, path: Path, timeout: int, nowayout_path: Path | None) -> None:
        """Open it and let it bite after ``timeout`` seconds at most. Raises WatchdogError; then it doesn't run."""
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise WatchdogError(f"{path}: {error.strerror}{_mend(error)}") from error
        self._path = path
        try:
            self.opened = self._set(timeout, _nowayout(nowayout_path))
        except (WatchdogError, OSError) as error:
            self.stop()
            if isinstance(error, WatchdogError):
                raise
            raise WatchdogError(f"{path} is no watchdog: {error.strerror}; give its device file") from error

    def _set(self, timeout: int, nowayout: bool | None) -> Opened:
        data = bytearray(_INFO.size)
        fcntl.ioctl(self._file, _GETSUPPORT, data)
        options, _, name = _INFO.unpack(data)
        if not options & _WDIOF_MAGICCLOSE and not nowayout:
            raise WatchdogError(
                f"{self._path}: its driver stops at every close (no magic close), so the feeder's death would disarm it:"
                " load the driver with nowayout=1, or use another"
            )
        if options & _WDIOF_SETTIMEOUT:
            fcntl.ioctl(self._file, _SETTIMEOUT, bytearray(struct.pack("=i", timeout)))
        answer = bytearray(4)
        fcntl.ioctl(self._file, _GETTIMEOUT, answer)
        (taken,) = struct.unpack("=i", answer)
        if not 0 < taken <= timeout:
            raise WatchdogError(
                f"{self._path}: its driver takes {taken} s, {timeout} s were asked for: raise agent.watchdog.timeoutSeconds"
                " and the zone's fencing.watchdog"
            )
        return Opened(name.split(b"\0", 1)[0].decode(errors="replace"), taken, nowayout)

    def feed(self) -> None:
        """Start its time anew. Raises OSError."""
        fcntl.ioctl(self._file, _KEEPALIVE, 0)

    def shorten(self, seconds: float) -> None:
        """Let it bite after so long instead, or as soon as its driver can. Raises OSError."""
        fcntl.ioctl(self._file, _SETTIMEOUT, bytearray(struct.pack("=i", max(1, int(seconds)))))

    def stop(self) -> None:
        """Write the magic character and close: it doesn't run any more, unless ``nowayout`` holds."""
        try:
            os.write(self._file, b"V")
        finally:
            os.close(self._file)


def _nowayout(path: Path | None) -> bool | None:
    try:
        return None if path is None else path.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return None


def _mend(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return ": the node has no watchdog; load its driver (softdog, if there is no other)"
        case PermissionError():
            return ": the feeder must be privileged to open it"
        case _ if error.errno == 16:
            return ": somebody else feeds it (systemd's RuntimeWatchdogSec, watchdogd?): leave it to one of the two"
        case _:
            return ""
