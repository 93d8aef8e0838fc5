"""The status: what an operator is told about the fleet at one moment.

Decided here: the fields and their meaning, from facts of the core and figures of the shell. Not decided here: how it is
shown (``cli/render.py``). Times are RFC 3339 in UTC; the core's monotonic times become such by one offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.notices import Notice
from nexus_supervisor.core.rollout import Kind, Phase, Rollout
from nexus_supervisor.core.settings import needs, unread

if TYPE_CHECKING:
    from nexus_supervisor.core.board import Board
    from nexus_supervisor.core.programs import Program
    from nexus_supervisor.core.roster import Process, Slot
    from nexus_supervisor.core.settings import Settings

__all__ = ["Figures", "Surroundings", "document"]

_PHASES = {
    Phase.RECORDING: "trial",
    Phase.PREPARING: "trial",
    Phase.COMMITTING: "wave",
}
_PAUSES = frozenset({Phase.BAKE, Phase.WAVE})


@dataclass(frozen=True, slots=True)
class Figures:
    """Hold what the shell measures of one process; ``version_requests`` ended on the version that is active there.

    Rates are those of the last seconds, None where nobody knows: a process that has just begun, no request to take a
    latency of, a size that was not asked for.
    """

    requests: int = 0
    errors: int = 0
    rss_bytes: int = 0
    version_requests: int = 0
    requests_per_second: float | None = None
    errors_per_second: float | None = None
    p99_ms: float | None = None
    cpu_percent: float | None = None
    pss_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Hold what the shell knows: the clock, the watcher, who we are.

    ``wall_offset`` turns monotonic into unix time; ``security`` are the newest security notices with their unix times.
    ``listening`` are the addresses of each program, ``preloaded`` the programs whose workers are forked. ``started`` is
    when the daemon was started, ``began`` when the code that runs did, of version ``package``, after so many upgrades.
    """

    now: float
    wall_offset: float
    started: float
    pid: int
    directory: str
    addresses: tuple[str, ...]
    signing: bool
    watch_mode: str
    last_compare: float
    figures: Mapping[tuple[str, int], Figures]
    security: tuple[tuple[float, Notice], ...] = ()
    isolation: str = "same-uid"
    listening: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    preloaded: frozenset[str] = frozenset()
    began: float = 0.0
    package: str = ""
    upgrades: int = 0


def document(board: Board, trial: Process | None, around: Surroundings) -> dict[str, Any]:
    """Return the status as plain values, with the fields of ``status --json``."""
    return {
        "version": board.history.version,
        "digest": board.history.digest,
        "state": state(board),
        "name": board.settings.supervisor.name,
        "program": _what_runs(board.settings),
        "pid": around.pid,
        "directory": around.directory,
        "addresses": list(around.addresses),
        "uptime_seconds": round(around.now - around.started, 3),
        "supervisor": {
            "version": around.package,
            "started": _time(around.began, around),
            "upgrades": around.upgrades,
        },
        "signing": "on" if around.signing else "off",
        "isolation": around.isolation,
        "rollout": _rollout(board, around),
        "trial": _trial(trial),
        "pinned": board.history.pinned,
        "pending_restart": _pending(board, around),
        "drift": _drift(board, around),
        "last_rejection": _rejection(board, around),
        "watch": {
            "mode": around.watch_mode,
            "last_compare_age_seconds": round(max(0.0, around.now - around.last_compare), 3),
        },
        "security": [_security(at, notice) for at, notice in around.security],
        "settings_unread": list(unread(board.settings)),
        "quarantined": [{"digest": digest, "reason": reason} for digest, reason in board.history.quarantined.items()],
        "programs": [_program(program, board, around) for program in board.settings.programs],
        "workers": _workers(board, around),
    }


def _what_runs(settings: Settings) -> str:
    """Return the program, or the names of all where several are declared."""
    declared = settings.supervisor.declared
    return ", ".join(one.name for one in declared) if declared else settings.supervisor.program


def state(board: Board) -> str:
    """Return ``ok``, ``degraded``, ``rolling`` or ``failed``: the one word that a check asks for."""
    if board.rollout is not None:
        return "rolling"
    live, version = board.roster.live(), board.history.version
    ready = {one.slot for one in live if one.life is Life.READY and one.active == version}
    wanted = {slot.name for slot in board.roster.slots.values() if not slot.stopped}
    if wanted and not ready & wanted:
        return "failed"
    return "ok" if wanted <= ready else "degraded"


def _time(monotonic: float, around: Surroundings) -> str:
    return _shown(monotonic + around.wall_offset)


def _since(monotonic: float | None, around: Surroundings) -> float:
    """Return how many seconds ago something was; 0 where it was not."""
    return 0.0 if monotonic is None else round(max(0.0, around.now - monotonic), 3)


