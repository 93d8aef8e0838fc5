"""The status as text: every fact of the document, whatever it holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.cli.render import duration, moment, plain, status_page, workers_page
from tests.support.control import STATUS

NOW = 1_795_500_090.0


def shown(**changes: Any) -> str:
    return plain(status_page({**STATUS, **changes}, NOW))


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
        "SLOT        PID  INCARNATION  STATE  VERSION  SINCE           REQUESTS  ERRORS       RSS",
        "gateway-0  4000            1  ready       12  1 min 30 s ago         7       0  40.0 MiB",
        "gateway-1  4001            1  ready       12  1 min 30 s ago         7       1  40.0 MiB",
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

    assert "destinations.main.db_path, daemon.port, held 1 min ago: apply with `nexus-supervisor restart`" in text
    assert "the directory differs from what runs since 1 min ago (held): destinations.main.db_path" in text


def test_a_rejection_shows_its_problems_and_where_the_rest_is() -> None:
    found = [f"sources/a.toml:{line}: source.tier: expected 0 to 3" for line in range(1, 15)]

    text = shown(last_rejection={"at": NOW - 5, "reason": "not valid", "errors": found})

    assert "last rejection   5 s ago: not valid" in text
    assert found[9] in text
    assert found[10] not in text
    assert "and 4 more: see --json" in text


def test_a_rollout_shows_its_version_phase_and_reason() -> None:
    text = shown(rollout={"version": 13, "phase": "staging", "reason": "a push"})

    assert "rollout          version 13, staging: a push" in text


def test_a_version_that_requests_still_use_is_shown_beside_the_worker() -> None:
    worker = {**STATUS["workers"][0], "oldest_snapshot": 9}

    assert "12 (in use: 9)" in shown(workers=[worker])


def test_the_workers_alone_have_no_facts_around_them() -> None:
    assert plain(workers_page(STATUS, NOW)).startswith("SLOT ")


def test_what_an_older_supervisor_leaves_out_is_a_dash() -> None:
    text = plain(status_page({"workers": [{}]}, NOW))

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
        rollout={"version": hostile, "phase": hostile, "reason": hostile},
        pending_restart={"keys": [hostile], "since": hostile, "needs": hostile},
        drift={"since": hostile, "reason": hostile, "keys": [hostile]},
        last_rejection={"at": hostile, "reason": hostile, "errors": [hostile]},
        watch={"mode": hostile, "last_compare_age_seconds": hostile},
        workers=[dict.fromkeys(STATUS["workers"][0], hostile)],
    )

    assert len(text.splitlines()) == 17
    assert all(character == "\n" or character.isprintable() for character in text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(STATUS)), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(STATUS)), _json))
def test_no_document_makes_it_fail(document: dict[str, Any]) -> None:
    assert plain(status_page(document, NOW)).endswith("\n")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (86_400, "1 d"), (90_061, "1 d 1 h"), (-3, "0 s")],
)
def test_durations_use_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_moments_are_in_utc() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"
