from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import chain, codec
from nexus_supervisor.core.records import RECORDS, Answered, Candidate, Ended, Record, Released, Remembered

NEW: tuple[Record, ...] = (
    Candidate(7, b"manifest", b"", b"delta", "why", "directory", "push", "ann", "sources: changed a", 1.5),
    Ended(7, "committed", "", "ann", 2.5, b'{"a":1}'),
    Released("d" * 64, "it was the network", "ann", 3.5),
    Answered("id", "push", "", "ann", 0, "APPLIED", "Done.", 7, 4.5),
    Remembered(7, b"{}"),
)
LATER = {"kind", "requester", "changes", "at", "numbers", "workers", "held", "problems"}
"""Fields that the first format did not have, of records that it had."""


def body(record: Record, *, without: set[str] = frozenset()) -> bytes:  # type: ignore[assignment]
    """Return a record's bytes as a writer made them who did not know some of its fields."""
    fields = {one.name: getattr(record, one.name) for one in dataclasses.fields(record) if one.name not in without}
    return codec.pack([type(record).__name__, fields])


def chained(*bodies: bytes) -> bytes:
    digest, pieces = chain.GENESIS, []
    for one in bodies:
        header, digest = chain.head(digest, one)
        pieces += [header, one]
    return b"".join(pieces)


@pytest.mark.parametrize("record", NEW, ids=lambda record: type(record).__name__)
def test_records_of_the_newest_format_are_read_back(record: Record) -> None:
    scan = chain.scan(chained(RECORDS.encode(record)))
    assert (scan.records, scan.damage) == ((record,), "")


def test_records_of_an_older_format_are_read_with_what_they_say() -> None:
    bodies = [body(NEW[0], without=LATER), body(Ended(7, "committed", "", "ann"), without={"at", "numbers"})]
    scan = chain.scan(chained(*bodies))
    assert scan.damage == ""
    assert scan.records == (
        Candidate(7, b"manifest", b"", b"delta", "why", "directory"),
        Ended(7, "committed", "", "ann"),
    )


def test_a_record_of_a_later_format_ends_what_can_be_followed() -> None:
    newer = codec.pack(["Ended", {"version": 7, "outcome": "x", "reason": "", "requester": "", "mood": "good"}])
    scan = chain.scan(chained(RECORDS.encode(NEW[1]), newer))
    assert scan.records == NEW[1:2]
    assert "can't be understood" in scan.damage


@pytest.mark.parametrize("fields", [1, 6, 10, 15, 16, 40, 255])
@given(st.integers(1, 2**63), st.binary(max_size=40), st.binary(max_size=40))
def test_the_number_of_a_candidate_is_found_among_any_bytes_however_many_fields_it_has(
    fields: int, number: int, before: bytes, after: bytes
) -> None:
    more = {f"field-{index}": index for index in range(fields - 1)}
    candidate = codec.pack(["Candidate", {"version": number, **more}])
    assert number in chain.numbers(before + candidate + after)


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_no_text_is_taken_for_a_candidate(before: str, after: str) -> None:
    for fields in (b"\x8a", b"\xde\x00\x10"):
        start = b"\x92\xa9Candidate" + fields + b"\xa7version\x07"
        text = start.decode("utf-8", "ignore")
        assert chain.numbers((before + text + after).encode()) == ()
        assert chain.numbers(start) == (7,)
