from __future__ import annotations

import threading
from contextlib import contextmanager
from queue import Queue
from typing import TYPE_CHECKING

from nexus_supervisor.core import effects
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.events import CommitRecorded, Event, Recorded
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.supervisor.past import Recollection, read_past
from nexus_supervisor.supervisor.records import MAX_LISTED, Records
from nexus_supervisor.supervisor.store import Retention
from tests.support.versions import History, content, issue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nexus_supervisor.core.notices import Notice
    from nexus_supervisor.supervisor.archive import Stored

PATIENCE = 30.0  # seconds; reached only where a test fails


class Kept:
    """Hold records on a store with two committed versions, and what they posted and told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        history = History(directory)
        history.commit(1, alpha=1)
        history.commit(2, alpha=2)
        self.posted: Queue[Event] = Queue()
        self.told: Queue[Notice] = Queue()
        self.records = Records(history.store, self.posted.put, self.told.put)

    def recalled(self, version: int | None) -> tuple[Stored | None, tuple[Problem, ...]]:
        found: Queue[tuple[Stored | None, tuple[Problem, ...]]] = Queue()
        self.records.recall(version, lambda *result: found.put(result))
        return found.get(timeout=PATIENCE)

    def past(self) -> Recollection:
        """End, and return what the journal remembers."""
        self.records.close()
        return read_past(self.directory)


@contextmanager
def kept(directory: Path) -> Iterator[Kept]:
    made = Kept(directory)
    try:
        yield made
    finally:
        made.records.close()
        assert made.told.empty()


def record(version: int, **facts: object) -> effects.Record:
    plain = {"rollback_of": None, "reason": "tighter", "requester": "ann (uid 7)", **facts}
    return effects.Record(Version(version), content(alpha=version).digest, **plain)  # type: ignore[arg-type]


def test_a_version_is_journaled_with_who_why_what_and_when(tmp_path: Path) -> None:
    with kept(tmp_path) as made:
        stored = issue(3, content(alpha=3))
        made.records.candidate(stored, b"", record(3, kind="push"), "sources: changed alpha")
        assert made.posted.get(timeout=PATIENCE) == Recorded(Version(3))
        made.records.commit(Version(3))
        assert made.posted.get(timeout=PATIENCE) == CommitRecorded(Version(3))
        made.records.ended(effects.End(Version(3), "committed", "it is fine", "", {"canary_requests": 50}))
        past = made.past().versions[-1]
    assert (past.origin, past.kind, past.requester, past.reason) == ("directory", "push", "ann (uid 7)", "tighter")
    assert (past.changes, past.outcome, past.numbers) == (
        "sources: changed alpha",
        "committed",
        {"canary_requests": 50},
    )
    assert 0 < past.at <= past.ended_at


def test_what_goes_back_has_that_origin(tmp_path: Path) -> None:
    with kept(tmp_path) as made:
        made.records.candidate(issue(3, content(alpha=1)), b"", record(3, rollback_of=Version(1), kind="return"), "")
        past = made.past().versions[-1]
    assert (past.origin, past.kind) == ("rollback", "return")


def test_an_answer_is_journaled_whole_but_not_without_end(tmp_path: Path) -> None:
    problems = tuple(Problem(f"sources/{number}.toml", 1, "", "type", "wrong") for number in range(100))
    held = tuple(f"daemon.key{number}" for number in range(100))
    outcome = effects.Outcome(3, "REJECTED", "Refused.", problems, Version(2), 4, held, {"n": 1})
    with kept(tmp_path) as made:
        made.records.answered(effects.Note("id-1", "push", "why", "ann", outcome))
        (answered,) = made.past().answered
    assert (answered.push_id, answered.verb, answered.reason, answered.requester) == ("id-1", "push", "why", "ann")
    assert (answered.exit_code, answered.outcome, answered.text, answered.version) == (3, "REJECTED", "Refused.", 2)
    assert (answered.workers, answered.held, answered.problems) == (4, held[:MAX_LISTED], problems[:MAX_LISTED])
    assert (answered.numbers, answered.at > 0) == (b'{"n":1}', True)


def test_pins_and_releases_are_journaled(tmp_path: Path) -> None:
    digest = Digest("d" * 64)
    with kept(tmp_path) as made:
        made.records.quarantine(digest, "it failed")
        made.records.pin(digest)
        made.records.release(effects.Release(digest, "it was the network", "ann"))
        assert made.past().pinned == digest
    store = History(tmp_path).store
    assert (store.recovered.pinned, dict(store.recovered.quarantined)) == (digest, {})
    store.close()


def test_an_older_version_is_recalled_in_the_thread_of_the_archive(tmp_path: Path) -> None:
    with kept(tmp_path) as made:
        threads: Queue[str] = Queue()
        made.records.recall(1, lambda *_: threads.put(threading.current_thread().name))
        assert threads.get(timeout=PATIENCE).startswith("archive")
        stored, problems = made.recalled(1)
        assert stored is not None
        assert (stored.version, stored.content, problems) == (1, content(alpha=1), ())
        assert made.recalled(None)[0] == stored


def test_a_version_that_is_not_there_or_damaged_is_a_problem_that_says_so(tmp_path: Path) -> None:
    with kept(tmp_path) as made:
        assert made.recalled(9) == (
            None,
            (Problem(".", 0, "", "missing", "version 9 can't be used: compiled/ keeps only 1 to 2"),),
        )
        (tmp_path / "compiled/000001/sources.json").write_text("{}")
        stored, (problem,) = made.recalled(1)
        assert (stored, problem.file, problem.code) == (None, "compiled/000001/sources.json", "unreadable")


def test_limits_that_change_are_followed(tmp_path: Path) -> None:
    with kept(tmp_path) as made:
        made.records.keep(Retention(versions=2, days=0.0, history=10, journal_bytes=1))
        for number in range(100):
            outcome = effects.Outcome(0, "APPLIED", "Done.")
            made.records.answered(effects.Note(f"id-{number}", "push", "", "ann", outcome))
        past = made.past()
    assert 10 <= len(past.answered) < 100
    assert past.answered[-1].push_id == "id-99"
    assert past.committed == 2
