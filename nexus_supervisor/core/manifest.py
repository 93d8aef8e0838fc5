"""The manifest: the signed statement about one version.

Decided here: its fields, its one encoding, and which bytes are refused as a manifest. Not decided here: who signs it
(``supervisor/signing.py``) and whether it may replace another (``trust.py``).

``digest`` names content: it covers what the sections hold. Version, epoch, parent and the files' hashes are this
supervisor's statement about it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nexus_supervisor.core import canonical
from nexus_supervisor.core.content import Apply, Content, Digest, Section, Version
from nexus_supervisor.errors import ProtocolError

__all__ = [
    "EPOCH",
    "FORMAT",
    "MAX_MANIFEST_BYTES",
    "Manifest",
    "Parent",
    "SectionStatement",
    "content_digest",
    "decode",
    "describe",
]

FORMAT: Final = 1
EPOCH: Final = 1
MAX_MANIFEST_BYTES: Final = 256 * 1024
_MAX_NUMBER: Final = 2**63 - 1
_MAX_SECTIONS: Final = 256

_HEX = re.compile(r"[0-9a-f]{64}")
_SECTION_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_FILE_NAME = re.compile(r"(?!manifest\.)[a-z0-9_-]{1,64}\.json")
_AUDIENCE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,256}")
_KEY_ID = re.compile(r"(SHA256:[A-Za-z0-9+/]{43})?")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


@dataclass(frozen=True, slots=True)
class Parent:
    """Name the version that ran before: its number and the SHA-256 of its manifest."""

    version: Version
    sha256: str


@dataclass(frozen=True, slots=True)
class SectionStatement:
    """State one section: what a change needs, how many entries, their root, and the file that holds them."""

    apply: Apply
    entries: int
    root: str
    file: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """State one version of one supervisor's content.

    ``created_at`` is RFC 3339 in UTC. ``key_id`` is the OpenSSH fingerprint of the signing key, a hint only, or empty
    where signing is off. ``rollback_of`` is the version whose content this one repeats, or None.
    """

    audience: str
    version: Version
    parent: Parent | None
    created_at: str
    key_id: str
    rollback_of: int | None
    digest: Digest
    sections: Mapping[str, SectionStatement]
    epoch: int = EPOCH

    def encode(self) -> bytes:
        """Return the canonical bytes: what is signed, stored and sent."""
        return canonical.encode(_plain(self))


def describe(
    content: Content,
    *,
    audience: str,
    version: int,
    parent: Parent | None,
    created_at: str,
    key_id: str,
    rollback_of: int | None = None,
) -> Manifest:
    """Return the manifest of a content; raise ProtocolError where a value is out of bounds."""
    manifest = Manifest(
        audience=audience,
        version=Version(version),
        parent=parent,
        created_at=created_at,
        key_id=key_id,
        rollback_of=rollback_of,
        digest=content.digest,
        sections={name: _state(name, section) for name, section in sorted(content.sections.items())},
    )
    _manifest(_plain(manifest))
    return manifest


def decode(raw: bytes) -> Manifest:
    """Return the manifest that the bytes are; raise ProtocolError for anything else.

    Refused are unknown and missing keys, other types, values out of bounds, a digest that doesn't follow from the
    sections, and every spelling but the canonical one.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        message = f"a manifest has at most {MAX_MANIFEST_BYTES} bytes, found {len(raw)}"
        raise ProtocolError(message)
    manifest = _manifest(canonical.decode(raw))
    if manifest.encode() != raw:
        message = "the manifest is not written in canonical form"
        raise ProtocolError(message)
    return manifest


def content_digest(sections: Mapping[str, SectionStatement]) -> Digest:
    """Return the digest of the content that these sections state."""
    statement = {
        name: {"apply": section.apply, "entries": section.entries, "root": section.root}
        for name, section in sections.items()
    }
    return Digest(hashlib.sha256(canonical.encode(statement)).hexdigest())