def _shown(unix: float) -> str:
    moment = datetime.fromtimestamp(unix, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rollout(board: Board, around: Surroundings) -> dict[str, Any] | None:
    rollout = board.rollout
    if rollout is None:
        return None
    moved, total = board.moved(rollout)
    return {
        "version": rollout.version,
        "phase": _phase(rollout),
        "kind": rollout.kind.value,
        "reason": rollout.reason,
        "canary": list(rollout.canaries),
        "moved": moved,
        "total": total,
        "paused_since": None if rollout.paused_since is None else _time(rollout.paused_since, around),
        "numbers": dict(rollout.numbers),
    }


def _phase(rollout: Rollout) -> str:
    if rollout.kind is Kind.ROLLBACK:
        return "rolling_back"
    if rollout.paused_since is not None and rollout.phase in _PAUSES:
        return "paused"
    return _PHASES.get(rollout.phase, rollout.phase.value)


def _trial(process: Process | None) -> dict[str, Any] | None:
    if process is None:
        return None
    state = "draining" if process.life is Life.DYING else process.life.value
    return {"state": state, "pid": process.pid, "version": process.active}


def _pending(board: Board, around: Surroundings) -> dict[str, Any] | None:
    standing = board.standing
    if not standing.held_keys:
        return None
    since = _time(standing.held_since, around)
    most = "start" if any(needs(key) == "start" for key in standing.held_keys) else "restart"
    return {"keys": list(standing.held_keys), "since": since, "needs": most}


def _drift(board: Board, around: Surroundings) -> dict[str, Any] | None:
    drift = board.standing.drift
    if drift is None:
        return None
    return {"since": _time(drift.since, around), "reason": drift.reason, "keys": list(drift.keys)}


def _rejection(board: Board, around: Surroundings) -> dict[str, Any] | None:
    rejection = board.standing.rejection
    if rejection is None:
        return None
    errors = [str(problem) for problem in rejection.problems]
    return {"at": _time(rejection.at, around), "reason": rejection.reason, "errors": errors}


def _security(at: float, notice: Notice) -> dict[str, Any]:
    return {"at": _shown(at), "kind": notice.kind, "reason": notice.fields.get("reason"), "text": notice.text}


def _program(program: Program, board: Board, around: Surroundings) -> dict[str, Any]:
    live = [one for one in board.roster.live() if one.program == program.name]
    return {
        "name": program.name,
        "program": program.program,
        "app": program.app,
        "workers": board.workers(program),
        "ready": len({one.slot for one in live if one.life is Life.READY}),
        "addresses": list(around.listening.get(program.name, ())),
        "preload": program.name in around.preloaded,
    }


def _workers(board: Board, around: Surroundings) -> list[dict[str, Any]]:
    """Return every process, and every slot that has none, by slot."""
    roster = board.roster
    taken = {process.slot for process in roster.processes.values()}
    rows = [
        ((one.number, one.slot, one.incarnation), _process(one, roster.slots.get(one.slot), around))
        for one in roster.processes.values()
    ]
    if board.ending is None:
        waiting = [slot for slot in roster.slots.values() if slot.name not in taken]
        rows += [((slot.number, slot.name, slot.incarnation), _empty(slot)) for slot in waiting]
    return [row for _, row in sorted(rows, key=lambda row: row[0])]


def _process(process: Process, slot: Slot | None, around: Surroundings) -> dict[str, Any]:
    figures = around.figures.get(process.key, Figures())
    dying = process.life is Life.DYING
    return {
        "slot": process.slot,
        "program": process.program,
        "incarnation": process.incarnation,
        "pid": process.pid,
        "state": "draining" if dying else process.life.value,
        "version": process.active,
        "digest": None if process.active is None else process.digest,
        "age_seconds": _since(process.started, around),
        "ready_since": None if process.ready_since is None else _time(process.ready_since, around),
        "active_since": None if process.active_since is None else _time(process.active_since, around),
        "oldest_snapshot": process.oldest if process.oldest is not None else process.active,
        "oldest_snapshot_seconds": _since(process.replaced_at, around),
        "lingering_snapshots": process.lingering,
        "lingering_seconds": _since(process.lingering_since, around),
        **asdict(figures),
        **_past(slot),
    }


def _empty(slot: Slot) -> dict[str, Any]:
    return {
        "slot": slot.name,
        "program": slot.program,
        "incarnation": slot.incarnation,
        "pid": None,
        "state": _empty_state(slot),
        "version": None,
        "digest": None,
        "age_seconds": None,
        "ready_since": None,
        "active_since": None,
        "oldest_snapshot": None,
        "oldest_snapshot_seconds": 0.0,
        "lingering_snapshots": 0,
        "lingering_seconds": 0.0,
        **asdict(Figures()),
        **_past(slot),
    }


def _past(slot: Slot | None) -> dict[str, Any]:
    """Return how earlier processes of a slot ended; nothing of one that is no longer wanted."""
    if slot is None:
        return {"restarts": 0, "last_exit": "", "start_failed": False, "given_up": None}
    return {
        "restarts": slot.restarts,
        "last_exit": slot.last_exit,
        "start_failed": slot.start_failed,
        "given_up": slot.failed or None,
    }


def _empty_state(slot: Slot) -> str:
    if slot.failed:
        return "failed"
    if slot.stopped:
        return "stopped"
    return "backoff" if slot.incarnation else "starting"
