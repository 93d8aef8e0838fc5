"""One exception tree: what can go wrong, whose fault it is, and which exit code says so.

Decided here: the classes and their exit codes. Not decided here: when they are raised. The text of an error is a
sentence for the person who has to act on it; it never contains a secret or the content of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nexus_supervisor.core.problems import Problem

__all__ = [
    "ConflictError",
    "DamageError",
    "DirectoryError",
    "HeldError",
    "KeyFileError",
    "NexusError",
    "NoSnapshotError",
    "NotRunningError",
    "ProtocolError",
    "RejectedError",
    "RolledBackError",
    "UnfinishedError",
    "UsageError",
]


class NexusError(Exception):
    """Be the root of every error that this package raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(NexusError):
    """Say that a command or a call was used wrongly (exit code 2)."""

    exit_code = 2


class RejectedError(NexusError):
    """Say that what people wrote was refused, with every problem found (exit code 3)."""

    exit_code = 3

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class DirectoryError(RejectedError):
    """Say that DIR or a part of it can't be used: missing, not a directory, not ours."""


class KeyFileError(RejectedError):
    """Say that a key file is refused: mode, owner, link, length, or a weak key."""


class DamageError(RejectedError):
    """Say that something stored doesn't verify: a torn record, a flipped bit, a broken chain.

    ``reason`` is one of ``file_read_error``, ``sig_file_missing`` and ``signature_mismatch``; ``file`` is relative to
    DIR, or empty.
    """

    def __init__(self, message: str, *, reason: str = "signature_mismatch", file: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.file = file


class RolledBackError(NexusError):
    """Say that a rollout went back to what ran before (exit code 4)."""

    exit_code = 4


class UnfinishedError(NexusError):
    """Say that a wait ended without a verdict (exit code 5)."""

    exit_code = 5


class ConflictError(NexusError):
    """Say that somebody else holds what is needed: another supervisor, another version (exit code 6)."""

    exit_code = 6


class NotRunningError(NexusError):
    """Say that no supervisor runs on this directory (exit code 7)."""

    exit_code = 7


class HeldError(NexusError):
    """Say that a change is held until a restart (exit code 8)."""

    exit_code = 8


class ProtocolError(NexusError):
    """Say that a peer on a pipe or socket sent what the protocol doesn't allow."""


class NoSnapshotError(NexusError):
    """Say that ``current()`` was called where no snapshot is, and how to provide one."""
