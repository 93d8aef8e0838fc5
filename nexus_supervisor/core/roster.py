"""The slots of the fleet and the processes in them: the facts, and their deadlines.

Decided here: what is known about each process, which of them count, and when a slot gets a new one. Not decided here:
which version they get (``fleet.py``, ``rollout.py``). Facts are frozen values; a change replaces one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nexus_supervisor.core import restarts
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.lifecycle import Life, Word, after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nexus_supervisor.core.settings import Settings

__all__ = ["NEVER", "Process", "Roster", "Slot"]

NEVER = float("inf")
KILL_GRACE_SECONDS = 2.0
"""How long after its drain deadline a process is ended by force."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Hold what outlives a process: the name, the number, and the deaths in a row."""

    name: str
    number: int
    incarnation: int = 0
    deaths: int = 0
    retry_at: float | None = None
    last_exit: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """Hold what is known about one incarnation of a slot.

    ``purpose`` is the serial of the rollout that started it; None: it boots what is committed. ``told`` is the last
    version it was sent, ``staged`` the one it holds ready, ``active`` the one its new requests get. ``digest`` and
    ``previous`` are the contents that it holds. ``ready_by`` is when it has to serve, ``deadline`` when silence ends
    its current step. ``oldest`` is the oldest version that its requests use, which was replaced at ``replaced_at``;
    ``lingering`` counts its retired snapshots that something still refers to, since ``lingering_since``. ``fenced``: it
    is being ended because it was silent, and may still serve what it should not.
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

    def resize(self, names: list[str]) -> None:
        """Make exactly these slots; those that go keep their processes until these are gone."""
        self.slots = {name: self._slot(name, number) for number, name in enumerate(names)}

    def _slot(self, name: str, number: int) -> Slot:
        """Return a slot; one that comes back goes on counting where it was."""
        return self.slots.get(name) or Slot(name, number, self._incarnations.get(name, 0))

    def add(self, name: str, number: int, now: float, settings: Settings, purpose: int | None) -> Process:
        """Note that a process is being started in a slot; return it."""
        slot = self._slot(name, number)
        slot = replace(slot, incarnation=slot.incarnation + 1, retry_at=None)
        self.slots[name] = slot
        self._incarnations[name] = slot.incarnation
        ready_by = now + settings.supervisor.rollout.start_timeout_seconds
        process = Process(name, number, slot.incarnation, ready_by, purpose)
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

    def gone(self, process: Process, status: str, now: float, settings: Settings) -> Slot | None:
        """Forget a process that is gone; return its slot with the time of the next try, None where the slot is."""
        del self.processes[process.key]
        slot = self.slots.get(process.slot)
        if slot is None:
            return None
        steady = settings.supervisor.restart.period_seconds
        lasted = process.ready_since is not None and now - process.ready_since >= steady
        wanted = process.life in (Life.DRAINING, Life.DYING) and process.ready_since is not None
        deaths = 0 if wanted else (0 if lasted else slot.deaths) + 1
        wait = restarts.backoff(deaths, settings, self._jitter())
        slot = replace(slot, deaths=deaths, retry_at=now + wait, last_exit=status)
        self.slots[slot.name] = slot
        return slot

    def empty(self, now: float) -> list[Slot]:
        """Return the slots that have no process and whose time to try has come; it doesn't have to come again."""
        for slot in self.slots.values():
            if slot.retry_at is not None and slot.retry_at <= now:
                self.slots[slot.name] = replace(slot, retry_at=None)
        taken = self._taken()
        return [slot for slot in self.slots.values() if slot.name not in taken and slot.retry_at is None]

    def _taken(self) -> set[str]:
        """Return the names of slots that need no new process: one that only drains leaves its slot free."""
        return {process.slot for process in self.processes.values() if process.live or process.life is Life.DYING}

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
        times = (slot.retry_at for slot in self.slots.values() if slot.retry_at is not None and slot.name not in taken)
        return min(times, default=None)
