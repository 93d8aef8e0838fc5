"""A model whose entries may do more or less, for tests of what is widened."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel

from nexus_supervisor.models.marks import RestartRequired, Widens

DAEMON = """\
[supervisor]
program = "asgi"

[[supervisor.section]]
name = "keys"
files = "keys.d/*.toml"
apply = "live"
model = "tests.support.wide:Key"
"""


class Bounds(BaseModel):
    """Bound what a key may ask."""

    most: Annotated[int, Widens(times=10, empty_is_all=True)] = 10


class Key(BaseModel):
    """Say what a key may do."""

    admin: Annotated[bool, Widens] = False
    tier: Annotated[int, Widens] = 1
    blocked: Annotated[list[str], Widens(less=True)] = []
    pinned: Annotated[int, Widens, RestartRequired] = 1
    bounds: Bounds = Bounds()
    note: str = ""
