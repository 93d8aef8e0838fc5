"""Lessening: which contents of the directory a later one is, but for entries that were taken away.

Decided here: when a content of the directory differs from one seen before by nothing but the removal of entries that
run as they were: who takes a key away says nothing about the rest. Not decided here: what follows from it, for what is
pinned or failed before (the supervisor's fleet).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Content, Digest, Section

__all__ = ["Lessening"]

_MOST = 32


class Lessening:
    """Remember the last content of the directory, and those that it and it alone came from by removals."""

    def __init__(self) -> None:
        self._last: Content | None = None
        self._from: tuple[Digest, ...] = ()

    def note(self, wanted: Content, running: Content) -> tuple[Digest, ...]:
        """Take what the directory holds now; return the contents that it lessens, the newest first."""
        last, self._last = self._last, wanted
        if last is not None and last.digest != wanted.digest:
            self._from = (last.digest, *self._from)[:_MOST] if _is_less(last, wanted, running) else ()
        return self._from


def _is_less(before: Content, after: Content, running: Content) -> bool:
    """Say whether nothing but live entries that run as they were is gone."""
    if before.sections.keys() != after.sections.keys():
        return False
    sections = ((name, here, after.sections[name]) for name, here in before.sections.items())
    return all(_lacks_only_what_runs(here, there, running.sections.get(name)) for name, here, there in sections)


def _lacks_only_what_runs(before: Section, after: Section, running: Section | None) -> bool:
    if before.apply != after.apply:
        return False
    for name, here, there in before.entries.differing(after.entries):
        runs = None if running is None or before.apply != "live" else running.entries.get(name)
        if here is None or there is not None or runs is None or runs.digest != here.digest:
            return False
    return True
