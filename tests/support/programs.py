"""Directories of daemons with several programs, all of them in one small module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.supervisor import keys
from tests.support.chaos import STALL

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_programs"]

CODE = '''

import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def work(agent):
    """Serve nobody, and end with 3 at the start while there is a file "broken"."""
    if (HERE / "broken").exists():
        sys.exit(3)
    serve(agent)


def once(agent):
    """Be done as soon as there is a file "done", or it is told to end."""
    agent.ready()
    while not (HERE / "done").exists() and not agent.drain.wait(0.01):
        pass
'''
_DAEMON = """\
[supervisor]
rollout.bake_seconds = 0
{settings}
{programs}
[[supervisor.section]]
name = "items"
files = "items/*.toml"
apply = "live"
model = "stall:Item"
"""


def make_programs(parent: Path, programs: str, *, settings: str = "", code: str = "") -> Path:
    """Make a directory whose daemon.toml declares these programs: tables of ``stall.py``, which ends with ``code``."""
    directory = parent / "dir"
    (directory / "items").mkdir(parents=True)
    (directory / "items" / "nut.toml").write_text("price = 1\n")
    (directory / "stall.py").write_text(STALL + CODE + code)
    (directory / "daemon.toml").write_text(_DAEMON.format(programs=programs, settings=settings))
    keys.generate(directory)
    return directory
