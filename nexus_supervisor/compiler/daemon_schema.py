"""The JSON Schema of daemon.toml, made from the tables that read the file.

Decided here: how a rule of a setting reads in JSON Schema. Not decided here: which settings there are and what they may
be (``core/options.py``), and the schemas of sections (``schema.py``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core.options import DaemonSettings
from nexus_supervisor.core.programs import MAX_PROGRAMS, ProgramSpec
from nexus_supervisor.core.rules import (
    ADDRESS,
    MAX_ADDRESSES,
    Addresses,
    Flag,
    Number,
    Share,
    ShareOf,
    Text,
    Whole,
    Word,
)
from nexus_supervisor.core.sections import MAX_SECTIONS, RESERVED_NAMES, SectionSpec
from nexus_supervisor.core.settings import UNREAD, Settings, needs
from nexus_supervisor.core.tables import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.rules import Rule
    from nexus_supervisor.core.tables import Option

__all__ = ["daemon_schema", "slip_of"]

_CHANGES = {
    "live": "A change is live.",
    "restart": "A change needs a restart.",
    "start": "A change needs a stop and a new run.",
}
_UNREAD = "Checked, and not used yet."
_APPLICATION = "Other keys are the application's own."
_PERCENT = "^(0{0,2}[1-9]|0?[1-9][0-9]|100)%$"
_CLASSES = {r"\d": "0-9", r"\w": "0-9A-Za-z_"}
_ANY = "[!-~]"  # what is typed by mistake; any character at all would make the pattern ten times as costly
_LIST_NEEDS = {
    "if": {"properties": {"entries": {"const": "list"}}, "required": ["entries"], "additionalProperties": True},
    "then": {"required": ["name_from", "table"], "additionalProperties": True},
}
_TABLES_NEED = {
    "if": {"properties": {"entries": {"const": "tables"}}, "required": ["entries"], "additionalProperties": True},
    "then": {"not": {"required": ["name_from"], "additionalProperties": True}, "additionalProperties": True},
}
_EACH_ITS_OWN = {
    "if": {"properties": {"program": {"type": "array"}}, "required": ["program"], "additionalProperties": True},
    "then": {
        "properties": {key: {"not": {}} for key in ("app", "threads", "workers")},
        "additionalProperties": True,
    },
}


def daemon_schema() -> dict[str, Any]:
    """Return the schema of daemon.toml; other keys of ``[daemon]`` are the application's, near misses are not."""
    tables = {name: _table(option, name) for name, option in options(Settings).items()}
    tables["daemon"]["description"] += f" {_APPLICATION}"
    tables["daemon"] |= {"additionalProperties": True, "patternProperties": _slips()}
    supervisor = tables["supervisor"]
    supervisor["properties"]["section"] = _sections()
    supervisor["properties"]["program"] = _programs(supervisor["properties"]["program"])
    supervisor["allOf"] = [_EACH_ITS_OWN]
    return {"type": "object", "properties": tables, "additionalProperties": False}


def _table(option: Option, where: str) -> dict[str, Any]:
    assert option.table is not None  # noqa: S101 - whoever calls has looked
    inner = options(option.table).items()
    properties = {name: _either(one, f"{where}.{name}") for name, one in inner}
    about = option.about.splitlines()[0].replace("``", "`")
    return {"type": "object", "description": about, "properties": properties, "additionalProperties": False}


def _either(option: Option, key: str) -> dict[str, Any]:
    if option.rule is None:
        return _table(option, key)
    unread = any(key == prefix or key.startswith(f"{prefix}.") for prefix in UNREAD)
    return _setting(option, _CHANGES[needs(key)], *([_UNREAD] if unread else []))


def _setting(option: Option, *more: str) -> dict[str, Any]:
    """Return the schema of one setting; the number of workers has a default of each machine."""
    rule = option.rule
    assert rule is not None  # noqa: S101 - whoever calls has looked
    described = {**_value(rule), "description": " ".join((f"{option.about[:1].upper()}{option.about[1:]}.", *more))}
    if option.default is None or option.required or option.name == "workers":
        return described
    return {**described, "default": _plain(option.default)}


