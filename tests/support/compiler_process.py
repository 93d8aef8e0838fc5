"""A real compiler process, spoken to as the supervisor does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import canonical
from nexus_supervisor.core.compilation import FROM_COMPILER, TO_COMPILER, Begin, Look
from nexus_supervisor.wire import Wire
from tests.support.compiling import PEPPER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexus_supervisor.core.compilation import FromCompiler, ToCompiler

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 60


class CompilerProcess:
    """Hold one compiler process and the wire to it."""

    def __init__(self, child: subprocess.Popen[str], connection: socket.socket) -> None:
        self.child = child
        self.wire: Wire[FromCompiler, ToCompiler] = Wire(connection, FROM_COMPILER, TO_COMPILER)

    def ask(self, message: ToCompiler, descriptors: tuple[int, ...] = ()) -> tuple[Any, list[int]]:
        """Send a message and return the answer to it."""
        self.wire.send(message, descriptors)
        received = self.wire.receive()
        assert received is not None, self.last_words()
        return received

    def look(self, *, whole: bool = False) -> Any:
        """Look at everything, and return the verdict without what is beside it."""
        message, descriptors = self.ask(Look(1, None, whole))
        for descriptor in descriptors:
            os.close(descriptor)
        return message

    def last_words(self) -> str:
        """Wait for the end of the process, and return what it wrote."""
        self.wire.close()
        _, written = self.child.communicate(timeout=PATIENCE_SECONDS)
        return f"exit {self.child.returncode}: {written}"


@contextmanager
def compiler(directory: Path, environment: Mapping[str, str] | None = None) -> Iterator[CompilerProcess]:
    """Run a compiler process that was told where to look; it is gone at the end."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_SECONDS)
    command = [sys.executable, "-m", "nexus_supervisor.compiler", str(theirs.fileno())]
    with ours, theirs:
        child = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        theirs.close()
        process = CompilerProcess(child, ours)
        try:
            process.wire.send(Begin(str(directory), canonical.encode({}), PEPPER))
            yield process
        finally:
            process.wire.close()
            child.kill()
            child.communicate()
