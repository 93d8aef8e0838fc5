"""What is shown never obeys: the escapes that every line goes through."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.cli.escape import escaped


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("one\r\ntwo", "one\\x0d\\x0atwo"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028separator", "line\\u2028separator"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("lone\udce9surrogate", "lone\\udce9surrogate"),
        ("nul\x00", "nul\\x00"),
    ],
)
def test_what_would_move_the_cursor_or_hide_is_shown_as_its_number(hostile: str, shown: str) -> None:
    assert escaped(hostile) == shown


def test_ordinary_text_of_any_language_stays_as_it_is() -> None:
    assert escaped("naïve café, 東京: [bold]x[/bold] 100 %") == "naïve café, 東京: [bold]x[/bold] 100 %"


@given(st.text())
def test_no_text_gets_more_than_one_line_or_any_control_character(text: str) -> None:
    shown = escaped(text)

    assert all(unicodedata.category(character)[0] != "C" for character in shown)
    assert len(shown.splitlines()) <= 1
