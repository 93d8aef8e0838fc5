"""Rollouts of real processes that go on only when a test says so: nothing is served, so nothing is ever proved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.chaos import add_item, make_stall

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
    from pathlib import Path

    from nexus_supervisor.core.control import Ended
    from tests.support.nexus import Nexus

__all__ = ["AT_ONCE", "LONG", "a_bake", "make", "versions"]

AT_ONCE = "rollout.bake_seconds = 0\n"
LONG = "rollout.bake_seconds = 3600\nrollout.quiet_bake_seconds = 3600\n"


def make(parent: Path, settings: str = LONG, *, workers: int = 3, code: str = "") -> Path:
    """Make a directory with five items, whose settings the tests choose."""
    directory = make_stall(parent, code, workers=workers)
    daemon = directory / "daemon.toml"
    daemon.write_text(daemon.read_text().replace("rollout.bake_seconds = 0\n", settings))
    for number in range(4):
        add_item(directory, f"item-{number}")
    return directory


def a_bake(nexus: Nexus, pool: ThreadPoolExecutor, price: int = 2, **options: Any) -> Future[Ended]:
    """Push a change of one item; return when its canary bakes."""
    add_item(nexus.directory, "nut", price)
    pushed = pool.submit(nexus.push, **options)
    nexus.until("rollout_phase", phase="bake")
    return pushed


def versions(nexus: Nexus) -> list[int]:
    """Return the versions of the workers, from the lowest to the highest."""
    return sorted(worker["version"] for worker in nexus.workers().values())
