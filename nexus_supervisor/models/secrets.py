"""Where secrets come from: references in files, stored forms in content, literals in tests.

Decided here: how ``env:``, ``file:`` and literals are resolved, and when a stored secret is refused. Not decided here:
who is told the values (``compiler/``). No message here ever holds a value.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nexus_supervisor.models.marks import SHOWN, Secret, keyed_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "FileIdentity",
    "Known",
    "Literals",
    "Origins",
    "Reissue",
    "Resolution",
    "SecretMistakeError",
    "SecretSource",
    "Stored",
    "identity_of",
    "redacted",
    "stored_form",
]

MAX_SECRET_BYTES = 64 * 1024
_SHORTEST_REDACTED = 4

FileIdentity = tuple[int, int, int, int]
"""Inode, size, mtime and ctime of a file that a reference names."""


class SecretMistakeError(Exception):
    """Say, without the value, why a secret can't be used."""


class SecretSource(Protocol):
    """Turn what is written in a secret field into a secret."""

    def secret(self, cls: type[Secret], written: object) -> Secret:
        """Return the secret; raise SecretMistakeError."""


class Literals:
    """Take what is written as the value itself: for models that people build in their own tests."""

    def secret(self, cls: type[Secret], written: object) -> Secret:
        """Return a literal secret without a pepper."""
        return cls.literal(_text(written))


class Origins:
    """Resolve references as files of one directory write them: the directory, the environment and the pepper.

    ``max_bytes`` bounds a file that a reference names; it follows ``supervisor.limits.max_secret_bytes``.
    """

    def __init__(
        self, directory: Path, environment: Mapping[str, str], pepper: bytes, max_bytes: int = MAX_SECRET_BYTES
    ) -> None:
        self.directory, self.environment, self.pepper = directory, environment, pepper
        self.max_bytes = max_bytes

    def resolve(self, written: str) -> tuple[str | None, str]:
        """Return (the reference or None for a literal, the value); raise SecretMistakeError."""
        scheme, colon, rest = written.partition(":")
        match scheme if colon else "":
            case "env":
                return written, self._from_environment(rest)
            case "file":
                return written, self._from_file(rest)
        if not written.strip():
            message = 'expected "env:NAME", "file:PATH" or a value, found an empty text'
            raise SecretMistakeError(message)
        return None, written

    def path(self, ref: str) -> Path:
        """Return the file that a ``file:`` reference names."""
        return self.directory / Path(ref.removeprefix("file:")).expanduser()

    def _from_environment(self, name: str) -> str:
        value = self.environment.get(name)
        if value is None or not value.strip():
            state = "not set" if value is None else "empty"
            message = f"expected a value in the environment variable {name!r}, which is {state}"
            raise SecretMistakeError(message)
        return value

    def _from_file(self, name: str) -> str:
        if not name.strip():
            message = 'expected a path after "file:", found none'
            raise SecretMistakeError(message)
        try:
            value = _read_small_file(self.path(name), name, self.max_bytes).decode("utf-8").strip()
        except UnicodeDecodeError:
            message = f"expected text in the file {name!r}, found bytes that are not UTF-8"
            raise SecretMistakeError(message) from None
        except (RuntimeError, ValueError):
            message = f"expected a path after 'file:', found {name!r}, which can't be resolved"
            raise SecretMistakeError(message) from None
        if not value:
            message = f"expected a value in the file {name!r}, which is empty"
            raise SecretMistakeError(message)
        return value


class Resolution:
    """Resolve the references of one entry, and remember what they led to."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self.traveling: dict[str, str] = {}
        self.environment: set[str] = set()
        self.files: dict[str, FileIdentity | None] = {}
        self._values: set[str] = set()

    def secret(self, cls: type[Secret], written: object) -> Secret:
        """Return the secret that the reference leads to; raise SecretMistakeError."""
        text = _text(written)
        if text.startswith("env:"):
            self.environment.add(text.removeprefix("env:"))
        elif text.startswith("file:") and text not in self.files:  # the first value that was read is the oldest
            self.files[text] = identity_of(self._origins, text)
        ref, value = self._origins.resolve(text)
        self._values.add(value)
        digest = keyed_digest(self._origins.pepper, value)
        if cls.travels():
            self.traveling[digest] = value
        return cls(ref, digest, value)

    def redacted(self, text: str) -> str:
        """Return a text, such as the message of a user's validator, without any of the values seen here."""
        return redacted(text, self._values)

    def __repr__(self) -> str:
        return "Resolution()"


