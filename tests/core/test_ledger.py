from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import canonical
from nexus_supervisor.core.ledger import MAX_PUSHES, Ledger
from nexus_supervisor.core.past import MAX_CHARACTERS, Past, facts_of, moment
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.records import (
    Answered,
    Burnt,
    Candidate,
    Checkpoint,
    Committed,
    Ended,
    Pinned,
    Quarantined,
    Released,
    Remembered,
    Spawned,
    Unpinned,
)
from tests.support.versions import content, issue

if TYPE_CHECKING:
    from nexus_supervisor.core.records import Record

OFFERED = 1_795_500_000.0
ENDED = OFFERED + 3.5
NUMBERS = b'{"canary_errors":48,"canary_requests":50,"slots":["a","b"]}'


def candidate(version: int, *, at: float = OFFERED, **facts: str) -> Candidate:
    stored = issue(version, content(alpha=version))
    told = {"kind": "push", "requester": "ann (uid 7)", "changes": "sources: changed alpha", **facts}
    return Candidate(version, stored.manifest_bytes, stored.signature, b"", "tighter", "directory", at=at, **told)


def answered(push_id: str, version: int) -> Answered:
    return Answered(push_id, "push", "tighter", "ann (uid 7)", 4, "ROLLED_BACK", "It failed.", version, ENDED)


def test_the_past_of_a_version_says_who_when_why_what_how_and_with_which_numbers() -> None:
    ended = Ended(1, "rolled_back", "errors 48 of 50", "", ENDED, NUMBERS)
    ledger = Ledger([candidate(1), ended, answered("a1", 1)])
    assert ledger.history == (
        Past(
            version=1,
            origin="directory",
            reason="tighter",
            outcome="rolled_back",
            detail="errors 48 of 50",
            requester="ann (uid 7)",
            kind="push",
            changes="sources: changed alpha",
            at=OFFERED,
            ended_at=ENDED,
            numbers={"canary_errors": 48, "canary_requests": 50, "slots": ("a", "b")},
            digest=content(alpha=1).digest,
            rollback_of=None,
            pushes=("a1",),
        ),
    )


def test_a_candidate_of_an_older_format_is_as_old_as_its_manifest() -> None:
    stored = issue(1, content(alpha=1))
    ledger = Ledger([Candidate(1, stored.manifest_bytes, stored.signature, b"", "edited", "directory")])
    past = ledger.past(1)
    assert past is not None
    assert (past.at, past.kind, past.digest) == (moment("2026-11-24T08:00:00Z"), "", content(alpha=1).digest)


def test_a_manifest_that_cannot_be_read_leaves_a_past_without_what_it_states() -> None:
    ledger = Ledger([Candidate(1, b"no manifest", b"", b"", "edited", "directory", at=OFFERED)])
    past = ledger.past(1)
    assert past is not None
    assert (past.at, past.digest, past.rollback_of) == (OFFERED, "", None)


def test_what_was_released_is_quarantined_no_more() -> None:
    ledger = Ledger([Quarantined("d" * 64, "it failed"), Quarantined("e" * 64, "it failed")])
    ledger.note(Released("d" * 64, "it was the network", "ann"))
    ledger.note(Released("f" * 64, "nothing is known of it", "ann"))
    assert list(ledger.quarantined) == ["e" * 64]


def test_the_last_pin_counts() -> None:
    ledger = Ledger([Pinned("d" * 64), Unpinned(), Pinned("e" * 64)])
    assert ledger.pinned == "e" * 64
    ledger.note(Unpinned())
    assert ledger.pinned is None


def test_only_the_newest_versions_and_requests_are_remembered() -> None:
    ledger = Ledger(kept=10)
    for number in range(1, 31):
        ledger.note(candidate(number))
        ledger.note(Committed(number))
        ledger.note(answered(f"push-{number}", number))
    assert [past.version for past in ledger.history] == list(range(21, 31))
    assert list(ledger.answered) == [f"push-{number}" for number in range(21, 31)]
    ledger.keep(3)
    assert [past.version for past in ledger.history] == [28, 29, 30]
    assert list(ledger.answered) == ["push-28", "push-29", "push-30"]


def test_a_version_names_the_newest_of_many_requests() -> None:
    ledger = Ledger([candidate(1)])
    for number in range(100):
        ledger.note(answered(f"push-{number}", 1))
        ledger.note(answered(f"push-{number}", 1))
    past = ledger.past(1)
    assert past is not None
    assert past.pushes == tuple(f"push-{number}" for number in range(100 - MAX_PUSHES, 100))


