"""Bad input of every kind, given to one running daemon: it costs the change that it is in, and nothing else.

Each row of ``ROWS`` goes through the same story: the mistake is refused by name while a status is answered, everything
that ran goes on, another source's key is withdrawn all the same, and the next good edit is live.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.gateway_directory import a_destination, a_source, key_of, make_directory, write_atomically
from tests.support.hostile import (
    Baseline,
    SteadyNexus,
    compiler_stopped,
    held_up_push,
    keys_served,
    remove,
    unprivileged_python,
)
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from collections.abc import Iterator

BIG = 1 << 30
FILE_LIMIT = 1 << 20
MOST_GROWTH_BYTES = 24 << 20
"""What the supervisor may gain over all rows: less than any of the files that are refused for their size."""

SOURCE = a_source("bad")
SECTION = '[[supervisor.section]]\nname = "sources"\nfiles = "sources/*.toml"\napply = "live"\n'
SECTION += 'model = "nexus_workers.gateway.models:Source"\ntable = "source"\nname_from = "name"\n'


# --- what is done to the directory -----------------------------------------------------------------------------------


def bad(content: str | bytes, name: str = "bad") -> Callable[[Path], None]:
    """Write a file of sources/ as editors do."""

    def make(directory: Path) -> None:
        fresh = directory / "sources" / f".{name}.new"
        fresh.write_bytes(content if isinstance(content, bytes) else content.encode())
        fresh.rename(directory / "sources" / f"{name}.toml")

    return make


def added(text: str) -> Callable[[Path], None]:
    """Write the source ``bad`` with more text; what is added begins on line 6."""
    return bad(SOURCE + text)


def daemon(text: str) -> Callable[[Path], None]:
    """Add text to daemon.toml; it begins on line 5."""

    def make(directory: Path) -> None:
        path = directory / "daemon.toml"
        write_atomically(path, path.read_text() + text)

    return make


def at(relative: str, act: Callable[[Path], object]) -> Callable[[Path], None]:
    """Put something in the place of a file of the directory."""

    def make(directory: Path) -> None:
        path = directory / relative
        remove(path)
        act(path)

    return make


def sparse(path: Path) -> None:
    with path.open("wb") as opened:
        opened.truncate(BIG)


def bound_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short (unix(7))
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


def null_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except OSError as error:
        path.write_bytes(Path(path).name.encode())
        pytest.skip(f"this user may not make device nodes ({error.strerror})")


def gone(path: Path) -> None:
    """Leave nothing there."""
    assert not path.exists()


def numbered(line: str, size: int = FILE_LIMIT - 4096) -> str:
    """Return so many lines, numbered at ``{}``, as a file may hold."""
    count = size // len(line.replace("{}", "000000"))
    return "".join(line.replace("{}", f"{number:06}") for number in range(count))


def secret(text: str) -> str:
    return a_source("bad", api_key=text)


def key_file(content: bytes) -> Callable[[Path], None]:
    """Let the source ``bad`` name a key file of this content."""

    def make(directory: Path) -> None:
        (directory / "keys" / "odd.key").write_bytes(content)
        bad(secret("file:keys/odd.key"))(directory)

    return make


def key_fifo(directory: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkfifo(directory / "keys" / "fifo.key")
    bad(secret("file:keys/fifo.key"))(directory)


@dataclass(frozen=True)
class Row:
    """One mistake: how it is made, and how the line begins that refuses it."""

    make: Callable[[Path], None]
    pattern: str


def source_row(make: Callable[[Path], None], pattern: str) -> Row:
    return Row(make, r"sources/bad\.toml" + pattern)


NOT_TOML = "this is not valid TOML: "
SOURCES = {
    "a syntax error": (added("tier ="), rf":6: {NOT_TOML}"),
    "an unknown key": (added("teir = 1"), r":6: source\.teir: expected a known key, found an .* did you mean tier\?"),
    "a wrong type": (added('tier = "1"'), r":6: source\.tier: expected a whole number, found a text in quotes"),
    "out of range": (added("tier = 7"), r":6: source\.tier: expected at most 3, found 7"),
    "a missing name": (bad('[source]\napi_key = "x"'), r":1: source\.name: expected a name of .*, found none: write"),
    "a bad name": (bad(a_source("Bad Name")), r":2: source\.name: expected a name of .*, found 'Bad Name'"),
    "two with one key": (
        bad(secret(key_of("alpha"))),
        r":3: source\.api_key: expected a value that no other entry has, found that of sources/alpha\.toml:3",
    ),
    "an empty secret": (bad(secret("")), r":3: source\.api_key: expected .*, found an empty text"),
    "an empty secret in a file": (
        key_file(b" \n"),
        r":3: source\.api_key: .* the file 'keys/odd\.key', which is empty",
    ),
    "a missing secret in a file": (bad(secret("file:keys/no.key")), r":3: .* 'keys/no\.key', which does not exist"),
    "a missing secret": (bad(secret("env:NOT_THERE")), r":3: source\.api_key: .* 'NOT_THERE', which is not set"),
    "an empty secret in the environment": (bad(secret("env:BLANK")), r":3: .* 'BLANK', which is empty"),
    "a secret that is a FIFO": (key_fifo, r":3: source\.api_key: expected .* to be a regular file"),
    "a secret that is binary": (key_file(b"\xff\xfe\x00"), r":3: source\.api_key: expected text in .* not UTF-8"),
    "a secret that is too long": (key_file(b"x" * 70_000), r":3: source\.api_key: .* at most 65536 bytes, found more"),
    "a secret that is no text": (bad(a_source("bad", api_key=7)), r":3: source\.api_key: .*, found another type"),
    "a secret as it is stored": (
        bad('[source]\nname = "bad"\napi_key = {ref = "env:X", digest = "' + "0" * 64 + '"}\n'),
        r":3: source\.api_key: .*, found another type",
    ),
    "a secret without an end": (bad(secret("env:" + "A" * 60_000)), r":3: source\.api_key: .*A{500}"),
    "an unknown destination": (
        bad(a_source("bad", target_destination="mian")),
        r":5: source\.target_destination: expected the name of an entry .*, found 'mian': did you mean main\?",
    ),
    "1,000 unknown destinations": (
        added("[source.policy]\nallowed_destinations = [" + "".join(f"'d{n}'," for n in range(1000)) + "]"),
        r":7: source\.policy\.allowed_destinations\[0\]: expected the name of an entry of destinations",
    ),
    "binary": (bad(bytes(range(128, 256)) * 64), r":1: expected UTF-8 text, found the byte 0x80: is this a binary"),
    "an ELF header": (bad(b"\x7fELF\x02\x01\x01" + b"\0" * 9), rf":1: {NOT_TOML}"),
    "another encoding": (bad(SOURCE.encode("utf-16")), r":1: expected UTF-8 text, found the byte 0xff"),
    "a byte order mark": (bad("\ufeff" + SOURCE), rf":1: {NOT_TOML}"),
    "NUL": (added("\0"), rf":6: {NOT_TOML}"),
    "NUL in a text": (added('namespace = "a\\u0000b"'), r":6: source\.namespace: expected text .*, found U\+0000"),
    "half a character": (added('namespace = "\\ud800"'), rf":6: {NOT_TOML}"),
    "direction marks": (added('namespace = "a\u202eb"'), r":6: source\.namespace: expected text .* found U\+202E"),
    "direction marks in a key": (added('"ti\u202eer" = 1'), r":6: source\.ti\\u202eer: .*, found U\+202E"),
    "a look-alike key": (added('"t\u0456er" = 1'), r":6: source\.t\u0456er: expected a known key, found an unknown"),
    "an empty key": (added('"" = 1'), r":6: source\.: expected a known key, found an unknown one"),
    "a key without an end": (added('"' + "k" * 60_000 + '" = 1'), r":6: source\.k{100}"),
    "a key twice": (added("tier = 1\ntier = 2"), rf":7: {NOT_TOML}cannot overwrite"),
    "a table twice": (added("[source]"), rf":6: {NOT_TOML}"),
    "a table over a value": (added("tier = 1\n[source.tier]"), rf":7: {NOT_TOML}"),
    "old line ends": (bad(SOURCE.replace("\n", "\r")), rf":1: {NOT_TOML}"),
    "a text without an end": (added('namespace = "never'), rf":6: {NOT_TOML}"),
    "a long text without an end": (added('namespace = """\n' + "x\n" * 100_000), rf":\d+: {NOT_TOML}"),
    "an array without an end": (added("mapping = {a = [1,"), rf":6: {NOT_TOML}"),
    "a megabyte of text": (
        added('namespace = """\n' + "x" * 60 * 1024 + "\n" + "x\n" * 490_000 + '"""'),
        r":6: .* 256",
    ),
    "a long line": (added("# " + "x" * 70_000), r":6: expected a line of at most 65536 bytes, found 70002"),
    "5,000 brackets": (added("tier = " + "[" * 5_000), r":6: expected at most 32 tables and arrays within each other"),
    "5,000 closed brackets": (added("tier = " + "[" * 5_000 + "]" * 5_000), r":6: expected at most 32 tables"),
    "5,000 inline tables": (added("tier = " + "{a=" * 5_000 + "1" + "}" * 5_000), r":6: expected at most 32 tables"),
    "a key of 16,000 parts": (added("a." * 16_000 + "b = 1"), r":6: expected a key of at most 32 parts, found more"),
    "a header of 16,000 parts": (added("[" + "a." * 16_000 + "b]"), r":6: expected a key of at most 32 parts"),
    "8,000 digits": (added("tier = " + "9" * 8_000), r":6: expected a number of at most 128 digits, found a longer"),
    "65 bits": (added("tier = 9223372036854775808"), r":6: source\.tier: .* at most 64 bits, found a larger one"),
    "NaN": (added("tier = nan"), r":6: source\.tier: expected a finite number, found nan"),
    "1e999": (added("policy.decay.half_life_days = 1e999"), r":6: source\.policy\.decay\.half_life_days: .* found inf"),
    "-0.0": (added("tier = -0.0"), r":6: source\.tier: expected a whole number, found -0\.0"),
    "a date": (added("tier = 1979-05-27"), r":6: source\.tier: expected a whole number, found a date"),
    "a moment": (added("can_read = 1979-05-27T07:32:00Z"), r":6: .* expected true or false, found a date and time"),
    "no such date": (added("tier = 1979-02-30"), rf":6: {NOT_TOML}"),
    "100,000 tables": (
        bad("".join(f"[t{number:05}]\n" for number in range(100_000))),
        r":1: expected the table \[source\]",
    ),
    "a megabyte of unknown keys": (added(numbered("k{} = 1\n")), r":6: source\.k000000: expected a known key"),
    "tables without an end": (added(numbered("[source.t{}]\n", 300_000)), r":6: source\.t000000: expected a known key"),
    "mistakes without an end": (
        added("[source.mapping]\n" + numbered("k{} = ''\n", 300_000)),
        r":7: source\.mapping\.k000000: expected at least 1 characters, found 0",
    ),
    "another table": (added("[sauce]"), r":6: sauce: expected nothing beside the table \[source\]"),
    "a misspelled table": (bad(SOURCE.replace("[source]", "[sourc]")), r":1: sourc: .* did you mean source\?"),
    "a list of tables": (bad(SOURCE.replace("[source]", "[[source]]")), r":1: source: expected the table \[source\]"),
    "an empty file": (bad(""), r":1: expected the table \[source\], found none: write it"),
    "a field for later": (added('signing.mode = "hmac"'), r":6: source\.signing\.mode: .* not supported"),
    "a 1 GB sparse file": (at("sources/bad.toml", sparse), rf": expected at most {FILE_LIMIT} bytes .* found {BIG}"),
    "a FIFO": (at("sources/bad.toml", os.mkfifo), r": expected a regular file, found a FIFO"),
    "a socket": (at("sources/bad.toml", bound_socket), r": expected a regular file, found a socket"),
    "a device": (at("sources/bad.toml", null_device), r": expected a regular file, found a device"),
    "a directory": (at("sources/bad.toml", Path.mkdir), r": expected a regular file, found a directory"),
    "a link out": (at("sources/bad.toml", lambda path: path.symlink_to("/etc/passwd")), r": .* found a symbolic link"),
    "a link beside": (at("sources/bad.toml", lambda path: path.symlink_to("alpha.toml")), r": .* found a symbolic"),
    "a link to itself": (at("sources/bad.toml", lambda path: path.symlink_to("bad.toml")), r": .* found a symbolic"),
    "a dangling link": (at("sources/bad.toml", lambda path: path.symlink_to("nowhere")), r": .* found a symbolic link"),
}

