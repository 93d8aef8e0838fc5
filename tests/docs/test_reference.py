"""The reference is what the docstrings say."""

from __future__ import annotations

import subprocess
import sys

from tests.support.pages import DOCS, text


def test_the_reference_is_what_the_docstrings_draw() -> None:
    drawn = subprocess.run(
        [sys.executable, DOCS / "draw_reference.py", "--print"], capture_output=True, text=True, check=True
    ).stdout
    assert text(DOCS / "reference.md") == drawn, "run: python docs/draw_reference.py"
