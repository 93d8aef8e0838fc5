"""The shop on FastAPI, on a real supervisor."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import asking, copied, edit, needs, running
from tests.support.http import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nexus import Nexus

needs("FastAPI")

KEY = "keys/payment.key"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Nexus]:
    with running(copied("fastapi_shop", tmp_path), KEY) as nexus:
        yield nexus


def test_a_new_price_reaches_every_worker_and_no_request_fails(shop: Nexus) -> None:
    tea = shop.directory / "items" / "tea.toml"
    with asking(shop, "/items") as answers:
        for cents in range(301, 311):
            edit(tea, f"cents = {cents - 1}", f"cents = {cents}")
            assert shop.push().exit_code == 0
            assert {one.json["tea"] for one in shop.everywhere("GET", "/items").values()} == {cents}

    assert {one.status for one in answers} == {200}
    assert all(one.json["tea"] == 299 + one.version for one in answers)


def test_the_index_of_words_follows_what_changes(shop: Nexus) -> None:
    items = shop.directory / "items"
    edit(items / "tea.toml", '"hot"', '"iced"')
    (items / "cocoa.toml").write_text('title = "Cocoa"\ncents = 500\nwords = ["hot"]\n', encoding="utf-8")
    assert shop.push().exit_code == 0

    for word, names in {"hot": {"coffee", "cocoa"}, "iced": {"tea"}, "green": {"tea"}, "COCOA": {"cocoa"}}.items():
        found = shop.everywhere("GET", f"/items?word={word}")
        assert {frozenset(one.json) for one in found.values()} == {frozenset(names)}


def test_a_stream_tells_each_new_price_and_ends_when_the_item_is_gone(shop: Nexus) -> None:
    stream = http.client.HTTPConnection(shop.address, timeout=PATIENCE_SECONDS)
    stream.request("GET", "/items/coffee/prices")
    with stream.getresponse() as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.readline() == b"data: 450\n"
        assert answer.readline() == b"\n"

        edit(shop.directory / "items" / "coffee.toml", "450", "475")
        assert shop.push().exit_code == 0
        assert answer.readline() == b"data: 475\n"
        assert answer.readline() == b"\n"

        edit(shop.directory / "discounts.toml", '"coffee"', '"tea"')
        (shop.directory / "items" / "coffee.toml").unlink()
        assert shop.push().exit_code == 0
        assert answer.read() == b"event: gone\ndata:\n\n"
    stream.close()


def test_a_stream_that_goes_on_keeps_no_old_version(shop: Nexus) -> None:
    stream = http.client.HTTPConnection(shop.address, timeout=PATIENCE_SECONDS)
    stream.request("GET", "/items/tea/prices")
    with stream.getresponse() as answer:
        assert answer.readline() == b"data: 300\n"
        edit(shop.directory / "items" / "tea.toml", "300", "310")
        assert shop.push(wait="retired").exit_code == 0
    stream.close()


def test_an_order_is_priced_and_signed_by_what_is_live(shop: Nexus) -> None:
    wanted = {"item": "tea", "amount": 2, "code": "monday"}
    before = shop.request("POST", "/orders", body=wanted)
    (shop.directory / KEY).write_text("another key\n", encoding="utf-8")
    assert shop.push().exit_code == 0
    after = shop.request("POST", "/orders", body=wanted)

    assert (before.status, after.status) == (201, 201)
    assert before.json["total"] == after.json["total"] == "5.00 EUR"
    assert before.json["receipt"] != after.json["receipt"]


def test_a_discount_that_gives_an_item_away_is_refused_with_its_line(shop: Nexus) -> None:
    edit(shop.directory / "discounts.toml", "cents = 100", "cents = 450")
    ended = shop.push()

    assert ended.exit_code == 3
    (problem,) = ended.problems
    assert problem.startswith("discounts.toml:9: ")
    assert "expected less than the price of coffee, which is 450, found 450" in problem
    assert shop.version == 1


def test_another_provider_is_held_while_the_rest_of_the_file_is_live(shop: Nexus) -> None:
    payment = shop.directory / "payment" / "main.toml"
    edit(payment, "example-pay", "other-pay")
    edit(payment, "EUR", "USD")
    assert shop.push().exit_code == 8
    assert shop.status()["pending_restart"]["keys"] == ["payment.main.provider"]
    wanted = {"item": "coffee", "amount": 1}
    sold = shop.request("POST", "/orders", body=wanted).json
    assert (sold["total"], sold["provider"]) == ("4.50 USD", "example-pay")

    assert shop.restart().exit_code == 0
    assert shop.request("POST", "/orders", body=wanted).json["provider"] == "other-pay"
