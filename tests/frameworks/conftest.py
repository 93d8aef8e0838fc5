"""A site whose directory holds the applications, copied as they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.workers import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).parent / "apps"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    shutil.copytree(APPS, tmp_path, dirs_exist_ok=True)
    with Site(tmp_path) as made:
        yield made
