"""The table of workers: pure, from the document that ``status --json`` shows to rows of cells.

Decided here: which columns there are, in which words, in which order workers stand, and what is a note to them. Not
decided here: who shows it (``render.py``). The narrow table fits 80 columns as long as names and numbers are of
ordinary length. A column that a supervisor of another version knows nothing of is left out of the wide one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nexus_supervisor.cli.page import Cell, Page
from nexus_supervisor.cli.words import UNKNOWN, age, duration, items, short_age, size, text_of

__all__ = ["LIVE", "NARROW", "TONES", "WIDE", "word", "worker_table"]

SHOWN_DIGEST = 12

TONES = {
    "ok": "good",
    "ready": "good",
    "on": "good",
    "own-uid": "good",
    "rolling": "warn",
    "starting": "warn",
    "draining": "warn",
    "backoff": "warn",
    "degraded": "warn",
    "off": "warn",
    "failed": "bad",
}

NARROW = ("SLOT", "PID", "INC", "STATE", "VERSION", "AGE", "REQUESTS", "ERRORS", "RSS")
_MEASURED = ("UP", "REQ/S", "ERR/S", "P99", "CPU", "PSS", "RESTARTS")
WIDE = (*NARROW, *_MEASURED, "DIGEST", "SERVED", "OLDEST", "LAST EXIT")
LIVE = (
    "SLOT",
    "PID",
    "INC",
    "STATE",
    "VERSION",
    *_MEASURED[:5],
    "RSS",
    *_MEASURED[5:],
    "ERRORS",
    "OLDEST",
    "LAST EXIT",
)

_KNOWN_BY = {
    "UP": "age_seconds",
    "REQ/S": "requests_per_second",
    "ERR/S": "errors_per_second",
    "P99": "p99_ms",
    "CPU": "cpu_percent",
    "PSS": "pss_bytes",
    "RESTARTS": "restarts",
}
_NUMBER = re.compile(r"-([0-9]{1,9})\Z", re.ASCII)


def worker_table(
    status: Mapping[str, Any], now: float, wanted: tuple[str, ...], facts: tuple[tuple[str, Cell], ...] = ()
) -> Page:
    """Return a page with the columns that are wanted, as far as there is anything in them, below some facts."""
    workers = sorted((one for one in items(status.get("workers")) if isinstance(one, Mapping)), key=_place)
    columns = [column for column in wanted if _is_shown(column, workers)]
    if "OLDEST" not in columns and any(map(_uses_older, workers)):
        columns.append("OLDEST")
    rows = tuple(tuple(_row(worker, now)[column] for column in columns) for worker in workers)
    notes = [_waits(worker) for worker in workers if worker.get("last_exit") and not _runs(worker)]
    notes += [_lingering(worker) for worker in workers if worker.get("lingering_snapshots")]
    return Page(facts, tuple(columns), rows, tuple(notes))


def word(value: object) -> Cell:
    """Return a word of the status in its tone."""
    text = text_of(value)
    return Cell(text, TONES.get(text, ""))


def _is_shown(column: str, workers: list[Mapping[str, Any]]) -> bool:
    match column:
        case "DIGEST" | "SERVED":
            return any(worker.get("digest") for worker in workers)
        case "OLDEST":
            return any(map(_uses_older, workers))
        case "LAST EXIT":
            return any(worker.get("last_exit") and _runs(worker) for worker in workers)
        case _:
            return column not in _KNOWN_BY or any(_KNOWN_BY[column] in worker for worker in workers)


def _runs(worker: Mapping[str, Any]) -> bool:
    """Say whether there is a process."""
    return isinstance(worker.get("pid"), int)


def _place(worker: Mapping[str, Any]) -> tuple[str, int, str, int]:
    """Return where a worker stands: by program and the number of its slot, so that gateway-10 follows gateway-9."""
    slot, incarnation = str(worker.get("slot")), worker.get("incarnation")
    numbered = _NUMBER.search(slot)
    number = int(numbered[1]) if numbered else -1
    return _NUMBER.sub("", slot), number, slot, incarnation if isinstance(incarnation, int) else 0


def _row(worker: Mapping[str, Any], now: float) -> dict[str, Cell]:
    """Return the cells of a worker by column."""
    errors = worker.get("errors")
    return {
        "SLOT": Cell(text_of(worker.get("slot"))),
        "PID": Cell(text_of(worker.get("pid"))),
        "INC": Cell(text_of(worker.get("incarnation"))),
        "STATE": word(worker.get("state")),
        "VERSION": Cell(text_of(worker.get("version"))),
        "AGE": Cell(age(worker.get("active_since"), now)),
        "REQUESTS": Cell(text_of(worker.get("requests"))),
        "ERRORS": Cell(text_of(errors), "bad" if errors else ""),
        "RSS": Cell(size(worker.get("rss_bytes"))),
        "UP": Cell(short_age(worker.get("age_seconds")) or UNKNOWN),
        "REQ/S": Cell(_figure(worker.get("requests_per_second"))),
        "ERR/S": Cell(_figure(worker.get("errors_per_second")), "bad" if worker.get("errors_per_second") else ""),
        "P99": Cell(_figure(worker.get("p99_ms"), " ms")),
        "CPU": Cell(_figure(worker.get("cpu_percent"), "%")),
        "PSS": Cell(size(worker.get("pss_bytes"))),
        "RESTARTS": Cell(text_of(worker.get("restarts"))),
        "DIGEST": Cell(text_of(worker.get("digest"))[:SHOWN_DIGEST]),
        "SERVED": Cell(text_of(worker.get("version_requests"))),
        "OLDEST": _oldest(worker),
        "LAST EXIT": Cell(text_of(worker.get("last_exit") or None)),
    }


def _figure(number: object, unit: str = "") -> str:
    """Return a figure with one digit after its point."""
    return f"{number:.1f}{unit}" if isinstance(number, (int, float)) else UNKNOWN


def _oldest(worker: Mapping[str, Any]) -> Cell:
    """Show the oldest version in use, and where a newer one took its place, how long ago."""
    version, since = text_of(worker.get("oldest_snapshot")), short_age(worker.get("oldest_snapshot_seconds"))
    if not _uses_older(worker):
        return Cell(version)
    return Cell(version if since is None else f"{version} ({since})", "warn")


def _uses_older(worker: Mapping[str, Any]) -> bool:
    """Say whether a request of a worker still uses an older version than its new requests get."""
    return worker.get("oldest_snapshot") not in (None, worker.get("version"))


def _waits(worker: Mapping[str, Any]) -> Cell:
    """Say why a slot has no process, and how the last one ended."""
    slot, ended = text_of(worker.get("slot")), text_of(worker.get("last_exit"))
    if worker.get("state") == "failed":
        why = text_of(worker.get("given_up"))
        return Cell(f"{slot} was given up, for {why}; how the last process ended: {ended}", "bad")
    if worker.get("state") == "stopped":
        return Cell(f"{slot} has ended, and its program is not started again; how it ended: {ended}")
    return Cell(f"{slot} has no process and waits for its next start; how the last one ended: {ended}", "warn")


def _lingering(worker: Mapping[str, Any]) -> Cell:
    slot, count = text_of(worker.get("slot")), text_of(worker.get("lingering_snapshots"))
    what, so_long = "snapshot" if count == "1" else "snapshots", duration(worker.get("lingering_seconds"))
    return Cell(f"{slot} still refers to {count} retired {what}, the first for {so_long}: its log names them", "warn")
