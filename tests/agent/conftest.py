"""One site for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.workers import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path) as made:
        yield made
