"""Which user the directory asks for, found before anything else of it is looked at.

``python -m nexus_supervisor.compiler.isolating`` reads ``{directory, overrides}`` from stdin and writes what
``[supervisor.isolation]`` says to stdout, or null where daemon.toml doesn't say it for certain.

Decided here: that the file is read as root and parsed as nobody. Not decided here: what a user is
(``supervisor/isolation.py``). No model is imported.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.daemonfile import DAEMON_FILE, cpu_count
from nexus_supervisor.compiler.limits import gain_nothing, set_limits
from nexus_supervisor.compiler.parsing import parse
from nexus_supervisor.compiler.reading import TroubleError, VanishedError
from nexus_supervisor.compiler.tree import Tree
from nexus_supervisor.core import canonical, settings
from nexus_supervisor.core.options import LimitSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["asked_of", "main"]

_NOBODY = 65_534
_LIMITS = LimitSettings()


def main() -> int:
    """Answer one question."""
    request = canonical.decode(sys.stdin.buffer.read())
    raw = _read(Path(request["directory"]))
    _become_nobody()
    set_limits(_LIMITS)
    answer = None if raw is None else asked_of(raw, request["overrides"])
    sys.stdout.buffer.write(canonical.encode(answer))
    return 0


def asked_of(raw: bytes, overrides: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the isolation settings of a daemon.toml; None where it is broken there, or as a whole."""
    try:
        document = parse(raw, _LIMITS).document
    except TroubleError:
        return None
    read = settings.parse(document, overrides, cpu_count=cpu_count())
    doubtful = any(one.key in ("", "supervisor") or "isolation" in one.key for one in read.errors)
    return None if doubtful else asdict(read.settings.supervisor.isolation)


def _read(directory: Path) -> bytes | None:
    try:
        with Tree(directory) as tree:
            return tree.folder("").read(DAEMON_FILE, _LIMITS.max_file_bytes).raw
    except (TroubleError, VanishedError):
        return None


def _become_nobody() -> None:
    """Give up every right of root; a user who has none to give up stays."""
    gain_nothing()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


if __name__ == "__main__":
    sys.exit(main())
