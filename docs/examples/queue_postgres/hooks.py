"""The connections to the queue: made before a version is used, closed when nothing uses them any more.

A version whose database can't be reached is refused, and the jobs go on with the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mail_queue import Queue

if TYPE_CHECKING:
    from nexus_supervisor import Snapshot


@dataclass
class Shared:
    """One queue, and how many snapshots use it."""

    queue: Queue
    users: int = 0


def prepare(snapshot: Snapshot, before: Snapshot | None) -> Shared:
    """Give the snapshot the queue of the one before, or where the database is another one, its own."""
    database = snapshot.database["main"]
    if before is not None and before.database["main"] == database:
        shared: Shared = before.derived
    else:
        shared = Shared(Queue(database.dsn.reveal(), database.connect_seconds))
        shared.queue.open()
    shared.users += 1
    return shared


def retired(old: Snapshot) -> None:
    """Close the queue with the last snapshot that uses it."""
    old.derived.users -= 1
    if old.derived.users == 0:
        old.derived.queue.close()
