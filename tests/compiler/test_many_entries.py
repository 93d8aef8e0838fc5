"""Files of many entries: what they hold, what leaves them, and what a mistake in one of them costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.compiler.sheets import Item, Sheet
from nexus_supervisor.compiler.shelf import Shelf
from nexus_supervisor.core import delta
from nexus_supervisor.core.codec import unpack
from nexus_supervisor.core.content import Entry
from nexus_supervisor.core.sections import SectionSpec
from nexus_supervisor.models.loading import ClassModel
from tests.support.compiling import Desk, assert_problem, entry, lines, names
from tests.support.tuned import DAEMON, clients, make_desk, models

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_supervisor.models.loading import Compiled


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = make_desk(tmp_path / "tuner")
    desk.go_live(whole=True)
    return desk


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names, or the tables, that models judge from here on."""
    judged: list[str] = []
    compile_one = ClassModel.compile

    def noting(self: ClassModel, document: dict[str, object], origins: object) -> Compiled:
        judged.append(str(document.get("name", document)))
        return compile_one(self, document, origins)  # type: ignore[arg-type]

    monkeypatch.setattr(ClassModel, "compile", noting)
    return judged


def test_a_list_of_tables_and_a_table_of_tables_hold_one_entry_each(desk: Desk) -> None:
    assert names(desk.content, "clients") == ["a", "b", "c"]
    assert names(desk.content, "models") == ["fast", "slow"]
    assert entry(desk.content, "clients", "b")["name"] == "b"
    assert entry(desk.content, "models", "slow")["timeout"] == 9.0


def test_without_a_table_every_table_of_the_file_is_an_entry(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "tuner", daemon=DAEMON.replace('table = "models"\n', ""))
    desk.write("models.toml", "[fast]\ntimeout = 2.0\n\n[slow]\n")

    desk.go_live(whole=True)

    assert names(desk.content, "models") == ["fast", "slow"]
    assert entry(desk.content, "models", "fast")["timeout"] == 2.0


def test_a_change_of_one_entry_travels_and_is_judged_alone(desk: Desk, compiled: list[str]) -> None:
    desk.write("clients/first.toml", "# moved down\n" + clients("new", "a", "b", b="tier = 0"))

    seen = desk.seen(hints=("clients/first.toml",))

    assert sorted(compiled) == ["b", "new"]
    assert sorted(delta.decode(seen.payload or b"").sections["clients"].changed) == ["b", "new"]
    assert seen.gone == ()


def test_mending_one_entry_of_a_broken_file_judges_it_alone(desk: Desk, compiled: list[str]) -> None:
    desk.write("clients/first.toml", clients("a", "b", b="tier = 9"))
    desk.refused()
    compiled.clear()

    desk.write("clients/first.toml", clients("a", "b", b="tier = 1"))

    assert entry(desk.applied(desk.seen()), "clients", "b")["tier"] == 1
    assert compiled == ["b"]


def test_two_tables_of_other_names_that_say_the_same_are_two_entries(desk: Desk) -> None:
    desk.write("models.toml", models(fast="", slow="", third=""))
    desk.go_live()
    desk.write("models.toml", models(fast="", third="", fourth=""))

    assert names(desk.applied(desk.seen()), "models") == ["fast", "fourth", "third"]


def test_a_secret_file_with_another_value_is_noticed_in_the_entry_that_names_it(
    desk: Desk, compiled: list[str]
) -> None:
    key = desk.directory / "token"
    key.write_text("first-token")
    desk.write("clients/first.toml", clients("a", "b", b='token = "file:token"'))
    desk.go_live()
    compiled.clear()

    key.write_text("second-token")
    desk.go_live()

    assert compiled == ["b"]
    assert list(desk.secrets.values()) == ["second-token"]


def test_a_secret_file_that_changed_is_read_again_with_the_file_that_names_it(desk: Desk) -> None:
    key = desk.directory / "token"
    key.write_text("first-token")
    desk.write("clients/first.toml", clients("a", "b", b='token = "file:token"'))
    desk.go_live()

    key.write_text("second-token")
    desk.write("clients/first.toml", clients("a", "b", a="tier = 1", b='token = "file:token"'))
    answer = desk.answer(hints=("clients/first.toml",))

    assert list(unpack(answer.secrets or b"").values()) == ["second-token"]


