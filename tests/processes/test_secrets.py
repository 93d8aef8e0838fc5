"""No secret is anywhere but where somebody put it: every way out of a running daemon is searched for canaries."""

from __future__ import annotations

import base64
import json
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from nexus_supervisor.core import canonical
from tests.support.gateway_directory import a_destination, a_source, make_directory, write_atomically
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITTEN_BY_PEOPLE = ("sources", "destinations", "keys", "daemon.toml")
"""Where secrets may be, since that is where they were put."""


class Canaries:
    """Make values that are found nowhere by chance, and look for them."""

    def __init__(self) -> None:
        self._made: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        return self._made.setdefault(name, f"cAnArY-{len(self._made):02}-{name}-7f3e1d")

    def found(self, raw: bytes) -> set[str]:
        """Return the names of the values that are in something, as they are, in hexadecimal or in base64."""
        return {name for name, value in self._made.items() if any(form in raw for form in _forms(value.encode()))}


def _forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield value.hex().encode()
    for shift in range(3):
        yield base64.b64encode(b"\0" * shift + value)[4 if shift else 0 : -4]


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


def everything_written(directory: Path) -> Iterator[tuple[str, bytes]]:
    for path in directory.rglob("*"):
        relative = path.relative_to(directory)
        if relative.parts[0] not in WRITTEN_BY_PEOPLE and path.is_file():
            yield str(relative), path.read_bytes()


def everything_said(nexus: Nexus) -> Iterator[tuple[str, bytes]]:
    yield "output", nexus.output.encode()
    yield "status", canonical.encode(nexus.status())
    for noticed in nexus.client.notices(0, follow=False):
        yield "notice", noticed.document


def everything_of_processes(nexus: Nexus) -> Iterator[tuple[str, bytes]]:
    """Yield the arguments of every process, and the environment of every worker.

    The supervisor and the compiler have the environment that the user gave them.
    """
    workers = {worker["pid"] for worker in nexus.workers().values()}
    for process in nexus.processes():
        yield f"arguments of {process.pid}", "\0".join(process.cmdline()).encode()
        if process.pid in workers:
            yield f"environment of {process.pid}", json.dumps(process.environ()).encode()


def assert_nowhere(canaries: Canaries, places: Iterator[tuple[str, bytes]]) -> None:
    found = [(place, names) for place, raw in places if (names := canaries.found(raw))]
    assert not found


def mistakes(canary: Canaries) -> dict[str, str]:
    """Return sources with a secret in the middle of each kind of mistake."""
    return {
        "without an end": f'[source]\nname = "odd"\napi_key = "{canary["open"]}\n',
        "without quotes": f'[source]\nname = "odd"\napi_key = {canary["bare"]}\n',
        "in a list": f'[source]\nname = "odd"\napi_key = ["{canary["list"]}"]\n',
        "in a table": f'[source]\nname = "odd"\napi_key = {{value = "{canary["table"]}"}}\n',
        "under a wrong name": f'[source]\nname = "odd"\napi_kye = "{canary["misspelled"]}"\n',
        "outside": f'api_key = "{canary["outside"]}"\n[source]\nname = "odd"\n',
        "twice": f'[source]\nname = "odd"\napi_key = "{canary["first"]}"\napi_key = "{canary["second"]}"\n',
        "under a dotted key": f'[source]\nname = "odd"\napi_key.value = "{canary["dotted"]}"\n',
        "beside another mistake": a_source("odd", api_key=canary["beside"], tier=9),
        "of somebody else": a_source("odd", api_key=canary["literal"]),
        "with a control character": f'[source]\nname = "odd"\napi_key = "{canary["control"]}\\u0007"\n',
        "in a wrong file": "file:keys/binary.key",
    }


def test_secrets_are_nowhere_but_where_people_put_them(tmp_path: Path, canaries: Canaries) -> None:
    directory = make_directory(
        tmp_path,
        sources={
            "literal": a_source("literal", api_key=canaries["literal"]),
            "file": a_source("file", api_key="file:keys/source.key"),
            "env": a_source("env", api_key="env:SOURCE_KEY"),
        },
        destinations={
            "main": a_destination(
                "main", dsn=canaries["dsn"], api_key="file:keys/destination.key", connection_string="env:CONNECTION"
            )
        },
        daemon=f'[daemon]\nlog_level = "debug"\nlog_format = "json"\nadmin_token = "{canaries["token"]}"\n',
    )
    (directory / "keys" / "source.key").write_text(canaries["file"])
    (directory / "keys" / "destination.key").write_text(canaries["destination"])
    (directory / "keys" / "binary.key").write_bytes(b"\xff" + canaries["binary"].encode())
    environment = {"SOURCE_KEY": canaries["env"], "CONNECTION": canaries["connection"]}

    with Nexus(directory, env=environment) as nexus:
        for key in ("literal", "file", "env"):
            answers = nexus.everywhere("GET", "/whoami", canaries[key])
            assert {answer.status for answer in answers.values()} == {200}
            assert_nowhere(
                canaries, ((slot, bytes(str(one.headers), "utf-8") + one.body) for slot, one in answers.items())
            )
        refuse_every_mistake(nexus, canaries)
        edit_and_restart(nexus, canaries)
        assert_nowhere(canaries, everything_said(nexus))
        assert_nowhere(canaries, everything_of_processes(nexus))
        for line in (["status", "--json"], ["workers"], ["push"], ["check"], ["verify"]):
            told = command(line[0], directory, *line[1:], env=environment_of(environment))
            assert_nowhere(canaries, iter([(line[0], (told.stdout + told.stderr).encode())]))
    assert_nowhere(canaries, everything_written(directory))
    assert_canaries_would_be_found(directory, canaries)


