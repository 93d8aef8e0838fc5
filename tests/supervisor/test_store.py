from __future__ import annotations

import dataclasses
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nexus_supervisor.core import canonical, chain, codec
from nexus_supervisor.core.records import (
    Answered,
    Burnt,
    Candidate,
    Committed,
    Ended,
    Pinned,
    Quarantined,
    Record,
    Released,
    Spawned,
    Unpinned,
)
from nexus_supervisor.core.trust import Trust
from nexus_supervisor.errors import DamageError, RejectedError
from nexus_supervisor.supervisor.journal import JournalError
from nexus_supervisor.supervisor.keys import Keys
from nexus_supervisor.supervisor.signing import Signer
from nexus_supervisor.supervisor.store import Retention, Store
from tests.support.versions import AUDIENCE, SIGNER, UNSIGNED, History, candidate, content, issue, tiers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    yield made
    made.store.close()


def alarms(store: Store) -> list[tuple[str, object]]:
    """Return the kind and the version or file of each alarm."""
    return [(one.kind, one.fields.get("version", one.fields.get("file"))) for one in store.recovered.alarms]


def flip(path: Path, position: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[position // 8 % len(raw)] ^= 1 << position % 8
    path.write_bytes(raw)


def test_a_fresh_directory_has_no_versions_and_its_folders_are_ours_alone(history: History) -> None:
    recovered = history.store.recovered
    assert (recovered.committed, recovered.previous, recovered.highest) == (None, None, 0)
    assert (recovered.pinned, dict(recovered.quarantined), recovered.alarms, recovered.history) == (None, {}, (), ())
    assert not history.store.holds_signatures
    for name in ("compiled", "state"):
        assert history.path(name).stat().st_mode & 0o777 == 0o700


def test_a_committed_version_is_what_the_next_start_finds(history: History) -> None:
    history.commit(1, alpha=1)
    last = history.commit(2, alpha=2, beta=3)
    recovered = history.restart().recovered
    assert recovered.committed == last
    assert tiers(recovered.previous) == {"alpha": 1}
    assert (recovered.highest, recovered.alarms) == (2, ())
    assert history.store.holds_signatures


def test_a_version_on_disk_is_its_signed_manifest_and_a_file_for_each_section(history: History) -> None:
    stored = history.commit(12, alpha=1)
    folder = history.path("compiled/000012")
    assert sorted(path.name for path in folder.iterdir()) == [
        "destinations.json",
        "manifest.json",
        "manifest.json.sig",
        "sources.json",
    ]
    assert (folder / "manifest.json").read_bytes() == stored.manifest_bytes
    assert (folder / "sources.json").read_bytes() == b'{"alpha":{"name":"alpha","tier":1}}'
    assert history.path("compiled/current").readlink().name == "000012"
    assert history.store.load(12) == stored


def test_an_offered_version_that_was_never_committed_is_not_used_and_its_number_is(history: History) -> None:
    history.commit(1, alpha=1)
    history.offer(2, alpha=2)
    recovered = history.restart().recovered
    assert tiers(recovered.committed) == {"alpha": 1}
    assert recovered.highest == 2
    assert recovered.alarms == ()
    assert [(past.version, past.outcome, past.reason) for past in recovered.history] == [
        (1, "committed", "edited"),
        (2, "offered", "edited"),
    ]


def test_what_was_burnt_pinned_quarantined_and_spawned_is_remembered(history: History) -> None:
    stored = history.offer(1, alpha=1)
    history.store.record(Burnt(1, "the canary died"), durable=False)
    history.store.record(Ended(1, "ROLLED_BACK", "the canary died", "uid 0"), durable=False)
    history.store.record(Pinned(stored.content.digest), durable=False)
    history.store.record(Quarantined(stored.content.digest, "the canary died"), durable=False)
    history.store.record(Spawned("gateway-0", 7, 4711, 12.5, b"\1" * 32), durable=False)
    recovered = history.restart().recovered
    assert recovered.highest == 1
    assert recovered.pinned == stored.content.digest
    assert recovered.quarantined == {stored.content.digest: "the canary died"}
    assert recovered.incarnations == {"gateway-0": 7}
    assert [(past.outcome, past.requester) for past in recovered.history] == [("ROLLED_BACK", "uid 0")]


def test_committed_content_is_not_quarantined(history: History) -> None:
    stored = history.commit(1, alpha=1)
    history.store.record(Quarantined(stored.content.digest, "old trouble"), durable=False)
    assert history.restart().recovered.quarantined == {}


def test_a_crash_between_commit_and_archive_is_made_good_from_the_journal(history: History) -> None:
    history.commit(1, alpha=1, beta=1)
    last = history.commit(2, archive=False, alpha=2)
    recovered = history.restart().recovered
    assert recovered.committed == last
    assert recovered.alarms == ()
    assert history.store.load(2) == last
    assert history.path("compiled/current").readlink().name == "000002"


def test_many_versions_are_rebuilt_from_the_journal_alone(history: History) -> None:
    for version in range(1, 30):
        last = history.commit(version, alpha=version, **{f"s{version}": version})
    shutil.rmtree(history.path("compiled"))
    recovered = history.restart().recovered
    assert recovered.committed == last
    assert tiers(recovered.previous) == {"alpha": 28, "s28": 28}
    assert recovered.alarms == ()
    assert history.store.load(29) == last


@pytest.mark.parametrize("name", ["manifest.json", "manifest.json.sig", "sources.json", "destinations.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "missing", "empty", "link", "directory"])
def test_a_damaged_version_is_reported_and_written_again_from_the_journal(
    history: History, name: str, damage: str
) -> None:
    history.commit(1, alpha=1)
    last = history.commit(2, alpha=2)
    path = history.path(f"compiled/000002/{name}")
    raw = path.read_bytes()
    match damage:
        case "flip":
            flip(path, 99)
        case "cut":
            path.write_bytes(raw[:-1])
        case "longer":
            path.write_bytes(raw + b"\n")
        case "empty":
            path.write_bytes(b"")
        case _:
            path.unlink()
    if damage == "link":
        path.symlink_to("../000001/" + name)
    elif damage == "directory":
        path.mkdir()
    recovered = history.restart().recovered
    assert recovered.committed == last
    (notice,) = recovered.alarms
    assert notice.kind == "config_signature_invalid"
    assert notice.fields["version"] == 2
    assert str(notice.fields["file"]).startswith("compiled/000002/")
    if damage == "missing":
        expected = "sig_file_missing" if name.endswith(".sig") else "file_read_error"
        assert notice.fields == {"reason": expected, "version": 2, "file": f"compiled/000002/{name}"}
    elif damage in ("flip", "longer"):
        assert notice.fields["reason"] == "signature_mismatch"
    # and the next start finds nothing to complain about
    assert history.restart().recovered.alarms == ()


def test_no_flipped_bit_of_a_version_is_ever_accepted(history: History) -> None:
    stored = history.commit(1, alpha=1)
    for path in sorted(history.path("compiled/000001").iterdir()):
        raw = path.read_bytes()
        for position in range(0, len(raw) * 8, 29):
            flip(path, position)
            with pytest.raises(DamageError) as caught:
                history.store.load(1)
            assert caught.value.reason == "signature_mismatch"
            path.write_bytes(raw)
    assert history.store.load(1) == stored


def test_nothing_of_a_version_is_parsed_before_its_signature_fits(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.commit(1, alpha=1)
    parsed: list[bytes] = []
    decode = canonical.decode
    monkeypatch.setattr(canonical, "decode", lambda raw: parsed.append(bytes(raw)) or decode(raw))
    flip(history.path("compiled/000001/manifest.json"), 77)
    with pytest.raises(DamageError):
        history.store.load(1)
    assert parsed == []


def test_where_a_version_is_lost_everywhere_the_newest_intact_one_is_used(tmp_path: Path) -> None:
    # given a journal that is too short to rebuild version 3, and a damaged directory of it
    history = History(tmp_path)
    for version in (1, 2, 3):
        history.commit(version, alpha=version)
    history.store.close()
    (tmp_path / "state/journal").unlink()
    flip(tmp_path / "compiled/000003/sources.json", 8)
    # when the directory is opened
    store = history.open()
    # then version 2 runs, number 3 stays used, and both facts are told
    assert tiers(store.recovered.committed) == {"alpha": 2}
    assert tiers(store.recovered.previous) == {"alpha": 1}
    assert store.recovered.highest == 3
    assert alarms(store) == [("journal_failed", 3), ("config_signature_invalid", 3)]
    assert (tmp_path / "compiled/current").readlink().name == "000002"
    store.close()


def test_a_lost_journal_is_told_once_and_begun_again_from_the_directories(history: History) -> None:
    history.commit(1, alpha=1)
    last = history.commit(2, alpha=2)
    history.store.close()
    history.path("state/journal").unlink()
    assert alarms(history.restart()) == [("journal_failed", 2)]
    assert history.store.recovered.committed == last
    # then the new journal alone can bring both versions back
    shutil.rmtree(history.path("compiled"))
    recovered = history.restart().recovered
    assert (recovered.committed, recovered.alarms, recovered.highest) == (last, (), 2)
    assert tiers(recovered.previous) == {"alpha": 1}


def test_an_older_copy_of_the_journal_does_not_take_a_newer_version_back(history: History) -> None:
    history.commit(1, alpha=1)
    old = history.path("state/journal").read_bytes()
    last = history.commit(2, alpha=2)
    history.store.close()
    history.path("state/journal").write_bytes(old)
    store = history.restart()
    assert store.recovered.committed == last
    assert alarms(store) == [("journal_failed", 2)]
    assert alarms(history.restart()) == []


def test_the_number_of_a_torn_candidate_is_burnt_for_good(history: History) -> None:
    history.commit(1, alpha=1)
    size = history.path("state/journal").stat().st_size
    history.offer(2, alpha=2)
    history.store.close()
    os.truncate(history.path("state/journal"), size + 20)
    store = history.restart()
    assert store.recovered.highest == 2
    assert alarms(store) == [("journal_failed", "state/journal.torn-1")]
    assert tiers(store.recovered.committed) == {"alpha": 1}
    recovered = history.restart().recovered
    assert (recovered.highest, recovered.alarms) == (2, ())


def test_wherever_the_journal_is_cut_a_start_is_sound(tmp_path: Path) -> None:
    # given three versions, the last of them committed
    history = History(tmp_path / "whole")
    for version in (1, 2, 3):
        history.commit(version, alpha=version)
    history.store.close()
    raw = history.path("state/journal").read_bytes()
    cuts = sorted({*range(0, len(raw), 41), *range(len(raw) - 60, len(raw) + 1, 3)})
    for cut in cuts:
        for archived in (True, False):
            # when a crash left this much of the journal, with or without what was archived from it
            place = tmp_path / "cut"
            shutil.copytree(history.directory, place, symlinks=True)
            os.truncate(place / "state/journal", cut)
            if not archived:
                shutil.rmtree(place / "compiled")
            # then the newest version that anything proves runs, and no number is used twice
            store = Store.open(place, SIGNER.trust, kept_versions=20, journal_limit_bytes=1 << 20)
            found = store.recovered
            if archived:
                assert tiers(found.committed) == {"alpha": 3}
                assert found.highest >= 3
            elif found.committed is not None:
                assert tiers(found.committed) == {"alpha": found.committed.version}
                assert found.highest >= found.committed.version
            store.record(Committed(found.highest + 1), durable=True)
            store.close()
            again = Store.open(place, SIGNER.trust, kept_versions=20, journal_limit_bytes=1 << 20)
            assert again.recovered.highest == found.highest + 1
            assert again.recovered.committed == found.committed
            again.close()
            shutil.rmtree(place)


def test_a_flipped_bit_in_the_journal_loses_no_committed_version_that_is_archived(tmp_path: Path) -> None:
    history = History(tmp_path / "whole")
    for version in (1, 2, 3):
        history.commit(version, alpha=version)
    history.store.close()
    size = history.path("state/journal").stat().st_size
    for position in range(0, size * 8, 211):
        place = tmp_path / "flipped"
        shutil.copytree(history.directory, place, symlinks=True)
        flip(place / "state/journal", position)
        store = Store.open(place, SIGNER.trust, kept_versions=20, journal_limit_bytes=1 << 20)
        assert tiers(store.recovered.committed) == {"alpha": 3}
        assert store.recovered.highest >= 3
        assert store.recovered.alarms
        store.close()
        shutil.rmtree(place)


def test_a_number_in_damaged_bytes_is_never_given_out_again(history: History) -> None:
    # given candidates that were offered and refused after the last commit, and damage right after that commit
    history.commit(1, alpha=1)
    size = history.path("state/journal").stat().st_size
    for version in (2, 3, 4):
        history.offer(version, alpha=version)
    history.store.close()
    raw = bytearray(history.path("state/journal").read_bytes())
    raw[size + 5] ^= 1
    history.path("state/journal").write_bytes(raw)
    assert history.restart().recovered.highest == 4


def test_an_absurd_number_in_damaged_bytes_is_not_believed(history: History) -> None:
    history.commit(1, alpha=1)
    history.offer(2**40, alpha=2)
    history.store.close()
    raw = history.path("state/journal").read_bytes()
    os.truncate(history.path("state/journal"), len(raw) - 1)
    assert history.restart().recovered.highest == 2


@pytest.mark.parametrize("target", [None, "000001", "000009", "elsewhere", "/etc"])
def test_a_pointer_that_lags_or_leads_nowhere_is_written_again(history: History, target: str | None) -> None:
    history.commit(1, alpha=1)
    history.commit(2, alpha=2)
    pointer = history.path("compiled/current")
    pointer.unlink()
    if target is not None:
        pointer.symlink_to(target)
    recovered = history.restart().recovered
    assert tiers(recovered.committed) == {"alpha": 2}
    assert recovered.alarms == ()
    assert pointer.readlink().name == "000002"


def test_what_an_interrupted_run_left_half_done_is_removed(history: History) -> None:
    history.commit(1, alpha=1)
    for name in (".000002.new", ".000001.gone"):
        history.path(f"compiled/{name}").mkdir()
        history.path(f"compiled/{name}/sources.json").write_text("{}")
    history.path("compiled/.current.new").symlink_to("000002")
    recovered = history.restart().recovered
    assert recovered.alarms == ()
    assert sorted(path.name for path in history.path("compiled").iterdir()) == ["000001", "current"]


def test_archiving_again_changes_nothing(history: History) -> None:
    stored = history.commit(1, alpha=1)
    before = history.path("compiled/000001/manifest.json").stat()
    history.store.archive(stored)
    after = history.path("compiled/000001/manifest.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_folder_that_somebody_removed_is_made_again(history: History) -> None:
    history.commit(1, alpha=1)
    shutil.rmtree(history.path("compiled"))
    last = history.commit(2, alpha=2)
    assert history.store.load(2) == last
    assert history.path("compiled/current").readlink().name == "000002"


def test_old_versions_are_pruned_but_never_the_committed_and_the_previous_content(tmp_path: Path) -> None:
    history = History(tmp_path, kept=3)
    history.commit(1, alpha=1)
    first = history.commit(2, alpha=2)
    # when many numbers are used for one content
    for version in range(3, 10):
        history.commit(version, alpha=3)
    kept = sorted(path.name for path in history.path("compiled").iterdir())
    assert kept == ["000002", "000007", "000008", "000009", "current"]
    assert history.restart().recovered.previous == first
    history.store.close()


def test_a_rollback_to_content_that_is_known_needs_no_payload(history: History) -> None:
    first = history.commit(1, alpha=1)
    history.commit(2, alpha=2)
    again = SIGNER.issue(
        first.content, version=3, parent=history.last, created_at="2026-11-24T09:00:00Z", rollback_of=1
    )
    record = candidate(again, first.content)
    assert len(record.delta) < 100
    history.store.record(record, durable=True)
    history.store.record(Committed(3), durable=True)
    shutil.rmtree(history.path("compiled"))
    recovered = history.restart().recovered
    assert recovered.committed == again
    assert tiers(recovered.previous) == {"alpha": 2}


def test_a_delta_that_leads_to_other_content_than_was_signed_is_damage(history: History) -> None:
    first = history.commit(1, alpha=1)
    wrong, right = issue(2, content(alpha=3), first), issue(2, content(alpha=2), first)
    history.store.record(
        Candidate(2, right.manifest_bytes, right.signature, candidate(wrong, first.content).delta, "", ""), durable=True
    )
    history.store.record(Committed(2), durable=True)
    store = history.restart()
    assert tiers(store.recovered.committed) == {"alpha": 1}
    assert alarms(store) == [("config_signature_invalid", 2)]


def test_a_version_directory_under_another_number_is_damage(history: History) -> None:
    history.commit(1, alpha=1)
    shutil.copytree(history.path("compiled/000001"), history.path("compiled/000007"))
    with pytest.raises(DamageError, match="states version 1"):
        history.store.load(7)
    store = history.restart()
    assert store.recovered.highest == 7
    assert tiers(store.recovered.committed) == {"alpha": 1}
    assert ("config_signature_invalid", 7) in alarms(store)


def test_an_intact_older_version_in_a_newer_ones_place_is_damage(history: History) -> None:
    history.commit(1, alpha=1)
    other = issue(2, content(alpha=9))
    last = history.commit(2, alpha=2)
    folder = history.path("compiled/000002")
    (folder / "manifest.json").write_bytes(other.manifest_bytes)
    (folder / "manifest.json.sig").write_bytes(other.signature)
    (folder / "sources.json").write_bytes(other.content.sections["sources"].document)
    store = history.restart()
    assert store.recovered.committed == last
    assert alarms(store) == [("config_signature_invalid", 2)]


def test_what_another_key_signed_is_not_used(history: History) -> None:
    history.commit(1, alpha=1)
    history.commit(2, alpha=2)
    history.store.close()
    other = Signer(Keys(Ed25519PrivateKey.generate()), AUDIENCE)
    store = history.open(other.trust)
    assert (store.recovered.committed, store.recovered.highest) == (None, 2)
    assert alarms(store) == [("config_signature_invalid", 2), ("config_signature_invalid", 1)]
    store.close()


def test_what_was_made_for_another_name_is_not_used(history: History) -> None:
    history.commit(1, alpha=1)
    history.store.close()
    store = history.open(Trust("other", SIGNER.trust.public_key))
    assert (store.recovered.committed, store.recovered.highest) == (None, 1)
    store.close()


def test_without_signing_digests_still_guard_every_byte(tmp_path: Path) -> None:
    history = History(tmp_path, UNSIGNED)
    history.commit(1, alpha=1)
    last = history.commit(2, alpha=2)
    assert not (tmp_path / "compiled/000002/manifest.json.sig").exists()
    assert not history.restart().holds_signatures
    assert history.store.recovered.committed == last
    flip(tmp_path / "compiled/000002/sources.json", 70)
    assert alarms(history.restart()) == [("config_signature_invalid", 2)]
    assert history.store.recovered.committed == last
    history.store.close()


def test_a_signed_directory_opened_without_signing_says_that_it_holds_signatures(history: History) -> None:
    last = history.commit(1, alpha=1)
    history.store.close()
    store = history.open(UNSIGNED.trust)
    assert store.holds_signatures
    assert store.recovered.committed == last
    store.close()


def test_a_long_journal_is_made_short_without_losing_anything_that_counts(tmp_path: Path) -> None:
    history = History(tmp_path, limit=20_000, remembered=10)
    history.store.record(Pinned("p" * 64), durable=False)
    history.store.record(Spawned("gateway-0", 3, 4711, 12.5, b"\1" * 32), durable=False)
    longest = 0
    for version in range(1, 100):
        last = history.commit(version, alpha=version)
        assert history.store.record(Ended(version, "APPLIED", "", "uid 0"), durable=False) == ()
        longest = max(longest, history.path("state/journal").stat().st_size)
    assert longest < 25_000
    recovered = history.restart().recovered
    assert [past.version for past in recovered.history] == list(range(90, 100))
    assert (recovered.committed, recovered.highest, recovered.pinned, recovered.alarms) == (last, 99, "p" * 64, ())
    assert recovered.incarnations == {"gateway-0": 3}
    # and the short journal still rebuilds both versions
    shutil.rmtree(history.path("compiled"))
    recovered = history.restart().recovered
    assert (recovered.committed, recovered.alarms) == (last, ())
    assert tiers(recovered.previous) == {"alpha": 98}
    history.store.close()


def test_the_journal_stays_long_while_a_version_is_under_way_or_not_yet_archived(tmp_path: Path) -> None:
    history = History(tmp_path, limit=1)
    history.offer(1, alpha=1)
    size = history.path("state/journal").stat().st_size
    history.store.record(Burnt(1, "x" * 10_000), durable=False)
    stored = history.commit(2, archive=False, alpha=2)
    assert history.path("state/journal").stat().st_size > size + 10_000
    history.store.archive(stored)
    history.store.record(Ended(2, "APPLIED", "", ""), durable=False)
    assert history.path("state/journal").stat().st_size < size + 10_000
    history.store.close()


def test_a_record_that_is_not_in_the_journal_is_an_error_and_not_noted(history: History) -> None:
    history.commit(1, alpha=1)
    history.path("state/journal").unlink()
    with pytest.raises(JournalError):
        history.store.record(Pinned("p" * 64), durable=True)


def test_the_content_of_thousands_of_entries_is_stored_and_found(history: History) -> None:
    many = {f"source-{number}": number for number in range(3000)}
    history.commit(1, **many)
    last = history.commit(2, **{**many, "source-7": 0})
    assert history.store.load(2) == last
    shutil.rmtree(history.path("compiled"))
    assert history.restart().recovered.committed == last


# --- an older format -------------------------------------------------------------------------------------------------


def older(record: Record, *later: str) -> bytes:
    """Return a record's bytes without the fields that a later format brought."""
    fields = {one.name: getattr(record, one.name) for one in dataclasses.fields(record) if one.name not in later}
    return codec.pack([type(record).__name__, fields])


def write_older_journal(path: Path, *bodies: bytes) -> None:
    digest = chain.GENESIS
    with path.open("wb") as journal:
        for body in bodies:
            header, digest = chain.head(digest, body)
            journal.write(header + body)


def test_the_journal_of_an_older_format_opens_and_goes_on(history: History) -> None:
    first, second = issue(1, content(alpha=1)), issue(2, content(alpha=2))
    history.store.close()
    later = ("kind", "requester", "changes", "at")
    write_older_journal(
        history.path("state/journal"),
        older(candidate(first), *later),
        older(Committed(1)),
        older(candidate(second, first.content), *later),
        older(Committed(2)),
        older(Ended(2, "committed", "tighter", "ann"), "at", "numbers"),
    )
    recovered = history.restart().recovered
    assert (recovered.committed, recovered.previous, recovered.alarms) == (second, first, ())
    assert [(past.version, past.requester, past.at > 0) for past in recovered.history] == [
        (1, "", True),
        (2, "ann", True),
    ]
    history.last = second
    assert history.commit(3, alpha=3) == history.restart().recovered.committed


# --- what is kept, and for how long ----------------------------------------------------------------------------------


def answer(push_id: str, version: int) -> Answered:
    return Answered(push_id, "push", "", "ann", 0, "APPLIED", "Done.", version, 12.5)


def test_requests_pins_and_what_was_released_outlive_the_supervisor(history: History) -> None:
    stored = history.commit(1, alpha=1)
    history.store.record(answer("a", 1), durable=False)
    history.store.record(Pinned("p" * 64), durable=True)
    history.store.record(Quarantined("d" * 64, "it failed"), durable=False)
    history.store.record(Quarantined("e" * 64, "it failed"), durable=False)
    history.store.record(Released("d" * 64, "it was the network", "ann"), durable=False)
    recovered = history.restart().recovered
    assert (recovered.committed, recovered.pinned, list(recovered.quarantined)) == (stored, "p" * 64, ["e" * 64])
    assert dict(recovered.answered) == {"a": answer("a", 1)}
    assert [past.pushes for past in recovered.history] == [("a",)]
    history.store.record(Unpinned(), durable=True)
    assert history.restart().recovered.pinned is None


def test_a_journal_that_was_made_short_still_holds_the_history(tmp_path: Path) -> None:
    history = History(tmp_path, limit=20_000, remembered=15)
    for version in range(1, 60):
        stored = history.offer(version, alpha=version)
        if version % 3:
            history.store.record(Ended(version, "rejected", "the trial died", "ann", 5.5), durable=False)
        else:
            history.store.record(Committed(version), durable=True)
            history.store.archive(stored)
            history.last = stored
            history.store.record(Ended(version, "committed", "", "ann", 5.5, b'{"n":1}'), durable=False)
        history.store.record(answer(f"push-{version}", version), durable=False)
    size = history.path("state/journal").stat().st_size
    recovered = history.restart().recovered
    assert size < 30_000
    assert [past.version for past in recovered.history] == list(range(45, 60))
    assert [past.outcome for past in recovered.history] == ["committed", "rejected", "rejected"] * 5
    assert all(past.digest and past.pushes and past.ended_at == 5.5 for past in recovered.history)
    assert list(recovered.answered) == [f"push-{version}" for version in range(45, 60)]
    assert (recovered.highest, recovered.alarms) == (59, ())
    history.store.close()


def age(history: History, version: int, days: float) -> None:
    """Make a version's directory look so old."""
    written = time.time() - days * 86_400
    os.utime(history.path(f"compiled/{version:06d}"), (written, written))


def archived(history: History) -> list[str]:
    return sorted(path.name for path in history.path("compiled").iterdir() if not path.is_symlink())


def test_versions_that_are_too_old_go_but_never_the_committed_and_the_previous_content(tmp_path: Path) -> None:
    history = History(tmp_path, days=30)
    for version in range(1, 6):
        history.commit(version, alpha=version)
    for version, days in ((1, 40.0), (2, 29.0), (3, 31.0), (4, 400.0), (5, 400.0)):
        age(history, version, days)
    history.commit(6, alpha=5)  # the content of 5 again: the previous other content is that of 4
    assert archived(history) == ["000002", "000004", "000006"]
    history.store.close()


def test_without_a_limit_of_age_old_versions_stay(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.commit(1, alpha=1)
    age(history, 1, 4_000)
    history.commit(2, alpha=2)
    history.commit(3, alpha=3)
    assert archived(history) == ["000001", "000002", "000003"]
    history.store.close()


def test_limits_that_change_are_followed(tmp_path: Path) -> None:
    history = History(tmp_path)
    for version in range(1, 30):
        history.commit(version, alpha=version)
    assert len(archived(history)) == 20
    history.store.keep(Retention(versions=3, days=0.0, history=10, journal_bytes=1))
    history.commit(30, alpha=30)
    history.store.record(Ended(30, "committed", "", "ann"), durable=False)
    assert archived(history) == ["000028", "000029", "000030"]
    assert history.path("state/journal").stat().st_size < 20_000
    assert [past.version for past in history.restart().recovered.history] == list(range(21, 31))
    history.store.close()


# --- going back ------------------------------------------------------------------------------------------------------


def test_a_version_that_is_kept_can_be_recalled(history: History) -> None:
    first = history.commit(1, alpha=1)
    history.commit(2, alpha=2)
    history.commit(3, alpha=3)
    assert history.store.recall(1) == first


def test_without_a_number_the_newest_version_with_other_content_is_recalled(history: History) -> None:
    history.commit(1, alpha=1)
    second = history.commit(2, alpha=2)
    history.commit(3, alpha=3)
    history.commit(4, alpha=3)
    assert history.store.recall(None) == second
    assert history.restart().recall(None) == second


def test_where_there_is_nothing_to_go_back_to_that_is_said(history: History) -> None:
    for version in (None, 1):
        with pytest.raises(RejectedError):
            history.store.recall(version)
    history.commit(1, alpha=1)
    with pytest.raises(RejectedError, match="nothing to go back to"):
        history.store.recall(None)
    with pytest.raises(RejectedError, match="version 7 can't be used: compiled/ keeps only 1"):
        history.store.recall(7)


def test_a_damaged_version_is_not_recalled(history: History) -> None:
    history.commit(1, alpha=1)
    history.commit(2, alpha=2)
    flip(history.path("compiled/000001/sources.json"), 100)
    with pytest.raises(DamageError) as caught:
        history.store.recall(None)
    assert caught.value.file == "compiled/000001/sources.json"
