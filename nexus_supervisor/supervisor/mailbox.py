"""The mailbox: the one queue through which the world reaches the fleet.

Decided here: that events are taken one at a time, in the order in which they were posted, by the loop alone. Not
decided here: what they lead to.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from nexus_supervisor.core.events import Event

__all__ = ["Mailbox"]


class Mailbox:
    """Take events from any thread and hand them to ``take`` in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Callable[[Event], None]) -> None:
        self._loop, self._take = loop, take
        self._thread = threading.get_ident()
        self._waiting: deque[Event] = deque()
        self._taking = False

    def post(self, event: Event) -> None:
        """Post an event; from the loop's own thread it is taken before this returns, unless one is being taken."""
        self._waiting.append(event)
        if threading.get_ident() == self._thread:
            self._drain()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        if self._taking:
            return
        self._taking = True
        try:
            while self._waiting:
                self._take(self._waiting.popleft())
        finally:
            self._taking = False
