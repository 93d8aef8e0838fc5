"""Every notice and every outcome: whole sentences, known kinds, plain facts, no secrets."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core import crew_says, directory_says, says, steering_says, trial_says
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.guards import Breach
from nexus_supervisor.core.messages import Rejected
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind, Phase, Rollout
from nexus_supervisor.core.roster import Process, Slot
from tests.support.simulated import COLD_KEY, SYNTAX, content, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.effects import Outcome
    from nexus_supervisor.core.notices import Notice

ONE, TWO = Version(1), Version(2)
PROCESS = Process("gateway-0", 0, 3, 60.0, pid=42, active=ONE)
MANY = tuple(
    Problem(f"sources/{number}.toml", number, "source.tier", "range", "expected 0 to 3") for number in range(20)
)
SECRET = "swordfish"
CODES = {0: "APPLIED", 3: "REJECTED", 4: "ROLLED_BACK", 5: "INCONCLUSIVE", 6: "CONFLICT", 8: "HELD"}


def rollout(kind: Kind = Kind.PUSH, phase: Phase = Phase.COMMITTED, **facts: object) -> Rollout:
    made = Rollout(kind, content("b"), settings(), version=TWO, phase=phase)
    return dataclasses.replace(made, **facts)  # type: ignore[arg-type]


FAILED = rollout(phase=Phase.ROLLED_BACK, failure="gateway-1 was lost on it: killed by SIGSEGV")
REFUSED = rollout(phase=Phase.REJECTED, failure="gateway-1 refused it: it is bad")
ABORTED = rollout(phase=Phase.ROLLED_BACK, failure="alice aborted it: too early", aborted=True, blamed=False)
BREACH = Breach("shrink", "sources", "sources lost 5 of its 6 entries", refuses=True)
LIVE = says.live(TWO, 3, (), "")

NOTICES = [
    directory_says.refused(SYNTAX, committed=ONE),
    directory_says.refused(MANY, committed=None),
    directory_says.unstable(SYNTAX),
    directory_says.held([COLD_KEY], ()),
    directory_says.held([COLD_KEY], SYNTAX),
    directory_says.still_live(["sources.a"], ()),
    directory_says.still_live([f"sources.s{number}" for number in range(30)], SYNTAX),
    directory_says.compiler_died("killed by SIGKILL"),
    *(says.started(rollout(kind, reason="a new key")) for kind in Kind),
    *(says.committed(rollout(kind), 1, 2.0) for kind in Kind),
    says.failed(FAILED),
    says.failed(REFUSED),
    says.failed(ABORTED),
    says.inconclusive(rollout(phase=Phase.BAKE), "7 requests, and a verdict needs 50"),
    says.superseded(rollout(phase=Phase.BAKE), "gone from the files: sources.a"),
    *(notice for phase in Phase if (notice := says.progress(rollout(phase=phase, canaries=("s0",)), 1, 3))),
    directory_says.pinned(),
    directory_says.unpinned(pushed=True),
    directory_says.unpinned(pushed=False),
    *(directory_says.guarded([BREACH, BREACH], refuses=refuses, committed=ONE) for refuses in (True, False)),
    *(directory_says.widened(dataclasses.replace(BREACH, refuses=refuses, keys=("a.b",))) for refuses in (True, False)),
    steering_says.promoted(rollout(phase=Phase.BAKE), "alice"),
    steering_says.paused(rollout(phase=Phase.BAKE), "alice"),
    steering_says.resumed(rollout(phase=Phase.BAKE), "alice"),
    *(steering_says.condemned(TWO, "gateway-1 was lost on it: killed by SIGSEGV", back=back) for back in (True, False)),
    trial_says.started(42),
    trial_says.lost("killed by SIGKILL", 0.1),
    trial_says.fenced("it did not answer in time"),
    trial_says.ended(TWO, ""),
    trial_says.ended(TWO, "the trial was killed by SIGSEGV"),
    trial_says.left_out(TWO),
    says.journal_failed(TWO, "no space left on device"),
    says.archived(TWO),
    says.archive_failed(TWO, "no space left on device"),
    crew_says.slot_started(PROCESS, 42),
    crew_says.slot_ready(PROCESS),
    crew_says.staged(PROCESS, TWO),
    crew_says.active(PROCESS, TWO),
    crew_says.retired(PROCESS, TWO),
    crew_says.worker_rejected(PROCESS, Rejected("gateway-0", 3, 1, TWO, "model", "it is bad")),
    crew_says.worker_rejected(
        PROCESS, Rejected("gateway-0", 3, 1, TWO, "signature_mismatch", "the signature is another one")
    ),
    crew_says.fenced(PROCESS, "it did not answer in time"),
    crew_says.slot_drained(PROCESS, 0),
    crew_says.slot_drained(PROCESS, 2),
    crew_says.exited(PROCESS, "exit code 1", expected=False),
    crew_says.backoff(Slot("gateway-0", 0, deaths=3, last_exit="exit code 1"), 0.4),
    says.daemon_ready(ONE, 2),
    says.daemon_stopping("SIGTERM"),
    says.signing_off(),
    says.warned(SYNTAX),
    says.watch_degraded("There are no inotify watches left"),
    says.daemon_stopped(0),
]
OUTCOMES = [
    says.stopping(),
    directory_says.already_restarting(),
    directory_says.unexpected(4, ONE),
    directory_says.rejected(SYNTAX, ()),
    directory_says.rejected(SYNTAX, ["sources.a"]),
    directory_says.refused_content(says.verdict(FAILED)),
    directory_says.refused_content(says.verdict(REFUSED)),
    LIVE,
    says.live(TWO, 1, (COLD_KEY,), ""),
    says.live(TWO, 1, (), "the journal could not be written: no space left"),
    says.not_archived(LIVE, "no space left"),
    *(says.outcome(rollout(kind, reason="version 2 was rolled back", rollback_of=ONE), LIVE) for kind in Kind),
    says.outcome(rollout(problems=SYNTAX), LIVE),
    says.failure(FAILED),
    says.failure(REFUSED),
    says.failure(ABORTED),
    *(steering_says.accepted(verb, rollout(phase=Phase.BAKE)) for verb in ("promote", "pause", "resume", "abort")),
    steering_says.nothing_to("promote", None),
    steering_says.nothing_to("promote", rollout(Kind.REVOCATION, Phase.STAGING)),
    steering_says.busy(None),
    steering_says.busy(rollout(phase=Phase.BAKE)),
    steering_says.refused(9, SYNTAX),
    steering_says.refused(None, ()),
    steering_says.already(ONE, TWO, ()),
    steering_says.already(ONE, TWO, [COLD_KEY]),
    directory_says.undecided("killed by SIGKILL"),
    says.outcome(rollout(singly=True), LIVE),
    says.outcome(rollout(Kind.RETURN, rollback_of=ONE, held=(COLD_KEY,)), LIVE),
    says.failure(rollout(Kind.RESTART, Phase.REJECTED, failure="the address is in use")),
    says.failure(rollout(Kind.ROLLBACK, Phase.REJECTED, failure="no space left", reason="version 2 was rolled back")),
]


def sentences() -> Iterator[str]:
    yield from (notice.text for notice in NOTICES)
    yield from (outcome.text for outcome in OUTCOMES)


@pytest.mark.parametrize("text", list(sentences()))
def test_every_text_is_whole_sentences(text: str) -> None:
    assert text[0].isupper() or text.startswith(("gateway-0", "alice")), "a sentence begins with a capital or a name"
    assert text.endswith(".")
    assert not text.endswith("..")
    for slip in ("  ", "None", " .", "::", ".:", "(,", "[]"):
        assert slip not in text


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: notice.kind)
def test_every_notice_has_a_level_and_plain_facts(notice: Notice) -> None:
    assert notice.level in ("debug", "info", "warning", "error")
    for value in notice.fields.values():
        assert value is None or isinstance(value, str | int | float | bool | tuple)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.text[:40])
def test_exit_code_and_word_of_an_outcome_say_the_same(outcome: Outcome) -> None:
    assert outcome.word in (CODES[outcome.exit_code], "ACCEPTED" if outcome.exit_code == 0 else "")


def test_a_long_list_is_cut_and_says_so() -> None:
    assert "and 17 more" in directory_says.refused(MANY, committed=ONE).text
    assert directory_says.refused(MANY, committed=ONE).fields["problems"] == tuple(map(str, MANY))


def test_what_a_slot_is_told_about_names_the_incarnation_and_the_pid() -> None:
    assert crew_says.slot_started(PROCESS, 42).text == "gateway-0/3 starts as pid 42."


def test_a_bad_signature_is_a_security_notice_and_a_bad_value_is_not() -> None:
    def kind(reason: str) -> str:
        return crew_says.worker_rejected(PROCESS, Rejected("gateway-0", 3, 1, TWO, reason, "why")).kind

    assert kind("signature_mismatch") == kind("digest_mismatch") == "config_signature_invalid"
    assert kind("model") == kind("not_applicable") == "worker_rejected"


def test_content_that_was_rolled_back_ends_with_4_and_its_number_and_refused_content_with_3() -> None:
    again = directory_says.refused_content(says.verdict(FAILED))
    assert (again.exit_code, again.word) == (4, "ROLLED_BACK")
    assert "version 2 was rolled back" in again.text

    again = directory_says.refused_content(says.verdict(REFUSED))
    assert (again.exit_code, again.word) == (3, "REJECTED")


def test_only_what_is_complete_on_disk_is_answered_with_0() -> None:
    assert says.not_archived(LIVE, "no space left").exit_code == 5
    assert says.not_archived(directory_says.rejected(SYNTAX, ()), "no space left").exit_code == 3


def test_who_waited_for_a_failed_journal_is_told_an_unexpected_failure() -> None:
    assert says.failure(rollout(phase=Phase.REJECTED, failure="no space left", blamed=False)).exit_code == 1


def test_what_came_from_a_request_is_told_as_the_reason_and_nothing_else_is() -> None:
    notice = says.started(rollout(reason="rotate the key", requester="alice (uid 1000, pid 7)"))

    assert notice.text == "Version 2 is on its way (push: rotate the key)."
    assert notice.fields.keys() == {"version", "digest", "reason", "kind"}


def test_settings_of_a_version_which_may_hold_a_token_are_in_no_text_and_no_fact() -> None:
    with_token = dataclasses.replace(settings().daemon, admin_token=SECRET)
    bearing = dataclasses.replace(FAILED, settings=dataclasses.replace(settings(), daemon=with_token))

    told = [says.started(bearing), says.committed(bearing, 1, 2.0), says.failed(bearing), says.failure(bearing)]

    assert SECRET not in repr(told)
    assert SECRET not in repr(bearing)
