"""The board: the facts on which every part of the fleet decides, and the effects that pile up.

Decided here: nothing but how facts are held. Not decided here: what they lead to (``directory.py``, ``journeys.py``,
``crew.py``, ``answers.py``).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from nexus_supervisor.core.content import EMPTY, Digest, Version
from nexus_supervisor.core.effects import Announce, Effect, Exit, Kill, Outcome, Send
from nexus_supervisor.core.lifecycle import Life, Word
from nexus_supervisor.core.messages import Drain
from nexus_supervisor.core.probation import Probation
from nexus_supervisor.core.requests import Answered, Requests, Rider
from nexus_supervisor.core.roster import KILL_GRACE_SECONDS, NEVER, Process, Roster
from nexus_supervisor.core.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexus_supervisor.core.events import Candidate, RollbackAsked
    from nexus_supervisor.core.history import History
    from nexus_supervisor.core.notices import Notice
    from nexus_supervisor.core.rollout import Rollout
    from nexus_supervisor.core.settings import Settings

__all__ = ["Board", "slot_names"]


class Board:
    """Hold settings, history, processes, the running rollout and the one that waits.

    ``ending`` is how it ends, once it is about to. ``untidy`` says that there may be content that nobody needs.
    ``fallback`` are the settings of the committed version, for a start whose own content fails. ``doubt`` is why the
    committed version may not be known to a new start; empty where its commit record is durable. ``wanted`` is what the
    directory held when it was last valid, ``rest`` what a start goes on with where the directory can't be used: the
    committed content less entries that no file has any more, None where that is all of it. ``recalls`` are the wishes
    to go back to an older version, ``paused`` says that what starts again on top of a revocation was paused,
    ``condemned`` is the committed content that is being gone back from, and why.
    """

    def __init__(
        self,
        settings: Settings,
        history: History,
        roster: Roster,
        fallback: Settings | None = None,
        *,
        answered: Mapping[str, Answered] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.fallback = fallback or settings
        self.history = history
        self.roster = roster
        self.rollout: Rollout | None = None
        self.waiting: Rollout | None = None
        self.standing = Standing()
        self.requests = Requests(answered)
        self.probation = Probation()
        self.wanted: Digest | None = None
        self.rest: Candidate | None = None
        self.recalls: list[RollbackAsked] = []
        self.paused = False
        self.condemned: tuple[Digest, str] | None = None
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
        """Answer a request, and every other one of the same id."""
        self._effects.extend(self.requests.answer(ticket, outcome))

    def kill(self, processes: list[Process]) -> None:
        """End processes at once."""
        for process in processes:
            self.roster.word(process, Word.KILL, NEVER)
            self._effects.append(Kill(process.slot, process.incarnation))

    def drain(self, processes: list[Process], now: float, *, hasty: bool = False) -> None:
        """Tell processes to finish what is in hand and go; ``hasty``: to go without finishing."""
        timeout = 0.0 if hasty else float(self.settings.daemon.shutdown.drain_timeout_seconds)
        for process in processes:
            if process.life is not Life.DRAINING:
                self.roster.word(process, Word.DRAIN, now + timeout + KILL_GRACE_SECONDS)
                self._effects.append(Send(process.slot, process.incarnation, Drain(timeout)))

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

    def moved(self, rollout: Rollout) -> tuple[int, int]:
        """Return how many processes have moved to the version of a rollout, of how many that will."""
        moving = rollout.moving(self.roster)
        fresh = [rollout.fresh(self.roster, slot) for slot in rollout.slots]
        moved = sum(1 for one in moving if one.active == rollout.version)
        moved += sum(1 for one in fresh if one is not None and one.life is Life.READY)
        return moved, len(moving) + len(fresh)

    def active_count(self) -> int:
        """Return how many workers have the committed version active."""
        return sum(1 for process in self.roster.live() if process.active == self.history.version)


def slot_names(settings: Settings) -> list[str]:
    """Return the names of the slots that settings ask for: ``<program>-<n>``."""
    program = settings.supervisor.program.rpartition(":")[2]
    return [f"{program}-{number}" for number in range(settings.supervisor.workers)]