PLACES = {
    "two of one name": Row(
        bad(a_source("alpha", api_key="another"), name="twin"),
        r"sources/twin\.toml:2: source\.name: expected the name 'alpha' that no other .* sources/alpha\.toml:2",
    ),
    "a name with a line break": Row(bad("x =", name="a\nb"), rf"sources/a\\u000ab\.toml:1: {NOT_TOML}"),
    "a name with escapes": Row(bad("x =", name="a\x1b[31mb"), rf"sources/a\\u001b\[31mb\.toml:1: {NOT_TOML}"),
    "a name as long as can be": Row(bad("x =", name="x" * 245), rf"sources/x+\.toml:1: {NOT_TOML}"),
    "a name with a percent sign": Row(bad("x =", name="%s{0}%(x)d"), rf"sources/%s\{{0\}}%\(x\)d\.toml:1: {NOT_TOML}"),
    "a destination's syntax": Row(
        at("destinations/main.toml", lambda path: path.write_text("[destination")), r"destinations/main\.toml:1: this"
    ),
    "a destination's FIFO": Row(
        at("destinations/main.toml", os.mkfifo), r"destinations/main\.toml: expected a regular"
    ),
    "a destination's type": Row(
        at("destinations/other.toml", lambda path: path.write_text(a_destination("other", type="mysql"))),
        r"destinations/other\.toml:3: destination\.type: expected 'sqlite' or 'postgres'",
    ),
    "a destination that is needed and gone": Row(
        at("destinations/main.toml", gone), r"sources/alpha\.toml:5: source\.target_destination: .* there are none"
    ),
    "a section that is gone": Row(
        at("destinations", gone), r"destinations: expected the directory destinations/ to exist, found nothing: make it"
    ),
    "a section that is a file": Row(
        at("destinations", Path.touch), r"destinations: expected the directory destinations/ to be a directory"
    ),
    "a section that is a link": Row(
        at("destinations", lambda path: path.symlink_to("sources")), r"destinations: expected the directory .* symbolic"
    ),
}

