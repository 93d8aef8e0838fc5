"""README, tutorial and how-to pages, done block by block in an empty directory: what they show is what happens."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.support.pages import DOCS, ROOT
from tests.support.walkthrough import TRACKS, Block, blocks, same, walk

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"
TUTORIAL = DOCS / "tutorial.md"
HOW_TO = sorted(DOCS.glob("how-to-*.md"))
NOT_RUN = {
    "README.md": ["the tests run in such an environment"],
    "tutorial.md": ["the environment of the tests has it"],
    "how-to-hooks.md": ["a sketch of another application"],
    "how-to-tests.md": ["a server in the foreground on a fixed port"],
}
"""Every block that is not run, by page and reason; a new one has to be written down here."""


@pytest.mark.parametrize("page", [README, *HOW_TO], ids=lambda page: page.stem)
def test_what_a_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    walk(page, tmp_path)


@pytest.mark.parametrize("track", TRACKS)
def test_the_tutorial_can_be_done_with_each_framework(track: str, tmp_path: Path) -> None:
    if find_spec(track.lower()) is None:
        pytest.skip(f"{track} is not installed: pip install {track.lower()}")
    walk(TUTORIAL, tmp_path, track)


def test_every_block_that_is_not_run_is_known() -> None:
    found = {
        page.name: reasons
        for page in (README, TUTORIAL, *HOW_TO)
        if (reasons := [block.not_run for block in blocks(page) if block.not_run is not None])
    }
    assert found == NOT_RUN


def test_every_track_has_the_same_blocks() -> None:
    kinds = {
        track: [(block.language, block.file) for block in blocks(TUTORIAL) if block.track == track] for track in TRACKS
    }
    assert kinds["FastAPI"]
    assert kinds["FastAPI"] == kinds["Flask"] == kinds["Django"]


def test_the_pages_have_blocks_to_run() -> None:
    languages = Counter(block.language for page in (README, TUTORIAL, *HOW_TO) for block in blocks(page))
    assert set(languages) == {"console", "python", "toml"}


def test_the_readme_shows_the_whole_smallest_program() -> None:
    program = (ROOT / "workers" / "hello.py").read_text(encoding="utf-8")
    assert program in [block.body for block in blocks(README)]


# --- the mechanism itself --------------------------------------------------------------------------------------------


def block(tmp_path: Path, text: str, track: str | None = None) -> Path:
    """Write a page with one block."""
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{f'### {track}' if track else ''}\n\n{text}\n", encoding="utf-8")
    return page


def test_an_output_that_is_not_shown_fails_the_page(tmp_path: Path) -> None:
    page = block(tmp_path, "```console\n$ echo one\ntwo\n```")
    with pytest.raises(AssertionError, match=r"page.md:5: \$ echo one"):
        walk(page, tmp_path)


def test_a_script_that_fails_fails_the_page(tmp_path: Path) -> None:
    page = block(tmp_path, "```python\nassert 1 == 2\n```")
    with pytest.raises(AssertionError, match="AssertionError"):
        walk(page, tmp_path)


def test_a_block_that_nobody_knows_how_to_run_fails_the_page(tmp_path: Path) -> None:
    page = block(tmp_path, "```yaml\na: 1\n```")
    with pytest.raises(AssertionError, match="say why it isn't run"):
        walk(page, tmp_path)


def test_a_block_of_another_track_is_left_out(tmp_path: Path) -> None:
    page = block(tmp_path, "```python\nraise SystemExit(1)\n```", "Flask")
    walk(page, tmp_path, "Django")


def test_a_file_is_written_and_added_to(tmp_path: Path) -> None:
    page = block(tmp_path, "```toml\n# a/b.toml\nx = 1\n```\n\n```toml\n# a/b.toml, at the end\ny = 2\n```")
    walk(page, tmp_path)
    assert (tmp_path / "a" / "b.toml").read_text(encoding="utf-8") == "# a/b.toml\nx = 1\n\ny = 2\n"


@pytest.mark.parametrize(
    ("shown", "found", "is_same"),
    [
        ("pid 17", "pid 4711", True),
        ("version 1", "version 2", False),
        ("1 passed in 0.42s", "1 passed in 12.01s", True),
        ("a […] c", "a b c", True),
        ("a\n[…]\nz", "a\nb\nc\nz", True),
        ("a\n[…]\nz", "a\nz", True),
        ("a\nz", "a\nb\nz", False),
        ("a […] c", "a b\nc", False),
        ("a.c", "abc", False),
    ],
)
def test_what_differs_each_time_is_no_difference(shown: str, found: str, *, is_same: bool) -> None:
    assert same(shown, found) is is_same


def test_a_block_knows_its_place_and_its_file() -> None:
    found = Block(README, 7, "toml", "# knobs/main.toml\nx = 1\n")
    assert str(found) == "README.md:7"
    assert found.file == ("knobs/main.toml", False)
