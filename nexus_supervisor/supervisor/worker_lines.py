"""A worker's line in the supervisor's log.

Decided here: which lines pass as they are, and how the others are shown. Not decided here: what a line is
(``line_stream.py``) and where the log goes (``log_file.py``). Pure.

A line of the agent's own log has time, level and slot already. It passes only under the name of the slot that wrote it,
so no worker can speak for another one, nor for the supervisor.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexus_supervisor.core.control import OutputLine

__all__ = ["json_form", "moment", "text_form"]

_OWN_TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [a-z]+ (\S+) ")
_OWN_JSON = ("time", "level", "slot", "logger", "text")


def moment(at: float) -> str:
    """Return unix time as UTC text to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_form(line: OutputLine) -> str:
    """Show a line for people: as it is, or behind time, slot, pid and where it was written."""
    own = _OWN_TEXT.match(line.text)
    if own is not None and own[1] == line.slot and line.stream == "stderr":
        return f"{line.text}\n"
    if line.stream == "missing":
        return f"{moment(line.at)} WARNING output {line.slot}[{line.pid}]: {line.text}\n"
    return f"{moment(line.at)} OUTPUT  {line.slot}[{line.pid}] {line.stream} | {line.text}\n"


def json_form(line: OutputLine) -> str:
    """Show a line as one JSON object."""
    if line.stream == "stderr" and _is_own_object(line):
        return f"{line.text}\n"
    shown = {
        "at": moment(line.at),
        "level": "warning" if line.stream == "missing" else "info",
        "kind": "output",
        "slot": line.slot,
        "incarnation": line.incarnation,
        "pid": line.pid,
        "stream": line.stream,
        "text": line.text,
    }
    return json.dumps(shown, separators=(",", ":")) + "\n"


def _is_own_object(line: OutputLine) -> bool:
    if not (line.text.startswith('{"time"') and line.text.isascii()):
        return False
    try:
        found = json.loads(line.text)
    except (ValueError, RecursionError):
        return False
    return tuple(found)[: len(_OWN_JSON)] == _OWN_JSON and found["slot"] == line.slot
