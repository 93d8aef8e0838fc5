"""The status as text: pure, from the document that ``status --json`` shows to lines and cells.

Decided here: which facts are shown, in which words, order and columns. Not decided here: colors and where it goes
(``terminal.py``), and what the facts are (the supervisor). A fact that a supervisor of another version leaves out is
shown as a dash, never as an error. Tables fit 80 columns as long as names and numbers are of ordinary length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nexus_supervisor.cli.escape import escaped

__all__ = ["Cell", "Page", "aligned", "duration", "moment", "plain", "status_page", "workers_page"]

SHOWN_ERRORS = 10
SHOWN_SECURITY = 3
UNKNOWN = "-"

_GAP = "  "
_TONES = {
    "ok": "good",
    "ready": "good",
    "on": "good",
    "rolling": "warn",
    "starting": "warn",
    "draining": "warn",
    "backoff": "warn",
    "degraded": "warn",
    "off": "warn",
    "failed": "bad",
}
_COLUMNS = ("SLOT", "PID", "INC", "STATE", "VERSION", "AGE", "REQUESTS", "ERRORS", "RSS")
_OLDEST = "OLDEST"
_LEFT = frozenset({"SLOT", "STATE"})
_SPANS = (86_400, "d", "d"), (3600, "h", "h"), (60, "min", "m"), (1, "s", "s")
_NUMBER = re.compile(r"-([0-9]{1,9})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cell:
    """Hold a piece of safe text and its tone: ``good``, ``warn``, ``bad`` or none."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Hold what is shown: labelled facts, then one table, then notes to it."""

    facts: tuple[tuple[str, Cell], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[Cell, ...] = ()


def status_page(status: Mapping[str, Any], now: float, invocation: Callable[[str], str]) -> Page:
    """Return the page of a status; ``now`` is unix time in seconds.

    ``invocation`` returns the command line that runs a command on the same directory.
    """
    facts = (
        ("version", Cell(f"{_text(status.get('version'))} ({_short(status.get('digest'))})")),
        ("state", _word(status.get("state"))),
        *_security(status.get("security"), now),
        ("daemon", Cell(_daemon(status))),
        ("listening", Cell(_names(status.get("addresses")))),
        ("uptime", Cell(duration(status.get("uptime_seconds")))),
        ("signing", _word(status.get("signing"))),
        ("isolation", Cell(_text(status.get("isolation")))),
        ("rollout", _rollout(status.get("rollout"))),
        ("pending restart", _pending(status.get("pending_restart"), now, invocation)),
        ("drift", _drift(status.get("drift"), now)),
        *_rejection(status.get("last_rejection"), status.get("drift"), now),
        ("watch", _watch(status.get("watch"))),
        ("not used yet", Cell(_names(status.get("settings_unread")))),
    )
    return _with_workers(facts, status, now)


def workers_page(status: Mapping[str, Any], now: float) -> Page:
    """Return the page of the workers alone."""
    return _with_workers((), status, now)


def plain(page: Page) -> str:
    """Return a page as aligned plain text."""
    width = max((len(label) for label, _ in page.facts), default=0)
    parts = [
        [f"{label:<{width}}{_GAP}{cell.text}" for label, cell in page.facts],
        [_GAP.join(cell.text for cell in row) for row in aligned(page)],
        [note.text for note in page.notes],
    ]
    return "\n".join("".join(f"{line.rstrip()}\n" for line in part) for part in parts if part)


def aligned(page: Page) -> list[tuple[Cell, ...]]:
    """Return the table with its head, each cell as wide as its column."""
    table = [tuple(Cell(column) for column in page.columns), *page.rows]
    widths = [max(len(row[index].text) for row in table) for index in range(len(page.columns))]
    return [
        tuple(
            Cell(cell.text.ljust(width) if column in _LEFT else cell.text.rjust(width), cell.tone)
            for cell, width, column in zip(row, widths, page.columns, strict=True)
        )
        for row in table
    ]


def duration(seconds: object) -> str:
    """Return a number of seconds in the two largest units that apply."""
    parts = _parts(seconds)
    return UNKNOWN if parts is None else " ".join(f"{number} {unit}" for number, unit, _ in parts)


def moment(at: object) -> str:
    """Return unix time in seconds as UTC text."""
    if not isinstance(at, (int, float)):
        return _text(at)
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- the table -------------------------------------------------------------------------------------------------------


def _with_workers(facts: tuple[tuple[str, Cell], ...], status: Mapping[str, Any], now: float) -> Page:
    workers = sorted((one for one in _list(status.get("workers")) if isinstance(one, Mapping)), key=_place)
    columns = (*_COLUMNS, _OLDEST) if any(map(_uses_older, workers)) else _COLUMNS
    rows = tuple(_row(worker, now)[: len(columns)] for worker in workers)
    notes = [_last_exit(worker) for worker in workers if worker.get("last_exit")]
    notes += [_lingering(worker) for worker in workers if worker.get("lingering_snapshots")]
    return Page(facts, columns, rows, tuple(notes))


def _place(worker: Mapping[str, Any]) -> tuple[int, str, int]:
    """Return where a worker stands in the table: by the number of its slot, so that gateway-10 follows gateway-9."""
    slot, incarnation = str(worker.get("slot")), worker.get("incarnation")
    numbered = _NUMBER.search(slot)
    return int(numbered[1]) if numbered else -1, slot, incarnation if isinstance(incarnation, int) else 0


def _row(worker: Mapping[str, Any], now: float) -> tuple[Cell, ...]:
    errors = worker.get("errors")
    return (
        Cell(_text(worker.get("slot"))),
        Cell(_text(worker.get("pid"))),
        Cell(_text(worker.get("incarnation"))),
        _word(worker.get("state")),
        Cell(_text(worker.get("version"))),
        Cell(_age(worker.get("active_since"), now)),
        Cell(_text(worker.get("requests"))),
        Cell(_text(errors), "bad" if errors else ""),
        Cell(_size(worker.get("rss_bytes"))),
        _oldest(worker),
    )


def _oldest(worker: Mapping[str, Any]) -> Cell:
    """Show the oldest version in use, and where a newer one took its place, how long ago."""
    version, parts = _text(worker.get("oldest_snapshot")), _parts(worker.get("oldest_snapshot_seconds"))
    if not _uses_older(worker):
        return Cell(version)
    return Cell(version if parts is None else f"{version} ({_short_span(parts[:1])})", "warn")


def _uses_older(worker: Mapping[str, Any]) -> bool:
    """Say whether a request of a worker still uses an older version than its new requests get."""
    return worker.get("oldest_snapshot") not in (None, worker.get("version"))


def _last_exit(worker: Mapping[str, Any]) -> Cell:
    slot, ended = _text(worker.get("slot")), _text(worker.get("last_exit"))
    return Cell(f"{slot} has no process and waits for its next start; how the last one ended: {ended}", "warn")


def _lingering(worker: Mapping[str, Any]) -> Cell:
    slot, count = _text(worker.get("slot")), _text(worker.get("lingering_snapshots"))
    what, span = "snapshot" if count == "1" else "snapshots", duration(worker.get("lingering_seconds"))
    return Cell(f"{slot} still refers to {count} retired {what}, the first for {span}: its log names them", "warn")


# --- the facts -------------------------------------------------------------------------------------------------------


def _daemon(status: Mapping[str, Any]) -> str:
    name, program, pid = (_text(status.get(key)) for key in ("name", "program", "pid"))
    return f"{name}, program {program}, pid {pid}"


def _rollout(rollout: object) -> Cell:
    if not isinstance(rollout, Mapping):
        return Cell("none")
    why = ": ".join(_text(rollout[key]) for key in ("kind", "reason") if rollout.get(key))
    shown = f"version {_text(rollout.get('version'))}, {_text(rollout.get('phase'))}"
    return Cell(f"{shown} ({why})" if why else shown, "warn")


def _security(notices: object, now: float) -> list[tuple[str, Cell]]:
    """Show that there are security notices, and the newest of them; nothing where there are none."""
    found = sorted((one for one in _list(notices) if isinstance(one, Mapping)), key=_when, reverse=True)
    if not found:
        return []
    head = "1 notice:" if len(found) == 1 else f"{len(found)} notices, the newest:"
    lines = [_security_line(one, now) for one in found[:SHOWN_SECURITY]]
    if len(found) > SHOWN_SECURITY:
        lines.append(f"and {len(found) - SHOWN_SECURITY} older: see --json")
    return [("security", Cell(f"{head} {lines[0]}", "bad")), *(("", Cell(line, "bad")) for line in lines[1:])]


def _security_line(notice: Mapping[str, Any], now: float) -> str:
    reason = f" ({_text(notice['reason'])})" if notice.get("reason") else ""
    return f"{_ago(notice.get('at'), now)}: {_text(notice.get('kind'))}{reason}: {_text(notice.get('text'))}"


def _when(notice: Mapping[str, Any]) -> float:
    """Return when a notice was, in unix time; what has no such moment counts as the oldest."""
    at = _unix_time(notice.get("at"))
    return at if at is not None else float("-inf")


def _pending(pending: object, now: float, invocation: Callable[[str], str]) -> Cell:
    if not isinstance(pending, Mapping):
        return Cell("none")
    commands = {"restart": ("restart",), "start": ("stop", "run")}.get(_text(pending.get("needs")), ())
    how = ", then ".join(f"`{invocation(command)}`" for command in commands)
    apply = f"apply with {how}" if how else f"needs {_text(pending.get('needs'))}"
    return Cell(f"{_names(pending.get('keys'))}, held for {_span(pending.get('since'), now)}: {apply}", "warn")


def _drift(drift: object, now: float) -> Cell:
    if not isinstance(drift, Mapping):
        return Cell("none")
    keys = f" in {_names(drift['keys'])}" if drift.get("keys") else ""
    reason, span = _text(drift.get("reason")), _span(drift.get("since"), now)
    return Cell(f"{reason} for {span}: what runs differs from the directory{keys}", "warn")


def _rejection(rejection: object, drift: object, now: float) -> list[tuple[str, Cell]]:
    if not isinstance(rejection, Mapping):
        return [("last rejection", Cell("none"))]
    found = _list(rejection.get("errors"))
    stands = isinstance(drift, Mapping) and drift.get("reason") != "held"
    reason = rejection.get("reason")
    over = ", mended since" if reason == "rejected" and not stands else ""
    head = f"{_ago(rejection.get('at'), now)}: {_text(reason)}{over}"
    lines = [("last rejection", Cell(head, "bad" if stands else ""))]
    lines += [("", Cell(escaped(error))) for error in found[:SHOWN_ERRORS]]
    if len(found) > SHOWN_ERRORS:
        lines.append(("", Cell(f"and {len(found) - SHOWN_ERRORS} more: see --json")))
    return lines


def _watch(watch: object) -> Cell:
    if not isinstance(watch, Mapping):
        return Cell(UNKNOWN)
    mode, age = _text(watch.get("mode")), watch.get("last_compare_age_seconds")
    compared = f", compared {duration(age)} ago" if isinstance(age, (int, float)) else ""
    return Cell(f"{mode}{compared}", "" if mode == "inotify" else "warn")


def _word(value: object) -> Cell:
    text = _text(value)
    return Cell(text, _TONES.get(text, ""))


def _ago(at: object, now: float) -> str:
    """Return how long ago a moment was; what is no moment is shown as it is."""
    then = _unix_time(at)
    return _text(at) if then is None else f"{duration(now - then)} ago"


def _span(since: object, now: float) -> str:
    """Return how long something has lasted; what is no moment is shown as it is."""
    then = _unix_time(since)
    return _text(since) if then is None else duration(now - then)


def _age(since: object, now: float) -> str:
    """Return how long something has lasted, without spaces."""
    then = _unix_time(since)
    parts = _parts(None if then is None else now - then)
    return _text(since) if parts is None else _short_span(parts)


def _short_span(parts: Sequence[tuple[int, str, str]]) -> str:
    return "".join(f"{number}{short}" for number, _, short in parts)


def _unix_time(at: object) -> float | None:
    """Return a moment (RFC 3339 text, or unix time) as unix time; None for what is no moment."""
    try:
        if isinstance(at, str):
            return datetime.fromisoformat(at).timestamp()
        return float(at) if isinstance(at, (int, float)) else None
    except (ValueError, OverflowError):
        return None


def _parts(seconds: object) -> list[tuple[int, str, str]] | None:
    """Return a number of seconds as its two largest parts: number, unit, short unit; None for what is no number."""
    if not isinstance(seconds, (int, float)):
        return None
    rest, parts = max(int(seconds), 0), []
    for size, unit, short in _SPANS:
        number, rest = divmod(rest, size)
        if number:
            parts.append((number, unit, short))
    return parts[:2] or [(0, "s", "s")]


def _names(names: object) -> str:
    return ", ".join(escaped(name) for name in _list(names)) or UNKNOWN


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _short(digest: object) -> str:
    return f"digest {escaped(digest)[:12]}" if digest else "no digest"


def _size(number: object) -> str:
    if not isinstance(number, (int, float)):
        return UNKNOWN
    return f"{number / (1 << 20):.1f} MiB" if number < 1 << 30 else f"{number / (1 << 30):.1f} GiB"


def _text(value: object) -> str:
    return UNKNOWN if value is None else escaped(value)
