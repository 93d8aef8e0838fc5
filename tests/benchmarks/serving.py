"""How fast workers serve, and what happens to requests while versions are pushed.

``python -m tests.benchmarks.serving`` (docs/benchmarks.md): three tables. Whatever a table compares is alive in one run
and loaded in turns. Needs ``wrk``; asserts nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nexus_supervisor.client import ControlClient
from nexus_supervisor.core.control import PushRequest
from nexus_supervisor.supervisor import keys
from tests.benchmarks import load, machine, servers
from tests.benchmarks.processor_time import processor_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["main"]

_APPS = Path(__file__).with_name("apps")
_WARM_UP_SECONDS = 1
_HANDLERS = {
    "an async handler that does nothing": "/",
    "an async handler with a checked parameter, a dependency and a model": "/quote?amount=3",
    "a plain handler, on a thread": "/thread?amount=3",
}
_ROLLOUT = "[supervisor.rollout]\nbake_seconds = 0\n"
_KNOBS = """
[[supervisor.section]]
name = "knobs"
files = "knobs/*.toml"
apply = "live"
model = "knobs_models:Knobs"
"""


@dataclass(frozen=True, slots=True)
class _Plan:
    """Say how long and how hard to load."""

    workers: int
    rounds: int
    seconds: int
    connections: int


@dataclass(frozen=True, slots=True)
class _Contender:
    """Name what is loaded, and where."""

    name: str
    server: servers.Server
    path: str
    headers: dict[str, str]

    def load(self, seconds: int, connections: int) -> tuple[load.Load, float]:
        """Load it; return what came of it, and the microseconds of processor time that each request cost."""
        before = processor_seconds([self.server.pid])
        found = load.begin(self.server.url + self.path, seconds, connections, self.headers).end()
        return found, (processor_seconds([self.server.pid]) - before) * 1e6 / max(1, found.requests)


def frameworks(directory: Path, plan: _Plan) -> dict[str, Any]:
    """Compare an unmodified FastAPI application under nexus-supervisor with the same under plain uvicorn."""
    place, alone = directory / "nexus", directory / "uvicorn"
    for target in (place, alone):
        shutil.copytree(_APPS, target)
    (place / "daemon.toml").write_text(_ROLLOUT)
    keys.generate(place)
    options = ("--program", "asgi", "--app", "fastapi_app:app", "-w", str(plan.workers))
    with servers.uvicorn(alone, "fastapi_app:app", plan.workers) as peer, servers.nexus(place, *options) as ours:
        found = {}
        for what, path in _HANDLERS.items():
            contenders = [_Contender("uvicorn", peer, path, {}), _Contender("nexus-supervisor", ours, path, {})]
            found[what] = _in_turns(contenders, plan)
        return found


def sizes(directory: Path, plan: _Plan, counts: Iterable[int]) -> dict[str, Any]:
    """Compare ``/whoami`` of the gateway with few sources and with many."""
    with ExitStack() as running:
        contenders = []
        for count in counts:
            place = directory / str(count)
            _write_sources(place / "sources", count)
            (place / "destinations").mkdir()
            (place / "daemon.toml").write_text(_ROLLOUT)
            keys.generate(place)
            server = running.enter_context(servers.nexus(place, "-w", str(plan.workers)))
            headers = {"Authorization": f"Bearer {_key(count // 2)}"}
            contenders.append(_Contender(f"{count} sources", server, "/whoami", headers))
        return _in_turns(contenders, plan)


def _write_sources(directory: Path, count: int) -> None:
    directory.mkdir(parents=True)
    for number in range(count):
        text = f'[source]\nname = "source-{number}"\napi_key = "{_key(number)}"\n'
        (directory / f"source-{number}.toml").write_text(text)


def _key(number: int) -> str:
    return f"key-of-source-{number}"


def _in_turns(contenders: list[_Contender], plan: _Plan) -> dict[str, Any]:
    """Load each contender in each round, every other round backwards; the ratio is the last against the first."""
    runs: dict[str, list[tuple[load.Load, float]]] = {one.name: [] for one in contenders}
    for one in contenders:
        one.load(_WARM_UP_SECONDS, plan.connections)
    for number in range(plan.rounds):
        for one in contenders if number % 2 == 0 else reversed(contenders):
            runs[one.name].append(one.load(plan.seconds, plan.connections))
    figures = {name: _figures(found) for name, found in runs.items()}
    first, *_, last = figures.values()
    return {
        "contenders": figures,
        "ratio": round(last["a_second"]["median"] / first["a_second"]["median"], 3),
        "processor_ratio": round(first["processor_microseconds"] / last["processor_microseconds"], 3),
    }


def _figures(measured: list[tuple[load.Load, float]]) -> dict[str, Any]:
    runs = [run for run, _ in measured]
    rates = [round(run.a_second) for run in runs]
    return {
        "a_second": {"median": statistics.median(rates), "min": min(rates), "max": max(rates), "all": rates},
        "processor_microseconds": round(statistics.median(used for _, used in measured), 1),
        "p50_milliseconds": statistics.median(run.p50 for run in runs),
        "p99_milliseconds": statistics.median(run.p99 for run in runs),
        "requests": sum(run.requests for run in runs),
        "failures": sum(run.failures for run in runs),
    }


def pushes(directory: Path, plan: _Plan) -> dict[str, Any]:
    """Change a file as often as it goes live while each framework is loaded; count failures and versions."""
    cells = {}
    for name, program, app in (
        ("FastAPI", "asgi", "asgi_knobs:app"),
        ("Flask", "wsgi", "wsgi_knobs:app"),
        ("Django", "asgi", "django_knobs:app"),
    ):
        place = directory / name
        shutil.copytree(_APPS, place)
        (place / "knobs").mkdir()
        (place / "knobs" / "main.toml").write_text('text = "0"\n')
        (place / "daemon.toml").write_text(_ROLLOUT + _KNOBS)
        keys.generate(place)
        options = ("--program", program, "--app", app, "-w", str(plan.workers))
        with servers.nexus(place, *options) as server:
            run = load.begin(f"{server.url}/", plan.seconds * plan.rounds, plan.connections, versions=True)
            pushed = _push_while(place, lambda run=run: run.running)
            cells[name] = _cell(run.end(), pushed)
    return cells


def _push_while(directory: Path, running: Callable[[], bool]) -> int:
    """Push again and again; return how many versions went live."""
    client, number = ControlClient(directory), 0
    while running():
        number += 1
        fresh = directory / "main.new"
        fresh.write_text(f'text = "{number}"\n')
        fresh.rename(directory / "knobs" / "main.toml")
        client.ask(PushRequest(reason="", expect=None, wait="active"))
    return number


def _cell(found: load.Load, pushed: int) -> dict[str, Any]:
    return {
        "requests": found.requests,
        "failures": found.failures,
        "pushed": pushed,
        "versions_seen": len(found.versions),
        "a_second": round(found.a_second),
        "p99_milliseconds": found.p99,
    }


def _compared(title: str, found: dict[str, Any]) -> list[str]:
    lines = [title]
    for name, one in found["contenders"].items():
        rate = one["a_second"]
        latency = f"p50 {one['p50_milliseconds']:.2f} ms, p99 {one['p99_milliseconds']:.2f} ms"
        spread = f"{rate['median']:,.0f} ({rate['min']:,} to {rate['max']:,}) requests/s"
        cost = f"{one['processor_microseconds']:.1f} us of processor each"
        lines.append(f"  {name:18} {spread}, {cost}, {latency}, {one['failures']} failures of {one['requests']:,}")
    ratios = f"{found['ratio']:.3f} in requests a second, {found['processor_ratio']:.3f} in processor time"
    return [*lines, f"  the last against the first: {ratios}", ""]


def _pushed(found: dict[str, Any]) -> list[str]:
    lines = ["a push after the other under load"]
    for name, one in found.items():
        served = f"{one['requests']:,} requests, {one['failures']} failures, {one['a_second']:,} requests/s"
        lines.append(f"  {name:18} {served}; {one['pushed']} pushed, {one['versions_seen']} versions seen in answers")
    return lines


@click.command
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Workers of each server.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How often each is loaded.")
@click.option("--seconds", type=click.IntRange(min=1), default=4, show_default=True, help="How long each time.")
@click.option("--connections", type=click.IntRange(min=1), default=32, show_default=True, help="Open connections.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file.")
def main(workers: int, rounds: int, seconds: int, connections: int, file: Path | None) -> None:
    """Measure how fast workers serve beside plain uvicorn, with many sources, and while versions are pushed."""
    plan = _Plan(workers, rounds, seconds, connections)
    with tempfile.TemporaryDirectory(prefix="nexus-benchmark-") as temporary:
        directory = Path(temporary)
        document: dict[str, Any] = {"benchmark": "serving", "plan": [workers, rounds, seconds, connections]}
        document["machine"] = machine.facts(directory)
        os.environ.pop("NEXUS_HOME", None)
        sys.stderr.write("FastAPI under nexus-supervisor and under uvicorn …\n")
        document["frameworks"] = frameworks(directory / "frameworks", plan)
        sys.stderr.write("/whoami with 10 and 10,000 sources …\n")
        document["sizes"] = sizes(directory / "sizes", plan, (10, 10_000))
        sys.stderr.write("pushes under load …\n")
        document["pushes"] = pushes(directory / "pushes", plan)
    if file is not None:
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    lines = [line for what, one in document["frameworks"].items() for line in _compared(f"FastAPI, {what}", one)]
    lines += _compared("gateway, GET /whoami", document["sizes"])
    click.echo("\n".join([*lines, *_pushed(document["pushes"])]))


if __name__ == "__main__":
    main()
