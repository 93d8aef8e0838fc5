"""Bad input, row by row: a refusal that names file and line, that blocks no revocation, and that the next edit ends."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.compiling import DAEMON, Desk, assert_problem, lines, make_directory, names, source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BIG = 1 << 30


def text(content: str | bytes) -> Callable[[Path], None]:
    """Return what writes a file of this content."""

    def make(path: Path) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def sparse(path: Path) -> None:
    with path.open("wb") as opened:
        opened.truncate(BIG)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(path))


ROWS = {
    "a syntax error": (text('[source]\nname = "c"\ntier ='), r"c\.toml:3: this is not valid TOML", "syntax"),
    "an unknown key": (text(source("c", "teir = 1")), r"c\.toml:4: source\.teir: .* mean tier\?", "unknown_key"),
    "a wrong type": (text(source("c", 'tier = "1"')), r"c\.toml:4: source\.tier: expected a whole number", "type"),
    "a date": (text(source("c", "tier = 1979-05-27")), r"c\.toml:4: .* a whole number, found a date$", "type"),
    "out of range": (text(source("c", "tier = 4")), r"c\.toml:4: source\.tier: expected at most 3, found 4", "range"),
    "a missing name": (text("[source]\napi_key = 'x'"), r"c\.toml:1: source\.name: .* found none", "missing"),
    "a bad name": (text(source("C c")), r"c\.toml:2: source\.name: .* found 'C c'", "value"),
    "two of one name": (text(source("b", key="x")), r"c\.toml:2: .* of sources/b\.toml:2", "duplicate"),
    "two with one key": (text(source("c", key="key-of-b")), r"c\.toml:3: .* of sources/b\.toml:3", "duplicate"),
    "an empty secret": (text('[source]\nname="c"\napi_key=""'), r"c\.toml:3: source\.api_key: .* empty", "secret"),
    "a missing secret": (text(source("c", key="env:NO_SUCH")), r"c\.toml:3: .*'NO_SUCH', which is not set", "secret"),
    "an unknown destination": (text(source("c", "target = 'x'")), r"c\.toml:4: source\.target: ", "reference"),
    "binary": (text(b"\x7fELF\x02\xff\xfe\x00"), r"c\.toml:1: expected UTF-8 text", "syntax"),
    "NUL": (text("a = 1\n\0"), r"c\.toml:2: this is not valid TOML", "syntax"),
    "5,000 brackets": (text("[source]\nx = " + "[" * 5000), r"c\.toml:2: expected at most 32 tables", "limit"),
    "5,000 tables": (text("x = " + "{a=" * 5000), r"c\.toml:1: expected", "limit"),
    "16,000 key parts": (text("[source]\n" + "a." * 16000 + "b = 1"), r"c\.toml:2: expected a key of at most", "limit"),
    "a long header": (text("[" + "a." * 16000 + "b]"), r"c\.toml:1: expected a key of at most 32 parts", "limit"),
    "8,000 digits": (text("[source]\ntier = " + "9" * 8000), r"c\.toml:2: expected a number of at most", "limit"),
    "a long line": (text("[source]\n# " + "x" * 70_000), r"c\.toml:2: expected a line of at most 65536", "limit"),
    "65 bits": (text(source("c", "tier = 9223372036854775808")), r"c\.toml:4: .* at most 64 bits", "range"),
    "NaN": (text(source("c", "share = nan")), r"c\.toml:4: source\.share: expected a finite number", "range"),
    "infinity": (text(source("c", "share = 1e400")), r"c\.toml:4: source\.share: expected a finite number", "range"),
    "direction marks": (text(source("c", 'target = "a\u202eb"')), r"c\.toml:4: .* found U\+202E", "value"),
    "a look-alike key": (text(source("c", '"tie\u200br" = 1')), r"c\.toml:4: .* found U\+200B", "unknown_key"),
    "another table": (text(source("c", "[sauce]")), r"c\.toml:4: sauce: expected nothing beside", "unknown_key"),
    "a misspelled table": (text("\n[sourc]\nname = 'c'"), r"c\.toml:2: sourc: .* did you mean source\?", "missing"),
    "no table": (text("name = 'c'"), r"c\.toml:1: expected the table \[source\]", "missing"),
    "an empty file": (text(""), r"c\.toml:1: expected the table \[source\], found none", "missing"),
    "a 1 GB sparse file": (sparse, r"c\.toml: expected at most 1048576 bytes .* found 1073741824", "limit"),
    "a FIFO": (os.mkfifo, r"c\.toml: expected a regular file, found a FIFO", "not_a_file"),
    "a socket": (bound_socket, r"c\.toml: expected a regular file, found a socket", "not_a_file"),
    "a directory": (lambda path: path.mkdir(), r"c\.toml: expected a regular file, found a directory", "not_a_file"),
    "a link out": (lambda path: path.symlink_to("/etc/passwd"), r"c\.toml: .* found a symbolic link", "not_a_file"),
    "a link beside": (lambda path: path.symlink_to("a.toml"), r"c\.toml: .* found a symbolic link", "not_a_file"),
    "a dangling link": (lambda path: path.symlink_to("nowhere"), r"c\.toml: .* a symbolic link", "not_a_file"),
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    desk = Desk(make_directory(tmp_path / "shop"))
    desk.go_live(whole=True)
    return desk


def remove(path: Path) -> None:
    """Remove whatever the path is."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


