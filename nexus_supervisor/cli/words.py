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
    "brief_figures",
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
"""What is told of a canary and of what it is compared with, in this order and in these words."""

_SINGULAR = {"requests": "{} request", "errors": "{} error"}
"""What is told of a single one."""

_BRIEF = ("requests", "{} req"), ("errors", "{} err"), ("p99_ms", "p99 {} ms")
"""What is told of a canary where there is little room."""

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
    """Return figures as people say them: a canary's, those that they are compared with, the rest by their names.

    ``watched 2 s; canary 120 requests, 1 error, p99 4.1 ms; compared with 900 requests, 0 errors``. What is not known
    is left out, and so is a bake of no time that saw nothing; "" where nothing remains.
    """
    known = _known(numbers)
    watched = known.pop("bake_seconds", 0)
    told = [f"watched {_figure(watched)} s"] if watched else []
    for prefix, who in (("canary_", "canary"), ("control_", "compared with")):
        said = [_said(name, words, known.pop(prefix + name)) for name, words in _FIGURES if prefix + name in known]
        told += [f"{who} {', '.join(said)}"] if said else []
    rest = [f"{escaped(name).replace('_', ' ')} {_figure(number)}" for name, number in sorted(known.items())]
    return "; ".join([*told, *([", ".join(rest)] if rest else [])])


def brief_figures(numbers: object) -> str:
    """Return what matters most of a canary, for a short line: ``canary 15 req, 0 err, p99 4.1 ms``; "" for nothing."""
    known = _known(numbers)
    said = [words.format(_brief(known[f"canary_{name}"])) for name, words in _BRIEF if f"canary_{name}" in known]
    return f"canary {', '.join(said)}" if said else ""


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


def _known(numbers: object) -> dict[str, Any]:
    """Return the figures that are known, without those of a bake that took no time and in which nothing happened."""
    if not isinstance(numbers, Mapping):
        return {}
    known = {str(name): number for name, number in numbers.items() if number is not None}
    if known.get("bake_seconds", True) or known.get("canary_requests") or known.get("canary_errors"):
        return known
    return {name: known[name] for name in known if not name.startswith(("bake_", "canary_", "control_"))}


def _said(name: str, words: str, number: object) -> str:
    figure = _figure(number)
    return (_SINGULAR.get(name, words) if figure == "1" else words).format(figure)


def _figure(number: object) -> str:
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return names(number) if isinstance(number, (list, tuple)) else text_of(number)
    return f"{number + 0.0:.4g}" if isinstance(number, float) else str(number)  # + 0.0: no "-0"


def _brief(number: object) -> str:
    """Return a figure with three digits, or all of them before its point."""
    if not isinstance(number, float):
        return _figure(number)
    return f"{number:.0f}" if abs(number) >= 100 else f"{number + 0.0:.3g}"


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
