"""The watcher against real files, changed the way editors, tools and Kubernetes change them."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.supervisor.watcher import RECONCILE_ONLY, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 30
WATCHED = ("sources/*.toml", "destinations", "daemon.toml")
INOTIFY = "nexus_supervisor.supervisor.inotify"


class Watched:
    """A directory with a running watcher, and what the watcher said."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.touches: queue.Queue[frozenset[str] | None] = queue.Queue()
        self.complaints: queue.Queue[str] = queue.Queue()
        self.watcher = Watcher(directory, WATCHED, self.touches.put, self.complaints.put)

    def touched(self) -> list[str] | None:
        hints = self.touches.get(timeout=PATIENCE_SECONDS)
        return None if hints is None else sorted(hints)

    def until(self, path: str | None) -> list[str | None]:
        """Return all that was touched up to and with a path, or up to "anything" (None)."""
        seen: list[str | None] = []
        while path not in seen:
            hints = self.touched()
            seen += [None] if hints is None else hints
        return seen

    def barrier(self) -> list[str | None]:
        """Return what was touched before this call: a change made now is told after all others."""
        write_atomically(self.directory / "sources" / "barrier.toml", "")
        return [path for path in self.until("sources/barrier.toml") if path != "sources/barrier.toml"]

    def until_watched(self, name: str = "sources/again.toml") -> None:
        """Write a file again and again until the watcher names it, as it does once it has found the new directory."""
        for _ in range(PATIENCE_SECONDS * 10):
            write_atomically(self.directory / name, "")
            with contextlib.suppress(queue.Empty):
                while True:
                    if name in (self.touches.get(timeout=0.1) or ()):
                        return
        pytest.fail(f"{name} was never named")


def make(directory: Path) -> Path:
    for name in ("sources", "destinations", "state", "compiled", "keys"):
        (directory / name).mkdir(parents=True)
    (directory / "daemon.toml").write_text("")
    (directory / "sources" / "a.toml").write_text("")
    return directory


