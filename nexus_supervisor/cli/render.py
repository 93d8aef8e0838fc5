"""The status as text: pure, from the document that ``status --json`` shows to lines and cells.

Decided here: which facts are shown, in which words, order and columns. Not decided here: colors and where it goes
(``terminal.py``), and what the facts are (the supervisor). A fact that a supervisor of another version leaves out is
shown as a dash, never as an error. The table of ``status``
fits 80 columns as long as names and numbers are of ordinary length; that of ``workers`` says more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nexus_supervisor.cli.escape import escaped
from nexus_supervisor.cli.words import (
    UNKNOWN,
    age,
    ago,
    duration,
    figures,
    items,
    names,
    short_age,
    short_digest,
    size,
    span,
    text_of,
    unix_time,
)

__all__ = ["Cell", "Page", "aligned", "plain", "status_page", "workers_page"]

SHOWN_ERRORS = 10
SHOWN_SECURITY = 3
SHOWN_QUARANTINED = 3
SHOWN_REASON = 120
SHOWN_DIGEST = 12

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
_DIGEST, _SERVED, _OLDEST = "DIGEST", "SERVED", "OLDEST"
_LEFT = frozenset({"SLOT", "STATE"})
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
        ("version", Cell(f"{text_of(status.get('version'))} ({short_digest(status.get('digest'))})")),
        ("state", _word(status.get("state"))),
        *_security(status.get("security"), now),
        ("daemon", Cell(_daemon(status))),
        ("listening", Cell(names(status.get("addresses")))),
        ("uptime", Cell(duration(status.get("uptime_seconds")))),
        ("signing", _word(status.get("signing"))),
        ("isolation", Cell(text_of(status.get("isolation")))),
        *_rollout(status.get("rollout"), now),
        *_trial(status.get("trial")),
        ("pending restart", _pending(status.get("pending_restart"), now, invocation)),
        ("drift", _drift(status.get("drift"), now)),
        *_pinned(status.get("pinned")),
        *_rejection(status.get("last_rejection"), status.get("drift"), now),
        *_quarantined(status.get("quarantined")),
        ("watch", _watch(status.get("watch"))),
        *((("not used yet", Cell(names(unread))),) if (unread := items(status.get("settings_unread"))) else ()),
    )
    return _with_workers(facts, status, now)


def workers_page(status: Mapping[str, Any], now: float) -> Page:
    """Return the page of the workers alone, with what each runs and how many requests it has served on that."""
    return _with_workers((), status, now, wide=True)


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


# --- the table -------------------------------------------------------------------------------------------------------


def _with_workers(
    facts: tuple[tuple[str, Cell], ...], status: Mapping[str, Any], now: float, *, wide: bool = False
) -> Page:
    workers = sorted((one for one in items(status.get("workers")) if isinstance(one, Mapping)), key=_place)
    columns = list(_COLUMNS)
    if wide and any(worker.get("digest") for worker in workers):
        columns += [_DIGEST, _SERVED]
    if any(map(_uses_older, workers)):
        columns.append(_OLDEST)
    rows = tuple(tuple(_row(worker, now)[column] for column in columns) for worker in workers)
    notes = [_last_exit(worker) for worker in workers if worker.get("last_exit")]
    notes += [_lingering(worker) for worker in workers if worker.get("lingering_snapshots")]
    return Page(facts, tuple(columns), rows, tuple(notes))


def _place(worker: Mapping[str, Any]) -> tuple[int, str, int]:
    """Return where a worker stands in the table: by the number of its slot, so that gateway-10 follows gateway-9."""
    slot, incarnation = str(worker.get("slot")), worker.get("incarnation")
    numbered = _NUMBER.search(slot)
    return int(numbered[1]) if numbered else -1, slot, incarnation if isinstance(incarnation, int) else 0


def _row(worker: Mapping[str, Any], now: float) -> dict[str, Cell]:
    """Return the cells of a worker by column."""
    errors = worker.get("errors")
    return {
        "SLOT": Cell(text_of(worker.get("slot"))),
        "PID": Cell(text_of(worker.get("pid"))),
        "INC": Cell(text_of(worker.get("incarnation"))),
        "STATE": _word(worker.get("state")),
        "VERSION": Cell(text_of(worker.get("version"))),
        "AGE": Cell(age(worker.get("active_since"), now)),
        "REQUESTS": Cell(text_of(worker.get("requests"))),
        "ERRORS": Cell(text_of(errors), "bad" if errors else ""),
        "RSS": Cell(size(worker.get("rss_bytes"))),
        _DIGEST: Cell(text_of(worker.get("digest"))[:SHOWN_DIGEST]),
        _SERVED: Cell(text_of(worker.get("version_requests"))),
        _OLDEST: _oldest(worker),
    }


def _oldest(worker: Mapping[str, Any]) -> Cell:
    """Show the oldest version in use, and where a newer one took its place, how long ago."""
    version, since = text_of(worker.get("oldest_snapshot")), short_age(worker.get("oldest_snapshot_seconds"))
    if not _uses_older(worker):
        return Cell(version)
    return Cell(version if since is None else f"{version} ({since})", "warn")


def _uses_older(worker: Mapping[str, Any]) -> bool:
    """Say whether a request of a worker still uses an older version than its new requests get."""
    return worker.get("oldest_snapshot") not in (None, worker.get("version"))


def _last_exit(worker: Mapping[str, Any]) -> Cell:
    slot, ended = text_of(worker.get("slot")), text_of(worker.get("last_exit"))
    return Cell(f"{slot} has no process and waits for its next start; how the last one ended: {ended}", "warn")


def _lingering(worker: Mapping[str, Any]) -> Cell:
    slot, count = text_of(worker.get("slot")), text_of(worker.get("lingering_snapshots"))
    what, so_long = "snapshot" if count == "1" else "snapshots", duration(worker.get("lingering_seconds"))
    return Cell(f"{slot} still refers to {count} retired {what}, the first for {so_long}: its log names them", "warn")


# --- the facts -------------------------------------------------------------------------------------------------------


def _daemon(status: Mapping[str, Any]) -> str:
    name, program, pid = (text_of(status.get(key)) for key in ("name", "program", "pid"))
    return f"{name}, program {program}, pid {pid}"


def _rollout(rollout: object, now: float) -> list[tuple[str, Cell]]:
    """Show where the running rollout is, and what its gate has counted so far."""
    if not isinstance(rollout, Mapping):
        return [("rollout", Cell("none"))]
    why = ": ".join(text_of(rollout[key]) for key in ("kind", "reason") if rollout.get(key))
    shown = [f"version {text_of(rollout.get('version'))}, {text_of(rollout.get('phase'))}{f' ({why})' if why else ''}"]
    if rollout.get("total"):
        shown.append(f"{text_of(rollout.get('moved'))} of {text_of(rollout['total'])} workers moved")
    if items(rollout.get("canary")):
        shown.append(f"canary {names(rollout['canary'])}")
    if rollout.get("paused_since") is not None:
        shown.append(f"paused for {span(rollout['paused_since'], now)}")
    lines = [("rollout", Cell(", ".join(shown), "warn"))]
    if measured := figures(rollout.get("numbers")):
        lines.append(("", Cell(measured)))
    return lines


def _trial(trial: object) -> list[tuple[str, Cell]]:
    """Show the worker that meets candidates first; nothing where there is none."""
    if not isinstance(trial, Mapping):
        return []
    state, pid, version = (text_of(trial.get(key)) for key in ("state", "pid", "version"))
    return [("trial worker", Cell(f"{state}, pid {pid}, version {version}", _TONES.get(state, "")))]


def _pinned(digest: object) -> list[tuple[str, Cell]]:
    """Show the content of the directory that is not applied by itself; nothing where there is none."""
    if not digest:
        return []
    return [("pinned", Cell(f"{short_digest(digest)}: applied when the directory changes, or a push asks", "warn"))]


def _quarantined(contents: object) -> list[tuple[str, Cell]]:
    """Show the contents that failed, the newest first; nothing where there are none."""
    found = [one for one in items(contents) if isinstance(one, Mapping)][::-1]
    lines = [f"{short_digest(one.get('digest'))}: {_cut(one.get('reason'))}" for one in found[:SHOWN_QUARANTINED]]
    if len(found) > SHOWN_QUARANTINED:
        lines.append(f"and {len(found) - SHOWN_QUARANTINED} older: see --json")
    return [("" if number else "quarantined", Cell(line)) for number, line in enumerate(lines)]


def _cut(reason: object) -> str:
    """Return a reason as safe text, cut where it is too long for an overview."""
    text = text_of(reason)
    return text if len(text) <= SHOWN_REASON else f"{text[: SHOWN_REASON - 1]}…"


def _security(notices: object, now: float) -> list[tuple[str, Cell]]:
    """Show that there are security notices, and the newest of them; nothing where there are none."""
    found = sorted((one for one in items(notices) if isinstance(one, Mapping)), key=_when, reverse=True)
    if not found:
        return []
    head = "1 notice:" if len(found) == 1 else f"{len(found)} notices, the newest:"
    lines = [_security_line(one, now) for one in found[:SHOWN_SECURITY]]
    if len(found) > SHOWN_SECURITY:
        lines.append(f"and {len(found) - SHOWN_SECURITY} older: see --json")
    return [("security", Cell(f"{head} {lines[0]}", "bad")), *(("", Cell(line, "bad")) for line in lines[1:])]


def _security_line(notice: Mapping[str, Any], now: float) -> str:
    reason = f" ({text_of(notice['reason'])})" if notice.get("reason") else ""
    return f"{ago(notice.get('at'), now)}: {text_of(notice.get('kind'))}{reason}: {text_of(notice.get('text'))}"


def _when(notice: Mapping[str, Any]) -> float:
    """Return when a notice was, in unix time; what has no such moment counts as the oldest."""
    at = unix_time(notice.get("at"))
    return at if at is not None else float("-inf")


def _pending(pending: object, now: float, invocation: Callable[[str], str]) -> Cell:
    if not isinstance(pending, Mapping):
        return Cell("none")
    commands = {"restart": ("restart",), "start": ("stop", "run")}.get(text_of(pending.get("needs")), ())
    how = ", then ".join(f"`{invocation(command)}`" for command in commands)
    apply = f"apply with {how}" if how else f"needs {text_of(pending.get('needs'))}"
    return Cell(f"{names(pending.get('keys'))}, held for {span(pending.get('since'), now)}: {apply}", "warn")


def _drift(drift: object, now: float) -> Cell:
    if not isinstance(drift, Mapping):
        return Cell("none")
    keys = f" in {names(drift['keys'])}" if drift.get("keys") else ""
    reason, so_long = text_of(drift.get("reason")), span(drift.get("since"), now)
    return Cell(f"{reason} for {so_long}: what runs differs from the directory{keys}", "warn")


def _rejection(rejection: object, drift: object, now: float) -> list[tuple[str, Cell]]:
    if not isinstance(rejection, Mapping):
        return [("last rejection", Cell("none"))]
    found = items(rejection.get("errors"))
    stands = isinstance(drift, Mapping) and drift.get("reason") != "held"
    reason = rejection.get("reason")
    over = ", mended since" if reason == "rejected" and not stands else ""
    head = f"{ago(rejection.get('at'), now)}: {text_of(reason)}{over}"
    lines = [("last rejection", Cell(head, "bad" if stands else ""))]
    lines += [("", Cell(escaped(error))) for error in found[:SHOWN_ERRORS]]
    if len(found) > SHOWN_ERRORS:
        lines.append(("", Cell(f"and {len(found) - SHOWN_ERRORS} more: see --json")))
    return lines


def _watch(watch: object) -> Cell:
    if not isinstance(watch, Mapping):
        return Cell(UNKNOWN)
    mode, age = text_of(watch.get("mode")), watch.get("last_compare_age_seconds")
    compared = f", compared {duration(age)} ago" if isinstance(age, (int, float)) else ""
    return Cell(f"{mode}{compared}", "" if mode == "inotify" else "warn")


def _word(value: object) -> Cell:
    text = text_of(value)
    return Cell(text, _TONES.get(text, ""))
