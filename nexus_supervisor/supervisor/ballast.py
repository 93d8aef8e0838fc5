"""The ballast: disk space that is given back when the disk is full, so that a revocation can still be journaled.

Decided here: how the space is taken and returned. Not decided here: when it is needed (``journal.py``).
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

__all__ = ["BALLAST_BYTES", "Ballast"]

BALLAST_BYTES: Final = 1 << 20
_NAME: Final = "ballast"
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ZEROS: Final = bytes(64 * 1024)


class Ballast:
    """Hold some allocated bytes in a file of the state directory, whose descriptor belongs to the caller."""

    def __init__(self, state: int, size: int = BALLAST_BYTES) -> None:
        self._state = state
        self._size = size
        self.held = False

    def hold(self) -> bool:
        """Take the space if it is not taken yet; return whether it is held now."""
        if not self.held:
            try:
                self._allocate()
            except OSError:
                # a full disk: half a ballast would only take what the journal needs
                self.release()
            else:
                self.held = True
        return self.held

    def release(self) -> bool:
        """Give the space back; return whether there was a file to remove."""
        self.held = False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_NAME, dir_fd=self._state)
            return True
        return False

    def _allocate(self) -> None:
        fd = os.open(_NAME, _FLAGS, 0o600, dir_fd=self._state)
        try:
            if os.fstat(fd).st_blocks * 512 >= self._size:
                return
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, self._size)
            else:
                for offset in range(0, self._size, len(_ZEROS)):
                    os.pwrite(fd, _ZEROS, offset)
        finally:
            os.close(fd)
