"""What supervisor and compiler say to each other: one closed union in each direction.

Decided here: the messages and their fields. Not decided here: how a directory is read and judged (``compiler/``) and
what its verdict leads to (``fleet.py``).

The compiler is told what runs (``Adopt``) and answers every ``Look`` with one verdict whose delta is against exactly
that. It can be killed at any moment: a new one gets ``Begin`` and ``Adopt`` again and knows what the old one knew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nexus_supervisor.core.codec import Codec
from nexus_supervisor.core.content import Digest
from nexus_supervisor.core.problems import Problem

__all__ = [
    "FROM_COMPILER",
    "TO_COMPILER",
    "Adopt",
    "Adopted",
    "Begin",
    "FromCompiler",
    "Look",
    "Recall",
    "Refused",
    "Seen",
    "ToCompiler",
]


@dataclass(frozen=True, slots=True)
class Begin:
    """Tell a fresh compiler what to look at. Always the first message; no answer.

    ``overrides`` is canonical JSON of the settings that the command line and the environment give
    (``{"supervisor": {"program": …}}``); they decide sections and limits, but are never part of the content.
    """

    directory: str
    overrides: bytes
    pepper: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Adopt:
    """Tell what runs: an encoded ``Delta`` (inline, or a memfd beside) that gives the content of this digest.

    A delta may be against what was adopted before. Without a payload the content is one that this compiler answered
    lately, or nothing (the digest of ``EMPTY``). The descriptor of the secret values that run may follow. With
    ``resolve`` the compiler resolves every reference of the content again and answers with their values. Always
    answered by Adopted.
    """

    ticket: int
    digest: Digest
    payload: bytes | None = field(repr=False)
    payload_beside: bool
    secrets_beside: bool
    resolve: bool


@dataclass(frozen=True, slots=True)
class Look:
    """Read the directory and judge it. Always answered by one Seen or Refused.

    ``hints`` are paths relative to DIR that may have changed; None means: compare everything. ``whole`` says that
    restart-required changes are wanted too, so nothing is held (at start and for ``restart``).
    """

    ticket: int
    hints: tuple[str, ...] | None
    whole: bool


@dataclass(frozen=True, slots=True)
class Recall:
    """Judge an older content as if the directory held it. Always answered by one Seen or Refused.

    It is an encoded ``Delta`` against what was adopted (inline, or a memfd beside). Live entries that no file has any
    more are left out of it (``gone``), restart-required parts stay as they run (``held``), and every reference is
    resolved again: a value that is missing or differs refuses it.
    """

    ticket: int
    payload: bytes | None = field(repr=False)
    payload_beside: bool


ToCompiler = Begin | Adopt | Look | Recall


@dataclass(frozen=True, slots=True)
class Adopted:
    """Say that the content is held; with ``problems``, that references could not be resolved as they were.

    With ``resolve``, a sealed memfd of the secret values travels beside it (``secrets_beside``).
    """

    ticket: int
    digest: Digest
    problems: tuple[Problem, ...]
    environment: tuple[str, ...]
    secrets_beside: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """Say that the directory is valid, and what it holds.

    ``wanted`` names all that the directory holds; ``digest`` what can go live now: the same, less what is held.
    ``payload`` is the encoded Delta from the adopted content to ``digest`` (inline, or a memfd beside). ``held`` lists
    the keys of restart-required changes, of whole sections and of single fields (``destinations.main.db_path``).
    ``blocked`` says why live changes can't go on without the held ones: then ``digest`` is the adopted one. ``gone``
    lists ``section.entry`` of live entries that no file has any more; lists are cut at 2,000 names, deltas never.
    ``revoked`` is the adopted content without them and ``revoked_payload`` the delta to it (None where that is
    ``digest`` itself); both are None where nothing is gone, or where what remains is invalid (then ``remains`` says
    why). ``widened`` lists keys of adopted entries that may do more in ``digest``, ``lessens`` what the directory held
    before that ``wanted`` differs from by nothing but the removal of entries that run as they were. ``environment``
    lists the names that ``env:`` references use. The memfd of secret values travels beside it when ``secrets_beside``.
    """

    ticket: int
    wanted: Digest
    digest: Digest
    payload: bytes | None = field(repr=False)
    payload_beside: bool
    secrets_beside: bool
    held: tuple[str, ...]
    blocked: tuple[Problem, ...]
    gone: tuple[str, ...]
    warnings: tuple[Problem, ...]
    environment: tuple[str, ...]
    files: int
    parsed: int
    widened: tuple[str, ...] = ()
    revoked: Digest | None = None
    revoked_payload: bytes | None = field(default=None, repr=False)
    revoked_payload_beside: bool = False
    remains: tuple[Problem, ...] = ()
    lessens: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Say that the directory is not valid, with every problem found, and what must be revoked all the same.

    ``unstable`` says that every problem is a file that is being written: looking again soon is worth it. ``gone`` lists
    live entries of the adopted content that no file has any more; ``revoked`` is the digest of the adopted content
    without them and ``payload`` the delta to it. Both are None where nothing is gone, or where what remains is invalid
    (then ``remains`` says why). ``doubtful`` lists those that only a file which can't be read may still hold.
    """

    ticket: int
    problems: tuple[Problem, ...]
    unstable: bool
    gone: tuple[str, ...]
    revoked: Digest | None
    payload: bytes | None = field(repr=False)
    payload_beside: bool
    remains: tuple[Problem, ...]
    doubtful: tuple[str, ...] = ()


FromCompiler = Adopted | Seen | Refused

TO_COMPILER: Codec[ToCompiler] = Codec(ToCompiler)
FROM_COMPILER: Codec[FromCompiler] = Codec(FromCompiler)
