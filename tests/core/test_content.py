from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import canonical, delta
from nexus_supervisor.core.codec import pack
from nexus_supervisor.core.content import EMPTY, Content, Delta, Digest, Entries, Entry, Section, SectionDelta
from nexus_supervisor.errors import ProtocolError

NAMES = st.text("abc-_01", min_size=1, max_size=4)
BODIES = st.integers(0, 5).map(canonical.encode)
ENTRIES = st.dictionaries(NAMES, BODIES, max_size=12)
CONTENTS = st.fixed_dictionaries({"sources": ENTRIES, "destinations": ENTRIES})


def entries(bodies: dict[str, bytes]) -> Entries:
    return Entries(Entry.of(name, body) for name, body in bodies.items())


def content(sections: dict[str, dict[str, bytes]]) -> Content:
    apply = {"sources": "live", "destinations": "restart"}
    return Content({name: Section(apply.get(name, "live"), entries(bodies)) for name, bodies in sections.items()})


def plain(whole: Content) -> dict[str, dict[str, bytes]]:
    return {
        name: {key: section.entries[key].body for key in section.entries} for name, section in whole.sections.items()
    }


@given(ENTRIES)
def test_entries_are_a_mapping_from_name_to_entry(bodies: dict[str, bytes]) -> None:
    held = entries(bodies)
    assert len(held) == len(bodies)
    assert {name: held[name].body for name in held} == bodies
    assert all(name in held for name in bodies)
    assert "zzzzz" not in held
    assert held.get("zzzzz") is None


@given(ENTRIES, ENTRIES, st.sets(NAMES))
def test_changed_entries_equal_those_made_afresh(
    before: dict[str, bytes], changed: dict[str, bytes], gone: set[str]
) -> None:
    after = entries(before).changed([Entry.of(name, body) for name, body in changed.items()], gone)
    expected = {name: body for name, body in before.items() if name not in gone} | changed
    assert {name: after[name].body for name in after} == expected
    assert (len(after), after.root) == (len(expected), entries(expected).root)


@given(ENTRIES, ENTRIES)
def test_a_change_leaves_what_it_was_made_from_alone(before: dict[str, bytes], changed: dict[str, bytes]) -> None:
    old = entries(before)
    root = old.root
    old.changed([Entry.of(name, body) for name, body in changed.items()], before)
    assert {name: old[name].body for name in old} == before
    assert old.root == root


@given(ENTRIES, ENTRIES)
def test_the_root_names_names_and_bodies(here: dict[str, bytes], there: dict[str, bytes]) -> None:
    assert (entries(here).root == entries(there).root) is (here == there)


@given(ENTRIES, ENTRIES)
def test_differing_lists_exactly_what_differs(here: dict[str, bytes], there: dict[str, bytes]) -> None:
    found = {name: (a and a.body, b and b.body) for name, a, b in entries(here).differing(entries(there))}
    names = here.keys() | there.keys()
    assert found == {name: (here.get(name), there.get(name)) for name in names if here.get(name) != there.get(name)}


def test_the_order_in_which_entries_arrive_makes_no_difference() -> None:
    bodies = {f"entry-{number}": canonical.encode(number) for number in range(3_000)}
    backwards = dict(reversed(bodies.items()))
    here, there = content({"sources": bodies}), content({"sources": backwards})
    assert here.digest == there.digest
    assert here.sections["sources"].document == there.sections["sources"].document


def test_one_change_among_many_shares_all_other_entries() -> None:
    old = entries({f"entry-{number}": canonical.encode(number) for number in range(5_000)})
    new = old.changed([Entry.of("entry-7", b"0")], ())
    assert sum(old[name] is not new[name] for name in old) == 1
    assert [name for name, _, _ in old.differing(new)] == ["entry-7"]


def test_a_section_is_written_as_one_canonical_document() -> None:
    section = Section("live", entries({"b": b'{"x":1}', "a": b"[]"}))
    assert section.document == b'{"a":[],"b":{"x":1}}'
    assert canonical.encode(canonical.decode(section.document)) == section.document
    assert Section("live", Entries()).document == b"{}"


def test_the_digest_is_what_the_contract_says_it_is() -> None:
    whole = content({"sources": {"a": b"1", "b": b"2"}, "destinations": {}})
    statement = {
        "sources": {"apply": "live", "entries": 2, "root": whole.sections["sources"].root},
        "destinations": {"apply": "restart", "entries": 0, "root": whole.sections["destinations"].root},
    }
    assert whole.digest == hashlib.sha256(canonical.encode(statement)).hexdigest()


def test_the_digest_of_known_content_never_changes() -> None:
    whole = content({"sources": {"claude-code": b'{"tier":3}'}, "destinations": {"main": b'{"type":"sqlite"}'}})
    assert whole.digest == "18f898f49196244ce919fec8f07bedba077ce79aada0a1df30bc761d111d70c9"