def write_atomically(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.rename(path)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    here = Watched(make(tmp_path / "dir"))
    here.watcher.start()
    yield here
    here.watcher.stop()


@pytest.fixture
def observed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Watch with watchdog's observer, as where its inotify reader isn't to be had."""
    monkeypatch.setitem(sys.modules, INOTIFY, None)
    here = Watched(make(tmp_path / "dir"))
    here.watcher.start()
    yield here
    here.watcher.stop()


def save_in_place(path: Path) -> None:
    path.write_text("new")


def save_atomically(path: Path) -> None:
    write_atomically(path, "new")


def save_like_vim(path: Path) -> None:
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    path.write_text("new")
    backup.unlink()


def save_like_git(path: Path) -> None:
    path.unlink()
    path.write_text("new")


def save_like_a_linker(path: Path) -> None:
    fresh = path.with_name("fresh.tmp")
    fresh.write_text("new")
    path.unlink()
    path.hardlink_to(fresh)
    fresh.unlink()


def save_by_copy(path: Path) -> None:
    fresh = path.parents[1] / "fresh"
    fresh.write_text("new")
    shutil.copy2(fresh, path)


def change_mode(path: Path) -> None:
    path.chmod(0o600)


SAVES = [save_in_place, save_atomically, save_like_vim, save_like_git, save_like_a_linker, save_by_copy, change_mode]


@pytest.mark.parametrize("save", SAVES)
def test_a_saved_file_is_named_however_it_was_saved(watched: Watched, save: Callable[[Path], None]) -> None:
    save(watched.directory / "sources" / "a.toml")
    assert watched.touched() == ["sources/a.toml"]


@pytest.mark.parametrize("save", SAVES)
def test_the_observer_names_a_saved_file_too(observed: Watched, save: Callable[[Path], None]) -> None:
    save(observed.directory / "sources" / "a.toml")
    assert "sources/a.toml" in observed.until("sources/a.toml")


def test_a_watched_file_and_another_section_are_named_by_their_path(watched: Watched) -> None:
    write_atomically(watched.directory / "daemon.toml", "new")
    assert watched.touched() == ["daemon.toml"]
    write_atomically(watched.directory / "destinations" / "main.toml", "new")
    assert watched.touched() == ["destinations/main.toml"]


def test_a_deleted_file_is_named(watched: Watched) -> None:
    (watched.directory / "sources" / "a.toml").unlink()
    assert watched.touched() == ["sources/a.toml"]


def test_both_names_of_a_renamed_file_are_told(watched: Watched) -> None:
    (watched.directory / "sources" / "a.toml").rename(watched.directory / "sources" / "b.toml")
    assert watched.barrier() == ["sources/a.toml", "sources/b.toml"]


def test_a_file_moved_out_of_the_directory_is_told_before_what_comes_after(watched: Watched, tmp_path: Path) -> None:
    (watched.directory / "sources" / "a.toml").rename(tmp_path / "a.toml")
    assert watched.barrier() == ["sources/a.toml"]


def test_the_observer_tells_of_a_file_moved_out_too(observed: Watched, tmp_path: Path) -> None:
    (observed.directory / "sources" / "a.toml").rename(tmp_path / "a.toml")
    assert "sources/a.toml" in observed.until("sources/a.toml")


def test_a_new_file_is_told_when_its_writer_closes_it(watched: Watched) -> None:
    with (watched.directory / "sources" / "new.toml").open("w") as writer:
        assert watched.barrier() == []
        writer.write("whole")
    assert watched.touched() == ["sources/new.toml"]


def test_what_is_no_plain_file_is_told_when_it_is_made(watched: Watched) -> None:
    sources = watched.directory / "sources"
    os.mkfifo(sources / "fifo.toml")
    (sources / "folder.toml").mkdir()
    (sources / "link.toml").symlink_to("a.toml")
    assert watched.barrier() == ["sources/fifo.toml", "sources/folder.toml", "sources/link.toml"]


def test_a_config_map_swap_means_that_anything_may_have_changed(watched: Watched) -> None:
    sources = watched.directory / "sources"
    (sources / "..v1").mkdir()
    (sources / "..v1" / "b.toml").write_text("")
    (sources / "..data_tmp").symlink_to("..v1")
    assert watched.barrier() == []
    (sources / "..data_tmp").rename(sources / "..data")
    assert watched.touched() is None


def test_reading_the_directory_wakes_nobody(watched: Watched) -> None:
    for path in watched.directory.rglob("*.toml"):
        path.read_text()
        os.scandir(path.parent).close()
    assert watched.barrier() == []


def test_what_the_store_writes_wakes_nobody(watched: Watched) -> None:
    (watched.directory / "compiled" / "000001").mkdir()
    write_atomically(watched.directory / "compiled" / "000001" / "sources.json", "{}")
    write_atomically(watched.directory / "state" / "journal", "x")
    write_atomically(watched.directory / "keys" / "signing.key", "x")
    (watched.directory / "notes.txt").write_text("x")
    assert watched.barrier() == []


def test_temporary_files_of_editors_wake_nobody(watched: Watched) -> None:
    sources = watched.directory / "sources"
    for name in (".a.toml.swp", "4913", "a.toml~", "#a.toml#", ".#a.toml", "a.toml.tmp"):
        (sources / name).write_text("x")
        (sources / name).unlink()
    assert watched.barrier() == []


def test_a_section_directory_that_was_made_again_is_watched_again(watched: Watched) -> None:
    shutil.rmtree(watched.directory / "sources")
    watched.until(None)
    (watched.directory / "sources").mkdir()
    watched.until(None)
    watched.until_watched()
    assert watched.watcher.mode == "inotify"


def test_a_section_directory_that_was_exchanged_is_watched_in_its_new_place(watched: Watched) -> None:
    sources = watched.directory / "sources"
    (watched.directory / "fresh").mkdir()
    sources.rename(watched.directory / "old")
    watched.until(None)
    (watched.directory / "fresh").rename(sources)
    watched.until_watched()
    watched.barrier()
    write_atomically(watched.directory / "old" / "b.toml", "")
    assert watched.barrier() == []


def test_a_directory_that_was_renamed_away_and_made_again_is_watched_again(watched: Watched) -> None:
    watched.directory.rename(watched.directory.with_name("away"))
    watched.until(None)
    make(watched.directory)
    watched.until_watched("daemon.toml")
    watched.until_watched("sources/a.toml")
    watched.barrier()
    write_atomically(watched.directory.with_name("away") / "sources" / "a.toml", "old")
    assert watched.barrier() == []


def test_a_directory_that_was_deleted_and_made_again_is_watched_again(watched: Watched) -> None:
    shutil.rmtree(watched.directory)
    watched.until(None)
    make(watched.directory)
    watched.until_watched("daemon.toml")
    watched.until_watched("destinations/main.toml")


def test_a_directory_that_is_made_later_is_watched_from_then_on(tmp_path: Path) -> None:
    here = Watched(tmp_path / "later")
    here.watcher.start()
    make(here.directory)
    here.until_watched()
    here.watcher.stop()


def test_a_linked_directory_is_watched_where_the_link_leads(tmp_path: Path) -> None:
    make(tmp_path / "real" / "dir")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "dir")
    here = Watched(tmp_path / "link")
    here.watcher.start()
    write_atomically(tmp_path / "real" / "dir" / "sources" / "a.toml", "new")
    assert here.touched() == ["sources/a.toml"]
    here.watcher.stop()


def test_a_link_to_another_directory_is_followed_at_once(tmp_path: Path) -> None:
    first, second = make(tmp_path / "first" / "dir"), make(tmp_path / "second" / "dir")
    (tmp_path / "link").symlink_to(first)
    here = Watched(tmp_path / "link")
    here.watcher.start()
    (tmp_path / "link.new").symlink_to(second)
    (tmp_path / "link.new").rename(tmp_path / "link")
    assert here.touched() is None
    write_atomically(first / "sources" / "a.toml", "old")
    assert here.barrier() == []
    here.watcher.stop()


def test_a_link_in_the_middle_of_the_way_is_found_by_the_check(tmp_path: Path) -> None:
    first, second = make(tmp_path / "first"), make(tmp_path / "second")
    (tmp_path / "middle").mkdir()
    (tmp_path / "middle" / "way").symlink_to(first)
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "link").symlink_to(tmp_path / "middle" / "way")
    here = Watched(tmp_path / "start" / "link")
    here.watcher.start()
    (tmp_path / "middle" / "way").unlink()
    (tmp_path / "middle" / "way").symlink_to(second)
    here.watcher.check()
    assert here.touched() is None
    write_atomically(second / "sources" / "a.toml", "new")
    assert here.touched() == ["sources/a.toml"]
    here.watcher.stop()


def test_a_check_with_nothing_to_repair_says_nothing(watched: Watched) -> None:
    watched.watcher.check()
    assert watched.barrier() == []


def test_an_error_in_who_is_told_does_not_end_the_watcher(tmp_path: Path) -> None:
    complaints: queue.Queue[str] = queue.Queue()
    told: queue.Queue[frozenset[str] | None] = queue.Queue()

    def fail_once(hints: frozenset[str] | None) -> None:
        told.put(hints)
        if told.qsize() == 1:
            message = "no loop is running"
            raise RuntimeError(message)

    watcher = Watcher(make(tmp_path / "dir"), WATCHED, fail_once, complaints.put)
    watcher.start()
    write_atomically(tmp_path / "dir" / "sources" / "a.toml", "new")
    assert "RuntimeError" in complaints.get(timeout=PATIENCE_SECONDS)
    write_atomically(tmp_path / "dir" / "sources" / "b.toml", "new")
    assert told.get(timeout=PATIENCE_SECONDS) == frozenset({"sources/a.toml"})
    assert told.get(timeout=PATIENCE_SECONDS) == frozenset({"sources/b.toml"})
    watcher.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_replaced_by_the_check(tmp_path: Path) -> None:
    here = Watched(make(tmp_path / "dir"))
    broken = threading.Event()
    broken.set()

    def tell(hints: frozenset[str] | None) -> None:
        if broken.is_set():
            raise SystemExit
        here.touches.put(hints)

    here.watcher = Watcher(here.directory, WATCHED, tell, here.complaints.put)
    threads = set(threading.enumerate())
    here.watcher.start()
    (reader,) = set(threading.enumerate()) - threads
    write_atomically(here.directory / "sources" / "a.toml", "new")
    reader.join(PATIENCE_SECONDS)
    assert here.watcher.mode == RECONCILE_ONLY
    broken.clear()
    here.watcher.check()
    assert here.touched() is None
    assert "started again" in here.complaints.get(timeout=PATIENCE_SECONDS)
    assert here.barrier() == []
    here.watcher.stop()


def test_an_overflowing_queue_means_that_anything_may_have_changed(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 200_000:
        pytest.skip("the kernel's queue is too long to fill in a test")
    here = Watched(make(tmp_path / "dir"))
    blocked, go_on = threading.Event(), threading.Event()

    def block(hints: frozenset[str] | None) -> None:
        blocked.set()
        go_on.wait(PATIENCE_SECONDS)
        here.touches.put(hints)

    here.watcher = Watcher(here.directory, WATCHED, block, here.complaints.put)
    here.watcher.start()
    names = [here.directory / "sources" / "a.toml", here.directory / "sources" / "b.toml"]
    write_atomically(names[1], "")
    assert blocked.wait(PATIENCE_SECONDS)
    for _ in range(limit // 2 + 100):
        for name in names:  # two names in turn: equal events in a row are merged by the kernel
            os.utime(name)
    go_on.set()
    here.until(None)
    assert "dropped" in here.complaints.get(timeout=PATIENCE_SECONDS)
    here.watcher.stop()


def test_the_observer_passes_on_what_watchdog_only_logs(observed: Watched) -> None:
    observed.complaints.get(timeout=PATIENCE_SECONDS)  # that the observer is used at all
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed")
    assert observed.touched() is None
    assert "dropped" in observed.complaints.get(timeout=PATIENCE_SECONDS)


def test_the_observer_says_what_it_is_slower_at(observed: Watched) -> None:
    assert "half a second later" in observed.complaints.get(timeout=PATIENCE_SECONDS)
    assert observed.watcher.mode == "inotify"


def test_the_observer_survives_that_its_directory_is_deleted_and_made_again(observed: Watched) -> None:
    shutil.rmtree(observed.directory)
    observed.until(None)
    make(observed.directory)
    observed.until_watched()


def test_a_stopped_watcher_leaves_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    threads, descriptors = threading.active_count(), sorted(Path("/proc/self/fd").iterdir())
    here = Watched(make(tmp_path / "dir"))
    here.watcher.stop()
    here.watcher.start()
    here.watcher.start()
    here.watcher.stop()
    here.watcher.stop()
    here.watcher.check()
    write_atomically(here.directory / "sources" / "a.toml", "new")
    assert (threading.active_count(), sorted(Path("/proc/self/fd").iterdir())) == (threads, descriptors)
    assert here.watcher.mode == RECONCILE_ONLY
    assert here.touches.empty()


def run_alone(script: str, *arguments: str) -> str:
    """Run a script in a process of its own: it changes limits and rights of the whole process."""
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS * 2).stdout


def test_without_a_descriptor_to_be_had_the_watcher_warns_and_recovers_later(tmp_path: Path) -> None:
    said = run_alone(
        """
        import os, resource, sys
        from pathlib import Path
        from nexus_supervisor.supervisor import inotify
        from nexus_supervisor.supervisor.watcher import Watcher

        watcher = Watcher(Path(sys.argv[1]), ["sources"], lambda hints: print("touched", hints), print)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        watcher.start()
        print(watcher.mode)
        watcher.check()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        watcher.check()
        print(watcher.mode)
        watcher.stop()
        """,
        str(make(tmp_path / "dir")),
    )
    warning, *rest = said.splitlines()
    assert "can't be watched" in warning
    assert "max_user_instances" in warning
    assert rest == [RECONCILE_ONLY, "touched None", "inotify"]


def test_a_section_that_may_not_be_read_leaves_reconcile_alone() -> None:
    said = run_alone(
        """
        import os, tempfile
        from pathlib import Path
        from nexus_supervisor.supervisor import inotify
        from nexus_supervisor.supervisor.watcher import Watcher

        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        with tempfile.TemporaryDirectory() as made:
            directory = Path(made)
            (directory / "sources").mkdir(mode=0o300)
            watcher = Watcher(directory, ["sources"], lambda hints: None, print)
            watcher.start()
            print(watcher.mode)
            (directory / "sources").chmod(0o700)
            watcher.check()
            print(watcher.mode)
            watcher.stop()
        """
    )
    warning, *rest = said.splitlines()
    assert "sources can't be watched" in warning
    assert rest == [RECONCILE_ONLY, "inotify"]
