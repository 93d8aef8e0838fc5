"""The rehearsal: newer code says whether it could go on with a hand-over, and touches nothing.

Decided here: what is tried. Not decided here: what follows (``core/upgrading.py``). It is started just as it would be
to take over, so whatever keeps this code from starting keeps it from here, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nexus_supervisor.errors import RejectedError
from nexus_supervisor.supervisor import keys
from nexus_supervisor.supervisor.contents import settings_of
from nexus_supervisor.supervisor.isolation import Isolation
from nexus_supervisor.supervisor.past import read_past
from nexus_supervisor.supervisor.versions import content_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nexus_supervisor.core.handover import Handover

__all__ = ["rehearse"]


def rehearse(directory: Path, overrides: Mapping[str, Any], handover: Handover) -> None:
    """Read keys, journal, content and settings as a supervisor that goes on does; raise NexusError where it can't."""
    fleet = handover.fleet
    keys.load_pepper(directory)
    past = read_past(directory)
    if past.damage or past.committed != fleet.version:
        message = f"the journal says that version {past.committed} is committed, and version {fleet.version} runs"
        raise RejectedError(message)
    content = content_of(directory, fleet.version)
    if content.digest != fleet.digest:
        message = f"version {fleet.version} in compiled/ holds other content than runs"
        raise RejectedError(message)
    settings = settings_of(content, overrides)
    Isolation.of(settings)
    if handover.public_key is not None:
        key = keys.load(directory, settings.daemon.signing.key_file)
        if not settings.daemon.signing.enabled or key.public_key != handover.public_key:
            message = "the signing key is another one than workers verify by: restart the daemon to use it"
            raise RejectedError(message)
    if settings.supervisor.name != handover.audience or settings.daemon.signing.enabled is (
        handover.public_key is None
    ):
        message = "supervisor.name or daemon.signing changed: restart the daemon to use them"
        raise RejectedError(message)
