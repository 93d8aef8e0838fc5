"""Words: times, spans, sizes, names and figures as text, whatever a document holds.

Decided here: how each is written, and that what is not known is a dash. Not decided here: which of them are shown
(``render.py``, ``history.py``). Pure; everything that others wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nexus_supervisor.cli.escape import escaped

__all__ = [
    "UNKNOWN",
    "age",
    "ago",
    "duration",
    "figures",
    "items",
    "moment",
    "names",
    "short_age",
    "short_digest",
    "size",
    "span",
    "text_of",
    "unix_time",
]

UNKNOWN = "-"
"""What is shown where nothing is known."""

_FIGURES = (
    ("requests", "{} requests"),
    ("errors", "{} errors"),
    ("p50_ms", "p50 {} ms"),
    ("p99_ms", "p99 {} ms"),
    ("rss_growth_mb", "memory grew {} MB"),
    ("lag_ms", "lag {} ms"),
)
"""What is told of a canary and of the others, in this order and in these words."""

_SPANS = (86_400, "d", "d"), (3600, "h", "h"), (60, "min", "m"), (1, "s", "s")


def text_of(value: object) -> str:
    """Return a value as safe text."""
    return UNKNOWN if value is None else escaped(value)


def items(value: object) -> Sequence[Any]:
    """Return what a list holds; nothing of what is no list."""
    return value if isinstance(value, (list, tuple)) else ()


def names(value: object) -> str:
    """Return a list of names, with commas."""
    return ", ".join(escaped(name) for name in items(value)) or UNKNOWN


def figures(numbers: object) -> str:
    """Return figures as people say them: those of a canary beside those of the others, the rest by their names.

    ``watched 2 s; canary 120 requests, 0 errors, p99 4.1 ms; others 900 requests, 0 errors``. What is not known is left
    out.
    """
    if not isinstance(numbers, Mapping):
        return UNKNOWN
    known = {str(name): number for name, number in numbers.items() if number is not None}
    told = [f"watched {_figure(known.pop('bake_seconds'))} s"] if "bake_seconds" in known else []
    for prefix, who in (("canary_", "canary"), ("control_", "others")):
        said = [words.format(_figure(known.pop(prefix + name))) for name, words in _FIGURES if prefix + name in known]
        told += [f"{who} {', '.join(said)}"] if said else []
    rest = [f"{escaped(name).replace('_', ' ')} {_figure(number)}" for name, number in sorted(known.items())]
    return "; ".join([*told, *([", ".join(rest)] if rest else [])]) or UNKNOWN


def short_digest(digest: object) -> str:
    """Return the beginning of a digest."""
    return f"digest {escaped(digest)[:12]}" if digest else "no digest"


def size(number: object) -> str:
    """Return a number of bytes in the unit that fits."""
    if not isinstance(number, (int, float)):
        return UNKNOWN
    return f"{number / (1 << 20):.1f} MiB" if number < 1 << 30 else f"{number / (1 << 30):.1f} GiB"


def duration(seconds: object) -> str:
    """Return a number of seconds in the two largest units that apply."""
    parts = _parts(seconds)
    return UNKNOWN if parts is None else " ".join(f"{number} {unit}" for number, unit, _ in parts)


def short_age(seconds: object) -> str | None:
    """Return a number of seconds in the largest unit that applies, without a space; None for what is no number."""
    parts = _parts(seconds)
    return None if parts is None else _short(parts[:1])


def moment(at: object) -> str:
    """Return unix time in seconds as UTC text."""
    if not isinstance(at, (int, float)):
        return text_of(at)
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return text_of(at)


def ago(at: object, now: float) -> str:
    """Return how long ago a moment was; what is no moment is shown as it is."""
    then = unix_time(at)
    return text_of(at) if then is None else f"{duration(now - then)} ago"


def span(since: object, now: float) -> str:
    """Return how long something has lasted; what is no moment is shown as it is."""
    then = unix_time(since)
    return text_of(since) if then is None else duration(now - then)


def age(since: object, now: float) -> str:
    """Return how long something has lasted, without spaces."""
    then = unix_time(since)
    parts = _parts(None if then is None else now - then)
    return text_of(since) if parts is None else _short(parts)


def unix_time(at: object) -> float | None:
    """Return a moment (RFC 3339 text, or unix time) as unix time; None for what is no moment."""
    try:
        if isinstance(at, str):
            return datetime.fromisoformat(at).timestamp()
        return float(at) if isinstance(at, (int, float)) else None
    except (ValueError, OverflowError):
        return None


def _figure(number: object) -> str:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return names(number) if isinstance(number, (list, tuple)) else text_of(number)
    return f"{number + 0.0:.4g}" if isinstance(number, float) else str(number)  # + 0.0: no "-0"


def _short(parts: Sequence[tuple[int, str, str]]) -> str:
    return "".join(f"{number}{short}" for number, _, short in parts)


def _parts(seconds: object) -> list[tuple[int, str, str]] | None:
    """Return a number of seconds as its two largest parts: number, unit, short unit; None for what is no number."""
    if not isinstance(seconds, (int, float)):
        return None
    rest, parts = max(int(seconds), 0), []
    for length, unit, short in _SPANS:
        number, rest = divmod(rest, length)
        if number:
            parts.append((number, unit, short))
    return parts[:2] or [(0, "s", "s")]
