"""A version on its way to one worker: what is sent of it, and what travels beside the message.

Decided here: that a worker gets no more than it lacks, and its secrets in memory of their own. Not decided here: what a
worker holds (``core/``), how contents are kept and compared (``contents.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core.codec import pack
from nexus_supervisor.core.messages import Stage
from nexus_supervisor.wire import close_all, inline_or_beside

if TYPE_CHECKING:
    from contextlib import ExitStack

    from nexus_supervisor.core.effects import SendStage
    from nexus_supervisor.supervisor.archive import Stored
    from nexus_supervisor.supervisor.contents import Contents, Parcel
    from nexus_supervisor.supervisor.rows import Rows

__all__ = ["offer"]


def offer(
    effect: SendStage, stored: Stored, contents: Contents, rows: Rows, sent: ExitStack
) -> tuple[Stage, list[int]]:
    """Return the message and its descriptors; ``sent`` closes those that were made for it."""
    digest = stored.content.digest
    parcel = contents.parcel(effect.holds, digest)
    payload, beside = _part(parcel.payload, "nexus-content", sent)
    secrets = contents.get(digest).secrets
    named = _named_rows(parcel, rows)
    named_rows, rows_beside = _part(pack(named) if named else None, "nexus-rows", sent)
    message = Stage(
        push=effect.push,
        version=stored.manifest.version,
        manifest=stored.manifest_bytes,
        signature=stored.signature,
        base=parcel.base,
        payload=payload,
        payload_beside=bool(beside),
        secrets_beside=secrets is not None,
        rows=named_rows,
        rows_beside=bool(rows_beside),
    )
    return message, [*beside, *([] if secrets is None else [secrets]), *rows_beside]


def _named_rows(parcel: Parcel, rows: Rows) -> dict[str, dict[str, int]]:
    """Return the rows of the entries that a parcel brings, section by section."""
    named: dict[str, dict[str, int]] = {}
    for section, names in parcel.names.items():
        found = {name: rows.row(section, name) for name in names}
        named[section] = {name: row for name, row in found.items() if row is not None}
    return named


def _part(raw: bytes | None, name: str, sent: ExitStack) -> tuple[bytes | None, list[int]]:
    """Return how a part of a message travels; ``sent`` closes its memory."""
    if raw is None:
        return None, []
    inline, beside = inline_or_beside(raw, name)
    sent.callback(close_all, beside)
    return inline, beside
