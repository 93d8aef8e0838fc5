"""A service manager, as far as its protocol goes: a socket that is told things, and what it was given to keep."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Self

from tests.support.http import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

__all__ = ["NotifySocket", "ServiceManager"]

_FIRST = 3
_START = """\
import os, sys
first, *descriptors = map(int, sys.argv[1].split(","))
for number, descriptor in enumerate(descriptors):
    os.dup2(descriptor, first + number)
    os.set_inheritable(first + number, True)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "nexus_supervisor", *sys.argv[2:]])
"""


class NotifySocket:
    """The socket that a service manager listens on while the ``with`` block runs; ``path`` is as in the environment."""

    def __init__(self, path: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="notify-")  # short: the path of a socket has 107 bytes
        self.path = path or f"{self._folder.name}/socket"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        self._socket.bind(f"\0{self.path[1:]}" if self.path.startswith("@") else self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._folder.cleanup()

    @property
    def variables(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.path}

    def receive(self) -> tuple[str, list[int]]:
        """Return the next message and the descriptors that came with it."""
        text, attached, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(64))
        descriptors = array.array("i")
        for _, _, raw in attached:
            descriptors.frombytes(raw)
        return text.decode(), list(descriptors)


class ServiceManager(NotifySocket):
    """A service manager that also starts services. ``kept`` are the descriptors that it was given, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, int] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        for descriptor in self.kept.values():
            os.close(descriptor)

    def until(self, line: str) -> list[dict[str, str]]:
        """Return what is told up to the next message that has a line which begins so."""
        told = []
        while True:
            text = self._told()
            told.append(dict(one.split("=", 1) for one in text.splitlines()))
            if any(one.startswith(line) for one in text.splitlines()):
                return told

    @contextlib.contextmanager
    def running(self, *arguments: str | Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the command line as a service that gets what was kept; it is killed if it doesn't end by itself."""
        copies = [os.dup(one) for one in self.kept.values()]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}
        environment |= self.variables | variables
        if copies:
            environment |= {"LISTEN_FDS": str(len(copies)), "LISTEN_FDNAMES": ":".join(self.kept)}
        line = [sys.executable, "-c", _START, ",".join(map(str, (_FIRST, *copies))), *map(str, arguments)]
        process = subprocess.Popen(line, env=environment, pass_fds=copies, start_new_session=True)
        for copy in copies:
            os.close(copy)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def _told(self) -> str:
        told, descriptors = self.receive()
        name = told.partition("FDNAME=")[2].partition("\n")[0]
        if told.startswith("FDSTORE=1"):
            (self.kept[name],) = descriptors
        elif told.startswith("FDSTOREREMOVE=1") and name in self.kept:
            os.close(self.kept.pop(name))
        return told
