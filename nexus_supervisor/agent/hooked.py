"""Calling hooks: what an application's functions may do to the worker that calls them.

Decided here: that an exception of a hook is told by its type and place, and logged with its frames, never with its
text, which may hold a secret; and that what a failed call held is let go. Not decided here: when a hook is called
(``staging.py``, ``parent.py``).
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nexus_supervisor.models.importing import place_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Failed", "attempted", "made"]

_logger = logging.getLogger(__name__)


class Failed(Exception):
    """Say that a function of the application failed, in words without secrets."""


def made(what: str, make: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function makes of its arguments; raise Failed where it raises, or wants to exit."""
    try:
        return make(*arguments)
    except BaseException as error:
        text = f"{what} raised {type(error).__name__}{place_of(error)}"
        _logger.log(logging.ERROR, "%s", text, exc_info=(Failed, Failed(text), error.__traceback__))
    # outside the block, and never in a variable here: what is raised must not keep what those frames hold, nor itself
    raise Failed(text)


def attempted(what: str, call: Callable[..., object], *arguments: Any) -> None:
    """Call a function whose failure changes nothing but the log."""
    with suppress(Failed):
        made(what, call, *arguments)
