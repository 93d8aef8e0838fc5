"""Describing what a directory declares, without compiling it: for ``nexus-supervisor schema`` and ``diff``.

Decided here: what is asked, and that models are imported in a process of their own. Not decided here: the answer
(``describer.py``) and how it is shown (``cli/``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.inquiry import answer_of
from nexus_supervisor.core.changes import Pattern
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.widening import Wide, WideField

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DAEMON", "SECTION_KEY", "Described", "Marked", "described", "marked"]

DAEMON = "daemon"
"""The name under which the schema of daemon.toml goes."""

SECTION_KEY = "x-nexus-section"
"""The key by which a schema of ours is known; its value names the section."""

_MODULE = "nexus_supervisor.compiler.describer"


@dataclass(frozen=True, slots=True)
class Described:
    """Hold the JSON Schema of each section's files and of daemon.toml, by name; and what could not be described."""

    documents: Mapping[str, Any]
    sections: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """Hold the marked fields by section; ``unknown`` says why those of some sections are not known."""

    restart: Mapping[str, tuple[Pattern, ...]]
    wide: Mapping[str, tuple[WideField, ...]]
    unknown: Mapping[str, str]


def described(directory: Path, overrides: Mapping[str, Any], only: str | None = None) -> Described:
    """Describe all sections of a directory and daemon.toml, or only one of them, in a child process.

    Of sections, ``sections`` has the names of all; a name that is none has no document. Raise RejectedError where a
    model ends the process, UnfinishedError where it takes too long.
    """
    answer = _answer("schemas", directory, overrides=dict(overrides), only=only)
    problems = tuple(Problem(**one) for one in answer["problems"])
    return Described(answer["documents"], tuple(answer["sections"]), problems)


def marked(directory: Path, models: Mapping[str, str]) -> Marked:
    """Return the marked fields of sections, whose models ``models`` names; they are imported in a child process."""
    answer = _answer("fields", directory, models=dict(models))
    restart = {section: tuple(map(tuple, patterns)) for section, patterns in answer["restart"].items()}
    wide = {section: tuple(_wide(*one) for one in fields) for section, fields in answer["wide"].items()}
    return Marked(restart, wide, dict(answer["unknown"]))


def _wide(pattern: list[str], rule: dict[str, Any]) -> WideField:
    return tuple(pattern), Wide(**{**rule, "order": tuple(rule["order"])})


def _answer(question: str, directory: Path, **more: Any) -> dict[str, Any]:
    request = {"question": question, "directory": str(directory.resolve()), **more}
    return answer_of(_MODULE, request, does="imports the models")
