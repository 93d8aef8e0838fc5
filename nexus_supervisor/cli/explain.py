"""``explain``: where a value comes from, since when it is so, and which workers use it.

Decided here: what is compared with what, and how the answer is told. Not decided here: which line writes a value
(``compiler/``) and what waits for a restart (the supervisor says so).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.check import pepper_of
from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.cli.values import ABSENT, Place, flat, shown, value_of
from nexus_supervisor.client import ControlClient
from nexus_supervisor.compiler.locate import Located, located
from nexus_supervisor.core.changes import BUILT_IN
from nexus_supervisor.core.comparison import redacted
from nexus_supervisor.core.settings import overrides_from_environment
from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.errors import DirectoryError, NotRunningError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.core.content import Content

__all__ = ["explain"]


@dataclass(frozen=True, slots=True)
class _Explained:
    """Hold what is known about one place.

    ``variable`` is the one of the environment that gives it, ``runs`` the value of the committed version. ``workers``
    is None where no supervisor runs.
    """

    place: Place
    found: Located
    value: Any
    variable: str
    committed: int | None
    runs: Any
    since: int | None
    is_oldest: bool
    held: bool
    workers: tuple[str, ...] | None

    @property
    def is_live(self) -> bool:
        """Say whether the committed version has the value of the directory."""
        return self.committed is not None and self.runs == self.value


@click.command
@click.argument("key", metavar="KEY")
@with_directory(argument=False)
@json_option
def explain(directory: Path, *, key: str, as_json: bool) -> None:
    """Show where a value comes from and where it is used.

    KEY is a dotted name: sources.claude-code.tier, a whole entry such as sources.claude-code, or a setting such as
    daemon.port. No supervisor is needed; where one runs, it says which workers use the value.
    """
    if not directory.is_dir():
        message = f"{directory} is not a directory: name the one that holds daemon.toml"
        raise DirectoryError(message)
    overrides, _ = overrides_from_environment(os.environ)
    found = located(directory, overrides, key, pepper_of(directory))
    explained = _explained(directory, found, overrides)
    if explained.value is ABSENT and explained.runs is ABSENT:
        raise UsageError(_nothing(key, found))
    if as_json:
        terminal.show_json(_document(explained))
    else:
        for line in _lines(explained):
            terminal.say(line)


def _explained(directory: Path, found: Located, overrides: Mapping[str, Any]) -> _Explained:
    place, past = Place(found.section, found.entry, found.path), _Kept(directory, overrides)
    body = {} if found.body is None and place.section == BUILT_IN else found.body
    value = ABSENT if body is None else value_of(place, body, overrides)
    runs, since, is_oldest = past.since(place)
    held, workers = _running(directory, place, lambda version: past.has(version, place, value))
    variable = place.variable if place.is_given(overrides) else ""
    return _Explained(place, found, value, variable, past.committed, runs, since, is_oldest, held, workers)


class _Kept:
    """Look into the versions that are kept, each of them read and checked at most once."""

    def __init__(self, directory: Path, overrides: Mapping[str, Any]) -> None:
        from nexus_supervisor.supervisor.archive import Archive
        from nexus_supervisor.supervisor.versions import committed_version

        self._directory, self._overrides = directory, overrides
        self._contents: dict[int, Content] = {}
        self._versions = Archive(directory).versions()
        self.committed = committed_version(directory)

    def since(self, place: Place) -> tuple[Any, int | None, bool]:
        """Return the value of the committed version, since which it is so, and whether no older one is kept."""
        if self.committed is None:
            return ABSENT, None, False
        runs, since, older = self._value(self.committed, place), self.committed, [*self._versions]
        while older and (version := older.pop()) <= self.committed:
            if self._value(version, place) != runs:
                return runs, since, False
            since = version
        return runs, since, since > 1

    def has(self, version: object, place: Place, value: Any) -> bool:
        """Say whether a version is kept and has this value."""
        return isinstance(version, int) and version in self._versions and self._value(version, place) == value

    def _value(self, version: int, place: Place) -> Any:
        from nexus_supervisor.supervisor.versions import content_of

        if version not in self._contents:
            self._contents[version] = content_of(self._directory, version)
        return place.value_in(self._contents[version], self._overrides)


def _running(directory: Path, place: Place, uses: Callable[[object], bool]) -> tuple[bool, tuple[str, ...] | None]:
    """Return whether a change here waits for a restart, and which workers use it; None where no supervisor runs."""
    try:
        status = ControlClient(directory).status()
    except NotRunningError:
        return False, None
    pending = status.get("pending_restart") or {}
    held = any(_meet(place.key, str(key)) for key in pending.get("keys", ()))
    using = [worker for worker in status.get("workers", ()) if uses(worker.get("version"))]
    return held, tuple(str(worker.get("slot")) for worker in using)


def _meet(one: str, other: str) -> bool:
    """Say whether one of two keys is in the other."""
    return one == other or one.startswith((f"{other}.", f"{other}[")) or other.startswith((f"{one}.", f"{one}["))


def _nothing(key: str, found: Located) -> str:
    """Say that nobody knows a key, and which was meant."""
    wrong, known = found.entry or found.section, found.known
    table = found.body
    for step in found.path if isinstance(table, Mapping) else ():
        if not isinstance(table, Mapping):
            break
        if step not in table:
            wrong, known = str(step), tuple(table)
            break
        table = table[step]
    meant = suggestion(wrong, known) if known else None
    hint = f": did you mean {meant}?" if meant else f": {found.trouble}" if found.trouble else ""
    return f"neither the directory nor the committed version has {key}{hint}"


def _document(explained: _Explained) -> dict[str, Any]:
    found, is_known = explained.found, explained.value is not ABSENT
    return {
        "key": explained.place.key,
        "value": redacted(explained.value) if is_known else None,
        "source": _source(explained),
        "file": found.file or None,
        "line": found.line or None,
        "problem": found.trouble or None,
        "live": explained.is_live,
        "held": explained.held,
        "committed": explained.committed,
        "committed_value": None if explained.runs is ABSENT else redacted(explained.runs),
        "since": explained.since,
        "since_or_before": explained.is_oldest,
        "workers": None if explained.workers is None else list(explained.workers),
    }


def _source(explained: _Explained) -> str | None:
    if explained.variable:
        return "environment"
    if explained.value is ABSENT:
        return None
    return "file" if explained.found.written else "default"


def _lines(explained: _Explained) -> list[str]:
    key = explained.place.key
    if explained.value is not ABSENT:
        lines = [*(f"{name} = {shown(one)}" for name, one in flat(key, explained.value)), _whence(explained)]
    elif explained.found.file:
        lines = [f"{key} is not known: {explained.found.trouble or 'no file writes it'}"]
    else:
        lines = [f"{key} is in no file any more"]
    return [*lines, _liveness(explained), *_users(explained)]


def _whence(explained: _Explained) -> str:
    found = explained.found
    where = f"{found.file}:{found.line}" if found.line else found.file
    match _source(explained):
        case "environment":
            return f"given by the environment variable {explained.variable}, which wins over daemon.toml"
        case "file":
            return f"written in {where}"
        case _:
            return f"the default: {where} doesn't write it"


def _liveness(explained: _Explained) -> str:
    if explained.committed is None:
        return "not live: no version is committed yet"
    since = f"since version {explained.since}{' or one that is not kept' if explained.is_oldest else ''}"
    if explained.is_live:
        return f"live {since}"
    runs = f"version {explained.committed} has {shown(explained.runs)}"
    what = "held until a restart" if explained.held else "not live"
    return f"{what}: {runs}, {since}" if explained.runs is not ABSENT else f"{what}: {runs}"


def _users(explained: _Explained) -> list[str]:
    if explained.workers is None:
        return ["no supervisor runs"]
    return [f"in {', '.join(explained.workers)}" if explained.workers else "in no worker"]
