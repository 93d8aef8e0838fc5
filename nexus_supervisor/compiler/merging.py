"""Merged entries: as the files want them, but with restart-required fields as they run.

Decided here: whether such an entry is one that its model takes. Not decided here: which fields are held
(``core/changes.py``), and whether the entry fits to others (``crosscheck.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import moved
from nexus_supervisor.core.content import Content, Entry, Section
from nexus_supervisor.models.mistakes import ModelMistakesError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nexus_supervisor.core.changes import Pattern
    from nexus_supervisor.core.problems import Problem
    from nexus_supervisor.models.loading import EntryModel
    from nexus_supervisor.models.mistakes import Path

    About = Callable[[str, str, Path, str, str], Problem]

__all__ = ["restart_fields", "settled"]

_WAITS = "a field of this entry waits for a restart, and the entry can't go live without it"


def restart_fields(models: Mapping[str, EntryModel]) -> dict[str, tuple[Pattern, ...]]:
    """Return the restart-required fields of each section that has some."""
    return {name: fields for name, model in models.items() if (fields := model.restart_required())}


def settled(
    effective: Content,
    contents: tuple[Content, Content],
    models: Mapping[str, EntryModel],
    secrets: Mapping[str, str],
    about: About,
) -> tuple[Content, list[Problem]]:
    """Return the content with every merged entry in its canonical form, and why some of them are no entries.

    ``contents`` are what runs and what is wanted; an entry that is as one of them has it was judged there.
    """
    problems: list[Problem] = []
    sections = dict(effective.sections)
    for section, fields in restart_fields(models).items():
        changed: list[Entry] = []
        for here, merged in _merged(effective, contents, section):
            model = models[section]
            try:
                body = model.restated(merged.body, secrets)
            except ModelMistakesError as refused:
                problems += [
                    about(section, merged.name, one.path, one.code, f"{_WAITS}: {one.message}")
                    for one in refused.mistakes
                ]
                continue
            for path in moved(canonical.decode(here.body), canonical.decode(body), fields):
                problems.append(about(section, merged.name, path, "value", f"{_WAITS}: its model would change it"))
            changed.append(Entry.of(merged.name, body))
        if changed:
            part = sections[section]
            sections[section] = Section(part.apply, part.entries.changed(changed, ()))
    return Content(sections), problems


def _merged(effective: Content, contents: tuple[Content, Content], section: str) -> Iterator[tuple[Entry, Entry]]:
    """Yield the entries of a live section that are neither as they run nor as they are wanted, with what runs."""
    parts = [content.sections.get(section) for content in (*contents, effective)]
    running, wanted, part = parts
    if running is None or wanted is None or part is None or part.apply != "live":
        return
    for name, _, merged in wanted.entries.differing(part.entries):
        here = running.entries.get(name)
        if here is not None and merged is not None and here.digest != merged.digest:
            yield here, merged
