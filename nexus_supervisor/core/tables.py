"""Tables: how a settings table declares its keys, and how one is read with every mistake noted.

Decided here: that a frozen dataclass declares a key beside its field, as
``debounce_ms: Annotated[float, Number(0, 10_000), "what it is for"] = 1.0``, and what unknown, missing and bad keys
lead to. Not decided here: what one value may be (``rules.py``) and which keys exist (``options.py``).
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from nexus_supervisor.core.rules import Rule, Unfit, did_you_mean, found
from nexus_supervisor.core.spelling import suggestion

__all__ = ["Mistake", "Option", "options", "read_list", "read_table", "unknown_key", "unknown_keys"]

MOST_WORDED = 1_000
"""So many unknown keys of one table get a word of advice each; finding it costs."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mistake:
    """Name one mistake in settings: a dotted key as in daemon.toml, a code as ``Problem`` has, and a sentence."""

    key: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Option:
    """Describe one key of a table: a value with its rule, or a table of its own (then ``table`` is its class)."""

    name: str
    rule: Rule | None
    table: type | None
    about: str
    default: Any
    required: bool


@cache
def options(table: type) -> Mapping[str, Option]:
    """Return the keys that a table declares, by name; fields without a rule are none."""
    hints = typing.get_type_hints(table, include_extras=True)
    return {option.name: option for option in _options(table, hints)}


def _options(table: type, hints: Mapping[str, Any]) -> Iterator[Option]:
    for item in dataclasses.fields(table):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            yield Option(item.name, None, typing.cast(type, hint), hint.__doc__ or "", None, required=False)
        elif typing.get_origin(hint) is typing.Annotated:
            rule, about = hint.__metadata__
            required = item.default is dataclasses.MISSING
            yield Option(item.name, rule, None, about, None if required else item.default, required)


def read_table(cls: type[T], table: Any, where: str, mistakes: list[Mistake], also: frozenset[str] = frozenset()) -> T:
    """Read a plain table as ``cls``; note every mistake, and keep the default where there is one.

    ``also`` names keys that are read elsewhere. A required key that is missing or bad is noted and becomes empty text.
    """
    known = options(typing.cast(Hashable, cls))
    if not isinstance(table, Mapping):
        mistakes.append(Mistake(where, "type", f"expected a table, found {found(table)}"))
        table, mistakes = {}, []
    foreign = [key for key in table if key not in known and key not in also]
    mistakes += unknown_keys(where, foreign, known.keys() | also)
    values = {name: _read_option(option, table, f"{where}.{name}", mistakes) for name, option in known.items()}
    return cls(**values)


def read_list(
    cls: type[T],
    tables: Any,
    where: str,
    count: tuple[int, int, str],
    mistakes: list[Mistake],
    conflicts: Callable[[T, Sequence[T], str], list[Mistake]],
) -> tuple[T, ...]:
    """Read a list of plain tables as ``cls``, noting every mistake; a bad one is left out of the result.

    ``count`` is how many there may be, from and to, and what they are called. ``conflicts`` returns what keeps one,
    good by itself, from standing beside those before it; its last argument is the dotted key.
    """
    if not isinstance(tables, Sequence) or isinstance(tables, str | bytes):
        mistakes.append(Mistake(where, "type", f"expected a list of tables, [[{where}]], found {found(tables)}"))
        return ()
    least, most, name = count
    if not least <= len(tables) <= most:
        fits = f"{least} to {most}" if least else f"at most {most}"
        mistakes.append(Mistake(where, "limit", f"expected {fits} {name}, found {len(tables)}"))
        return ()
    read: list[T] = []
    for index, table in enumerate(tables):
        key = f"{where}[{index}]"
        before = len(mistakes)
        one = read_table(cls, table, key, mistakes)
        if len(mistakes) == before:
            mistakes += conflicts(one, read, key)
        if len(mistakes) == before:
            read.append(one)
    return tuple(read)


def _read_option(option: Option, table: Mapping[str, Any], key: str, mistakes: list[Mistake]) -> Any:
    if option.table is not None:
        return read_table(option.table, table.get(option.name, {}), key, mistakes)
    assert option.rule is not None  # noqa: S101 - an option is one or the other
    if option.name in table:
        try:
            return option.rule.take(table[option.name])
        except Unfit as unfit:
            mistakes.append(Mistake(key, unfit.code, str(unfit)))
    elif option.required:
        mistakes.append(Mistake(key, "missing", f"this key is missing: expected {option.rule.expected}"))
    return "" if option.required else option.default


def unknown_keys(where: str, keys: Sequence[str], known: Collection[str]) -> list[Mistake]:
    """Return a mistake for each of the unknown keys; where they are very many, the rest is counted."""
    mistakes = [unknown_key(where, key, known) for key in keys[:MOST_WORDED]]
    if (more := len(keys) - MOST_WORDED) > 0:
        mistakes.append(Mistake(where, "unknown_key", f"there are {more} more such keys"))
    return mistakes


def unknown_key(where: str, key: str, known: Iterable[str]) -> Mistake:
    """Return the mistake that a key is none of the known ones, with the word that may be meant."""
    words = sorted(known)
    meant = suggestion(key, words)
    advice = did_you_mean(meant) if meant else f"; known here: {', '.join(words)}"
    path = f"{where}.{key}" if where else key
    return Mistake(path, "unknown_key", f"there is no such key{advice}")
