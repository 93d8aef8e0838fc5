"""ConfigMaps: files are links into ``..data``, which is swapped as a whole."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.compiling import Desk, assert_problem, entry, make_directory, names, source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Mount:
    """Write a directory as the kubelet does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._moments = itertools.count()

    def show(self, files: dict[str, str]) -> None:
        """Write a new moment beside the old one, swap ``..data``, then mend the links."""
        moment = f"..moment_{next(self._moments)}"
        (self.directory / moment).mkdir()
        for name, text in files.items():
            (self.directory / moment / name).write_text(text)
        before = (self.directory / "..data").readlink() if (self.directory / "..data").is_symlink() else None
        (self.directory / "..data_tmp").symlink_to(moment)
        (self.directory / "..data_tmp").rename(self.directory / "..data")
        for name in files:
            if not (self.directory / name).is_symlink():
                (self.directory / name).symlink_to(f"..data/{name}")
        for link in self.directory.glob("*.toml"):
            if link.name not in files:
                link.unlink()
        if before is not None:
            for old in (self.directory / before).iterdir():
                old.unlink()
            (self.directory / before).rmdir()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(make_directory(tmp_path / "shop"))
    for path in (desk.directory / "sources").iterdir():
        path.unlink()
    return desk


@pytest.fixture
def mount(desk: Desk) -> Mount:
    mount = Mount(desk.directory / "sources")
    mount.show({"a.toml": source("a"), "b.toml": source("b")})
    return mount


def test_files_are_read_through_the_directory_that_data_leads_to(desk: Desk, mount: Mount) -> None:
    desk.go_live(whole=True)
    assert names(desk.content) == ["a", "b"]

    mount.show({"a.toml": source("a", "tier = 1"), "c.toml": source("c")})
    seen = desk.go_live()

    assert seen.gone == ("sources.b",)
    assert names(desk.content) == ["a", "c"]
    assert entry(desk.content, "sources", "a")["tier"] == 1


def test_a_regular_file_beside_the_links_is_an_entry_too(desk: Desk, mount: Mount) -> None:
    desk.write("sources/local.toml", source("local"))

    desk.go_live(whole=True)

    assert names(desk.content) == ["a", "b", "local"]


def test_a_link_that_data_no_longer_has_is_no_entry(desk: Desk, mount: Mount) -> None:
    (desk.directory / "sources/old.toml").symlink_to("..data/old.toml")

    desk.go_live(whole=True)

    assert names(desk.content) == ["a", "b"]


def test_a_link_to_another_name_in_data_is_refused(desk: Desk, mount: Mount) -> None:
    (desk.directory / "sources/c.toml").symlink_to("..data/a.toml")

    assert_problem(desk.refused(), r"sources/c\.toml: expected a regular file, found a symbolic link")


@pytest.mark.parametrize("target", ["/etc", "..", ".", "a/b", "../destinations"])
def test_data_that_leads_elsewhere_is_refused_and_revokes_nothing(desk: Desk, target: str) -> None:
    (desk.directory / "sources/..data").symlink_to(target)

    refused = desk.refused()

    assert_problem(refused, r"sources: expected \.\.data to lead to a directory beside it")


def test_data_that_is_no_link_is_refused(desk: Desk) -> None:
    (desk.directory / "sources/..data").mkdir()

    assert_problem(desk.refused(), r"sources: expected \.\.data to be a symbolic link")


def test_data_that_leads_to_a_link_is_refused(desk: Desk) -> None:
    (desk.directory / "sources/..moment").symlink_to("/etc")
    (desk.directory / "sources/..data").symlink_to("..moment")

    assert_problem(desk.refused(), r"sources: expected \.\.data to lead to a directory")


def test_a_whole_dir_may_be_a_mount_with_sections_as_links(tmp_path: Path) -> None:
    make_directory(tmp_path / "shop/..moment")
    (tmp_path / "shop/..data").symlink_to("..moment")
    for name in ("daemon.toml", "sources", "destinations"):
        (tmp_path / "shop" / name).symlink_to(f"..data/{name}")
    desk = Desk(tmp_path / "shop")

    desk.go_live(whole=True)

    assert names(desk.content) == ["a", "b"]


@pytest.fixture
def swapping(desk: Desk, mount: Mount) -> Iterator[list[str]]:
    """Swap between two moments as fast as possible; every file of a moment says which one it is."""
    stop = threading.Event()
    files = [f"f{number}.toml" for number in range(8)]

    def run() -> None:
        for tier in itertools.cycle([0, 1]):
            if stop.is_set():
                return
            mount.show({name: source(name.removesuffix(".toml"), f"tier = {tier}") for name in files})

    mount.show({name: source(name.removesuffix(".toml"), "tier = 0") for name in files})
    writer = threading.Thread(target=run)
    writer.start()
    yield [name.removesuffix(".toml") for name in files]
    stop.set()
    writer.join()


def test_no_look_ever_sees_two_moments_at_once(desk: Desk, swapping: list[str]) -> None:
    seen: set[int] = set()
    for _ in range(200):
        answer = desk.answer(whole=True)
        payload = getattr(answer.message, "digest", None)
        if payload is None:
            assert getattr(answer.message, "unstable", False), answer.message
            continue
        content = desk.applied(answer.message)  # type: ignore[arg-type]
        tiers = {entry(content, "sources", name)["tier"] for name in swapping}
        assert len(tiers) == 1
        assert names(content) == swapping
        seen |= tiers

    assert seen <= {0, 1}


def test_no_rename_is_ever_seen_as_a_removal(tmp_path: Path) -> None:
    desk = Desk(make_directory(tmp_path / "shop"))
    desk.go_live(whole=True)
    stop = threading.Event()
    here, there = desk.directory / "sources/b.toml", desk.directory / "sources/y.toml"

    def run() -> None:
        while not stop.is_set():
            here.rename(there)
            there.rename(here)

    writer = threading.Thread(target=run)
    writer.start()
    try:
        for number in range(200):
            hints = None if number % 2 else ("sources/b.toml", "sources/y.toml")
            message = desk.answer(hints=hints).message
            assert getattr(message, "gone", ()) == (), message
    finally:
        stop.set()
        writer.join()
