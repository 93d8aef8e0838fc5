from __future__ import annotations

from nexus_supervisor.core.changes import Impact
from nexus_supervisor.core.content import EMPTY
from tests.support.versions import content


def test_what_is_different_is_one_line_that_names_entries() -> None:
    before, after = content(alpha=1, beta=1, gamma=1), content(alpha=2, beta=1, delta=1)
    assert Impact.of(before, after).summary == "sources: added delta, changed alpha, removed gamma"


def test_of_many_entries_some_are_named_and_the_others_counted() -> None:
    many = content(**{f"source-{number:03d}": 1 for number in range(12)})
    line = Impact.of(content(), many).summary
    assert line == "sources: added source-000, source-001, source-002, source-003, source-004 and 7 more"


def test_sections_are_told_one_after_the_other_and_no_change_is_no_text() -> None:
    assert Impact.of(EMPTY, content(alpha=1)).summary == "destinations: added main; sources: added alpha"
    assert not Impact.of(content(alpha=1), content(alpha=1)).summary
