"""The two that are compared, each on a directory of its own, started by ``with`` and changed by the driver."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from nexus_supervisor.client import ControlClient
from nexus_supervisor.core import canonical
from nexus_supervisor.supervisor import keys
from tests.benchmarks.reports import PATIENCE_SECONDS, BenchmarkError, Reports
from tests.benchmarks.rounds import PIPE_VARIABLE
from tests.benchmarks.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

__all__ = ["Contender", "HandWritten", "Nexus"]

_HERE = Path(__file__).parent
_TAIL_BYTES = 4_000
_DAEMON = """\
[supervisor.rollout]
bake_seconds = 0

[[supervisor.section]]
name = "sources"
files = "sources/*.toml"
apply = "live"
model = "program:Source"
table = "source"
name_from = "name"
"""


class Contender(Protocol):
    """Be changed and measured."""

    name: str

    def change(self, number: int) -> tuple[int, tuple[int, ...]]:
        """Replace a file; return the moment before, and when each worker had it, first to last."""

    def settle(self) -> None:
        """Return when everything that a change leads to is done."""

    def roots(self) -> tuple[int, ...]:
        """Return the processes of which all others are descendants."""


class _Contender:
    """Hold what both have: a directory, its files, a FIFO, processes and their output."""

    def __init__(self, directory: Path, workers: int, sources: int) -> None:
        self._directory, self._workers = directory, workers
        directory.mkdir(parents=True)
        self._sources = Sources(directory / "sources", sources)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._releases = ExitStack()

    def __enter__(self) -> Self:
        """Start, and return when every worker has the content."""
        with self._releases as releases:
            self._reports = releases.enter_context(Reports(self._directory.with_suffix(".fifo")))
            self._output = releases.enter_context(self._directory.with_suffix(".log").open("w+b"))
            self._environment = {**os.environ, PIPE_VARIABLE: str(self._reports.path)}
            releases.callback(self._stop)
            self._start()
            self._releases = releases.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._releases.close()

    def change(self, number: int) -> tuple[int, tuple[int, ...]]:
        before = self._sources.replace(number)
        return before, self._until(number)

    def roots(self) -> tuple[int, ...]:
        return tuple(process.pid for process in self._processes)

    def _start(self) -> None:
        raise NotImplementedError

    def _run(self, *line: str | Path) -> None:
        process = subprocess.Popen(
            list(map(str, line)),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=self._environment,
            start_new_session=True,
        )
        self._processes.append(process)

    def _stop(self) -> None:
        """End what still runs: TERM is a request, and both answer it."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(PATIENCE_SECONDS)

    def _until(self, change: int) -> tuple[int, ...]:
        try:
            return self._reports.until(change, self._workers, self._processes)
        except BenchmarkError as error:
            self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - _TAIL_BYTES))
            message = f"{error}\n{self._output.read().decode(errors='replace')}"
            raise BenchmarkError(message) from error


class Nexus(_Contender):
    """nexus-supervisor with its defaults, no bake, and the worker program beside this file.

    ``below`` is a command that it is run by, to look at what it does.
    """

    name = "nexus-supervisor"

    def __init__(self, directory: Path, workers: int, sources: int, below: Sequence[str] = ()) -> None:
        super().__init__(directory, workers, sources)
        self._below = below
        for file in ("program.py", "rounds.py"):
            shutil.copy(_HERE / file, directory)
        (directory / "daemon.toml").write_text(_DAEMON)
        keys.generate(directory)

    def _start(self) -> None:
        options = ("--program", "program:run", "-w", str(self._workers), "-b", "127.0.0.1:0")
        self._run(*self._below, sys.executable, "-m", "nexus_supervisor", "run", self._directory, *options)
        self._until(0)
        self._told = self._follow()
        missing = {"daemon_ready", "archived"}
        while missing:
            missing.discard(next(self._told))

    def settle(self) -> None:
        """Return when the version is committed and complete on disk."""
        if "archived" not in self._told:
            message = "the supervisor ended"
            raise BenchmarkError(message)

    def _follow(self) -> Iterator[str]:
        """Yield the kind of each notice."""
        for noticed in ControlClient(self._directory).notices(0, patience=PATIENCE_SECONDS):
            yield str(canonical.decode(noticed.document)["kind"])

    def _stop(self) -> None:
        if self._processes and self._processes[0].poll() is None and self._below:
            ControlClient(self._directory).stop()  # what it is run by would not pass a signal on
        super()._stop()


class HandWritten(_Contender):
    """As many processes as there are workers, each with its own observer (``peer.py``)."""

    name = "hand-written"

    def _start(self) -> None:
        for _ in range(self._workers):
            self._run(sys.executable, _HERE / "peer.py", self._directory / "sources")
        self._until(0)

    def settle(self) -> None:
        """Return at once: a process that has reported is done."""
