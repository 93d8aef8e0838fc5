"""The zygotes of a daemon: which processes hold imported programs, and how a worker comes from one of them.

Decided here: what a generation of code is, when it is prepared, let go of and started again, and when a worker has to
be exec'd instead. Not decided here: one zygote (``zygote.py``), what it imports (``agent/zygote.py``), when the code is
to be loaded anew and which generation stays (``core/``).

A generation has one zygote for each program, which is started when the first worker is wanted or a restart prepares it.
One that is lost is started again, from the code as it is then; so is one that has other variables than its workers are
to get. What can't be had from a zygote is exec'd.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from nexus_supervisor.core.forking import Load
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.supervisor.child import environment
from nexus_supervisor.supervisor.isolation import Isolation
from nexus_supervisor.supervisor.zygote import Launch, Plan, Zygote

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from nexus_supervisor.core.handover import HandedZygote
    from nexus_supervisor.core.programs import Program
    from nexus_supervisor.core.settings import Settings
    from nexus_supervisor.supervisor.exits import OomKills
    from nexus_supervisor.supervisor.reaper import Reaper

__all__ = ["MAX_LOSSES", "Zygotes"]

MAX_LOSSES = 3
"""So many zygotes in a row that are lost and made no worker, and those that wait for one are exec'd instead.

Where nobody waits, the next one is started when a worker is wanted.
"""


class Zygotes:
    """Hold the generation in use, and the one that a restart is about to use."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        directory: str,
        reaper: Reaper,
        secret: Callable[[], Iterable[str]],
        tell: Callable[[Notice], None],
        kills: OomKills | None = None,
    ) -> None:
        """Start nothing yet; ``secret`` names the variables that no worker may see."""
        self._loop, self._directory, self._reaper, self._secret = loop, directory, reaper, secret
        self._tell, self._kills = tell, kills
        self._count = 1
        self._current = _Generation(self._count)
        self._next: _Generation | None = None

    def prepare(self, settings: Settings, done: Callable[[str], None]) -> None:
        """Import every program anew, beside what is in use; ``done`` gets nothing, or why one can't be imported.

        It is called at once where there is nothing to import, and never where this is let go of before. Raise
        RejectedError where processes can't run as the settings say.
        """
        if self._next is not None:
            self._next.close()
        self._count += 1
        self._next = _Generation(self._count, done)
        for program in settings.programs if self._forks(settings) else ():
            self._group(self._next, program).hold(self._plan(settings, program, self._next))
        self._next.tell_if_done()

    def settle(self, *, adopted: bool) -> None:
        """Let go of the generation that is no longer needed: the old one or the new one. Workers are left alone."""
        if self._next is None:
            return
        leaving, self._current = (self._current, self._next) if adopted else (self._next, self._current)
        self._next, self._current.done = None, None
        leaving.close()

    def launch(self, settings: Settings, program: Program, launch: Launch, *, fresh: bool) -> None:
        """Have a worker made, of the newest generation where it is ``fresh``; one of its outcomes is called.

        Raise RejectedError where it can't run as the settings say.
        """
        generation = self._next if fresh and self._next is not None else self._current
        group = self._group(generation, program)
        if self._forks(settings) and (zygote := group.hold(self._plan(settings, program, generation))) is not None:
            zygote.launch(launch)
        else:
            launch.refused()

    def handed(self) -> tuple[int, tuple[HandedZygote, ...]]:
        """Return the number of the generation in use, and what another one needs to go on with its zygotes."""
        zygotes = (group.zygote for group in self._current.groups.values())
        handed = (zygote.handed() for zygote in zygotes if zygote is not None)
        return self._current.number, tuple(one for one in handed if one is not None)

    def resume(self, generation: int, handed: Iterable[HandedZygote], settings: Settings) -> None:
        """Go on with zygotes of another one; what is missing is started when it is wanted."""
        self._count = generation
        self._current = _Generation(generation)
        programs = {program.name: program for program in settings.programs}
        for one in handed:
            if one.load.name not in programs:
                os.close(one.pipe.descriptor)  # it ends by that
                continue
            plan = replace(self._plan(settings, programs[one.load.name], self._current), load=one.load)
            group = self._group(self._current, programs[one.load.name])
            with suppress(ProcessLookupError):
                group.zygote = Zygote(self._loop, plan, self._reaper, group, self._kills, handed=one)

    def preloads(self, program: str) -> bool:
        """Say whether workers of a program come from a zygote just now."""
        group = self._current.groups.get(program)
        return group is not None and group.zygote is not None

    def close(self) -> None:
        """End all of them."""
        for generation in (self._current, self._next):
            if generation is not None:
                generation.close()

    def _forks(self, settings: Settings) -> bool:
        return settings.supervisor.preload and self._reaper.adopts

    def _group(self, generation: _Generation, program: Program) -> _Group:
        if program.name not in generation.groups:
            generation.groups[program.name] = _Group(generation, program.name, self._start, self._tell)
        return generation.groups[program.name]

    def _start(self, plan: Plan, group: _Group) -> Zygote:
        return Zygote(self._loop, plan, self._reaper, group, self._kills)

    def _plan(self, settings: Settings, program: Program, generation: _Generation) -> Plan:
        isolation = Isolation.of(settings)
        load = Load(
            name=program.name,
            generation=generation.number,
            directory=self._directory,
            program=program.program,
            app=program.app,
            hooks=settings.supervisor.hooks,
            models=tuple(dict.fromkeys(section.model for section in settings.supervisor.sections if section.model)),
            tls=settings.daemon.tls.section,
            log_level=settings.daemon.log_level,
            log_format=settings.daemon.log_format,
            limits=isolation.limits,
        )
        variables = {**environment(os.environ, self._secret()), **isolation.variables}
        return Plan(load, variables, isolation.run_as, settings.supervisor.rollout.start_timeout_seconds)


