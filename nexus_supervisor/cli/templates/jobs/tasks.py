"""A job that writes a line into data/jobs.log, again and again, as knobs/main.toml says at this moment."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from nexus_supervisor import current

DATA = Path(__file__).parent / "data"


def handle() -> float:
    """Do one job; return after how many seconds the next one is wanted.

    True would mean at once, False or None that there was nothing to do. What is read from the snapshot stays the same
    until the job ends, whatever is saved meanwhile.
    """
    snapshot = current()
    knobs = snapshot.knobs["main"]
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    with (DATA / knobs.log_file).open("a", encoding="utf-8") as log:
        log.write(f"{moment} version {snapshot.version}: {knobs.text}\n")
    pause: float = knobs.every_seconds
    return pause
