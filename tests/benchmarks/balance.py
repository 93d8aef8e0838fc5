"""How evenly connections spread over workers: ``python -m tests.benchmarks.balance``.

Each answer names its worker, so every connection is counted where it was accepted. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.benchmarks import machine, servers
from tests.support.listening import make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Counts = Counter[str]


def one_by_one(address: str, connections: int) -> Counts:
    """Open connections in a row, each for one request."""
    return Counter(_visit(address) for _ in range(connections))


def at_once(address: str, connections: int, clients: int = 32) -> Counts:
    """Open connections from many clients at the same time, each for one request."""
    with ThreadPoolExecutor(clients) as pool:
        return Counter(pool.map(lambda _: _visit(address), range(connections)))


def kept(address: str, connections: int, requests: int = 20) -> Counts:
    """Open connections in one burst and keep them: a connection stays with its worker, so does its load."""
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(contextlib.closing(_open(address))) for _ in range(connections)]
        return Counter(_ask(client) for _ in range(requests) for client in clients)


def _open(address: str) -> http.client.HTTPConnection:
    client = http.client.HTTPConnection(address, timeout=60)
    client.connect()
    return client


def _visit(address: str) -> str:
    with contextlib.closing(_open(address)) as client:
        return _ask(client)


def _ask(client: http.client.HTTPConnection) -> str:
    client.request("GET", "/")
    answer = client.getresponse()
    answer.read()
    return str(answer.headers["Nexus-Worker"]).partition("/")[0]


PATTERNS: dict[str, Callable[[str, int], Counts]] = {
    "fresh, one by one": one_by_one,
    "fresh, 32 clients": at_once,
    "kept, 20 requests each": kept,
}


def row(name: str, counts: Counts, workers: int) -> str:
    """Return a line: the share of each worker from the smallest to the largest, and largest over mean."""
    spread = sorted([*counts.values(), *[0] * (workers - len(counts))])
    worst = spread[-1] * workers / sum(spread)
    return f"{name:24} {' '.join(f'{one:6}' for one in spread)}   {worst:5.2f}"


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, and write the figures where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--connections", type=int, default=800)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        directory = make(Path(place, "web"), ["127.0.0.1:0"], workers=options.workers)
        with servers.nexus(directory) as server:
            address = urlsplit(server.url).netloc
            found = {name: measure(address, options.connections) for name, measure in PATTERNS.items()}
        about = machine.facts(directory)
    print(f"requests by worker, {options.workers} workers, from the fewest to the most; most over mean")
    for name, counts in found.items():
        print(row(name, counts, options.workers))
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "counts": found}, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
