"""Poisons: what a version can do to the worker that uses it, by name.

Shared by the application and its hooks. Which of them strikes, and where, is said by the rule ``main``: so each of them
is one changed value in a file, which is valid for all that a model can know.
"""

import ctypes
import os
import threading
import time
from pathlib import Path

ALIVE = Path(__file__).with_name("alive")
"""What the poison ``needs`` needs; no part of any version."""

_MIB = 1 << 20
_LEAK_MIB, _LEAK_SECONDS, _MOST_LEAKED = 1, 0.02, 400  # 50 MB/s, bounded for the machine's sake
_GROWTH_MIB = 400
_FUSE_SECONDS = 5.0
_SLOW_SECONDS = 60.0

_defused = threading.Event()


def strike(poison: str) -> object:
    """Do at once what a poison does."""
    match poison:
        case "raises":
            message = "a poison"
            raise RuntimeError(message)
        case "exits":
            os._exit(3)
        case "segfaults":
            ctypes.string_at(0)
        case "hangs":
            threading.Event().wait()
        case "spins":
            while True:
                pass
        case "slow":
            time.sleep(_SLOW_SECONDS)
        case "grows":
            return [b"\1" * _MIB for _ in range(_GROWTH_MIB)]
        case "needs" if not ALIVE.exists():
            os._exit(3)
    return None


def begin(poison: str) -> None:
    """Begin what a poison does from its activation on; what an earlier version has begun ends."""
    global _defused  # noqa: PLW0603 - one for each version
    _defused.set()
    _defused = threading.Event()
    begun = {"leaks": _leak, "explodes": _explode}.get(poison)
    if begun is not None:
        threading.Thread(target=begun, args=(_defused,), daemon=True).start()


def _leak(defused: threading.Event) -> None:
    hoard: list[bytes] = []
    while not defused.wait(_LEAK_SECONDS):
        if len(hoard) < _MOST_LEAKED:
            hoard.append(b"\1" * (_LEAK_MIB * _MIB))


def _explode(defused: threading.Event) -> None:
    if not defused.wait(_FUSE_SECONDS):
        os._exit(3)
