"""Sections and a program of one's own on a real daemon: many entries a file, fields that need a restart, a hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.compiling import write
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAEMON = """\
[supervisor]
program = "own:run"
hooks = "own"
workers = 2
rollout.bake_seconds = 0

[[supervisor.section]]
name = "clients"
files = "clients/*.toml"
apply = "live"
table = "client"
name_from = "name"
entries = "list"

[[supervisor.section]]
name = "models"
files = "models.toml"
apply = "live"
model = "own:Model"
entries = "tables"
"""

OWN = '''\
"""The models, the hook and the program of this test."""

import json
import select
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from threading import Thread
from typing import Annotated

from pydantic import BaseModel

from nexus_supervisor import Objection, RestartRequired, Secret


class Model(BaseModel):
    timeout: float = 1.0
    device: Annotated[str, RestartRequired] = "cpu"
    token: Annotated[Secret | None, RestartRequired] = None


def validate(snapshot):
    for name, model in snapshot.models.items():
        if model.timeout > 60:
            yield Objection("nobody waits that long", section="models", entry=name, key="timeout")


def shown(snapshot):
    models = {
        name: [one.timeout, one.device, one.token.reveal() if one.token else None]
        for name, one in snapshot.models.items()
    }
    return {"models": models, "clients": sorted(snapshot.clients)}


def run(agent):
    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with agent.request() as snapshot:
                body = json.dumps(shown(snapshot)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Nexus-Config-Version", str(snapshot.version))
                self.send_header("Nexus-Worker", f"{agent.slot}/{agent.incarnation}")
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    def serve(connection):
        with connection, suppress(OSError):
            Answer(connection, ("", 0), None)

    agent.ready()
    while not agent.draining:
        agent.progress.tick()
        for listener in select.select(agent.listeners, (), (), 0.1)[0]:
            with suppress(OSError):
                Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
'''


def clients(*names: str) -> str:
    return "".join(f'[[client]]\nname = "{name}"\n' for name in names)


@pytest.fixture
def nexus(tmp_path: Path) -> Iterator[Nexus]:
    directory = tmp_path / "own"
    (directory / "clients").mkdir(parents=True)
    (directory / "daemon.toml").write_text(DAEMON)
    (directory / "own.py").write_text(OWN)
    (directory / "clients/first.toml").write_text(clients("a", "b"))
    (directory / "clients/second.toml").write_text(clients("c"))
    (directory / "models.toml").write_text('[fast]\ntoken = "first-token"\n\n[slow]\ntimeout = 9.0\n')
    assert command("keygen", directory).returncode == 0
    with Nexus(directory) as running:
        yield running


def served(nexus: Nexus) -> Any:
    """What every worker answers, which is the same."""
    answers = [answer.json for answer in nexus.everywhere("GET", "/").values()]
    assert len(answers) == 2
    assert answers[0] == answers[1]
    return answers[0]


def test_entries_of_one_file_change_come_and_go_one_by_one(nexus: Nexus) -> None:
    assert served(nexus)["clients"] == ["a", "b", "c"]

    write(nexus.directory / "clients/first.toml", clients("a", "d"))
    write(nexus.directory / "models.toml", '[fast]\ntoken = "first-token"\n\n[slow]\ntimeout = 3.0\n')

    assert nexus.push().exit_code == 0
    assert served(nexus) == {
        "clients": ["a", "c", "d"],
        "models": {"fast": [1.0, "cpu", "first-token"], "slow": [3.0, "cpu", None]},
    }


def test_an_entry_that_leaves_its_file_is_withdrawn_while_another_file_is_broken(nexus: Nexus) -> None:
    write(nexus.directory / "models.toml", "[fast\n")
    write(nexus.directory / "clients/first.toml", clients("b"))

    refused = nexus.push()

    assert refused.exit_code == 3
    assert refused.problems[0].startswith("models.toml:1: ")
    now = served(nexus)
    assert (now["clients"], sorted(now["models"])) == (["b", "c"], ["fast", "slow"])


def test_a_broken_file_withdraws_none_of_its_entries(nexus: Nexus) -> None:
    before = nexus.version
    write(nexus.directory / "clients/first.toml", "[[client]]\nname = 'a'\n[[client]]\nname = ''\n")

    refused = nexus.push()

    assert refused.exit_code == 3
    assert refused.problems[0].startswith("clients/first.toml:4: client[1].name: ")
    assert (served(nexus)["clients"], nexus.version) == (["a", "b", "c"], before)


def test_a_field_that_needs_a_restart_is_held_by_name_until_one_and_the_rest_goes_live(nexus: Nexus) -> None:
    changed = '[fast]\ntoken = "second-token"\ntimeout = 5.0\ndevice = "gpu"\n\n[slow]\ntimeout = 9.0\n'
    write(nexus.directory / "models.toml", changed)

    held = nexus.push()

    assert (held.exit_code, held.outcome) == (8, "HELD")
    keys = ["models.fast.device", "models.fast.token"]
    pending = nexus.status()["pending_restart"]
    assert (pending["keys"], pending["needs"]) == (keys, "restart")
    assert served(nexus)["models"]["fast"] == [5.0, "cpu", "first-token"]
    assert "second-token" not in nexus.output

    assert nexus.restart().exit_code == 0

    assert nexus.status()["pending_restart"] is None
    assert served(nexus)["models"]["fast"] == [5.0, "gpu", "second-token"]
    assert nexus.push().exit_code == 0


def test_what_the_application_objects_to_is_refused_by_line_and_the_next_good_edit_goes_live(nexus: Nexus) -> None:
    before = nexus.version
    write(nexus.directory / "models.toml", '[fast]\ntoken = "first-token"\n\n[slow]\ntimeout = 61.0\n')

    refused = nexus.push()

    assert refused.exit_code == 3
    assert list(refused.problems) == ["models.toml:5: slow.timeout: nobody waits that long"]
    assert nexus.version == before

    write(nexus.directory / "models.toml", '[fast]\ntoken = "first-token"\n\n[slow]\ntimeout = 59.0\n')
    assert nexus.push().exit_code == 0
    assert served(nexus)["models"]["slow"][0] == 59.0


def test_a_restart_judges_by_the_new_code_of_models_and_hooks(nexus: Nexus) -> None:
    code = OWN.replace("timeout: float = 1.0", "timeout: float = 1.0\n    color: str = 'red'").replace("> 60", "> 5")
    write(nexus.directory / "own.py", code)
    write(nexus.directory / "models.toml", "[fast]\ncolor = 'blue'\n[slow]\ntimeout = 9.0\n")
    assert next(iter(nexus.push().problems)).startswith("models.toml:2: fast.color: expected a known key")

    refused = nexus.restart()

    assert refused.exit_code == 3
    assert list(refused.problems) == ["models.toml:4: slow.timeout: nobody waits that long"]

    write(nexus.directory / "models.toml", "[fast]\ncolor = 'blue'\n[slow]\ntimeout = 4.0\n")
    assert nexus.restart().exit_code == 0
    assert served(nexus)["models"] == {"fast": [1.0, "cpu", None], "slow": [4.0, "cpu", None]}
