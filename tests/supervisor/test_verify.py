from __future__ import annotations

import os
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core import sshsig
from nexus_supervisor.core.records import Candidate, Ended
from nexus_supervisor.errors import DirectoryError, KeyFileError
from nexus_supervisor.supervisor.verify import verify
from tests.support.versions import SIGNER, UNSIGNED, History, candidate, content, issue

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC_KEY = SIGNER.trust.public_key or b""
OTHER_KEY = "supervisor ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop\n"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Make a directory with three versions, closed."""
    place = tmp_path / "dir"
    (place / "keys").mkdir(parents=True)
    (place / "keys/allowed_signers").write_text(sshsig.allowed_signers_line(PUBLIC_KEY))
    history = History(place)
    for version in (1, 2, 3):
        history.commit(version, alpha=version)
    history.store.close()
    return place


def everything(place: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return what any write would change."""
    paths = [path for path in place.rglob("*") if not path.is_symlink()]
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in paths
    }


def damages(place: Path, signers: Path | None = None) -> str:
    report = verify(place, signers)
    found = "\n".join(line for line in report.lines if line.startswith("DAMAGED"))
    assert report.ok is (not found)
    return found


def test_an_intact_store_verifies_and_every_version_is_named(kept: Path) -> None:
    report = verify(kept, None)
    assert report.ok
    text = "\n".join(report.lines)
    for part in ("000001: intact", "000003: intact", "1 sources", SIGNER.key_id, "current: version 3", "6 records"):
        assert part in text


def test_nothing_is_ever_written_whether_intact_or_damaged(kept: Path) -> None:
    (kept / "compiled/.000004.new").mkdir()
    with (kept / "state/journal").open("ab") as file:
        file.write(b"torn")
    before = everything(kept)
    verify(kept, None)
    assert everything(kept) == before


def test_a_directory_without_versions_verifies(tmp_path: Path) -> None:
    report = verify(tmp_path, None)
    assert report.ok
    assert "nothing is stored yet" in report.lines


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="not a directory"):
        verify(tmp_path / "missing", None)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.json.sig", "sources.json", "destinations.json"])
def test_a_flipped_bit_in_any_version_is_found(kept: Path, name: str) -> None:
    path = kept / "compiled/000002" / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)
    # a signature that doesn't fit is told of the manifest: either of the two may be the damaged one
    assert f"compiled/000002/{name.removesuffix('.sig')}" in damages(kept)