def _plain(default: Any) -> Any:
    if isinstance(default, Share):
        return str(default) if default.percent else default.amount
    if isinstance(default, tuple):
        return default[0] if len(default) == 1 else list(default)
    return default


def _value(rule: Rule) -> dict[str, Any]:  # noqa: PLR0911 - one line for each kind
    """Return what JSON Schema says for a rule."""
    match rule:
        case Flag():
            return {"type": "boolean"}
        case Whole(low, high):
            return {"type": "integer", "minimum": low, "maximum": high}
        case Number(low, high):
            return {"type": "number", "minimum": low, "maximum": high}
        case Word(words):
            return {"type": "string", "enum": list(words)}
        case ShareOf(high):
            whole = {"type": "integer", "minimum": 1, "maximum": high}
            return {"anyOf": [whole, {"type": "string", "pattern": _PERCENT}]}
        case Text():
            return {"type": "string", "pattern": f"^(?:{_in_ascii(rule.pattern)})$"}
        case Addresses():
            return _addresses()
    message = f"a rule of the kind {type(rule).__name__} has no JSON Schema yet"
    raise TypeError(message)


def _addresses() -> dict[str, Any]:
    """Return the schema of one address or a list of them; whether a name is known is found out by binding it."""
    one = {"type": "string", "pattern": f"^(?:{_in_ascii(ADDRESS)})?$"}
    many = {"type": "array", "items": one, "maxItems": MAX_ADDRESSES, "uniqueItems": True}
    return {"anyOf": [one, many]}


def _programs(one: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of ``program``: the name of one, or a table for each of several."""
    declared = options(ProgramSpec)
    table = {
        "type": "object",
        "properties": {name: _setting(option) for name, option in declared.items()},
        "required": [name for name, option in declared.items() if option.required],
        "additionalProperties": False,
    }
    tables = {"type": "array", "minItems": 1, "maxItems": MAX_PROGRAMS, "items": table}
    rest = {key: value for key, value in one.items() if key in ("description", "default")}
    return {"anyOf": [{key: value for key, value in one.items() if key not in rest}, tables], **rest}


def _in_ascii(pattern: str) -> str:
    """Spell out the classes of a pattern, which mean ASCII to us and more to others."""
    spelled, in_set = "", False
    for part in re.findall(r"\\.|.", pattern):
        in_set = part == "[" or (in_set and part != "]")
        letters = _CLASSES.get(part)
        spelled += part if letters is None else letters if in_set else f"[{letters}]"
    return spelled


def _sections() -> dict[str, Any]:
    declared = options(SectionSpec)
    properties = {name: _setting(option) for name, option in declared.items()}
    properties["name"] = {**properties["name"], "not": {"enum": sorted(RESERVED_NAMES)}}
    section = {
        "type": "object",
        "properties": properties,
        "required": [name for name, option in declared.items() if option.required],
        "additionalProperties": False,
        "allOf": [_LIST_NEEDS, _TABLES_NEED],
    }
    about = f"Declare a section of the configuration. {_CHANGES['restart']}"
    return {"type": "array", "description": about, "maxItems": MAX_SECTIONS, "items": section}


def _slips() -> dict[str, Any]:
    """Refuse keys that are one edit away from one of ours, as ``core/settings.py`` does."""
    known = list(options(DaemonSettings))
    return {slip_of(name, known): {"not": {}, "description": f'Did you mean "{name}"?'} for name in known}


def slip_of(word: str, known: list[str]) -> str:
    """Return the pattern of words that are one edit away from a word, and none of the known ones."""
    return f"^(?!(?:{'|'.join(known)})$)(?:{'|'.join(dict.fromkeys(_edits(word)))})$"


def _edits(word: str) -> Iterator[str]:
    """Yield patterns for one letter more, less, or another, and for two neighbors swapped."""
    for at in range(len(word) + 1):
        yield f"{word[:at]}{_ANY}{word[at:]}"
    for at in range(len(word)):
        yield f"{word[:at]}{_ANY}?{word[at + 1 :]}"
    for at in range(len(word) - 1):
        yield f"{word[:at]}{word[at + 1]}{word[at]}{word[at + 2 :]}"
