"""What settings and signals ask of the log.

Decided here: when the log's file is opened anew, and what is told about it. Not decided here: how it is opened
(``log_file.py``) and how lines get there (``output.py``).
"""

from __future__ import annotations

import faulthandler
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from nexus_supervisor.core.notices import Notice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nexus_supervisor.core.options import DaemonSettings
    from nexus_supervisor.supervisor.output import NoticeLog

__all__ = ["LogOrders"]


class LogOrders:
    """Have a log follow ``[daemon]``. ``tell`` tells a notice, from any thread."""

    def __init__(
        self, log: NoticeLog, directory: Path, settings: DaemonSettings, tell: Callable[[Notice], None]
    ) -> None:
        self._log, self._directory, self._tell = log, directory, tell
        self._file = settings.log_file
        if self._file:
            self._lead()

    def follow(self, settings: DaemonSettings) -> None:
        """Follow settings that are in force from now on."""
        self._log.show(settings.log_level, settings.log_format)
        if settings.log_file != self._file:
            self._file = settings.log_file
            self._lead()

    def reopen(self) -> None:
        """Open the file anew, if there is one: it was renamed to begin another one."""
        if self._file:
            self._lead(reopened=True)

    def dump(self) -> None:
        """Write down what every thread of the supervisor is doing: files, lines and functions, no values."""
        with tempfile.TemporaryFile() as written:
            faulthandler.dump_traceback(file=written, all_threads=True)
            written.seek(0)
            stacks = written.read().decode(errors="backslashreplace").splitlines()
        self._log.say("warning", "the stacks of the supervisor's threads:", stacks)

    def _lead(self, *, reopened: bool = False) -> None:
        path = self._directory / self._file if self._file else None
        self._log.lead(path, partial(self._led, self._file, reopened=reopened))

    def _led(self, file: str, reason: str, *, reopened: bool) -> None:
        """Tell how it went; called in the log's thread."""
        if reason:
            text = f"The log can't be written to {file} ({reason}): it goes to stderr. Change [daemon] log_file."
            self._tell(Notice("log_file_failed", "error", text, {"file": file, "reason": reason}))
        elif reopened:
            text = f"The log is written to {file}, which was opened anew."
            self._tell(Notice("log_reopened", "info", text, {"file": file}))
