"""The main job, end to end: files are edited, and every worker of a real daemon serves what they say."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from nexus_supervisor.supervisor.listeners import bind
from tests.support import leaks
from tests.support.gateway_directory import a_destination, a_source, key_of, make_directory, write_atomically
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from collections.abc import Callable

LIVE = ("committed", "revoked")
"""What is said when a version is live everywhere; a revocation may be a version of its own."""


def source_file(nexus: Nexus, stem: str) -> Path:
    return nexus.directory / "sources" / f"{stem}.toml"


def statuses(nexus: Nexus, source: str) -> set[int]:
    """What the workers answer to the key of a source."""
    return {answer.status for answer in nexus.everywhere("GET", "/whoami", key_of(source)).values()}


def rows(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [source for (source,) in connection.execute("SELECT source FROM memories ORDER BY created_at")]


def edit_in_place(path: Path, text: str) -> None:
    path.write_text(text)


# --- add, edit, rename, delete ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [write_atomically, edit_in_place])
def test_an_edited_source_is_live_in_every_worker(tmp_path: Path, save: Callable[[Path, str], None]) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = nexus.version
        save(source_file(nexus, "alpha"), a_source("alpha", namespace="edited"))
        nexus.until("committed", version=before + 1)
        answers = nexus.everywhere("GET", "/whoami", key_of("alpha"))
        assert len(answers) == 2
        assert {answer.json["namespace"] for answer in answers.values()} == {"edited"}
        assert {answer.version for answer in answers.values()} == {before + 1}
        assert {answer.json["config_version"] for answer in answers.values()} == {before + 1}


def test_an_added_source_is_live_in_every_worker(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        assert statuses(nexus, "gamma") == {401}
        write_atomically(source_file(nexus, "gamma"), a_source("gamma"))
        nexus.until("committed")
        assert statuses(nexus, "gamma") == {200}


def test_the_key_of_a_deleted_source_is_refused_by_every_worker(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        assert statuses(nexus, "beta") == {200}
        source_file(nexus, "beta").unlink()
        nexus.until(*LIVE)
        assert statuses(nexus, "beta") == {401}
        assert statuses(nexus, "alpha") == {200}


@pytest.mark.parametrize("target", ["dir/sources/beta.toml.off", "beta.toml"])
def test_the_key_of_a_source_renamed_away_is_refused_by_every_worker(tmp_path: Path, target: str) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        source_file(nexus, "beta").rename(tmp_path / target)
        nexus.until(*LIVE)
        assert statuses(nexus, "beta") == {401}


def test_a_file_under_another_name_changes_nothing_that_it_says(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        source_file(nexus, "beta").rename(source_file(nexus, "moved"))
        assert nexus.push().exit_code == 0
        assert statuses(nexus, "beta") == {200}
        source_file(nexus, "moved").unlink()
        assert nexus.push().exit_code == 0
        assert statuses(nexus, "beta") == {401}


def test_changes_one_after_the_other_end_with_the_last(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        for number in range(20):
            write_atomically(source_file(nexus, "alpha"), a_source("alpha", namespace=f"n{number}"))
        ended = nexus.push()
        assert (ended.exit_code, ended.outcome) == (0, "APPLIED")
        answers = nexus.everywhere("GET", "/whoami", key_of("alpha")).values()
        assert {answer.json["namespace"] for answer in answers} == {"n19"}
        versions = [fields["version"] for fields in nexus.history("committed")]
        assert versions == sorted(set(versions))


# --- requests in flight ----------------------------------------------------------------------------------------------


def test_a_request_in_flight_ends_on_the_version_that_it_began_with(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = nexus.version
        slot = next(iter(nexus.workers()))
        with nexus.connection(slot) as connection:
            flight = connection.begin("/inbound/beta", key_of("beta"), {"content": "hello"})
            source_file(nexus, "beta").unlink()
            nexus.until(*LIVE, version=before + 1)
            assert nexus.request("GET", "/whoami", key_of("beta"), worker=slot).status == 401
            assert nexus.workers()[slot]["oldest_snapshot"] == before
            answer = flight.finish()
            assert (answer.status, answer.version, answer.slot) == (201, before, slot)
            nexus.until("retired", slot=slot, version=before + 1)
            assert nexus.workers()[slot]["oldest_snapshot"] == before + 1
        assert rows(nexus.directory / "main.db") == ["beta"]


def test_an_idle_connection_holds_no_version_back(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = nexus.version
        connections = nexus.connections()
        write_atomically(source_file(nexus, "alpha"), a_source("alpha", tier=1))
        assert nexus.push(wait="retired").exit_code == 0
        assert {worker["oldest_snapshot"] for worker in nexus.workers().values()} == {before + 1}
        for connection in connections.values():
            connection.close()


# --- refused input ---------------------------------------------------------------------------------------------------


def test_refused_input_keeps_what_runs_and_the_next_good_edit_goes_live(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = nexus.version
        write_atomically(source_file(nexus, "alpha"), a_source("alpha", tier=7, namespce="typo"))
        refused = nexus.until("candidate_refused")
        assert any(problem.startswith("sources/alpha.toml:6: source.tier: ") for problem in refused["problems"])
        assert any("namespace" in problem for problem in refused["problems"])
        ended = nexus.push()
        assert (ended.exit_code, ended.outcome) == (3, "REJECTED")
        assert set(ended.problems) == set(refused["problems"])
        assert statuses(nexus, "alpha") == {200}
        status = nexus.status()
        assert (status["version"], status["state"]) == (before, "ok")
        assert status["last_rejection"] is not None
        write_atomically(source_file(nexus, "alpha"), a_source("alpha", tier=2))
        nexus.until("committed", version=before + 1)


def test_a_broken_file_blocks_no_revocation_of_another_source(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        write_atomically(source_file(nexus, "alpha"), "[source\n")
        nexus.until("candidate_refused")
        source_file(nexus, "beta").unlink()
        nexus.until(*LIVE)
        assert statuses(nexus, "beta") == {401}
        assert statuses(nexus, "alpha") == {200}


def test_a_first_start_with_invalid_input_names_every_mistake_and_exits_with_3(tmp_path: Path) -> None:
    directory = make_directory(tmp_path, sources={"one": a_source("one", tier=9), "two": a_source("two", can_write=3)})
    ended = command("run", directory, "-b", "127.0.0.1:0")
    assert ended.returncode == 3
    assert "sources/one.toml:6: source.tier: " in ended.stderr
    assert "sources/two.toml:4: source.can_write: " in ended.stderr
    assert leaks.files(directory) == []


def test_a_start_with_invalid_input_serves_the_committed_version(tmp_path: Path) -> None:
    directory = make_directory(tmp_path)
    with Nexus(directory) as nexus:
        before = nexus.version
    write_atomically(directory / "sources" / "alpha.toml", "[source\n")
    with Nexus(directory) as nexus:
        assert nexus.version == before
        assert nexus.history("candidate_refused")
        assert statuses(nexus, "alpha") == {200}


# --- held changes and restart ----------------------------------------------------------------------------------------


def test_a_changed_destination_is_held_until_a_restart_while_live_changes_go_on(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = nexus.version
        first = nexus.workers()
        write_atomically(nexus.directory / "destinations" / "main.toml", a_destination("main", db_path="new.db"))
        held = nexus.until("candidate_held")
        assert held["keys"] == ["destinations.main.db_path"]
        write_atomically(source_file(nexus, "alpha"), a_source("alpha", tier=1))
        nexus.until("committed", version=before + 1)
        ended = nexus.push()
        assert (ended.exit_code, ended.outcome) == (8, "HELD")
        assert nexus.status()["pending_restart"]["keys"] == ["destinations.main.db_path"]
        assert nexus.request("POST", "/inbound/alpha", key_of("alpha"), {"content": "old"}).status == 201
        assert rows(nexus.directory / "main.db") == ["alpha"]

        assert nexus.restart().exit_code == 0
        assert nexus.status()["pending_restart"] is None
        assert nexus.request("POST", "/inbound/alpha", key_of("alpha"), {"content": "new"}).status == 201
        assert rows(nexus.directory / "new.db") == ["alpha"]
        assert rows(nexus.directory / "main.db") == ["alpha"]
        after = nexus.workers()
        assert {slot: worker["incarnation"] - first[slot]["incarnation"] for slot, worker in after.items()} == (
            dict.fromkeys(first, 1)
        )
        assert nexus.push().exit_code == 0


def test_a_restart_without_a_change_replaces_every_worker_under_the_same_version(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before, first = nexus.version, nexus.workers()
        assert nexus.restart().exit_code == 0
        pids = {worker["pid"] for worker in nexus.workers().values()}
        assert pids.isdisjoint(worker["pid"] for worker in first.values())
        assert nexus.version == before
        assert statuses(nexus, "alpha") == {200}


def test_more_workers_are_started_by_a_restart(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        daemon = nexus.directory / "daemon.toml"
        write_atomically(daemon, daemon.read_text().replace("workers = 2", "workers = 3"))
        assert nexus.until("candidate_held")["keys"] == ["supervisor.workers"]
        assert nexus.restart().exit_code == 0
        assert len(nexus.everywhere("GET", "/health")) == 3


# --- what is stored --------------------------------------------------------------------------------------------------


def flip_a_bit(version: Path) -> None:
    manifest = version / "manifest.json"
    raw = bytearray(manifest.read_bytes())
    raw[len(raw) // 2] ^= 1
    manifest.write_bytes(raw)


def remove_the_signature(version: Path) -> None:
    (version / "manifest.json.sig").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"), [(flip_a_bit, "signature_mismatch"), (remove_the_signature, "sig_file_missing")]
)
def test_damage_to_what_is_stored_is_reported_at_start(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    directory = make_directory(tmp_path)
    with Nexus(directory) as nexus:
        before = nexus.version
    damage((directory / "compiled" / "current").resolve())
    with Nexus(directory) as nexus:
        (reported,) = nexus.history("config_signature_invalid")
        assert (reported["reason"], reported["version"]) == (reason, before)
        assert "config_signature_invalid" in nexus.output
        (shown,) = [one for one in nexus.status()["security"] if one["kind"] == "config_signature_invalid"]
        assert shown["reason"] == reason
        assert statuses(nexus, "alpha") == {200}


def test_a_start_without_a_change_keeps_the_version(tmp_path: Path) -> None:
    directory = make_directory(tmp_path)
    with Nexus(directory) as nexus:
        write_atomically(source_file(nexus, "alpha"), a_source("alpha", tier=1))
        nexus.until("committed")
        before = nexus.status()
    with Nexus(directory) as nexus:
        after = nexus.status()
        assert (after["version"], after["digest"]) == (before["version"], before["digest"])


def test_what_is_stored_can_be_verified_while_it_runs_and_afterwards(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        write_atomically(source_file(nexus, "alpha"), a_source("alpha", tier=1))
        assert nexus.push().exit_code == 0
        assert command("verify", nexus.directory).returncode == 0
        assert command("check", nexus.directory).returncode == 0
    assert command("verify", nexus.directory).returncode == 0


def test_no_key_is_in_what_is_stored_or_said(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        write_atomically(source_file(nexus, "alpha"), a_source("alpha", tier=9))
        nexus.until("candidate_refused")
        write_atomically(source_file(nexus, "alpha"), a_source("alpha", tier=1))
        nexus.until("committed")
        said = [nexus.output, str(nexus.status()), str(nexus.history("committed", "candidate_refused"))]
        arguments = [" ".join(process.cmdline()) for process in nexus.processes()]
    stored = [
        path.read_bytes().decode(errors="replace")
        for folder in ("compiled", "state")
        for path in (nexus.directory / folder).rglob("*")
        if path.is_file()
    ]
    for text in [*said, *arguments, *stored]:
        assert key_of("alpha") not in text


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_stopped_daemon_leaves_nothing(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        address = nexus.address
        ended = command("stop", "-d", nexus.directory)
        assert (ended.returncode, nexus.exit_code()) == (0, 0)
        assert nexus.processes() == []
        assert leaks.files(nexus.directory) == []
        host, _, port = address.rpartition(":")
        bind(host, int(port)).close()


def test_a_second_supervisor_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = nexus.workers()
        second = command("run", nexus.directory, "-b", "127.0.0.1:0")
        assert second.returncode == 6
        assert f"pid {nexus.process.pid}" in second.stderr
        assert nexus.workers().keys() == before.keys()
        assert statuses(nexus, "alpha") == {200}


def test_a_killed_worker_is_replaced_with_the_committed_version(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = nexus.version
        write_atomically(source_file(nexus, "alpha"), "[source\n")
        nexus.until("candidate_refused")
        slot, worker = next(iter(nexus.workers().items()))
        os.kill(worker["pid"], signal.SIGKILL)
        nexus.until("worker_exited", slot=slot, pid=worker["pid"])
        ready = nexus.until("slot_ready", slot=slot)
        assert ready["incarnation"] == worker["incarnation"] + 1
        answer = nexus.request("GET", "/whoami", key_of("alpha"), worker=slot)
        assert (answer.version, answer.incarnation) == (before, ready["incarnation"])


def test_a_worker_killed_while_a_version_goes_out_ends_on_that_version(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        before = nexus.version
        slot, worker = next(iter(nexus.workers().items()))
        write_atomically(source_file(nexus, "alpha"), a_source("alpha", tier=1))
        os.kill(worker["pid"], signal.SIGKILL)
        nexus.until("slot_ready", slot=slot, incarnation=worker["incarnation"] + 1)
        assert nexus.push().exit_code == 0
        assert {answer.version for answer in nexus.everywhere("GET", "/health").values()} == {before + 1}


def test_hup_looks_at_what_no_event_announced(tmp_path: Path) -> None:
    never = "watch.reconcile_seconds = 3600\n"
    directory = make_directory(
        tmp_path, sources={"alpha": a_source("alpha", api_key="file:keys/alpha.key")}, daemon=never
    )
    (directory / "keys" / "alpha.key").write_text(key_of("alpha"))
    with Nexus(directory) as nexus:
        assert statuses(nexus, "alpha") == {200}
        write_atomically(directory / "keys" / "alpha.key", key_of("new"))
        nexus.signal(signal.SIGHUP)
        nexus.until("committed")
        assert statuses(nexus, "alpha") == {401}
        assert statuses(nexus, "new") == {200}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_lets_requests_in_flight_finish(tmp_path: Path, number: signal.Signals) -> None:
    with Nexus(make_directory(tmp_path)) as nexus, nexus.connection() as connection:
        flight = connection.begin("/inbound/alpha", key_of("alpha"), {"content": "last"})
        nexus.signal(number)
        nexus.until("daemon_stopping")
        assert flight.finish().status == 201
        assert nexus.exit_code() == 0
        assert rows(nexus.directory / "main.db") == ["alpha"]


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus, nexus.connection() as connection:
        connection.begin("/inbound/alpha", key_of("alpha"), {"content": "never"})
        nexus.signal(signal.SIGTERM)
        nexus.until("daemon_stopping")
        nexus.signal(signal.SIGTERM)
        assert nexus.exit_code() == 0


def test_workers_end_when_their_supervisor_was_killed_and_the_next_one_starts(tmp_path: Path) -> None:
    directory = make_directory(tmp_path)
    with Nexus(directory) as nexus:
        before = nexus.version
        nexus.kill()
    with Nexus(directory) as nexus:
        assert nexus.version == before
        assert statuses(nexus, "alpha") == {200}


def test_a_worker_holds_nothing_that_its_supervisor_has_open_in_the_directory(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        private = {name for name in descriptors(nexus.process.pid) if name.startswith(str(nexus.directory))}
        assert str(nexus.directory / "state" / "journal") in private
        for worker in nexus.workers().values():
            held = descriptors(worker["pid"])
            assert held.isdisjoint(private)
            assert not any("inotify" in name for name in held)


def descriptors(pid: int) -> set[str]:
    return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}


def test_every_worker_writes_what_it_says_it_wrote(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        for slot in nexus.workers():
            answer = nexus.request("POST", "/inbound/alpha", key_of("alpha"), {"content": slot}, worker=slot)
            assert (answer.status, answer.slot) == (201, slot)
            assert answer.json["id"]
        assert rows(nexus.directory / "main.db") == ["alpha", "alpha"]


def test_an_expected_version_that_is_not_live_is_a_conflict(tmp_path: Path) -> None:
    with Nexus(make_directory(tmp_path)) as nexus:
        assert nexus.push(expect=nexus.version).exit_code == 0
        ended = command("push", nexus.directory, "--expect", str(nexus.version + 1))
        assert ended.returncode == 6


def test_a_daemon_on_a_taken_port_says_who_holds_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = command("run", make_directory(tmp_path), "-b", f"127.0.0.1:{port}")
        assert ended.returncode == 6
        assert f"pid {os.getpid()} ({psutil.Process().name()})" in ended.stderr
