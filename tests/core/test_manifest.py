from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from nexus_supervisor.core import canonical, manifest
from nexus_supervisor.core.manifest import Manifest, Parent
from nexus_supervisor.errors import ProtocolError
from tests.support.versions import AT, AUDIENCE, content

CONTENT = content(alpha=1, beta=2)
DIGEST = "a" * 64


def described(**changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "audience": AUDIENCE,
        "version": 12,
        "parent": Parent(11, DIGEST),  # type: ignore[arg-type]
        "created_at": AT,
        "key_id": "SHA256:" + "k" * 43,
    }
    return manifest.describe(CONTENT, **facts | changes)


def document(**changes: Any) -> bytes:
    return canonical.encode({**json.loads(described().encode()), **changes})


def section(**changes: Any) -> bytes:
    sections = json.loads(described().encode())["sections"]
    return document(sections={**sections, "sources": {**sections["sources"], **changes}})


def test_a_manifest_comes_back_from_its_bytes() -> None:
    stated = described(rollback_of=3)
    assert manifest.decode(stated.encode()) == stated


def test_the_bytes_are_canonical_and_say_what_the_contract_names() -> None:
    raw = described().encode()
    value = json.loads(raw)
    assert raw == canonical.encode(value)
    assert sorted(value) == sorted(
        [
            "format",
            "audience",
            "epoch",
            "version",
            "parent",
            "created_at",
            "key_id",
            "rollback_of",
            "digest",
            "sections",
        ]
    )
    assert value["format"] == value["epoch"] == 1
    assert value["parent"] == {"version": 11, "sha256": DIGEST}
    assert sorted(value["sections"]["sources"]) == ["apply", "entries", "file", "root", "sha256", "size"]


def test_a_section_is_described_by_its_very_file() -> None:
    stated = described().sections["sources"]
    raw = CONTENT.sections["sources"].document
    assert (stated.file, stated.size, stated.sha256) == ("sources.json", len(raw), hashlib.sha256(raw).hexdigest())
    assert (stated.apply, stated.entries, stated.root) == ("live", 2, CONTENT.sections["sources"].root)


def test_the_digest_names_the_content_and_follows_from_the_sections() -> None:
    stated = described()
    assert stated.digest == CONTENT.digest == manifest.content_digest(stated.sections)


@pytest.mark.parametrize("key", sorted(json.loads(described().encode())))
def test_a_missing_key_is_refused(key: str) -> None:
    value = json.loads(described().encode())
    del value[key]
    with pytest.raises(ProtocolError, match="exactly the keys"):
        manifest.decode(canonical.encode(value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("format", True),
        ("audience", ""),
        ("audience", "a\nb"),
        ("audience", "a" * 257),
        ("audience", 1),
        ("epoch", 0),
        ("version", 0),
        ("version", -1),
        ("version", 2**63),
        ("version", 12.0),
        ("version", "12"),
        ("version", True),
        ("version", None),
        ("parent", 11),
        ("parent", {"version": 11}),
        ("parent", {"version": 12, "sha256": DIGEST}),
        ("parent", {"version": 11, "sha256": DIGEST.upper()}),
        ("created_at", "2026-11-24"),
        ("created_at", "2026-11-24T08:00:00+01:00"),
        ("key_id", "MD5:00"),
        ("key_id", None),
        ("rollback_of", 12),
        ("rollback_of", 0),
        ("digest", "a" * 63),
        ("digest", "A" * 64),
        ("digest", DIGEST),
        ("sections", []),
        ("sections", {}),
        ("sections", {"sources": None}),
    ],
)
def test_a_value_out_of_type_or_bounds_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ProtocolError):
        manifest.decode(document(**{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("apply", "later"),
        ("entries", -1),
        ("entries", 3),
        ("root", "00"),
        ("file", "../sources.json"),
        ("file", "manifest.json"),
        ("file", "manifest.json.sig"),
        ("file", "destinations.json"),
        ("file", ".json"),
        ("size", 1),
        ("sha256", ""),
        ("more", 1),
    ],
)
def test_a_section_out_of_type_or_bounds_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ProtocolError):
        manifest.decode(section(**{key: value}))


@pytest.mark.parametrize("name", ["", "Sources", "../x", "a" * 65, "a b"])
def test_a_section_of_another_name_is_refused(name: str) -> None:
    sections = json.loads(described().encode())["sections"]
    with pytest.raises(ProtocolError, match="name"):
        manifest.decode(document(sections={name: sections["sources"]}))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: b" " + raw,
        lambda raw: raw + b"\n",
        lambda raw: raw.replace(b":", b": ", 1),
        lambda raw: raw.replace(b'"epoch":1', b'"epoch":1,"epoch":1'),
        lambda raw: json.dumps(dict(reversed(json.loads(raw).items())), separators=(",", ":")).encode(),
        lambda raw: raw.replace(b'"nexus"', b'"\\u006eexus"'),
        lambda raw: raw.replace(b'"version":12', b'"version":12.0'),
        lambda raw: raw.replace(b'"version":12', b'"version":NaN'),
        lambda raw: raw[:-1],
        lambda _: b"[" * 100_000,
        lambda _: b"\xff",
        lambda _: b"1" * 300_000,
    ],
)
def test_every_other_spelling_is_refused(change: Any) -> None:
    with pytest.raises(ProtocolError):
        manifest.decode(change(described().encode()))


def test_a_manifest_out_of_bounds_is_never_made() -> None:
    with pytest.raises(ProtocolError, match="version"):
        described(version=0, parent=None)
    with pytest.raises(ProtocolError, match="created_at"):
        described(created_at="now")


def test_a_section_called_manifest_can_not_be_described() -> None:
    odd = type(CONTENT)({"manifest": CONTENT.sections["sources"]})
    with pytest.raises(ProtocolError, match="file"):
        manifest.describe(odd, audience=AUDIENCE, version=1, parent=None, created_at=AT, key_id="")
