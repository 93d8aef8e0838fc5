"""Builders for tests of the compiler: a directory with two sections, and a compiler that looks at it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.compile import Compiler
from nexus_supervisor.core import canonical, delta
from nexus_supervisor.core.codec import unpack
from nexus_supervisor.core.compilation import Adopt, Adopted, Begin, Look, Recall, Refused, Seen
from nexus_supervisor.core.content import EMPTY

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.compiler.compile import Answer
    from nexus_supervisor.core.content import Content

PEPPER = b"p" * 32

DAEMON = """\
[daemon]
port = 8080

[supervisor]
program = "asgi"

[[supervisor.section]]
name = "sources"
files = "sources/*.toml"
apply = "live"
model = "tests.support.shop:Source"
table = "source"
name_from = "name"

[[supervisor.section]]
name = "destinations"
files = "destinations/*.toml"
apply = "restart"
model = "tests.support.shop:Destination"
table = "destination"
name_from = "name"
"""


def source(name: str, *lines: str, key: str | None = None) -> str:
    """Return the text of a source; each one has a key of its own."""
    return "\n".join(["[source]", f'name = "{name}"', f'api_key = "{key or "key-of-" + name}"', *lines, ""])


def destination(name: str, *lines: str) -> str:
    """Return the text of a destination."""
    return "\n".join(["[destination]", f'name = "{name}"', *lines, ""])


def write(path: Path, text: str | bytes) -> None:
    """Write a file as careful editors do: beside it, then renamed over it."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(text if isinstance(text, bytes) else text.encode())
    beside.replace(path)


def make_directory(directory: Path, *, daemon: str = DAEMON) -> Path:
    """Make a valid directory: sources a and b, destination main."""
    (directory / "sources").mkdir(parents=True)
    (directory / "destinations").mkdir()
    write(directory / "daemon.toml", daemon)
    write(directory / "sources/a.toml", source("a", 'target = "main"'))
    write(directory / "sources/b.toml", source("b"))
    write(directory / "destinations/main.toml", destination("main", 'dsn = "first-dsn"'))
    return directory


class Desk:
    """Look at a directory with a compiler in this process, as the supervisor would."""

    def __init__(self, directory: Path, overrides: dict[str, Any] | None = None) -> None:
        self.directory = directory
        self.overrides = overrides or {}
        self.compiler = self.fresh()
        self.content: Content = EMPTY
        self.secrets: dict[str, str] = {}

    def fresh(self) -> Compiler:
        """Return a compiler that knows nothing."""
        return Compiler(Begin(str(self.directory), canonical.encode(self.overrides), PEPPER))

    def restart(self) -> None:
        """Take a new compiler, and tell it what runs."""
        self.compiler = self.fresh()
        payload = delta.encode(self.content.delta_from(None))
        self.adopt_message(Adopt(0, self.content.digest, payload, False, False, False), payload)

    def write(self, path: str, text: str | bytes) -> None:
        """Write a file of the directory atomically."""
        write(self.directory / path, text)

    def answer(self, *, hints: tuple[str, ...] | None = None, whole: bool = False) -> Answer:
        """Look, and return the whole answer."""
        return self.compiler.look(Look(1, hints, whole))

    def seen(self, *, hints: tuple[str, ...] | None = None, whole: bool = False) -> Seen:
        """Look at a directory that is valid."""
        message = self.answer(hints=hints, whole=whole).message
        assert isinstance(message, Seen), lines(message)
        return message

    def refused(self, *, hints: tuple[str, ...] | None = None) -> Refused:
        """Look at a directory that is not valid."""
        message = self.answer(hints=hints).message
        assert isinstance(message, Refused), message
        return message

    def go_live(self, *, whole: bool = False) -> Seen:
        """Look, and adopt what can go live."""
        answer = self.answer(whole=whole)
        message = answer.message
        assert isinstance(message, Seen), lines(message)
        self.content = self.applied(message)
        self.secrets = dict(unpack(answer.secrets)) if answer.secrets else {}
        self.adopt_message(Adopt(2, message.digest, message.payload, False, False, False), message.payload)
        return message

    def applied(self, message: Seen | Refused) -> Content:
        """Return what runs with the payload of a verdict."""
        if message.payload is None:
            return self.content
        return self.content.after(delta.decode(message.payload))

    def remaining(self, message: Seen) -> Content:
        """Return what runs less what is gone, as a verdict describes it."""
        assert message.revoked is not None
        payload = message.payload if message.revoked == message.digest else message.revoked_payload
        assert payload is not None
        content = self.content.after(delta.decode(payload))
        assert content.digest == message.revoked
        return content

    def recall(self, older: Content) -> Answer:
        """Have an older content judged, and return the whole answer."""
        payload = delta.encode(older.delta_from(self.content if self.content.sections else None))
        return self.compiler.recall(Recall(7, payload, payload_beside=False), payload)

    def recalled(self, older: Content) -> Seen:
        """Have an older content judged that can go live."""
        message = self.recall(older).message
        assert isinstance(message, Seen), lines(message)
        assert message.wanted == older.digest
        return message

    def not_recalled(self, older: Content) -> list[str]:
        """Have an older content judged that can't be used, and return why."""
        message = self.recall(older).message
        assert isinstance(message, Refused), message
        return lines(message)

    def adopt_message(self, message: Adopt, payload: bytes | None) -> Adopted:
        """Have the compiler adopt."""
        adopted = self.compiler.adopt(message, payload, None).message
        assert isinstance(adopted, Adopted)
        return adopted


def names(content: Content, section: str = "sources") -> list[str]:
    """Return the names of a section's entries."""
    return sorted(content.sections[section].entries)


def entry(content: Content, section: str, name: str) -> Any:
    """Return an entry as plain values."""
    return canonical.decode(content.sections[section].entries[name].body)


def lines(message: object) -> list[str]:
    """Return the problems of a verdict as people see them."""
    problems = getattr(message, "problems", ())
    return [str(problem) for problem in problems]


def assert_problem(message: Refused, pattern: str) -> None:
    """Check that one of the problems matches from its beginning."""
    found = lines(message)
    assert any(re.match(pattern, line) for line in found), found


def is_root() -> bool:
    """Say whether permissions mean nothing to this process."""
    return os.geteuid() == 0
