"""Source files: a directory full of them, and one that replaces another in a single step."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tests.benchmarks.rounds import name_of, touched

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Sources"]

_TEXT = """\
# A source as people write them, about 400 bytes.
[source]
name = "{name}"
change = {change}
tier = {tier}
namespace = "team-{tier}"
description = "One of many clients that write to the shared destination and read nothing."
can_write = true
allowed = ["main", "archive", "search", "metrics"]

[source.limits]
requests_per_minute = {rate}
max_payload_bytes = 1048576
"""


class Sources:
    """Hold one directory of source files; ``count`` of them are written at once."""

    def __init__(self, directory: Path, count: int) -> None:
        self._directory, self.count = directory, count
        self._prepared = directory.parent / "prepared.toml"
        directory.mkdir(parents=True)
        for number in range(count):
            (directory / f"{name_of(number)}.toml").write_text(_text(name_of(number), 0, number))

    def replace(self, change: int) -> int:
        """Rename a prepared file over one of the directory; return CLOCK_MONOTONIC in nanoseconds just before."""
        name = touched(change, self.count)
        self._prepared.write_text(_text(name, change, change))
        target = self._directory / f"{name}.toml"
        before = time.monotonic_ns()
        os.rename(self._prepared, target)  # noqa: PTH104 - nothing but the system call is measured
        return before


def _text(name: str, change: int, seed: int) -> str:
    return _TEXT.format(name=name, change=change, tier=seed % 4, rate=60 + seed % 600)
