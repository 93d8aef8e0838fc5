"""The life of one worker process, as a table.

Decided here: which state follows from which word, for every pair. Not decided here: deadlines and what is sent
(``roster.py``, ``fleet.py``). A slot is a stable name; a process is one incarnation of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TABLE", "Life", "Word", "after"]


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
