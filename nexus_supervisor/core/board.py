"""The board: the facts on which every part of the fleet decides, and the effects that pile up.

Decided here: nothing but how facts are held. Not decided here: what they lead to (``directory.py``, ``journeys.py``,
``crew.py``, ``answers.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.content import EMPTY, Digest, Version
from nexus_supervisor.core.effects import Announce, Answer, Effect, Exit, Kill, Outcome
from nexus_supervisor.core.lifecycle import Word
from nexus_supervisor.core.roster import NEVER, Process, Roster
from nexus_supervisor.core.standing import Standing

if TYPE_CHECKING:
    from nexus_supervisor.core.history import History
    from nexus_supervisor.core.looking import Rider
    from nexus_supervisor.core.notices import Notice
    from nexus_supervisor.core.rollout import Rollout
    from nexus_supervisor.core.settings import Settings

__all__ = ["Board", "slot_names"]


class Board:
    """Hold settings, history, processes, the running rollout and the one that waits.

    ``ending`` is how it ends, once it is about to. ``untidy`` says that there may be content that nobody needs.
    ``fallback`` are the settings of the committed version, for a start whose own content fails. ``doubt`` is why the
    committed version may not be known to a new start; empty where its commit record is durable.
    """

    def __init__(self, settings: Settings, history: History, roster: Roster, fallback: Settings | None = None) -> None:
        self.settings = settings
        self.fallback = fallback or settings
        self.history = history
        self.roster = roster
        self.rollout: Rollout | None = None
        self.waiting: Rollout | None = None
        self.standing = Standing()
        self.archived: Version | None = history.version
        self.ending: Exit | None = None
        self.untidy = False
        self.doubt = ""
        self._effects: list[Effect] = []

    def emit(self, *effects: Effect) -> None:
        """Add effects, in order."""
        self._effects.extend(effects)

    def announce(self, notice: Notice) -> None:
        """Add a notice."""
        self._effects.append(Announce(notice))

    def answer(self, ticket: int, outcome: Outcome) -> None:
        """Add an answer."""
        self._effects.append(Answer(ticket, outcome))

    def kill(self, processes: list[Process]) -> None:
        """End processes at once."""
        for process in processes:
            self.roster.word(process, Word.KILL, NEVER)
            self._effects.append(Kill(process.slot, process.incarnation))

    def taken(self) -> list[Effect]:
        """Return what has piled up, and start anew."""
        effects, self._effects = self._effects, []
        return effects

    @property
    def base(self) -> Digest:
        """Return the content that a verdict has to be against: what is committed, or nothing."""
        return self.history.digest or EMPTY.digest

    def riders(self) -> tuple[Rider, ...]:
        """Return the requests that ride on the running rollout and on the one that waits."""
        return tuple(rider for one in (self.rollout, self.waiting) if one is not None for rider in one.riders)

    def active_count(self) -> int:
        """Return how many workers have the committed version active."""
        return sum(1 for process in self.roster.live() if process.active == self.history.version)


def slot_names(settings: Settings) -> list[str]:
    """Return the names of the slots that settings ask for: ``<program>-<n>``."""
    program = settings.supervisor.program.rpartition(":")[2]
    return [f"{program}-{number}" for number in range(settings.supervisor.workers)]
