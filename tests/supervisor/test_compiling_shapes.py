"""Shapes of kept contents: counted from what differs, and the same as if all had been counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core.content import EMPTY, Content, Entries, Entry, Section
from nexus_supervisor.core.shape import SectionShape
from nexus_supervisor.supervisor.contents import Contents

SECTIONS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([b"{}", b'{"x":1}', b'{"long":"text"}']))
CONTENTS = st.dictionaries(st.sampled_from(["one", "two"]), SECTIONS)


def content(sections: dict[str, dict[str, bytes]]) -> Content:
    return Content(
        {
            name: Section("live", Entries(Entry.of(entry, body) for entry, body in bodies.items()))
            for name, bodies in sections.items()
        }
    )


@given(st.lists(CONTENTS, min_size=1, max_size=5))
def test_a_shape_has_every_entry_and_byte_of_both(all_sections: list[dict[str, dict[str, bytes]]]) -> None:
    contents = Contents({})
    made = [(sections, content(sections)) for sections in [{}, *all_sections]]
    for _, one in made[1:]:
        contents.put(one, None)

    for before, here in made:
        for after, there in made:
            shape = contents.shape(here.digest, there.digest)

            assert shape.sections == {
                name: SectionShape(
                    len(before.get(name, {})),
                    len(after.get(name, {})),
                    len(before.get(name, {}).keys() - after.get(name, {}).keys()),
                )
                for name in before.keys() | after.keys()
            }
            sizes = [sum(len(body) for part in one.values() for body in part.values()) for one in (before, after)]
            assert [shape.bytes_before, shape.bytes_after] == sizes


def test_nothing_has_no_shape() -> None:
    shape = Contents({}).shape(EMPTY.digest, EMPTY.digest)

    assert (dict(shape.sections), shape.bytes_before, shape.bytes_after) == ({}, 0, 0)
