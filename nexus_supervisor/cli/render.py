"""The status as text: pure, from the document that ``status --json`` shows to lines and cells.

Decided here: which facts are shown, in which words and order. Not decided here: the table of workers
(``worker_table.py``), colors and where it goes (``terminal.py``), and what the facts are (the supervisor). A fact that
a supervisor of another version leaves out is shown as a dash, never as an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nexus_supervisor.cli.escape import escaped
from nexus_supervisor.cli.page import Cell, Page
from nexus_supervisor.cli.words import (
    UNKNOWN,
    ago,
    duration,
    figures,
    items,
    names,
    short_digest,
    size,
    span,
    text_of,
    unix_time,
)
from nexus_supervisor.cli.worker_table import LIVE, NARROW, TONES, WIDE, word, worker_table

__all__ = ["status_page", "top_page", "workers_page"]

SHOWN_ERRORS = 10
SHOWN_SECURITY = 3
SHOWN_QUARANTINED = 3
SHOWN_REASON = 120


def status_page(status: Mapping[str, Any], now: float, invocation: Callable[[str], str]) -> Page:
    """Return the page of a status; ``now`` is unix time in seconds.

    ``invocation`` returns the command line that runs a command on the same directory.
    """
    facts = (
        ("version", Cell(f"{text_of(status.get('version'))} ({short_digest(status.get('digest'))})")),
        ("state", word(status.get("state"))),
        *_security(status.get("security"), now),
        ("daemon", Cell(_daemon(status))),
        ("listening", Cell(names(status.get("addresses")))),
        ("uptime", Cell(duration(status.get("uptime_seconds")))),
        ("signing", word(status.get("signing"))),
        ("isolation", word(status.get("isolation"))),
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
    return worker_table(status, now, NARROW, facts)


def workers_page(status: Mapping[str, Any], now: float) -> Page:
    """Return the page of the workers alone, with all that is known of each."""
    return worker_table(status, now, WIDE)


def top_page(status: Mapping[str, Any], now: float) -> Page:
    """Return what ``top`` shows again and again: one line of facts for each program, and what workers do just now."""
    about = ", ".join(
        (
            f"version {text_of(status.get('version'))}",
            f"up {duration(status.get('uptime_seconds'))}",
            f"isolation {text_of(status.get('isolation'))}",
        )
    )
    programs = [one for one in items(status.get("programs")) if isinstance(one, Mapping)]
    facts = (
        (text_of(status.get("name")), Cell(about)),
        ("state", word(status.get("state"))),
        *((text_of(one.get("name")), _program(one, items(status.get("workers")))) for one in programs),
    )
    return worker_table(status, now, LIVE, facts)


# --- the facts -------------------------------------------------------------------------------------------------------


def _program(program: Mapping[str, Any], workers: Sequence[Any]) -> Cell:
    """Show how many workers of a program serve, and what they do together."""
    own = [one for one in workers if isinstance(one, Mapping) and one.get("program") == program.get("name")]
    sums = {key: _sum(one.get(key) for one in own) for key in ("requests_per_second", "cpu_percent", "pss_bytes")}
    ready, wanted = text_of(program.get("ready")), text_of(program.get("workers"))
    shown = [f"{ready} of {wanted} workers ready"]
    if (rate := sums["requests_per_second"]) is not None:
        shown.append(f"{rate:.1f} requests/s")
    if (busy := sums["cpu_percent"]) is not None:
        shown.append(f"CPU {busy:.1f}%")
    if (used := sums["pss_bytes"]) is not None:
        shown.append(f"memory {size(used)}")
    shown.append(names(program.get("addresses")) if items(program.get("addresses")) else "no address")
    return Cell(", ".join(shown), "" if ready == wanted else "warn")


def _sum(numbers: Iterable[object]) -> float | None:
    """Return the sum of the numbers that are known; None where none is."""
    known = [number for number in numbers if isinstance(number, (int, float))]
    return sum(known) if known else None


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
    return [("trial worker", Cell(f"{state}, pid {pid}, version {version}", TONES.get(state, "")))]


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
