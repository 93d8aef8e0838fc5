"""JSON Schema of a section's files, by which editors complete and check while somebody types.

Decided here: how the shape of a file (one entry, a list, a table of tables) reads in JSON Schema. Not decided here: the
schema of an entry (``models/json_schema.py``), of daemon.toml (``daemon_schema.py``), and in which process the models
are imported (``describe.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.daemon_schema import daemon_schema
from nexus_supervisor.compiler.describe import DAEMON, SECTION_KEY

if TYPE_CHECKING:
    from nexus_supervisor.core.sections import SectionSpec
    from nexus_supervisor.models.loading import EntryModel

__all__ = ["daemon_document", "section_document"]

_DIALECT = "http://json-schema.org/draft-07/schema#"
_NAME = "^[a-z0-9_-]{1,64}$"
_NAMES_IT = "It names the entry: 1 to 64 of a-z, 0-9, _ and -."
_PLAIN_TEXT = {"additionalProperties", "default", "description", "pattern", "title", "type"}
_CHANGES = {"live": "A change is live.", "restart": "A change needs a restart."}


def daemon_document() -> dict[str, Any]:
    """Return the schema of daemon.toml as a document of its own."""
    about = "The daemon and its supervisor. Every setting has a default."
    return {"$schema": _DIALECT, SECTION_KEY: DAEMON, "title": "daemon.toml", "description": about, **daemon_schema()}


def section_document(spec: SectionSpec, model: EntryModel) -> dict[str, Any]:
    """Return the schema of one file of a section as a document of its own."""
    entry = model.schema()
    definitions = entry.pop("definitions", {})
    shape = _file(spec, _named(entry, spec.name_from))
    about = f"{spec.files}: section {spec.name}. {_CHANGES[spec.apply]}"
    described = " ".join(text for text in (about, shape.get("description", "")) if text)
    head = {"$schema": _DIALECT, SECTION_KEY: spec.name, "title": spec.name, "description": described}
    return {**shape, **head, **({"definitions": definitions} if definitions else {})}


def _file(spec: SectionSpec, entry: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a whole file that holds such entries."""
    match spec.entries:
        case "list":
            held: dict[str, Any] = {"type": "array", "items": entry}
        case "tables":
            held = {"type": "object", "patternProperties": {_NAME: entry}, "additionalProperties": False}
        case _:
            held = entry
    if spec.table is None:
        return held
    file = {"type": "object", "properties": {spec.table: held}, "additionalProperties": False}
    return {**file, "required": [spec.table]} if spec.entries == "one" else file  # a file of many may be empty


def _named(entry: dict[str, Any], field: str | None) -> dict[str, Any]:
    """Return the schema of an entry whose name is in one of its fields: it is required, and a name."""
    if field is None:
        return entry
    known = entry.get("properties", {}).get(field, {})
    named = _name_in(known)
    required = list(dict.fromkeys((*entry.get("required", ()), field)))
    return {**entry, "properties": {**entry.get("properties", {}), field: named}, "required": required}


def _name_in(field: dict[str, Any]) -> dict[str, Any]:
    about = " ".join(text for text in (field.get("description", ""), _NAMES_IT) if text)
    if field.keys() <= _PLAIN_TEXT and field.get("pattern", _NAME) == _NAME:
        return {"type": "string", "pattern": _NAME, "description": about}
    return {"allOf": [field, {"type": "string", "pattern": _NAME}], "description": about}
