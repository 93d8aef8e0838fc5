"""The statements that write to and read from a SQLite file.

Decided here: how a batch becomes one transaction, how a repeated key is found in it, and what of a query is left to
SQLite. Not decided here: the tables (``sqlite_schema.py``) and what a query finds in the end (``retrieval.py``).
"""

from __future__ import annotations

import heapq
import re
from contextlib import ExitStack, closing, contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING

from .records import Record
from .retrieval import folded
from .storage import ReusedKeyError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from .retrieval import Search
    from .storage import Once

__all__ = ["newest_first", "store"]

_FIELDS = ("id", "source", "namespace", "created_at", "tier", "profile", "actor_type", "actor_id", "body")
_COLUMNS = ", ".join(_FIELDS)
_row = attrgetter(*_FIELDS)
_INSERT = f"INSERT INTO memories ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - no value of anybody's
_SELECT = f"SELECT {_COLUMNS} FROM memories"  # noqa: S608 - no value of anybody's

_HOLDS = "nexus_holds"
_ESCAPED = re.compile(r'[\x00-\x1f"\\]')
"""What JSON writes in another way (RFC 8259, section 7)."""

_KNOWN = "SELECT id, body_digest FROM idempotency WHERE source = ? AND key = ? AND expires_ms > ?"
_REMEMBER = """
INSERT OR REPLACE INTO idempotency (source, key, id, body_digest, expires_ms) VALUES (?, ?, ?, ?, ?)
"""
_FORGET = """
DELETE FROM idempotency WHERE rowid IN (
    SELECT rowid FROM idempotency WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?
)
"""


def store(
    connection: sqlite3.Connection, entries: list[tuple[Record, Once | None]], forgotten_keys: int
) -> list[str | ReusedKeyError]:
    """Commit all records in one transaction, and return for each the id that it has, or that its key was misused."""
    connection.execute("BEGIN IMMEDIATE")
    stored = [_store_one(connection, record, once) for record, once in entries]
    moments = [once.now_ms for _, once in entries if once is not None]
    if moments:
        connection.execute(_FORGET, (min(moments), forgotten_keys))
    connection.execute("COMMIT")
    return stored


def _store_one(connection: sqlite3.Connection, record: Record, once: Once | None) -> str | ReusedKeyError:
    if once is not None:
        known = connection.execute(_KNOWN, (once.source, once.key, once.now_ms)).fetchone()
        if known is not None:
            first_id: str = known[0]
            return first_id if known[1] == once.body_digest else ReusedKeyError()
        remembered = (once.source, once.key, record.id, once.body_digest, once.expires_ms)
        connection.execute(_REMEMBER, remembered)
    connection.execute(_INSERT, _row(record))
    return record.id


@contextmanager
def newest_first(connection: sqlite3.Connection, wanted: Search) -> Iterator[Iterator[Record]]:
    """Give records as they are asked for, newest first: all that the query finds, and some that it won't.

    Rows come in the order of an index, so that nothing is sorted and nothing is read ahead; at the end of the block
    nothing is left open, so that the write-ahead log can shrink.
    """
    connection.create_function(_HOLDS, 1, _holding(wanted.words), deterministic=True)
    condition, values = _condition(wanted)
    select = f"{_SELECT} WHERE {condition}"
    with ExitStack() as stack:

        def selected(statement: str, values: list[str | int]) -> Iterator[Record]:
            cursor = connection.execute(f"{statement} ORDER BY id DESC", values)
            return (Record(*row) for row in stack.enter_context(closing(cursor)))

        if wanted.namespaces is None:
            yield selected(select, values)
        else:
            each = [selected(f"{select} AND namespace = ?", [*values, one]) for one in wanted.namespaces]
            yield heapq.merge(*each, key=attrgetter("id"), reverse=True)


def _condition(wanted: Search) -> tuple[str, list[str | int]]:
    """Return what SQLite can judge of a query."""
    parts, values = ["tier <= ?"], list[str | int]([wanted.top_tier])
    if wanted.profiles is not None:
        parts.append(f"profile IN ({', '.join('?' * len(wanted.profiles))})")
        values += wanted.profiles
    if wanted.words:
        parts.append(f"{_HOLDS}(body)")
    return " AND ".join(parts), values


def _holding(words: tuple[str, ...]) -> Callable[[object], bool]:
    """Return what tells of JSON text whether there may be all of these words in it.

    Of each word it looks for the longest part that is written in JSON as it is. ``LIKE`` and ``GLOB`` would take many
    times as long, and know the case of ASCII letters only.
    """
    parts = tuple(part for word in words if (part := max(_ESCAPED.split(word), key=len)))

    def holds(body: object) -> bool:
        text = folded(body) if isinstance(body, str) else ""
        return all(part in text for part in parts)

    return holds