@pytest.mark.parametrize("row", ROWS)
def test_bad_input_is_refused_by_file_and_line_and_changes_nothing_else(desk: Desk, row: str) -> None:
    make, pattern, code = ROWS[row]
    path = desk.directory / "sources/c.toml"
    make(path)

    refused = desk.refused(hints=("sources/c.toml",))

    assert_problem(refused, "sources/" + pattern)
    assert [one.code for one in refused.problems] == [code], lines(refused)
    assert not refused.unstable
    assert refused.gone == ()

    # a revocation of another source is not blocked
    (desk.directory / "sources/a.toml").unlink()
    refused = desk.refused(hints=("sources/a.toml",))
    assert refused.gone == ("sources.a",)
    assert names(desk.applied(refused)) == ["b"]

    # and the next good edit goes live
    remove(path)
    desk.write("sources/c.toml", source("c", "tier = 1"))
    assert names(desk.applied(desk.seen(hints=("sources/c.toml",)))) == ["b", "c"]


def test_a_file_that_is_open_for_writing_is_unstable_until_it_is_closed(desk: Desk) -> None:
    path = desk.directory / "sources/c.toml"
    with path.open("w") as opened:
        opened.write(source("c"))
        opened.flush()

        refused = desk.refused()

        assert_problem(refused, r"sources/c\.toml: the file is open for writing")
        assert refused.unstable

    assert names(desk.applied(desk.seen(hints=("sources/c.toml",)))) == ["a", "b", "c"]


def test_no_prefix_of_a_file_written_in_place_is_taken_while_it_is_open(desk: Desk) -> None:
    whole = source("b", 'target = "main"', "tier = 1", "", "[source.policy]", 'allowed = ["main"]')
    before = desk.content.digest
    with (desk.directory / "sources/b.toml").open("w") as opened:
        for character in whole:
            opened.write(character)
            opened.flush()

            refused = desk.refused(hints=("sources/b.toml",))

            assert (refused.unstable, refused.gone, refused.revoked) == (True, (), None)

    assert desk.seen(hints=("sources/b.toml",)).digest != before


def test_a_file_that_is_both_unstable_and_beside_a_broken_one_is_not_worth_waiting_for(desk: Desk) -> None:
    desk.write("sources/c.toml", "broken [")
    with (desk.directory / "sources/b.toml").open("a"):
        assert not desk.refused().unstable


def test_a_link_in_the_place_of_a_section_is_refused(desk: Desk, tmp_path: Path) -> None:
    (desk.directory / "sources").rename(tmp_path / "outside")
    (desk.directory / "sources").symlink_to(tmp_path / "outside")

    refused = desk.refused()

    assert_problem(refused, r"sources: expected the directory sources/ to be a directory, found a .* symbolic link")
    assert refused.gone == ()


def test_too_many_files_are_refused_before_one_is_read(desk: Desk) -> None:
    desk.write("daemon.toml", DAEMON + "\n[supervisor.limits]\nmax_files = 3\n")
    for name in ("c", "d"):
        desk.write(f"sources/{name}.toml", source(name))

    refused = desk.refused()

    assert_problem(refused, r"sources: expected at most 3 files beside those of other sections .*, found 4")
    assert refused.gone == ()


def test_too_many_bytes_in_all_are_refused_before_one_is_read(desk: Desk) -> None:
    desk.write("daemon.toml", DAEMON + "\n[supervisor.limits]\nmax_total_bytes = 1024\n")
    desk.write("sources/c.toml", source("c", "# " + "x" * 1024))

    assert_problem(desk.refused(), r"sources: expected at most 1024 bytes beside those of other sections")


def test_a_file_that_is_too_large_alone_is_no_trouble_of_its_section(desk: Desk) -> None:
    sparse(desk.directory / "sources/c.toml")
    (desk.directory / "sources/a.toml").unlink()

    refused = desk.refused()

    assert_problem(refused, r"sources/c\.toml: expected at most 1048576 bytes")
    assert refused.gone == ("sources.a",)


def test_so_many_mistakes_of_one_file_are_counted_and_not_worded(desk: Desk) -> None:
    desk.write("sources/c.toml", source("c", *(f"k{number} = 1" for number in range(5_000))))

    refused = desk.refused()

    assert_problem(refused, r"sources/c\.toml:1: source: 4000 more mistakes of this file are not shown")
    assert_problem(refused, r"sources/c\.toml:4: source\.k0: expected a known key")
    assert len(refused.problems) == 101


@pytest.mark.parametrize("key", ["k" * 60_000, "a.b"])
def test_what_a_file_says_at_length_is_quoted_in_short(desk: Desk, key: str) -> None:
    desk.write("sources/c.toml", source("c", f'"{key}" = 1', key="file:" + "x" * 60_000))

    refused = desk.refused()

    assert len(refused.problems) == 2
    assert all(len(line) < 1_500 for line in lines(refused))


def test_a_warning_is_short_however_many_keys_it_names(desk: Desk) -> None:
    keys = "".join(f"{'k' * 400}{number} = 1\n" for number in range(1_000))
    desk.write("daemon.toml", DAEMON.replace("[supervisor]", f"{keys}[supervisor]"))

    seen = desk.seen()

    assert [len(str(one)) < 1_500 for one in seen.warnings] == [True]
    assert sum(map(len, seen.held)) < 400_000


def test_a_file_name_that_is_no_text_is_shown_escaped(desk: Desk) -> None:
    (desk.directory / os.fsdecode(b"sources/\xff\x1b.toml")).write_text("broken [")

    refused = desk.refused()

    assert refused.problems[0].file == "sources/\\xff\\u001b.toml"
    refused.problems[0].file.encode()


def test_an_entry_named_by_its_file_needs_a_good_file_name(tmp_path: Path) -> None:
    desk = Desk(make_directory(tmp_path / "shop", daemon=DAEMON.replace('name_from = "name"\n', "")))
    desk.write("sources/Not Good.toml", source("x"))

    assert_problem(desk.refused(), r"sources/Not Good\.toml:1: expected a name of 1 to 64 .* before \.toml")
