"""The snapshot: what one request sees of the configuration, from its start to its end.

Decided here: how content looks to a program. Not decided here: which snapshot is current (``agent/holder.py``) and how
entries became models (``models/building.py``).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from nexus_supervisor.core.content import Digest, Version
from nexus_supervisor.core.freezing import frozen
from nexus_supervisor.core.shards import Shards

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RESERVED", "Snapshot"]

RESERVED = frozenset({"daemon", "derived", "digest", "of", "program", "row_of", "version"})
"""Attributes that every snapshot has; no section may have such a name, except the built-in ``daemon``."""

_NO_ROWS: Mapping[str, Shards[int]] = MappingProxyType({})


class Snapshot:
    """Hold one version, read-only: each section is an attribute, a mapping from entry name to its model.

    ``version`` and ``digest`` name it, ``daemon`` holds the application's own keys of ``[daemon]``. ``derived`` is what
    the application's hook ``prepare`` made of it, ``program`` what the worker program did (``Agent.derive``); or None.
    """

    version: Version
    digest: Digest
    daemon: Mapping[str, Any]
    derived: Any
    program: Any

    def __init__(
        self,
        version: Version,
        digest: Digest,
        sections: Mapping[str, Shards[Any]],
        daemon: Mapping[str, Any],
        rows: Mapping[str, Shards[int]] = _NO_ROWS,
    ) -> None:
        own = {"version": version, "digest": digest, "daemon": daemon, "derived": None, "program": None}
        self.__dict__.update(sections, **own, _sections=tuple(sections), _rows=rows)

    @classmethod
    def of(
        cls,
        version: int,
        daemon: Mapping[str, Any] | None = None,
        derived: Any = None,
        **sections: Mapping[str, Any],
    ) -> Snapshot:
        """Make a snapshot by hand, for unit tests: ``Snapshot.of(1, sources={"a": Source(…)})``.

        ``derived`` is what the application's hook ``prepare`` would make of it.
        """
        sharded = {name: Shards(entries) for name, entries in sections.items()}
        rows = {name: Shards({entry: row for row, entry in enumerate(entries)}) for name, entries in sections.items()}
        made = cls(Version(version), Digest("0" * 64), sharded, frozen(daemon or {}), rows)
        made.__dict__["derived"] = derived
        return made

    def row_of(self, section: str, name: str) -> int | None:
        """Return the row of an entry in the shared counters, or None where it has none."""
        rows = self._rows.get(section)
        return None if rows is None else rows.get(name)

    def __getattr__(self, name: str) -> Any:
        """Say which sections there are; only called for an attribute that doesn't exist."""
        sections = ", ".join(self.__dict__.get("_sections", ())) or "none"
        message = f"the snapshot has no section {name!r}; its sections are: {sections}"
        raise AttributeError(message)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: what a request sees never changes."""
        message = f"a snapshot is read-only; {name!r} can't be set"
        raise AttributeError(message)

    def __delattr__(self, name: str) -> NoReturn:
        """Refuse: what a request sees never changes."""
        message = f"a snapshot is read-only; {name!r} can't be deleted"
        raise AttributeError(message)

    def __repr__(self) -> str:
        """Name the snapshot without showing what it holds."""
        return f"<Snapshot {self.version} {self.digest[:12]}>"
