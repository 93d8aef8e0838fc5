from __future__ import annotations

import pytest

from nexus_supervisor.core.notices import KINDS, SECURITY_KINDS, Notice
from nexus_supervisor.core.problems import Problem


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem("sources/a.toml", 7, "source.tier", "range", "too high"), "sources/a.toml:7: source.tier: too high"),
        (Problem("sources/a.toml", 7, "", "syntax", "no value"), "sources/a.toml:7: no value"),
        (Problem("sources", 0, "", "unreadable", "is missing"), "sources: is missing"),
        (Problem("", 0, "daemon.port", "range", "too high"), "daemon.port: too high"),
        (Problem(".", 0, "sources", "guard", "all are gone"), "sources: all are gone"),
    ],
)
def test_a_problem_is_one_line_without_what_is_not_known(problem: Problem, line: str) -> None:
    assert str(problem) == line


def test_a_notice_of_a_kind_that_no_reader_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="'comitted' is not a kind of notice"):
        Notice("comitted", "info", "Version 1 is live.")


def test_security_kinds_are_kinds() -> None:
    assert SECURITY_KINDS < KINDS
