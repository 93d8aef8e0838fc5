"""Phrases: the parts that many sentences share.

Decided here: how lists, problems and counts are put into words. Not decided here: the sentences (``says.py``,
``directory_says.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.settings import needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexus_supervisor.core.problems import Problem

__all__ = ["applied_by", "counted", "lines", "listed", "sentence"]

MOST_LISTED = 8
MOST_PROBLEMS = 3


def lines(problems: Sequence[Problem]) -> tuple[str, ...]:
    """Show problems one by one."""
    return tuple(str(problem) for problem in problems)


def listed(names: Sequence[str], most: int = MOST_LISTED) -> str:
    """Show the first few of many names."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def sentence(problems: Sequence[Problem]) -> str:
    """End a sentence with problems, whatever the last of them ends with."""
    shown = listed(lines(problems), MOST_PROBLEMS)
    return shown if shown.endswith((".", "?", "!")) else f"{shown}."


def applied_by(keys: Sequence[str]) -> str:
    """Say what applies held keys: a restart of the workers, or a new start of the supervisor."""
    starts = any(needs(key) == "start" for key in keys)
    return "a new start ('nexus-supervisor stop', then 'run')" if starts else "'nexus-supervisor restart'"


def counted(count: int, one: str, many: str) -> str:
    """Show a count with its noun."""
    return f"1 {one}" if count == 1 else f"{count} {many}"
