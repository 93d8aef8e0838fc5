"""The first minute: what has to be known before there is a fleet.

Decided here: in which order directory, keys and store are consulted, what a start refuses, and which content it begins
with. Not decided here: what runs then (``service.py``) and which version that becomes (``core/fleet.py``).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import canonical
from nexus_supervisor.core.compilation import Begin
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.effects import Outcome
from nexus_supervisor.core.events import Candidate, CandidateRefused, CandidateSeen, LookFailed, Recalled
from nexus_supervisor.core.history import Committed, History
from nexus_supervisor.core.past import facts_of
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import Settings, parse
from nexus_supervisor.core.trust import Trust
from nexus_supervisor.core.waves import Kind
from nexus_supervisor.errors import RejectedError
from nexus_supervisor.supervisor import keys
from nexus_supervisor.supervisor.child import environment
from nexus_supervisor.supervisor.compiling import Compiling, Verdict
from nexus_supervisor.supervisor.contents import Contents, settings_of
from nexus_supervisor.supervisor.isolation import Isolation, isolation_asked
from nexus_supervisor.supervisor.signing import Signer
from nexus_supervisor.supervisor.store import Store
from nexus_supervisor.supervisor.versions import content_of
from nexus_supervisor.wire import close_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexus_supervisor.core.handover import Handover
    from nexus_supervisor.core.records import Answered
    from nexus_supervisor.core.shape import Shape
    from nexus_supervisor.supervisor.archive import Stored
    from nexus_supervisor.supervisor.recovery import Recovered

__all__ = ["Beginning", "Listening", "begin", "resume"]

_FIRST_TICKET = 0
"""Of the looks of a start; the fleet counts its own from 1."""


class Listening:
    """Pass verdicts on: the first to whoever waits for it, later ones to whoever listens by then."""

    def __init__(self) -> None:
        self.to: Callable[[Verdict], None] | None = None

    def __call__(self, verdict: Verdict) -> None:
        """Pass a verdict on."""
        if self.to is not None:
            self.to(verdict)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Hold what a start knows: the settings to begin with, what the directory holds or why not, and the parts.

    ``rest`` is the committed content less the entries that no file has any more, None where none is gone, or where what
    remains can't run. ``answered`` is how earlier requests ended, by their ids.
    """

    settings: Settings
    fallback: Settings | None
    candidate: Candidate | None
    rest: Candidate | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    contents: Contents
    compiling: Compiling
    verdicts: Listening
    signer: Signer
    store: Store
    history: History
    answered: Mapping[str, tuple[str, Outcome]]
    pepper: bytes
    isolation: Isolation

    def __repr__(self) -> str:
        """Show nothing of what it holds."""
        return "<beginning>"


async def begin(directory: Path, overrides: Mapping[str, Any], *, allow_unsigned: bool) -> Beginning:
    """Read everything; raise RejectedError, KeyFileError or DirectoryError where a start makes no sense."""
    loop = asyncio.get_running_loop()
    pepper = keys.load_pepper(directory)
    contents, verdicts = Contents(overrides), Listening()
    told = Begin(str(directory), canonical.encode(overrides), pepper)
    variables = environment(os.environ, ()) | _references()
    beforehand = await asyncio.to_thread(isolation_asked, directory, overrides)
    compiling = Compiling(loop, told, variables, contents, verdicts, beforehand)
    unread = parse({}, overrides, cpu_count=1).settings  # as long as no file of the directory is known
    try:
        verdict = await _look(loop, compiling, verdicts, unread, whole=True)
        candidate, problems = _candidate(verdict), _problems(verdict)
        settings = candidate.settings if candidate is not None else unread
        signer, store = _open(directory, settings, allow_unsigned=allow_unsigned)
        committed, history, rest = store.recovered.committed, _history(store), None
        if committed is None:
            _refuse_nothing(directory, candidate, problems)
        elif candidate is None or candidate.digest != committed.content.digest:
            kept = contents.put(committed.content, None)
            if candidate is None:
                compiling.isolate(Isolation.of(kept.settings))
            missing = await _resolve(loop, compiling, contents, committed, kept.settings)
            if not isinstance(verdict, LookFailed) and not missing:
                rest = _rest(await _look(loop, compiling, verdicts, settings, whole=False), committed)
            if candidate is None or candidate.digest in history.quarantined or candidate.wanted == history.pinned:
                _refuse_missing(committed, problems, missing)
                settings = kept.settings if rest is None else rest.settings
        isolation = Isolation.of(settings)
        compiling.isolate(isolation)
        fallback = None if committed is None else contents.get(committed.content.digest).settings
        warnings = verdict.warnings if isinstance(verdict, CandidateSeen) else ()
        return Beginning(
            settings,
            fallback,
            candidate,
            rest,
            problems,
            warnings,
            contents,
            compiling,
            verdicts,
            signer,
            store,
            history,
            _answers(store.recovered),
            pepper,
            isolation,
        )
    except BaseException:
        compiling.close()
        raise


