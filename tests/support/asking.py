"""The supervisor's side of the compiler, with a real compiler process, in an event loop of its own."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from nexus_supervisor.core.compilation import Begin
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.events import CandidateRefused, CandidateSeen, Recalled
from nexus_supervisor.supervisor import compiling
from nexus_supervisor.supervisor.child import start_child
from nexus_supervisor.supervisor.compiling import Compiling
from nexus_supervisor.supervisor.contents import Contents
from tests.support.compiler_process import PATIENCE_SECONDS, REPOSITORY
from tests.support.compiling import PEPPER

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nexus_supervisor.core.events import Candidate
    from nexus_supervisor.supervisor.child import Child
    from nexus_supervisor.supervisor.compiling import Verdict

T = TypeVar("T")


class Asking:
    """Ask a compiler what the supervisor asks, and wait for its verdicts."""

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: Path) -> None:
        self.directory, self._loop = directory, loop
        self.contents = Contents({})
        self.verdicts: asyncio.Queue[Verdict] = asyncio.Queue()
        begin = Begin(str(directory), b"{}", PEPPER)
        variables = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self.compiling = Compiling(loop, begin, variables, self.contents, self.verdicts.put_nowait)

    def verdict(self) -> Verdict:
        """Return the next verdict."""
        return self._loop.run_until_complete(asyncio.wait_for(self.verdicts.get(), PATIENCE_SECONDS))

    def heard(self, kind: type[T]) -> T:
        """Return the next verdict, which must be of this kind."""
        found = self.verdict()
        assert isinstance(found, kind), found
        return found

    def look(self, *, whole: bool = False) -> Candidate:
        """Look at a directory that is valid."""
        self.compiling.look(1, None, PATIENCE_SECONDS, whole=whole)
        return self.heard(CandidateSeen).candidate

    def refused(self) -> CandidateRefused:
        """Look at a directory that is not valid."""
        self.compiling.look(1, None, PATIENCE_SECONDS)
        return self.heard(CandidateRefused)

    def go_live(self, *, whole: bool = False) -> Candidate:
        """Look, and adopt what can go live."""
        candidate = self.look(whole=whole)
        self.compiling.adopt(candidate.digest)
        return candidate

    def recalled(self, version: int, digest: str, timeout_seconds: float = PATIENCE_SECONDS) -> Recalled:
        """Have a content judged that is kept."""
        self.recall(version, digest, timeout_seconds)
        return self.heard(Recalled)

    def recall(self, version: int, digest: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Ask for that, without waiting."""
        content = self.contents.get(Digest(digest)).content
        self.compiling.recall(version + 100, Version(version), content, timeout_seconds)


@contextmanager
def asking(directory: Path) -> Iterator[Asking]:
    """Have a compiler that can be asked; every process of it, and the loop, are gone at the end."""
    loop = asyncio.new_event_loop()
    gone: list[asyncio.Event] = []

    def noted(
        loop: asyncio.AbstractEventLoop,
        module: str,
        variables: Mapping[str, str],
        exited: Callable[[str, bool], None],
        **how: Any,
    ) -> tuple[Child, socket.socket]:
        event = asyncio.Event()
        gone.append(event)

        def told(status: str, clean: bool) -> None:
            event.set()
            exited(status, clean)

        return start_child(loop, module, variables, told, **how)

    async def end() -> None:
        asked.compiling.close()
        for event in gone:
            await asyncio.wait_for(event.wait(), PATIENCE_SECONDS)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compiling, "start_child", noted)
        asked = Asking(loop, directory)
        try:
            yield asked
        finally:
            loop.run_until_complete(end())
            asked.contents.close()
            loop.close()
