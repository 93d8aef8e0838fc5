"""Recalling: what of an older content can go live beside what runs, judged as if the directory held it.

Decided here: which of its entries are left out, that certificates stay as they run, that its references lead to the
same values as then, and that all of it fits together. Not decided here: what is held (``core/changes.py``), what the
application says (``validation.py``), and why it is wanted back (the supervisor's fleet).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.crosscheck import not_an_entry
from nexus_supervisor.compiler.daemonfile import mistakes_of, settings_of, stored_admin_token
from nexus_supervisor.compiler.merging import restart_fields, settled
from nexus_supervisor.compiler.outcome import live_keys
from nexus_supervisor.compiler.removal import left_out, without
from nexus_supervisor.compiler.sheets import dotted
from nexus_supervisor.compiler.shelf import claim_key
from nexus_supervisor.core.changes import hold, key_text
from nexus_supervisor.core.content import Content, Entries
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.models.facts import NO_FACTS
from nexus_supervisor.models.loading import PlainModel
from nexus_supervisor.models.marks import Secret
from nexus_supervisor.models.mistakes import ModelMistakesError
from nexus_supervisor.models.secrets import Known, SecretMistakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexus_supervisor.compiler.adopted import Running
    from nexus_supervisor.compiler.removal import Gone
    from nexus_supervisor.compiler.survey import Survey
    from nexus_supervisor.core.content import Entry
    from nexus_supervisor.models.facts import Facts
    from nexus_supervisor.models.loading import EntryModel
    from nexus_supervisor.models.mistakes import Path
    from nexus_supervisor.models.secrets import Reissue, SecretSource

__all__ = ["Recalled"]

_NOTHING = Entries()


class Recalled:
    """Judge one older content beside what runs and what the files hold."""

    def __init__(self, running: Running, survey: Survey, reissue: Reissue) -> None:
        self._running, self._survey, self._reissue = running, survey, reissue
        self.left_out: Gone = {}

    @property
    def secrets(self) -> dict[str, str]:
        """Return the values that are known, by digest: of what runs, and of what was resolved again."""
        return {**self._running.secrets, **self._reissue.traveling}

    @property
    def environment(self) -> frozenset[str]:
        """Return the names of the environment variables that were resolved again."""
        return frozenset(self._reissue.environment)

    def judged(self, older: Content, overrides: Mapping[str, Any]) -> tuple[Content, tuple[str, ...], list[Problem]]:
        """Return what can go live, the keys that stay as they run, and why it can't be used."""
        running, models = self._running.content, self._survey.models
        older = _certified(older, running, overrides)
        self.left_out = left_out(older, running, self._survey)
        older = without(older, self.left_out)
        content, held = hold(running, older, live_keys(overrides), restart_fields(models))
        problems = [*self._unjudged(), *self._unresolved(content)]
        if not problems:
            secrets = {**self._survey.secrets, **self.secrets}
            content, problems = settled(content, (running, older), models, secrets, _problem)
            problems += [Problem("", 0, one.key, one.code, one.message) for one in mistakes_of(content, overrides)]
        if not problems:
            problems = list(self._misfits(content, Known({**self._survey.secrets, **self.secrets})))
        return content, held, problems

    def _unjudged(self) -> Iterator[Problem]:
        """Yield the sections whose model can't be loaded."""
        for name, section in self._survey.sections.items():
            if (path := section.shelf.spec.model) and isinstance(self._survey.models[name], PlainModel):
                message = f"the model {path!r} can't be loaded, and nothing older of this section is used unjudged"
                yield Problem("", 0, name, "value", message)

    def _unresolved(self, content: Content) -> Iterator[Problem]:
        """Resolve again what neither runs nor is in the files as it is; yield what is missing or another value."""
        token = stored_admin_token(content)
        if token is not None and token != stored_admin_token(self._running.content):
            try:
                self._reissue.secret(Secret, token)
            except SecretMistakeError as mistake:
                yield Problem("", 0, "daemon.admin_token", "secret", str(mistake))
        for section, model in self._survey.models.items():
            part, runs = content.sections.get(section), self._running.content.sections.get(section)
            fresh = self._survey.sections[section].shelf.entries
            for name, _, entry in (runs.entries if runs else _NOTHING).differing(part.entries if part else _NOTHING):
                there = fresh.get(name)
                if entry is not None and (there is None or there.digest != entry.digest):
                    _, found = _examined(model, section, entry, self._reissue)
                    yield from (one for one in found if one.code == "secret")  # the rest is judged when all is known

    def _misfits(self, content: Content, source: SecretSource) -> Iterator[Problem]:
        """Yield what doesn't fit together: references that name no entry, and values that two entries have."""
        for section, model in self._survey.models.items():
            entries = content.sections[section].entries if section in content.sections else _NOTHING
            fresh = self._survey.fresh_items(section)
            taken: dict[Any, str] = {}
            for name in sorted(entries):
                entry, item = entries[name], fresh.get(name)
                if item is not None and item.entry is not None and item.entry.digest == entry.digest:
                    facts, found = item.facts, list[Problem]()
                else:
                    facts, found = _examined(model, section, entry, source)
                yield from [*found, *_dangling(content, section, name, facts), *_taken(taken, section, name, facts)]


def _certified(older: Content, running: Content, overrides: Mapping[str, Any]) -> Content:
    """Return an older content with the certificates that run: who goes back past a renewal wants no old ones."""
    settings = settings_of(running, overrides)
    section = "" if settings is None else settings.daemon.tls.section
    if section not in older.sections or section not in running.sections:
        return older
    return Content({**older.sections, section: running.sections[section]})


def _examined(model: EntryModel, section: str, entry: Entry, source: SecretSource) -> tuple[Facts, list[Problem]]:
    """Return the facts of an entry as it is stored, or why it is none."""
    try:
        return model.examine(entry.body, source), []
    except ModelMistakesError as refused:
        return NO_FACTS, [_problem(section, entry.name, one.path, one.code, one.message) for one in refused.mistakes]


def _dangling(content: Content, section: str, name: str, facts: Facts) -> Iterator[Problem]:
    for one in facts.references:
        target = content.sections.get(one.section)
        if target is None or one.name not in target.entries:
            message = not_an_entry(one.section, one.name, ", which is not there beside what runs")
            yield _problem(section, name, one.path, "reference", message)


def _taken(taken: dict[Any, str], section: str, name: str, facts: Facts) -> Iterator[Problem]:
    for claim in facts.claims:
        other = taken.setdefault(claim_key(claim), name)
        if other != name:
            message = f"expected a value that no other entry has, found that of {key_text(section, other)}"
            yield _problem(section, name, claim.path, "duplicate", message)


def _problem(section: str, name: str, path: Path, code: str, message: str) -> Problem:
    """Return a problem about an entry that is in no file: under its key."""
    key = key_text(section, name)
    return Problem("", 0, f"{key}.{dotted(path)}" if path else key, code, message)
