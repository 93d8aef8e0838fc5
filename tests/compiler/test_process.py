"""The compiler process: limits, large payloads, its end, and what can not end it."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.compiler import compile_once
from nexus_supervisor.core import delta
from nexus_supervisor.core.codec import unpack
from nexus_supervisor.core.compilation import Adopt, Adopted, Begin, Look, Refused, Seen
from nexus_supervisor.core.content import EMPTY
from nexus_supervisor.wire import INLINE_BYTES, open_sealed, sealed
from tests.support.compiler_process import PATIENCE_SECONDS, REPOSITORY, compiler
from tests.support.compiling import DAEMON, destination, make_directory, source, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return make_directory(tmp_path / "shop")


def test_a_look_is_answered_with_secrets_beside_the_verdict(directory: Path) -> None:
    with compiler(directory) as process:
        message, (beside,) = process.ask(Look(5, None, whole=True))

    assert isinstance(message, Seen)
    assert (message.ticket, message.secrets_beside, message.payload_beside) == (5, True, False)
    assert list(unpack(open_sealed(beside, 1 << 20)).values()) == ["first-dsn"]
    os.close(beside)


def test_a_large_payload_travels_beside_as_sealed_memory_both_ways(directory: Path) -> None:
    for number in range(400):
        write(directory / f"sources/s{number}.toml", source(f"s{number}"))
    with compiler(directory) as process:
        seen, (payload, secrets) = process.ask(Look(1, None, whole=True))
        assert (seen.payload, seen.payload_beside) == (None, True)
        raw = bytes(open_sealed(payload, 1 << 20))
        assert len(raw) > INLINE_BYTES
        assert EMPTY.after(delta.decode(raw)).digest == seen.digest

    with compiler(directory) as process:
        message = Adopt(9, seen.digest, None, payload_beside=True, secrets_beside=True, resolve=False)
        adopted, _ = process.ask(message, (payload, secrets))
        assert adopted == Adopted(9, seen.digest, (), (), secrets_beside=False)
        assert process.look().payload is None
    os.close(payload)
    os.close(secrets)


def test_memory_that_is_not_sealed_ends_the_process(directory: Path) -> None:
    open_memory = os.memfd_create("loose", os.MFD_CLOEXEC)
    with compiler(directory) as process:
        message = Adopt(1, EMPTY.digest, None, payload_beside=True, secrets_beside=False, resolve=False)
        process.wire.send(message, (open_memory,))

        assert process.wire.receive() is None
        assert "seals" in process.last_words()
    os.close(open_memory)


def test_no_descriptor_is_left_open_after_a_hundred_exchanges(directory: Path) -> None:
    with compiler(directory) as process:
        seen = process.look(whole=True)
        before = len(os.listdir(f"/proc/{process.child.pid}/fd"))  # noqa: PTH208
        for _ in range(100):
            beside = sealed(b"\x80", "nothing")
            process.ask(Adopt(1, seen.digest, None, False, True, resolve=False), (beside,))
            os.close(beside)
            process.look()
        # the one of the last answer may be closed a moment after the answer arrives
        assert len(os.listdir(f"/proc/{process.child.pid}/fd")) <= before + 1  # noqa: PTH208


def test_end_of_file_ends_the_process_with_0(directory: Path) -> None:
    with compiler(directory) as process:
        process.look()

        assert process.last_words() == "exit 0: "


def test_signals_for_the_whole_group_do_not_end_it(directory: Path) -> None:
    with compiler(directory) as process:
        process.look()
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGIO):
            process.child.send_signal(number)

        assert isinstance(process.look(), Seen)


def test_a_second_begin_is_a_mistake_of_the_supervisor(directory: Path) -> None:
    with compiler(directory) as process:
        process.wire.send(Begin(str(directory), b"{}", b""))

        assert process.wire.receive() is None
        assert process.last_words().startswith("exit 1: nexus compiler: a Begin is only expected once")


def test_two_processes_with_other_hash_seeds_give_the_same_bytes(directory: Path) -> None:
    labels = ", ".join(f'"label-{number}"' for number in range(40))
    write(directory / "sources/c.toml", source("c", "[source.policy]", f"labels = [{labels}]"))
    payloads = []
    for seed in ("1", "2"):
        with compiler(directory, {"PYTHONHASHSEED": seed}) as process:
            seen = process.look(whole=True)
            payloads.append((seen.digest, seen.payload))

    assert payloads[0] == payloads[1]


def own_model(directory: Path, text: str) -> None:
    """Give the section of sources a model of the directory's own."""
    (directory / "own_models.py").write_text(text)
    write(directory / "daemon.toml", DAEMON.replace("tests.support.shop:Source", "own_models:Source"))


