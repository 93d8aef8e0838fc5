"""The JSON Schema of a model: by it an editor judges a document while it is typed.

Decided here: how pydantic's schema becomes one of draft 7 that is as strict as ``strict.py``, and what it says about
marked fields. Not decided here: how entries lie in files (``compiler/schema.py``). Importing this brings pydantic.

What JSON Schema can't express (a validator in Python, that text is stripped first) is left out, so that no document
is refused that the model takes. Draft 7 is what all editors for TOML read; some take a table that doesn't speak of
other keys for a closed one, so every open one says that it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from nexus_supervisor.models.marks import MARKS, Mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import TypeAdapter
    from pydantic.json_schema import JsonSchemaValue, JsonSchemaWarningKind
    from pydantic_core import core_schema

__all__ = ["DIALECT", "document_schema"]

DIALECT = "http://json-schema.org/draft-07/schema#"

_MAPS = ("definitions", "patternProperties", "properties")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLES = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_NULL = {"type": "null"}
_PREFIX = "references:"
_LOCAL = {"date-time": "date-time-local", "time": "time-local"}
"""Formats by which editors know the dates and times of TOML that have no offset."""

_REFERENCE = 'A secret: "env:NAME", "file:PATH" (a relative path starts at the directory), or the value itself.'
_WORDS = {
    "hashed": f"{_REFERENCE} Workers are given only its hash.",
    "secret": _REFERENCE,
    Mark.RESTART_REQUIRED.value: "A change of it needs a restart.",
    Mark.UNIQUE.value: "No two entries may have the same.",
    "narrows": "Less of it gives more rights.",
    "widens": "More of it gives more rights.",
}


def document_schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the schema of one document as people write it; what it refers to is under ``definitions``."""
    schema = adapter.json_schema(ref_template="#/definitions/{model}", schema_generator=_Generator)
    definitions = schema.pop("$defs", {})
    root: dict[str, Any] = _tidy(schema)
    known = {name: _tidy(one) for name, one in definitions.items()}
    if "$ref" in root:
        root = dict(known[root["$ref"].rpartition("/")[2]])
    return {**root, "definitions": known} if known else root


class _Generator(GenerateJsonSchema):
    """Have pydantic describe what strict validation takes."""

    schema_dialect = DIALECT
    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def handle_invalid_for_json_schema(
        self,
        schema: core_schema.CoreSchema,  # noqa: ARG002 - pydantic's signature
        error_info: str,  # noqa: ARG002
    ) -> JsonSchemaValue:
        """Take anything where JSON Schema has no words."""
        return {}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Leave out titles that only repeat the name of a field."""
        return False

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        """Take a list that names an item twice, as validation does."""
        return _any_number(super().set_schema(schema))

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        """Take a list that names an item twice, as validation does."""
        return _any_number(super().frozenset_schema(schema))

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        """Bound text that is changed before it is judged only from below."""
        described = super().str_schema(schema)
        if any(schema.get(change) for change in ("strip_whitespace", "to_lower", "to_upper")):
            return {key: value for key, value in described.items() if key not in ("maxLength", "pattern")}
        return described


def _any_number(schema: JsonSchemaValue) -> JsonSchemaValue:
    return {key: value for key, value in schema.items() if key not in ("maxItems", "uniqueItems")}


def _tidy(node: Any) -> Any:
    """Return a schema, and all in it, as draft 7 and as editors for TOML want it."""
    if not isinstance(node, dict):
        return node
    tidy = {key: _inside(key, value) for key, value in node.items() if key != "discriminator"}
    for step in (_without_null, _plainly_preset, _with_tuples, _dated, _closed, _worded, _referring):
        tidy = step(tidy)
    return tidy


def _inside(key: str, value: Any) -> Any:
    if key in _MAPS and isinstance(value, dict):
        return {name: _tidy(one) for name, one in value.items()}
    if key in _LISTS and isinstance(value, list):
        return [_tidy(one) for one in value]
    return _tidy(value) if key in _SINGLES else value


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """Leave null out of the choices: TOML has none, a key is left out instead."""
    choices = node.get("anyOf")
    if not isinstance(choices, list) or _NULL not in choices:
        return node
    left = [one for one in choices if one != _NULL]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    if len(left) != 1:
        return {**rest, "anyOf": left}
    only = left[0]
    if MARKS not in only:
        return {**only, **rest}
    unworded = {key: value for key, value in only.items() if key != "description"}
    return {**unworded, **rest, MARKS: [*only[MARKS], *rest.get(MARKS, ())]}


def _plainly_preset(node: dict[str, Any]) -> dict[str, Any]:
    """Keep defaults that a hint can show: no null, no table, and nothing of a secret."""
    if "default" in node and (_tables_in(node["default"]) or node["default"] is None or node.get("writeOnly")):
        return {key: value for key, value in node.items() if key != "default"}
    return node


def _tables_in(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_tables_in, value)))


def _with_tuples(node: dict[str, Any]) -> dict[str, Any]:
    if "prefixItems" not in node:
        return node
    more = node.get("items", "maxItems" not in node)
    rest = {key: value for key, value in node.items() if key not in ("items", "prefixItems")}
    return {**rest, "items": node["prefixItems"], "additionalItems": more}


def _dated(node: dict[str, Any]) -> dict[str, Any]:
    """Take dates and times as TOML has them, and as text."""
    form = node.get("format")
    if form not in ("date", *_LOCAL):
        return node
    forms = [form, _LOCAL[form]] if form in _LOCAL else [form]
    rest = {key: value for key, value in node.items() if key not in ("format", "type")}
    return {**rest, "anyOf": [*({"type": "string", "format": one} for one in forms), {"type": "string"}]}


def _closed(node: dict[str, Any]) -> dict[str, Any]:
    """Say of each table whether it takes other keys; a schema that takes anything says so as well."""
    if "additionalProperties" in node or not ({"type", "properties", "patternProperties"} & node.keys() or _any(node)):
        return node
    if node.get("type", "object") != "object":
        return node
    return {**node, "additionalProperties": not ({"properties", "patternProperties"} & node.keys())}


def _any(node: Mapping[str, Any]) -> bool:
    return not node.keys() - {"default", "deprecated", "description", "examples", "title", MARKS}


def _worded(node: dict[str, Any]) -> dict[str, Any]:
    """Say in the description what the marks mean."""
    said = " ".join(dict.fromkeys((node.get("description", ""), *_words(node.get(MARKS, ()))))).strip()
    return {**node, "description": said} if MARKS in node else node


def _words(marks: list[str]) -> Iterator[str]:
    for mark in marks:
        if mark.startswith(_PREFIX):
            yield f"Names an entry of {mark.removeprefix(_PREFIX)}."
        else:
            yield _WORDS[mark]


def _referring(node: dict[str, Any]) -> dict[str, Any]:
    """Keep what is said beside a reference: draft 7 reads nothing beside one."""
    if "$ref" not in node or len(node) == 1:
        return node
    rest = {key: value for key, value in node.items() if key != "$ref"}
    return {**rest, "allOf": [{"$ref": node["$ref"]}]}
