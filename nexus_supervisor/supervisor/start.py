"""The first minute: what has to be known before there is a fleet.

Decided here: in which order directory, keys and store are consulted, what a start refuses, and which content it begins
with. Not decided here: what runs then (``service.py``) and which version that becomes (``core/fleet.py``).
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import canonical
from nexus_supervisor.core.compilation import Begin
from nexus_supervisor.core.events import Candidate, CandidateRefused, CandidateSeen, LookFailed
from nexus_supervisor.core.history import Committed, History
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import Settings, parse
from nexus_supervisor.core.trust import Trust
from nexus_supervisor.errors import RejectedError
from nexus_supervisor.supervisor import keys
from nexus_supervisor.supervisor.child import environment
from nexus_supervisor.supervisor.compiling import Compiling, Verdict
from nexus_supervisor.supervisor.contents import Contents
from nexus_supervisor.supervisor.signing import Signer
from nexus_supervisor.supervisor.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nexus_supervisor.supervisor.archive import Stored

__all__ = ["Beginning", "Listening", "begin"]

_FIRST_TICKET = 0


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
    """Hold what a start knows: the settings to begin with, what the directory holds or why not, and the parts."""

    settings: Settings
    fallback: Settings | None
    candidate: Candidate | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    contents: Contents
    compiling: Compiling
    verdicts: Listening
    signer: Signer
    store: Store
    history: History
    pepper: bytes

    def __repr__(self) -> str:
        """Show nothing of what it holds."""
        return "<beginning>"


async def begin(directory: Path, overrides: Mapping[str, Any], *, allow_unsigned: bool) -> Beginning:
    """Read everything; raise RejectedError, KeyFileError or DirectoryError where a start makes no sense."""
    loop = asyncio.get_running_loop()
    pepper = keys.load_pepper(directory)
    contents, verdicts = Contents(overrides), Listening()
    told = Begin(str(directory), canonical.encode(overrides), pepper)
    compiling = Compiling(loop, told, environment(os.environ, ()) | _references(), contents, verdicts)
    unread = parse({}, overrides, cpu_count=1).settings  # as long as no file of the directory is known
    try:
        verdict = await _first_look(loop, compiling, verdicts, unread)
        candidate, problems = _candidate(verdict), _problems(verdict)
        settings = candidate.settings if candidate is not None else unread
        signer, store = _open(directory, settings, allow_unsigned=allow_unsigned)
        committed, quarantined = store.recovered.committed, store.recovered.quarantined
        if committed is None:
            _refuse_nothing(directory, candidate, problems)
        elif candidate is None or candidate.digest != committed.content.digest:
            kept = contents.put(committed.content, None)
            missing = await _resolve(loop, compiling, contents, committed, kept.settings)
            if candidate is None or candidate.digest in quarantined:
                _refuse_missing(committed, problems, missing)
                settings = kept.settings
        fallback = None if committed is None else contents.get(committed.content.digest).settings
        history = _history(store)
        warnings = verdict.warnings if isinstance(verdict, CandidateSeen) else ()
        return Beginning(
            settings,
            fallback,
            candidate,
            problems,
            warnings,
            contents,
            compiling,
            verdicts,
            signer,
            store,
            history,
            pepper,
        )
    except BaseException:
        compiling.close()
        raise


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


async def _first_look(
    loop: asyncio.AbstractEventLoop, compiling: Compiling, verdicts: Listening, settings: Settings
) -> Verdict:
    first: asyncio.Future[Verdict] = loop.create_future()
    verdicts.to = first.set_result
    compiling.look(_FIRST_TICKET, None, settings.supervisor.limits.compile_timeout_seconds, whole=True)
    return await first


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
    return History(recovered.highest, committed, previous, recovered.quarantined)


def _candidate(verdict: Verdict) -> Candidate | None:
    return verdict.candidate if isinstance(verdict, CandidateSeen) else None


def _problems(verdict: Verdict) -> tuple[Problem, ...]:
    match verdict:
        case CandidateRefused():
            return verdict.problems
        case LookFailed():
            return (Problem(".", 0, "", "internal", verdict.reason),)
        case CandidateSeen():
            return ()
