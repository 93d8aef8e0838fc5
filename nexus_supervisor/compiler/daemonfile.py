"""daemon.toml: the settings that it gives, and its part of the content.

Decided here: how daemon.toml becomes settings, problems with a line each, and the built-in section. Not decided here:
what a setting may be (``core/settings.py``) and which settings wait for a restart (``core/changes.py``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.parsing import parse
from nexus_supervisor.compiler.positions import Positions, positions
from nexus_supervisor.compiler.reading import TroubleError, VanishedError
from nexus_supervisor.compiler.sheets import broken, problems_at
from nexus_supervisor.core import canonical, settings
from nexus_supervisor.core.changes import BUILT_IN
from nexus_supervisor.core.content import Content, Entries, Entry, Section
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import Settings
from nexus_supervisor.models.marks import Secret
from nexus_supervisor.models.mistakes import Mistake, shortened
from nexus_supervisor.models.secrets import Resolution, SecretMistakeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexus_supervisor.compiler.parsing import Parsed
    from nexus_supervisor.compiler.reading import Identity
    from nexus_supervisor.compiler.tree import Tree
    from nexus_supervisor.core.options import LimitSettings
    from nexus_supervisor.models.mistakes import Path
    from nexus_supervisor.models.secrets import Origins

__all__ = [
    "DAEMON_FILE",
    "DaemonFile",
    "DaemonFileReader",
    "cpu_count",
    "key_path",
    "mistakes_of",
    "settings_of",
    "stored_admin_token",
]

DAEMON_FILE = "daemon.toml"
_TOKEN = "admin_token"  # noqa: S105 - the name of a setting
_TABLES = ("daemon", "supervisor")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class DaemonFile:
    """Hold daemon.toml as it is now; ``section`` is None where it has problems."""

    settings: Settings | None
    section: Section | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: frozenset[str] = frozenset()
    text: str = field(default="", repr=False)

    def problem(self, key: str, code: str, message: str) -> Problem:
        """Return a problem about a key of the file, with its line."""
        return problems_at(DAEMON_FILE, [Mistake(key_path(key), code, message)], positions(self.text))[0]


class DaemonFileReader:
    """Read daemon.toml again where it changed."""

    def __init__(self, overrides: Mapping[str, Any], origins: Origins) -> None:
        self.parsed = 0
        self._overrides, self._origins = overrides, origins
        self._last: DaemonFile | None = None
        self._identity: Identity | None = None
        self._raw: bytes | None = None

    def look(self, tree: Tree, limits: LimitSettings, *, doubt: bool) -> DaemonFile:
        """Return what daemon.toml is now; with ``doubt`` a secret in it is resolved again, too."""
        self.parsed = 0
        found = tree.folder("").look_up(DAEMON_FILE)
        last = self._last
        doubtful = doubt and last is not None and bool(last.secrets or last.problems)
        if last is not None and not doubtful and found is not None and found == self._identity:
            return last
        try:
            reading = tree.folder("").read(DAEMON_FILE, limits.max_file_bytes)
        except VanishedError:
            message = "expected the file daemon.toml, found none: make it; it may be empty"
            return self._take(_refused(TroubleError(message, "missing")), None, None)
        except TroubleError as trouble:
            return self._take(_refused(trouble), None, None)
        identity = reading.identity if reading.settled else None
        if last is not None and not doubtful and reading.raw == self._raw:
            return self._take(last, identity, reading.raw)
        return self._take(self._parsed(reading.raw, limits), identity, reading.raw)

    def _take(self, found: DaemonFile, identity: Identity | None, raw: bytes | None) -> DaemonFile:
        self._last, self._identity, self._raw = found, identity, raw
        return found

    def _parsed(self, raw: bytes, limits: LimitSettings) -> DaemonFile:
        self.parsed = 1
        try:
            parsed = parse(raw, limits)
        except TroubleError as trouble:
            return _refused(trouble)
        return self._judged(parsed)

    def _judged(self, parsed: Parsed) -> DaemonFile:
        read = settings.parse(parsed.document, self._overrides, cpu_count=cpu_count())
        tables = {name: parsed.document.get(name, {}) for name in _TABLES}
        resolution = Resolution(self._origins)
        mistakes = [*shortened(parsed.mistakes), *shortened(_placed(read.errors))]
        if not mistakes:
            mistakes += _resolve_token(tables["daemon"], resolution)
        lines = positions(parsed.text) if mistakes or read.warnings else Positions()
        return DaemonFile(
            read.settings,
            None if mistakes else _section(tables),
            problems_at(DAEMON_FILE, mistakes, lines),
            problems_at(DAEMON_FILE, _placed(read.warnings), lines),
            resolution.traveling,
            frozenset(resolution.environment),
            parsed.text,
        )


def _refused(trouble: TroubleError) -> DaemonFile:
    return DaemonFile(None, None, broken(DAEMON_FILE, trouble).problems)


def settings_of(content: Content, overrides: Mapping[str, Any]) -> Settings | None:
    """Return the settings that a content was made with, or None where it has none."""
    read = _read(content, overrides)
    return None if read is None else read.settings


def mistakes_of(content: Content, overrides: Mapping[str, Any]) -> tuple[settings.Mistake, ...]:
    """Return what is wrong with the settings of a content."""
    read = _read(content, overrides)
    return () if read is None else read.errors


def _read(content: Content, overrides: Mapping[str, Any]) -> settings.Parsed | None:
    section = content.sections.get(BUILT_IN)
    if section is None or "supervisor" not in section.entries:
        return None
    document = {name: canonical.decode(section.entries[name].body) for name in _TABLES if name in section.entries}
    document.get("daemon", {}).pop(_TOKEN, None)
    return settings.parse(document, overrides, cpu_count=cpu_count())


def stored_admin_token(content: Content) -> Any:
    """Return the stored form of the admin token of a content, or None."""
    section = content.sections.get(BUILT_IN)
    entry = section.entries.get("daemon") if section is not None else None
    return None if entry is None else canonical.decode(entry.body).get(_TOKEN)


def _resolve_token(daemon: dict[str, Any], resolution: Resolution) -> list[Mistake]:
    """Put the stored form of the admin token in the place of what is written."""
    if _TOKEN not in daemon:
        return []
    try:
        daemon[_TOKEN] = resolution.secret(Secret, daemon[_TOKEN]).stored()
    except SecretMistakeError as mistake:
        return [Mistake(("daemon", _TOKEN), "secret", str(mistake))]
    return []


def _section(tables: Mapping[str, Any]) -> Section:
    return Section("restart", Entries(Entry.of(name, canonical.encode(table)) for name, table in tables.items()))


def _placed(mistakes: Iterable[settings.Mistake]) -> list[Mistake]:
    return [Mistake(key_path(one.key), one.code, one.message) for one in mistakes]


def key_path(key: str) -> Path:
    """Return the path that a dotted key names, such as ``supervisor.section[0].files``."""
    return tuple(int(index) if index else name for name, index in _STEP.findall(key))


def cpu_count() -> int:
    """Return how many processors this process may use: the default number of workers."""
    return len(os.sched_getaffinity(0))
