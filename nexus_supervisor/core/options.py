"""Options: every setting of daemon.toml with its type, bounds, default and purpose.

Decided here: which settings exist. Not decided here: how they are read and what a change of them needs
(``settings.py``), and what they lead to (whoever reads them). Units are in the names; everything that can grow has its
number here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from nexus_supervisor.core.programs import MAX_WORKERS, RESTARTS, ProgramSpec
from nexus_supervisor.core.programs import STRATEGIES as RESTART_STRATEGIES
from nexus_supervisor.core.rules import Addresses, Flag, Number, Share, ShareOf, Text, Whole, Word
from nexus_supervisor.core.sections import SectionSpec, default_sections

__all__ = [
    "DaemonSettings",
    "ExternalGateSettings",
    "GateSettings",
    "GuardSettings",
    "IsolationSettings",
    "LimitSettings",
    "LivenessSettings",
    "OutputSettings",
    "RecycleSettings",
    "RestartSettings",
    "RolloutSettings",
    "ShutdownSettings",
    "SigningSettings",
    "SupervisorSettings",
    "TlsSettings",
    "TrialSettings",
    "WatchSettings",
]

_DAY_SECONDS = 86_400
_HOUR_SECONDS = 3_600
_KIB = 1 << 10
_MIB = 1 << 20
_GIB = 1 << 30

_NAME = Text("1 to 64 letters, digits, ., _ and -, a letter or digit first", r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_PROGRAM = Text('the name of a worker program, or "module:attribute"', r"[\w.-]{1,128}(:\w[\w.]{0,127})?")
_APP = Text('"module:attribute", or ""', r"(\w[\w.]{0,255}:\w[\w.]{0,255})?")
_MODULE = Text('the name of a module, or ""', r"(\w[\w.]{0,255})?")
_PATH = Text("a path, relative to DIR or absolute", r"[^\x00-\x1f\x7f]{1,4096}")
STRATEGIES = ("canary", "rolling", "all_at_once")
"""In which order workers can move."""

_COMMAND = Text('a command and its arguments, quoted as for a shell, or ""', r"[^\x00-\x1f\x7f]{0,4096}")
_URL = Text('an http:// or https:// address, or ""', r"(https?://[^\x00-\x20\x7f]{1,2048})?")
_SECTION = Text('the name of a section, or ""', r"([a-z][a-z0-9_]{0,63})?")
_USER = Text('the name or number of a user or group, or ""', r"([a-z_][a-z0-9_-]{0,31}|\d{1,10})?")
_LOG_FILE = Text('a path, relative to DIR or absolute, or "" for stderr', r"[^\x00-\x1f\x7f]{0,4096}")
_REFERENCE = Text("a reference (env:NAME, file:PATH) or a token", r"[^\x00-\x1f\x7f]{1,4096}", secret=True)
_ONE = Share(1)
_HALF = Share(50, percent=True)
_VERDICT = Word(("refuse", "warn", "off"))


@dataclass(frozen=True, slots=True)
class ShutdownSettings:
    """Say how the daemon and its workers end."""

    drain_timeout_seconds: Annotated[
        float, Number(0, _HOUR_SECONDS), "how long a worker may finish what is in hand before it is ended"
    ] = 30.0


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """Say whether manifests are signed, and by which key."""

    enabled: Annotated[bool, Flag(), "sign each version, and refuse what isn't signed"] = True
    key_file: Annotated[str, _PATH, "the Ed25519 private key, OpenSSH format, mode 0600"] = "keys/signing.key"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Say whether listening sockets speak TLS, and with which certificates."""

    section: Annotated[str, _SECTION, 'the live section that holds the certificates; "": no TLS'] = ""


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Hold ``[daemon]``: what the daemon is to the outside, and the application's own keys."""

    bind: Annotated[
        tuple[str, ...],
        Addresses(),
        'the address to listen on, or a list of them; "": none, the program accepts no connections',
    ] = ("127.0.0.1",)
    port: Annotated[int, Whole(0, 65_535), "the port of addresses that name none; 0: any that is free"] = 8080
    admin_token: Annotated[str | None, _REFERENCE, "the Bearer token of GET /metrics; none: no metrics"] = field(
        default=None, repr=False
    )
    log_level: Annotated[str, Word(("debug", "info", "warning", "error")), "the least level that is logged"] = "info"
    log_format: Annotated[str, Word(("text", "json")), "one line of text, or one JSON object a line"] = "text"
    log_file: Annotated[str, _LOG_FILE, 'the file that the log is appended to; "": stderr'] = ""
    tls: TlsSettings = field(default_factory=TlsSettings)
    shutdown: ShutdownSettings = field(default_factory=ShutdownSettings)
    signing: SigningSettings = field(default_factory=SigningSettings)
    application: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Say how changes of the directory are noticed."""

    debounce_ms: Annotated[
        float, Number(0, 10_000), "quiet that ends a burst of file events; while they go on, at most 10 times that"
    ] = 1.0
    remove_settle_ms: Annotated[
        float, Number(0, 10_000), "a name that is back within this time was edited, not removed"
    ] = 50.0
    reconcile_seconds: Annotated[float, Number(0.05, _HOUR_SECONDS), "how often the directory is compared anyway"] = 5.0


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Say when a canary is healthy, compared with the other workers at the same time."""

    max_error_ratio: Annotated[float, Number(1, 1_000), "errors of the canary against the others'"] = 2.0
    max_p99_ratio: Annotated[float, Number(1, 1_000), "99th percentile of latency against the others'"] = 2.0
    min_requests: Annotated[int, Whole(1, 1_000_000), "fewer requests in the bake are inconclusive"] = 50
    max_rss_growth_mb: Annotated[float, Number(1, 1_000_000), "memory that a canary may gain"] = 64.0
    min_latency_ms: Annotated[float, Number(0, 60_000), "a canary that is slower by less than this is healthy"] = 10.0
    max_lag_seconds: Annotated[float, Number(0.01, _HOUR_SECONDS), "how late the canary's serving loop may be"] = 1.0


