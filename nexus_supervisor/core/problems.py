"""One problem in what people wrote: where it is, what was expected, what was found.

Decided here: the shape of a problem and the one line that shows it. Not decided here: what counts as a problem
(``models/`` and ``compiler/``).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Name one mistake in one file.

    ``file`` is relative to DIR, "." where it is about no file, ``line`` is 1-based or 0 where no line applies, ``key``
    is a dotted path or empty, ``message`` says what was expected and what was found, without secrets. ``code`` is a
    stable word for programs: ``syntax``, ``unknown_key``, ``type``, ``range``, ``missing``, ``duplicate``, ``secret``,
    ``reference``, ``limit``, ``unreadable``, ``unstable``, ``not_a_file``, ``guard``, ``value`` or ``internal``.
    """

    file: str
    line: int
    key: str
    code: str
    message: str

    def __str__(self) -> str:
        """Show the problem as ``file:line: key: message``, leaving out what is not known."""
        file = "" if self.file == "." else self.file
        place = f"{file}:{self.line}" if self.line else file
        return ": ".join(part for part in (place, self.key, self.message) if part)
