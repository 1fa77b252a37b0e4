"""Blocks of a shared file or block device, past every cache of this machine.

O_DIRECT, because a page cache shows what *this* node has written and read before: a heartbeat through it would be this
node's memory. O_DSYNC, so that a write that has come back is on the other side. Both want buffers at page boundaries, which
is what an anonymous mmap gives.

Every call may hang for as long as the storage does, and nothing can end it: call from a thread that nobody waits for.
Errors: OSError; VolumeUnfit where waiting can't help.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path

ALIGNMENT = 4096
_CHUNK = 1 << 20
"""Bytes read at once: one request for many slots."""


class VolumeUnfit(OSError):
    """What stands at the path can't carry a heartbeat; the sentence says why and what to use instead."""


class Volume:
    """One open volume, with a buffer of its own. Not for several threads."""

    def __init__(self, path: Path, descriptor: int, *, block: bool) -> None:
        self.path = path
        self.block = block
        """Whether it is a block device."""
        self._descriptor = descriptor
        self._buffer = mmap.mmap(-1, _CHUNK)

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Volume:
        """Open for reading and writing; ``create`` makes a missing file, empty. Raises OSError, VolumeUnfit.

        Nothing is made under /dev: a device that is missing there would be taken for a file in memory.
        """
        flags = os.O_RDWR | os.O_DIRECT | os.O_DSYNC | os.O_CLOEXEC
        make = os.O_CREAT if create and Path("/dev") not in path.parents else 0
        try:
            descriptor = os.open(path, flags | make, 0o600)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise VolumeUnfit(
                    errno.EINVAL,
                    f"{path} is on a file system without O_DIRECT, so a heartbeat there would be read from this node's own"
                    " cache: use a block device, or a shared file system that has it (NFS, CephFS, GFS2, OCFS2, XFS)",
                ) from error
            raise
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            os.close(descriptor)
            raise VolumeUnfit(errno.EINVAL, f"{path} is neither a file nor a block device")
        return cls(path, descriptor, block=stat.S_ISBLK(mode))

    def size(self) -> int:
        """Bytes."""
        return os.lseek(self._descriptor, 0, os.SEEK_END)

    def grow(self, size: int) -> None:
        """Make a file that long, filled with zeros; one that is long enough already stays. Raises VolumeUnfit."""
        if self.size() >= size:
            return
        if self.block:
            raise VolumeUnfit(
                errno.ENOSPC,
                f"{self.path} has {self.size()} bytes, {size} are needed: use a larger device or fewer slots",
            )
        # By allocation, not by a hole: a heartbeat must not find the disk full one day.
        os.posix_fallocate(self._descriptor, 0, size)
        os.fsync(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes; a multiple of the alignment. Raises OSError where they can't be had."""
        parts = []
        for at in range(offset, offset + length, _CHUNK):
            wanted = min(_CHUNK, offset + length - at)
            view = memoryview(self._buffer)[:wanted]
            got = os.preadv(self._descriptor, [view], at)
            if got != wanted:
                raise OSError(
                    errno.EIO,
                    f"{self.path}: {got} of {wanted} bytes at {at}: it is shorter than its header says",
                )
            parts.append(bytes(view))
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write these bytes, at most a chunk; when it returns they are on the storage. Raises OSError."""
        self._buffer[: len(data)] = data
        done = os.pwritev(self._descriptor, [memoryview(self._buffer)[: len(data)]], offset)
        if done != len(data):
            raise OSError(errno.EIO, f"{self.path}: {done} of {len(data)} bytes written at {offset}")

    def close(self) -> None:
        """Close it; the buffer goes with it."""
        os.close(self._descriptor)
        self._buffer.close()