def test_what_a_change_needs_is_part_of_the_digest() -> None:
    here = Content({"x": Section("live", Entries())})
    there = Content({"x": Section("restart", Entries())})
    assert here.digest != there.digest != EMPTY.digest


@given(CONTENTS, CONTENTS)
def test_a_delta_leads_from_one_content_to_the_next(
    before: dict[str, dict[str, bytes]], after: dict[str, dict[str, bytes]]
) -> None:
    old, new = content(before), content(after)
    reached = old.after(delta.decode(delta.encode(new.delta_from(old))))
    assert (plain(reached), reached.digest) == (after, new.digest)


@given(CONTENTS)
def test_whole_content_needs_no_base(wanted: dict[str, dict[str, bytes]]) -> None:
    new = content(wanted)
    whole = delta.decode(delta.encode(new.delta_from(None)))
    for base in (EMPTY, content({"sources": {"old": b"1"}}), content({"other": {}})):
        assert base.after(whole).digest == new.digest


@given(CONTENTS)
def test_the_delta_to_equal_content_is_empty(wanted: dict[str, dict[str, bytes]]) -> None:
    change = content(wanted).delta_from(content(wanted))
    assert dict(change.sections) == {}
    assert content(wanted).after(change).digest == content(wanted).digest


def test_a_delta_holds_only_what_changed() -> None:
    old = content({"sources": {"a": b"1", "b": b"2", "c": b"3"}, "destinations": {"main": b"{}"}})
    new = content({"sources": {"a": b"1", "b": b"5", "d": b"4"}, "destinations": {"main": b"{}"}})
    assert new.delta_from(old) == Delta(old.digest, {"sources": SectionDelta("live", {"b": b"5", "d": b"4"}, ("c",))})


def test_a_section_more_or_less_makes_the_delta_whole() -> None:
    old = content({"sources": {"a": b"1"}})
    new = content({"sources": {"a": b"1"}, "extra": {}})
    assert new.delta_from(old).base is None
    assert old.after(new.delta_from(old)).digest == new.digest
    assert new.after(old.delta_from(new)).digest == old.digest


def test_a_section_that_changes_what_it_needs_is_in_the_delta() -> None:
    old = Content({"x": Section("live", entries({"a": b"1"}))})
    new = Content({"x": Section("restart", entries({"a": b"1"}))})
    assert old.after(new.delta_from(old)).digest == new.digest


def test_a_delta_against_other_content_is_refused() -> None:
    old, other = content({"sources": {"a": b"1"}}), content({"sources": {"a": b"2"}})
    change = content({"sources": {}}).delta_from(old)
    with pytest.raises(ProtocolError, match=f"against {old.digest[:12]} was given to content {other.digest[:12]}"):
        other.after(change)


def test_a_delta_that_changes_a_section_its_base_lacks_is_refused() -> None:
    old = content({"sources": {}})
    with pytest.raises(ProtocolError, match="section 'extra', which its base doesn't have"):
        old.after(Delta(old.digest, {"extra": SectionDelta("live", {})}))


def test_content_that_was_refused_a_delta_is_as_before() -> None:
    old = content({"sources": {"a": b"1"}})
    digest = old.digest
    change = Delta(digest, {"sources": SectionDelta("live", {"b": b"2"}), "extra": SectionDelta("live", {})})
    with pytest.raises(ProtocolError):
        old.after(change)
    assert (plain(old), content(plain(old)).digest) == ({"sources": {"a": b"1"}}, digest)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        [None],
        [None, {}, 1],
        [1, {}],
        [None, []],
        [None, {"x": None}],
        [None, {"x": ["live", {}]}],
        [None, {"x": ["later", {}, []]}],
        [None, {"x": ["live", {"a": "text"}, []]}],
        [None, {"x": ["live", {b"a": b"1"}, []]}],
        [None, {"x": ["live", {}, [1]]}],
        [None, {"x": ["live", {}, "a"]}],
        [None, {b"x": ["live", {}, []]}],
        [None, {"x": ["live", {"a" * 256: b"1"}, []]}],
    ],
)
def test_bytes_that_are_no_delta_are_refused(value: Any) -> None:
    with pytest.raises(ProtocolError):
        delta.decode(pack(value))


@given(st.binary(max_size=60))
def test_garbage_is_no_delta_or_can_be_judged(garbage: bytes) -> None:
    try:
        EMPTY.after(delta.decode(garbage))
    except ProtocolError:
        return


def test_a_delta_is_read_from_a_view_of_memory() -> None:
    change = Delta(Digest("00"), {"sources": SectionDelta("live", {"a": b"1"}, ("b",))})
    assert delta.decode(memoryview(delta.encode(change))) == change
