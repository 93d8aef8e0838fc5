"""What the shop does with a new version before and after it is used."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nexus_supervisor import Objection, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models import Item

logger = logging.getLogger("shop")


def validate(snapshot: Snapshot) -> Iterator[Objection]:
    """Refuse a discount that gives an item away: no single file can know that."""
    for name, discount in snapshot.discounts.items():
        item = snapshot.items[discount.item]
        if discount.cents >= item.cents:
            message = f"expected less than the price of {discount.item}, which is {item.cents}, found {discount.cents}"
            yield Objection(message, section="discounts", entry=name, key="cents")


def prepare(snapshot: Snapshot, before: Snapshot | None) -> dict[str, frozenset[str]]:
    """Make the index of search words, ``snapshot.derived``, from the one before and what has changed since."""
    index: dict[str, frozenset[str]] = {} if before is None else dict(before.derived)
    if before is None:
        changes = [(name, None, item) for name, item in snapshot.items.items()]
    else:
        changes = list(before.items.differing(snapshot.items))
    for name, old, new in changes:
        for word in words(old):
            index[word] -= {name}
        for word in words(new):
            index[word] = index.get(word, frozenset()) | {name}
    return index


def activated(old: Snapshot | None, new: Snapshot) -> None:
    """Say in the log of each worker what it sells now."""
    logger.info("version %d sells %d items, before: %d", new.version, len(new.items), len(old.items) if old else 0)


def words(item: Item | None) -> set[str]:
    """Return the words that lead to an item."""
    return set() if item is None else {word.lower() for word in [*item.title.split(), *item.words]}