def resume(directory: Path, overrides: Mapping[str, Any], handed: Handover, *, allow_unsigned: bool) -> Beginning:
    """Return what another supervisor knew: the committed version runs, and its secrets are at hand.

    The compiler is started by the first look, which is to follow. Raise NexusError where the store says otherwise.
    """
    pepper = keys.load_pepper(directory)
    contents, verdicts = Contents(overrides), Listening()
    told = Begin(str(directory), canonical.encode(overrides), pepper)
    runs = settings_of(content_of(directory, handed.fleet.version), overrides)
    isolation = Isolation.of(runs)
    variables = environment(os.environ, ()) | _references()
    compiling = Compiling(asyncio.get_running_loop(), told, variables, contents, verdicts, isolation)
    compiling.environment = frozenset(handed.environment)
    signer, store = _open(directory, runs, allow_unsigned=allow_unsigned)
    recovered, history = store.recovered, _history(store)
    if recovered.committed is None or (history.version, history.digest) != (handed.fleet.version, handed.fleet.digest):
        message = f"the journal says that version {history.version} is committed, and {handed.fleet.version} runs"
        raise RejectedError(message)
    secrets = {one.digest: one.secrets for one in handed.contents}
    for stored in (recovered.previous, recovered.committed):
        if stored is not None:
            contents.put(stored.content, secrets.pop(stored.content.digest, None))
    close_all(secrets.values())
    settings = contents.get(recovered.committed.content.digest).settings
    return Beginning(
        settings,
        settings,
        None,
        None,
        (),
        (),
        contents,
        compiling,
        verdicts,
        signer,
        store,
        history,
        _answers(recovered),
        pepper,
        isolation,
    )


def _refuse_nothing(directory: Path, candidate: Candidate | None, problems: tuple[Problem, ...]) -> None:
    """Raise RejectedError where there is neither a valid directory nor a version to go on with."""
    if candidate is None:
        message = f"{directory} can't be started: it is not valid, and no version was ever committed"
        raise RejectedError(message, problems)


def _refuse_missing(committed: Stored, problems: tuple[Problem, ...], missing: tuple[Problem, ...]) -> None:
    """Raise RejectedError where the version to go on with lacks a secret."""
    if missing:
        message = f"version {committed.version} can't be issued again: a secret is missing or differs"
        raise RejectedError(message, (*problems, *missing))


def _references() -> dict[str, str]:
    """Return the variables that only the compiler gets: a reference may name any of them."""
    return {name: value for name, value in os.environ.items() if name.startswith("NEXUS_") and "__" not in name}


async def _look(
    loop: asyncio.AbstractEventLoop, compiling: Compiling, verdicts: Listening, settings: Settings, *, whole: bool
) -> Verdict:
    answer: asyncio.Future[Verdict] = loop.create_future()
    verdicts.to = answer.set_result
    compiling.look(_FIRST_TICKET, None, settings.supervisor.limits.compile_timeout_seconds, whole=whole)
    return await answer


