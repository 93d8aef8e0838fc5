"""A minimal gateway directory with keys, and its files as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nexus_supervisor.supervisor import keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.http import Connection, Response

__all__ = ["a_destination", "a_source", "key_of", "make_directory", "post_once", "write_atomically"]

DAEMON = """\
[supervisor]
program = "gateway"
workers = 2
rollout.bake_seconds = 0
"""


def key_of(source: str) -> str:
    """The API key that ``a_source`` gives a source."""
    return f"key-of-{source}"


def a_source(name: str, **fields: object) -> str:
    """The text of a source that may write to the destination ``main``; ``fields`` replace or add keys."""
    known = {"name": name, "api_key": key_of(name), "can_write": True, "target_destination": "main"}
    return _table("source", {**known, **fields})


def a_destination(name: str, **fields: object) -> str:
    """The text of a SQLite destination."""
    return _table("destination", {"name": name, "type": "sqlite", "db_path": f"{name}.db", **fields})


def make_directory(
    parent: Path,
    sources: Mapping[str, str] | None = None,
    destinations: Mapping[str, str] | None = None,
    daemon: str = "",
) -> Path:
    """Make a directory that runs: files by stem, two sources and one destination by default, ``daemon`` added to it."""
    directory = parent / "dir"
    files = {
        "sources": {"alpha": a_source("alpha"), "beta": a_source("beta")} if sources is None else sources,
        "destinations": {"main": a_destination("main")} if destinations is None else destinations,
    }
    for section, texts in files.items():
        (directory / section).mkdir(parents=True)
        for stem, text in texts.items():
            (directory / section / f"{stem}.toml").write_text(text)
    (directory / "daemon.toml").write_text(DAEMON + daemon)
    keys.generate(directory)
    return directory


def post_once(connection: Connection, source: str, idempotency_key: str, body: object) -> Response:
    """Post a body as a request that may be a repetition."""
    headers = {
        "Authorization": f"Bearer {key_of(source)}",
        "Content-Type": "application/json",
        "Idempotency-Key": idempotency_key,
    }
    connection._client.request("POST", f"/inbound/{source}", json.dumps(body), headers)
    return connection.answer()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as editors and tools do: another name first, then a rename."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.rename(path)


def _table(name: str, fields: Mapping[str, object]) -> str:
    lines = [f"{key} = {_value(value)}" for key, value in fields.items() if value is not None]
    return "\n".join([f"[{name}]", *lines, ""])


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
