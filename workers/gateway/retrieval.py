"""Retrieval: which records a query finds, and what it shows of them.

Decided here: every condition that a record must meet (namespace, tier, profile, labels, classification, words), what
is left out of an item, and where a query ends: at its limit, at its bytes, or at what may be read for it. The same for
every kind of destination. Not decided here: what a source asks for and may ask for (``questions.py``), and how records
are read (``sqlite_reader.py``, ``postgres.py``).

A record that may not be seen never takes the place of one that may: conditions come before limits. What can't be judged
(labels that are no list of text, an unknown classification) is not shown where there is a rule about it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .records import Record
    from .storage import StorageLimits

__all__ = ["Found", "Search", "Sieve", "folded"]


def folded(text: str) -> str:
    """Return text as it is compared: without letter case (Unicode's full case folding)."""
    return text.casefold()


@dataclass(frozen=True, slots=True)
class Search:
    """Hold what one query may find and show; None is no condition, and so is an empty set of labels or fields.

    ``words`` are folded. ``top_tier`` is the highest tier that is shown. ``classifications`` are those that are shown,
    and a record without one counts as ``default_classification``. ``max_bytes`` bounds the whole answer.
    """

    limit: int
    max_bytes: int
    words: tuple[str, ...] = ()
    top_tier: int = 3
    namespaces: tuple[str, ...] | None = None
    profiles: tuple[str, ...] | None = None
    blocked_labels: frozenset[str] = frozenset()
    required_labels: frozenset[str] = frozenset()
    classifications: frozenset[str] | None = None
    default_classification: str = ""
    include_fields: frozenset[str] = frozenset()
    strip_metadata: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Hold the items of an answer as JSON; ``truncated`` where a bound ended the search before its limit did."""

    items: tuple[bytes, ...] = ()
    truncated: bool = False

    def document(self) -> bytes:
        """Return the answer that holds the items."""
        return b'{"items":[%b]%b}' % (b",".join(self.items), b',"truncated":true' if self.truncated else b"")


class Sieve:
    """Take records, newest first, and keep what a query finds."""

    def __init__(self, wanted: Search, limits: StorageLimits) -> None:
        self._wanted = wanted
        self._rows_left = limits.scanned_rows
        self._bytes_left = limits.scanned_bytes
        self._most = self._room = wanted.max_bytes - len(b'{"items":[],"truncated":true}')
        self._items: list[bytes] = []
        self._truncated = False

    def take(self, record: Record) -> bool:
        """Judge one record; return whether more are wanted."""
        if self._rows_left <= 0 or self._bytes_left <= 0:
            self._truncated = True
            return False
        self._rows_left -= 1
        self._bytes_left -= len(record.body)
        item = _item(self._wanted, record)
        if item is None:
            return True
        if len(item) + 1 > self._room:
            self._truncated = True
            return len(item) + 1 > self._most  # what never fits doesn't hide all that is behind it
        self._room -= len(item) + 1
        self._items.append(item)
        return len(self._items) < self._wanted.limit

    def cut(self) -> None:
        """Note that the search ends before its end."""
        self._truncated = True

    def found(self) -> Found:
        """Return what was kept."""
        return Found(tuple(self._items), self._truncated)


def _item(wanted: Search, record: Record) -> bytes | None:
    """Return what is shown of a record, or None where it is not found, or holds what can't be written."""
    if not _in_reach(wanted, record):
        return None
    body = _body(record)
    if body is None or not (_labels_pass(wanted, body) and _classification_passes(wanted, body)):
        return None
    shown = {name: body[name] for name in body if name in wanted.include_fields} if wanted.include_fields else body
    if not _has_words(wanted.words, shown):
        return None
    item = {"body": shown} if wanted.strip_metadata else _metadata(record) | {"body": shown}
    try:
        return json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except (ValueError, RecursionError):
        return None


def _body(record: Record) -> dict[str, Any] | None:
    """Return the body of a record, or None where somebody else has written what is no JSON object."""
    try:
        body = json.loads(record.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _in_reach(wanted: Search, record: Record) -> bool:
    return (
        record.tier <= wanted.top_tier
        and (wanted.namespaces is None or record.namespace in wanted.namespaces)
        and (wanted.profiles is None or record.profile in wanted.profiles)
    )


def _labels_pass(wanted: Search, body: Mapping[str, Any]) -> bool:
    if not wanted.blocked_labels and not wanted.required_labels:
        return True
    labels = body.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return False
    return wanted.blocked_labels.isdisjoint(labels) and wanted.required_labels.issubset(labels)


def _classification_passes(wanted: Search, body: Mapping[str, Any]) -> bool:
    if wanted.classifications is None:
        return True
    found = body.get("classification", wanted.default_classification)
    return isinstance(found, str) and found in wanted.classifications


def _has_words(words: tuple[str, ...], shown: Any) -> bool:
    """Return whether every word is in some text or number that is shown; keys of objects don't count."""
    if not words:
        return True
    texts = [folded(text) for text in _texts(shown)]
    return all(any(word in text for text in texts) for word in words)


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a JSON value, without recursion."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case bool() | None:
                continue
            case int() | float() as number:
                yield repr(number)
            case list() as items:
                waiting.extend(items)
            case dict() as fields:
                waiting.extend(fields.values())


def _metadata(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "source": record.source,
        "namespace": record.namespace,
        "created_at": record.created_at,
        "tier": record.tier,
        "profile": record.profile,
        "actor_type": record.actor_type,
        "actor_id": record.actor_id,
    }