DAEMON = {
    "a syntax error of the daemon": (daemon("[daemon\n"), rf":5: {NOT_TOML}"),
    "an unknown setting": (daemon("wrokers = 3"), r':5: supervisor\.wrokers: there is no such key; .* "workers"'),
    "an unknown table": (daemon("[superviser]"), r':5: superviser: there is no such key; did you mean "supervisor"'),
    "nearly a setting": (daemon("[daemon]\nprot = 1"), r':6: daemon\.prot: there is no such key; did you mean "port"'),
    "a setting out of range": (daemon("[daemon]\nport = 70000"), r":6: daemon\.port: expected .*65535.*70000"),
    "a setting of a wrong type": (daemon('[daemon]\nport = "80"'), r":6: daemon\.port: expected a whole number .*text"),
    "a setting that is a table": (daemon("[daemon.port]"), r":5: daemon\.port: expected a whole number .*a table"),
    "a table that is a setting": (daemon("watch = 1"), r":5: supervisor\.watch: expected a table, found"),
    "a setting that is NaN": (daemon("rollout.wave_pause_seconds = nan"), r":5: .*wave_pause_seconds: .*finite"),
    "a word that is none": (daemon("[daemon]\nlog_format = 'xml'"), r":6: daemon\.log_format: expected .*xml"),
    "a token that is nowhere": (
        daemon("[daemon]\nadmin_token = 'env:NOT_THERE'"),
        r":6: daemon\.admin_token: .*not set",
    ),
    "a section without a name": (
        daemon('[[supervisor.section]]\nfiles = "sources/*.toml"'),
        r":5: supervisor\.section\[0\]\.name: this key is missing",
    ),
    "a section outside": (
        daemon(SECTION.replace('"sources/*', '"../sources/*')),
        r":7: supervisor\.section\[0\]\.files: expected ",
    ),
    "a section that applies somehow": (
        daemon(SECTION.replace('"live"', '"sometimes"')),
        r":8: supervisor\.section\[0\]\.apply: expected .*sometimes",
    ),
    "a section twice": (daemon(SECTION + SECTION), r":\d+: supervisor\.section\[1\]\.(name|files): "),
    "a section without its model": (
        daemon(SECTION.replace("models:Source", "models:Sauce")),
        r":9: supervisor\.section\[0\]\.model: the model .* can't be loaded: module .* has no Sauce",
    ),
    "a section with a model of nowhere": (
        daemon(SECTION.replace("nexus_workers.gateway", "no_such_package")),
        r":9: supervisor\.section\[0\]\.model: the model .* can't be loaded: No module named",
    ),
    "a daemon.toml over the limit": (at("daemon.toml", sparse), rf": expected at most {FILE_LIMIT} bytes .* {BIG}"),
    "a daemon.toml that is a FIFO": (at("daemon.toml", os.mkfifo), r": expected a regular file, found a FIFO"),
    "a daemon.toml that is a directory": (at("daemon.toml", Path.mkdir), r": expected a regular file, found a dir"),
    "a daemon.toml that is a link": (at("daemon.toml", lambda path: path.symlink_to("x")), r": .* a symbolic link"),
    "a daemon.toml that is binary": (at("daemon.toml", lambda path: path.write_bytes(b"\xff")), r":1: expected UTF-8"),
    "no daemon.toml": (at("daemon.toml", gone), r": expected the file daemon\.toml, found none: make it"),
}

