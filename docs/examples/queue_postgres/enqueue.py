"""Add a job for each address: ``python enqueue.py [--wait] ADDRESS…``.

With --wait, wait for the end of all jobs and show what came of them.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path

from mail_queue import Queue


def main(arguments: list[str]) -> None:
    """Add a job for each address."""
    addresses = [one for one in arguments if one != "--wait"]
    dsn = (Path(__file__).parent / "dsn").read_text(encoding="utf-8").strip()
    with closing(Queue(dsn, connect_seconds=3)) as queue:
        queue.open()
        print(f"queued {queue.add(addresses)} jobs")
        if len(addresses) < len(arguments):
            while not queue.is_finished():
                time.sleep(0.1)
            print(*queue.ends(), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
