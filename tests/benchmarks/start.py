"""How long a worker takes to serve, and what it costs: forked by a zygote, as an interpreter of its own, by others.

``python -m tests.benchmarks.start`` (docs/benchmarks.md): all serve the same FastAPI application, alive in one run;
nginx answers by itself. In turns, the only worker of each is killed while a client waits for an answer: what is timed
is from the kill to the answer of the next worker, so it holds that the supervisor notices. uvicorn supervises no single
worker: it has two, and both are killed. HAProxy has no row, since it ends with its worker. Memory is what only the new
worker has (Private_Clean and Private_Dirty of smaps_rollup, proc(5)), after the answer. Asserts nothing.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tests.benchmarks import machine, products
from tests.benchmarks.footprint import private_bytes
from tests.benchmarks.products import Product, Running
from tests.benchmarks.reports import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["main"]

_SETTINGS = """
[supervisor.restart]
backoff_seconds = 0
max_restarts = 10000

[supervisor.rollout]
bake_seconds = 0
blame_seconds = 0
"""
_MIB = 1 << 20


@dataclass(slots=True)
class _Contender:
    """Hold one way to start workers: its server, and what was measured."""

    name: str
    running: Running
    milliseconds: list[float] = field(default_factory=list)
    private_mib: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Kill the workers, and wait for what the next one answers."""
        before = [worker.pid for worker in self.running.workers()]
        gone = [os.pidfd_open(pid) for pid in before]
        began = time.monotonic()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        for fd in gone:
            select.select([fd], (), ())  # or it might answer before it dies
            os.close(fd)
        self._ask()
        self.milliseconds.append((time.monotonic() - began) * 1e3)
        products.until(lambda: len(self._new(before)) == len(before), self.running.process)
        self.private_mib.append(private_bytes(self._new(before)[0]) / _MIB)

    def report(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "name": self.name,
            "starts": len(self.milliseconds),
            "milliseconds_median": statistics.median(self.milliseconds),
            "milliseconds_best": min(self.milliseconds),
            "milliseconds_worst": max(self.milliseconds),
            "private_mib_median": statistics.median(self.private_mib),
        }

    def _new(self, before: list[int]) -> list[int]:
        return [worker.pid for worker in self.running.workers() if worker.pid not in before]

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.running.port, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/")
        connection.getresponse().read()
        connection.close()


def _contenders(directory: Path, running: ExitStack) -> Iterable[_Contender]:
    for number, product in enumerate(_products()):
        if not product.installed:
            click.echo(f"{product.name} is left out: {product.needs} is not installed", err=True)
            continue
        place = directory / str(number)
        place.mkdir()
        workers = 2 if product.name == "uvicorn" else 1
        yield _Contender(product.name, running.enter_context(products.start(product, place, workers)))


def _products() -> Iterable[Product]:
    """Return the products, this project without pauses between the deaths of a worker."""
    forked, fresh, *others = products.PRODUCTS
    yield replace(forked, line=products.nexus("true", _SETTINGS))
    yield replace(fresh, line=products.nexus("false", _SETTINGS))
    yield from (other for other in others if not other.one_process)


def _show(found: list[dict[str, Any]]) -> None:
    click.echo("| a worker of | serves after | best | worst | private memory |\n|---|---|---|---|---|")
    for one in found:
        times = (one["milliseconds_median"], one["milliseconds_best"], one["milliseconds_worst"])
        median, best, worst = (f"{value:.1f} ms" for value in times)
        click.echo(f"| {one['name']} | {median} | {best} | {worst} | {one['private_mib_median']:.1f} MiB |")


@click.command
@click.option("--starts", type=click.IntRange(min=1), default=20, show_default=True, help="Workers of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(starts: int, as_json: bool) -> None:
    """Measure how long a worker takes to serve, and what it costs."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        contenders = list(_contenders(Path(name), running))
        for _ in range(starts):
            for contender in contenders:
                contender.measure()
        found = [contender.report() for contender in contenders]
        facts = machine.facts(Path(name))
    if as_json:
        click.echo(json.dumps({"machine": facts, "starts": found}, indent=2))
    else:
        _show(found)


if __name__ == "__main__":
    main()