ROWS = {
    **{name: source_row(*row) for name, row in SOURCES.items()},
    **PLACES,
    **{name: Row(make, r"daemon\.toml" + pattern) for name, (make, pattern) in DAEMON.items()},
}


# --- one daemon for all rows -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nexus, Baseline, int]]:
    sources = {name: a_source(name) for name in ("alpha", "bad", "victim")}
    directory = make_directory(tmp_path_factory.mktemp("hostile"), sources=sources)
    # mending takes six sources away at once, which the guard would ask about
    with SteadyNexus(directory, env={"BLANK": " ", "NEXUS_SUPERVISOR__GUARDS__SHRINK": "off"}) as nexus:
        yield nexus, Baseline(directory), psutil.Process(nexus.process.pid).memory_info().rss


@pytest.fixture
def nexus(running: tuple[Nexus, Baseline, int]) -> Iterator[Nexus]:
    """Lend the daemon, as it should be; afterwards the directory is mended, and that goes live."""
    nexus, baseline, before = running
    if not baseline.whole:  # the test before this one failed
        baseline.mend()
        assert_applied(nexus)
    baseline.whole = False
    yield nexus
    baseline.mend()
    assert_applied(nexus)
    baseline.whole = True
    assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {200}}
    assert psutil.Process(nexus.process.pid).memory_info().rss - before < MOST_GROWTH_BYTES


