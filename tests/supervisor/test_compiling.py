"""The compiler as the supervisor asks it: one thing at a time, whatever becomes of the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.events import CandidateSeen, LookFailed, Recalled
from nexus_supervisor.core.shape import NO_SHAPE, SectionShape
from nexus_supervisor.wire import INLINE_BYTES
from tests.support.asking import PATIENCE_SECONDS, asking
from tests.support.compiling import DAEMON, destination, make_directory, names, source, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return make_directory(tmp_path / "shop")


MODEL = """
import os
import time
from pathlib import Path
from pydantic import BaseModel, model_validator

class Source(BaseModel):
    name: str
    api_key: str
    target: str | None = None
    tier: int = 3

    @model_validator(mode="after")
    def check(self):
        if self.tier == 9:
            os.kill(os.getpid(), 9)
        if self.tier == 8:
            time.sleep(3600)
        return self
"""


@pytest.fixture
def deadly(directory: Path) -> Path:
    """Make a shop whose model kills the compiler at tier 9 and hangs at tier 8."""
    write(directory / "deadly_models.py", MODEL)
    write(directory / "daemon.toml", DAEMON.replace("tests.support.shop:Source", "deadly_models:Source"))
    return directory


def test_a_candidate_says_how_it_compares_with_what_runs(directory: Path) -> None:
    with asking(directory) as asked:
        first = asked.go_live(whole=True)
        write(directory / "sources/c.toml", source("c"))
        (directory / "sources/a.toml").unlink()

        candidate = asked.look()

    assert first.shape.sections["sources"] == SectionShape(0, 2, 0)
    assert candidate.shape.sections["sources"] == SectionShape(2, 2, 1)
    assert candidate.shape.sections["destinations"] == SectionShape(1, 1, 0)
    assert first.shape.bytes_before == 0
    assert candidate.shape.bytes_before == first.shape.bytes_after > 0
    assert (candidate.base, candidate.gone) == (first.digest, ("sources.a",))


def test_what_must_be_revoked_is_kept_beside_the_candidate_with_its_settings_and_secrets(directory: Path) -> None:
    with asking(directory) as asked:
        asked.go_live(whole=True)
        write(directory / "sources/c.toml", source("c"))
        (directory / "sources/a.toml").unlink()

        candidate = asked.look()

        assert candidate.revoked is not None
        kept = asked.contents.get(candidate.revoked)
        assert (names(kept.content), kept.secrets is not None) == (["b"], True)
        assert candidate.revoked_settings == kept.settings
        assert candidate.revoked_shape.sections["sources"] == SectionShape(2, 1, 1)

        write(directory / "sources/c.toml", "[[")
        refused = asked.refused()
        assert (refused.revoked, refused.shape) == (candidate.revoked, candidate.revoked_shape)


def test_where_the_candidate_is_what_must_be_revoked_both_are_one(directory: Path) -> None:
    with asking(directory) as asked:
        asked.go_live(whole=True)
        (directory / "sources/a.toml").unlink()

        candidate = asked.look()

    assert candidate.revoked == candidate.digest
    assert (candidate.revoked_settings, candidate.revoked_shape) == (candidate.settings, candidate.shape)


def test_where_nothing_is_gone_there_is_nothing_to_revoke(directory: Path) -> None:
    with asking(directory) as asked:
        candidate = asked.go_live(whole=True)

    assert (candidate.revoked, candidate.revoked_settings, candidate.revoked_shape) == (None, None, NO_SHAPE)


def test_large_contents_travel_beside_each_answer_and_each_recall(directory: Path) -> None:
    for number in range(1_200):
        write(directory / f"sources/s{number}.toml", source(f"s{number}"))
    with asking(directory) as asked:
        first = asked.go_live(whole=True)
        assert len(asked.contents.encoded(None, first.digest)) > INLINE_BYTES
        for number in range(1_200):
            write(directory / f"sources/s{number}.toml", source(f"s{number}", "tier = 1"))
        (directory / "sources/a.toml").unlink()
        second = asked.look()

        assert second.revoked is not None
        assert len(asked.contents.get(second.revoked).content.sections["sources"].entries) == 1_201
        asked.compiling.adopt(second.digest)
        back = asked.recalled(1, first.digest)

    assert back.candidate is not None
    assert (back.candidate.gone, back.candidate.wanted) == (("sources.a",), first.digest)
    assert back.candidate.shape.sections["sources"] == SectionShape(1_201, 1_201, 0)


def test_a_recall_is_answered_with_a_candidate_of_that_version(directory: Path) -> None:
    with asking(directory) as asked:
        first = asked.go_live(whole=True)
        write(directory / "sources/b.toml", source("b", "tier = 1"))
        second = asked.go_live()

        recalled = asked.recalled(1, first.digest)

        assert (recalled.ticket, recalled.version, recalled.problems) == (101, 1, ())
        assert recalled.candidate is not None
        assert (recalled.candidate.digest, recalled.candidate.base) == (first.digest, second.digest)
        asked.compiling.adopt(first.digest)
        assert asked.look().digest == second.digest


def test_a_recall_that_is_refused_says_why(directory: Path) -> None:
    with asking(directory) as asked:
        first = asked.go_live(whole=True)
        write(directory / "sources/a.toml", source("a"))
        (directory / "destinations/main.toml").unlink()
        write(directory / "destinations/other.toml", destination("other"))
        asked.go_live(whole=True)

        recalled = asked.recalled(1, first.digest)

    assert recalled.candidate is None
    assert [one.key for one in recalled.problems] == ["sources.a.target"]


def test_what_is_asked_meanwhile_waits_and_each_is_answered_in_its_turn(directory: Path) -> None:
    with asking(directory) as asked:
        first = asked.go_live(whole=True)

        asked.compiling.look(1, None, PATIENCE_SECONDS)
        asked.recall(4, first.digest)
        asked.compiling.look(2, None, PATIENCE_SECONDS, whole=True)
        asked.recall(5, first.digest)

        heard = [asked.verdict() for _ in range(4)]

    assert [type(one) for one in heard] == [CandidateSeen, Recalled, CandidateSeen, Recalled]
    assert [one.ticket for one in heard] == [1, 104, 2, 105]


def test_a_compiler_that_dies_over_a_look_fails_it_and_the_recall_behind_it_is_answered(deadly: Path) -> None:
    with asking(deadly) as asked:
        first = asked.go_live(whole=True)
        write(deadly / "sources/b.toml", source("b", "tier = 9"))
        asked.compiling.look(1, None, PATIENCE_SECONDS)
        write(deadly / "sources/c.toml", source("c"))
        failed = asked.heard(LookFailed)
        write(deadly / "sources/b.toml", source("b"))
        recalled = asked.recalled(1, first.digest)

    assert "killed by SIGKILL" in failed.reason
    assert recalled.candidate is not None
    assert recalled.candidate.digest == first.digest


def test_a_compiler_that_dies_over_a_recall_fails_it_and_the_next_one_is_asked(deadly: Path) -> None:
    with asking(deadly) as asked:
        first = asked.go_live(whole=True)
        write(deadly / "sources/b.toml", source("b", "tier = 9"))

        recalled = asked.recalled(3, first.digest)
        assert (recalled.version, recalled.candidate) == (3, None)
        (problem,) = recalled.problems
        assert "the compiler was lost: killed by SIGKILL" in problem.message

        write(deadly / "sources/b.toml", source("b", "tier = 1"))
        assert asked.look().gone == ()


def test_a_recall_that_takes_too_long_is_ended_and_what_waits_is_asked(deadly: Path) -> None:
    with asking(deadly) as asked:
        first = asked.go_live(whole=True)
        write(deadly / "sources/b.toml", source("b", "tier = 8"))

        asked.recall(1, first.digest, timeout_seconds=0.5)
        asked.compiling.look(7, None, 0.5)

        recalled, look = asked.heard(Recalled), asked.heard(LookFailed)

    assert recalled.problems[0].message == "the compiler was lost: it did not answer in time"
    assert (look.ticket, look.reason) == (7, "the compiler was lost: it did not answer in time")


def test_what_still_waits_when_it_is_closed_is_never_asked(directory: Path) -> None:
    with asking(directory) as asked:
        asked.go_live(whole=True)
        asked.compiling.look(1, None, PATIENCE_SECONDS)
        asked.compiling.look(2, None, PATIENCE_SECONDS)

        asked.compiling.close()

        assert asked.compiling.needed == ()
        assert asked.verdicts.empty()