@dataclass(frozen=True, slots=True)
class ExternalGateSettings:
    """Name who else is asked before the others follow a canary.

    Changed by a restart only: what is run as a command is no live change.
    """

    command: Annotated[str, _COMMAND, 'a command that must exit with 0 before the others follow; "": none'] = ""
    url: Annotated[str, _URL, 'an address that must answer with 200 to 299 before the others follow; "": none'] = ""
    timeout_seconds: Annotated[float, Number(0.1, _HOUR_SECONDS), "how long command and url may take"] = 30.0


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """Bound the throw-away worker that meets a candidate first."""

    enabled: Annotated[bool, Flag(), "try each candidate in a worker without traffic"] = True
    cpu_seconds: Annotated[float, Number(0.1, _HOUR_SECONDS), "processor time of a trial"] = 10.0
    memory_mb: Annotated[int, Whole(16, 1_000_000), "memory of a trial"] = 1_024
    timeout_seconds: Annotated[float, Number(0.1, _HOUR_SECONDS), "time of a trial"] = 10.0


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """Say how a version reaches the workers."""

    strategy: Annotated[str, Word(STRATEGIES), "in which order workers move"] = "canary"
    canary: Annotated[Share, ShareOf(MAX_WORKERS), "how many workers move first"] = _ONE
    bake_seconds: Annotated[float, Number(0, _DAY_SECONDS), "how long the canary is watched; 0: not at all"] = 2.0
    quiet_bake_seconds: Annotated[float, Number(0, _DAY_SECONDS), "the same where there are few requests"] = 5.0
    on_inconclusive: Annotated[str, Word(("continue", "rollback")), "what too few requests lead to"] = "continue"
    max_parallel: Annotated[Share, ShareOf(MAX_WORKERS), "how many workers move or restart at a time"] = _HALF
    wave_pause_seconds: Annotated[float, Number(0, _DAY_SECONDS), "the pause between two waves"] = 0.0
    stage_timeout_seconds: Annotated[float, Number(0.1, _HOUR_SECONDS), "how long staging may take a worker"] = 10.0
    activate_timeout_seconds: Annotated[float, Number(0.1, _HOUR_SECONDS), "how long activating may take a worker"] = (
        5.0
    )
    start_timeout_seconds: Annotated[float, Number(0.1, _HOUR_SECONDS), "how long a worker may take to be ready"] = 60.0
    max_pause_seconds: Annotated[float, Number(1, _DAY_SECONDS), "a rollout that is paused longer goes back"] = 3_600.0
    blame_seconds: Annotated[float, Number(0, _HOUR_SECONDS), "a worker that dies so soon on it condemns a version"] = (
        10.0
    )
    probation_seconds: Annotated[
        float, Number(0, _DAY_SECONDS), "a crash loop so soon after the commit rolls the version back"
    ] = 600.0
    rollback_interval_seconds: Annotated[
        float, Number(0, _DAY_SECONDS), "a committed version is rolled back by itself once in this time"
    ] = 600.0
    gates: GateSettings = field(default_factory=GateSettings)
    trial: TrialSettings = field(default_factory=TrialSettings)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """Say which shapes of change are suspicious, and what they lead to."""

    shrink: Annotated[str, _VERDICT, "a section loses more than shrink_ratio of its entries"] = "refuse"
    shrink_ratio: Annotated[float, Number(0, 1), "the part of a section that may vanish"] = 0.5
    shrink_min_entries: Annotated[int, Whole(1, 1_000_000), "fewer vanished entries are never suspicious"] = 3
    shrink_window_seconds: Annotated[float, Number(0, _DAY_SECONDS), "compare with the largest of this time"] = 60.0
    emptied: Annotated[str, _VERDICT, "a section of at least shrink_min_entries is empty now"] = "refuse"
    growth: Annotated[str, _VERDICT, "the content grows to more than growth_ratio times its size"] = "refuse"
    growth_ratio: Annotated[float, Number(1, 1_000_000), "how many times larger the content may become"] = 10.0
    growth_min_bytes: Annotated[int, Whole(0, _GIB), "smaller content may grow freely"] = _MIB
    widened: Annotated[str, _VERDICT, "an existing entry may do more than before"] = "warn"


