from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.records import Answered, Burnt, Committed, Ended, Pinned
from nexus_supervisor.errors import DirectoryError
from nexus_supervisor.supervisor.past import Recollection, read_past
from tests.support.versions import History

if TYPE_CHECKING:
    from pathlib import Path

ANSWERED = Answered("a", "push", "why", "ann", 0, "APPLIED", "Done.", 1, 12.5)


def test_a_directory_without_a_journal_has_no_past(tmp_path: Path) -> None:
    assert read_past(tmp_path) == Recollection()


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="is not a directory"):
        read_past(tmp_path / "nowhere")


def test_a_journal_that_cannot_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "state" / "journal").mkdir(parents=True)
    with pytest.raises(DirectoryError, match="can't be read"):
        read_past(tmp_path)


def test_versions_and_requests_are_read_while_a_supervisor_has_the_journal_open(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.commit(1, alpha=1)
    history.store.record(Ended(1, "committed", "", "ann", 3.5), durable=False)
    history.store.record(ANSWERED, durable=False)
    history.offer(2, alpha=2)
    history.store.record(Burnt(2, "the trial died"), durable=False)
    history.store.record(Pinned("p" * 64), durable=False)
    past = read_past(tmp_path)
    history.store.close()
    assert [(one.version, one.outcome, one.pushes) for one in past.versions] == [
        (1, "committed", ("a",)),
        (2, "burnt", ()),
    ]
    assert (past.answered, past.committed, past.pinned, past.damage) == ((ANSWERED,), 1, "p" * 64, "")


def test_wherever_the_end_is_torn_what_comes_before_is_told(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.commit(1, alpha=1)
    whole = history.path("state/journal").read_bytes()
    history.commit(2, alpha=2)
    raw = history.path("state/journal").read_bytes()
    history.store.close()
    for end in range(len(whole), len(raw), 7):
        history.path("state/journal").write_bytes(raw[:end])
        past = read_past(tmp_path)
        assert (past.versions[0].outcome, past.damage) == ("committed", "")


def test_a_chain_that_is_broken_is_told_with_what_comes_before(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.commit(1, alpha=1)
    size = history.path("state/journal").stat().st_size
    history.store.record(Committed(1), durable=True)
    history.store.close()
    raw = bytearray(history.path("state/journal").read_bytes())
    raw[size + 40] ^= 1
    history.path("state/journal").write_bytes(raw)
    past = read_past(tmp_path)
    assert [one.version for one in past.versions] == [1]
    assert "does not belong to the chain" in past.damage


def test_reading_writes_nothing(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.commit(1, alpha=1)
    history.store.close()
    with history.path("state/journal").open("ab") as journal:
        journal.write(b"torn")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    read_past(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
