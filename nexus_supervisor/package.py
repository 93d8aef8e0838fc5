"""The version of this package, as it is installed now.

Decided here: where the number is read. Not decided here: what it is (``setup.cfg``).
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

__all__ = ["package_version"]


@cache
def package_version() -> str:
    """Return the version of the package that this process began with; "unknown" where it is not installed."""
    try:
        return version("nexus-supervisor")
    except PackageNotFoundError:
        return "unknown"
