"""Building: a version made offline, as the next start would make it.

Decided here: that it is made under the lock, only where it differs from the committed version, and what is refused. Not
decided here: what the directory holds (``compiler/``; whoever calls compiles) and how versions are kept (``store.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_supervisor.core import delta
from nexus_supervisor.core.changes import Impact
from nexus_supervisor.core.content import EMPTY
from nexus_supervisor.core.records import Candidate, Committed, Ended, Unpinned
from nexus_supervisor.errors import RejectedError
from nexus_supervisor.supervisor import clock, keys
from nexus_supervisor.supervisor.contents import settings_of
from nexus_supervisor.supervisor.lock import DirectoryLock
from nexus_supervisor.supervisor.signing import Signer
from nexus_supervisor.supervisor.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from nexus_supervisor.core.content import Content
    from nexus_supervisor.core.settings import Settings
    from nexus_supervisor.supervisor.archive import Stored

__all__ = ["Built", "build"]


@dataclass(frozen=True, slots=True)
class Built:
    """Say which version holds the content, whether it is a new one, and what people have to be told of the store."""

    version: int
    digest: str
    is_new: bool
    alarms: tuple[str, ...]


def build(
    directory: Path, compiled: Callable[[], Content], overrides: Mapping[str, Any], *, reason: str, requester: str
) -> Built:
    """Make what ``compiled`` returns the committed version, unless it is that already.

    Raise ConflictError where a supervisor runs, RejectedError where the content failed before or can't be signed.
    """
    with DirectoryLock(directory):
        content = compiled()
        signer, store = _opened(directory, settings_of(content, overrides))
        try:
            return _built(store, signer, content, reason, requester)
        finally:
            store.close()


def _opened(directory: Path, settings: Settings) -> tuple[Signer, Store]:
    signing, limits = settings.daemon.signing, settings.supervisor.limits
    held = keys.load(directory, signing.key_file) if signing.enabled else None
    signer = Signer(held, settings.supervisor.name)
    store = Store.open(
        directory,
        signer.trust,
        kept_versions=limits.kept_versions,
        kept_days=limits.kept_days,
        kept_history=limits.kept_history,
        journal_limit_bytes=limits.journal_max_bytes,
    )
    if held is None and store.holds_signatures:
        store.close()
        message = f"{directory} holds signed versions and daemon.signing.enabled is false: turn signing on again"
        raise RejectedError(message)
    return signer, store


def _built(store: Store, signer: Signer, content: Content, reason: str, requester: str) -> Built:
    found = store.recovered
    alarms = tuple(alarm.text for alarm in found.alarms)
    if found.pinned == content.digest:
        store.record(Unpinned(), durable=True)
    if found.committed is not None and found.committed.content.digest == content.digest:
        return Built(found.committed.version, content.digest, is_new=False, alarms=alarms)
    if (failed := found.quarantined.get(content.digest)) is not None:
        message = (
            f"this content failed before: {failed}. Change it, or try it once more where a supervisor runs, with "
            "`nexus-supervisor push --force --reason TEXT`"
        )
        raise RejectedError(message)
    stored = _issued(store, signer, content)
    _record(store, stored, reason, requester)
    store.archive(stored)
    return Built(stored.version, content.digest, is_new=True, alarms=alarms)


def _issued(store: Store, signer: Signer, content: Content) -> Stored:
    found = store.recovered
    return signer.issue(content, version=found.highest + 1, parent=found.committed, created_at=clock.stamp())


def _record(store: Store, stored: Stored, reason: str, requester: str) -> None:
    """Make it durable, and only then committed."""
    before = None if store.recovered.committed is None else store.recovered.committed.content
    store.record(
        Candidate(
            stored.version,
            stored.manifest_bytes,
            stored.signature,
            delta.encode(stored.content.delta_from(before)),
            reason,
            origin="directory",
            kind="build",
            requester=requester,
            changes=Impact.of(before or EMPTY, stored.content).summary,
            at=clock.wall(),
        ),
        durable=True,
    )
    store.record(Committed(stored.version), durable=True)
    store.record(Ended(stored.version, "committed", "", requester, clock.wall()), durable=True)
