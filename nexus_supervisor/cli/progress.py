"""Progress: where a rollout is, from what the supervisor tells whoever waits for its end.

Decided here: which notices and which part of the status say where it is, and the one line that tells it, short enough
for 80 columns. Not decided here: where that line goes (``terminal.py``) and what is told (the supervisor). Of two
rollouts the newer one is shown: a push may wait for another one to end first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nexus_supervisor.cli.words import brief_figures
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import Noticed, StatusReport

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Progress"]

_KINDS = frozenset({"rollout_paused", "rollout_phase", "rollout_resumed", "rollout_superseded"})
_STEERED = {"rollout_paused": "paused", "rollout_resumed": "goes on"}
_FINE_SECONDS = 10.0
_PLACE = frozenset({"kind", "moved", "phase", "reason", "total", "version"})


class Progress:
    """Keep the newest of what was told; ``clock`` gives seconds."""

    def __init__(self, waiting: str, clock: Callable[[], float]) -> None:
        self._waiting, self._clock = waiting, clock
        self._begun = clock()
        self._rollout: dict[str, Any] = {}
        self._said = ""

    def note(self, told: Noticed | StatusReport) -> str | None:
        """Take note of what was told; return the line of a phase that is another one than before, or None."""
        document: dict[str, Any] = canonical.decode(told.document)
        if isinstance(told, Noticed):
            return self._notice(document)
        rollout = document.get("rollout")
        if not isinstance(rollout, Mapping) or self._is_older(rollout):
            return None
        first, self._rollout = not self._rollout, _placed(rollout)
        return self._new(self._place()) if first else None

    @property
    def line(self) -> str:
        """Return where it is at this moment, in one line."""
        seconds = max(0.0, self._clock() - self._begun)
        so_long = f"{seconds:.1f} s" if seconds < _FINE_SECONDS else f"{int(seconds)} s"
        return f"{self._place() if self._rollout else self._waiting}, {so_long}"

    def _notice(self, notice: Mapping[str, Any]) -> str | None:
        fields = notice.get("fields")
        if notice.get("kind") not in _KINDS or not isinstance(fields, Mapping) or self._is_older(fields):
            return None
        same = fields.get("version") == self._rollout.get("version")
        steered = {"phase": _STEERED[notice["kind"]]} if notice["kind"] in _STEERED else {}
        self._rollout = {**(self._rollout if same else {}), **steered, **_placed(fields)}
        return self._new(str(notice.get("text", "")))

    def _is_older(self, rollout: Mapping[str, Any]) -> bool:
        version, shown = rollout.get("version"), self._rollout.get("version")
        return isinstance(version, int) and isinstance(shown, int) and version < shown

    def _new(self, line: str) -> str | None:
        if line == self._said:
            return None
        self._said = line
        return line

    def _place(self) -> str:
        rollout = self._rollout
        version, phase, total = rollout.get("version"), rollout.get("phase"), rollout.get("total")
        place = f"version {version} {phase or 'on its way'}" if version else f"{phase}"
        moved = f" {rollout.get('moved') or 0}/{total}" if total else ""
        measured = brief_figures(rollout.get("numbers"))
        return f"{place}{moved}, {measured}" if measured else f"{place}{moved}"


def _placed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return where a rollout is; what a notice says beside that are figures."""
    placed = {name: facts[name] for name in _PLACE if facts.get(name) is not None}
    numbers = facts.get("numbers")
    if not isinstance(numbers, Mapping):
        numbers = {name: fact for name, fact in facts.items() if name not in _PLACE and isinstance(fact, (int, float))}
    return {**placed, "numbers": dict(numbers)} if numbers else placed
