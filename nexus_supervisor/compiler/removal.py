"""Removal: the entries of what runs that no file has any more, and what is left without them.

Decided here: which entries are gone, which nobody can tell about, and whether others still need them. Not decided here:
what a file holds (``shelf.py``) and what is done with what is left (the supervisor's fleet).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.compiler.crosscheck import not_an_entry
from nexus_supervisor.compiler.sheets import dotted
from nexus_supervisor.core.content import Content, Section
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.models.mistakes import ModelMistakesError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from nexus_supervisor.compiler.shelf import Shelf
    from nexus_supervisor.compiler.survey import Survey
    from nexus_supervisor.core.content import Entries
    from nexus_supervisor.models.loading import EntryModel
    from nexus_supervisor.models.secrets import SecretSource

__all__ = ["Gone", "broken_by_removal", "doubtful", "gone", "left_out", "without"]

Gone = dict[str, tuple[str, ...]]
"""Names of entries by section."""


def gone(running: Content, survey: Survey) -> Gone:
    """Return the live entries of what runs that no file has any more."""
    return _named({name: shelf.gone(entries) for name, shelf, entries in _shelves(running, survey)})


def doubtful(running: Content, survey: Survey) -> Gone:
    """Return the live entries of what runs that only files which can't be read may hold."""
    return _named({name: shelf.doubtful(entries) for name, shelf, entries in _shelves(running, survey)})


def left_out(older: Content, running: Content, survey: Survey) -> Gone:
    """Return the live entries that an older content does without: no file has them any more.

    Where nobody can tell, because a file or all of them can't be read, an entry that runs stays, and one that doesn't
    is left out: what was revoked once must not come back by chance.
    """
    names: Gone = {}
    for name, section in older.sections.items():
        found, runs = survey.sections.get(name), running.sections.get(name)
        if section.apply != "live" or found is None or runs is None:
            continue
        gone, unsure = found.shelf.gone(section.entries), found.shelf.doubtful(section.entries)
        if found.trouble is not None:
            gone, unsure = (), tuple(section.entries)
        names[name] = tuple(sorted({*gone, *(one for one in unsure if one not in runs.entries)}))
    return _named(names)


def without(content: Content, names: Mapping[str, Collection[str]]) -> Content:
    """Return a content without some entries."""
    sections = dict(content.sections)
    for section, left in names.items():
        sections[section] = Section(sections[section].apply, sections[section].entries.changed((), left))
    return Content(sections)


def broken_by_removal(
    content: Content, names: Mapping[str, Collection[str]], models: Mapping[str, EntryModel], source: SecretSource
) -> Iterator[Problem]:
    """Yield what keeps a content from being valid without some entries: others that refer to them."""
    for section, part in content.sections.items():
        model = models.get(section)
        if model is None or not any(names.get(target) for target in model.targets()):
            continue
        for name in sorted(part.entries.keys() - set(names.get(section, ()))):
            try:
                facts = model.examine(part.entries[name].body, source)
            except ModelMistakesError as refused:
                yield Problem("", 0, f"{section}.{name}", "value", f"this entry isn't valid any more: {refused}")
                continue
            for one in facts.references:
                if one.name in names.get(one.section, ()):
                    message = not_an_entry(one.section, one.name, ": it is gone, and this entry still needs it")
                    yield Problem("", 0, f"{section}.{name}.{dotted(one.path)}", "reference", message)


def _named(names: Gone) -> Gone:
    return {section: found for section, found in names.items() if found}


def _shelves(running: Content, survey: Survey) -> Iterator[tuple[str, Shelf, Entries]]:
    """Yield each live section that could be read, with what runs of it."""
    for name, section in running.sections.items():
        found = survey.sections.get(name)
        if section.apply == "live" and found is not None and found.trouble is None:
            yield name, found.shelf, section.entries
