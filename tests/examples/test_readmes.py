"""The README of each example, done block by block in a copy of its directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.examples import EXAMPLES, copied, needs
from tests.support.walkthrough import blocks, walk

if TYPE_CHECKING:
    from pathlib import Path

FRAMEWORKS = {"fastapi_shop": "FastAPI", "flask_quotes": "Flask", "django_site": "Django"}
NOT_RUN = {"the environment of the tests has it", "a stream that doesn't end"}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_what_the_readme_of_an_example_shows_is_what_happens(name: str, tmp_path: Path) -> None:
    needs(FRAMEWORKS[name])
    walk(EXAMPLES / name / "README.md", copied(name, tmp_path))


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_block_that_is_not_run_is_known(name: str) -> None:
    assert {block.not_run for block in blocks(EXAMPLES / name / "README.md") if block.not_run} <= NOT_RUN
