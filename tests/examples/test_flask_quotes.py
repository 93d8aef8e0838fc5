"""The quotes on Flask, on a real supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.examples import asking, copied, edit, needs, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nexus import Nexus

needs("Flask")

KEY = "keys/editor.key"


@pytest.fixture
def quotes(tmp_path: Path) -> Iterator[Nexus]:
    with running(copied("flask_quotes", tmp_path), KEY) as nexus:
        yield nexus


def test_a_new_quote_reaches_every_worker_and_no_request_fails(quotes: Nexus) -> None:
    file = quotes.directory / "quotes.toml"
    with asking(quotes, "/search?q=number") as answers:
        for number in range(1, 11):
            quote = f'\n[[quote]]\nid = "new-{number:02}"\nauthor = "marcus"\ntext = "A needle, number {number}."\n'
            edit(file, file.read_text(encoding="utf-8"), file.read_text(encoding="utf-8") + quote)
            assert quotes.push().exit_code == 0
            assert {len(one.json) for one in quotes.everywhere("GET", "/search?q=number").values()} == {number}

    assert {one.status for one in answers} == {200}
    assert all(len(one.json) == one.version - 1 for one in answers)


def test_a_streamed_answer_is_of_one_version(quotes: Nexus) -> None:
    with asking(quotes, "/all") as answers:
        for number in range(10):
            edit(quotes.directory / "quotes.toml", ".", f"{number}.")
            assert quotes.push().exit_code == 0

    assert {one.status for one in answers} == {200}
    texts: dict[int, set[bytes]] = {}
    for one in answers:
        texts.setdefault(one.version, set()).add(one.body)
    assert {len(found) for found in texts.values()} == {1}


def test_a_quote_that_leaves_its_file_is_gone_everywhere(quotes: Nexus) -> None:
    file = quotes.directory / "quotes.toml"
    text = file.read_text(encoding="utf-8")
    edit(file, text, text[: text.rindex("[[quote]]")])
    assert quotes.push().exit_code == 0
    assert {one.status for one in quotes.everywhere("GET", "/quotes/book-4").values()} == {404}
    assert {one.json["author"] for one in quotes.everywhere("GET", "/quotes/letter-1").values()} == {
        "Lucius Annaeus Seneca"
    }


def test_a_mistake_is_refused_with_its_line(quotes: Nexus) -> None:
    edit(quotes.directory / "quotes.toml", 'author = "marcus"', 'author = "markus"')
    edit(quotes.directory / "site" / "main.toml", "most_found = 10", "most_found = 1000")
    ended = quotes.push()

    assert ended.exit_code == 3
    of_quote, of_site = ended.problems
    assert of_quote.startswith("quotes.toml:14: quote[2].author: expected the name of an entry of authors, found ")
    assert of_site.startswith("site/main.toml:")
    assert of_site.endswith("expected most_found from 1 to 100, found 1000")
    assert quotes.version == 1
    assert quotes.request("GET", "/").json == {"title": "Quotes", "quotes": 3, "authors": 2}


def test_the_key_of_the_editor_is_asked_for(quotes: Nexus) -> None:
    key = (quotes.directory / KEY).read_text(encoding="utf-8").strip()
    assert quotes.request("GET", "/version", key=key).json["version"] == 1
    assert quotes.request("GET", "/version", key="another").status == 403


def test_the_kind_of_search_waits_for_a_restart(quotes: Nexus) -> None:
    site = quotes.directory / "site" / "main.toml"
    edit(site, '"words"', '"substring"')
    edit(site, '"Quotes"', '"Sayings"')
    assert quotes.push().exit_code == 8
    assert quotes.status()["pending_restart"]["keys"] == ["site.main.search"]
    assert {one.json["title"] for one in quotes.everywhere("GET", "/").values()} == {"Sayings"}
    assert {tuple(one.json) for one in quotes.everywhere("GET", "/search?q=imagin").values()} == {()}

    assert quotes.restart().exit_code == 0
    assert {tuple(one.json) for one in quotes.everywhere("GET", "/search?q=imagin").values()} == {("letter-13",)}
