"""The slots of the fleet and the processes in them: the facts, and their deadlines.

Decided here: what is known about each process, which of them count, and when a slot gets a new one. Not decided here:
which version they get (``fleet.py``, ``rollout.py``). Facts are frozen values; a change replaces one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nexus_supervisor.core import restarts
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.lifecycle import Fate, Life, Seat, Word, after, seat_after
from nexus_supervisor.core.programs import program_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from nexus_supervisor.core.settings import Settings

__all__ = ["NEVER", "Process", "Roster", "Slot"]

NEVER = float("inf")
KILL_GRACE_SECONDS = 2.0
"""How long after its drain deadline a process is ended by force."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Hold what outlives a process: the name, its program, its number among all slots, and how its processes ended.

    ``deaths`` counts those in a row, ``died`` is when the newest were (the oldest first), ``restarts`` counts every
    process but the first. ``seat`` is its state, and ``failed`` says why it was given up where it was. ``last_exit``
    says how the last process ended, ``start_failed`` whether that was before it served.
    """

    name: str
    number: int
    program: str = ""
    incarnation: int = 0
    deaths: int = 0
    died: tuple[float, ...] = ()
    restarts: int = 0
    retry_at: float | None = None
    seat: Seat = Seat.VACANT
    failed: str = ""
    last_exit: str = ""
    start_failed: bool = False

    @property
    def open(self) -> bool:
        """Say whether it is to have a process."""
        return self.seat not in (Seat.FAILED, Seat.STOPPED)

    @property
    def stopped(self) -> bool:
        """Say whether its process has ended, and its program's restart type wants no other."""
        return self.seat is Seat.STOPPED

    def met(self, fate: Fate) -> Slot:
        """Return it after a word of the table of slots."""
        return replace(self, seat=seat_after(self.seat, fate))


