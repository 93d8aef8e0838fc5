"""A model whose secrets are judged together: only what two files hold at the same time says whether it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, model_validator

from nexus_supervisor.models.marks import HashedSecret, Secret
from tests.support.compiling import Desk, write

if TYPE_CHECKING:
    from pathlib import Path

DAEMON = """\
[supervisor]
program = "asgi"

[[supervisor.section]]
name = "vaults"
files = "vaults/*.toml"
apply = "live"
model = "tests.support.vaults:Vault"
table = "vault"
name_from = "name"
entries = "list"
"""


class Vault(BaseModel):
    """Take a lock and a key that hold the same text; where they don't, a vault without size breaks the model itself."""

    name: str
    size: int = 1
    lock: HashedSecret
    key: Secret

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.lock.digest != self.key.digest:
            if not self.size:
                raise KeyError
            message = "the key does not fit the lock"
            raise ValueError(message)
        return self


def make_desk(directory: Path) -> Desk:
    """Make a valid directory: two vaults in one file, each with a lock and a key in files."""
    (directory / "vaults").mkdir(parents=True)
    write(directory / "daemon.toml", DAEMON)
    for file in ("a.lock", "a.key", "b.lock", "b.key"):
        write(directory / file, "first-text")
    write(directory / "vaults/both.toml", vault("a") + vault("b"))
    return Desk(directory)


def vault(name: str, *lines: str) -> str:
    """Return the text of a vault."""
    files = (f'lock = "file:{name}.lock"', f'key = "file:{name}.key"')
    return "\n".join(["[[vault]]", f'name = "{name}"', *files, *lines, ""])
