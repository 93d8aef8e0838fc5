"""Be one process of a gateway test: ``python -m tests.support.gateway_process DIR COUNT [COUNTERS SLOT]``.

Waits for a line on stdin, posts COUNT bodies one after the other (0: until it is killed) and prints each answer's
status, with the id where there is one. With COUNTERS (a descriptor) and SLOT, requests are counted in shared memory.
"""

from __future__ import annotations

import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_workers.gateway.storage import StorageLimits

from nexus_supervisor.agent.shared import SharedCounters
from tests.support.gateway import Served, a_snapshot, a_source

if TYPE_CHECKING:
    from nexus_workers.gateway.models import Source

SLOTS = 4
ROWS = 8
LIMIT = 30


def _allowing(counters: SharedCounters) -> Any:
    def allow(source: Source, size: int) -> Any:
        limit = source.rate_limit
        return counters.allow(
            0,
            requests_per_minute=limit.requests_per_minute,
            bytes_per_second=limit.bytes_per_second,
            size=size,
            now=time.monotonic(),
        )

    return allow


def main(directory: str, number: str, *shared: str) -> None:
    """Run the process."""
    options = {"limits": StorageLimits(busy_timeout_seconds=60, answer_timeout_seconds=120)}
    source = a_source("a", rate_limit={"requests_per_minute": LIMIT if shared else 0})
    if shared:
        descriptor, slot = map(int, shared)
        options["allow"] = _allowing(SharedCounters(descriptor, rows=ROWS, slots=SLOTS, slot_number=slot))
    with Served(Path(directory), a_snapshot(source), **options) as served:
        print("ready", flush=True)
        sys.stdin.readline()
        for turn in count() if number == "0" else range(int(number)):
            response = served.inbound("a", {"turn": turn})
            print(response.status_code, response.json().get("id", ""), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
