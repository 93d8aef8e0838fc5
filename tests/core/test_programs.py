"""Programs: what a daemon with several of them may declare, and what each inherits."""

from __future__ import annotations

from typing import Any

import pytest
import tomli

from nexus_supervisor.core.programs import program_of, slot_name
from nexus_supervisor.core.settings import Parsed, Share, parse

TWO = """
[daemon]
bind = ["127.0.0.1", "unix:web.sock"]
port = 8000
[supervisor.restart]
type = "transient"
[[supervisor.program]]
name = "web"
program = "asgi"
app = "shop:app"
workers = 4
[[supervisor.program]]
name = "jobs"
restart = "temporary"
strategy = "one_for_all"
min_ready = "50%"
"""


def read(text: str, **supervisor: Any) -> Parsed:
    return parse(tomli.loads(text), {"supervisor": supervisor} if supervisor else {}, cpu_count=4)


def errors(text: str, **supervisor: Any) -> list[tuple[str, str]]:
    return [(one.key, one.code) for one in read(text, **supervisor).errors]


def test_one_program_is_written_in_the_table_of_the_supervisor() -> None:
    (program,) = read("[supervisor]\nprogram = 'shop.work:run'\nworkers = 3\nthreads = 7").settings.programs

    assert (program.name, program.program, program.workers, program.threads) == ("run", "shop.work:run", 3, 7)
    assert program.addresses == ("127.0.0.1:8080",)
    assert (program.restart, program.strategy, program.min_ready) == ("permanent", "one_for_one", Share(1))


def test_several_programs_have_tables_of_their_own() -> None:
    parsed = read(TWO)
    web, jobs = parsed.settings.programs

    assert parsed.errors == ()
    assert (web.name, web.program, web.app, web.workers, web.restart) == ("web", "asgi", "shop:app", 4, "transient")
    assert (jobs.name, jobs.program, jobs.workers, jobs.restart) == ("jobs", "jobs", 1, "temporary")
    assert (jobs.strategy, jobs.min_ready) == ("one_for_all", Share(50, percent=True))


def test_the_first_program_has_the_addresses_of_the_daemon_and_others_only_their_own() -> None:
    web, jobs = read(TWO).settings.programs
    assert (web.addresses, jobs.addresses) == (("127.0.0.1:8000", "unix:web.sock"), ())

    _, jobs = read(f'{TWO}bind = "::1"').settings.programs

    assert jobs.addresses == ("[::1]:8000",)


def test_a_group_is_found_by_its_name_and_no_name_means_the_first() -> None:
    settings = read(TWO).settings

    assert [settings.group(name).name for name in ("", "web", "jobs")] == ["web", "web", "jobs"]
    with pytest.raises(KeyError):
        settings.group("other")


@pytest.mark.parametrize(
    ("tables", "key", "code"),
    [
        ("program = []", "supervisor.program", "limit"),
        ("[[supervisor.program]]\nworkers = 1", "supervisor.program[0].name", "missing"),
        ("[[supervisor.program]]\nname = 'Web'", "supervisor.program[0].name", "range"),
        ("[[supervisor.program]]\nname = 'a'\nwrkers = 1", "supervisor.program[0].wrkers", "unknown_key"),
        (
            "[[supervisor.program]]\nname = 'a'\n[[supervisor.program]]\nname = 'a'",
            "supervisor.program[1].name",
            "duplicate",
        ),
        ("[[supervisor.program]]\nname = 'a'\nworkers = 0", "supervisor.program", "range"),
        ("workers = 3\n[[supervisor.program]]\nname = 'a'", "supervisor.workers", "value"),
        ("app = 'a:b'\n[[supervisor.program]]\nname = 'a'", "supervisor.app", "value"),
    ],
)
def test_a_mistake_in_a_declaration_is_named(tables: str, key: str, code: str) -> None:
    assert errors(f"[supervisor]\n{tables}") == [(key, code)]


def test_more_workers_in_all_programs_than_there_can_be_are_refused() -> None:
    half = "[[supervisor.program]]\nname = '{}'\nworkers = 300\n"

    (mistake,) = read(half.format("a") + half.format("b")).errors

    assert mistake.message == "expected 1 to 512 workers in all programs, found 600"


def test_a_number_of_workers_for_all_programs_names_them_and_what_to_use_instead() -> None:
    (mistake,) = read(TWO, workers=3).errors

    assert "(web, jobs)" in mistake.message
    assert "'nexus-supervisor scale'" in mistake.message


def test_programs_that_have_sections_of_their_own_bring_them_together() -> None:
    text = "[[supervisor.program]]\nname = 'gateway'\n[[supervisor.program]]\nname = 'jobs'"

    assert read(text).settings.supervisor.sections == read("").settings.supervisor.sections


@pytest.mark.parametrize("program", ["web", "a-1", "a_b", "run", "x.y"])
def test_a_slot_tells_its_program(program: str) -> None:
    assert program_of(slot_name(program, 12)) == program


@pytest.mark.parametrize("name", ["trial", "s0", ""])
def test_what_is_no_slot_of_a_program_tells_none(name: str) -> None:
    assert program_of(name) == ""
