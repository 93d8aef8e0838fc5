"""Compiling: from files to a verdict on what the directory holds.

Decided here: which content the directory wants, what of it can go live now, and what must be revoked although other
files are broken. Not decided here: what a verdict leads to (the supervisor's fleet), how messages travel
(``__main__.py``), and the parts: files (``survey.py``), what fits together (``crosscheck.py``), what is held
(``core/changes.py``).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.adopted import Running, resolve_again
from nexus_supervisor.compiler.crosscheck import CrossCheck, broken_by_removal
from nexus_supervisor.compiler.daemonfile import DaemonFile, DaemonFileReader, cpu_count, settings_of
from nexus_supervisor.compiler.lines import Lines
from nexus_supervisor.compiler.outcome import bounded, listed, live_keys, secrets_of
from nexus_supervisor.compiler.reading import TroubleError
from nexus_supervisor.compiler.survey import Survey
from nexus_supervisor.compiler.tree import Tree
from nexus_supervisor.core import canonical, delta
from nexus_supervisor.core.changes import BUILT_IN, hold, pin
from nexus_supervisor.core.codec import pack, unpack
from nexus_supervisor.core.compilation import Adopted, FromCompiler, Refused, Seen
from nexus_supervisor.core.content import Content, Section
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import START_KEYS, Settings, parse
from nexus_supervisor.models.importing import LoadError
from nexus_supervisor.models.loading import PlainModel, load_model
from nexus_supervisor.models.secrets import Origins, Reissue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nexus_supervisor.compiler.shelf import Shelf
    from nexus_supervisor.core.compilation import Adopt, Begin, Look
    from nexus_supervisor.core.content import Entries
    from nexus_supervisor.core.settings import SectionSpec
    from nexus_supervisor.models.loading import EntryModel

__all__ = ["Answer", "Compiler"]

_SWAPPED = "..data was swapped while the directory was read: it is taken when it stays the same"


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold a message, its payload still in it, and the packed secret values that travel beside it, if any."""

    message: FromCompiler
    secrets: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Hold what one look found: by the wanted declaration of sections, and by the one that runs."""

    daemon: DaemonFile
    survey: Survey
    running: Survey
    problems: list[Problem]
    check_running: CrossCheck

    @property
    def parsed(self) -> int:
        """Return how many files of sections were parsed."""
        return self.survey.parsed + (0 if self.running is self.survey else self.running.parsed)


class Compiler:
    """Know one directory and what runs; answer looks at it."""

    def __init__(self, begin: Begin) -> None:
        self._directory = Path(begin.directory)
        self._overrides: Mapping[str, Any] = canonical.decode(begin.overrides)
        self._origins = Origins(self._directory, os.environ, begin.pepper)
        self._running = Running()
        self._daemon = DaemonFileReader(self._overrides, self._origins)
        self._settings: Settings | None = None
        self._settings_running: Settings | None = None
        self._surveys: dict[Any, Survey] = {}
        self._models: dict[str, EntryModel] = {}

    @property
    def settings(self) -> Settings:
        """Return the settings of the last good daemon.toml, else of what runs, else the defaults."""
        return self._settings or parse({}, self._overrides, cpu_count=cpu_count()).settings

    def forget(self) -> None:
        """Forget what was read, but not what runs: the next look reads everything."""
        self._surveys.clear()
        self._daemon = DaemonFileReader(self._overrides, self._origins)

    def adopt(self, message: Adopt, payload: bytes | memoryview | None, secrets: memoryview | None) -> Answer:
        """Take over what runs; resolve its secrets again where that is asked for."""
        self._running.adopt(message.digest, payload, None if secrets is None else unpack(secrets))
        content = self._running.content
        self._settings_running = settings_of(content, self._overrides)
        self._settings = self._settings_running or self._settings
        if not message.resolve:
            return Answer(Adopted(message.ticket, content.digest, (), (), secrets_beside=False))
        return self._resolved(message.ticket)

    def look(self, message: Look) -> Answer:
        """Read the directory and judge it."""
        try:
            with Tree(self._directory) as tree:
                daemon = self._daemon.look(tree, self.settings.supervisor.limits, doubt=message.hints is None)
                settings = self._settings_by(daemon)
                if settings is None:
                    return _refusal(message.ticket, daemon.problems)
                evidence = self._gather(tree, message.hints, daemon, settings)
                if not tree.folder("").current:
                    return _refusal(message.ticket, (Problem(".", 0, "", "unstable", _SWAPPED),))
                if evidence.problems:
                    return self._refused(message.ticket, evidence)
                return self._seen(message, evidence)
        except TroubleError as trouble:
            return _refusal(message.ticket, (Problem(".", 0, "", trouble.code, trouble.message),))

    def _settings_by(self, daemon: DaemonFile) -> Settings | None:
        """Return the settings to look by: of a broken daemon.toml only where nothing better is known."""
        if daemon.section is not None:
            self._settings = daemon.settings
        settings = self._settings or daemon.settings
        if settings is not None:
            self._origins.max_bytes = settings.supervisor.limits.max_secret_bytes
        return settings

    def _gather(self, tree: Tree, hints: Iterable[str] | None, daemon: DaemonFile, settings: Settings) -> _Evidence:
        survey, problems = self._survey(settings, daemon)
        survey.look(tree, hints)
        running = self._survey_running(tree, hints, survey, settings)
        check = CrossCheck(survey.shelves, survey.models, Lines(tree, survey).line)
        check_running = check
        if running is not survey:
            check_running = CrossCheck(running.shelves, running.models, Lines(tree, running).line)
        found = [*daemon.problems, *problems, *survey.problems, *check.files()]
        return _Evidence(daemon, survey, running, found, check_running)

    def _survey(self, settings: Settings, daemon: DaemonFile | None) -> tuple[Survey, list[Problem]]:
        """Return the survey of the sections that settings declare; problems where a model can't be loaded."""
        supervisor = settings.supervisor
        key = (supervisor.sections, supervisor.limits)
        if key in self._surveys:
            return self._surveys[key], []
        problems: list[Problem] = []
        models: dict[SectionSpec, EntryModel] = {}
        for index, spec in enumerate(supervisor.sections):
            try:
                models[spec] = self._model(spec.model)
            except LoadError as error:
                models[spec] = PlainModel()
                if daemon is not None:
                    problems.append(daemon.problem(f"supervisor.section[{index}].model", "value", str(error)))
        survey = Survey(models, self._origins, supervisor.limits)
        if not problems:
            self._surveys[key] = survey
        return survey, problems

    def _model(self, path: str) -> EntryModel:
        if path not in self._models:
            self._models[path] = load_model(path)
        return self._models[path]

    def _survey_running(self, tree: Tree, hints: Iterable[str] | None, survey: Survey, wanted: Settings) -> Survey:
        """Return the survey by the declaration that runs: another one only while a change of sections is held."""
        settings = self._settings_running
        if settings is None or settings.supervisor.sections == wanted.supervisor.sections:
            self._surveys = {key: kept for key, kept in self._surveys.items() if kept is survey}
            return survey
        running, _ = self._survey(settings, None)
        running.look(tree, hints)
        return running

    def _gone(self, survey: Survey) -> dict[str, tuple[str, ...]]:
        """Return, by section, the live entries of what runs that no file has any more."""
        gone = {name: shelf.gone(running) for name, shelf, running in self._shelves(survey)}
        return {name: names for name, names in gone.items() if names}

    def _doubtful(self, survey: Survey) -> dict[str, tuple[str, ...]]:
        """Return, by section, the live entries of what runs that only files which can't be read may hold."""
        doubtful = {name: shelf.doubtful(running) for name, shelf, running in self._shelves(survey)}
        return {name: names for name, names in doubtful.items() if names}

    def _shelves(self, survey: Survey) -> Iterator[tuple[str, Shelf, Entries]]:
        """Yield each live section that could be read, with what runs of it."""
        for name, section in self._running.content.sections.items():
            found = survey.sections.get(name)
            if section.apply == "live" and found is not None and found.trouble is None:
                yield name, found.shelf, section.entries

    def _less(self, gone: Mapping[str, tuple[str, ...]]) -> Content:
        """Return what runs without some entries."""
        sections = dict(self._running.content.sections)
        for name, names in gone.items():
            sections[name] = Section(sections[name].apply, sections[name].entries.changed((), names))
        return Content(sections)

    def _refused(self, ticket: int, evidence: _Evidence) -> Answer:
        gone = self._gone(evidence.running)
        remains = list(broken_by_removal(self._running.content, gone, evidence.running.models))
        unstable = all(problem.code == "unstable" for problem in evidence.problems)
        most = self.settings.supervisor.limits.max_problems
        revoked = payload = None
        if gone and not remains:
            content = self._less(gone)
            self._running.remember(content, self._running.secrets)
            revoked, payload = content.digest, self._payload(content)
        return Answer(
            Refused(
                ticket,
                bounded(evidence.problems, most),
                unstable,
                listed(gone),
                revoked,
                payload,
                payload_beside=False,
                remains=bounded(remains, most),
                doubtful=listed(self._doubtful(evidence.running)),
            )
        )

    def _seen(self, message: Look, evidence: _Evidence) -> Answer:
        wanted = _content(evidence.daemon, evidence.survey)
        gone = self._gone(evidence.running)
        effective, held, blocked = wanted, tuple[str, ...](), list[Problem]()
        if message.whole:
            effective, held = pin(self._running.content, wanted, START_KEYS)
        elif self._running.content.sections:
            effective, held, blocked = self._split(wanted, evidence, gone)
        if message.bare:
            effective, blocked = self._only_less(gone, evidence)
        secrets = secrets_of(effective, evidence.running, evidence.daemon, self._running)
        self._running.remember(effective, secrets)
        return Answer(
            Seen(
                message.ticket,
                wanted.digest,
                effective.digest,
                self._payload(effective),
                payload_beside=False,
                secrets_beside=False,
                held=listed({"": held}),
                blocked=bounded(blocked, self.settings.supervisor.limits.max_problems),
                gone=listed(gone),
                warnings=bounded(evidence.daemon.warnings, self.settings.supervisor.limits.max_problems),
                environment=tuple(sorted(evidence.daemon.environment | evidence.running.environment)),
                files=evidence.survey.files + 1,
                parsed=evidence.parsed + self._daemon.parsed,
            ),
            pack(dict(secrets)) if secrets else None,
        )

    def _split(
        self, wanted: Content, evidence: _Evidence, gone: Mapping[str, tuple[str, ...]]
    ) -> tuple[Content, tuple[str, ...], list[Problem]]:
        """Return what can go live now, the keys that are held, and why live changes can't go on without those.

        Where they can't, what runs goes on, less the entries that are gone, if it is valid without them.
        """
        running = self._running.content
        if evidence.running is not evidence.survey:
            wanted = _content(evidence.daemon, evidence.running)
        effective, held = hold(running, wanted, live_keys(self._overrides))
        if not held or effective.digest == running.digest:
            return effective, held, []
        blocked = self._blocked(effective, evidence)
        if not blocked:
            return effective, held, []
        effective, remains = self._only_less(gone, evidence)
        return effective, held, blocked + remains

    def _only_less(self, gone: Mapping[str, tuple[str, ...]], evidence: _Evidence) -> tuple[Content, list[Problem]]:
        """Return what runs less the entries that are gone, or what runs and why it is not valid without them."""
        running = self._running.content
        remains = list(broken_by_removal(running, gone, evidence.running.models))
        return (running if remains else self._less(gone)), remains

    def _blocked(self, effective: Content, evidence: _Evidence) -> list[Problem]:
        """Return why live changes can't go on while others are held; the setting that runs decides, not a new one."""
        settings = self._settings_running or self.settings
        if settings.supervisor.on_restart_required == "hold":
            key = "supervisor.on_restart_required"
            message = "live changes wait for the held ones, because this is hold: restart to apply all of them"
            return [evidence.daemon.problem(key, "value", message)]
        problems = list(evidence.check_running.content(effective))
        if evidence.running is not evidence.survey:
            problems += [*evidence.running.problems, *evidence.check_running.files()]
        return problems

    def _payload(self, content: Content) -> bytes | None:
        """Return the encoded delta from what runs, or None where it is the same content."""
        running = self._running.content
        return None if content.digest == running.digest else delta.encode(content.delta_from(running))

    def _resolved(self, ticket: int) -> Answer:
        """Resolve every reference of what runs again."""
        running = self._running
        survey, _ = self._survey(self.settings, None)
        literals = dict(running.secrets)
        with suppress(TroubleError), Tree(self._directory) as tree:  # the next look says what is wrong with DIR
            survey.look(tree, None)
            literals |= self._daemon.look(tree, self.settings.supervisor.limits, doubt=True).secrets
        literals |= survey.secrets
        reissue = Reissue(self._origins, literals)
        problems = list(resolve_again(running.content, survey.models, survey, reissue))
        running.secrets = reissue.traveling
        running.remember(running.content, reissue.traveling)
        found = bounded(problems, self.settings.supervisor.limits.max_problems)
        environment = tuple(sorted(reissue.environment))
        message = Adopted(ticket, running.content.digest, found, environment, secrets_beside=False)
        return Answer(message, pack(reissue.traveling))


def _refusal(ticket: int, problems: tuple[Problem, ...]) -> Answer:
    """Return that nothing can be told about the entries: nothing is gone."""
    unstable = all(problem.code == "unstable" for problem in problems)
    return Answer(Refused(ticket, problems, unstable, (), None, None, payload_beside=False, remains=()))


def _content(daemon: DaemonFile, survey: Survey) -> Content:
    """Return the content that daemon.toml and the files of all sections make."""
    sections = {name: Section(shelf.spec.apply, shelf.entries) for name, shelf in survey.shelves.items()}
    return Content(({BUILT_IN: daemon.section} if daemon.section is not None else {}) | sections)
