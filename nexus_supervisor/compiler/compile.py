"""Compiling: from files to a verdict on what the directory holds.

Decided here: which content the directory wants, what of it can go live now, and what must be revoked although other
files are broken. Not decided here: what a verdict leads to (the supervisor's fleet), how messages travel
(``__main__.py``), and the parts: files (``survey.py``), what fits together (``crosscheck.py``), what is held
(``core/changes.py``, ``merging.py``), what is gone (``removal.py``), what becomes of an older content
(``recalling.py``), what the application objects to (``validation.py``).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.adopted import Running, resolve_again
from nexus_supervisor.compiler.daemonfile import DaemonFile, DaemonFileReader, cpu_count, settings_of
from nexus_supervisor.compiler.evidence import HOOKS_KEY, Gatherer, unplaced
from nexus_supervisor.compiler.external_gate import COMMAND_KEY, not_runnable
from nexus_supervisor.compiler.lessening import Lessening
from nexus_supervisor.compiler.merging import restart_fields, settled
from nexus_supervisor.compiler.outcome import bounded, listed, live_keys, secrets_of, widened_keys
from nexus_supervisor.compiler.reading import TroubleError
from nexus_supervisor.compiler.recalling import Recalled
from nexus_supervisor.compiler.removal import broken_by_removal, doubtful, gone, without
from nexus_supervisor.compiler.tree import Tree
from nexus_supervisor.compiler.validation import Validation
from nexus_supervisor.core import canonical, delta
from nexus_supervisor.core.changes import hold, pin
from nexus_supervisor.core.codec import pack, unpack
from nexus_supervisor.core.compilation import Adopted, FromCompiler, Refused, Seen
from nexus_supervisor.core.content import EMPTY, Content
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import START_KEYS, Settings, parse
from nexus_supervisor.models.secrets import Known, Origins, Reissue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from nexus_supervisor.compiler.evidence import Evidence
    from nexus_supervisor.compiler.removal import Gone
    from nexus_supervisor.core.compilation import Adopt, Begin, Look, Recall
    from nexus_supervisor.core.content import Digest
    from nexus_supervisor.core.settings import SupervisorSettings
    from nexus_supervisor.models.hooks import Objection

__all__ = ["Answer", "Compiler"]

_SWAPPED = "..data was swapped while the directory was read: it is taken when it stays the same"


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold a message, its payload still in it, and the packed secret values that travel beside it, if any."""

    message: FromCompiler
    secrets: bytes | None = field(default=None, repr=False)


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
        self._gatherer = Gatherer(self._origins)
        self._validation = Validation()
        self._lessening = Lessening()

    @property
    def settings(self) -> Settings:
        """Return the settings of the last good daemon.toml, else of what runs, else the defaults."""
        return self._settings or parse({}, self._overrides, cpu_count=cpu_count()).settings

    def forget(self) -> None:
        """Forget what was read, but not what runs: the next look reads everything."""
        self._gatherer.forget()
        self._validation.forget()
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
        return self._by_evidence(message.ticket, message.hints, partial(self._judged, message))

    def recall(self, message: Recall, payload: bytes | memoryview | None) -> Answer:
        """Judge an older content as if the directory held it."""
        running = self._running.content
        older = running if payload is None else running.after(delta.decode(payload))
        return self._by_evidence(message.ticket, None, partial(self._recalled, message.ticket, older))

    def _by_evidence(self, ticket: int, hints: Iterable[str] | None, judge: Callable[[Evidence], Answer]) -> Answer:
        """Read what may have changed and judge by it; refuse where the directory as a whole can't be read."""
        try:
            with Tree(self._directory) as tree:
                daemon = self._daemon.look(tree, self.settings.supervisor.limits, doubt=hints is None)
                settings = self._settings_by(daemon)
                if settings is None:
                    return _refusal(ticket, daemon.problems)
                evidence = self._gatherer.gather(tree, hints, daemon, (settings, self._settings_running))
                if not tree.folder("").current:
                    return _refusal(ticket, (Problem(".", 0, "", "unstable", _SWAPPED),))
                return judge(evidence)
        except TroubleError as trouble:
            return _refusal(ticket, (Problem(".", 0, "", trouble.code, trouble.message),))

    def _settings_by(self, daemon: DaemonFile) -> Settings | None:
        """Return the settings to look by: of a broken daemon.toml only where nothing better is known."""
        if daemon.section is not None:
            self._settings = daemon.settings
        settings = self._settings or daemon.settings
        if settings is not None:
            self._origins.max_bytes = settings.supervisor.limits.max_secret_bytes
        return settings

    def _judged(self, message: Look, evidence: Evidence) -> Answer:
        """Return the verdict on files of which each was looked at, by itself and beside the others."""
        problems = evidence.problems
        settings = self.settings.supervisor
        if (reason := self._validation.load(settings.hooks)) is not None:
            problems.append(evidence.daemon.problem(HOOKS_KEY, "value", reason))
        if (reason := not_runnable(settings.external_gate.command, self._directory)) is not None:
            problems.append(evidence.daemon.problem(COMMAND_KEY, "value", reason))
        wanted = evidence.content if not problems else EMPTY
        if not problems and self._validation.asks(settings.hooks):
            secrets = secrets_of(wanted, evidence.survey, evidence.daemon, self._running.secrets)
            problems += self._objections(settings, wanted, secrets, partial(evidence.placed, evidence.lines))
        return self._refused(message.ticket, evidence) if problems else self._seen(message, evidence, wanted)

    def _refused(self, ticket: int, evidence: Evidence) -> Answer:
        running = self._running
        names = gone(running.content, evidence.running)
        content, remains = self._left(names, evidence)
        unstable = all(problem.code == "unstable" for problem in evidence.problems)
        revoked, payload = self._revocation(content) if names and not remains else (None, None)
        return Answer(
            Refused(
                ticket,
                self._bounded(self._gatherer.hinted(evidence.problems)),
                unstable,
                listed(names),
                revoked,
                payload,
                payload_beside=False,
                remains=self._bounded(remains),
                doubtful=listed(doubtful(running.content, evidence.running)),
            )
        )

    def _seen(self, message: Look, evidence: Evidence, wanted: Content) -> Answer:
        running = self._running
        effective, held, blocked = wanted, tuple[str, ...](), list[Problem]()
        survey = evidence.survey if message.whole else evidence.running  # by which sections the effective content goes
        if message.whole:
            effective, held = pin(running.content, wanted, START_KEYS)
        elif running.content.sections:
            effective, held, blocked = self._split(wanted, evidence)
        names = gone(running.content, evidence.running)
        content, remains = self._left(names, evidence)
        revoked, payload = self._revocation(content) if names and not remains else (None, None)
        environment = evidence.daemon.environment | survey.environment
        verdict = Seen(
            message.ticket,
            wanted.digest,
            effective.digest,
            self._payload(effective),
            payload_beside=False,
            secrets_beside=False,
            held=listed({"": held}),
            blocked=self._bounded(blocked),
            gone=listed(names),
            warnings=self._bounded(evidence.daemon.warnings),
            environment=tuple(sorted(environment)),
            files=evidence.survey.files + 1,
            parsed=evidence.parsed + self._daemon.parsed,
            widened=widened_keys(running.content, effective, survey.models),
            revoked=revoked,
            revoked_payload=None if revoked == effective.digest else payload,
            remains=self._bounded(remains),
            lessens=self._lessening.note(wanted, running.content),
        )
        return self._sent(verdict, effective, secrets_of(effective, survey, evidence.daemon, running.secrets))

    def _recalled(self, ticket: int, older: Content, evidence: Evidence) -> Answer:
        """Return the verdict on an older content; what it is judged beside is what runs."""
        running, survey = self._running, evidence.running
        literals = {**running.secrets, **evidence.daemon.secrets, **survey.secrets}
        recalled = Recalled(running, survey, Reissue(self._origins, literals))
        content, held, problems = recalled.judged(older, self._overrides)
        secrets = secrets_of(content, survey, evidence.daemon, recalled.secrets)
        if not problems:
            settings = (self._settings_running or self.settings).supervisor
            if (reason := self._validation.load(settings.hooks)) is not None:
                problems = [evidence.daemon.problem(HOOKS_KEY, "value", reason)]
            else:
                problems = self._objections(settings, content, secrets, unplaced)
        if problems:
            return _refusal(ticket, self._bounded(problems))
        environment = evidence.daemon.environment | survey.environment | recalled.environment
        verdict = Seen(
            ticket,
            older.digest,
            content.digest,
            self._payload(content),
            payload_beside=False,
            secrets_beside=False,
            held=listed({"": held}),
            blocked=(),
            gone=listed(recalled.left_out),
            warnings=(),
            environment=tuple(sorted(environment)),
            files=survey.files + 1,
            parsed=evidence.parsed + self._daemon.parsed,
            widened=widened_keys(running.content, content, survey.models),
        )
        return self._sent(verdict, content, secrets)

    def _sent(self, verdict: Seen, content: Content, secrets: Mapping[str, str]) -> Answer:
        """Return the answer that offers a content, which may be adopted next."""
        self._running.remember(content, secrets)
        return Answer(verdict, pack(dict(secrets)) if secrets else None)

    def _revocation(self, content: Content) -> tuple[Digest, bytes | None]:
        """Return what names what is left of what runs, and leads to it; it may be adopted next."""
        self._running.remember(content, self._running.secrets)
        return content.digest, self._payload(content)

    def _bounded(self, problems: Sequence[Problem]) -> tuple[Problem, ...]:
        return bounded(problems, self.settings.supervisor.limits.max_problems)

    def _split(self, wanted: Content, evidence: Evidence) -> tuple[Content, tuple[str, ...], list[Problem]]:
        """Return what can go live now, the keys that are held, and why live changes can't go on without those.

        Where they can't, what runs goes on as it is.
        """
        running = self._running.content
        if evidence.running is not evidence.survey:
            wanted = evidence.content_as_declared
        fields = restart_fields(evidence.running.models)
        effective, held = hold(running, wanted, live_keys(self._overrides), fields)
        if not held or effective.digest == running.digest:
            return effective, held, []
        effective, blocked = self._beside_held(effective, wanted, evidence)
        return running if blocked else effective, held, blocked

    def _left(self, names: Gone, evidence: Evidence) -> tuple[Content, list[Problem]]:
        """Return what runs less the entries that are gone, or what runs and why it is not valid without them.

        Hooks that can't be loaded any more stop no revocation.
        """
        running = self._running
        if not names:
            return running.content, []
        settings = (self._settings_running or self.settings).supervisor
        content = without(running.content, names)
        remains = list(broken_by_removal(running.content, names, evidence.running.models, Known(running.secrets)))
        if not remains and self._validation.load(settings.hooks) is None:
            remains = self._objections(settings, content, running.secrets, unplaced)
        return (running.content if remains else content), remains

    def _beside_held(self, effective: Content, wanted: Content, evidence: Evidence) -> tuple[Content, list[Problem]]:
        """Return what can go live while changes are held, and why nothing can.

        The settings that run decide, not new ones.
        """
        settings = (self._settings_running or self.settings).supervisor
        if settings.on_restart_required == "hold":
            key = "supervisor.on_restart_required"
            message = "live changes wait for the held ones, because this is hold: restart to apply all of them"
            return effective, [evidence.daemon.problem(key, "value", message)]
        running, survey, lines = self._running, evidence.running, evidence.lines_running
        secrets = {**survey.secrets, **running.secrets}
        effective, problems = settled(effective, (running.content, wanted), survey.models, secrets, lines.problem)
        if not problems:
            problems += evidence.check_running.content(effective, Known(secrets))
        if survey is not evidence.survey:
            problems += [*survey.problems, *evidence.check_running.files()]
        if (reason := self._validation.load(settings.hooks)) is not None:
            problems.append(evidence.daemon.problem(HOOKS_KEY, "value", reason))
        if not problems:
            problems = self._objections(
                settings,
                effective,
                secrets_of(effective, survey, evidence.daemon, running.secrets),
                partial(evidence.placed, lines),
            )
        return effective, problems

    def _objections(
        self,
        settings: SupervisorSettings,
        content: Content,
        secrets: Mapping[str, str],
        placed: Callable[[Objection], Problem],
    ) -> list[Problem]:
        """Return what the application's own hook says against a content."""
        return [placed(one) for one in self._validation.objections(settings, content, secrets)]

    def _payload(self, content: Content) -> bytes | None:
        """Return the encoded delta from what runs, or None where it is the same content."""
        running = self._running.content
        return None if content.digest == running.digest else delta.encode(content.delta_from(running))

    def _resolved(self, ticket: int) -> Answer:
        """Resolve every reference of what runs again."""
        running = self._running
        survey, _ = self._gatherer.survey(self.settings, None)
        literals = dict(running.secrets)
        with suppress(TroubleError), Tree(self._directory) as tree:  # the next look says what is wrong with DIR
            survey.look(tree, None)
            literals |= self._daemon.look(tree, self.settings.supervisor.limits, doubt=True).secrets
        literals |= survey.secrets
        reissue = Reissue(self._origins, literals)
        problems = list(resolve_again(running.content, survey.models, survey, reissue))
        running.secrets = reissue.traveling
        running.remember(running.content, reissue.traveling)
        environment = tuple(sorted(reissue.environment))
        message = Adopted(ticket, running.content.digest, self._bounded(problems), environment, secrets_beside=False)
        return Answer(message, pack(reissue.traveling))


def _refusal(ticket: int, problems: tuple[Problem, ...]) -> Answer:
    """Return that nothing can be told about the entries: nothing is gone."""
    unstable = all(problem.code == "unstable" for problem in problems)
    return Answer(Refused(ticket, problems, unstable, (), None, None, payload_beside=False, remains=()))
