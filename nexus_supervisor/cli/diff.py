"""``diff``: what differs between two versions, or between one and what the directory holds now.

Decided here: which two contents are compared, and how a difference is told. Not decided here: what differs and what it
needs (``core/comparison.py``), and what the directory holds (``compiler/``).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.check import ENVIRONMENT, NOT_THERE, pepper_of
from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.core import delta
from nexus_supervisor.core.comparison import CHANGED_SECRET, compare
from nexus_supervisor.core.content import EMPTY, Content
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import Needs, overrides_from_environment
from nexus_supervisor.errors import RejectedError

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.compiler.describe import Marked
    from nexus_supervisor.core.comparison import Difference

__all__ = ["diff"]

_SIGNS = {"added": "+", "removed": "-", "changed": "~"}
_NEEDS: dict[Needs, str] = {"live": "live", "restart": "needs a restart", "start": "needs a stop and a new run"}
_NEED: dict[Needs, str] = {"live": "live", "restart": "need a restart", "start": "need a stop and a new run"}
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class _Side:
    """Hold one of the two contents; ``version`` is None for the directory, and for nothing."""

    name: str
    version: int | None
    content: Content


@click.command
@click.argument("a", metavar="[A]", type=click.IntRange(min=1), required=False)
@click.argument("b", metavar="[B]", type=click.IntRange(min=1), required=False)
@with_directory(argument=False)
@json_option
def diff(directory: Path, *, a: int | None, b: int | None, as_json: bool) -> None:
    """Show what differs between two versions, or one and the directory.

    A and B are numbers of versions in compiled/. Without B, what the directory holds now; without A, the committed
    version. Exits with 0 whether or not anything differs, with 3 where the directory is not valid.
    """
    before = _version(directory, a) if a is not None else _committed(directory)
    try:
        after = _version(directory, b) if b is not None else _wanted(directory)
    except RejectedError as refused:
        if as_json:
            terminal.show_json(_document(before, None, (), refused.problems))
        raise
    marks = _marked(directory, before.content, after.content)
    found = compare(before.content, after.content, marks.restart, marks.wide)
    if as_json:
        terminal.show_json(_document(before, after, found))
        return
    terminal.say(f"{before.name} -> {after.name}")
    for one in found:
        terminal.say(_line(one))
    terminal.say(_summary(found))


def _committed(directory: Path) -> _Side:
    from nexus_supervisor.supervisor.versions import committed_version

    version = committed_version(directory)
    return (
        _Side("nothing, as no version is committed yet", None, EMPTY)
        if version is None
        else _version(directory, version)
    )


def _version(directory: Path, version: int) -> _Side:
    from nexus_supervisor.supervisor.versions import content_of

    return _Side(f"version {version}", version, content_of(directory, version))


def _wanted(directory: Path) -> _Side:
    """Return what the directory holds, compiled as ``check`` does; raise RejectedError with every problem."""
    from nexus_supervisor.compiler.check import compile_once
    from nexus_supervisor.core.compilation import Refused

    overrides, mistakes = overrides_from_environment(os.environ)
    problems = tuple(Problem(ENVIRONMENT, 0, one.key, one.code, one.message) for one in mistakes)
    if not directory.exists():
        problems += (Problem(str(directory), 0, "", "missing", NOT_THERE),)
    verdict = None if problems else compile_once(directory, overrides, pepper_of(directory))
    if isinstance(verdict, Refused):
        problems += verdict.problems
    if verdict is None or isinstance(verdict, Refused):
        message = f"{directory} is not valid: {len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise RejectedError(message, problems)
    content = EMPTY if verdict.payload is None else EMPTY.after(delta.decode(verdict.payload))
    return _Side(f"what {directory} holds", None, content)


def _marked(directory: Path, before: Content, after: Content) -> Marked:
    """Return the marked fields of the sections that differ; models are imported only for those."""
    from nexus_supervisor.compiler.describe import Marked, marked
    from nexus_supervisor.supervisor.contents import settings_of

    models = {
        spec.name: spec.model
        for spec in settings_of(after, {}).supervisor.sections
        if spec.model and spec.name in before.sections and before.sections[spec.name].root != _root(after, spec.name)
    }
    if not models:
        return Marked({}, {}, {})
    found = marked(directory, models)
    for section, why in found.unknown.items():
        text = f"note: which fields of {section} need a restart or were widened is not known: {why}"
        terminal.say(text, err=True)
    return found


def _root(content: Content, section: str) -> str | None:
    held = content.sections.get(section)
    return None if held is None else held.root


def _document(
    before: _Side, after: _Side | None, found: tuple[Difference, ...], problems: tuple[Problem, ...] = ()
) -> dict[str, Any]:
    return {
        "from": _named(before),
        "to": None if after is None else _named(after),
        "changes": [
            {
                "key": one.key,
                "section": one.section,
                "entry": one.entry,
                "field": ".".join(one.path) or None,
                "change": one.kind,
                "needs": one.needs,
                "widened": one.widened,
                "before": one.before,
                "after": one.after,
            }
            for one in found
        ],
        "problems": [asdict(problem) for problem in problems],
    }


def _named(side: _Side) -> dict[str, Any]:
    return {"version": side.version, "digest": side.content.digest}


def _line(one: Difference) -> str:
    return f"{_SIGNS[one.kind]} {one.key}{_values(one)}  ({_NEEDS[one.needs]}{', widened' if one.widened else ''})"


def _values(one: Difference) -> str:
    """Return the values of a field; of a secret, only that it changed."""
    if not one.path:
        return ""
    if one.after == CHANGED_SECRET:
        return f": {CHANGED_SECRET}"
    if one.kind == "changed":
        return f": {_shown(one.before)} -> {_shown(one.after)}"
    return f": {_shown(one.after if one.kind == 'added' else one.before)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def _summary(found: tuple[Difference, ...]) -> str:
    if not found:
        return "no difference"
    counts = Counter(one.needs for one in found)
    each = ", ".join(f"{count} {(_NEEDS if count == 1 else _NEED)[kind]}" for kind in _NEEDS if (count := counts[kind]))
    wide = sum(one.widened for one in found)
    return f"{len(found)} difference{'s' if len(found) > 1 else ''}: {each}{f'; {wide} widened' if wide else ''}"