class _Generation:
    """Hold one generation of code: a group for each program. ``done`` waits until all of it is imported."""

    def __init__(self, number: int, done: Callable[[str], None] | None = None) -> None:
        self.number, self.done = number, done
        self.groups: dict[str, _Group] = {}

    def tell_if_done(self, failure: str = "") -> None:
        """Tell whoever waits that all is imported, or what can't be."""
        if failure or not any(group.loading for group in self.groups.values()):
            done, self.done = self.done, None
            if done is not None:
                done(failure)

    def close(self) -> None:
        """Let go of all of it; nobody is told any more."""
        self.done = None
        for group in self.groups.values():
            group.close()


class _Group:
    """Hold the zygote of one program in one generation, and what is known of those before it."""

    def __init__(
        self,
        generation: _Generation,
        name: str,
        start: Callable[[Plan, _Group], Zygote],
        tell: Callable[[Notice], None],
    ) -> None:
        self._generation, self._name, self._start, self._tell = generation, name, start, tell
        self.zygote: Zygote | None = None
        self._losses, self._off = 0, False

    @property
    def loading(self) -> bool:
        """Say whether the program is being imported."""
        return self.zygote is not None and not self.zygote.loaded

    def hold(self, plan: Plan) -> Zygote | None:
        """Return a zygote for a plan, another one where the plan is another; None where there can be none."""
        before = self.zygote
        if self._off or (before is not None and before.plan.serves(plan)):
            return before
        owed = before.close() if before is not None else []
        self.zygote = None
        try:
            self.zygote = self._start(plan, self)
        except OSError as error:
            self._tell(_preload_off(self._name, f"the system refuses a process ({error.strerror})"))
        self._pass_on(owed)
        return self.zygote

    def close(self) -> None:
        """End the zygote."""
        zygote, self.zygote = self.zygote, None
        for launch in zygote.close() if zygote is not None else ():
            launch.failed("the code that it was to run was let go of")

    def loaded(self, zygote: Zygote) -> None:
        """Take workers from it."""
        del zygote
        self._generation.tell_if_done()

    def forked(self) -> None:
        """Trust it: a worker came from it."""
        self._losses = 0

    def unfit(self, zygote: Zygote, left_behind: tuple[str, ...], owed: list[Launch]) -> None:
        """Exec workers instead, from now on."""
        del zygote
        self._give_up(f"importing it left {', '.join(left_behind)}", owed)
        self._generation.tell_if_done()

    def failed(self, zygote: Zygote, reason: str, owed: list[Launch]) -> None:
        """Tell all who wait why; the next worker has another one started."""
        del zygote
        self.zygote = None
        for launch in owed:
            launch.failed(reason)
        self._generation.tell_if_done(reason)

    def lost(self, zygote: Zygote, status: str, owed: list[Launch]) -> None:
        """Start another one in its place, which makes what this one owed; where that is of no use, exec that."""
        self.zygote = None
        self._losses += 1
        self._tell(_zygote_lost(self._name, status))
        if self._losses < MAX_LOSSES:
            self.hold(zygote.plan)
            self._pass_on(owed)
            self._generation.tell_if_done()
            return
        if zygote.loaded and not owed:
            return
        self._give_up(f"it was lost {self._losses} times in a row", owed)
        self._generation.tell_if_done(f"the process that imports program {self._name} ended: {status}")

    def _pass_on(self, owed: list[Launch]) -> None:
        for launch in owed:
            if self.zygote is None:
                launch.refused()
            else:
                self.zygote.launch(launch)

    def _give_up(self, reason: str, owed: list[Launch]) -> None:
        self.zygote, self._off = None, True
        self._tell(_preload_off(self._name, reason))
        self._pass_on(owed)


def _preload_off(program: str, reason: str) -> Notice:
    text = f"Workers of {program} are started without a zygote, so each imports the program by itself: {reason}."
    return Notice("preload_off", "warning", text, {"program": program, "reason": reason})


def _zygote_lost(program: str, status: str) -> Notice:
    text = f"The zygote of {program} is lost ({status}): its workers go on, and the next ones come from another."
    return Notice("zygote_lost", "warning", text, {"program": program, "status": status})
