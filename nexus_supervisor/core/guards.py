"""Guards: changes whose shape looks like an accident, whatever they contain.

Decided here: which shapes are suspicious, compared with the largest sizes of late, what an operator's ``--allow``
excuses, and what is told only once. Not decided here: how shapes are counted (``shape.py`` and who fills it), which
entries may do more (the compiler), and what a refusal leads to (``directory.py``).

A section is compared with the most entries that it had within a window, or ``rm *``, seen step by step, would pass:
each step is small. What was allowed once is the new measure from its commit on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nexus_supervisor.core.content import EMPTY
from nexus_supervisor.core.phrases import counted, listed
from nexus_supervisor.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from nexus_supervisor.core.content import Digest
    from nexus_supervisor.core.settings import GuardSettings
    from nexus_supervisor.core.shape import SectionShape, Shape

__all__ = ["NAMES", "Breach", "Guards", "Peaks", "breaches"]

NAMES = ("shrink", "emptied", "growth", "widened")
"""What ``push --allow`` may name."""

Mark = tuple[str, str, bool, tuple[str, ...]]

REFUSE, OFF = "refuse", "off"
_MAX_EXCUSED = 64


@dataclass(frozen=True, slots=True)
class Breach:
    """Hold one suspicion: the guard, the section ("" for all of it), a clause for people, and whether it refuses.

    ``keys`` are those that may do more.
    """

    guard: str
    section: str
    text: str
    refuses: bool
    keys: tuple[str, ...] = ()

    @property
    def mark(self) -> Mark:
        """Return what makes it the same suspicion at the next look, though numbers may differ."""
        return self.guard, self.section, self.refuses, self.keys

    @property
    def problem(self) -> Problem:
        """Return it as a problem that names the guard, and how to have the change applied all the same."""
        meant = f"if that is meant: 'nexus-supervisor push --allow {self.guard} --reason TEXT'"
        return Problem(".", 0, self.section, "guard", f"guard {self.guard}: {self.text}; {meant}")


class Peaks:
    """Hold, for each section, the most entries that it had within a window of time."""

    def __init__(self) -> None:
        self._falling: dict[str, deque[tuple[float, int]]] = {}

    def note(self, shape: Shape, now: float, window: float) -> None:
        """Learn what runs now; a count that is followed by a larger one says nothing any more."""
        for section, counts in shape.sections.items():
            falling = self._falling.setdefault(section, deque())
            while falling and falling[-1][1] <= counts.before:
                falling.pop()
            falling.append((now, counts.before))
        for section, falling in list(self._falling.items()):
            while falling and falling[0][0] < now - window:
                falling.popleft()
            if not falling:
                del self._falling[section]

    def of(self, section: str) -> int:
        """Return the most entries that a section had; 0 where nothing is known."""
        falling = self._falling.get(section)
        return falling[0][1] if falling else 0

    def forget(self) -> None:
        """Forget everything: what runs next is the measure."""
        self._falling.clear()


def breaches(
    shape: Shape, widened: Sequence[str], peak: Callable[[str], int], settings: GuardSettings
) -> tuple[Breach, ...]:
    """Return every suspicion that the settings ask for, in a fixed order."""
    found = [
        breach
        for section, counts in sorted(shape.sections.items())
        if counts.removed
        for breach in _lost(section, counts, max(peak(section), counts.before), settings)
    ]
    grown = shape.bytes_before and shape.bytes_after > settings.growth_ratio * shape.bytes_before
    if settings.growth != OFF and grown and shape.bytes_after > settings.growth_min_bytes:
        text = (
            f"the content grows from {counted(shape.bytes_before, 'byte', 'bytes')} to {shape.bytes_after}, more than "
            f"growth_ratio {settings.growth_ratio:g} allows"
        )
        found.append(Breach("growth", "", text, settings.growth == REFUSE))
    if settings.widened != OFF and widened:
        text = f"entries may do more than before: {listed(widened)}"
        found.append(Breach("widened", "", text, settings.widened == REFUSE, tuple(widened)))
    return tuple(found)


def _lost(section: str, counts: SectionShape, peak: int, settings: GuardSettings) -> Iterable[Breach]:
    """Judge a section of which something is gone now, together with what is gone from it since its peak."""
    lost = max(counts.removed, peak - counts.after)
    if settings.shrink != OFF and lost >= settings.shrink_min_entries and lost > settings.shrink_ratio * peak:
        text = (
            f"{lost} of {counted(peak, 'entry', 'entries')} of {section} are gone, more than shrink_ratio "
            f"{settings.shrink_ratio:g} allows"
        )
        yield Breach("shrink", section, text, settings.shrink == REFUSE)
    if settings.emptied != OFF and not counts.after and peak >= settings.shrink_min_entries:
        text = f"all {counted(peak, 'entry', 'entries')} of {section} are gone"
        yield Breach("emptied", section, text, settings.emptied == REFUSE)


class Guards:
    """Judge changes one after the other, and remember what that needs."""

    def __init__(self) -> None:
        self._peaks = Peaks()
        self._wanted: Digest | None = None
        self._allowed: frozenset[str] = frozenset()
        self._excused: deque[Digest] = deque(maxlen=_MAX_EXCUSED)
        self._told: frozenset[Mark] = frozenset()

    def note(self, base: Digest, shape: Shape, now: float, settings: GuardSettings) -> None:
        """Learn from a verdict what runs; content that got there though its shape was suspicious is a new measure."""
        if base in self._excused:
            self._excused.remove(base)
            self._peaks.forget()
        self._peaks.note(shape, now, settings.shrink_window_seconds)

    def allow(self, wanted: Digest, names: Collection[str]) -> None:
        """Note what somebody allows of a content of the directory; that holds until the directory holds another."""
        before = self._allowed if wanted == self._wanted else frozenset()
        self._wanted, self._allowed = wanted, before | frozenset(names)

    @property
    def allowed(self) -> frozenset[str]:
        """Return what is allowed of the content that the directory holds."""
        return self._allowed

    def judge(
        self,
        base: Digest,
        digest: Digest,
        shape: Shape,
        widened: Sequence[str],
        allowed: Collection[str],
        settings: GuardSettings,
    ) -> tuple[Breach, ...]:
        """Return what is suspicious about a content and not allowed; where nothing runs yet, nothing is."""
        if base == EMPTY.digest:
            return ()
        found = breaches(shape, widened, self._peaks.of, settings)
        if any(one.guard in allowed and one.section for one in found):
            self.excuse(digest)
        return tuple(one for one in found if one.guard not in allowed)

    def excuse(self, digest: Digest) -> None:
        """Note that a content may go live whatever its shape: it is the measure for what follows it."""
        if digest not in self._excused:
            self._excused.append(digest)

    def untold(self, found: Iterable[Breach]) -> tuple[Breach, ...]:
        """Return the suspicions of which people were not told at the look before; one that comes twice counts once."""
        marked = {breach.mark: breach for breach in found}
        fresh = tuple(breach for mark, breach in marked.items() if mark not in self._told)
        self._told = frozenset(marked)
        return fresh
