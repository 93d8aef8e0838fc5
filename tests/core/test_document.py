from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import canonical
from nexus_supervisor.core.content import Entries, Entry, Section

if TYPE_CHECKING:
    from nexus_supervisor.core.document import Document

NAMES = st.one_of(st.integers(0, 400).map(str), st.text(max_size=4))
CHANGES = st.lists(st.dictionaries(NAMES, st.one_of(st.none(), st.integers(0, 3)), max_size=300), max_size=6)


def plain(entries: Entries) -> bytes:
    """Return the document the simple way."""
    return canonical.encode({name: json.loads(entry.body) for name, entry in entries.items()})


def check(document: Document, entries: Entries) -> None:
    expected = plain(entries)
    assert bytes(document) == expected
    assert document.size == len(expected)
    assert document.sha256 == hashlib.sha256(expected).hexdigest()


@given(CHANGES)
def test_a_document_that_followed_changes_is_the_one_made_from_scratch(changes: list[dict[str, int | None]]) -> None:
    # given entries whose document is known from the start, so that each change carries it on
    entries = Entries(Entry.of(str(number), b"0") for number in range(300))
    check(entries.document, entries)
    for change in changes:
        put = [Entry.of(name, b"%d" % value) for name, value in change.items() if value is not None]
        entries = entries.changed(put, [name for name, value in change.items() if value is None])
        check(entries.document, entries)


def test_a_document_shares_what_a_change_does_not_touch() -> None:
    entries = Entries(Entry.of(f"{number:06d}", b"0") for number in range(10_000))
    before = entries.document
    assert before.sha256
    after = entries.changed([Entry.of("005000", b"1")], ()).document
    shared = {id(block) for block in before._blocks} & {id(block) for block in after._blocks}
    assert len(shared) == len(before._blocks) - 1


def test_growing_one_by_one_keeps_blocks_small() -> None:
    entries = Entries(Entry.of(str(number), b"0") for number in range(200))
    assert entries.document.size
    for number in range(200, 1000):
        entries = entries.changed([Entry.of(str(number), b"0")], ())
    assert max(len(block.names) for block in entries.document._blocks) <= 128
    check(entries.document, entries)


def test_removing_everything_leaves_an_empty_object() -> None:
    entries = Entries([Entry.of("a", b"1"), Entry.of("b", b"2")])
    assert bytes(entries.document) == b'{"a":1,"b":2}'
    for name in ("a", "b"):
        entries = entries.changed((), [name])
        check(entries.document, entries)
    assert Section("live", entries).document == b"{}"


def test_nothing_is_prepared_where_nobody_asked_for_a_document() -> None:
    entries = Entries([Entry.of("a", b"1")]).changed([Entry.of("b", b"2")], ())
    assert entries._document is None