def assert_applied(nexus: Nexus) -> None:
    ended = nexus.push()
    assert (ended.exit_code, ended.outcome) == (0, "APPLIED"), ended


def assert_refused_by_name(problems: tuple[str, ...], pattern: str) -> None:
    assert any(re.match(pattern, problem) for problem in problems), problems[:5]
    assert all(len(problem) < 2_000 and "\n" not in problem for problem in problems)


def processes(nexus: Nexus) -> dict[str, tuple[int, int]]:
    """Return what serves: the incarnation and pid of each worker."""
    return {slot: (worker["incarnation"], worker["pid"]) for slot, worker in nexus.workers().items()}


@pytest.mark.parametrize("name", ROWS)
def test_bad_input_costs_nothing_but_the_change_that_it_is_in(nexus: Nexus, name: str) -> None:
    row = ROWS[name]
    before, serving = nexus.version, processes(nexus)

    row.make(nexus.directory)
    refused = held_up_push(nexus)

    assert (refused.exit_code, refused.outcome) == (3, "REJECTED")
    assert_refused_by_name(refused.problems, row.pattern)
    assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {200}}
    assert (nexus.version, processes(nexus)) == (before, serving)

    # a revocation of another source is not blocked
    (nexus.directory / "sources" / "victim.toml").unlink()
    revoked = nexus.push()

    assert (revoked.exit_code, revoked.outcome) == (3, "REJECTED")
    assert_refused_by_name(revoked.problems, row.pattern)
    assert revoked.text == f"The directory was refused, but what is gone from it was revoked as version {before + 1}."
    assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {401}}
    assert (nexus.version, processes(nexus)) == (before + 1, serving)
    # and the next good edit goes live: see the fixture