def _rest(verdict: Verdict, committed: Stored) -> Candidate | None:
    """Return what remains of the committed content by a verdict that was reached against it."""
    match verdict:
        case CandidateSeen(candidate=seen) if seen.revoked is not None and seen.revoked_settings is not None:
            return _remaining(seen.revoked, seen.gone, seen.revoked_settings, seen.revoked_shape, committed)
        case CandidateRefused(revoked=revoked, settings=settings) if revoked is not None and settings is not None:
            return _remaining(revoked, verdict.gone, settings, verdict.shape, committed)
        case _:
            return None


def _remaining(
    revoked: Digest, gone: tuple[str, ...], settings: Settings, shape: Shape, committed: Stored
) -> Candidate:
    return Candidate(revoked, revoked, committed.content.digest, (), (), gone, settings, shape)


async def _resolve(
    loop: asyncio.AbstractEventLoop, compiling: Compiling, contents: Contents, committed: Stored, settings: Settings
) -> tuple[Problem, ...]:
    """Have the references of the committed version resolved again; return what is missing or differs."""
    answer: asyncio.Future[tuple[tuple[Problem, ...], int | None]] = loop.create_future()
    timeout = settings.supervisor.limits.compile_timeout_seconds
    compiling.resolve(committed.content.digest, timeout, lambda *found: answer.set_result(found))
    problems, secrets = await answer
    contents.put(committed.content, secrets)
    return problems


def _open(directory: Path, settings: Settings, *, allow_unsigned: bool) -> tuple[Signer, Store]:
    signing = settings.daemon.signing
    audience = settings.supervisor.name
    held = keys.load(directory, signing.key_file) if signing.enabled else None
    signer = Signer(held, audience)
    limits = settings.supervisor.limits
    store = Store.open(
        directory,
        Trust(audience, signer.trust.public_key),
        kept_versions=limits.kept_versions,
        journal_limit_bytes=limits.journal_max_bytes,
        kept_days=limits.kept_days,
        kept_history=limits.kept_history,
    )
    if held is None and store.holds_signatures and not allow_unsigned:
        store.close()
        message = (
            f"{directory} holds signed versions and daemon.signing.enabled is false: nothing would be verified any "
            "more. Turn signing on again, or start once with --allow-unsigned"
        )
        raise RejectedError(message)
    return signer, store


def _history(store: Store) -> History:
    recovered = store.recovered
    committed, previous = (
        None if one is None else Committed(one.manifest.version, one.content.digest)
        for one in (recovered.committed, recovered.previous)
    )
    pinned = None if recovered.pinned is None else Digest(recovered.pinned)
    return History(recovered.highest, committed, previous, recovered.quarantined, pinned, _proving(recovered))


def _proving(recovered: Recovered) -> float | None:
    """Return for how long the committed version has been live, where it is no way back and no revocation."""
    version = None if recovered.committed is None else recovered.committed.manifest.version
    past = next((one for one in recovered.history if one.version == version), None)
    if past is None or past.kind not in (Kind.BOOT, Kind.PUSH, Kind.RESTART):
        return None
    return max(0.0, time.time() - (past.ended_at or past.at))


def _answers(recovered: Recovered) -> dict[str, tuple[str, Outcome]]:
    """Return how earlier requests ended, by their ids."""
    return {push_id: (answered.verb, _outcome(answered)) for push_id, answered in recovered.answered.items()}


def _outcome(answered: Answered) -> Outcome:
    """Return a remembered answer as it was given."""
    return Outcome(
        answered.exit_code,
        answered.outcome,
        answered.text,
        answered.problems,
        Version(answered.version) if answered.version else None,
        answered.workers,
        answered.held,
        facts_of(answered.numbers),
    )


def _candidate(verdict: Verdict) -> Candidate | None:
    return verdict.candidate if isinstance(verdict, CandidateSeen) else None


def _problems(verdict: Verdict) -> tuple[Problem, ...]:
    match verdict:
        case CandidateRefused():
            return verdict.problems
        case LookFailed():
            return (Problem(".", 0, "", "internal", verdict.reason),)
        case CandidateSeen() | Recalled():
            return ()