GOOD_MODEL = """
from dataclasses import dataclass
from typing import Annotated
from nexus_supervisor.models.marks import HashedSecret, Unique

@dataclass
class Source:
    name: str
    api_key: Annotated[HashedSecret, Unique]
    target: str | None = None
"""


def test_models_of_the_directory_itself_are_found_and_leave_nothing_there(directory: Path) -> None:
    own_model(directory, GOOD_MODEL)

    with compiler(directory) as process:
        assert isinstance(process.look(), Seen)

    assert not (directory / "__pycache__").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise ZeroDivisionError", "ZeroDivisionError at "),
        ("import sys; sys.exit(3)", "SystemExit at "),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("class Source: pass", "expected a pydantic model or a dataclass"),
        ("def Source(", "SyntaxError"),
        ("Source = 3", "expected a pydantic model or a dataclass"),
    ],
)
def test_a_model_that_breaks_while_it_is_loaded_is_a_problem_and_no_end(directory: Path, text: str, words: str) -> None:
    own_model(directory, text)

    with compiler(directory) as process:
        refused = process.look()
        (problem,) = refused.problems
        assert (problem.file, problem.line, problem.code) == ("daemon.toml", 11, "value")
        assert words in problem.message, problem

        (directory / "own_models.py").write_text(GOOD_MODEL)
        assert isinstance(process.look(), Seen)


@pytest.mark.parametrize(
    "crash",
    [
        "1 / 0",
        "raise SystemExit",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "raise MemoryError",
        "raise RecursionError",
    ],
)
def test_a_model_that_breaks_on_one_file_is_a_problem_of_that_file(directory: Path, crash: str) -> None:
    check = f"    def __post_init__(self):\n        if self.name == 'b':\n            {crash}\n"
    own_model(directory, GOOD_MODEL + check)

    with compiler(directory) as process:
        (problem,) = process.look().problems

    assert (problem.file, problem.line, problem.code) == ("sources/b.toml", 1, "internal")


def test_the_text_of_a_validator_shows_no_secret(directory: Path) -> None:
    check = "    def __post_init__(self):\n        raise ValueError('bad: ' + self.api_key.reveal())\n"
    own_model(directory, GOOD_MODEL + check)

    with compiler(directory) as process:
        refused = process.look()

    assert "key-of-a" not in repr(refused)
    assert any("bad: <secret>" in problem.message for problem in refused.problems)


def test_a_model_that_never_ends_is_ended_by_its_processor_time(directory: Path) -> None:
    write(directory / "daemon.toml", DAEMON + "\n[supervisor.limits]\ncompile_cpu_seconds = 1\n")
    with compiler(directory) as process:
        assert isinstance(process.look(), Seen)
        own_model(directory, GOOD_MODEL + "while True: pass\n")
        with (directory / "daemon.toml").open("a") as opened:
            opened.write("\n[supervisor.limits]\ncompile_cpu_seconds = 1\n")
        process.wire.send(Look(1, None, whole=False))

        assert process.wire.receive() is None
        process.child.wait(PATIENCE_SECONDS)
        assert process.child.returncode == -signal.SIGXCPU


def test_no_core_is_written_when_it_dies(directory: Path) -> None:
    with compiler(directory) as process:
        process.look()
        limits = (REPOSITORY.__class__(f"/proc/{process.child.pid}") / "limits").read_text()

    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[4:6] == ["0", "0"]


def test_checking_once_gives_the_same_verdict_as_a_supervisor_would_get(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert isinstance(compile_once(directory, {}, None), Seen)

    write(directory / "destinations/main.toml", destination("main", "port = 1"))
    refused = compile_once(directory, {}, None)

    assert isinstance(refused, Refused)
    assert str(refused.problems[0]).startswith("destinations/main.toml:3: destination.port: expected a known key")


def test_checking_once_writes_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    before = sorted((path, path.stat().st_mtime_ns) for path in directory.rglob("*"))

    compile_once(directory, {}, None)

    assert sorted((path, path.stat().st_mtime_ns) for path in directory.rglob("*")) == before


def test_checking_once_survives_the_death_of_its_child(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    own_model(directory, "import os\nos.kill(os.getpid(), 9)\n")

    refused = compile_once(directory, {}, None)

    assert isinstance(refused, Refused)
    assert "was ended by SIGKILL before its verdict" in refused.problems[0].message


def test_no_text_of_an_exception_is_printed(directory: Path) -> None:
    more = """
import threading

class Ghost:
    def __del__(self):
        raise LookupError("key-of-a")

def fail():
    raise KeyError("key-of-a")

Ghost()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""
    own_model(directory, GOOD_MODEL + more)

    with compiler(directory) as process:
        assert isinstance(process.look(), Seen)
        written = process.last_words()

    assert re.search(r"nexus compiler: KeyError at \S*own_models\.py:\d+ reached nobody\n", written), written
    assert "nexus compiler: LookupError at " in written
    assert "key-of-a" not in written
