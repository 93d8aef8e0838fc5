"""Reading README and docs/ the way a reader does: prose, parts, tables, code marks, command lines.

Decided here: what counts as a table or as a line to type. Not decided here: what has to be true of them
(``tests/packaging/``).
"""

from __future__ import annotations

import re
import shlex
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DOCS", "PAGES", "ROOT", "anchors", "calls", "code", "command_lines", "parts", "prose", "table", "text"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


def parts(page: Path) -> dict[str, str]:
    """Each heading of the second level, and what is below it."""
    found = re.split(r"^## (.+)$", text(page), flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def tables(page_text: str) -> Iterator[list[list[str]]]:
    """Each table as rows of cells, its head first."""
    for is_table, lines in groupby(page_text.splitlines(), lambda line: line.startswith("|")):
        if is_table:
            rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
            yield [rows[0], *rows[2:]]


def table(page_text: str, *head: str) -> list[list[str]]:
    """The rows of every table with this head, without it."""
    return [row for rows in tables(page_text) if tuple(rows[0][: len(head)]) == head for row in rows[1:]]


def code(cell: str) -> list[str]:
    """What a cell has in code marks."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(page: Path) -> set[str]:
    """The names under which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", text(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines(page: Path) -> Iterator[str]:
    """Every line that a reader may type: of console and shell blocks, of indented blocks, and in code marks."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text(page), flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if language in ("sh", "bash") or line.startswith("$ "):
                yield line.removeprefix("$ ")
    yield from re.findall(r"^    (\S.*)$", prose(page), flags=re.MULTILINE)
    yield from re.findall(r"`([^`\n]+)`", prose(page))


def calls(line: str) -> Iterator[list[str]]:
    """The arguments of each call of nexus-supervisor in a line of shell."""
    try:
        words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
    except ValueError:
        return  # no shell
    if "nexus-supervisor" not in words:
        return
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    reader.commenters = "#"
    for is_end, group in groupby(reader, lambda word: set(word) <= set("();<>|&")):
        call = list(group)
        if not is_end and call[0] == "nexus-supervisor" and len(call) > 1:
            yield call[1:]
