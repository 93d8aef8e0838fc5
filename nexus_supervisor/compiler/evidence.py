"""Evidence: what one look found in the files, by the declaration of sections that is wanted and by the one that runs.

Decided here: which models judge the files, and where a problem about an entry is shown. Not decided here: how a
section's files are read (``survey.py``), what fits together (``crosscheck.py``), and the verdict (``compile.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.code import Code
from nexus_supervisor.compiler.crosscheck import CrossCheck
from nexus_supervisor.compiler.daemonfile import DAEMON_FILE, DaemonFile, key_path
from nexus_supervisor.compiler.lines import Lines
from nexus_supervisor.compiler.survey import Survey
from nexus_supervisor.core.changes import BUILT_IN
from nexus_supervisor.core.content import Content, Section
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.models.importing import LoadError
from nexus_supervisor.models.loading import PlainModel, load_model

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nexus_supervisor.compiler.tree import Tree
    from nexus_supervisor.core.sections import SectionSpec
    from nexus_supervisor.core.settings import Settings
    from nexus_supervisor.models.hooks import Objection
    from nexus_supervisor.models.loading import EntryModel
    from nexus_supervisor.models.secrets import Origins

__all__ = ["HOOKS_KEY", "Evidence", "Gatherer", "unplaced"]

HOOKS_KEY = "supervisor.hooks"
"""The key of daemon.toml that names the hooks."""

_REFUSES = "validate refuses this: "
_OF_MODELS = ("unknown_key", "type", "range", "missing", "value")
"""Codes of problems that another state of a model may not find."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Hold what one look found; ``running`` is the same survey as ``survey`` but while a change of sections is held."""

    daemon: DaemonFile
    survey: Survey
    running: Survey
    problems: list[Problem]
    check_running: CrossCheck
    lines: Lines
    lines_running: Lines

    @property
    def parsed(self) -> int:
        """Return how many files of sections were parsed."""
        return self.survey.parsed + (0 if self.running is self.survey else self.running.parsed)

    @property
    def content(self) -> Content:
        """Return the content that daemon.toml and the files of all sections make."""
        return _content(self.daemon, self.survey)

    @property
    def content_as_declared(self) -> Content:
        """Return the same by the declaration of sections that runs."""
        return _content(self.daemon, self.running)

    def placed(self, lines: Lines, one: Objection) -> Problem:
        """Return an objection as a problem, at the file and line that it is about as far as that is known."""
        if not one.section:
            return self.daemon.problem(HOOKS_KEY, "value", _REFUSES + one.message)
        if one.section == BUILT_IN:
            return self.daemon.problem(f"{BUILT_IN}.{one.key}", "value", one.message)
        return lines.problem(one.section, one.entry, key_path(one.key), "value", one.message)


def unplaced(one: Objection) -> Problem:
    """Return an objection against what is in no file as a problem."""
    if not one.section:
        return Problem("", 0, HOOKS_KEY, "value", _REFUSES + one.message)
    return Problem("", 0, ".".join(part for part in (one.section, one.entry, one.key) if part), "value", one.message)


class Gatherer:
    """Keep the surveys of the declarations of sections that are in use, and the models that they name."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._surveys: dict[Any, Survey] = {}
        self._models: dict[str, EntryModel] = {}
        self._code = Code(origins.directory)

    def forget(self) -> None:
        """Forget what was read."""
        self._surveys.clear()

    def gather(
        self,
        tree: Tree,
        hints: Iterable[str] | None,
        daemon: DaemonFile,
        settings: tuple[Settings, Settings | None],
    ) -> Evidence:
        """Read what may have changed; ``settings`` are those that are wanted, and those that run."""
        survey, problems = self.survey(settings[0], daemon)
        survey.look(tree, hints)
        running = self._running(tree, hints, survey, settings)
        lines = lines_running = Lines(tree, survey)
        check = check_running = CrossCheck(survey.shelves, survey.models, lines.line)
        if running is not survey:
            lines_running = Lines(tree, running)
            check_running = CrossCheck(running.shelves, running.models, lines_running.line)
        found = [*daemon.problems, *problems, *survey.problems, *check.files()]
        return Evidence(daemon, survey, running, found, check_running, lines, lines_running)

    def hinted(self, problems: list[Problem]) -> list[Problem]:
        """Return problems with a hint at those that a model found, where a module changed since it was imported."""
        found = {one for one in problems if one.code in _OF_MODELS and one.file != DAEMON_FILE}
        if not found or not (changed := self._code.changed()):
            return problems
        hint = f" ({', '.join(changed)} changed after it was imported: `restart` applies that)"
        return [replace(one, message=one.message + hint) if one in found else one for one in problems]

    def survey(self, settings: Settings, daemon: DaemonFile | None) -> tuple[Survey, list[Problem]]:
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

    def _running(
        self, tree: Tree, hints: Iterable[str] | None, survey: Survey, settings: tuple[Settings, Settings | None]
    ) -> Survey:
        """Return the survey by the declaration that runs: another one only while a change of sections is held."""
        wanted, running = settings
        if running is None or running.supervisor.sections == wanted.supervisor.sections:
            self._surveys = {key: kept for key, kept in self._surveys.items() if kept is survey}
            return survey
        other, _ = self.survey(running, None)
        other.look(tree, hints)
        return other

    def _model(self, path: str) -> EntryModel:
        if path not in self._models:
            self._models[path] = load_model(path)
            self._code.note()
        return self._models[path]


def _content(daemon: DaemonFile, survey: Survey) -> Content:
    sections = {name: Section(shelf.spec.apply, shelf.entries) for name, shelf in survey.shelves.items()}
    return Content(({BUILT_IN: daemon.section} if daemon.section is not None else {}) | sections)