@pytest.mark.parametrize("name", ["a syntax error", "an empty file", "a FIFO", "two with one key", "no daemon.toml"])
def test_a_withdrawal_and_a_mistake_that_are_seen_in_one_look(nexus: Nexus, name: str) -> None:
    before = nexus.version
    with compiler_stopped(nexus):
        ROWS[name].make(nexus.directory)
        (nexus.directory / "sources" / "victim.toml").unlink()

    refused = nexus.push()

    assert refused.exit_code == 3
    assert_refused_by_name(refused.problems, ROWS[name].pattern)
    assert nexus.version == before + 1
    assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {401}}


def test_every_mistake_at_once_is_named_with_its_place(nexus: Nexus) -> None:
    ROWS["an unknown setting"].make(nexus.directory)
    ROWS["out of range"].make(nexus.directory)
    ROWS["a destination's type"].make(nexus.directory)
    bad(a_source("more", api_key="env:NOT_THERE", can_read=1), name="more")(nexus.directory)

    refused = nexus.push()

    patterns = [ROWS[name].pattern for name in ("an unknown setting", "out of range", "a destination's type")]
    for pattern in (*patterns, r"sources/more\.toml:3: source\.api_key: ", r"sources/more\.toml:6: source\.can_read: "):
        assert_refused_by_name(refused.problems, pattern)


def test_mistakes_that_are_too_many_to_show_are_counted(nexus: Nexus) -> None:
    for number in range(300):
        bad("x =", name=f"broken-{number}")(nexus.directory)

    refused = nexus.push()

    assert len(refused.problems) == 101
    assert refused.problems[-1] == "200 more problems are not shown: mend these first"