class Stored:
    """Give back secrets from their stored form, with the values that have traveled here."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def secret(self, cls: type[Secret], written: object) -> Secret:
        """Return the secret; raise SecretMistakeError where a value that should travel did not."""
        ref, digest = stored_form(written)
        if not cls.travels():
            return cls(ref, digest)
        value = self._values.get(digest)
        if value is None:
            message = "the value of this secret did not travel beside the content"
            raise SecretMistakeError(message)
        return cls(ref, digest, value)

    def __repr__(self) -> str:
        return "Stored()"


class Known:
    """Give back secrets from their stored form, with their values as far as they are known: for judging content."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._given: set[str] = set()

    def secret(self, cls: type[Secret], written: object) -> Secret:
        """Return the secret, without its value where that is not known or never travels."""
        ref, digest = stored_form(written)
        value = self._values.get(digest) if cls.travels() else None
        if value is not None:
            self._given.add(value)
        return cls(ref, digest, value)

    def redacted(self, text: str) -> str:
        """Return a text without any of the values that were given here."""
        return redacted(text, self._given)

    def __repr__(self) -> str:
        return "Known()"


class Reissue:
    """Resolve the references of stored content again; a value that is missing or differs is refused.

    Values that never travel are not resolved: their digest is all that anybody needs. ``literals`` holds, by digest,
    the values that the directory holds now.
    """

    def __init__(self, origins: Origins, literals: Mapping[str, str]) -> None:
        self._origins, self._literals = origins, literals
        self.traveling: dict[str, str] = {}
        self.environment: set[str] = set()

    def secret(self, cls: type[Secret], written: object) -> Secret:
        """Return the secret with the value that its reference leads to now; raise SecretMistakeError."""
        ref, digest = stored_form(written)
        if ref is not None and ref.startswith("env:"):
            self.environment.add(ref.removeprefix("env:"))
        if not cls.travels():
            return cls(ref, digest)
        value = self._literals.get(digest) if ref is None else self._origins.resolve(ref)[1]
        if value is None:
            message = "the literal value is no longer in the directory: write it again, or use a reference"
            raise SecretMistakeError(message)
        if keyed_digest(self._origins.pepper, value) != digest:
            message = f"the value that {ref} leads to now is not the one of the stored version: put that value back"
            raise SecretMistakeError(message)
        self.traveling[digest] = value
        return cls(ref, digest, value)

    def take(self, traveling: Mapping[str, str], environment: Iterable[str]) -> None:
        """Take over what was resolved already."""
        self.traveling.update(traveling)
        self.environment.update(environment)

    def __repr__(self) -> str:
        return "Reissue()"


def redacted(text: str, values: Iterable[str]) -> str:
    """Return a text without any of these values, the longest first; very short ones would hide too much."""
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _SHORTEST_REDACTED:
            text = text.replace(value, SHOWN)
    return text


def stored_form(written: object) -> tuple[str | None, str]:
    """Return (ref, digest) of a stored secret; raise SecretMistakeError for anything else."""
    match written:
        case {"digest": str() as digest, "ref": None | str() as ref, **rest} if not rest:
            return ref, digest
    message = "expected a stored secret {digest, ref}"
    raise SecretMistakeError(message)


def identity_of(origins: Origins, ref: str) -> FileIdentity | None:
    """Return the identity of the file that a reference names, or None where there is none."""
    try:
        found = origins.path(ref).stat()
    except (OSError, RuntimeError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _text(written: object) -> str:
    if isinstance(written, str):
        return written
    message = 'expected a text ("env:NAME", "file:PATH" or the value), found another type'
    raise SecretMistakeError(message)


def _read_small_file(path: Path, shown: str, limit: int) -> bytes:
    """Read a regular file of bounded size; a FIFO or device is refused without waiting for it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        reason = "does not exist" if error.errno == errno.ENOENT else f"can't be read ({error.strerror})"
        message = f"expected a value in the file {shown!r}, which {reason}"
        raise SecretMistakeError(message) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            message = f"expected {shown!r} to be a regular file, found something else"
            raise SecretMistakeError(message)
        raw = os.read(descriptor, limit + 1)
    finally:
        os.close(descriptor)
    if len(raw) > limit:
        message = f"expected {shown!r} to hold at most {limit} bytes, found more"
        raise SecretMistakeError(message)
    return raw
