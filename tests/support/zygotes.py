"""Start real zygotes and be their supervisor, and that of the workers they fork."""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nexus_supervisor.core.forking import FROM_ZYGOTE, TO_ZYGOTE, Fork, Forked, FromZygote, Load, Loaded, ToZygote
from nexus_supervisor.supervisor.child import Adopted
from nexus_supervisor.wire import Wire
from tests.support.workers import Site, Worker

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ForkedWorker", "Zygote"]

_PR_SET_CHILD_SUBREAPER = 36


class Zygote:
    """Run one zygote process and talk to it; it is killed at the end if it still runs.

    ``loads``: return once it has imported everything.
    """

    def __init__(
        self,
        site: Site,
        *,
        loads: bool = True,
        env: dict[str, str] | None = None,
        stdio: int | None = None,
        **fields: Any,
    ) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.site, self._loads = site, loads
        ours, theirs = socket.socketpair()
        self._log = (site.directory / f"zygote-{secrets.token_hex(4)}.log").open("w+")
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "nexus_supervisor.agent.zygote", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log if stdio is None else stdio,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **(env or {})},
            )
        self.wire: Wire[FromZygote, ToZygote] = Wire(ours, FROM_ZYGOTE, TO_ZYGOTE)
        self._forks = 0
        load: dict[str, Any] = {
            "name": "shop",
            "generation": 1,
            "directory": str(site.directory),
            "program": "shop:wait",
            "app": "",
            "hooks": "",
            "models": (),
            "tls": "",
            "log_level": "info",
            "log_format": "text",
            "limits": (0, 0, 0),
        }
        self.wire.send(Load(**(load | fields)))

    def __enter__(self) -> Self:
        if self._loads:
            assert self.receive() == Loaded(()), self.log()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.wire.close()
        if error is not None:
            error.add_note(self.log())
        self._log.close()

    def log(self) -> str:
        """Return what it and its workers wrote so far."""
        return Path(self._log.name).read_text()

    def receive(self) -> FromZygote:
        """Return the next message."""
        received = self.wire.receive()
        assert received is not None, f"the zygote ended\n{self.log()}"
        return received[0]

    def fork(self, *, trial: bool = False, stdio: tuple[int, int] | None = None) -> tuple[int, socket.socket]:
        """Have a worker made; return its number and our end of its pipe."""
        ours, theirs = socket.socketpair()
        self._forks += 1
        with theirs:
            self.wire.send(Fork(self._forks, trial, stdio is not None), [theirs.fileno(), *(stdio or ())])
        answer = self.receive()
        assert isinstance(answer, Forked), answer
        assert answer.number == self._forks
        return answer.pid, ours

    def worker(self, number: int = 0, **fields: Any) -> ForkedWorker:
        """Have a worker made, and begin to talk to it."""
        pid, connection = self.fork(trial=bool(fields.get("trial")))
        return ForkedWorker(self, pid, connection, number, **fields)


class ForkedWorker(Worker):
    """Talk to a worker that a zygote has forked."""

    def __init__(self, zygote: Zygote, pid: int, connection: socket.socket, number: int, **fields: Any) -> None:
        self._zygote = zygote
        self._given = _Forked(pid), connection
        super().__init__(zygote.site, number, **fields)

    def _started(self, output: int | None, *, trial: bool) -> tuple[Any, socket.socket]:
        del output, trial  # it was told them before
        return self._given

    def log(self) -> str:
        """Return what the zygote and all its workers wrote so far."""
        return self._zygote.log()


class _Forked(Adopted):
    """Be what the tests know of Popen."""

    def kill(self) -> None:
        self.send_signal(9)