def environment_of(environment: dict[str, str]) -> dict[str, str]:
    return {**psutil.Process().environ(), **environment}


def refuse_every_mistake(nexus: Nexus, canaries: Canaries) -> None:
    path = nexus.directory / "sources" / "odd.toml"
    for name, text in mistakes(canaries).items():
        write_atomically(path, a_source("odd", api_key=text) if text.startswith("file:") else text)
        ended = nexus.push(reason=name)
        assert ended.exit_code == 3, name
        assert not canaries.found(repr(ended).encode()), name
        checked = command("check", nexus.directory)
        assert checked.returncode == 3
        assert not canaries.found((checked.stdout + checked.stderr).encode()), name
    path.unlink()
    daemon = nexus.directory / "daemon.toml"
    whole = daemon.read_text()
    for text in (
        whole.replace("admin_token", "admin_tokn"),
        whole.replace(f'"{canaries["token"]}"', f'["{canaries["token"]}"]'),
        whole.replace(f'"{canaries["token"]}"', f'{{token = "{canaries["token"]}"}}'),
        whole.replace(f'"{canaries["token"]}"', f'"{canaries["token"]}'),
    ):
        write_atomically(daemon, text)
        ended = nexus.push()
        assert ended.exit_code == 3
        assert not canaries.found(repr(ended).encode())
    write_atomically(daemon, whole)
    assert nexus.push().exit_code == 0


def edit_and_restart(nexus: Nexus, canaries: Canaries) -> None:
    """Change every secret, replace and lose workers, and have strangers knock."""
    (nexus.directory / "keys" / "source.key").write_text(canaries["file again"])
    write_atomically(
        nexus.directory / "sources" / "literal.toml", a_source("literal", api_key=canaries["literal again"])
    )
    assert nexus.push().exit_code == 0
    (nexus.directory / "keys" / "destination.key").write_text(canaries["destination again"])
    assert nexus.push().exit_code == 8
    assert nexus.restart().exit_code == 0
    for key in ("literal", "file"):
        assert nexus.request("GET", "/whoami", canaries[key]).status == 401
        assert nexus.request("GET", "/whoami", canaries[f"{key} again"]).status == 200
    assert nexus.request("POST", "/inbound/literal", canaries["stranger"], {"content": "x"}).status == 401
    assert nexus.request("POST", "/inbound/env", canaries["literal again"], {"content": "x"}).status == 403
    assert nexus.request("POST", "/inbound/env", canaries["env"], {"content": "x"}).status == 201
    slot, worker = next(iter(nexus.workers().items()))
    psutil.Process(worker["pid"]).send_signal(signal.SIGSEGV)
    nexus.until("slot_ready", slot=slot, incarnation=worker["incarnation"] + 1)


def assert_canaries_would_be_found(directory: Path, canaries: Canaries) -> None:
    """Show that the search finds what is there, and that journal and compiled/ hide no text from it."""
    assert canaries.found((directory / "sources" / "literal.toml").read_bytes()) == {"literal again"}
    assert canaries.found((directory / "keys" / "source.key").read_bytes().hex().encode()) == {"file again"}
    assert b"file:keys/source.key" in (directory / "state" / "journal").read_bytes()
    assert b"file:keys/source.key" in (directory / "compiled" / "current" / "sources.json").read_bytes()


def test_a_start_that_is_refused_shows_no_secret(tmp_path: Path, canaries: Canaries) -> None:
    sources = mistakes(canaries)
    directory = make_directory(
        tmp_path, sources={f"odd-{number}": text for number, text in enumerate(sources.values())}
    )

    ended = command("run", directory, "-b", "127.0.0.1:0")

    assert ended.returncode == 3
    assert not canaries.found((ended.stdout + ended.stderr).encode())
    assert_nowhere(canaries, everything_written(directory))
