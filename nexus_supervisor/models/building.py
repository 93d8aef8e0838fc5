"""Building: from canonical entries to the models that programs use.

Decided here: what is built anew and what is shared with the content before. Not decided here: whether the content may
be used (``agent/staging.py``, which has verified it) and what a model accepts (``models/``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from nexus_supervisor.core import canonical, settings
from nexus_supervisor.core.content import EMPTY, Content, Section
from nexus_supervisor.core.freezing import frozen
from nexus_supervisor.core.shards import Shards
from nexus_supervisor.core.snapshot import RESERVED
from nexus_supervisor.errors import NexusError, RejectedError
from nexus_supervisor.models.loading import EntryModel, load_model

__all__ = ["NOTHING", "Builder", "Built"]

_DAEMON = "daemon"


@dataclass(frozen=True, slots=True)
class Built:
    """Hold one content as models, with what building the next one from it needs; ``fresh`` counts entries made anew.

    ``max_snapshot_seconds`` is the setting of that name.
    """

    content: Content
    sections: Mapping[str, Shards[Any]]
    models: Mapping[str, EntryModel]
    rows: Mapping[str, Shards[int]]
    daemon: Mapping[str, Any]
    secrets: Mapping[str, str] = field(repr=False)
    fresh: int
    max_snapshot_seconds: float = 0.0


NOTHING = Built(EMPTY, {}, {}, {}, {}, {}, 0)


class Builder:
    """Build content for one program; models are imported once.

    ``limits`` are the settings below ``supervisor.limits`` that the content doesn't decide.
    """

    def __init__(self, program: str, limits: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._overrides = {"supervisor": {"program": program, "limits": dict(limits)}}
        self._models: dict[str, EntryModel] = {}

    def build(
        self, content: Content, base: Built, secrets: Mapping[str, str], given: Mapping[str, Mapping[str, int]]
    ) -> Built:
        """Return the content as models, sharing with ``base`` what did not change; raise RejectedError.

        ``given`` names the rows of entries that are new; the others keep theirs.
        """
        before = base.content.sections
        if content.sections.get(_DAEMON) is before.get(_DAEMON) and base is not NOTHING:
            models, daemon, seconds = base.models, base.daemon, base.max_snapshot_seconds
        else:
            models, daemon, seconds = self._read_settings(content)
        sections: dict[str, Shards[Any]] = {}
        rows: dict[str, Shards[int]] = {}
        fresh = 0
        for name, model in models.items():
            changed, removed, shards = _difference(name, content.sections[name], model, base)
            entries = {entry: _build(model, name, entry, body, secrets) for entry, body in changed.items()}
            fresh += len(entries)
            sections[name] = shards.changed(entries, removed) if entries or removed else shards
            rows[name] = _rows(base.rows.get(name, Shards()), given.get(name, {}), removed)
        return Built(content, sections, models, rows, daemon, secrets, fresh, seconds)

    def _read_settings(self, content: Content) -> tuple[Mapping[str, EntryModel], Mapping[str, Any], float]:
        """Return each section's model, the application's own keys and the limit of a request's age."""
        held = content.sections.get(_DAEMON)
        document = {name: canonical.decode(entry.body) for name, entry in held.entries.items()} if held else {}
        parsed = settings.parse(document, self._overrides, cpu_count=1).settings
        declared = {spec.name: spec.model for spec in parsed.supervisor.sections}
        models = {name: self._model(name, declared) for name in content.sections if name != _DAEMON}
        return models, frozen(parsed.daemon.application), parsed.supervisor.limits.max_snapshot_seconds

    def _model(self, section: str, declared: Mapping[str, str]) -> EntryModel:
        if section not in declared or section in RESERVED:
            message = f"the content has a section {section!r}, which daemon.toml does not declare; restart to apply it"
            raise RejectedError(message)
        path = declared[section]
        if path not in self._models:
            self._models[path] = load_model(path)
        return self._models[path]


def _difference(
    name: str, section: Section, model: EntryModel, base: Built
) -> tuple[dict[str, bytes], list[str], Shards[Any]]:
    """Return what is new and what is gone against the base, and the models that stay."""
    before = base.content.sections.get(name)
    if before is None or base.models.get(name) is not model:
        return {entry: section.entries[entry].body for entry in section.entries}, [], Shards()
    changed: dict[str, bytes] = {}
    removed: list[str] = []
    for entry, _, there in before.entries.differing(section.entries):
        if there is None:
            removed.append(entry)
        else:
            changed[entry] = there.body
    return changed, removed, base.sections[name]


def _build(model: EntryModel, section: str, name: str, body: bytes, secrets: Mapping[str, str]) -> Any:
    """Build one entry; whatever a model raises becomes a sentence that holds nothing of the entry."""
    try:
        return model.build(body, secrets)
    except NexusError:
        raise
    except BaseException as error:
        message = f"{section}.{name} can't be built: its model raised {type(error).__name__}"
        raise RejectedError(message) from error


def _rows(before: Shards[int], given: Mapping[str, int], removed: list[str]) -> Shards[int]:
    """Return the rows of the entries of a section: those of before, less the gone, plus the new."""
    gone = [entry for entry in removed if entry in before]
    return before.changed(given, gone) if gone or given else before