def test_an_answer_about_a_version_that_nobody_remembers_makes_none_up() -> None:
    ledger = Ledger([answered("a", 0), answered("b", 7)])
    assert ledger.history == ()
    assert list(ledger.answered) == ["a", "b"]


def test_the_history_goes_on_in_a_shorter_journal() -> None:
    records: list[Record] = []
    for number in range(1, 6):
        records += [candidate(number), Committed(number), Ended(number, "committed", "", "", ENDED, NUMBERS)]
    records += [candidate(6), Burnt(6, "not staged"), answered("a", 5), Spawned("hello-0", 3, 4711, 1.5, b"\1" * 32)]
    whole = Ledger(records)
    again = Ledger([whole.checkpoint(b"chain"), *whole.memories()])
    assert again.history == whole.history
    assert again.answered == whole.answered
    assert again.spawned == whole.spawned
    assert (again.highest, list(again.committed)) == (6, [5])
    assert not again.unfinished


def test_a_version_that_is_older_than_what_is_remembered_does_not_push_out_the_newest() -> None:
    whole = Ledger(kept=10)
    whole.note(Committed(1))
    for number in range(2, 50):
        whole.note(Burnt(number, "refused"))
    again = Ledger([whole.checkpoint(b"chain"), *whole.memories(), candidate(1), Committed(1)], kept=10)
    assert again.history[-1].version == 49
    assert not again.unfinished
    assert list(again.committed) == [1]


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
PASTS = st.builds(
    Past,
    st.integers(1, 10**6),
    *[TEXT] * 7,
    at=st.floats(0, 1e10),
    ended_at=st.floats(0, 1e10),
    numbers=st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT).map(tuple)),
    digest=TEXT,
    rollback_of=st.none() | st.integers(1, 10**6),
    pushes=st.lists(TEXT, max_size=4).map(tuple),
)


@given(PASTS)
def test_a_past_survives_as_a_line(past: Past) -> None:
    assert Past.decode(past.version, past.encode()) == past


@pytest.mark.parametrize(
    "line",
    [b"", b"[]", b"{", b'{"outcome":7,"numbers":[],"pushes":"x","at":"noon","unknown":1}', b'{"version":8}', b"\xff"],
)
def test_a_line_of_another_format_gives_what_it_can(line: bytes) -> None:
    assert Past.decode(7, line) == Past(7)
    ledger = Ledger([Remembered(7, line)])
    assert (ledger.highest, ledger.history) == (7, (Past(7),))


def test_what_people_wrote_at_length_is_cut_in_a_line() -> None:
    kept = Past.decode(1, Past(1, reason="x" * 10 * MAX_CHARACTERS).encode())
    assert len(kept.reason) == MAX_CHARACTERS
    assert kept.reason.endswith("x…")


def test_facts_are_plain_and_damaged_ones_none() -> None:
    assert facts_of(canonical.encode({"a": 1, "b": ["x"]})) == {"a": 1, "b": ("x",)}
    assert facts_of(b"[]") == facts_of(b"{") == {}
    assert moment("noon") == 0.0


def test_a_checkpoint_of_an_older_format_is_understood() -> None:
    ledger = Ledger([Checkpoint(9, 4, b"chain", None, {}), candidate(3), Committed(3), candidate(4), Committed(4)])
    assert (ledger.highest, ledger.committed[-1], ledger.unfinished) == (9, 4, False)
    assert [(past.version, past.outcome) for past in ledger.history] == [(3, "committed"), (4, "committed")]


def test_an_answer_is_remembered_whole() -> None:
    full = Answered(
        "a",
        "push",
        "",
        "ann",
        3,
        "REJECTED",
        "Refused.",
        0,
        ENDED,
        0,
        ("daemon.port",),
        (Problem("a", 1, "b", "c", "d"),),
    )
    assert Ledger([full]).answered["a"] == full


def test_a_version_that_is_condemned_after_its_commit_keeps_who_wanted_it_and_its_numbers() -> None:
    numbers = canonical.encode({"canary_requests": 80})
    ledger = Ledger([Ended(3, "committed", "a sale", "ann", 10.0, numbers), Ended(3, "condemned", "it died", "", 20.0)])

    past = ledger.past(3)
    assert past is not None
    assert (past.outcome, past.detail, past.requester, past.ended_at) == ("condemned", "it died", "ann", 20.0)
    assert past.numbers == {"canary_requests": 80}