@dataclass(frozen=True, slots=True)
class Process:
    """Hold what is known about one incarnation of a slot.

    ``purpose`` is the serial of the rollout that started it; None: it boots what is committed. ``told`` is the last
    version it was sent, ``staged`` the one it holds ready, ``active`` the one its new requests get. ``digest`` and
    ``previous`` are the contents that it holds. ``ready_by`` is when it has to serve, ``deadline`` when silence ends
    its current step. ``oldest`` is the oldest version that its requests use, which was replaced at ``replaced_at``;
    ``lingering`` counts its retired snapshots that something still refers to, since ``lingering_since``. ``fenced``: it
    is being ended because it was silent, and may still serve what it should not. ``program`` is the group that it
    belongs to, ``started`` when it was started. ``leaving``: it goes on serving until another process of its slot is
    ready, and drains then.
    """

    slot: str
    number: int
    incarnation: int
    ready_by: float
    purpose: int | None = None
    life: Life = Life.STARTING
    pid: int | None = None
    booted: bool = False
    push: int = 0
    told: Version | None = None
    staged: Version | None = None
    activating: bool = False
    active: Version | None = None
    digest: Digest | None = None
    previous: Digest | None = None
    active_since: float | None = None
    ready_since: float | None = None
    oldest: Version | None = None
    replaced_at: float | None = None
    lingering: int = 0
    lingering_since: float | None = None
    deadline: float = NEVER
    fenced: bool = False
    program: str = ""
    started: float = 0.0
    leaving: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Return slot and incarnation."""
        return self.slot, self.incarnation

    @property
    def live(self) -> bool:
        """Say whether it serves or is about to."""
        return self.life in (Life.STARTING, Life.READY)

    @property
    def due(self) -> float:
        """Return when its silence has lasted too long."""
        return min(self.deadline, self.ready_by) if self.life is Life.STARTING else self.deadline

    @property
    def holds(self) -> tuple[Digest, ...]:
        """Return the digests of the contents that it holds."""
        return tuple(digest for digest in (self.digest, self.previous) if digest is not None)

    def activated(self, version: Version, digest: Digest) -> Process:
        """Return it with a version active; what was active before stays for the way back."""
        moved = replace(self, active=version, digest=digest, previous=self.digest)
        return replace(moved, staged=None, activating=False)

    def discarded(self) -> Process:
        """Return it without what it was sent last and does not serve: nothing of that is waited for any more."""
        return replace(self, staged=None, activating=False, told=self.active, deadline=NEVER)


class Roster:
    """Hold all slots and processes."""

    def __init__(self, jitter: Callable[[], float], incarnations: Mapping[str, int]) -> None:
        self._jitter = jitter
        self._incarnations = dict(incarnations)
        self.slots: dict[str, Slot] = {}
        self.processes: dict[tuple[str, int], Process] = {}
        self._pushes = 0

    def resize(self, names: Iterable[str]) -> None:
        """Make exactly these slots; those that go keep their processes until these are gone."""
        self.slots = {name: self._slot(name, number) for number, name in enumerate(names)}

    def _slot(self, name: str, number: int) -> Slot:
        """Return a slot; one that comes back goes on counting where it was."""
        if name in self.slots:
            return replace(self.slots[name], number=number)
        return Slot(name, number, program_of(name), self._incarnations.get(name, 0))

    def add(self, name: str, number: int, now: float, settings: Settings, purpose: int | None) -> Process:
        """Note that a process is being started in a slot; return it."""
        slot = self._slot(name, number)
        again = 1 if slot.last_exit or any(self.of(name)) else 0
        slot = replace(
            slot,
            incarnation=slot.incarnation + 1,
            retry_at=None,
            restarts=slot.restarts + again,
            failed="",
        ).met(Fate.STARTED)
        self.slots[name] = slot
        self._incarnations[name] = slot.incarnation
        ready_by = now + settings.supervisor.rollout.start_timeout_seconds
        process = Process(name, number, slot.incarnation, ready_by, purpose, program=slot.program, started=now)
        self.put(process)
        return process

    def put(self, process: Process) -> None:
        """Replace what is known about a process."""
        self.processes[process.key] = process

    def get(self, slot: str, incarnation: int) -> Process | None:
        """Return a process that is not yet gone."""
        return self.processes.get((slot, incarnation))

    def of(self, slot: str) -> Iterator[Process]:
        """Yield the processes of a slot, the oldest first."""
        return (process for process in list(self.processes.values()) if process.slot == slot)

    def live(self) -> list[Process]:
        """Return the processes that serve or are about to."""
        return [process for process in self.processes.values() if process.live]

    def tell(self, process: Process, version: Version, deadline: float = NEVER) -> Process:
        """Note that a version is being sent to a process, and by when it has to answer."""
        self._pushes += 1
        told = replace(process, push=self._pushes, told=version, staged=None, activating=False, deadline=deadline)
        self.put(told)
        return told

    def word(self, process: Process, word: Word, deadline: float | None = None) -> Process:
        """Apply a word of the lifecycle table; the deadline stays where none is given."""
        until = process.deadline if deadline is None else deadline
        changed = replace(process, life=after(process.life, word), deadline=until)
        self.put(changed)
        return changed

    def gone(
        self,
        process: Process,
        status: str,
        now: float,
        settings: Settings,
        *,
        clean: bool = False,
        spare: bool = True,
    ) -> Slot | None:
        """Forget a process that is gone; return its slot with what comes next, None where the slot is gone, too.

        ``clean``: it ended as one that was told to end. ``spare``: the last slot of a program is not given up. Where
        one that was to replace another is done, so is the slot; where it has failed, it is tried again.
        """
        del self.processes[process.key]
        slot = self.slots.get(process.slot)
        if slot is None:
            return None
        ordered = process.life in (Life.DRAINING, Life.DYING) and not process.fenced
        slot = replace(slot, last_exit=status, start_failed=process.ready_since is None)
        left = [one for one in self.of(slot.name) if one.live]
        over = not ordered and restarts.is_over(restarts.type_of(slot.program, settings), clean=clean)
        if ordered and process.ready_since is not None:
            slot = replace(slot, deaths=0, retry_at=now)
            slot = slot if left else slot.met(Fate.ENDED)
        elif over and any(one.incarnation > process.incarnation for one in left):
            pass  # another one has its place
        elif over and (clean or not left):
            slot = slot.met(Fate.DONE)
        else:
            slot = self._died(slot, process, now, settings)
            slot = slot if left else self._given_up(slot.met(Fate.DIED), settings, now, spare=spare)
        self.slots[slot.name] = slot
        return slot

    def _died(self, slot: Slot, process: Process, now: float, settings: Settings) -> Slot:
        """Return a slot with one death more, and the time of the next try."""
        period = settings.supervisor.restart.period_seconds
        lasted = process.ready_since is not None and now - process.ready_since >= period
        deaths = (0 if lasted else slot.deaths) + 1
        wait = restarts.backoff(deaths, settings, self._jitter())
        died = (*restarts.recent(slot.died, now, settings), now)
        return replace(slot, deaths=deaths, died=died, retry_at=now + wait)

    def _given_up(self, slot: Slot, settings: Settings, now: float, *, spare: bool) -> Slot:
        """Return a slot as failed where it died too often; the last one of a program waits as long as can be instead.

        Where nothing is spared, nothing has ever served, and deaths in a row count however long they took.
        """
        others = [one for one in self.slots.values() if one.program == slot.program and one.name != slot.name]
        spared = spare and not any(one.open for one in others)
        deaths = max(slot.deaths, len(slot.died)) if spared or not spare else len(slot.died)
        if not restarts.too_many(deaths, settings):
            return slot
        if spared:
            return replace(slot, retry_at=now + restarts.MAX_BACKOFF_SECONDS * self._jitter())
        period = settings.supervisor.restart.period_seconds
        within = f"within {period:g} s" if len(slot.died) == deaths else "in a row"
        return replace(slot, failed=f"it died {deaths} times {within}", retry_at=None).met(Fate.TOO_OFTEN)

    def leave(self, process: Process) -> None:
        """Have a process replaced: it goes on serving until another one of its slot is ready."""
        if process.live:
            self.put(replace(process, leaving=True))

    # --- handed over ---------------------------------------------------------------------------------------------

    @property
    def counted(self) -> tuple[dict[str, int], int]:
        """Return the newest incarnation of each slot that there ever was, and how many versions were sent."""
        return dict(self._incarnations), self._pushes

    def resume(
        self, slots: Iterable[Slot], processes: Iterable[Process], incarnations: Mapping[str, int], pushes: int
    ) -> None:
        """Go on with the slots and processes of another roster."""
        self.slots = {slot.name: slot for slot in slots}
        self.processes = {process.key: process for process in processes}
        self._pushes = pushes
        for name, number in incarnations.items():
            self._incarnations[name] = max(number, self._incarnations.get(name, 0))

    def try_again(self, program: str | None = None) -> None:
        """Have slots that were given up tried again: those of a program, or all."""
        for slot in list(self.slots.values()):
            if slot.failed and program in (None, slot.program):
                self.slots[slot.name] = replace(slot, failed="", deaths=0, died=(), retry_at=None).met(Fate.AGAIN)

    def hasten(self) -> None:
        """Have slots tried at once that wait for their next process."""
        for slot in list(self.slots.values()):
            if slot.retry_at is not None:
                self.slots[slot.name] = replace(slot, retry_at=None)

    def empty(self, now: float, *, relieved: bool = True) -> list[Slot]:
        """Return the slots that need a process and whose time to try has come; it doesn't have to come again.

        ``relieved``: a slot whose process leaves is one of them.
        """
        for slot in self.slots.values():
            if slot.retry_at is not None and slot.retry_at <= now:
                self.slots[slot.name] = replace(slot, retry_at=None)
        taken = self._taken(relieved=relieved)
        return [one for one in self.slots.values() if one.open and one.name not in taken and one.retry_at is None]

    def _taken(self, *, relieved: bool = True) -> set[str]:
        """Return the names of slots that need no new process: one that only drains leaves its slot free."""
        return {
            process.slot
            for process in self.processes.values()
            if (process.live and not (process.leaving and relieved)) or process.life is Life.DYING
        }

    def fenced(self) -> bool:
        """Say whether a process that was cut off for its silence is not gone yet."""
        return any(process.fenced for process in self.processes.values())

    def overdue(self, now: float) -> list[Process]:
        """Return the processes whose deadline has passed."""
        return [process for process in self.processes.values() if process.due <= now]

    def deadline(self) -> float | None:
        """Return the earliest time at which a process has been silent too long."""
        return min((process.due for process in self.processes.values() if process.due != NEVER), default=None)

    def retry(self) -> float | None:
        """Return the earliest time at which an empty slot gets its next try."""
        taken = self._taken()
        waiting = (one for one in self.slots.values() if one.open and one.name not in taken)
        return min((one.retry_at for one in waiting if one.retry_at is not None), default=None)