@dataclass(frozen=True, slots=True)
class RestartSettings:
    """Say how often a worker that dies is started again."""

    type: Annotated[str, Word(RESTARTS), "which ends of a worker have it started again"] = "permanent"
    strategy: Annotated[str, Word(RESTART_STRATEGIES), "who is replaced with a worker that died"] = "one_for_one"
    max_restarts: Annotated[int, Whole(0, 10_000), "more deaths than this within period_seconds fail the slot"] = 5
    period_seconds: Annotated[float, Number(0.1, _DAY_SECONDS), "the time that max_restarts counts in"] = 10.0
    backoff_seconds: Annotated[float, Number(0, _HOUR_SECONDS), "the first pause before a restart; it doubles"] = 0.1


@dataclass(frozen=True, slots=True)
class LivenessSettings:
    """Say when a worker that is silent is ended."""

    timeout_seconds: Annotated[float, Number(0, _HOUR_SECONDS), "silence of a serving loop; 0: any silence is fine"] = (
        10.0
    )
    max_request_seconds: Annotated[
        float, Number(0, _DAY_SECONDS), "a request in hand for longer means that the worker hangs; 0: any time"
    ] = 0.0
    dump_seconds: Annotated[float, Number(0, _HOUR_SECONDS), "time to write down its stacks; 0: none"] = 1.0
    term_seconds: Annotated[float, Number(0, _HOUR_SECONDS), "time to end by itself before it is killed"] = 5.0


@dataclass(frozen=True, slots=True)
class RecycleSettings:
    """Say when a healthy worker is replaced by a fresh one."""

    max_age_seconds: Annotated[float, Number(0, 366 * _DAY_SECONDS), "age of a worker; 0: any"] = 0.0
    max_requests: Annotated[int, Whole(0, 1_000_000_000), "requests that a worker begins; 0: any number"] = 0
    max_rss_mb: Annotated[float, Number(0, 1_000_000), "memory of a worker; 0: any"] = 0.0
    jitter: Annotated[float, Number(0, 1), "part of a bound by which it varies from worker to worker"] = 0.1


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """Say what becomes of the lines that workers write to stdout and stderr."""

    capture: Annotated[bool, Flag(), "read them, and log each with slot and pid; false: workers inherit ours"] = True
    max_line_bytes: Annotated[int, Whole(80, _MIB), "a longer line is cut there"] = 8 * _KIB
    max_lines_per_second: Annotated[int, Whole(1, 1_000_000), "lines of one worker; more are dropped"] = 1_000
    kept_lines: Annotated[int, Whole(0, 1_000_000), "newest lines of each slot that `logs` can show"] = 1_000


