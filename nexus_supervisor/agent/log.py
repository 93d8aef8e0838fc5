"""The worker's log: what programs log, on stderr, one record a line.

Decided here: the form of a line. Not decided here: what is logged and where stderr leads.
"""

from __future__ import annotations

import json
import logging
import sys
import time

__all__ = ["LineFormatter", "configure"]


def configure(level: str, form: str, slot: str) -> None:
    """Send every log record of this process to stderr, as ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(slot, as_json=form == "json"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class LineFormatter(logging.Formatter):
    """Write a record as one line; control characters are escaped, so that no record can pretend to be two."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, slot: str, *, as_json: bool) -> None:
        super().__init__()
        self._slot, self._as_json = slot, as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; in text, the lines of a traceback follow it, indented."""
        facts = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "slot": self._slot,
            "logger": record.name,
            "text": record.getMessage(),
        }
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._as_json:
            return json.dumps(facts | {"traceback": trace} if trace else facts)
        lines = [" ".join(facts.values()), *trace.splitlines()]
        return "\n    ".join(_escaped(line) for line in lines)


def _escaped(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
