"""What poison costs: ``python -m tests.benchmarks.poison``.

Three workers under load are given every kind of the poison corpus (``tests/support/poison.py``), one after the other.
Measured is how long each was in use before it was found out, how long the way back took, and what clients noticed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tests.benchmarks import machine
from tests.support.poison import EXPLODES, KINDS, LIES, Case, Kind, Told, Ward, a_ward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["main"]

_METHOD = (
    "3 workers, 6 clients on keep-alive connections that ask without pause; seconds by the supervisor's notices: "
    "detected from the moment at which the canary activated it (where it never did: from the start of its rollout; "
    "where it got no version: from the write of the file) until it failed, rolled back from there until every worker "
    "has the content from before; requests are those sent from the write of the file until the end is known; workers "
    "affected used it, answered with it or were lost (where it shows after the commit: were lost)"
)
_ROLLOUT = """\
bake_seconds = 2
quiet_bake_seconds = 5
trial.timeout_seconds = 3
trial.cpu_seconds = 1
trial.memory_mb = 128
stage_timeout_seconds = 3
"""
_LEGEND = "ms; failed: answers of 500 and more, and requests without an answer"


def measure(case: Case, kind: Kind) -> dict[str, Any]:
    """Return the figures of one case."""
    failed, back = case.first("rollout_failed", "version_condemned", "candidate_refused"), _way_back(case)
    began = case.first("version_active", version=case.target) or case.first("rollout_started")
    since = began.at if began is not None and failed is not None and began.at < failed.at else case.asked_at
    return {
        "kind": kind.name,
        "met_by": kind.met_by,
        "outcome": case.ended.outcome,
        "detected_after_milliseconds": None if failed is None else round((failed.at - since) * 1000, 1),
        "rolled_back_after_milliseconds": None if not (failed and back) else round((back.at - failed.at) * 1000, 1),
        "requests_sent": len(case.asked),
        "requests_failed": len(case.failures),
        "workers_affected": len(case.lost if kind.met_by == "commit" else case.affected),
        "reason": "" if failed is None else failed.text,
    }


def _way_back(case: Case) -> Told | None:
    """Return the notice that says that all workers have the content from before; None where none had left it."""
    back = [told for told in case.told if told.kind in ("rolled_back", "committed") and _follows(told, case)]
    return back[-1] if back and case.activated_by else None


def _follows(told: Told, case: Case) -> bool:
    return case.target is not None and told.fields.get("version", 0) > case.target


def cases(directory: Path) -> Iterator[dict[str, Any]]:
    """Meet every kind; one that shows after the commit is waited for."""
    with a_ward(directory / "asgi", _ROLLOUT) as ward:
        for kind in KINDS:
            sys.stderr.write(f"{kind.name} …\n")
            case = ward.meet(kind)
            ward.cure()  # by now it is known what became of every request
            yield measure(case, kind)
        sys.stderr.write(f"{EXPLODES.name} …\n")
        yield measure(explode(ward), EXPLODES)
    with a_ward(directory / "mutant", _ROLLOUT, program="mutant:run") as ward:
        sys.stderr.write(f"{LIES.name} …\n")
        case = ward.meet(LIES)
        ward.cure()
        yield measure(case, LIES)


def explode(ward: Ward) -> Case:
    """Push what exits seconds after its activation; return what came of it when it is taken back."""
    mark = ward.mark()
    ward.write(EXPLODES.text)
    ended = ward.nexus.push()
    back = ward.nexus.until("rollout_started", kind="return")["version"]
    ward.nexus.until("rolled_back", "committed", version=back)
    case = ward.since(mark, ended)
    ward.until_well()
    return case


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the rows as people read them."""
    head = ("kind", "met by", "outcome", "detected", "rolled back", "failed / sent", "workers")
    lines = [head, *map(_row, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = [
        "  ".join(text.ljust(width) if column < 3 else text.rjust(width) for column, (text, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    ]
    return "\n".join([*shown, "", _LEGEND])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["kind"],
        row["met_by"],
        row["outcome"],
        _milliseconds(row["detected_after_milliseconds"]),
        _milliseconds(row["rolled_back_after_milliseconds"]),
        f"{row['requests_failed']:,} / {row['requests_sent']:,}",
        str(row["workers_affected"]),
    )


def _milliseconds(found: float | None) -> str:
    return "-" if found is None else f"{found:,.0f}"


@click.command
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file.")
def main(file: Path | None) -> None:
    """Measure what each kind of poison costs before it is taken back."""
    with tempfile.TemporaryDirectory(prefix="nexus-benchmark-") as temporary:
        directory = Path(temporary)
        document: dict[str, Any] = {"benchmark": "poison", "method": _METHOD, "machine": machine.facts(directory)}
        for name in ("asgi", "mutant"):
            (directory / name).mkdir()
        rows = list(cases(directory))
    if file is not None:
        file.write_text(json.dumps({**document, "cases": rows}, indent=2) + "\n", encoding="utf-8")
    click.echo(table(rows))


if __name__ == "__main__":
    main()