# mistakes


@pytest.mark.parametrize(
    ("path", "text", "pattern", "code"),
    [
        ("clients/first.toml", clients("a", "b", b="tier = 9"), r"{f}:9: client\[1\]\.tier: .* at most 3", "range"),
        ("clients/first.toml", clients("a", "b", b="teir = 9"), r"{f}:9: client\[1\]\.teir: .* tier\?", "unknown_key"),
        ("clients/first.toml", clients("a", "b b"), r"{f}:7: client\[1\]\.name: .* found 'b b'", "value"),
        (
            "clients/first.toml",
            "[[client]]\n[[client]]\nname = 1",
            r"{f}:1: client\[0\]\.name: .* found none",
            "missing",
        ),
        (
            "clients/first.toml",
            "[client]\nname = 'a'",
            r"{f}:1: client: expected a list of tables, \[\[client\]\]",
            "type",
        ),
        ("clients/first.toml", "client = [1]", r"{f}:1: client\[0\]: expected a table, found 1", "type"),
        (
            "clients/first.toml",
            "[[clients]]\nname = 'a'",
            r"{f}:1: clients: .* \[\[client\]\], .* mean client\?",
            "missing",
        ),
        (
            "clients/first.toml",
            "x = 1\n" + clients("a"),
            r"{f}:1: x: expected nothing beside the table \[\[client\]\]",
            "unknown_key",
        ),
        ("clients/first.toml", "[[client]\n", r"{f}:1: this is not valid TOML", "syntax"),
        (
            "clients/first.toml",
            clients("a", b="") + "tier = inf",
            r"{f}:5: client\[0\]\.tier: expected a finite",
            "range",
        ),
        (
            "clients/first.toml",
            clients("a", "b", a='model = "slo"'),
            r"{f}:4: client\[0\]\.model: .* mean slow\?",
            "reference",
        ),
        (
            "clients/first.toml",
            clients("b", "b"),
            r"{f}:7: client\[1\]\.name: expected the name 'b' .* {f}:2",
            "duplicate",
        ),
        (
            "clients/first.toml",
            clients("a", "b", "c"),
            r"clients/second\.toml:2: client\[0\]\.name: .* {f}:12",
            "duplicate",
        ),
        ("models.toml", models(fast="timeout = 'x'"), r"{f}:2: models\.fast\.timeout: expected a number", "type"),
        ("models.toml", models(fast="[models.fast.limits]\nlow = 'x'"), r"{f}:3: models\.fast\.limits\.low", "type"),
        (
            "models.toml",
            "[models]\nfast = 3",
            r"{f}:2: models\.fast: expected a table, the entry fast, found 3",
            "type",
        ),
        ("models.toml", models(Fast=""), r"{f}:1: models\.Fast: expected a name .* found 'Fast'", "value"),
        ("models.toml", "[[models]]\n", r"{f}:1: models: expected tables, \[models\.NAME\], found an array", "type"),
        (
            "models.toml",
            "[modles.fast]\n",
            r"{f}:1: modles: expected the table \[models\], .* mean models\?",
            "missing",
        ),
    ],
)
def test_a_mistake_is_told_with_the_whole_key_and_its_line_and_costs_nothing_else(
    desk: Desk, path: str, text: str, pattern: str, code: str
) -> None:
    before = (desk.directory / path).read_text()
    desk.write("clients/third.toml", clients("d"))
    desk.go_live()
    desk.write(path, text)

    refused = desk.refused(hints=(path,))

    assert_problem(refused, pattern.replace("{f}", path.replace(".", r"\.")))
    assert code in {problem.code for problem in refused.problems}
    assert "clients.b" not in refused.gone

    # a revocation in another file is not blocked
    desk.write("clients/third.toml", "")
    refused = desk.refused(hints=("clients/third.toml",))
    assert "clients.d" in refused.gone
    assert "d" not in names(desk.applied(refused), "clients")

    # and the next good edit goes live
    desk.write(path, before)
    assert names(desk.applied(desk.seen(hints=(path,))), "clients") == ["a", "b", "c"]


