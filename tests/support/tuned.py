"""Models and directories of a tuner: many entries a file, and fields that need a restart one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, Field, model_validator

from nexus_supervisor.models.marks import HashedSecret, References, RestartRequired, Secret, Unique
from tests.support.compiling import Desk, write

if TYPE_CHECKING:
    from pathlib import Path

DAEMON = """\
[supervisor]
program = "asgi"

[[supervisor.section]]
name = "clients"
files = "clients/*.toml"
apply = "live"
model = "tests.support.tuned:Client"
table = "client"
name_from = "name"
entries = "list"

[[supervisor.section]]
name = "models"
files = "models.toml"
apply = "live"
model = "tests.support.tuned:Model"
table = "models"
entries = "tables"
"""


class Client(BaseModel):
    """Describe who may call, many in one file."""

    name: str
    key: Annotated[HashedSecret | None, Unique] = None
    token: Secret | None = None
    tier: Annotated[int, Field(ge=0, le=3)] = 3
    model: Annotated[str | None, References("models")] = None


class Pool(BaseModel):
    """Bound one pool; its size is read when a worker starts."""

    size: Annotated[int, RestartRequired] = 1
    timeout: float = 1.0


class Limits(BaseModel):
    """Bound a model; the capacity is read when a worker starts."""

    low: int = 0
    capacity: Annotated[int, RestartRequired] = 10

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.low > self.capacity:
            message = f"low is {self.low} and capacity {self.capacity}"
            raise ValueError(message)
        return self


class Model(BaseModel):
    """Describe what is called, in one table of tables."""

    timeout: float = 1.0
    device: Annotated[str, RestartRequired] = "cpu"
    dsn: Annotated[Secret | None, RestartRequired] = None
    token: Secret | None = None
    limits: Limits = Limits()
    pools: dict[str, Pool] = {}
    steps: list[Pool] = []


def make_desk(directory: Path, *, daemon: str = DAEMON) -> Desk:
    """Make a valid directory: clients a, b and c in two files, models fast and slow in one."""
    (directory / "clients").mkdir(parents=True)
    write(directory / "daemon.toml", daemon)
    write(directory / "clients/first.toml", clients("a", "b"))
    write(directory / "clients/second.toml", clients("c"))
    write(directory / "models.toml", models(fast="", slow="timeout = 9.0"))
    return Desk(directory)


def clients(*names: str, **more: str) -> str:
    """Return the text of a file of clients; ``more`` gives lines of some of them."""
    return "\n".join(f'[[client]]\nname = "{name}"\nkey = "key-of-{name}"\n{more.get(name, "")}\n' for name in names)


def models(**tables: str) -> str:
    """Return the text of a file of models."""
    return "\n".join(f"[models.{name}]\n{lines}\n" for name, lines in tables.items())
