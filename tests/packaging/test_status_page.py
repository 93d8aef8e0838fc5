"""The page of the status describes the status: every field and every word of real documents, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import status
from nexus_supervisor.core.board import Board
from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.history import Committed, History
from nexus_supervisor.core.lifecycle import Life, Word
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.rollout import Kind, Phase, Rollout
from nexus_supervisor.core.roster import Process, Roster
from nexus_supervisor.core.settings import Settings
from nexus_supervisor.core.standing import Drift, Rejection, Standing
from tests.support.pages import DOCS, code, table, text

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = DOCS / "status.md"
DIGEST = Digest("d" * 64)
PROBLEM = Problem("sources/a.toml", 3, "source.tier", "range", "expected at most 3, found 7")


def board() -> Board:
    """A fleet of one version and two slots: a worker that serves, and one that died."""
    settings = Settings()
    found = Board(settings, History(1, Committed(Version(1), DIGEST)), Roster(lambda: 1.0, {}))
    found.roster.resize(["gateway-0", "gateway-1"])
    found.roster.word(found.roster.add("gateway-0", 0, 0.0, settings, None), Word.SERVES)
    found.roster.gone(found.roster.add("gateway-1", 1, 0.0, settings, None), "killed by SIGKILL", 0.0, settings)
    return found


def trial_worker() -> Process:
    """Make a trial worker that holds the committed version."""
    roster = Roster(lambda: 1.0, {})
    roster.resize(["trial"])
    return roster.word(roster.add("trial", 0, 0.0, Settings(), None), Word.SERVES)


def document(found: Board, trial: Process | None = None) -> dict[str, Any]:
    around = status.Surroundings(
        now=1.0,
        wall_offset=0.0,
        started=0.0,
        pid=1,
        directory="/srv/demo",
        addresses=("127.0.0.1:8080",),
        signing=True,
        watch_mode="inotify",
        last_compare=0.0,
        figures={},
        security=((1.0, Notice("config_signature_invalid", "error", "It differs.", {"reason": "signature_mismatch"})),),
    )
    return status.document(found, trial, around)


@cache
def documents() -> tuple[dict[str, Any], ...]:
    """Documents of everything that the status can tell."""
    held, refused, paused, rolling = board(), board(), board(), [board() for _ in Phase]
    unread = board()
    unread.settings = replace(unread.settings, daemon=replace(unread.settings.daemon, admin_token="env:TOKEN"))
    keys = ("destinations.main.db_path",)
    held.standing = Standing(held_keys=keys, drift=Drift(0.0, "held", keys))
    refused.standing = Standing(rejection=Rejection(0.0, "rejected", (PROBLEM,)), drift=Drift(0.0, "rejected"))
    refused.history.quarantine(Digest("e" * 64), "gateway-0 refused it")
    for one, phase in zip(rolling, Phase, strict=True):
        one.rollout = Rollout(Kind.PUSH, DIGEST, one.settings, version=Version(2), phase=phase)
    paused.rollout = Rollout(
        Kind.PUSH,
        DIGEST,
        paused.settings,
        version=Version(2),
        phase=Phase.BAKE,
        canaries=("gateway-0",),
        paused_since=0.5,
    )
    back = board()
    back.rollout = Rollout(Kind.ROLLBACK, DIGEST, back.settings, version=Version(3), rollback_of=Version(2))
    return document(board(), trial_worker()), *map(document, (unread, held, refused, paused, back, *rolling))


def fields(value: Any, where: str = "") -> Iterator[str]:
    """The path of every field of a document; what is in a list is written with []."""
    if isinstance(value, Mapping):
        for name, inside in value.items():
            path = f"{where}.{name}".lstrip(".")
            yield path
            yield from fields(inside, path)
    elif isinstance(value, list):
        for inside in value:
            yield from fields(inside, f"{where}[]")


def described(*head: str) -> dict[str, list[str]]:
    """The rows of the page's tables by what their first cell has in code marks."""
    return {name: row for row in table(text(PAGE), *head) for name in code(row[0])}


def test_the_fields_of_the_status_are_those_described() -> None:
    assert set(described("field", "type", "means")) == {field for one in documents() for field in fields(one)}


def test_the_example_of_a_status_has_the_fields_of_a_real_one() -> None:
    (example,) = re.findall(r"^```json\n(.*?)^```$", text(PAGE), flags=re.MULTILINE | re.DOTALL)
    shown = set(fields(json.loads(example)))
    assert set(document(board())) <= shown <= {field for one in documents() for field in fields(one)}


def test_the_words_of_the_status_are_those_described() -> None:
    by_field = described("field", "type", "means")
    assert {one["state"] for one in documents()} <= set(described("word", "means"))
    lives = set(code(by_field["workers[].state"][2]))
    assert lives == {Life.STARTING, Life.READY, Life.DRAINING, "backoff", "failed", "stopped"}
    assert set(code(by_field["rollout.kind"][2])) == set(Kind)
    phases = {one["rollout"]["phase"] for one in documents() if one["rollout"] is not None}
    assert set(code(by_field["rollout.phase"][2])) == phases - {"committed", "rejected", "rolled_back"}
