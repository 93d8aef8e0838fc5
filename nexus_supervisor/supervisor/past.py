"""The history of a directory, as somebody reads it who is not the supervisor.

Decided here: that it is read without the lock, while a supervisor may be writing, and that a damaged end hides nothing
before it. Not decided here: what the records add up to (``core/ledger.py``) and whether they are genuine
(``verify.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nexus_supervisor.core import chain
from nexus_supervisor.core.ledger import Ledger
from nexus_supervisor.core.past import Past
from nexus_supervisor.core.records import Answered
from nexus_supervisor.errors import DirectoryError
from nexus_supervisor.supervisor import durable, journal

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["Recollection", "read_past"]

_STATE: Final = "state"
_MAX_KEPT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Recollection:
    """Hold what a journal remembers, oldest first.

    ``versions`` is what became of each version, ``answered`` how requests ended. ``committed`` is the newest committed
    version, None before the first; ``damage`` says where the journal can't be followed any more, or is empty.
    """

    versions: tuple[Past, ...] = ()
    answered: tuple[Answered, ...] = ()
    committed: int | None = None
    pinned: str | None = None
    damage: str = ""


def read_past(directory: Path) -> Recollection:
    """Return what the journal of a directory remembers, nothing where there is none; raise DirectoryError."""
    try:
        with durable.directory(directory / _STATE) as state:
            raw = durable.read(state, journal.FILE, journal.MAX_BYTES)
    except FileNotFoundError:
        if directory.is_dir():
            return Recollection()
        message = f"{directory} is not a directory: name the one that the supervisor runs on"
        raise DirectoryError(message) from None
    except OSError as error:
        message = f"{directory / _STATE / journal.FILE} can't be read ({error.strerror}): see who owns it"
        raise DirectoryError(message) from error
    scan = chain.scan(raw)
    ledger = Ledger(scan.records, _MAX_KEPT)
    damage = "" if scan.damage in ("", chain.INCOMPLETE) else scan.damage
    committed = ledger.committed[-1] if ledger.committed else None
    return Recollection(ledger.history, tuple(ledger.answered.values()), committed, ledger.pinned, damage)
