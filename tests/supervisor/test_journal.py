from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import chain, codec
from nexus_supervisor.core.ledger import MAX_PAST, MAX_QUARANTINED, Ledger
from nexus_supervisor.core.records import RECORDS
from nexus_supervisor.errors import ProtocolError
from nexus_supervisor.supervisor.journal import (
    Burnt,
    Candidate,
    Checkpoint,
    Committed,
    Ended,
    Journal,
    JournalError,
    Opened,
    Pinned,
    Quarantined,
    Record,
    Spawned,
    Unpinned,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDED: tuple[Record, ...] = (
    Candidate(1, b"manifest", b"signature", b"delta", "first", "directory"),
    Spawned("gateway-0", 1, 4711, 12.5, b"\1" * 32),
    Committed(1),
    Quarantined("d" * 64, "it crashed"),
    Pinned("e" * 64),
    Unpinned(),
    Candidate(300, b"manifest", b"", b"delta", "second", "directory"),
    Burnt(300, "not staged"),
    Ended(300, "REJECTED", "not staged", "uid 0"),
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path


@contextmanager
def opened(state: Path) -> Iterator[Opened]:
    found = Journal.open(state)
    with closing(found.journal):
        yield found


def written(state: Path, records: tuple[Record, ...] = RECORDED) -> bytes:
    with opened(state) as found:
        for record in records:
            found.journal.append(record, durable=True)
    return (state / "journal").read_bytes()


def ends(raw: bytes) -> list[int]:
    """Return where each record ends, beginning with 0."""
    found = [0]
    while found[-1] < len(raw):
        found.append(found[-1] + chain.HEADER_BYTES + int.from_bytes(raw[found[-1] : found[-1] + 4], "big"))
    return found


def test_what_was_appended_comes_back_in_order(state: Path) -> None:
    written(state)
    with opened(state) as found:
        assert found.records == RECORDED
        assert found.tail is None
        found.journal.append(Committed(301), durable=False)
    with opened(state) as found:
        assert found.records == (*RECORDED, Committed(301))


def test_the_file_is_readable_by_us_alone(state: Path) -> None:
    written(state)
    assert (state / "journal").stat().st_mode & 0o777 == 0o600


def test_a_journal_cut_at_any_byte_keeps_every_whole_record_and_puts_the_rest_aside(
    state: Path, tmp_path: Path
) -> None:
    raw = written(state)
    boundaries = ends(raw)
    for cut in range(len(raw)):
        # given a power cut after this many bytes
        place = tmp_path / f"cut-{cut}"
        place.mkdir()
        (place / "journal").write_bytes(raw[:cut])
        # when it is opened
        with opened(place) as found:
            whole = sum(end <= cut for end in boundaries) - 1
            assert found.records == RECORDED[:whole]
            # then the file ends with its last whole record, and what followed is kept
            assert (place / "journal").read_bytes() == raw[: boundaries[whole]]
            if cut == boundaries[whole]:
                assert found.tail is None
            else:
                assert found.tail is not None
                assert (place / found.tail.file).read_bytes() == raw[boundaries[whole] : cut]
            # and it can be written on
            found.journal.append(Committed(1), durable=True)
        with opened(place) as found:
            assert found.records == (*RECORDED[:whole], Committed(1))
            assert found.tail is None


def test_a_flipped_bit_anywhere_ends_the_chain_before_its_record(state: Path) -> None:
    raw = written(state)
    boundaries = ends(raw)
    for position in range(len(raw)):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << position % 8
        scan = chain.scan(flipped)
        assert scan.damage
        assert scan.end == max(end for end in boundaries if end <= position)
        assert scan.records == RECORDED[: boundaries.index(scan.end)]


def test_a_record_left_out_or_moved_breaks_the_chain(state: Path) -> None:
    raw = written(state)
    at = ends(raw)
    without = raw[: at[2]] + raw[at[3] :]
    swapped = raw[: at[2]] + raw[at[3] : at[4]] + raw[at[2] : at[3]] + raw[at[4] :]
    for changed in (without, swapped):
        assert chain.scan(changed).records == RECORDED[:2]


@given(st.binary(min_size=1, max_size=200))
def test_garbage_after_the_end_is_never_taken_for_records(garbage: bytes) -> None:
    body = RECORDS.encode(RECORDED[0])
    good = b"".join(chain.head(chain.GENESIS, body)[:1]) + body
    scan = chain.scan(good + garbage)
    assert (scan.records, scan.end) == (RECORDED[:1], len(good))
    assert scan.damage


def test_each_damaged_end_gets_a_file_of_its_own(state: Path) -> None:
    raw = written(state)
    for number in (1, 2, 3):
        with (state / "journal").open("ab") as file:
            file.write(b"garbage")
        with opened(state) as found:
            assert found.tail is not None
            assert found.tail.file == f"journal.torn-{number}"
    assert (state / "journal").read_bytes() == raw


def test_the_numbers_of_candidates_are_found_among_damaged_bytes(state: Path) -> None:
    raw = bytearray(written(state))
    raw[10] ^= 0xFF
    (state / "journal").write_bytes(raw)
    with opened(state) as found:
        assert found.tail is not None
        assert found.tail.numbers == (1, 300)


@pytest.mark.parametrize("number", [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1])
def test_a_number_of_any_size_is_found(number: int) -> None:
    body = RECORDS.encode(Candidate(number, b"", b"", b"", "", ""))
    assert chain.numbers(b"garbage" + body) == (number,)


@given(st.text())
def test_nothing_that_people_write_can_pretend_to_be_a_candidate(text: str) -> None:
    start = codec.pack(["Candidate", {}])[:-1]
    with pytest.raises(UnicodeDecodeError):
        start.decode()
    assert chain.numbers(text.encode("utf-8", "surrogatepass")) == ()


def test_a_record_that_no_kind_knows_ends_the_chain(state: Path) -> None:
    body = codec.pack(["Later", {}])
    (state / "journal").write_bytes(chain.head(chain.GENESIS, body)[0] + body)
    with opened(state) as found:
        assert found.records == ()
        assert found.tail is not None
        assert "can't be understood" in found.tail.damage


def test_what_is_no_record_is_not_appended_and_harms_nothing(state: Path) -> None:
    with opened(state) as found:
        with pytest.raises(ProtocolError):
            found.journal.append(object(), durable=True)  # type: ignore[arg-type]
        found.journal.append(Committed(1), durable=True)


def exchange(journal: Journal, fd: int) -> None:
    """Let the journal's descriptor be another open file, as if its disk had gone bad."""
    os.dup2(fd, journal._fd)
    os.close(fd)


def test_after_a_failed_fsync_every_append_is_refused(state: Path) -> None:
    with opened(state) as found:
        # given a file that takes bytes and can't be made durable: a pipe
        reader, writer = os.pipe()
        exchange(found.journal, writer)
        with pytest.raises(JournalError, match="can't be trusted any more"):
            found.journal.append(Committed(1), durable=True)
        # then nothing more is written, durable or not
        before = os.read(reader, 4096)
        for durable in (True, False):
            with pytest.raises(JournalError, match="takes no records"):
                found.journal.append(Committed(2), durable=durable)
        with pytest.raises(JournalError, match="takes no records"):
            found.journal.rewrite([])
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
        assert before
        os.close(reader)


def test_after_a_failed_write_every_append_is_refused(state: Path) -> None:
    with opened(state) as found:
        exchange(found.journal, os.open(state / "journal", os.O_RDONLY))
        with pytest.raises(JournalError, match="can't be trusted any more"):
            found.journal.append(Committed(1), durable=False)
        with pytest.raises(JournalError, match="takes no records"):
            found.journal.append(Committed(1), durable=False)


def test_a_journal_removed_while_it_is_open_takes_no_more_records(state: Path) -> None:
    with opened(state) as found:
        (state / "journal").unlink()
        with pytest.raises(JournalError, match="removed"):
            found.journal.append(Committed(1), durable=True)


def test_a_closed_journal_says_so(state: Path) -> None:
    with opened(state) as found:
        found.journal.close()
        with pytest.raises(JournalError, match="closed"):
            found.journal.append(Committed(1), durable=True)


LIMITED = """
import pathlib, resource, sys
from nexus_supervisor.supervisor.journal import Burnt, Committed, Journal, JournalError
journal = Journal.open(pathlib.Path(sys.argv[1])).journal
journal.append(Committed(1), durable=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 100, resource.RLIM_INFINITY))
try:
    journal.append(Burnt(2, "x" * 1000), durable=True)
except JournalError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append(Committed(3), durable=True)
"""


def test_a_record_that_does_not_fit_is_taken_back_and_the_next_one_is_welcome(state: Path) -> None:
    # given a process that may not make files longer than the journal plus some bytes, for one append
    run = subprocess.run([sys.executable, "-c", LIMITED, state], check=True, capture_output=True, text=True)
    assert "no room" in run.stdout
    # then there is no half record
    with opened(state) as found:
        assert found.records == (Committed(1), Committed(3))
        assert found.tail is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "nexus-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(path: Path) -> None:
    """Write until the disk has no room left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))


def test_on_a_full_disk_the_ballast_makes_room_for_one_more_record(small_disk: Path) -> None:
    with opened(small_disk) as found:
        # given a disk with no room left
        assert (small_disk / "ballast").stat().st_size == 1 << 20
        fill(small_disk / "filler")
        # when a revocation of more than a page is journaled
        record = Candidate(1, b"manifest", b"signature", bytes(100_000), "revoked", "directory")
        found.journal.append(record, durable=True)
        # then it is in, at the price of the ballast, which comes back with the room
        assert not (small_disk / "ballast").exists()
        assert not found.journal.ballast.hold()
        assert not (small_disk / "ballast").exists()
        (small_disk / "filler").unlink()
        assert found.journal.ballast.hold()
    with opened(small_disk) as found:
        assert found.records == (record,)


def test_a_rewritten_journal_holds_the_new_records_and_goes_on(state: Path) -> None:
    written(state)
    with opened(state) as found:
        checkpoint = Ledger(found.records).checkpoint(found.journal.chain)
        found.journal.rewrite([checkpoint])
        found.journal.append(Committed(301), durable=True)
        assert found.journal.size == (state / "journal").stat().st_size
    with opened(state) as found:
        assert found.records == (checkpoint, Committed(301))
    assert sorted(path.name for path in state.iterdir()) == ["ballast", "journal"]


def test_a_rewrite_that_fails_leaves_the_old_journal_in_use(state: Path) -> None:
    written(state)
    with opened(state) as found:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(JournalError, match="old one goes on"):
                found.journal.rewrite([Committed(1)])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        found.journal.append(Committed(301), durable=True)
    with opened(state) as found:
        assert found.records == (*RECORDED, Committed(301))


def test_an_unfinished_rewrite_is_forgotten(state: Path) -> None:
    raw = written(state)
    (state / "journal.new").write_bytes(b"half")
    with opened(state):
        pass
    assert not (state / "journal.new").exists()
    assert (state / "journal").read_bytes() == raw


def test_a_link_in_the_journals_place_is_not_followed(state: Path, tmp_path: Path) -> None:
    (state / "journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError, match="can't be opened"):
        Journal.open(state)
    assert not (tmp_path / "elsewhere").exists()


def test_an_append_is_one_write_and_one_fdatasync(state: Path, tmp_path: Path) -> None:
    script = LIMITED.split("resource.setrlimit", maxsplit=1)[0]
    trace = tmp_path / "trace"
    command = [
        "strace",
        "-f",
        "-o",
        str(trace),
        "-e",
        "trace=writev,fdatasync,fsync",
        sys.executable,
        "-c",
        script,
        state,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("strace can't be used here")
    calls = [line.split(None, 1)[1].split("(")[0] for line in trace.read_text().splitlines() if "(" in line]
    assert calls[-2:] == ["writev", "fdatasync"]
    assert calls.count("fdatasync") == 1


def test_the_ledger_adds_up_what_records_say() -> None:
    ledger = Ledger(RECORDED)
    assert (ledger.highest, list(ledger.committed), ledger.pinned) == (300, [1], None)
    assert ledger.quarantined == {"d" * 64: "it crashed"}
    assert ledger.spawned["gateway-0"].incarnation == 1
    assert [(past.version, past.outcome) for past in ledger.history] == [(1, "committed"), (300, "REJECTED")]
    assert not ledger.unfinished


def test_a_checkpoint_sums_up_what_comes_before_it() -> None:
    whole = Ledger((*RECORDED, Pinned("f" * 64)))
    resumed = Ledger([whole.checkpoint(b"chain")])
    assert whole.checkpoint(b"chain") == Checkpoint(300, 1, b"chain", "f" * 64, {"d" * 64: "it crashed"})
    assert resumed.checkpoint(b"chain") == whole.checkpoint(b"chain")


def test_a_version_is_unfinished_until_its_end_is_known() -> None:
    ledger = Ledger([RECORDED[0]])
    assert ledger.unfinished
    ledger.note(Committed(1))
    assert not ledger.unfinished


def test_the_ledger_never_grows_without_bound() -> None:
    ledger = Ledger()
    for number in range(1, 3000):
        ledger.note(Committed(number))
        ledger.note(Quarantined(str(number), ""))
    assert (len(ledger.history), len(ledger.committed), len(ledger.quarantined)) == (
        MAX_PAST,
        MAX_PAST,
        MAX_QUARANTINED,
    )
