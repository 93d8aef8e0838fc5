"""What a start begins with, and what it remembers: real supervisors, one after the other, on one directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core import canonical
from nexus_supervisor.supervisor.past import read_past
from nexus_supervisor.supervisor.verify import verify
from tests.support.gateway_directory import a_source, key_of, make_directory, write_atomically
from tests.support.nexus import Nexus

if TYPE_CHECKING:
    from pathlib import Path


def make(parent: Path) -> Path:
    """Make a directory of one worker with the sources alpha and beta."""
    directory = make_directory(parent)
    text = (directory / "daemon.toml").read_text().replace("workers = 2", "workers = 1")
    (directory / "daemon.toml").write_text(text)
    return directory


def allowed(nexus: Nexus, source: str) -> bool:
    """Say whether a source's key is known."""
    status = nexus.request("GET", "/whoami", key_of(source)).status
    assert status in (200, 401)
    return status == 200


def await_version(nexus: Nexus, version: int) -> None:
    """Wait for the commit of the version that a start begins with: workers may serve before it."""
    if nexus.version != version:
        nexus.until("committed", version=version)


def break_file(directory: Path, source: str) -> None:
    write_atomically(directory / f"sources/{source}.toml", "[source\n")


def test_a_broken_directory_starts_with_what_ran_less_what_no_file_has_any_more(tmp_path: Path) -> None:
    directory = make(tmp_path)
    with Nexus(directory) as nexus:
        assert (nexus.version, allowed(nexus, "alpha"), allowed(nexus, "beta")) == (1, True, True)
    (directory / "sources/beta.toml").unlink()
    break_file(directory, "alpha")
    with Nexus(directory) as nexus:
        await_version(nexus, 2)
        assert (nexus.version, allowed(nexus, "alpha"), allowed(nexus, "beta")) == (2, True, False)
        assert nexus.history("candidate_refused")
        # it never ran with what is gone, and no second version follows
        assert [told["version"] for told in nexus.history("committed", "revoked")] == [2]
        assert nexus.status()["last_rejection"]["errors"]
    assert verify(directory, None).ok


def test_a_broken_directory_of_which_nothing_is_gone_starts_with_what_ran(tmp_path: Path) -> None:
    directory = make(tmp_path)
    with Nexus(directory) as nexus:
        assert nexus.version == 1
    break_file(directory, "beta")
    with Nexus(directory) as nexus:
        assert (nexus.version, allowed(nexus, "beta")) == (1, True)
        assert nexus.history("candidate_refused")


def test_a_pinned_directory_that_has_changed_is_started_with(tmp_path: Path) -> None:
    directory = make(tmp_path)
    with Nexus(directory) as nexus:
        write_atomically(directory / "sources/gamma.toml", a_source("gamma"))
        assert nexus.push().exit_code == 0
        assert nexus.rollback(reason="gamma is not ready").exit_code == 0
        before = nexus.version
        assert not allowed(nexus, "gamma")
    (directory / "sources/beta.toml").unlink()
    with Nexus(directory) as nexus:
        await_version(nexus, before + 1)
        assert (allowed(nexus, "gamma"), allowed(nexus, "beta")) == (True, False)


def test_what_is_pinned_is_not_started_with(tmp_path: Path) -> None:
    directory = make(tmp_path)
    with Nexus(directory) as nexus:
        write_atomically(directory / "sources/gamma.toml", a_source("gamma"))
        assert nexus.push().exit_code == 0
        assert nexus.rollback().exit_code == 0
        before = nexus.version
    with Nexus(directory) as nexus:
        assert (nexus.version, allowed(nexus, "gamma"), allowed(nexus, "alpha")) == (before, False, True)
        assert nexus.status()["drift"]["reason"] == "pinned"


def test_a_request_gets_its_answer_again_after_a_restart_of_the_supervisor(tmp_path: Path) -> None:
    directory = make(tmp_path)
    with Nexus(directory) as nexus:
        write_atomically(directory / "sources/gamma.toml", a_source("gamma"))
        first = nexus.push("more", push_id="deploy-7")
        document = canonical.decode(first.document)
        assert (first.exit_code, document["push_id"], document["version"]) == (0, "deploy-7", 2)
        assert set(document) == {"version", "workers", "slots", "held", "numbers", "push_id"}
        assert canonical.decode(nexus.push().document)["push_id"] != ""
    past = read_past(directory)
    assert past.answered[0].push_id == "deploy-7"
    assert "deploy-7" in past.versions[-1].pushes
    assert "gamma" in past.versions[-1].changes
    with Nexus(directory) as nexus:
        write_atomically(directory / "sources/delta.toml", a_source("delta"))
        again = nexus.push("something else", push_id="deploy-7")
        assert (again.exit_code, again.outcome, again.text) == (first.exit_code, first.outcome, first.text)
        assert canonical.decode(again.document)["version"] == 2


def test_a_version_that_goes_back_without_what_is_gone_verifies(tmp_path: Path) -> None:
    directory = make(tmp_path)
    with Nexus(directory) as nexus:
        write_atomically(directory / "sources/gamma.toml", a_source("gamma"))
        assert nexus.push().exit_code == 0
        (directory / "sources/beta.toml").unlink()
        assert nexus.push().exit_code == 0
        ended = nexus.rollback(1, "as it was")
        assert ended.exit_code == 0, ended.text
        assert (allowed(nexus, "alpha"), allowed(nexus, "beta"), allowed(nexus, "gamma")) == (True, False, False)
    report = verify(directory, None)
    assert report.ok, report.lines
    assert read_past(directory).versions[-1].origin == "rollback"
