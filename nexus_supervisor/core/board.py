"""The board: the facts on which every part of the fleet decides, and the effects that pile up.

Decided here: nothing but how facts are held. Not decided here: what they lead to (``directory.py``, ``journeys.py``,
``crew.py``, ``answers.py``).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from nexus_supervisor.core import restarts
from nexus_supervisor.core.content import EMPTY, Digest, Version
from nexus_supervisor.core.effects import Announce, Dump, Effect, Exit, Kill, Outcome, Pin, Quarantine, Send
from nexus_supervisor.core.lifecycle import Life, Word
from nexus_supervisor.core.messages import Drain
from nexus_supervisor.core.probation import Probation
from nexus_supervisor.core.programs import Program, slot_name
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

__all__ = ["Board", "Scaled"]


class Scaled(NamedTuple):
    """Hold how many workers somebody asked for, and instead of which number in the settings."""

    workers: int
    instead_of: int


class Board:
    """Hold settings, history, processes, the running rollout and the one that waits.

    ``ending`` is how it ends, once it is about to. ``untidy`` says that there may be content that nobody needs.
    ``fallback`` are the settings of the committed version, for a start whose own content fails. ``doubt`` is why the
    committed version may not be known to a new start; empty where its commit record is durable. ``wanted`` is what the
    directory held when it was last valid, ``rest`` what a start goes on with where the directory can't be used: the
    committed content less entries that no file has any more, None where that is all of it. ``recalls`` are the wishes
    to go back to an older version, ``paused`` says that what starts again on top of a revocation was paused,
    ``condemned`` is the committed content that is being gone back from, and why. ``counts`` are the numbers of workers
    that replace those of the settings, by program, until these change.
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
        self.counts: dict[str, Scaled] = {}
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

    def quarantine(self, digest: Digest, reason: str) -> None:
        """Offer a content no more by itself."""
        self.history.quarantine(digest, reason)
        self.emit(Quarantine(digest, reason))

    def pin(self, digest: Digest | None) -> None:
        """Leave the content that the directory holds; None: apply by itself what it holds."""
        self.history.pinned = digest
        self.emit(Pin(digest))

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

    def dump(self, processes: list[Process], now: float) -> None:
        """Have processes write down their stacks, and go as soon as there was time for that."""
        timeout = float(self.settings.supervisor.liveness.dump_seconds)
        for process in processes:
            if process.life is not Life.DYING:
                self.roster.word(process, Word.DRAIN, now + timeout + KILL_GRACE_SECONDS)
                slot, incarnation = process.slot, process.incarnation
                self.emit(Dump(slot, incarnation), Send(slot, incarnation, Drain(timeout)))

    def taken(self) -> list[Effect]:
        """Return what has piled up, and start anew."""
        effects, self._effects = self._effects, []
        return effects

    @property
    def base(self) -> Digest:
        """Return the content that a verdict has to be against: what is committed, or nothing."""
        return self.history.digest or EMPTY.digest

    def settings_of(self, process: Process) -> Settings:
        """Return the settings that a process was started by: those in force, or those that a rollout brings."""
        starts = self.rollout is not None and self.rollout.started(process)
        return self.rollout.settings if self.rollout is not None and starts else self.settings

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

    @property
    def is_up(self) -> bool:
        """Say whether somebody serves, and every slot has a process that does or is not worth waiting for."""
        ready = {process.slot for process in self.roster.live() if process.life is Life.READY}
        missing = [slot for slot in self.roster.slots.values() if slot.open and slot.name not in ready]
        hopeless = all(restarts.too_many(slot.deaths, self.settings) for slot in missing)
        return hopeless and bool(ready or not missing)

    # --- slots ---------------------------------------------------------------------------------------------------

    def workers(self, program: Program) -> int:
        """Return how many workers a program is to have: what somebody asked for until its setting changes."""
        scaled = self.counts.get(program.name)
        return scaled.workers if scaled is not None and scaled.instead_of == program.workers else program.workers

    def slots(self, settings: Settings) -> tuple[str, ...]:
        """Return the names of the slots that settings, and whoever scaled, ask for, the first program's first."""
        return tuple(
            slot_name(program.name, number) for program in settings.programs for number in range(self.workers(program))
        )

    def resize(self, now: float) -> None:
        """Have exactly the slots that are asked for; who has none any more is drained."""
        wanted = {program.name: program.workers for program in self.settings.programs}
        self.counts = {name: one for name, one in self.counts.items() if wanted.get(name) == one.instead_of}
        self.roster.resize(self.slots(self.settings))
        self.drain([one for one in self.roster.live() if one.slot not in self.roster.slots], now)
