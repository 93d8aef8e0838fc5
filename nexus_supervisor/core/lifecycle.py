"""The lives of worker processes and of the slots that they are in, as two tables.

Decided here: which state follows from which word, for every pair. Not decided here: deadlines and what is sent
(``roster.py``, ``fleet.py``), and how many deaths are too many (``restarts.py``). A slot is a stable name; a process is
one incarnation of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SLOTS", "TABLE", "Fate", "Life", "Seat", "Word", "after", "seat_after"]


class Life(StrEnum):
    """The states of one process."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DYING = "dying"
    STOPPED = "stopped"


class Word(StrEnum):
    """What can happen to a process, or be decided about it."""

    SERVES = "serves"
    DRAIN = "drain"
    KILL = "kill"
    EXITED = "exited"


TABLE: Mapping[Life, Mapping[Word, Life]] = {
    Life.STARTING: {
        Word.SERVES: Life.READY,
        Word.DRAIN: Life.DRAINING,
        Word.KILL: Life.DYING,
        Word.EXITED: Life.STOPPED,
    },
    Life.READY: {
        Word.SERVES: Life.READY,
        Word.DRAIN: Life.DRAINING,
        Word.KILL: Life.DYING,
        Word.EXITED: Life.STOPPED,
    },
    Life.DRAINING: {
        Word.SERVES: Life.DRAINING,
        Word.DRAIN: Life.DRAINING,
        Word.KILL: Life.DYING,
        Word.EXITED: Life.STOPPED,
    },
    Life.DYING: {
        Word.SERVES: Life.DYING,
        Word.DRAIN: Life.DYING,
        Word.KILL: Life.DYING,
        Word.EXITED: Life.STOPPED,
    },
    Life.STOPPED: {
        Word.SERVES: Life.STOPPED,
        Word.DRAIN: Life.STOPPED,
        Word.KILL: Life.STOPPED,
        Word.EXITED: Life.STOPPED,
    },
}


def after(life: Life, word: Word) -> Life:
    """Return the state that follows; every pair is listed."""
    return TABLE[life][word]


class Seat(StrEnum):
    """The states of one slot."""

    VACANT = "vacant"
    TAKEN = "taken"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"


class Fate(StrEnum):
    """What can happen to a slot, or be decided about it."""

    STARTED = "started"
    ENDED = "ended"
    DIED = "died"
    TOO_OFTEN = "too_often"
    DONE = "done"
    AGAIN = "again"


SLOTS: Mapping[Seat, Mapping[Fate, Seat]] = {
    Seat.VACANT: {
        Fate.STARTED: Seat.TAKEN,
        Fate.ENDED: Seat.VACANT,
        Fate.DIED: Seat.BACKOFF,
        Fate.TOO_OFTEN: Seat.FAILED,
        Fate.DONE: Seat.STOPPED,
        Fate.AGAIN: Seat.VACANT,
    },
    Seat.TAKEN: {
        Fate.STARTED: Seat.TAKEN,
        Fate.ENDED: Seat.VACANT,
        Fate.DIED: Seat.BACKOFF,
        Fate.TOO_OFTEN: Seat.FAILED,
        Fate.DONE: Seat.STOPPED,
        Fate.AGAIN: Seat.TAKEN,
    },
    Seat.BACKOFF: {
        Fate.STARTED: Seat.TAKEN,
        Fate.ENDED: Seat.BACKOFF,
        Fate.DIED: Seat.BACKOFF,
        Fate.TOO_OFTEN: Seat.FAILED,
        Fate.DONE: Seat.STOPPED,
        Fate.AGAIN: Seat.BACKOFF,
    },
    Seat.FAILED: {
        Fate.STARTED: Seat.TAKEN,
        Fate.ENDED: Seat.FAILED,
        Fate.DIED: Seat.FAILED,
        Fate.TOO_OFTEN: Seat.FAILED,
        Fate.DONE: Seat.STOPPED,
        Fate.AGAIN: Seat.VACANT,
    },
    Seat.STOPPED: {
        Fate.STARTED: Seat.TAKEN,
        Fate.ENDED: Seat.STOPPED,
        Fate.DIED: Seat.STOPPED,
        Fate.TOO_OFTEN: Seat.STOPPED,
        Fate.DONE: Seat.STOPPED,
        Fate.AGAIN: Seat.STOPPED,
    },
}


def seat_after(seat: Seat, fate: Fate) -> Seat:
    """Return the state of a slot that follows; every pair is listed."""
    return SLOTS[seat][fate]
