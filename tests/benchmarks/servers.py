"""Servers that are loaded: nexus-supervisor on a directory, or plain uvicorn, each started by ``with``."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_supervisor.client import ControlClient
from nexus_supervisor.errors import NexusError
from tests.benchmarks.reports import PATIENCE_SECONDS, BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Server", "nexus", "uvicorn"]

_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Server:
    """Name the address of a server that runs, and the process of which all its processes are descendants."""

    url: str
    pid: int


@contextmanager
def nexus(directory: Path, *options: str) -> Iterator[Server]:
    """Run a directory until the end of the block; every worker serves at its beginning."""
    line = [sys.executable, "-m", "nexus_supervisor", "run", str(directory), "-b", "127.0.0.1:0", *options]
    with _running(line, directory) as process:
        client = ControlClient(directory)
        _until(lambda: _ready(client), process)
        yield Server(f"http://{client.status()['addresses'][0]}", process.pid)


def _ready(client: ControlClient) -> bool:
    try:
        status = client.status()
    except NexusError:  # it isn't there yet; the process is watched
        return False
    return bool(status["workers"]) and all(worker["state"] == "ready" for worker in status["workers"])


@contextmanager
def uvicorn(directory: Path, app: str, workers: int) -> Iterator[Server]:
    """Run an application by uvicorn alone, with the parts that nexus-supervisor uses, until the end of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    parts = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-server-header"]
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    line = [sys.executable, "-m", "uvicorn", app, *address, *parts, "--log-level", "warning"]
    with _running(line, directory) as process:
        _until(lambda: _accepts(port), process)
        yield Server(f"http://127.0.0.1:{port}", process.pid)


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _running(line: Sequence[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    with directory.with_suffix(".log").open("w+b") as output:
        process = subprocess.Popen(
            line, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield process
        except BenchmarkError as error:
            output.seek(0)
            message = f"{error}\n{output.read().decode(errors='replace')[-4000:]}"
            raise BenchmarkError(message) from error
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def _until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition():
        if process.poll() is not None:
            message = f"the server ended with {process.returncode}"
            raise BenchmarkError(message)
        time.sleep(_PAUSE_SECONDS)
