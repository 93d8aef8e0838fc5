"""Load: what ``wrk`` finds out about one address in some seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.reports import BenchmarkError

__all__ = ["Load", "LoadRun", "begin"]

_SCRIPT = Path(__file__).with_name("load.lua")
_SPARE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Load:
    """Hold the figures of one run; latencies are milliseconds, ``versions`` those that answers named."""

    requests: int
    failures: int
    a_second: float
    p50: float
    p99: float
    versions: frozenset[int]


class LoadRun:
    """Load an address until the seconds are over."""

    def __init__(self, process: subprocess.Popen[str], seconds: int) -> None:
        self._process, self._seconds = process, seconds

    @property
    def running(self) -> bool:
        """Return whether requests are still sent."""
        return self._process.poll() is None

    def end(self) -> Load:
        """Wait for the end and return the figures."""
        output, _ = self._process.communicate(timeout=self._seconds + _SPARE_SECONDS)
        lines = [line for line in output.splitlines() if line.startswith("{")]
        if self._process.returncode or not lines:
            message = f"wrk failed:\n{output}"
            raise BenchmarkError(message)
        found = json.loads(lines[-1])
        return Load(
            found["requests"],
            found["failures"],
            found["requests"] / (found["microseconds"] / 1e6),
            found["p50"] / 1e3,
            found["p99"] / 1e3,
            frozenset(int(version) for version in found["versions"].split(",") if version),
        )


def begin(
    url: str, seconds: int, connections: int, headers: dict[str, str] | None = None, *, versions: bool = False
) -> LoadRun:
    """Begin to load an address from one thread; ``versions`` costs the generator time for each answer."""
    wrk = shutil.which("wrk")
    if wrk is None:
        message = "this benchmark needs wrk: install it (Debian: apt-get install wrk)"
        raise BenchmarkError(message)
    lines = [part for name, value in (headers or {}).items() for part in ("-H", f"{name}: {value}")]
    how = ["-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(_SCRIPT)]
    wanted = ["--", "versions"] if versions else []
    process = subprocess.Popen(
        [wrk, *how, *lines, url, *wanted],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return LoadRun(process, seconds)
