"""What the files of the quotes may say, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from nexus_supervisor import References, RestartRequired, Secret, Unique


@dataclass
class Author:
    """One table of authors.toml."""

    name: str
    born: int | None = None


@dataclass
class Quote:
    """One [[quote]] of quotes.toml."""

    id: str
    author: Annotated[str, References("authors")]
    text: Annotated[str, Unique]
    tags: list[str] = field(default_factory=list)


@dataclass
class Site:
    """The file site/main.toml. The kind of search is chosen when a worker starts."""

    title: str
    editor_key: Secret
    most_found: int = 10
    search: Annotated[Literal["words", "substring"], RestartRequired] = "words"

    def __post_init__(self) -> None:
        """Refuse a page that can't be shown."""
        if not 1 <= self.most_found <= 100:
            message = f"expected most_found from 1 to 100, found {self.most_found}"
            raise ValueError(message)
