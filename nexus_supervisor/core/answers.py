"""Answers that wait until they are true.

Decided here: when a request may be answered: its version is complete on disk, and nothing uses an older one where that
was asked. Not decided here: the answer itself (``says.py``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nexus_supervisor.core import directory_says, says
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.effects import Archive, Complete, Outcome
from nexus_supervisor.core.events import Archived, PushAsked, RestartAsked
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.requests import Rider
from nexus_supervisor.core.rollout import NO_VERSION, Kind

if TYPE_CHECKING:
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.problems import Problem

__all__ = ["Answers"]


@dataclass(frozen=True, slots=True)
class _Closing:
    """Hold one answer and the version that it speaks of."""

    rider: Rider
    outcome: Outcome
    version: Version


class Answers:
    """Hold answers back until they are true."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._closing: list[_Closing] = []
        self._daemon_ready = False
        self._told_complete = False
        self._failure = self._told_failure = ""

    def resume(self) -> None:
        """Go on with a daemon that was ready before."""
        self._daemon_ready = True

    def riders(self) -> tuple[Rider, ...]:
        """Return the requests whose answer waits."""
        return tuple(closing.rider for closing in self._closing)

    def clear(self) -> None:
        """Forget every answer; the caller has given others."""
        self._closing.clear()

    def archived(self, event: Archived) -> None:
        """Note that a version is on disk, or that it could not be written there; the journal has it all the same."""
        before, self._failure = self._told_failure, event.failure or ""
        self._told_failure = self._failure
        if event.failure is not None and before != event.failure:
            self._board.announce(says.archive_failed(event.version, event.failure))
        elif event.failure is None:
            self._board.announce(says.archived(event.version))
        self._board.archived = event.version

    def retry(self) -> None:
        """Have the version that could not be written to compiled/ written again; answers wait for that."""
        version = self._board.history.version
        if self._failure and version is not None:
            self._failure, self._board.archived = "", None
            self._board.emit(Archive(version))

    def finish(self) -> None:
        """Answer requests whose version is complete, and say once that the daemon is."""
        self._let_workers_know()
        count = sum(1 for process in self._board.roster.live() if process.life is Life.READY)
        complete = self._board.archived is not None and not self._is_booting
        if not self._daemon_ready and complete and self._board.is_up:
            self._daemon_ready = True
            self._board.announce(says.daemon_ready(self._board.history.version, count))
        for closing in list(self._closing):
            if self._complete(closing):
                self._closing.remove(closing)
                outcome = says.not_archived(closing.outcome, self._failure) if self._failure else closing.outcome
                self._board.answer(closing.rider.ticket, outcome)

    @property
    def _is_booting(self) -> bool:
        return self._board.rollout is not None and self._board.rollout.kind is Kind.BOOT

    def _let_workers_know(self) -> None:
        """Say once that what runs is complete on disk: not before the first version of this start is."""
        board = self._board
        complete = board.archived is not None and board.archived == board.history.version
        if complete and not self._is_booting and not self._failure and not self._told_complete:
            self._told_complete = True
            board.emit(Complete(board.history.version or NO_VERSION))

    def _complete(self, closing: _Closing) -> bool:
        if self._board.archived is None or self._board.archived < closing.version:
            return False
        if isinstance(closing.rider, RestartAsked):
            return all(process.life is not Life.DRAINING for process in self._board.roster.processes.values())
        if isinstance(closing.rider, PushAsked) and closing.rider.until_retired:
            return all(
                (process.oldest or closing.version) >= closing.version
                for process in self._board.roster.processes.values()
            )
        return True

    def live(self) -> Outcome:
        """Return the answer that what can be live is live."""
        board = self._board
        return says.live(board.history.version, board.active_count(), board.standing.held_keys, board.doubt)

    def still_live(self, gone: tuple[str, ...], remains: tuple[Problem, ...]) -> None:
        """Tell once that entries which no file has any more can't be revoked."""
        if gone and gone != self._board.standing.still_live:
            self._board.announce(directory_says.still_live(gone, remains))
        self._board.standing = replace(self._board.standing, still_live=gone)

    def close(self, rider: Rider, outcome: Outcome) -> None:
        """Answer a request as soon as its version is complete on disk."""
        self._closing.append(_Closing(rider, outcome, self._board.history.version or Version(0)))
