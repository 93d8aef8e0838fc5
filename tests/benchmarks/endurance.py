"""What a daemon holds after very many pushes and restarts: ``python -m tests.benchmarks.endurance``.

One daemon under a light load gets 10,000 pushes, then 500 restarts. Before, between and after, its descriptors,
threads, processes, zombies, files and memory are counted, with the load away. It prints a table and asserts nothing: a
short run of the same is a test (``tests/chaos/test_endurance.py``).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.benchmarks import machine
from tests.support.endurance import endurance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.endurance import Endurance, Held

__all__ = ["main"]

_WARM_UP_PUSHES = 200
_WARM_UP_RESTARTS = 2
_PARTS = 5
_MEBIBYTE = 1 << 20


class Run:
    """One run: what was held at each look, and what clients noticed."""

    def __init__(self, subject: Endurance) -> None:
        self.looks: dict[str, Held] = {}
        self.asked = self.failed = 0
        self.seconds: dict[str, float] = {}
        self._subject = subject

    def repeat(self, what: str, do: Callable[[], None], times: int, *, parts: int) -> None:
        """Do it so often under load, and look after each part; the load is away meanwhile."""
        self.seconds[what] = 0.0
        for part in range(1, parts + 1):
            began = time.monotonic()
            with self._subject.load() as load:
                for _ in range(times * part // parts - times * (part - 1) // parts):
                    do()
            self.seconds[what] += time.monotonic() - began
            self.asked, self.failed = self.asked + load.asked, self.failed + load.failed
            self.look(f"{times * part // parts} {what}")

    def look(self, when: str) -> None:
        """Note what is held."""
        self.looks[when] = held = self._subject.held()
        sys.stderr.write(f"{when}: {held}\n")


def rows(before: Held, after: Held) -> Iterator[tuple[str, str, str]]:
    """Yield what is counted, before and after."""
    for role in sorted(before.descriptors.keys() | after.descriptors.keys()):
        for name in ("descriptors", "threads"):
            yield (f"{name} of {role}", *(str(getattr(held, name).get(role, "-")) for held in (before, after)))
    yield "processes", str(before.processes), str(after.processes)
    yield "zombies", str(before.zombies), str(after.zombies)
    yield "temporary files", str(len(before.files)), str(len(after.files))
    for role in sorted(before.memory.keys() | after.memory.keys()):
        yield (f"RSS / PSS of {role}, MiB", *(_memory(held, role) for held in (before, after)))


def _memory(held: Held, role: str) -> str:
    found = held.memory.get(role)
    return f"{found.rss / _MEBIBYTE:.1f} / {found.pss / _MEBIBYTE:.1f}" if found else "-"


def table(run: Run) -> str:
    """Return the first and the last look as people read them."""
    looks = list(run.looks.items())
    head = ("", looks[0][0], looks[-1][0])
    lines = [head, *rows(looks[0][1], looks[-1][1])]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    text = ["  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    took = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in run.seconds.items())
    return "\n".join([*text, "", f"{took}; {run.asked} requests, {run.failed} without an answer"])


@click.command
@click.option("--pushes", type=click.IntRange(min=1), default=10_000, show_default=True, help="How many pushes.")
@click.option("--restarts", type=click.IntRange(min=1), default=500, show_default=True, help="How many restarts.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="How many workers.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file.")
def main(pushes: int, restarts: int, workers: int, file: Path | None) -> None:
    """Push to one daemon and restart it very often, and print what it holds before and after."""
    with tempfile.TemporaryDirectory(prefix="nexus-benchmark-") as temporary:
        facts = machine.facts(Path(temporary))
        with endurance(Path(temporary), workers=workers) as subject:
            run = Run(subject)
            run.repeat("pushes to warm up", subject.push, _WARM_UP_PUSHES, parts=1)
            run.repeat("restarts to warm up", subject.restart, _WARM_UP_RESTARTS, parts=1)
            run.looks.clear()
            run.look("before")
            run.repeat("pushes", subject.push, pushes, parts=min(pushes, _PARTS))
            run.repeat("restarts", subject.restart, restarts, parts=min(restarts, _PARTS))
    if file is not None:
        looks = {when: asdict(held) for when, held in run.looks.items()}
        document = {"benchmark": "endurance", "machine": facts, "seconds": run.seconds, "looks": looks}
        document |= {"requests": run.asked, "failed": run.failed}
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    click.echo(table(run))


if __name__ == "__main__":
    main()
