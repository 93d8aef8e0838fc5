from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nexus_workers.gateway.retrieval import Search, Sieve, folded
from nexus_workers.gateway.storage import StorageLimits

from tests.support.gateway import a_record

if TYPE_CHECKING:
    from nexus_workers.gateway.records import Record

statements = pytest.importorskip("nexus_workers.gateway.postgres_statements", exc_type=ImportError)


def is_found(record: Record, words: tuple[str, ...]) -> bool:
    sieve = Sieve(Search(limit=1, max_bytes=10_000, words=words), StorageLimits())
    sieve.take(record)
    return bool(sieve.found().items)


def test_the_characters_that_the_database_cannot_compare_are_all_known() -> None:
    odd = {chr(code) for code in range(128, 0x110000) if any(one.isascii() for one in chr(code).casefold())}
    assert set(statements._UNLIKE) == odd


def test_pieces_are_the_longest_runs_of_plain_characters() -> None:
    assert statements._pieces(("a-invoice", "größe", "日本", "50%")) == ("invoice", "gr", "50")


@given(st.text(max_size=40), st.text(min_size=1, max_size=6))
def test_what_holds_a_word_holds_its_pieces_in_its_json(text: str, word: str) -> None:
    record, words = a_record(body={"content": text}), tuple(folded(word).split())
    if not is_found(record, words) or re.search(f"[{statements._UNLIKE}]", record.body):
        return
    lower = "".join(one.lower() if one.isascii() else one for one in record.body)
    assert all(piece in lower for piece in statements._pieces(words))