def test_a_file_that_keeps_changing_is_refused_and_taken_when_it_rests(nexus: Nexus) -> None:
    before, serving = nexus.version, processes(nexus)
    path = nexus.directory / "sources" / "bad.toml"
    with changing(path):
        refused = held_up_push(nexus)
        assert refused.exit_code == 3
        assert_refused_by_name(refused.problems, r"sources/bad\.toml: the file (is open for|changed while)")
        assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {200}}
        assert (nexus.version, processes(nexus)) == (before, serving)

        (nexus.directory / "sources" / "victim.toml").unlink()
        revoked = nexus.push()
        assert revoked.exit_code == 3
        assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {401}}

    assert_applied(nexus)
    assert nexus.request("GET", "/whoami", key_of("bad")).json["namespace"] == "at-rest"


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Write a file in place again and again while the block runs; what it is then is valid."""
    ended = threading.Event()

    def write() -> None:
        with path.open("r+b", buffering=0) as opened:
            number = 0
            while not ended.is_set():
                number += 1
                opened.seek(0)
                opened.truncate()
                opened.write(a_source("bad", namespace=f"n{number}").encode())
            opened.seek(0)
            opened.truncate()
            opened.write(a_source("bad", namespace="at-rest").encode())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def test_what_is_no_entry_is_not_even_looked_at(nexus: Nexus) -> None:
    before = nexus.version
    for name in (".hidden.toml", "bad.toml~", "bad.toml.bak", ".bad.toml.swp", "4913", "README", ".#bad.toml"):
        (nexus.directory / "sources" / name).write_text("[[[")

    assert_applied(nexus)
    assert nexus.version == before


def test_odd_and_valid_files_are_taken(nexus: Nexus) -> None:
    odd = {
        "dos": a_source("dos").replace("\n", "\r\n"),
        "comments": "# whatever a comment says: [[[\n" + a_source("comments"),
        "continued": a_source("continued") + 'namespace = """\\\n' + "\\\n" * 100_000 + 'joined"""\n',
        "inline": 'source = {name = "inline", api_key = "key-of-inline", can_read = true}\n',
        "zero": a_source("zero") + "policy.decay.half_life_days = -0.0\n",
        "a name with spaces": a_source("spaced"),
    }
    for name, text in odd.items():
        bad(text, name=name)(nexus.directory)

    assert_applied(nexus)
    names = ("dos", "comments", "continued", "inline", "zero", "spaced")
    assert keys_served(nexus, *names) == {name: {200} for name in names}
    assert nexus.request("GET", "/whoami", key_of("continued")).json["namespace"] == "joined"


def test_a_section_of_live_entries_that_is_gone_withdraws_nothing(nexus: Nexus) -> None:
    before = nexus.version
    (nexus.directory / "sources").rename(nexus.directory / "elsewhere")

    refused = held_up_push(nexus)

    assert refused.exit_code == 3
    assert_refused_by_name(refused.problems, r"sources: expected the directory sources/ to exist, found nothing")
    assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {200}}
    assert nexus.version == before

    (nexus.directory / "elsewhere").rename(nexus.directory / "sources")
    write_atomically(nexus.directory / "sources" / "alpha.toml", a_source("alpha", namespace="back"))
    nexus.until("committed", version=before + 1)
    assert nexus.request("GET", "/whoami", key_of("alpha")).json["namespace"] == "back"


def test_sections_that_daemon_toml_no_longer_names_are_held_and_withdraw_nothing(nexus: Nexus) -> None:
    before = nexus.version
    daemon(SECTION.replace("sources", "others").replace("Source", "Destination"))(nexus.directory)
    (nexus.directory / "others").mkdir(exist_ok=True)

    held = nexus.push()

    assert (held.exit_code, held.outcome) == (8, "HELD")
    assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {200}}
    assert nexus.version == before

    (nexus.directory / "sources" / "victim.toml").unlink()
    assert nexus.push().exit_code == 8
    assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {401}}


def test_a_directory_that_is_moved_away_costs_nothing_and_is_found_again(nexus: Nexus) -> None:
    before, serving = nexus.version, processes(nexus)
    away = nexus.directory.with_name("away")
    nexus.directory.rename(away)
    try:
        refused = subprocess.run(
            [sys.executable, "-m", "nexus_supervisor", "push", str(away)], check=False, capture_output=True, text=True
        )
    finally:
        away.rename(nexus.directory)

    assert refused.returncode == 3
    assert "expected DIR to exist, found nothing" in refused.stdout + refused.stderr
    assert (nexus.version, processes(nexus)) == (before, serving)
    assert keys_served(nexus, "alpha", "bad", "victim") == {"alpha": {200}, "bad": {200}, "victim": {200}}
    write_atomically(nexus.directory / "sources" / "alpha.toml", a_source("alpha", namespace="found"))
    assert_applied(nexus)
    assert nexus.request("GET", "/whoami", key_of("alpha")).json["namespace"] == "found"


# --- names that are no message ---------------------------------------------------------------------------------------


def test_a_name_that_is_no_text_is_refused_and_blocks_no_withdrawal(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = nexus.version
        (nexus.directory / "sources" / os.fsdecode(b"\xff\x80.toml")).write_text("x =")

        (problem,) = nexus.until("candidate_refused", "compiler_died")["problems"]
        assert problem.startswith(rf"sources/\xff\x80.toml:1: {NOT_TOML}")

        (nexus.directory / "sources" / "beta.toml").unlink()
        nexus.until("revoked", version=before + 1)
        assert keys_served(nexus, "alpha", "beta") == {"alpha": {200}, "beta": {401}}


def test_names_that_are_many_and_long_cost_no_worker_and_no_look(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        serving = processes(nexus)
        write_atomically(nexus.directory / "sources" / "alpha.toml", a_source("alpha", tier=1))
        with compiler_stopped(nexus):
            for number in range(6_000):
                (nexus.directory / "sources" / f"{number:05}{'x' * 240}.toml").write_text("x =")
            (nexus.directory / "sources" / "beta.toml").unlink()

        nexus.until("revoked")

        assert keys_served(nexus, "alpha", "beta") == {"alpha": {200}, "beta": {401}}
        assert processes(nexus) == serving
        assert not nexus.history("compiler_died", "slot_fenced")


@pytest.mark.parametrize("text", [numbered("k{} = 1\n"), "[daemon]\n" + numbered("k{} = 1\n")])
def test_settings_without_an_end_are_judged_in_time(tmp_path: Path, text: str) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        daemon(text)(nexus.directory)
        (nexus.directory / "sources" / "beta.toml").unlink()

        assert nexus.push().exit_code in {3, 8}
        assert keys_served(nexus, "alpha", "beta") == {"alpha": {200}, "beta": {401}}


# --- directories of other kinds --------------------------------------------------------------------------------------


def test_what_may_not_be_read_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", python := unprivileged_python(tmp_path))
    directory = make_directory(tmp_path, sources={name: a_source(name) for name in ("alpha", "bad", "victim")})
    secret_file = directory / "keys" / "bad.key"
    secret_file.write_text("unread")
    secret_file.chmod(0)
    if subprocess.run([python, "-c", f"open({str(secret_file)!r})"], check=False, capture_output=True).returncode == 0:
        pytest.skip("this user may read every file, and the capability to do so can't be dropped")
    with Nexus(directory) as nexus:
        baseline, before = Baseline(directory), nexus.version
        for make, pattern in (
            (lambda path: (path / "sources/bad.toml").chmod(0), r"sources/bad\.toml: expected a file that can be read"),
            (bad(secret("file:keys/bad.key")), r"sources/bad\.toml:3: .* can't be read \(Permission denied\)"),
            (lambda path: (path / "daemon.toml").chmod(0), r"daemon\.toml: expected a file that can be read, found"),
            (lambda path: (path / "destinations").chmod(0), r"destinations: expected .* to be readable"),
        ):
            make(directory)
            refused = held_up_push(nexus)
            assert refused.exit_code == 3
            assert_refused_by_name(refused.problems, pattern)
            assert keys_served(nexus, "alpha", "bad") == {"alpha": {200}, "bad": {200}}
            (directory / "sources" / "victim.toml").unlink()
            assert nexus.push().exit_code == 3
            assert keys_served(nexus, "victim") == {"victim": {401}}
            (directory / "destinations").chmod(0o755)
            baseline.mend()
            assert_applied(nexus)
            assert keys_served(nexus, "victim") == {"victim": {200}}
            assert nexus.version == before + 2
            before = nexus.version


def mount(directory: Path, number: int, files: dict[str, str]) -> None:
    """Swap sources/ to a new state as Kubernetes does with a ConfigMap."""
    folder = directory / "sources"
    state = folder / f"..state-{number}"
    state.mkdir()
    for name, text in files.items():
        (state / name).write_text(text)
    fresh = folder / "..data_tmp"
    fresh.symlink_to(state.name)
    fresh.rename(folder / "..data")
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for link in folder.glob("*.toml"):
        if link.name not in files:
            link.unlink()


def test_a_config_map_is_refused_withdrawn_and_applied_as_a_whole(tmp_path: Path) -> None:
    directory = make_directory(tmp_path, sources={})
    files = {f"{name}.toml": a_source(name) for name in ("alpha", "bad", "victim")}
    mount(directory, 0, files)
    with Nexus(directory) as nexus:
        served = {"alpha": {200}, "bad": {200}, "victim": {200}}
        assert keys_served(nexus, *served) == served

        mount(directory, 1, {**files, "bad.toml": "[source"})
        refused = held_up_push(nexus)
        assert refused.exit_code == 3
        assert_refused_by_name(refused.problems, rf"sources/bad\.toml:1: {NOT_TOML}")
        assert keys_served(nexus, *served) == served

        mount(directory, 2, {"alpha.toml": files["alpha.toml"], "bad.toml": "[source"})
        assert nexus.push().exit_code == 3
        assert keys_served(nexus, *served) == {**served, "victim": {401}}

        for number, target in enumerate(("/etc", "../destinations", "..state-none", "alpha.toml")):
            point = directory / "sources" / f"..point-{number}"
            point.symlink_to(target)
            point.rename(directory / "sources" / "..data")
            refused = nexus.push()
            assert refused.exit_code == 3
            assert_refused_by_name(refused.problems, r"sources: (expected )?\.\.data ")
            assert keys_served(nexus, "alpha", "bad") == {"alpha": {200}, "bad": {200}}

        mount(directory, 3, files)
        assert_applied(nexus)
        assert keys_served(nexus, *served) == served
