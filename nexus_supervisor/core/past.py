"""The past of one version: where it came from, why, who asked for it, what became of it, and with which numbers.

Decided here: these facts, and the line of JSON that carries them into a shorter journal. Not decided here: which record
says what (``ledger.py``) and how they are shown (``cli/``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from nexus_supervisor.core import canonical
from nexus_supervisor.core.notices import Facts
from nexus_supervisor.errors import ProtocolError

__all__ = ["MAX_CHARACTERS", "Past", "facts_of", "moment"]

MAX_CHARACTERS: Final = 2_000
"""How much of a text is carried into a shorter journal."""


@dataclass(frozen=True, slots=True)
class Past:
    """Say what became of one version: ``outcome`` is ``offered``, ``committed``, ``burnt`` or the word of its Ended.

    ``kind`` is why it was on its way, ``changes`` what was different in it, in one line. ``at`` and ``ended_at`` are
    unix seconds, 0 where nobody knows. ``digest`` and ``rollback_of`` are its manifest's. ``pushes`` are the ids of the
    newest requests that were answered with it.
    """

    version: int
    origin: str = ""
    reason: str = ""
    outcome: str = "offered"
    detail: str = ""
    requester: str = ""
    kind: str = ""
    changes: str = ""
    at: float = 0.0
    ended_at: float = 0.0
    numbers: Facts = field(default_factory=dict)
    digest: str = ""
    rollback_of: int | None = None
    pushes: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """Return what is known of these facts as canonical JSON; long texts are cut."""
        nothing = asdict(Past(self.version))
        known = {name: value for name, value in asdict(self).items() if value != nothing[name]}
        return canonical.encode(
            {name: _cut(value) if isinstance(value, str) else value for name, value in known.items()}
        )

    @classmethod
    def decode(cls, version: int, line: bytes) -> Past:
        """Return the facts of a line, whatever format wrote it: what is missing, unknown or of another type is left."""
        try:
            document = canonical.decode(line)
        except ProtocolError:
            document = None
        known = document if isinstance(document, dict) else {}
        kinds = {name: type(value) for name, value in asdict(cls(version)).items()}
        kinds |= {"rollback_of": int, "numbers": dict, "pushes": list}
        facts = {one.name: known[one.name] for one in fields(cls) if type(known.get(one.name)) is kinds[one.name]}
        facts |= {"version": version, "pushes": tuple(filter(_is_text, facts.get("pushes", ())))}
        return cls(**facts | {"numbers": _facts(facts.get("numbers", {}))})


def facts_of(raw: bytes) -> Facts:
    """Return the facts of a JSON object; none where the bytes are no such thing."""
    try:
        document = canonical.decode(raw)
    except ProtocolError:
        return {}
    return _facts(document) if isinstance(document, dict) else {}


def moment(stated: str) -> float:
    """Return a time of RFC 3339 as unix seconds, 0 where it is none."""
    try:
        return datetime.fromisoformat(stated).timestamp()
    except ValueError:
        return 0.0


def _facts(document: dict[str, Any]) -> Facts:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def _is_text(value: object) -> bool:
    return isinstance(value, str)
