"""Draw docs/states.md from the tables of the core: ``python docs/draw_tables.py`` writes the file.

With ``--print`` the text goes to standard output instead; a test compares that with the file. A state, word, phase,
step or kind without a sentence here ends the script with a KeyError, so none is forgotten.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nexus_supervisor.core import lifecycle, rollout
from nexus_supervisor.core.lifecycle import Fate, Life, Seat, Word
from nexus_supervisor.core.rollout import Phase, Step
from nexus_supervisor.core.waves import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Row = TypeVar("Row", bound=StrEnum)
Column = TypeVar("Column", bound=StrEnum)

PLACE = Path(__file__).parent / "states.md"
HEAD = """# States

What one worker process, one slot and one version go through. The tables are those that the code decides by; this page
is drawn from them by `docs/draw_tables.py`.
"""
LIVES = {
    Life.STARTING: "started, and not serving yet",
    Life.READY: "serves",
    Life.DRAINING: "takes no new requests, finishes those in hand",
    Life.DYING: "was ended by force, its exit is not reported yet",
    Life.STOPPED: "gone",
}
WORDS = {
    Word.SERVES: "it says that it serves",
    Word.DRAIN: "it is told to finish and go",
    Word.KILL: "it is ended by force",
    Word.EXITED: "its exit is reported",
}
SEATS = {
    Seat.VACANT: "has no process, and gets one at once",
    Seat.TAKEN: "has a process",
    Seat.BACKOFF: "its process died; it gets another one after a pause, which may be none",
    Seat.FAILED: "is given up: its processes died too often",
    Seat.STOPPED: "stays empty: its process has ended, and its program's restart type wants no other",
}
FATES = {
    Fate.STARTED: "a process is started in it",
    Fate.ENDED: "its process has ended as it was told to",
    Fate.DIED: "its process has ended by itself, or never served",
    Fate.TOO_OFTEN: "that was one death more than `restart.max_restarts` allow",
    Fate.DONE: "its process has ended, and its program's restart type wants no other",
    Fate.AGAIN: "what was given up is tried again: after a commit, by `restart`, by `scale`",
}
PHASES = {
    Phase.RECORDING: "it is signed, and its journal record is made durable",
    Phase.PREPARING: "a restart has its code imported and its new addresses bound, beside what runs",
    Phase.TRIAL: "a worker without traffic tries it",
    Phase.STAGING: "every worker verifies and builds it, the canary first; requests see nothing of it",
    Phase.CANARY: "the canary switches to it, or is replaced",
    Phase.BAKE: "the canary is compared with the others",
    Phase.WAVE: "the others switch to it, or are replaced, a group at a time",
    Phase.COMMITTING: "every worker uses it, and the commit record is made durable",
    Phase.COMMITTED: "it is what runs",
    Phase.REJECTED: "no worker used it; nothing has changed",
    Phase.ROLLED_BACK: "it failed after a worker may have used it; the content before goes out under a new number",
}
STEPS = {
    Step.RECORDED: "the journal record is durable",
    Step.PREPARED: "it is imported and its addresses are bound, or there is nothing to prepare",
    Step.TRIED: "it has passed its trial, or goes without one",
    Step.ALL_STAGED: "every worker that is moved in place holds it ready",
    Step.CANARY_ACTIVE: "the canary uses it, or nobody goes first",
    Step.CANARY_GONE: "those that have it are no more, and none was lost: somebody asked for fewer workers",
    Step.BAKED: "it may go on: the gates have said so, somebody promoted it, or it isn't watched",
    Step.ALL_ACTIVE: "every worker uses it",
    Step.COMMIT_RECORDED: "the commit record is durable",
    Step.COMMIT_FAILED: "the commit record could not be written; what is live stays live, and a notice says so",
    Step.FAILED: "it was refused or found worse, workers were lost on it, a deadline has passed, or it was aborted",
}
KINDS = {
    Kind.BOOT: "the directory as a start finds it: one worker first, then all",
    Kind.PUSH: "a change of what is live; every worker is moved in place",
    Kind.REVOCATION: "what has vanished is withdrawn, whatever else is the case",
    Kind.RESTART: "every worker is replaced, and what was held is applied",
    Kind.ROLLBACK: "the content before, after a version failed on its way",
    Kind.RETURN: "an older content, by the command `rollback`, or by itself after a committed version failed",
}


def draw() -> str:
    """Return the text of docs/states.md."""
    return "\n".join([HEAD, *_life_part(), *_rollout_part()])


def _life_part() -> Iterator[str]:
    yield "## One worker process\n"
    yield "A slot is a stable name such as `gateway-0`. A process is one incarnation of it; this is its life.\n"
    yield from _diagram((before, word, after) for before, row in lifecycle.TABLE.items() for word, after in row.items())
    yield from _meanings("state", LIVES, Life)
    yield from _meanings("word", WORDS, Word)
    yield "What follows from which word; a dash changes nothing:\n"
    pairs = {(life, word): after for life, row in lifecycle.TABLE.items() for word, after in row.items()}
    yield from _grid(list(Life), list(Word), pairs)
    yield "## One slot\n"
    yield "What a slot goes through while one process after the other is in it.\n"
    yield from _diagram((before, word, after) for before, row in lifecycle.SLOTS.items() for word, after in row.items())
    yield from _meanings("state", SEATS, Seat)
    yield from _meanings("word", FATES, Fate)
    yield "What follows from which word; a dash changes nothing:\n"
    seats = {(seat, fate): after for seat, row in lifecycle.SLOTS.items() for fate, after in row.items()}
    yield from _grid(list(Seat), list(Fate), seats)


def _rollout_part() -> Iterator[str]:
    yield "## One version\n"
    yield "From the moment a content gets a number until every worker uses it, or none does.\n"
    yield "A phase that a kind or a setting leaves out is passed at once; [rollouts](rollouts.md) says which do.\n"
    yield from _diagram((before, step, after) for (before, step), after in rollout.TABLE.items())
    yield from _meanings("phase", PHASES, Phase)
    yield from _meanings("step", STEPS, Step)
    yield "What follows from which step; a dash changes nothing:\n"
    yield from _grid(list(Phase), list(Step), rollout.TABLE)
    yield "Why a version is on its way:\n"
    yield from _meanings("kind", KINDS, Kind)


def _diagram(edges: Iterable[tuple[Row, Column, Row]]) -> Iterator[str]:
    yield "```mermaid\nstateDiagram-v2"
    yield from (f"    {before} --> {after}: {word}" for before, word, after in edges if before is not after)
    yield "```\n"


def _meanings(noun: str, meanings: Mapping[Row, str], words: Iterable[Row]) -> Iterator[str]:
    yield f"| {noun} | means |\n|---|---|"
    yield from (f"| `{word}` | {meanings[word]} |" for word in words)
    yield ""


def _grid(rows: list[Row], columns: list[Column], cells: Mapping[tuple[Row, Column], Row]) -> Iterator[str]:
    yield f"| | {' | '.join(f'`{column}`' for column in columns)} |\n|---|{'---|' * len(columns)}"
    for row in rows:
        found = (cells.get((row, column), row) for column in columns)
        yield f"| `{row}` | {' | '.join('-' if one is row else f'`{one}`' for one in found)} |"
    yield ""


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        print(draw(), end="")
    else:
        PLACE.write_text(draw(), encoding="utf-8")