def test_every_mistake_of_every_entry_is_told_at_once(desk: Desk) -> None:
    desk.write("clients/first.toml", clients("a", "b", a="tier = 7", b="tier = 8"))
    desk.write("models.toml", models(fast="timeout = 'x'", slow="devise = 'gpu'"))

    assert [problem.key for problem in desk.refused().problems] == [
        "client[0].tier",
        "client[1].tier",
        "models.fast.timeout",
        "models.slow.devise",
    ]


def test_one_key_of_two_clients_is_refused_also_inside_one_file(desk: Desk) -> None:
    desk.write("clients/first.toml", clients("a", "b").replace("key-of-b", "key-of-a"))

    refused = desk.refused()

    assert_problem(refused, r"clients/first\.toml:8: client\[1\]\.key: .* found that of clients/first\.toml:3")
    assert "key-of-a" not in repr(refused)


def test_many_mistakes_of_many_entries_are_counted(desk: Desk) -> None:
    desk.write("clients/first.toml", clients(*(f"c{number}" for number in range(3_000))).replace("key =", "kye ="))

    refused = desk.refused()

    assert_problem(refused, r"clients/first\.toml:1: 2000 more mistakes of this file are not shown")
    assert len(refused.problems) == 101


def test_entries_are_counted_and_not_files(desk: Desk) -> None:
    desk.write("daemon.toml", DAEMON + "\n[supervisor.limits]\nmax_entries = 3\n")
    desk.write("clients/second.toml", clients("c", "d"))

    refused = desk.refused(hints=("clients/second.toml", "daemon.toml"))

    assert_problem(refused, r"clients: expected at most 3 entries here \(supervisor\.limits\.max_entries\), found 4")
    assert refused.gone == ()

    desk.write("clients/second.toml", clients("c"))
    assert desk.seen(hints=("clients/second.toml",)).payload is not None


# what is gone


def test_an_entry_that_leaves_its_file_is_gone_like_a_deleted_file(desk: Desk) -> None:
    desk.write("clients/first.toml", clients("a"))
    desk.write("models.toml", models(fast=""))

    seen = desk.go_live()

    assert seen.gone == ("clients.b", "models.slow")
    assert (names(desk.content, "clients"), names(desk.content, "models")) == (["a", "c"], ["fast"])


def test_the_last_entry_leaves_an_empty_file(desk: Desk) -> None:
    desk.write("clients/first.toml", "# nobody any more\n")
    desk.write("models.toml", "[models]\n")

    assert desk.seen().gone == ("clients.a", "clients.b", "models.fast", "models.slow")


def test_an_entry_that_leaves_its_file_is_revoked_while_another_file_is_broken(desk: Desk) -> None:
    desk.write("clients/second.toml", "[[client")
    desk.write("clients/first.toml", clients("a"))

    refused = desk.refused()

    assert (refused.gone, refused.doubtful) == (("clients.b",), ())
    assert names(desk.applied(refused), "clients") == ["a", "c"]
    assert refused.revoked == desk.applied(refused).digest


@pytest.mark.parametrize("text", ["[[client", clients("a", a="tier = 9"), "x = 1\n" + clients("a"), "clients = 1"])
def test_a_broken_file_keeps_every_entry_that_it_held(desk: Desk, text: str) -> None:
    desk.write("clients/first.toml", text)
    desk.write("clients/second.toml", "")

    refused = desk.refused()

    assert refused.gone == ("clients.c",)
    assert names(desk.applied(refused), "clients") == ["a", "b"]


def test_a_file_that_is_being_written_keeps_every_entry_that_it_held(desk: Desk) -> None:
    with (desk.directory / "clients/first.toml").open("w") as opened:
        opened.write(clients("a"))
        opened.flush()

        refused = desk.refused()

        assert (refused.unstable, refused.gone) == (True, ())

    assert desk.seen().gone == ("clients.b",)


def test_a_file_that_is_back_but_not_whole_holds_what_it_held(desk: Desk) -> None:
    (desk.directory / "clients/first.toml").unlink()
    assert desk.seen().gone == ("clients.a", "clients.b")

    (desk.directory / "clients/first.toml").write_text("[[client")

    assert desk.refused().gone == ()


