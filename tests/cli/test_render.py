"""The status as text: every fact of the document, whatever it holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.cli.page import Cell, plain
from nexus_supervisor.cli.render import status_page, workers_page
from nexus_supervisor.cli.words import duration, figures, moment
from tests.support.control import STATUS

NOW = 1_795_500_090.0


def shown(**changes: Any) -> str:
    return plain(status_page({**STATUS, **changes}, NOW, invocation))


def invocation(command: str) -> str:
    return f"nexus-supervisor {command} demo"


def test_the_status_names_every_fact_and_every_worker() -> None:
    assert shown().splitlines() == [
        "version          12 (digest 3f2a9c81d000)",
        "state            ok",
        "daemon           nexus, program gateway, pid 3999",
        "listening        127.0.0.1:8080",
        "uptime           1 h 2 min",
        "signing          on",
        "isolation        same-uid",
        "rollout          none",
        "pending restart  none",
        "drift            none",
        "last rejection   none",
        "watch            inotify, compared 1 s ago",
        "not used yet     supervisor.guards",
        "",
        "SLOT        PID  INC  STATE  VERSION    AGE  REQUESTS  ERRORS       RSS",
        "gateway-0  4000    1  ready       12  1m30s         7       0  40.0 MiB",
        "gateway-1  4001    1  ready       12  1m30s         7       1  40.0 MiB",
    ]


def test_what_is_held_names_its_keys_and_the_command_that_applies_them() -> None:
    text = shown(
        pending_restart={
            "keys": ["destinations.main.db_path", "daemon.port"],
            "since": "2026-11-24T06:00:30.000Z",
            "needs": "restart",
        },
        drift={"since": NOW - 60, "reason": "held", "keys": ["destinations.main.db_path"]},
    )

    apply = "apply with `nexus-supervisor restart demo`"
    assert f"destinations.main.db_path, daemon.port, held for 1 min: {apply}" in text
    assert "held for 1 min: what runs differs from the directory in destinations.main.db_path" in text


def test_what_a_new_start_alone_applies_names_both_commands() -> None:
    text = shown(pending_restart={"keys": ["supervisor.name"], "since": NOW - 5, "needs": "start"})

    assert "5 s: apply with `nexus-supervisor stop demo`, then `nexus-supervisor run demo`" in text


def test_a_rejection_shows_its_problems_and_where_the_rest_is() -> None:
    found = [f"sources/a.toml:{line}: source.tier: expected 0 to 3" for line in range(1, 15)]

    text = shown(
        last_rejection={"at": NOW - 5, "reason": "not valid", "errors": found},
        drift={"since": NOW - 5, "reason": "rejected", "keys": []},
    )

    assert "drift            rejected for 5 s: what runs differs from the directory\n" in text
    assert "last rejection   5 s ago: not valid\n" in text
    assert found[9] in text
    assert found[10] not in text
    assert "and 4 more: see --json" in text


@pytest.mark.parametrize("drift", [None, {"since": NOW, "reason": "held", "keys": ["daemon.port"]}])
def test_a_rejection_of_what_is_valid_by_now_says_that_it_is_over(drift: dict[str, Any] | None) -> None:
    rejection = {"at": NOW - 5, "reason": "rejected", "errors": ["sources/a.toml:3: source.tier: expected 0 to 3"]}
    page = status_page({**STATUS, "last_rejection": rejection, "drift": drift}, NOW, invocation)

    assert dict(page.facts)["last rejection"] == Cell("5 s ago: rejected, mended since", "")


def test_a_version_that_went_back_is_not_called_mended() -> None:
    rejection = {"at": NOW - 5, "reason": "rolled_back", "errors": []}
    page = status_page({**STATUS, "last_rejection": rejection, "drift": None}, NOW, invocation)

    assert dict(page.facts)["last rejection"].text == "5 s ago: rolled_back"


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, ""),
        ({"reason": "a push"}, " (a push)"),
        ({"kind": "push", "reason": ""}, " (push)"),
        ({"kind": "push", "reason": "a new key"}, " (push: a new key)"),
    ],
)
def test_a_rollout_shows_its_version_phase_kind_and_reason(facts: dict[str, str], text: str) -> None:
    assert f"rollout          version 13, staging{text}\n" in shown(
        rollout={"version": 13, "phase": "staging", **facts}
    )


def test_a_rollout_shows_how_far_it_is_who_is_its_canary_and_what_its_gate_counted() -> None:
    text = shown(
        rollout={
            "version": 13,
            "phase": "paused",
            "kind": "push",
            "reason": "a new key",
            "canary": ["gateway-1"],
            "moved": 1,
            "total": 4,
            "paused_since": NOW - 61,
            "numbers": {"canary_requests": 120, "error_ratio": 0.02},
        }
    )

    place = "version 13, paused (push: a new key), 1 of 4 workers moved, canary gateway-1, paused for 1 min 1 s"
    assert f"rollout          {place}\n                 canary 120 requests; error ratio 0.02\n" in text


def test_the_trial_worker_what_is_pinned_and_what_is_quarantined_are_shown_where_there_are_any() -> None:
    failed = [{"digest": f"{number}" * 64, "reason": f"It failed {number}."} for number in range(5)]
    text = shown(trial={"state": "ready", "pid": 77, "version": 12}, pinned="ab" * 32, quarantined=failed)

    assert "trial worker     ready, pid 77, version 12\n" in text
    assert "pinned           digest abababababab: applied when the directory changes, or a push asks\n" in text
    assert "quarantined      digest 444444444444: It failed 4.\n" in text
    assert "and 2 older: see --json" in text
    assert not {"trial", "pinned", "quarantined"} & set(shown(trial=None, pinned=None, quarantined=[]).split())


@pytest.mark.parametrize(("length", "end"), [(120, "xx"), (121, "x…")])
def test_why_a_content_is_quarantined_is_one_line_of_at_most_120_characters(length: int, end: str) -> None:
    reason = "It\nfailed: ".ljust(length - 3, "x")  # a line break is shown as four characters

    text = shown(quarantined=[{"digest": "ab" * 32, "reason": reason}])

    (line,) = (line for line in text.splitlines() if line.startswith("quarantined"))
    told = line.partition("digest abababababab: ")[2]
    assert told.startswith("It\\x0afailed: x")
    assert told.endswith(end)
    assert len(told) == 120


def test_settings_that_no_code_reads_are_left_out_where_there_are_none() -> None:
    assert "not used yet" not in shown(settings_unread=[])


def test_the_workers_say_what_each_runs_and_how_many_requests_it_has_served_on_it() -> None:
    workers = [
        {**one, "digest": f"{number}" * 64, "version_requests": 5} for number, one in enumerate(STATUS["workers"])
    ]
    lines = plain(workers_page({"workers": workers}, NOW)).splitlines()

    assert lines[0].split()[-2:] == ["DIGEST", "SERVED"]
    assert [line.split()[-2:] for line in lines[1:]] == [["000000000000", "5"], ["111111111111", "5"]]
    assert "DIGEST" not in shown(workers=workers)


SIGNATURE = {"kind": "config_signature_invalid", "reason": "signature_mismatch", "text": "compiled/000003 is damaged."}


def test_security_notices_are_shown_loudly_newest_first_whatever_their_order() -> None:
    notices = [{**SIGNATURE, "at": NOW - age, "text": f"Notice of {age} s."} for age in (60, 5, 240, 3, 180)]

    page = status_page({**STATUS, "security": notices}, NOW, invocation)

    kind = "config_signature_invalid (signature_mismatch)"
    assert page.facts[2:6] == (
        ("security", Cell(f"5 notices, the newest: 3 s ago: {kind}: Notice of 3 s.", "bad")),
        ("", Cell(f"5 s ago: {kind}: Notice of 5 s.", "bad")),
        ("", Cell(f"1 min ago: {kind}: Notice of 60 s.", "bad")),
        ("", Cell("and 2 older: see --json", "bad")),
    )


def test_one_security_notice_is_one_line_with_what_is_known_of_it() -> None:
    notice = {"at": "2026-11-24T06:01:00.000Z", "kind": "signing_off", "reason": None, "text": "Signing is off."}

    assert "security         1 notice: 30 s ago: signing_off: Signing is off.\n" in shown(security=[notice])


@pytest.mark.parametrize("none", [{}, {"security": []}, {"security": None}])
def test_without_security_notices_nothing_is_said_of_them(none: dict[str, Any]) -> None:
    assert "security" not in shown(**none)


def test_a_version_that_requests_still_use_has_a_column_of_its_own() -> None:
    first, second = STATUS["workers"]
    table = plain(workers_page({"workers": [first, {**second, "oldest_snapshot": 9}]}, NOW)).splitlines()

    assert [line.split()[-1] for line in table] == ["OLDEST", "12", "9"]
    assert "OLDEST" not in shown()


def test_the_age_of_an_older_version_in_use_stands_beside_it() -> None:
    first, second = STATUS["workers"]
    older = {**second, "oldest_snapshot": 9, "oldest_snapshot_seconds": 3725.4}
    table = plain(workers_page({"workers": [{**first, "oldest_snapshot_seconds": 0.0}, older]}, NOW)).splitlines()

    assert [line.split()[-1] for line in table[:2]] == ["OLDEST", "12"]
    assert table[2].endswith(" 9 (1h)")
    assert all(len(line) <= 80 for line in table)


def test_what_lingers_in_a_worker_is_a_note_to_the_table() -> None:
    first, second = STATUS["workers"]
    one, two = ({"lingering_snapshots": number, "lingering_seconds": 61.0} for number in (1, 2))

    told = plain(workers_page({"workers": [{**first, **one}, {**second, **two}]}, NOW)).splitlines()

    assert told[-2:] == [
        f"{first['slot']} still refers to 1 retired snapshot, the first for 1 min 1 s: its log names them",
        f"{second['slot']} still refers to 2 retired snapshots, the first for 1 min 1 s: its log names them",
    ]


def test_the_workers_alone_have_no_facts_around_them() -> None:
    assert plain(workers_page(STATUS, NOW)).startswith("SLOT ")


def test_workers_stand_by_the_number_of_their_slot_whether_they_have_a_process_or_not() -> None:
    def worker(slot: str, incarnation: int) -> dict[str, Any]:
        return {**STATUS["workers"][0], "slot": slot, "incarnation": incarnation}

    gone = {**worker("gateway-2", 3), "pid": None, "state": "backoff", "last_exit": "killed by SIGKILL"}
    workers = [worker("gateway-10", 1), worker("gateway-1", 2), worker("gateway-1", 1), worker("gateway-9", 1), gone]

    lines = plain(workers_page({"workers": workers}, NOW)).splitlines()

    places = [(line.split()[0], line.split()[2]) for line in lines[1:6]]
    assert places == [
        ("gateway-1", "1"),
        ("gateway-1", "2"),
        ("gateway-2", "3"),
        ("gateway-9", "1"),
        ("gateway-10", "1"),
    ]
    waiting = "gateway-2 has no process and waits for its next start; how the last one ended: killed by SIGKILL"
    assert lines[6:] == ["", waiting]


def test_what_an_older_supervisor_leaves_out_is_a_dash() -> None:
    text = plain(status_page({"workers": [{}]}, NOW, invocation))

    assert "version          - (no digest)" in text
    assert text.splitlines()[-1].split() == ["-"] * 9


@pytest.mark.parametrize("hostile", ["\x1b[31mred", "two\nlines", "\u202eturned", "[red]x[/red]"])
def test_hostile_text_anywhere_in_the_document_is_shown_and_not_obeyed(hostile: str) -> None:
    text = shown(
        state=hostile,
        name=hostile,
        program=hostile,
        pid=hostile,
        addresses=[hostile],
        settings_unread=[hostile],
        digest=hostile,
        isolation=hostile,
        signing=hostile,
        rollout={
            **dict.fromkeys(("version", "phase", "kind", "reason", "moved", "total", "paused_since"), hostile),
            "canary": [hostile],
            "numbers": {hostile: hostile},
        },
        pending_restart={"keys": [hostile], "since": hostile, "needs": hostile},
        drift={"since": hostile, "reason": hostile, "keys": [hostile]},
        last_rejection={"at": hostile, "reason": hostile, "errors": [hostile]},
        trial={"state": hostile, "pid": hostile, "version": hostile},
        pinned=hostile,
        quarantined=[{"digest": hostile, "reason": hostile}],
        watch={"mode": hostile, "last_compare_age_seconds": hostile},
        security=[{"at": hostile, "kind": hostile, "reason": hostile, "text": hostile}],
        workers=[{**dict.fromkeys(STATUS["workers"][0], hostile), "last_exit": hostile}],
    )

    assert len(text.splitlines()) == 24
    assert all(character == "\n" or character.isprintable() for character in text)


ADDED = {"security", "trial", "pinned", "quarantined", "numbers", "canary", "total", "digest", "version_requests"}

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted({*STATUS, *ADDED})), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted({*STATUS, *ADDED})), _json))
def test_no_document_makes_it_fail(document: dict[str, Any]) -> None:
    assert plain(status_page(document, NOW, invocation)).endswith("\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (86_400, "1 d"), (90_061, "1 d 1 h"), (-3, "0 s")],
)
def test_durations_use_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_moments_are_in_utc() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"


def test_figures_of_a_canary_are_told_beside_what_they_are_compared_with_and_what_is_not_known_is_left_out() -> None:
    numbers = {
        "bake_seconds": 2.0,
        "canary_requests": 120,
        "canary_errors": 0,
        "canary_p50_ms": None,
        "canary_p99_ms": 4.125,
        "control_requests": 900,
        "odd": "x",
    }

    canary = "watched 2 s; canary 120 requests, 0 errors, p99 4.125 ms"
    assert figures(numbers) == f"{canary}; compared with 900 requests; odd x"


def test_one_request_and_one_error_are_singular() -> None:
    assert figures({"canary_requests": 1, "canary_errors": 1}) == "canary 1 request, 1 error"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({}, ""),
        (None, ""),
        ({"bake_seconds": 0, "canary_requests": 0, "canary_errors": 0, "control_requests": 900}, ""),
        ({"bake_seconds": 0.0, "canary_requests": 0, "canary_rss_growth_mb": 0.0, "odd": 1}, "odd 1"),
        ({"bake_seconds": 0.0, "canary_requests": 3, "canary_errors": 3}, "canary 3 requests, 3 errors"),
        ({"bake_seconds": 5.0, "canary_requests": 0}, "watched 5 s; canary 0 requests"),
    ],
)
def test_nothing_is_said_of_a_bake_that_was_none(numbers: object, text: str) -> None:
    assert figures(numbers) == text


def test_a_rollout_without_a_bake_has_no_line_of_figures() -> None:
    nothing = {"bake_seconds": 0.0, "canary_requests": 0, "canary_errors": 0}

    text = shown(rollout={"version": 13, "phase": "wave", "numbers": nothing})

    assert "rollout          version 13, wave\npending restart" in text
