"""Reviewed transcripts: what the fleet decides in the situations that matter, line by line.

``NEXUS_REWRITE=1 pytest tests/scenarios`` writes the transcripts anew; ``git diff`` then shows what has changed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.scenario import parsed, played, written

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_scenario_goes_as_it_was_reviewed(file: Path) -> None:
    heading, blocks = parsed(file.read_text())

    text = written(heading, played([command for command, _ in blocks]))

    if os.environ.get("NEXUS_REWRITE"):
        file.write_text(text)
    assert text == file.read_text()


def test_every_file_says_what_it_shows_and_ends_at_rest() -> None:
    assert FILES
    for file in FILES:
        heading, blocks = parsed(file.read_text())
        assert heading.startswith("# "), file
        assert blocks, file
