"""File events from watchdog's public observer: for platforms without inotify, and as the second choice on Linux.

Decided here: which of its events count, and how its silent failures are heard. Not decided here: what they lead to
(``watcher.py``). Slower than ``inotify.py`` by up to 500 ms where a file is moved out of a directory.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch

    from nexus_supervisor.supervisor.file_events import Watch

__all__ = ["ObserverEvents"]

_COUNTED: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
"""Not among them: opened and closed without a write, which our own reads cause."""

_MODES = {"linux": "inotify", "darwin": "fsevents"}


class ObserverEvents:
    """Run one observer. ``lost`` is called when watchdog warns of anything, from whatever thread it does so."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._warnings = _Warnings(lost)
        self._observer: BaseObserver = Observer()
        logging.getLogger("watchdog").addHandler(self._warnings)
        self._observer.start()

    @property
    def mode(self) -> str:
        """Return the mechanism that the observer uses on this platform."""
        polls = isinstance(self._observer, PollingObserver)
        return "polling" if polls else _MODES.get(sys.platform, "kqueue")

    @property
    def alive(self) -> bool:
        """Say whether the observer's thread runs."""
        return self._observer.is_alive()

    def watch(self, path: str, saw: Callable[[str], None]) -> Watch:
        """Call ``saw`` with each name that may have changed in the directory."""
        observed = self._observer.schedule(_Handler(path, saw), path, event_filter=_COUNTED, follow_symlink=True)
        emitter = next(emitter for emitter in self._observer.emitters if emitter.watch == observed)
        return _Observed(observed, emitter)

    def forget(self, watch: Watch) -> None:
        """End a watch; without that, watching the path again does nothing, also where its emitter has died."""
        if isinstance(watch, _Observed):
            self._observer.unschedule(watch.observed)

    def close(self) -> None:
        """End the observer and its emitters."""
        logging.getLogger("watchdog").removeHandler(self._warnings)
        self._observer.stop()
        self._observer.join()


class _Observed:
    def __init__(self, observed: ObservedWatch, emitter: EventEmitter) -> None:
        self.observed = observed
        self._emitter = emitter

    @property
    def live(self) -> bool:
        return self._emitter.is_alive()


class _Handler(FileSystemEventHandler):
    """Reduce an event to the names that it is about: an atomic save has the name that counts as its destination."""

    def __init__(self, path: str, saw: Callable[[str], None]) -> None:
        self._path = path
        self._saw = saw

    def dispatch(self, event: FileSystemEvent) -> None:
        """Call back for each path of the event that is in the directory, or is the directory."""
        for path in filter(None, (os.fsdecode(event.src_path), os.fsdecode(event.dest_path))):
            if path == self._path:
                self._saw("")
                continue
            parent, _, name = path.rpartition(os.sep)
            if parent == self._path.rstrip(os.sep):
                self._saw(name)


class _Warnings(logging.Handler):
    """Hear what watchdog only logs: that events were dropped, or that a directory can't be watched any more."""

    def __init__(self, lost: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._lost = lost

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the signature of the standard library
        """Take any warning as lost events."""
        self._lost()
