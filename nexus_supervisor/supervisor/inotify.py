"""File events from watchdog's reader of inotify(7), without what watchdog builds on top of it.

Decided here: which kernel events count. Not decided here: what they lead to (``watcher.py``).

Watchdog's observer holds the first half of every rename back for 500 ms, waiting for the second: a key revoked by
``mv sources/x.toml elsewhere`` would work that much longer. It tells nobody about a full kernel queue, wakes for our
own reads, and needs three threads between kernel and caller, any of which one exception ends. Its reader thread has
none of that: each event of the kernel becomes one call, at once.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.supervisor.file_events import Watch

__all__ = ["InotifyEvents"]

# A file is looked at when its writer has closed it: neither IN_MODIFY nor, for our own reads, IN_OPEN and its like.
# IN_MASK_ADD: two paths may lead to one directory, and the second watch must not take events from the first.
_MASK = Mask(
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_MASK_ADD
)
_NO_WATCH = -1

logging.getLogger("watchdog").addHandler(logging.NullHandler())  # what it warns of is a notice of ours


class InotifyEvents:
    """Read one inotify instance. ``lost`` is called when the kernel dropped events, from the reader's thread."""

    mode = "inotify"

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._reader = InotifyFD()
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Say whether the reader's thread runs."""
        return self._reader.is_alive()

    def watch(self, path: str, saw: Callable[[str], None]) -> Watch:
        """Call ``saw`` with each name that may have changed in the directory."""
        watched = _Watched(path, saw, self._lost)
        watched.descriptor = self._reader.add_callback(os.fsencode(path), _MASK, watched, watched.id)
        if watched.descriptor == _NO_WATCH:  # watchdog passes over EACCES in silence
            self.forget(watched)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return watched

    def forget(self, watch: Watch) -> None:
        """End a watch; its last events may still be on their way."""
        if isinstance(watch, _Watched) and watch.live:
            watch.live = False
            self._reader.remove_callbacks([(watch.descriptor, watch.id)])

    def close(self) -> None:
        """End the reader's thread, which closes the instance."""
        self._reader.stop()
        self._reader.join()


class _Watched:
    """Be what watchdog calls for one directory."""

    def __init__(self, path: str, saw: Callable[[str], None], lost: Callable[[], None]) -> None:
        self._path = Path(path)
        self._saw = saw
        self._lost = lost
        self.id = CallbackId(id(self))
        self.descriptor = WatchDescriptor(_NO_WATCH)
        self.live = True

    def on_event(self, event: InotifyEvent) -> None:
        """Pass the name on, unless the event says nothing that a later one won't say better."""
        if not self.live:
            return
        name = os.fsdecode(event.name)
        if not (event.mask & InotifyConstants.IN_CREATE and self._still_to_be_written(name)):
            self._saw(name)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002 - the name is watchdog's
        """Note that the kernel ended the watch: the directory is gone or was unmounted."""
        if self.live:
            self.live = False
            self._saw("")

    def on_queue_overflow(self) -> None:
        """Say that events were lost."""
        self._lost()

    def _still_to_be_written(self, name: str) -> bool:
        """Say whether a name that was just created is an empty file: its writer will close it.

        A link, a FIFO or a directory is complete when it is created, and so is a file that was linked into place.
        """
        try:
            found = (self._path / name).lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == 0
