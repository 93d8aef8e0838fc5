"""File events as the watcher wants them: the party behind them is watchdog, in one of two ways.

Decided here: what a source of file events has to offer. Not decided here: what is watched and what an event means
(``watcher.py``), and how the two sources get their events (``inotify.py``, ``observer.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FileEvents", "Watch"]


class Watch(Protocol):
    """Stand for one watched directory."""

    @property
    def live(self) -> bool:
        """Say whether events of the directory can still arrive."""


class FileEvents(Protocol):
    """Tell which names change in which directories, from a thread of its own."""

    @property
    def mode(self) -> str:
        """Return how: ``inotify``, or what the platform has."""

    @property
    def alive(self) -> bool:
        """Say whether the thread runs that events come from."""

    def watch(self, path: str, saw: Callable[[str], None]) -> Watch:
        """Call ``saw`` with each name in the directory that may have changed, ``""`` for the directory itself.

        Not recursive. ``saw`` must not raise. Raise OSError where the directory can't be watched.
        """

    def forget(self, watch: Watch) -> None:
        """End a watch, live or not."""

    def close(self) -> None:
        """End all watches and the thread; return when it is gone."""
