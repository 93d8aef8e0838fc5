"""Restarts: what clients on kept connections notice while workers are replaced, stopped and killed.

``python -m tests.benchmarks.restart`` (docs/benchmarks.md) loads one server after the other in one run: this project,
gunicorn with uvicorn's workers, uvicorn alone, nginx and HAProxy (``products.py`` says how each is told). It prints two
tables, and asserts nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import signal
import socket
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import products
from tests.benchmarks.footprint import Footprint, private_bytes
from tests.benchmarks.keepalive import Clients
from tests.benchmarks.machine import facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.keepalive import Noticed
    from tests.benchmarks.products import Product, Running

__all__ = ["Change", "Recovery", "change", "recover"]

_CALM_SECONDS = 2.0  # for what a start leaves to do, then of load before what is measured begins
_AFTER_SECONDS = 5.0  # of load after a restart: where the old are gone, the new needn't serve yet
_PROBES = 16  # connections at once, so that every process that serves takes one
_PROBE_SHARE = 0.05  # of the time so far is the pause between two looks: they are no load for what starts slowly
_ANSWER_SECONDS = 10.0
_PROBE = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """Hold what clients noticed of a restart or a stop, and what it cost; ``left`` workers were not replaced."""

    name: str
    what: str
    requests: int
    failed: int
    closed: int
    p99_before_ms: float
    p99_ms: float
    gap_ms: float
    seconds: float
    peak_bytes: int
    processes: int
    left: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """Hold what ``kill -9`` of workers, one after the other, led to; no milliseconds: the server ended with it."""

    name: str
    milliseconds: tuple[float, ...]
    requests: int
    failed: int
    gap_ms: float
    private_bytes: int


def change(product: Product, workers: int, paces: list[float]) -> tuple[Change, Change]:
    """Run a server, have its workers replaced under load, then stop it under load."""
    with tempfile.TemporaryDirectory() as name, products.start(product, Path(name), workers) as running:
        time.sleep(_CALM_SECONDS)
        return _during("restart", running, paces, running.restart), _during("stop", running, paces, running.stop)


def _during(what: str, running: Running, paces: list[float], act: Callable[[], int]) -> Change:
    with Footprint(running.root) as footprint, Clients(running.port, paces) as clients:
        time.sleep(_CALM_SECONDS)
        began = time.monotonic()
        left = act()
        ended = time.monotonic()
        if what == "restart":
            time.sleep(_AFTER_SECONDS)
        over = time.monotonic() if what == "restart" else began
    noticed = clients.noticed
    during = [seconds for moment, seconds in noticed.answers if moment >= began]
    return Change(
        running.product.name,
        what,
        len(noticed.answers),
        len(noticed.failed) + (len(noticed.refused) if what == "restart" else 0),
        len(noticed.closed),
        _p99([seconds for moment, seconds in noticed.answers if moment < began]) * 1e3,
        _p99(during) * 1e3,
        _gap(noticed, began, over) * 1e3,
        ended - began,
        footprint.peak_bytes,
        footprint.processes,
        left,
    )


def recover(product: Product, workers: int, paces: list[float], kills: int) -> Recovery:
    """Run a server under load and kill workers of it, each as soon as the one before is replaced."""
    with tempfile.TemporaryDirectory() as name, products.start(product, Path(name), workers) as running:
        time.sleep(_CALM_SECONDS)
        with Clients(running.port, paces) as clients:
            time.sleep(_CALM_SECONDS)
            private = statistics.median(private_bytes(worker.pid) for worker in running.workers())
            began = time.monotonic()
            found = list(itertools.takewhile(math.isfinite, (_kill(running) for _ in range(kills))))
        noticed = clients.noticed
        return Recovery(
            product.name,
            tuple(seconds * 1e3 for seconds in found),
            len(noticed.answers),
            len(noticed.failed),
            _gap(noticed, began) * 1e3,
            int(private),
        )


def _kill(running: Running) -> float:
    """Kill the oldest worker; return after how many seconds a new one answers, infinity where the server ends."""
    before = running.workers()
    known = {worker.pid for worker in before}
    began = time.monotonic()
    before[0].send_signal(signal.SIGKILL)
    while running.process.poll() is None:
        found = _answering(running.port)
        seconds = time.monotonic() - began
        if not found <= known:
            time.sleep(_CALM_SECONDS)
            return seconds
        time.sleep(seconds * _PROBE_SHARE)
    return math.inf


def _answering(port: int) -> set[int]:
    """Return which processes answer some connections that come at once."""
    with ExitStack() as opened:
        probes = []
        for _ in range(_PROBES):
            probe = opened.enter_context(socket.socket())
            probe.settimeout(_ANSWER_SECONDS)
            if not probe.connect_ex(("127.0.0.1", port)):
                probes.append(probe)
        return {pid for probe in probes if (pid := _asked(probe))}


def _asked(probe: socket.socket) -> int:
    """Return the process that answers, 0 where none does."""
    answer = b""
    try:
        probe.sendall(_PROBE)
        while part := probe.recv(4_096):
            answer += part
    except OSError:
        return 0
    body = answer.partition(b"\r\n\r\n")[2]
    return int(body) if body.isdigit() else 0


def _p99(found: list[float]) -> float:
    return statistics.quantiles(found, n=100)[98] if len(found) > 1 else 0.0


def _gap(noticed: Noticed, *moments: float) -> float:
    """Return the longest time without an answer after the first of some moments, and to the others."""
    answered = (moment + seconds for moment, seconds in noticed.answers)
    moments = tuple(sorted((*moments, *(moment for moment in answered if moment > moments[0]))))
    return max((after - before for before, after in itertools.pairwise(moments)), default=0.0)


def _changes_table(found: list[Change]) -> str:
    head = "| | | failed | idle closed | p99 before | p99 | longest gap | took | most memory | processes |\n"
    lines = [
        f"| {one.name} | {one.what} | {one.failed} of {one.requests:,} | {one.closed} | {one.p99_before_ms:.1f} ms "
        f"| {f'{one.p99_ms:.1f} ms' if one.p99_ms else ''} | {one.gap_ms:.0f} ms | {_took(one)} "
        f"| {one.peak_bytes / _MIB:.0f} MiB | {one.processes} |"
        for one in found
    ]
    return head + "|---|---|---|---|---|---|---|---|---|---|\n" + "\n".join(lines)


def _took(one: Change) -> str:
    return f"{one.left} are never replaced" if one.left else f"{one.seconds:.1f} s"


def _recoveries_table(found: list[Recovery]) -> str:
    head = "| after `kill -9` of a worker | a new one answers after | at worst | kills | failed | longest gap "
    head += "| private memory of a worker |\n|---|---|---|---|---|---|---|\n"
    return head + "\n".join(_recovery_row(one) for one in found)


def _recovery_row(one: Recovery) -> str:
    times, after, gap = one.milliseconds, "never: the server ends | ", ""
    if times:
        after, gap = f"{statistics.median(times):.0f} ms | {max(times):.0f} ms", f"{one.gap_ms:.0f} ms"
    failed = f"{one.failed} of {one.requests:,}"
    return f"| {one.name} | {after} | {len(times) or 1} | {failed} | {gap} | {one.private_bytes / _MIB:.1f} MiB |"


def main() -> None:
    """Measure all products that are installed and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.restart", description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--busy", type=int, default=32, help="connections that ask 25 times a second")
    parser.add_argument("--quiet", type=int, default=32, help="connections that ask once a second")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--only", help="one product")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    paces = [0.04] * options.busy + [1.0] * options.quiet
    chosen = [one for one in products.PRODUCTS if options.only in {None, one.name}]
    changes: list[Change] = []
    recoveries: list[Recovery] = []
    for one in chosen:
        if not one.installed:
            print(f"{one.name} is left out: {one.needs} is not installed")
            continue
        changes += change(one, options.workers, paces)
        recoveries.append(recover(one, options.workers, paces, options.kills))
    print(_changes_table(changes), _recoveries_table(recoveries), sep="\n\n")
    if options.json is not None:
        rows = {"changes": [asdict(one) for one in changes], "recoveries": [asdict(one) for one in recoveries]}
        options.json.write_text(json.dumps({"machine": facts(Path(tempfile.gettempdir())), **rows}, indent=2))


if __name__ == "__main__":
    main()
