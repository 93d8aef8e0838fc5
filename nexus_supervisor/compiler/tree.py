"""The directory during one look: opened once, every name resolved below its descriptor.

Decided here: which names of a directory are entries, and which symbolic links are followed: those of a Kubernetes
ConfigMap (``x.toml -> ..data/x.toml``, ``..data -> one directory beside it``) and no others. Not decided here: which of
the files changed (``survey.py``).

``..data`` is resolved once a look and its files are read through the descriptor of what it led to, never through their
own links, so that a swap during the look can't mix two moments.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from nexus_supervisor.compiler.reading import Identity, Reading, TroubleError, VanishedError, kind_of, read_stable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["Folder", "Tree", "is_entry", "shown"]

_DATA = "..data"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ATTEMPTS = 3
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_LINK = "expected a regular file, found a symbolic link: only links of a ConfigMap, into ..data/, are followed"


def is_entry(name: str) -> bool:
    """Say whether a file of this name is an entry: not hidden, and ending in ``.toml``."""
    return name.endswith(".toml") and not name.startswith(".")


def shown(name: str) -> str:
    """Return a file name as text that is safe to show: bytes that are not UTF-8 and control characters are escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Tree:
    """Hold DIR open during one look; a context manager that closes every descriptor."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, Folder] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in self._folders.values():
            folder.close()
        self._folders.clear()

    def folder(self, name: str, *, fresh: bool = False) -> Folder:
        """Return a directory of DIR by name (``""`` for DIR itself), resolved once a look unless ``fresh`` is wanted.

        Raise TroubleError where it can't be used.
        """
        if fresh and (old := self._folders.pop(name, None)) is not None:
            old.close()
        if name not in self._folders:
            self._folders[name] = self._opened(name)
        return self._folders[name]

    def _opened(self, name: str) -> Folder:
        if not name:
            return Folder(_open_directory(self._root, None, "DIR"))
        return Folder(_open_directory(name, self.folder("").beside(name), f"the directory {name}/"))


class Folder:
    """Hold one directory open, and what its ``..data`` leads to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._current: int | None = None
        try:
            self._current = _open_current(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in (self._descriptor, self._current):
            if descriptor is not None:
                os.close(descriptor)

    @property
    def stamp(self) -> Identity:
        """Return what changes whenever a name in the directory does."""
        return Identity.of(os.fstat(self._descriptor))

    @property
    def current(self) -> bool:
        """Say whether ``..data`` still leads to what it led to: what it left may be deleted piece by piece."""
        if self._current is None:
            return True
        try:
            now = os.stat(_DATA, dir_fd=self._descriptor)
        except OSError:
            return False
        return os.path.samestat(now, os.fstat(self._current))

    def listing(self) -> dict[str, Identity | TroubleError]:
        """Return every entry by name, with its identity or why it can't be used."""
        found: dict[str, Identity | TroubleError] = {}
        for descriptor in (self._descriptor, self._current):
            if descriptor is not None:
                self._list_into(found, descriptor)
        return found

    def look_up(self, name: str) -> Identity | TroubleError | None:
        """Return the same for one name, or None where there is no such entry."""
        for descriptor in (self._current, self._descriptor):
            if descriptor is None:
                continue
            try:
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue
            if not self._is_current_link(descriptor, name, found.st_mode):
                return _judged(found)
        return None

    def read(self, name: str, limit: int) -> Reading:
        """Read an entry; raise TroubleError or VanishedError."""
        if self._current is not None:
            try:
                return read_stable(self._current, name, limit)
            except VanishedError:
                if self.beside(name) == self._current:
                    raise
        return read_stable(self._descriptor, name, limit)

    def beside(self, name: str) -> int:
        """Return the descriptor below which a name is found without following a link."""
        try:
            mode = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode
        except OSError:
            return self._descriptor
        linked = self._is_current_link(self._descriptor, name, mode)
        return self._current if linked and self._current is not None else self._descriptor

    def _list_into(self, found: dict[str, Identity | TroubleError], descriptor: int) -> None:
        with os.scandir(descriptor) as names:
            for one in names:
                if not is_entry(one.name):
                    continue
                try:
                    status = one.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if not self._is_current_link(descriptor, one.name, status.st_mode):
                    found[one.name] = _judged(status)

    def _is_current_link(self, descriptor: int, name: str, mode: int) -> bool:
        """Say whether a name is a link of the ConfigMap: what it stands for is found in ``..data`` itself."""
        if self._current is None or descriptor != self._descriptor or not stat.S_ISLNK(mode):
            return False
        try:
            return os.readlink(name, dir_fd=descriptor) == f"{_DATA}/{name}"
        except OSError:
            return False


def _judged(found: os.stat_result) -> Identity | TroubleError:
    if stat.S_ISREG(found.st_mode):
        return Identity.of(found)
    if stat.S_ISLNK(found.st_mode):
        return TroubleError(_LINK, "not_a_file")
    return TroubleError(f"expected a regular file, found {kind_of(found.st_mode)}", "not_a_file")


def _open_directory(target: Path | str, beside: int | None, words: str) -> int:
    flags = _DIRECTORY if beside is None else _DIRECTORY | os.O_NOFOLLOW
    try:
        return os.open(target, flags, dir_fd=beside)
    except FileNotFoundError:
        message = f"expected {words} to exist, found nothing: make it, even if it stays empty"
        raise TroubleError(message, "missing") from None
    except NotADirectoryError:
        message = f"expected {words} to be a directory, found a file or a symbolic link"
        raise TroubleError(message, "not_a_file") from None
    except OSError as error:
        message = f"expected {words} to be readable, found that it isn't ({error.strerror})"
        raise TroubleError(message, "unreadable") from None


def _open_current(descriptor: int) -> int | None:
    """Open what ``..data`` leads to, or return None where there is none; raise TroubleError for any other link."""
    for _ in range(_ATTEMPTS):
        try:
            target = os.readlink(_DATA, dir_fd=descriptor)
        except FileNotFoundError:
            return None
        except OSError:
            message = f"expected {_DATA} to be a symbolic link, as in a ConfigMap, found something else"
            raise TroubleError(message, "not_a_file") from None
        if "/" in target or target in {"", ".", ".."}:
            message = f"expected {_DATA} to lead to a directory beside it, found a link to somewhere else"
            raise TroubleError(message, "not_a_file")
        try:
            return os.open(target, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        except FileNotFoundError:
            continue
        except OSError as error:
            message = f"expected {_DATA} to lead to a directory, found one that can't be opened ({error.strerror})"
            raise TroubleError(message, "not_a_file") from None
    message = f"{_DATA} leads to a directory that is gone: it is taken when it leads to one again"
    raise TroubleError(message, "unstable")