@dataclass(frozen=True, slots=True)
class IsolationSettings:
    """Say what workers may do less than the supervisor. A bound of 0 is that of the supervisor."""

    user: Annotated[str, _USER, 'the user that compiler and workers run as; "": that of the supervisor'] = ""
    group: Annotated[str, _USER, 'the group that they run as; "": the user\'s'] = ""
    no_new_privs: Annotated[bool, Flag(), "what they exec gains no rights (PR_SET_NO_NEW_PRIVS)"] = True
    max_open_files: Annotated[int, Whole(0, 10_000_000), "open files of a worker (RLIMIT_NOFILE)"] = 0
    max_memory_mb: Annotated[int, Whole(0, 100_000_000), "data of a worker (RLIMIT_DATA)"] = 0
    max_processes: Annotated[int, Whole(0, 10_000_000), "processes of their user (RLIMIT_NPROC)"] = 0


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Put a number on everything that can grow."""

    max_file_bytes: Annotated[int, Whole(_KIB, 64 * _MIB), "one file of the directory"] = _MIB
    max_line_bytes: Annotated[int, Whole(_KIB, 64 * _MIB), "one line of a file"] = 64 * _KIB
    max_depth: Annotated[int, Whole(1, 128), "tables and lists within each other"] = 32
    max_key_parts: Annotated[int, Whole(1, 128), "parts of one dotted key"] = 32
    max_integer_digits: Annotated[int, Whole(1, 1_000), "digits of one number"] = 128
    max_files: Annotated[int, Whole(1, 10_000_000), "files of the directory"] = 200_000
    max_entries: Annotated[int, Whole(1, 10_000_000), "entries of one section"] = 200_000
    max_total_bytes: Annotated[int, Whole(_KIB, 64 * _GIB), "all files of the directory together"] = 512 * _MIB
    max_secret_bytes: Annotated[int, Whole(1, _MIB), "one secret that a reference names"] = 64 * _KIB
    max_problems: Annotated[int, Whole(1, 10_000), "problems reported at a time"] = 100
    compile_cpu_seconds: Annotated[int, Whole(1, _HOUR_SECONDS), "processor time of one look at the directory"] = 60
    compile_memory_mb: Annotated[int, Whole(128, 1_000_000), "memory of the compiler"] = 4_096
    compile_timeout_seconds: Annotated[float, Number(1, _HOUR_SECONDS), "time of one look at the directory"] = 120.0
    stable_attempts: Annotated[int, Whole(1, 10_000), "looks at a file that keeps changing before it is refused"] = 9
    stable_pause_ms: Annotated[float, Number(0, 10_000), "the pause before the second of them; it doubles"] = 5.0
    max_snapshot_seconds: Annotated[
        float, Number(0, _DAY_SECONDS), "how long a request may go on with a version that was replaced; 0: for ever"
    ] = 3_600.0
    kept_versions: Annotated[int, Whole(2, 100_000), "versions kept in compiled/"] = 20
    kept_days: Annotated[float, Number(0, 36_500), "older versions are not kept in compiled/; 0: any age is"] = 0.0
    kept_history: Annotated[int, Whole(10, 1_000_000), "versions and requests that history remembers"] = 1_000
    journal_max_bytes: Annotated[int, Whole(_MIB, 64 * _GIB), "size at which the journal is compacted"] = 64 * _MIB
    max_notices: Annotated[int, Whole(10, 10_000_000), "notices kept for who asks later"] = 10_000
    max_clients: Annotated[int, Whole(1, 10_000), "connections to the control socket"] = 64
    client_idle_seconds: Annotated[float, Number(0.1, _HOUR_SECONDS), "a connection without a request"] = 10.0
    upgrade_timeout_seconds: Annotated[
        float, Number(1, _HOUR_SECONDS), "an upgrade in place waits so long for what is under way, and tries so long"
    ] = 60.0
    counter_rows: Annotated[int, Whole(64, 10_000_000), "entries that can be counted, over the daemon's life"] = 131_072


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """Hold ``[supervisor]``: how nexus-supervisor itself works."""

    name: Annotated[str, _NAME, "the audience of manifests: who they are for"] = "nexus"
    program: Annotated[str, _PROGRAM, "the worker program; [[supervisor.program]] declares several"] = "gateway"
    app: Annotated[str, _APP, "the application that the program serves"] = ""
    workers: Annotated[int, Whole(1, MAX_WORKERS), "how many workers; default: one for each processor"] = 1
    threads: Annotated[int, Whole(1, 1_000), "requests that one worker of a WSGI application serves at a time"] = 10
    hooks: Annotated[str, _MODULE, "the module of the application's hooks"] = ""
    on_restart_required: Annotated[
        str, Word(("split", "hold")), "beside a change that needs a restart, live ones go on, or all wait"
    ] = "split"
    min_ready: Annotated[
        Share, ShareOf(MAX_WORKERS), "so many workers of a program stay ready while others are recycled"
    ] = _ONE
    preload: Annotated[bool, Flag(), "fork workers from a process that has imported the program"] = True
    watch: WatchSettings = field(default_factory=WatchSettings)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    external_gate: ExternalGateSettings = field(default_factory=ExternalGateSettings)
    guards: GuardSettings = field(default_factory=GuardSettings)
    restart: RestartSettings = field(default_factory=RestartSettings)
    liveness: LivenessSettings = field(default_factory=LivenessSettings)
    recycle: RecycleSettings = field(default_factory=RecycleSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    isolation: IsolationSettings = field(default_factory=IsolationSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    sections: tuple[SectionSpec, ...] = default_sections("gateway")
    declared: tuple[ProgramSpec, ...] = ()
