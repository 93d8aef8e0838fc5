"""Add a job for each address: ``python enqueue.py [--wait] ADDRESS…``.

With --wait, wait for the end of all jobs and show what came of them.
"""

from __future__ import annotations

import sys
import time

from mail_queue import opened


def main(arguments: list[str]) -> None:
    """Add a job for each address."""
    addresses = [one for one in arguments if one != "--wait"]
    with opened() as queue:
        added = queue.add(addresses)
        print(f"queued {len(added)} jobs")
        if len(addresses) < len(arguments):
            while not queue.is_finished():
                time.sleep(0.1)
            print(*queue.ends(), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
