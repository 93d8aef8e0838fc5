"""Files that secrets are in: what was refused because of one is judged again as soon as it is another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.codec import unpack
from nexus_supervisor.models.loading import ClassModel, Compiled
from nexus_supervisor.models.marks import Secret
from nexus_supervisor.models.secrets import Origins, Resolution, identity_of
from tests.support.certificates import SECTION, a_pair
from tests.support.compiling import Desk, assert_problem, lines, write
from tests.support.vaults import make_desk, vault

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = '[supervisor]\nprogram = "asgi"\n'
NO_FIT = r"vaults/both\.toml:\d+: .*the key does not fit the lock"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = make_desk(tmp_path / "bank")
    desk.go_live(whole=True)
    return desk


def certificate_desk(directory: Path, chain: str, key: str, *more: str) -> Desk:
    """Make a directory with one certificate, whose files may or may not belong together."""
    (directory / "certificates").mkdir()
    desk = Desk(directory)
    desk.write("daemon.toml", PROGRAM + SECTION)
    desk.write("certificates/web.toml", "\n".join(['chain = "file:c.pem"', 'key = "file:k.pem"', *more, ""]))
    desk.write("c.pem", chain)
    desk.write("k.pem", key)
    return desk


@pytest.mark.parametrize("order", [("c.pem", "k.pem"), ("k.pem", "c.pem")])
def test_a_certificate_and_its_key_may_be_renamed_into_place_one_after_the_other(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    old, new = a_pair("web.test"), a_pair("web.test")
    desk = certificate_desk(tmp_path, old.certificate, old.key)
    before = desk.go_live(whole=True)
    texts = {"c.pem": new.certificate, "k.pem": new.key}

    desk.write(order[0], texts[order[0]])
    for _ in range(2):
        assert_problem(desk.refused(), r"certificates/web\.toml:2: key: the private key .* does not belong to")
    desk.write(order[1], texts[order[1]])

    answer = desk.answer()
    assert desk.go_live().digest != before.digest
    assert sorted(unpack(answer.secrets or b"").values()) == sorted(text.strip() for text in texts.values())


def test_a_certificate_that_was_refused_since_the_beginning_is_taken_once_its_key_is_there(tmp_path: Path) -> None:
    pair = a_pair("web.test")
    desk = certificate_desk(tmp_path, pair.certificate, a_pair("web.test").key)
    desk.refused()

    desk.write("k.pem", pair.key)

    assert desk.go_live(whole=True).files == 2


@pytest.mark.parametrize("order", [("a.lock", "a.key"), ("a.key", "a.lock")])
def test_secrets_of_any_model_that_did_not_fit_are_judged_again(desk: Desk, order: tuple[str, str]) -> None:
    before = desk.seen().digest
    desk.write(order[0], "second-text")
    assert_problem(desk.refused(), NO_FIT)

    desk.write(order[1], "second-text")

    assert desk.go_live().digest != before


def test_a_file_that_is_put_back_makes_what_ran_valid_again(desk: Desk) -> None:
    before = desk.seen().digest
    desk.write("a.key", "second-text")
    desk.refused()

    desk.write("a.key", "first-text")

    assert desk.seen().digest == before


def test_an_entry_whose_model_failed_on_a_secret_is_judged_again(desk: Desk) -> None:
    desk.write("vaults/both.toml", vault("a", "size = 0") + vault("b"))
    desk.write("a.key", "second-text")
    assert_problem(desk.refused(), r".*raised KeyError on this")

    desk.write("a.lock", "second-text")

    assert desk.seen().files == 2


def test_what_is_said_of_several_refused_entries_of_a_file_follows_their_files(desk: Desk) -> None:
    desk.write("a.key", "second-text")
    desk.write("b.key", "second-text")
    assert len(desk.refused().problems) == 2

    desk.write("a.lock", "second-text")
    assert len(desk.refused().problems) == 1
    desk.write("b.lock", "second-text")

    assert desk.seen().files == 2


def test_beside_another_mistake_of_the_entry_a_secret_that_fits_now_is_not_complained_of(tmp_path: Path) -> None:
    pair = a_pair("web.test")
    desk = certificate_desk(tmp_path, pair.certificate, a_pair("web.test").key, "default = nan")
    assert len(desk.refused().problems) == 2

    desk.write("k.pem", pair.key)

    (said,) = lines(desk.refused())
    assert "default" in said


def test_what_was_refused_is_not_judged_again_while_its_files_are_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[object] = []
    compile_one = ClassModel.compile

    def noting(self: ClassModel, document: dict[str, object], origins: Origins) -> Compiled:
        judged.append(document["name"])
        return compile_one(self, document, origins)

    monkeypatch.setattr(ClassModel, "compile", noting)
    desk.write("a.key", "second-text")
    desk.refused()

    desk.refused()

    assert judged == ["a"]


def test_a_reference_written_twice_is_known_by_the_file_that_was_read_first(tmp_path: Path) -> None:
    write(tmp_path / "both.pem", "first-text")
    origins = Origins(tmp_path, {}, b"pepper")
    first = identity_of(origins, "file:both.pem")
    resolution = Resolution(origins)
    resolution.secret(Secret, "file:both.pem")

    write(tmp_path / "both.pem", "second-text")
    resolution.secret(Secret, "file:both.pem")

    assert resolution.files == {"file:both.pem": first}
