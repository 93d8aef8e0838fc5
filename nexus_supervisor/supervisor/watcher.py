"""The watcher: file events that say "look again".

Decided here: which directories are watched, which names in them count, and when that has to be set up anew. Not decided
here: what DIR holds. An event is only a hint, for which nothing but speed depends on the watcher: who looks reads and
compares content, and looks every few seconds anyway.

Watched are DIR, every directory of a section, and the parents of DIR (as given and with its links resolved), none of
them recursively: ``compiled/`` and ``state/`` change with every push and must not wake anybody.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from nexus_supervisor.supervisor.file_events import Watch
from nexus_supervisor.supervisor.observer import ObserverEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nexus_supervisor.supervisor.file_events import FileEvents

__all__ = ["RECONCILE_ONLY", "Watcher"]

RECONCILE_ONLY = "reconcile-only"
"""The mode in which no event arrives, so that changes are found by looking every few seconds alone."""

_CONFIG_MAP_LINK = "..data"
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Interest:
    """What counts in one directory. ``within`` is its path relative to DIR, with a slash, or empty.

    ``files`` are names of watched files, ``steps`` names of directories that are watched themselves; with ``entries``
    every file counts that may be an entry of a section.
    """

    within: str = ""
    files: frozenset[str] = frozenset()
    steps: frozenset[str] = frozenset()
    entries: bool = False

    def joined(self, other: _Interest) -> _Interest:
        """Return what counts where two reasons lead to one directory."""
        return _Interest(
            self.within or other.within,
            self.files | other.files,
            self.steps | other.steps,
            self.entries or other.entries,
        )

    def names(self, name: str) -> bool:
        """Say whether a file of this name is one that people configure."""
        return name in self.files or (self.entries and name.endswith(".toml") and not name.startswith("."))

    def moves(self, name: str) -> bool:
        """Say whether a change of this name may exchange a whole directory."""
        return not name or name in self.steps or (self.entries and name == _CONFIG_MAP_LINK)


@dataclass(frozen=True, slots=True)
class _Place:
    """One directory as it is watched: ``identity`` tells it from another one that took its path."""

    identity: tuple[int, int]
    watch: Watch


class Watcher:
    """Call ``touched`` when something in a directory may have changed.

    ``watched`` holds paths relative to ``directory``: section directories (``sources``, or ``sources/*.toml``) and
    single files (``daemon.toml``). ``touched`` gets the relative paths that may have changed, or None for anything; it
    is called from the watcher's thread. ``degraded`` gets a sentence for people when the watcher sees less than it
    should. Nothing is raised: a directory that can't be watched leaves the mode ``reconcile-only``.
    """

    def __init__(
        self,
        directory: Path,
        watched: Iterable[str],
        touched: Callable[[frozenset[str] | None], None],
        degraded: Callable[[str], None],
    ) -> None:
        self._given = directory.absolute()
        self._inside = _interests(watched)
        self._touched = touched
        self._complaints = _Complaints(degraded)
        self._hold = threading.Lock()
        self._again = False
        self._events: FileEvents | None = None
        self._places: dict[Path, _Place] = {}
        self._blind = True
        self._running = False

    @property
    def mode(self) -> str:
        """Return how changes are noticed: ``inotify``, what else the platform has, or ``reconcile-only``."""
        events = self._events
        return RECONCILE_ONLY if events is None or self._blind or not events.alive else events.mode

    def start(self) -> None:
        """Begin to watch; once it returns, no change is missed. Starting again does nothing."""
        if not self._running:
            self._running = True
            self._events = self._open()
            self._arm()

    def stop(self) -> None:
        """End the watcher's thread and wait for it; nothing is called afterwards. Stopping again does nothing."""
        self._running = False
        self._close()

    def check(self) -> None:
        """See to it that everything is still watched; to be called every few seconds while the watcher runs.

        Where anything had to be set up again, say ``touched(None)``: events may be missing.
        """
        if not self._running:
            return
        self._complaints.repeat()
        if self._events is not None and not self._events.alive:
            self._close()
            self._complaints.say("the watcher's thread had ended and was started again: file events may be missing")
        if self._events is None:
            self._events = self._open()
        if self._arm():
            self._touched(None)

    def _close(self) -> None:
        with self._hold:
            events, self._events = self._events, None
            self._places = {}
            self._blind = True
        if events is not None:
            events.close()

    def _open(self) -> FileEvents | None:
        try:
            return self._open_inotify() or ObserverEvents(self._lost)
        except (OSError, RuntimeError) as error:  # no descriptor or no thread to be had
            self._complaints.say(_unwatchable(self._given, error))
        return None

    def _open_inotify(self) -> FileEvents | None:
        """Open watchdog's own reader where there is one; a later watchdog may have none, or another one."""
        if sys.platform != "linux":
            return None
        try:
            from nexus_supervisor.supervisor.inotify import InotifyEvents

            return InotifyEvents(self._lost)
        except (OSError, RuntimeError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the public observer is there
            self._complaints.say(
                f"watchdog's inotify reader can't be used ({type(error).__name__}: {error}): its observer is used, "
                "which notices half a second later that a file was moved away"
            )
        return None

    def _arm(self) -> bool:
        """Watch what is to be watched, and nothing else; return whether anything had to change.

        Never waits for another thread that does the same, which would deadlock with the observer's lock: that thread
        does it once more instead.
        """
        changed = False
        self._again = True
        while self._again and self._hold.acquire(blocking=False):
            try:
                self._again = False
                if self._events is not None:
                    changed |= self._rearrange(self._events)
            finally:
                self._hold.release()
        return changed

    def _rearrange(self, events: FileEvents) -> bool:
        wanted = self._wanted()
        stale = [
            path
            for path, place in self._places.items()
            if path not in wanted or not place.watch.live or place.identity != _identity(path)
        ]
        for path in stale:
            events.forget(self._places.pop(path).watch)
        missing = [path for path in wanted if path not in self._places]
        refused = [error for path in missing if (error := self._add(events, path, wanted[path])) is not None]
        self._blind = bool(refused)
        for error in refused:
            self._complaints.say(error)
        return bool(stale) or any(path in self._places for path in missing)

    def _add(self, events: FileEvents, path: Path, interest: _Interest) -> str | None:
        """Watch a directory, if it is there; return a sentence if that is refused and it matters."""
        for _ in range(_ATTEMPTS):
            identity = _identity(path)
            if identity is None:
                return None
            try:
                watch = events.watch(str(path), partial(self._saw, interest))
            except OSError as error:
                gone = _identity(path) != identity
                return None if gone or self._outside(path) else _unwatchable(path, error)
            if _identity(path) == identity:
                self._places[path] = _Place(identity, watch)
                return None
            events.forget(watch)
        return None

    def _outside(self, path: Path) -> bool:
        """Say whether the directory only leads to DIR; DIR itself tells when it is moved, so that isn't vital."""
        return not path.is_relative_to(_resolved(self._given))

    def _wanted(self) -> dict[Path, _Interest]:
        """Return what to watch, by path, with the links of DIR as they are now."""
        real = _resolved(self._given)
        wanted: dict[Path, _Interest] = {}
        for path in (self._given, real):
            known = wanted.get(path.parent, _Interest())
            wanted[path.parent] = known.joined(_Interest(steps=frozenset({path.name})))
        for relative, interest in self._inside.items():
            known = wanted.get(real / relative, _Interest())
            wanted[real / relative] = known.joined(interest)
        return wanted

    def _saw(self, interest: _Interest, name: str) -> None:
        """Judge one event, in the thread that events come from; whatever fails here must not end that thread."""
        if self._events is None:
            return
        try:
            if interest.moves(name):
                self._arm()
                self._touched(None)
            elif interest.names(name):
                self._touched(frozenset({interest.within + name}))
        except Exception as error:  # noqa: BLE001 - said aloud, and found again by the next look
            self._complaints.say(f"a file event could not be passed on ({type(error).__name__}): it is found later")

    def _lost(self) -> None:
        """Take it that anything may have changed: events were dropped."""
        self._complaints.say("file events were dropped because too many came at once: the whole directory is compared")
        self._touched(None)


class _Complaints:
    """Say each sentence once between two checks, and what lasts not again: a storm must not become one of notices."""

    def __init__(self, degraded: Callable[[str], None]) -> None:
        self._degraded = degraded
        self._said: set[str] = set()
        self._before: set[str] = set()

    def say(self, sentence: str) -> None:
        known = sentence in self._said or sentence in self._before
        self._said.add(sentence)
        if not known:
            self._degraded(sentence)

    def repeat(self) -> None:
        self._before, self._said = self._said, set()


def _interests(watched: Iterable[str]) -> dict[str, _Interest]:
    """Return what counts in each directory of DIR, by its relative path (``""`` is DIR itself)."""
    interests: dict[str, _Interest] = {"": _Interest()}

    def count(directory: PurePosixPath, interest: _Interest) -> None:
        relative = "" if directory == PurePosixPath() else str(directory)
        within = f"{relative}/" if relative else ""
        known = interests.get(relative, _Interest())
        interests[relative] = known.joined(_Interest(within, interest.files, interest.steps, interest.entries))

    for path in map(PurePosixPath, watched):
        if path.name == "*.toml":
            deepest, interest = path.parent, _Interest(entries=True)
        elif path.suffix == ".toml":
            deepest, interest = path.parent, _Interest(files=frozenset({path.name}))
        else:
            deepest, interest = path, _Interest(entries=True)
        count(deepest, interest)
        for step in (deepest, *deepest.parents):
            if step != PurePosixPath():
                count(step.parent, _Interest(steps=frozenset({step.name})))
    return interests


def _resolved(path: Path) -> Path:
    """Return where the links of a path lead; the path itself where they lead in circles."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _unwatchable(path: Path, error: Exception) -> str:
    return (
        f"{path} can't be watched ({error}): changes are found by comparing every few seconds instead; on Linux raise "
        "fs.inotify.max_user_watches or fs.inotify.max_user_instances if that is the limit"
    )
