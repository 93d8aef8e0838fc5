"""The pytest plugin: the fixture ``nexus_snapshot``, in every test where nexus-supervisor is installed.

Decided here: the fixture's name and when it ends. Not decided here: what it does (``serving.py``). Nothing else is
imported before a test asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.testing.serving import Served

__all__ = ["nexus_snapshot"]


@pytest.fixture
def nexus_snapshot() -> Iterator[Served]:
    """Call this with a directory or a Snapshot: ``current()`` answers it, in every thread, until the test ends.

    It returns the snapshot. Of a directory it is what a worker would get, with every check and the hook ``prepare``;
    RejectedError names every problem. Another call replaces it. The hook ``retired`` is called when the test ends.
    """
    from nexus_supervisor.testing.serving import serving  # only tests that ask pay for it

    with serving() as served:
        yield served
