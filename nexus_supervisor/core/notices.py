"""Notices: what the supervisor tells people, one stream for log, command line, dashboard and tests.

Decided here: the shape of a notice and the words that it may use. Not decided here: where it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["KINDS", "SECURITY_KINDS", "Facts", "Notice"]

KINDS = frozenset(
    {
        "archived",
        "candidate_guarded",
        "candidate_held",
        "candidate_pinned",
        "candidate_refused",
        "candidate_unstable",
        "client_refused",
        "committed",
        "compiler_died",
        "config_signature_invalid",
        "daemon_ready",
        "daemon_stopped",
        "daemon_stopping",
        "effect_failed",
        "entry_widened",
        "entry_still_live",
        "isolation_weak",
        "journal_failed",
        "lingering",
        "log_file_failed",
        "log_reopened",
        "listening",
        "notify_failed",
        "recycling_off",
        "preload_off",
        "retired",
        "revoked",
        "rolled_back",
        "rollout_failed",
        "rollout_paused",
        "rollout_phase",
        "rollout_resumed",
        "rollout_started",
        "rollout_superseded",
        "scaled",
        "settings_warning",
        "signing_off",
        "slot_backoff",
        "slot_drained",
        "slot_failed",
        "slot_fenced",
        "slot_leaves",
        "slot_ready",
        "slot_recycled",
        "slot_silent",
        "slot_started",
        "slot_stopped",
        "trial_ended",
        "trial_worker",
        "upgrade_asked",
        "upgrade_begins",
        "upgrade_failed",
        "upgraded",
        "version_active",
        "version_condemned",
        "version_holds",
        "version_staged",
        "watch_degraded",
        "worker_exited",
        "worker_rejected",
        "zygote_lost",
    }
)
"""Every kind of notice; a notice of another kind is a mistake and raises."""

SECURITY_KINDS = frozenset({"client_refused", "config_signature_invalid", "entry_still_live", "signing_off"})
"""Kinds that concern security; logged with ``security: true``."""

Facts = dict[str, str | int | float | bool | tuple[str, ...] | None]
"""Plain facts by name, and never a secret."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Tell one thing that happened, in a whole sentence; ``level`` is ``debug``, ``info``, ``warning`` or ``error``."""

    kind: str
    level: str
    text: str
    fields: Facts = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a kind that no reader knows."""
        if self.kind not in KINDS:
            message = f"{self.kind!r} is not a kind of notice"
            raise ValueError(message)
