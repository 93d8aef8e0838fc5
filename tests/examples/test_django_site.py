"""The notice board on Django, on a real supervisor."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import asking, copied, edit, needs, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nexus import Nexus

needs("Django")

KEY = "keys/poster.key"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Nexus]:
    nexus = running(copied("django_site", tmp_path), KEY, "keys/django.key")
    subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], cwd=nexus.directory, check=True)
    with nexus:
        yield nexus


def post(site: Nexus, text: str) -> int:
    key = (site.directory / KEY).read_text(encoding="utf-8").strip()
    return site.request("POST", "/notices", key=key, body=text).status


def test_a_new_title_reaches_every_worker_and_no_request_fails(site: Nexus) -> None:
    board = site.directory / "site" / "board.toml"
    assert post(site, "Tea at five") == 201
    with asking(site, "/notices") as answers:
        for number in range(2, 12):
            before = "Notices" if number == 2 else f"Notices {number - 1}"
            edit(board, f'"{before}"', f'"Notices {number}"')
            assert site.push().exit_code == 0
            titles = {one.json["title"] for one in site.everywhere("GET", "/notices").values()}
            assert titles == {f"Welcome: Notices {number}"}

    assert {one.status for one in answers} == {200}
    for one in answers:
        assert one.json["title"] == ("Welcome: Notices" if one.version == 1 else f"Welcome: Notices {one.version}")
        assert one.json["notices"] == [{"text": '"Tea at five"', "accepted_by": 1}]


def test_the_board_is_closed_and_opened_without_a_restart(site: Nexus) -> None:
    board = site.directory / "site" / "board.toml"
    edit(board, "closed = false", "closed = true")
    assert site.push().exit_code == 0
    assert {one.status for one in site.everywhere("GET", "/notices").values()} == {503}
    assert post(site, "late") == 503

    edit(board, "closed = true", "closed = false")
    assert site.push().exit_code == 0
    assert {one.status for one in site.everywhere("GET", "/notices").values()} == {200}
    assert {worker["incarnation"] for worker in site.workers().values()} == {1}


def test_a_limit_holds_for_the_next_notice(site: Nexus) -> None:
    assert post(site, "a" * 100) == 201
    edit(site.directory / "site" / "board.toml", "most_letters = 200", "most_letters = 50")
    assert site.push().exit_code == 0
    assert post(site, "a" * 100) == 422


def test_a_mistake_is_refused_with_its_line(site: Nexus) -> None:
    edit(site.directory / "site" / "board.toml", "most_shown = 20", "most_shown = 0")
    ended = site.push()

    assert ended.exit_code == 3
    assert ended.problems == ("site/board.toml:3: most_shown: expected at least 1, found 0",)
    assert site.version == 1
    assert {one.status for one in site.everywhere("GET", "/notices").values()} == {200}


def test_another_language_waits_for_a_restart(site: Nexus) -> None:
    edit(site.directory / "site" / "board.toml", '"en"', '"de"')
    assert site.push().exit_code == 8
    assert site.status()["pending_restart"]["keys"] == ["board.board.language"]
    assert {one.json["title"] for one in site.everywhere("GET", "/notices").values()} == {"Welcome: Notices"}

    assert site.restart().exit_code == 0
    assert {one.json["title"] for one in site.everywhere("GET", "/notices").values()} == {"Willkommen: Notices"}
