from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nexus_workers.gateway.keyring import derive_index, identify, presented_key

from tests.support.gateway import PEPPER, a_snapshot, a_source

if TYPE_CHECKING:
    from nexus_supervisor.core.snapshot import Snapshot


def found(snapshot: Snapshot, key: str) -> Any:
    source = identify(snapshot, PEPPER, key)
    return None if source is None else source.name


def test_a_key_leads_to_its_source_and_another_to_nothing() -> None:
    snapshot = a_snapshot(a_source("a"), a_source("b"))
    assert found(snapshot, "key-a") == "a"
    assert found(snapshot, "key-b") == "b"
    assert found(snapshot, "key-c") is None
    assert found(snapshot, snapshot.sources["a"].api_key.digest) is None


def test_an_added_a_changed_and_a_removed_source_are_followed() -> None:
    kept, changed, gone = a_source("kept"), a_source("changed"), a_source("gone")
    before = a_snapshot(kept, changed, gone)
    after = a_snapshot(kept, a_source("changed", "fresh"), a_source("added"), version=2, before=before)
    keys = ["key-kept", "fresh", "key-added", "key-changed", "key-gone"]
    assert [found(after, key) for key in keys] == ["kept", "changed", "added", None, None]
    assert [found(before, key) for key in keys] == ["kept", None, None, "changed", "gone"]


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_key_that_moves_to_another_name_is_not_lost(names: tuple[str, str]) -> None:
    old, new = names
    before = a_snapshot(a_source(old, "one"))
    after = a_snapshot(a_source(new, "one"), version=2, before=before)
    assert found(after, "one") == new


def test_two_sources_may_swap_their_keys() -> None:
    before = a_snapshot(a_source("a", "one"), a_source("b", "two"))
    after = a_snapshot(a_source("a", "two"), a_source("b", "one"), version=2, before=before)
    assert (found(after, "one"), found(after, "two")) == ("b", "a")


def test_a_change_of_one_source_among_many_copies_one_shard_at_most_of_each_digest() -> None:
    sources = [a_source(f"s{number}") for number in range(2_000)]
    before = a_snapshot(*sources)
    after = a_snapshot(*sources[:-1], a_source("s1999", "fresh"), version=2, before=before)
    copied = [one for one, other in zip(before.program._shards, after.program._shards, strict=True) if one is not other]
    assert len(copied) <= 2
    assert found(after, "fresh") == "s1999"
    assert found(after, "key-s1999") is None


@given(st.lists(st.dictionaries(st.sampled_from("abcde"), st.sampled_from("uvwxyz")), min_size=1, max_size=6))
def test_following_changes_gives_what_building_anew_gives(generations: list[dict[str, str]]) -> None:
    before = None
    for version, keys in enumerate(generations, 1):
        distinct = {key: name for name, key in keys.items()}
        sources = [a_source(name, key) for key, name in distinct.items()]
        snapshot = a_snapshot(*sources, version=version, before=before)
        anew = derive_index(snapshot, None)
        for key in "uvwxyz":
            digest = a_source("x", key).api_key.digest
            assert snapshot.program.find(digest) == anew.find(digest) == distinct.get(key)
        before = snapshot


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (b"Bearer abc", "abc"),
        (b"bearer abc", "abc"),
        (b"BEARER   abc ", "abc"),
        ("Bearer schlüssel".encode(), "schlüssel"),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Basic abc", None),
        (b"abc", None),
        (b"", None),
        (b"Bearer \xff", None),
        (b"Bearer " + b"x" * 5_000, None),
    ],
)
def test_the_key_is_what_follows_the_word_bearer(header: bytes, key: str) -> None:
    assert presented_key([(b"host", b"x"), (b"authorization", header)]) == key


def test_two_authorization_headers_are_none() -> None:
    assert presented_key([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")]) is None
    assert presented_key([]) is None
