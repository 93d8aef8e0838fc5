"""The status as text: pure, from the document that ``status --json`` shows to lines and cells.

Decided here: which facts are shown, in which words and order. Not decided here: colors, widths and where it goes
(``terminal.py``), and what the facts are (the supervisor). A fact that a supervisor of another version leaves out is
shown as a dash, never as an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nexus_supervisor.cli.escape import escaped

__all__ = ["Cell", "Page", "duration", "moment", "plain", "status_page", "workers_page"]

SHOWN_ERRORS = 10
UNKNOWN = "-"

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
_COLUMNS = ("SLOT", "PID", "INCARNATION", "STATE", "VERSION", "SINCE", "REQUESTS", "ERRORS", "RSS")
_NUMERIC = frozenset({"PID", "INCARNATION", "VERSION", "REQUESTS", "ERRORS", "RSS"})


@dataclass(frozen=True, slots=True)
class Cell:
    """Hold a piece of safe text and its tone: ``good``, ``warn``, ``bad`` or none."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Hold what is shown: labelled facts, then one table. ``numeric`` names the columns that are aligned right."""

    facts: tuple[tuple[str, Cell], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[str] = _NUMERIC


def status_page(status: Mapping[str, Any], now: float) -> Page:
    """Return the page of a status; ``now`` is unix time in seconds."""
    facts = [
        ("version", Cell(f"{_text(status.get('version'))} ({_short(status.get('digest'))})")),
        ("state", _word(status.get("state"))),
        ("daemon", Cell(_daemon(status))),
        ("listening", Cell(_names(status.get("addresses")))),
        ("uptime", Cell(duration(status.get("uptime_seconds")))),
        ("signing", _word(status.get("signing"))),
        ("isolation", Cell(_text(status.get("isolation")))),
        ("rollout", _rollout(status.get("rollout"))),
        ("pending restart", _pending(status.get("pending_restart"), now)),
        ("drift", _drift(status.get("drift"), now)),
        *_rejection(status.get("last_rejection"), now),
        ("watch", _watch(status.get("watch"))),
        ("not used yet", Cell(_names(status.get("settings_unread")))),
    ]
    return Page(tuple(facts), _COLUMNS, _rows(status, now))


def workers_page(status: Mapping[str, Any], now: float) -> Page:
    """Return the page of the workers alone."""
    return Page((), _COLUMNS, _rows(status, now))


def plain(page: Page) -> str:
    """Return a page as aligned plain text."""
    width = max((len(label) for label, _ in page.facts), default=0)
    lines = [f"{label:<{width}}  {cell.text}".rstrip() for label, cell in page.facts]
    if lines:
        lines.append("")
    table = [page.columns, *(tuple(cell.text for cell in row) for row in page.rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(page.columns))]
    for row in table:
        cells = [
            f"{text:>{size}}" if column in page.numeric else f"{text:<{size}}"
            for text, size, column in zip(row, widths, page.columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def duration(seconds: object) -> str:
    """Return a number of seconds in the two largest units that apply."""
    if not isinstance(seconds, (int, float)):
        return UNKNOWN
    whole = max(int(seconds), 0)
    parts = (whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")
    shown = [f"{number} {unit}" for number, unit in parts if number][:2]
    return " ".join(shown) or "0 s"


def moment(at: object) -> str:
    """Return unix time in seconds as UTC text."""
    if not isinstance(at, (int, float)):
        return _text(at)
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rows(status: Mapping[str, Any], now: float) -> tuple[tuple[Cell, ...], ...]:
    found = status.get("workers")
    return tuple(_row(worker, now) for worker in _list(found) if isinstance(worker, Mapping))


def _row(worker: Mapping[str, Any], now: float) -> tuple[Cell, ...]:
    version, oldest = worker.get("version"), worker.get("oldest_snapshot")
    shown_version = _text(version) if oldest in (None, version) else f"{_text(version)} (in use: {_text(oldest)})"
    errors = worker.get("errors")
    return (
        Cell(_text(worker.get("slot"))),
        Cell(_text(worker.get("pid"))),
        Cell(_text(worker.get("incarnation"))),
        _word(worker.get("state")),
        Cell(shown_version),
        Cell(_ago(worker.get("active_since"), now)),
        Cell(_text(worker.get("requests"))),
        Cell(_text(errors), "bad" if errors else ""),
        Cell(_size(worker.get("rss_bytes"))),
    )


def _daemon(status: Mapping[str, Any]) -> str:
    name, program, pid = (_text(status.get(key)) for key in ("name", "program", "pid"))
    return f"{name}, program {program}, pid {pid}"


def _rollout(rollout: object) -> Cell:
    if not isinstance(rollout, Mapping):
        return Cell("none")
    reason = f": {_text(rollout['reason'])}" if rollout.get("reason") else ""
    return Cell(f"version {_text(rollout.get('version'))}, {_text(rollout.get('phase'))}{reason}", "warn")


def _pending(pending: object, now: float) -> Cell:
    if not isinstance(pending, Mapping):
        return Cell("none")
    needs = _text(pending.get("needs"))
    command = f": apply with `nexus-supervisor {needs}`" if needs == "restart" else f": needs {needs}"
    return Cell(f"{_names(pending.get('keys'))}, held {_ago(pending.get('since'), now)}{command}", "warn")


def _drift(drift: object, now: float) -> Cell:
    if not isinstance(drift, Mapping):
        return Cell("none")
    keys = f": {_names(drift['keys'])}" if drift.get("keys") else ""
    reason, since = _text(drift.get("reason")), _ago(drift.get("since"), now)
    return Cell(f"the directory differs from what runs since {since} ({reason}){keys}", "warn")


def _rejection(rejection: object, now: float) -> list[tuple[str, Cell]]:
    if not isinstance(rejection, Mapping):
        return [("last rejection", Cell("none"))]
    found = _list(rejection.get("errors"))
    head = f"{_ago(rejection.get('at'), now)}: {_text(rejection.get('reason'))}"
    lines = [("last rejection", Cell(head, "bad"))]
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


def _ago(since: object, now: float) -> str:
    """Return how long ago a moment (RFC 3339 text, or unix time) was; what is no moment is shown as it is."""
    if isinstance(since, str):
        try:
            since = datetime.fromisoformat(since).timestamp()
        except (ValueError, OverflowError):
            return escaped(since)
    return f"{duration(now - since)} ago" if isinstance(since, (int, float)) else _text(since)


def _names(names: object) -> str:
    return ", ".join(escaped(name) for name in _list(names)) or UNKNOWN


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _short(digest: object) -> str:
    return f"digest {escaped(digest)[:12]}" if digest else "no digest"


def _size(number: object) -> str:
    return f"{number / (1 << 20):.1f} MiB" if isinstance(number, (int, float)) else UNKNOWN


def _text(value: object) -> str:
    return UNKNOWN if value is None else escaped(value)