def test_an_entry_that_moves_to_another_file_is_not_gone(desk: Desk) -> None:
    desk.write("clients/first.toml", clients("a"))
    desk.write("clients/second.toml", clients("c", "b"))

    seen = desk.seen()

    assert (seen.gone, seen.payload) == ((), None)


def test_an_entry_that_moved_into_a_file_with_a_mistake_is_not_gone(desk: Desk) -> None:
    desk.write("clients/first.toml", clients("a"))
    desk.write("clients/second.toml", clients("c", "b", c="tier = 9"))

    assert desk.refused().gone == ()


def test_a_new_compiler_can_not_tell_what_a_broken_file_held(desk: Desk) -> None:
    desk.write("clients/first.toml", clients("a", a="tier = 9"))
    desk.write("clients/second.toml", "")
    desk.restart()

    refused = desk.refused()

    assert (refused.gone, refused.doubtful) == ((), ("clients.b", "clients.c"))


def test_a_reference_to_an_entry_that_a_broken_file_may_hold_is_no_second_mistake(desk: Desk) -> None:
    desk.write("clients/first.toml", clients("a", a='model = "slow"'))
    desk.write("models.toml", "[models")

    assert [problem.file for problem in desk.refused().problems] == ["models.toml"]

    desk.write("models.toml", models(fast="timeout = 'x'"))
    assert [problem.code for problem in desk.refused().problems] == ["reference", "type"]


def test_an_entry_that_others_need_is_not_taken_out_of_its_file(desk: Desk) -> None:
    desk.write("clients/first.toml", clients("a", "b", b='model = "slow"'))
    desk.go_live()
    desk.write("models.toml", models(fast=""))

    refused = desk.refused()

    assert refused.gone == ("models.slow",)
    assert refused.revoked is None
    assert str(refused.remains[0]).startswith("clients.b.model: expected the name of an entry of models, found 'slow'")


def test_names_of_files_that_are_gone_are_not_remembered_for_ever() -> None:
    shelf = Shelf(SectionSpec("clients", "clients/*.toml", "live", entries="tables"))
    shelf.put(Sheet("clients/kept.toml", b"", (Item(("kept",), "kept", Entry.of("kept", b"{}")),)))
    for number in range(20):
        items = tuple(Item((name,), name, Entry.of(name, b"{}")) for name in (f"n{number}-{i}" for i in range(1_000)))
        shelf.put(Sheet(f"clients/{number}.toml", b"", items))
        shelf.drop(f"clients/{number}.toml")
    shelf.settle()

    remembered = sum(map(len, shelf._held.values()))
    assert remembered <= 10_000 + 2 * shelf.count
    assert shelf.path_of("kept") == "clients/kept.toml"
    assert list(shelf.entries) == ["kept"]


def test_what_is_wrong_is_shown_in_order_of_lines(desk: Desk) -> None:
    desk.write("clients/first.toml", clients("a", "b", a="tier = 9", b="tier = 9"))

    assert [line.split(": ")[0] for line in lines(desk.refused())] == ["clients/first.toml:4", "clients/first.toml:9"]


@given(st.lists(st.tuples(st.sampled_from("xy"), st.lists(st.sampled_from("abcd"), max_size=4)), max_size=8))
def test_a_shelf_that_was_changed_is_like_one_that_was_filled_at_once(puts: list[tuple[str, list[str]]]) -> None:
    spec = SectionSpec("clients", "clients/*.toml", "live", entries="list", table="client", name_from="name")
    known = {name: Item((name,), name, Entry.of(name, b"{}"), environment=frozenset({name})) for name in "abcd"}
    changed, fresh = Shelf(spec), Shelf(spec)
    for path, held in puts:
        changed.put(Sheet(path, b"", tuple(known[name] for name in held)))
        changed.settle()
    for path, held in dict(puts).items():
        fresh.put(Sheet(path, b"", tuple(known[name] for name in held)))
    fresh.settle()

    assert (changed.count, changed.environment) == (fresh.count, fresh.environment)
    assert {name: changed.names.places(name) for name in "abcd"} == {name: fresh.names.places(name) for name in "abcd"}
    assert changed.names.shared == fresh.names.shared
    assert dict(changed.entries) == dict(fresh.entries)