def test_a_flipped_bit_in_the_journal_is_found(kept: Path) -> None:
    raw = bytearray((kept / "state/journal").read_bytes())
    raw[len(raw) // 2] ^= 4
    (kept / "state/journal").write_bytes(raw)
    assert "does not belong to the chain" in damages(kept)


def test_an_incomplete_end_of_the_journal_is_found_when_nobody_writes_it(kept: Path) -> None:
    os.truncate(kept / "state/journal", (kept / "state/journal").stat().st_size - 1)
    assert "incomplete" in damages(kept)


def test_a_missing_journal_is_found(kept: Path) -> None:
    (kept / "state/journal").unlink()
    assert "journal is missing" in damages(kept)


def test_an_end_that_is_just_being_written_is_read_again(kept: Path) -> None:
    # given a writer that is in the middle of a record whenever nobody lets it finish
    whole = (kept / "state/journal").read_bytes()
    os.truncate(kept / "state/journal", len(whole) - 5)
    reading = threading.Event()

    def finish() -> None:
        reading.wait()
        with (kept / "state/journal").open("ab") as file:
            file.write(whole[-5:])

    writer = threading.Thread(target=finish)
    writer.start()
    reading.set()
    assert damages(kept) == ""
    writer.join()


def test_a_store_verifies_at_every_moment_of_a_running_supervisor(tmp_path: Path) -> None:
    history = History(tmp_path, kept=3, limit=10_000)
    history.commit(1, alpha=1)
    done = threading.Event()

    def work() -> None:
        for version in range(2, 60):
            history.commit(version, alpha=version)
            history.store.record(Ended(version, "APPLIED", "", ""), durable=False)
        done.set()

    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/allowed_signers").write_text(sshsig.allowed_signers_line(PUBLIC_KEY))
    writer = threading.Thread(target=work)
    writer.start()
    looked = 0
    while not done.is_set() or not looked:
        assert damages(tmp_path) == ""
        looked += 1
    writer.join()
    history.store.close()


@pytest.mark.parametrize("target", [None, "000009", "/etc/passwd"])
def test_a_pointer_to_nothing_is_found(kept: Path, target: str | None) -> None:
    (kept / "compiled/current").unlink()
    if target:
        (kept / "compiled/current").symlink_to(target)
    assert "compiled/current names no version" in damages(kept)


def test_a_pointer_that_lags_is_told_and_no_damage(kept: Path) -> None:
    (kept / "compiled/current").unlink()
    (kept / "compiled/current").symlink_to("000002")
    report = verify(kept, None)
    assert report.ok
    assert any("version 3 is committed and still to be written" in line for line in report.lines)


def test_a_version_that_the_journal_knows_otherwise_is_found(kept: Path) -> None:
    other = issue(2, content(alpha=9))
    folder = kept / "compiled/000002"
    (folder / "manifest.json").write_bytes(other.manifest_bytes)
    (folder / "manifest.json.sig").write_bytes(other.signature)
    (folder / "sources.json").write_bytes(other.content.sections["sources"].document)
    assert "two manifests that differ" in damages(kept)


def test_a_broken_line_of_parents_is_found(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.commit(1, alpha=1)
    stranger = issue(2, content(alpha=2), issue(1, content(alpha=9)))
    history.store.record(candidate(stranger), durable=True)
    history.store.close()
    (tmp_path / "signers").write_text(sshsig.allowed_signers_line(PUBLIC_KEY))
    assert "version 2 was built on another version 1" in damages(tmp_path, tmp_path / "signers")


def test_a_rollback_that_holds_other_content_is_found(tmp_path: Path) -> None:
    history = History(tmp_path, UNSIGNED)
    first = history.commit(1, alpha=1)
    lie = UNSIGNED.issue(content(alpha=9), version=2, parent=first, created_at="2026-11-24T09:00:00Z", rollback_of=1)
    history.store.record(candidate(lie), durable=True)
    history.store.close()
    assert "does not hold the content of version 1" in damages(tmp_path)


def test_a_candidate_under_another_number_is_found(tmp_path: Path) -> None:
    history = History(tmp_path, UNSIGNED)
    stored = issue(1, content(alpha=1), signer=UNSIGNED)
    history.store.record(Candidate(2, stored.manifest_bytes, b"", candidate(stored).delta, "", ""), durable=True)
    history.store.close()
    assert "version 2 holds the manifest of version 1" in damages(tmp_path)


def test_signers_from_outside_decide_and_not_those_in_the_directory(kept: Path, tmp_path: Path) -> None:
    # given that who replaced compiled/ replaced keys/ as well
    outside = tmp_path / "signers"
    outside.write_text(OTHER_KEY)
    assert damages(kept) == ""
    assert "another key" in damages(kept, outside)
    outside.write_text(OTHER_KEY + sshsig.allowed_signers_line(PUBLIC_KEY))
    assert damages(kept, outside) == ""


def test_signed_versions_without_allowed_signers_do_not_verify(kept: Path) -> None:
    shutil.rmtree(kept / "keys")
    assert "no allowed_signers file says by whom" in damages(kept)


def test_unsigned_versions_verify_by_their_digests(tmp_path: Path) -> None:
    history = History(tmp_path, UNSIGNED)
    history.commit(1, alpha=1)
    history.store.close()
    report = verify(tmp_path, None)
    assert report.ok
    assert any("not signed" in line for line in report.lines)


def test_unsigned_versions_do_not_verify_where_signers_are_named(tmp_path: Path) -> None:
    history = History(tmp_path, UNSIGNED)
    history.commit(1, alpha=1)
    history.store.close()
    (tmp_path / "signers").write_text(sshsig.allowed_signers_line(PUBLIC_KEY))
    assert "no signature" in damages(tmp_path, tmp_path / "signers")


def test_a_named_file_that_is_missing_is_an_error(kept: Path) -> None:
    with pytest.raises(KeyFileError, match="signers"):
        verify(kept, kept / "signers")
