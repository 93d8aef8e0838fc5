"""What a real worker holds after a thousand versions, with a model, the hook prepare and requests in between."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import Discard, Rejected, Retired, Staged
from tests.support.workers import Worker, a_content

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.workers import Site

ENTRIES = 200
WARM, PUSHES = 200, 1_000
GROWTH_BYTES = 8 << 20
"""Far less than one content and what is derived from it for each version: those would be some 200 MB."""

PROGRAM = """
import gc
import json
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

from nexus_supervisor import current, pinned, refresh
from nexus_supervisor.agent.holder import Generation
from nexus_supervisor.agent.staging import Offer
from nexus_supervisor.core.content import Content
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.models.building import Built


class Derived:
    def __init__(self, snapshot):
        self.prices = {name: (item.price, bytes(1_000)) for name, item in snapshot.items.items()}


def prepare(snapshot, before):
    if "poison" in snapshot.items:
        raise ValueError("poison")
    return Derived(snapshot)


def activated(old, new):
    assert old is None or old.derived is not new.derived


def retired(old):
    old.derived.prices.clear()


def count():
    held = gc.get_objects()
    kinds = Snapshot, Content, Built, Offer, Generation, Derived
    return {kind.__name__: sum(1 for one in held if type(one) is kind) for kind in kinds}


def run(agent):
    pool = ThreadPoolExecutor(1)
    agent.ready()
    orders = (agent.directory / "orders").open()
    answers = (agent.directory / "answers").open("w", buffering=1)
    for order in orders:
        with agent.request() as snapshot:
            assert current() is snapshot
            thread = Thread(target=lambda: current().items["nut-0"].price)
            thread.start()
            thread.join()
            pool.submit(lambda: current().derived.prices).result()
            with pinned():
                refresh()
        del snapshot
        found = {"pages": int(open("/proc/self/statm").read().split()[1]), "page": os.sysconf("SC_PAGESIZE")}
        print(json.dumps(found | (count() if order == "count\\n" else {})), file=answers)
    agent.drain.wait()
"""


class Asked:
    """A worker that serves one request at an order, and answers with what it holds."""

    def __init__(self, directory: Path) -> None:
        self.orders, self.answers = (directory / "orders").open("w"), (directory / "answers").open()

    def __call__(self, order: str) -> dict[str, Any]:
        print(order, file=self.orders, flush=True)
        found: dict[str, Any] = json.loads(self.answers.readline())
        return found | {"rss": found["pages"] * found["page"]}


def at(price: int, **more: Any) -> Any:
    return a_content({**{f"nut-{one}": {"price": price + one} for one in range(ENTRIES)}, **more})


def count_when_retired(ask: Asked) -> dict[str, Any]:
    """What the worker holds once the hooks have had their turn, which no message tells of."""
    found = ask("count")
    for _ in range(1_000):
        if found["Snapshot"] == 1:
            break
        found = ask("count")
    return found


@pytest.fixture
def directory(site: Site) -> Path:
    (site.directory / "held.py").write_text(PROGRAM)
    for name in ("orders", "answers"):
        os.mkfifo(site.directory / name)
    return site.directory


def test_after_a_thousand_versions_a_worker_holds_two_contents_and_has_not_grown(site: Site, directory: Path) -> None:
    with Worker(site, program="held:run", hooks="held") as worker:
        content = at(0)
        worker.serve(content)
        ask = Asked(directory)
        sizes = []
        for number in range(1, PUSHES + 1):
            after = at(number)
            worker.go(after, number + 1, content)
            content = after
            sizes.append(ask("serve")["rss"])
        version = PUSHES + 1
        while worker.messages[-1] != Retired("shop-0", 1, Version(version)):
            worker.receive(Retired)

        held = count_when_retired(ask)
        refused = worker.stage(at(0, poison={"price": 1}), version + 1, content)
        unwanted = worker.stage(at(1), version + 2, content)
        worker.wire.send(Discard(worker.push, Version(version + 2)))
        still = worker.stage(content, version, content, payload=None)

        assert isinstance(refused, Rejected)
        assert isinstance(unwanted, Staged)
        assert isinstance(still, Staged)
        for found in (held, count_when_retired(ask)):
            kinds = {kind: found[kind] for kind in ("Snapshot", "Offer", "Generation", "Derived")}
            assert kinds == dict.fromkeys(kinds, 1), "of one that was replaced, nothing is left but its content"
            assert (found["Built"], found["Content"]) == (2, 2), "the current one and the one before"
        assert sizes[-1] - sizes[WARM] < GROWTH_BYTES
        ask.orders.close()
        ask.answers.close()
        worker.drain()
        assert worker.ended() == 0