def _plain(manifest: Manifest) -> dict[str, Any]:
    parent = manifest.parent
    return {
        "format": FORMAT,
        "audience": manifest.audience,
        "epoch": manifest.epoch,
        "version": manifest.version,
        "parent": None if parent is None else {"version": parent.version, "sha256": parent.sha256},
        "created_at": manifest.created_at,
        "key_id": manifest.key_id,
        "rollback_of": manifest.rollback_of,
        "digest": manifest.digest,
        "sections": {name: _plain_section(section) for name, section in manifest.sections.items()},
    }


def _plain_section(section: SectionStatement) -> dict[str, Any]:
    return {name: getattr(section, name) for name in SectionStatement.__slots__}


def _state(name: str, section: Section) -> SectionStatement:
    document = section.entries.document
    return SectionStatement(
        apply=section.apply,
        entries=len(section.entries),
        root=section.root,
        file=f"{name}.json",
        size=document.size,
        sha256=document.sha256,
    )


def _manifest(value: Any) -> Manifest:
    fields = _object(value, (*Manifest.__slots__, "format"), "manifest")
    _number(fields["format"], "format", FORMAT, FORMAT)
    version = _number(fields["version"], "version", 1)
    manifest = Manifest(
        audience=_text(fields["audience"], "audience", _AUDIENCE),
        epoch=_number(fields["epoch"], "epoch", 1),
        version=Version(version),
        parent=_parent(fields["parent"], version),
        created_at=_text(fields["created_at"], "created_at", _INSTANT),
        key_id=_text(fields["key_id"], "key_id", _KEY_ID),
        rollback_of=_earlier(fields["rollback_of"], version),
        digest=Digest(_text(fields["digest"], "digest", _HEX)),
        sections=_sections(fields["sections"]),
    )
    if manifest.digest != content_digest(manifest.sections):
        message = "manifest: digest does not follow from the sections"
        raise ProtocolError(message)
    return manifest


def _parent(value: Any, version: int) -> Parent | None:
    if value is None:
        return None
    fields = _object(value, Parent.__slots__, "parent")
    number = _number(fields["version"], "parent.version", 1, version - 1)
    return Parent(Version(number), _text(fields["sha256"], "parent.sha256", _HEX))


def _earlier(value: Any, version: int) -> int | None:
    return None if value is None else _number(value, "rollback_of", 1, version - 1)


def _sections(value: Any) -> dict[str, SectionStatement]:
    if not isinstance(value, dict) or len(value) > _MAX_SECTIONS:
        message = f"manifest: sections must be an object of at most {_MAX_SECTIONS} sections"
        raise ProtocolError(message)
    sections = {_text(name, "a section's name", _SECTION_NAME): _section(name, one) for name, one in value.items()}
    if len({section.file for section in sections.values()}) != len(sections):
        message = "manifest: two sections name one file"
        raise ProtocolError(message)
    return sections


def _section(name: str, value: Any) -> SectionStatement:
    where = f"sections.{name[:64]}"
    fields = _object(value, SectionStatement.__slots__, where)
    if fields["apply"] not in ("live", "restart"):
        message = f"manifest: {where}.apply: expected live or restart"
        raise ProtocolError(message)
    return SectionStatement(
        apply=fields["apply"],
        entries=_number(fields["entries"], f"{where}.entries", 0),
        root=_text(fields["root"], f"{where}.root", _HEX),
        file=_text(fields["file"], f"{where}.file", _FILE_NAME),
        size=_number(fields["size"], f"{where}.size", 2),
        sha256=_text(fields["sha256"], f"{where}.sha256", _HEX),
    )


def _object(value: Any, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(keys):
        message = f"{where} must be an object with exactly the keys {', '.join(sorted(keys))}"
        raise ProtocolError(message)
    return value


def _number(value: Any, where: str, low: int, high: int = _MAX_NUMBER) -> int:
    if type(value) is int and low <= value <= high:
        return value
    message = f"manifest: {where}: expected a whole number from {low} to {high}"
    raise ProtocolError(message)


def _text(value: Any, where: str, pattern: re.Pattern[str]) -> str:
    if isinstance(value, str) and pattern.fullmatch(value):
        return value
    message = f"manifest: {where}: expected text of the form {pattern.pattern}"
    raise ProtocolError(message)
