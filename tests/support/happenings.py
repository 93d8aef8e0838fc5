"""What can happen to a fleet, as strategies: words of workers, and the names that everything has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from nexus_supervisor.core.content import Version
from nexus_supervisor.core.messages import (
    Active,
    Booted,
    Drained,
    FromWorker,
    Probed,
    Ready,
    Rejected,
    Retired,
    Staged,
)
from tests.support.simulated import content
from tests.support.simulated_workers import TRIAL

if TYPE_CHECKING:
    from nexus_supervisor.core.events import Verb

__all__ = [
    "GUARDS",
    "LETTERS",
    "SLOTS",
    "STRATEGIES",
    "VERBS",
    "anybody",
    "digests",
    "push_ids",
    "said",
    "slots",
]

LETTERS = "abcdef"
GUARDS = ("shrink", "emptied", "growth", "widened")
VERBS: list[Verb] = ["promote", "pause", "resume", "abort"]
STRATEGIES = ["", "canary", "rolling", "all_at_once"]
SLOTS = [f"gateway-{number}" for number in range(4)]

names = st.sampled_from([f"{letter}{more}" for letter in LETTERS for more in ("", "+x", "!1", "+x!1")])
digests = names.map(content)
slots = st.sampled_from(SLOTS)
anybody = st.sampled_from([*SLOTS, TRIAL])
push_ids = st.sampled_from(["", "", "p1", "p2"])
moments = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def said(pushes: st.SearchStrategy[int], most: int = 9) -> st.SearchStrategy[FromWorker]:
    """Return anything that a worker could say."""
    who = (anybody, st.integers(0, 4))
    version = st.integers(0, most).map(Version)
    reasons = st.sampled_from(["model", "not_applicable", "signature_mismatch", "rolled_back"])
    return st.one_of(
        st.builds(Booted, *who),
        st.builds(Ready, *who),
        st.builds(Drained, *who),
        st.builds(Retired, *who, version, moments, st.integers(-9, 9), moments),
        st.builds(Staged, *who, pushes, version, digests),
        st.builds(Active, *who, pushes, version, digests),
        st.builds(Rejected, *who, pushes, version, reasons, st.just("it is bad")),
        st.builds(Probed, *who, pushes, version, st.sampled_from(["passed", "failed", "none", "?"]), st.just("bad")),
    )
