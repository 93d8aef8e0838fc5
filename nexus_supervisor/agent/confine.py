"""What a process of workers may use: bounds that it sets itself, before any code of the application is imported.

Decided here: which limits of the kernel these are, and that they hold for good. Not decided here: how large they are
(``core/options.py``), and as which user the process runs: that is so before its first instruction
(``supervisor/isolation.py``).
"""

from __future__ import annotations

import resource

__all__ = ["NO_LIMITS", "confine"]

NO_LIMITS = (0, 0, 0)

_KINDS = (resource.RLIMIT_NOFILE, resource.RLIMIT_DATA, resource.RLIMIT_NPROC)


def confine(limits: tuple[int, ...]) -> None:
    """Bound open files, bytes of data, and processes of the user, in this order; 0 leaves a bound as it was inherited.

    Both the soft and the hard limit, so that nothing in the process can raise them again; what is forked inherits them.
    Core files are never written: one would hold the secrets of every version.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, wanted in zip(_KINDS, limits, strict=True):
        _, most = resource.getrlimit(kind)
        if wanted:
            bound = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
            resource.setrlimit(kind, (bound, bound))
