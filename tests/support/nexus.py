"""The real-process harness: a supervisor in its own session, and what a user, a client or a signal does to it.

Tests wait for its notices, never for time. What it leaves behind fails the test that left it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from typing import TYPE_CHECKING, Any, NoReturn, Self

import psutil
import pytest

from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import (
    Ended,
    Noticed,
    PushRequest,
    RestartRequest,
    RollbackRequest,
    SteerRequest,
)
from nexus_supervisor.errors import NotRunningError, UnfinishedError
from tests.support import leaks
from tests.support.http import PATIENCE_SECONDS, Connection, Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from nexus_supervisor.core.control import Request

__all__ = ["Nexus", "command"]

_MARK = "SUPERVISOR_TEST_MARK"
_POLL_SECONDS = 0.02
_TAIL_BYTES = 8_000
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("NEXUS_")}


def command(*arguments: str | Path, env: Mapping[str, str] = _ENVIRONMENT) -> subprocess.CompletedProcess[str]:
    """Run one command of the command line to its end."""
    line = [sys.executable, "-m", "nexus_supervisor", *map(str, arguments)]
    return subprocess.run(
        line, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, env=env
    )


class Nexus:
    """A supervisor that runs while the ``with`` block does. ``arguments`` are those of ``run`` after the directory.

    ``bind`` is its address; where that is empty, ``daemon.toml`` says it. It inherits the descriptors ``pass_fds``.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        bind: str = "127.0.0.1:0",
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._pass_fds = pass_fds
        self.directory = directory
        self.client = ControlClient(directory)
        self._arguments = ("-b", bind, *arguments) if bind else arguments
        self._mark = uuid.uuid4().hex
        self._environment = {**_ENVIRONMENT, **(env or {}), _MARK: self._mark}
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._told: list[dict[str, Any]] = []
        self._killed = False

    def __enter__(self) -> Self:
        """Start it and return when every worker serves."""
        line = [sys.executable, "-m", "nexus_supervisor", "run", str(self.directory)]
        self.process = subprocess.Popen(
            [*line, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=self._environment,
            start_new_session=True,
            pass_fds=self._pass_fds,
        )
        try:
            self._stream = self._follow()
            self.until("daemon_ready")
        except BaseException:
            self._end(failed=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(failed=error is not None)

    # --- what it tells ---

    def until(self, *kinds: str, **fields: object) -> dict[str, Any]:
        """Return the fields of the next notice of one of these kinds with these fields, passing over those before."""
        wanted = f"{' or '.join(kinds)} with {fields}"
        try:
            told = next((told for told in map(self._note, self._stream) if _is(told, kinds, fields)), None)
        except UnfinishedError:
            self._fail(f"no {wanted} came")
        if told is None:
            self._fail(f"the supervisor ended before {wanted} came")
        found: dict[str, Any] = told["fields"]
        return found

    def history(self, *kinds: str, **fields: object) -> list[dict[str, Any]]:
        """Return the fields of every such notice so far: what was asked before is certain to be among them."""
        told = [canonical.decode(noticed.document) for noticed in self.client.notices(0, follow=False)]
        return [one["fields"] for one in told if _is(one, kinds, fields)]

    def status(self) -> dict[str, Any]:
        return self.client.status()

    @property
    def version(self) -> int:
        """The version that is live."""
        return int(self.status()["version"])

    def workers(self) -> dict[str, dict[str, Any]]:
        """The workers of the status, by slot."""
        return {worker["slot"]: worker for worker in self.status()["workers"]}

    @property
    def output(self) -> str:
        """What it wrote to stdout and stderr so far."""
        end = self._output.seek(0, os.SEEK_END)
        return os.pread(self._output.fileno(), end, 0).decode(errors="replace")

    # --- what is asked of it ---

    def push(self, reason: str = "", expect: int | None = None, wait: str = "active", **options: Any) -> Ended:
        """Have it look now, and return its verdict on what the directory holds."""
        return self._ended(PushRequest(reason=reason, expect=expect, wait=wait, **options))

    def rollback(self, version: int | None = None, reason: str = "", push_id: str = "") -> Ended:
        """Have it go back to older content, and return what came of it."""
        return self._ended(RollbackRequest(version=version, reason=reason, push_id=push_id))

    def steer(self, verb: str, reason: str = "") -> Ended:
        """Steer the rollout that runs."""
        return self._ended(SteerRequest(verb=verb, reason=reason))

    def restart(self, reason: str = "", *, now: bool = False) -> Ended:
        return self._ended(RestartRequest(reason=reason, now=now))

    def upgrade(self, reason: str = "") -> Ended:
        """Have the code as it is now take over; what is told afterwards is followed anew."""
        ended = self.client.upgrade(reason, PATIENCE_SECONDS)
        if ended.exit_code == 0:
            self.follow_anew()
        return ended

    def follow_anew(self) -> None:
        """Follow the notices from the first one on that is not known: an upgrade ends every connection."""
        self._stream = self._follow(self._told[-1]["number"] + 1 if self._told else 0)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ask it to drain and end by TERM, and return its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait for its end, and return its exit code."""
        try:
            return self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._fail("the supervisor did not end")

    def kill(self) -> None:
        """Kill the supervisor and wait until what it started has ended by itself."""
        self._killed = True
        self.process.kill()
        self.process.wait()
        if stuck := leaks.await_exit(self.processes(), PATIENCE_SECONDS):
            self._fail(f"these processes outlived the supervisor: {stuck}")

    def processes(self) -> list[psutil.Process]:
        """What belongs to it and lives: itself, compiler, workers."""
        return leaks.processes(self.process.pid, (_MARK, self._mark))

    # --- what clients do ---

    @property
    def address(self) -> str:
        """Where it listens, as ``host:port``."""
        return str(self.history("listening")[-1]["address"])

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def connection(self, slot: str | None = None) -> Connection:
        """Open a connection to any worker, or to one: the others are stopped while it is accepted."""
        address = self.address
        if slot is None:
            return Connection(address)
        with self._alone(slot):
            connection = Connection(address)
            assert connection.request("GET", "/health").slot == slot
        return connection

    def connections(self) -> dict[str, Connection]:
        """Open a connection to every worker."""
        return {slot: self.connection(slot) for slot in self.workers()}

    def request(
        self, method: str, path: str, key: str | None = None, body: Any = None, worker: str | None = None
    ) -> Response:
        """Ask any worker, or the one of a slot, on a connection of its own."""
        with self.connection(worker) as connection:
            return connection.request(method, path, key, body)

    def everywhere(self, method: str, path: str, key: str | None = None) -> dict[str, Response]:
        """Ask every worker, and return their answers by slot."""
        return {slot: self.request(method, path, key, worker=slot) for slot in self.workers()}

    # --- inside ---

    def _ended(self, request: Request) -> Ended:
        answer = self.client.ask(request, PATIENCE_SECONDS)
        assert isinstance(answer, Ended)
        return answer

    def _follow(self, since: int = 0) -> Iterator[Noticed]:
        """Follow the notices from this one on, as soon as somebody answers."""
        for _ in range(round(PATIENCE_SECONDS / _POLL_SECONDS)):
            with contextlib.suppress(NotRunningError):
                yield from self.client.notices(since, patience=PATIENCE_SECONDS)
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._fail(f"the supervisor ended at once with {self.process.wait(_POLL_SECONDS)}")
        self._fail("nobody answers on the control socket")

    def _note(self, noticed: Noticed) -> dict[str, Any]:
        told: dict[str, Any] = canonical.decode(noticed.document)
        self._told.append({"number": noticed.number, **told})
        return told

    @contextlib.contextmanager
    def _alone(self, slot: str) -> Iterator[None]:
        """Stop every worker but one."""
        others = [psutil.Process(one["pid"]) for name, one in self.workers().items() if name != slot and one["pid"]]
        with contextlib.ExitStack() as stopped:
            for other in others:
                other.suspend()
                stopped.callback(other.resume)
            for other in others:
                while other.status() != psutil.STATUS_STOPPED:
                    os.sched_yield()
            yield

    def _fail(self, what: str) -> NoReturn:
        pytest.fail(f"{what}\n{self._report()}", pytrace=True)

    def _report(self) -> str:
        told = "\n".join(f"  {told['number']} {told['kind']}: {told['text']} {told['fields']}" for told in self._told)
        return f"notices:\n{told}\noutput:\n{self.output[-_TAIL_BYTES:]}"

    def _end(self, *, failed: bool) -> None:
        """End it if it still runs, end what is left by force, and say what should not have been left."""
        left: list[str] = []
        try:
            if failed:
                print(self._report())
            elif self.process.poll() is None:
                code = self.stop()
                left += [f"exit code {code}"] if code else []
        finally:
            for process in (found := self.processes()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()
            report = self._report()
            self._output.close()
        if not failed:
            left += [f"process {process}" for process in found]
            left += [] if self._killed else [f"file {name}" for name in leaks.files(self.directory)]
            assert not left, f"the supervisor left {left}\n{report}"


def _is(told: dict[str, Any], kinds: tuple[str, ...], fields: dict[str, object]) -> bool:
    return told["kind"] in kinds and all(told["fields"].get(name) == value for name, value in fields.items())
