"""Settings: daemon.toml with what the command line and the environment add, and every mistake in them.

Decided here: how the two tables of daemon.toml are read, which value wins, and what a change of a setting needs. Not
decided here: which settings exist (``options.py``), where files and variables come from, and what settings lead to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from nexus_supervisor.core.freezing import frozen
from nexus_supervisor.core.options import (
    DaemonSettings,
    ExternalGateSettings,
    GateSettings,
    GuardSettings,
    IsolationSettings,
    LimitSettings,
    LivenessSettings,
    OutputSettings,
    RecycleSettings,
    RestartSettings,
    RolloutSettings,
    ShutdownSettings,
    SigningSettings,
    SupervisorSettings,
    TlsSettings,
    TrialSettings,
    WatchSettings,
)
from nexus_supervisor.core.programs import (
    MAX_WORKERS,
    Program,
    ProgramSpec,
    declares_programs,
    named,
    programs_of,
    read_programs,
    shared_addresses,
)
from nexus_supervisor.core.rules import Rule, Share, Unfit
from nexus_supervisor.core.sections import SectionSpec, default_sections, read_sections
from nexus_supervisor.core.spelling import one_edit_away
from nexus_supervisor.core.tables import Mistake, options, read_table, unknown_key, unknown_keys

__all__ = [
    "LIVE_KEYS",
    "START_KEYS",
    "UNREAD",
    "DaemonSettings",
    "ExternalGateSettings",
    "GateSettings",
    "GuardSettings",
    "IsolationSettings",
    "LimitSettings",
    "LivenessSettings",
    "Mistake",
    "Needs",
    "OutputSettings",
    "Parsed",
    "Program",
    "ProgramSpec",
    "RecycleSettings",
    "RestartSettings",
    "RolloutSettings",
    "SectionSpec",
    "Settings",
    "Share",
    "ShutdownSettings",
    "SigningSettings",
    "SupervisorSettings",
    "TlsSettings",
    "TrialSettings",
    "WatchSettings",
    "needs",
    "overrides_from_environment",
    "parse",
    "unread",
]

Needs = Literal["live", "restart", "start"]

LIVE_KEYS = (
    "daemon.admin_token",
    "daemon.log_file",
    "daemon.log_format",
    "daemon.log_level",
    "daemon.shutdown",
    "supervisor.guards",
    "supervisor.limits",
    "supervisor.liveness",
    "supervisor.min_ready",
    "supervisor.on_restart_required",
    "supervisor.output",
    "supervisor.recycle",
    "supervisor.restart",
    "supervisor.rollout",
    "supervisor.watch",
)
"""Keys of daemon.toml, or tables of them, whose change goes live like that of a live section."""

START_KEYS = ("daemon.signing", "supervisor.isolation", "supervisor.name")
"""Keys, or tables of them, that are read when the supervisor starts and never again."""

UNREAD = ("daemon.admin_token",)
"""Settings, or tables of them, that no code reads yet: accepted and bounded; the status lists those that are set."""

_ELSEWHERE = "this value is given by the command line or the environment, not by daemon.toml"
_PREFIX = "NEXUS_"


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold every setting, complete and within its bounds."""

    daemon: DaemonSettings = field(default_factory=DaemonSettings)
    supervisor: SupervisorSettings = field(default_factory=SupervisorSettings)

    @property
    def programs(self) -> tuple[Program, ...]:
        """Return the groups of workers, at least one, the first of which has the addresses of ``[daemon]``."""
        return programs_of(self.supervisor.declared, self.supervisor, self.daemon)

    def group(self, name: str) -> Program:
        """Return the group of that name, the first one for ""; raise KeyError where there is none."""
        found = named(self.programs, name)
        if found is None:
            raise KeyError(name)
        return found


class Parsed(NamedTuple):
    """Answer what was read: settings with defaults where a key is bad, and what is wrong or worth a warning."""

    settings: Settings
    errors: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]


_NONE: Mapping[str, Any] = MappingProxyType({})


def parse(document: Mapping[str, Any], overrides: Mapping[str, Any] = _NONE, *, cpu_count: int) -> Parsed:
    """Read daemon.toml as plain values; ``overrides`` has the same shape, and its values win.

    Every mistake is reported, also one in a value that an override hides. A mistake in an override says so.
    """
    errors: list[Mistake] = []
    settings = _read(document, errors, cpu_count)
    if overrides:
        both: list[Mistake] = []
        settings = _read(_overlaid(document, overrides), both, cpu_count)
        known = frozenset(errors)
        errors += [replace(one, message=f"{one.message} ({_ELSEWHERE})") for one in both if one not in known]
    return Parsed(settings, tuple(errors), _warnings(settings.daemon.application))


def needs(key: str) -> Needs:
    """Say what a change of a dotted key of daemon.toml needs: nothing, a restart, or a stop and a new start."""
    if _within(key, LIVE_KEYS):
        return "live"
    return "start" if _within(key, START_KEYS) else "restart"


def unread(settings: Settings) -> tuple[str, ...]:
    """Return those of ``UNREAD`` that somebody has set to something else than the default."""
    defaults = Settings()
    return tuple(key for key in UNREAD if attrgetter(key)(settings) != attrgetter(key)(defaults))


def _within(key: str, prefixes: Iterable[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _read(document: Mapping[str, Any], mistakes: list[Mistake], cpu_count: int) -> Settings:
    known = options(Settings)
    mistakes += unknown_keys("", [key for key in document if key not in known], known)
    settings = Settings(
        _read_daemon(document.get("daemon", {}), mistakes),
        _read_supervisor(document.get("supervisor", {}), mistakes, cpu_count),
    )
    mistakes += shared_addresses(settings.programs, declared=bool(settings.supervisor.declared))
    mistakes += _misplaced_certificates(settings)
    return settings


def _misplaced_certificates(settings: Settings) -> list[Mistake]:
    """Say where ``daemon.tls.section`` names no section whose entries can change while the daemon serves."""
    wanted = settings.daemon.tls.section
    applies = {spec.name: spec.apply for spec in settings.supervisor.sections}
    if not wanted or applies.get(wanted) == "live":
        return []
    if wanted in applies:
        message = f'the section {wanted} must have apply = "live", so that a renewed certificate is used at once'
    else:
        message = f"there is no section {wanted}: declare it with [[supervisor.section]]"
    return [Mistake("daemon.tls.section", "reference", message)]


def _read_daemon(table: Any, mistakes: list[Mistake]) -> DaemonSettings:
    """Read ``[daemon]``: a key that is nearly one of ours is a mistake, any other one is the application's."""
    known = options(DaemonSettings)
    own = table if isinstance(table, Mapping) else {}
    foreign = frozenset(key for key in own if key not in known)
    slips = {key for key in foreign if any(one_edit_away(key, name) for name in known)}
    theirs = foreign - slips
    daemon = read_table(DaemonSettings, table, "daemon", mistakes, also=theirs)
    return replace(daemon, application=frozen({key: own[key] for key in own if key in theirs}))


def _read_supervisor(table: Any, mistakes: list[Mistake], cpu_count: int) -> SupervisorSettings:
    own = table if isinstance(table, Mapping) else {}
    declared: tuple[ProgramSpec, ...] = ()
    if declares_programs(own):
        declared = read_programs(own["program"], "supervisor.program", mistakes)
        table = {key: value for key, value in own.items() if key != "program"}
        mistakes += [_belongs_to_each(key, declared) for key in ("app", "workers", "threads") if key in own]
    read = read_table(SupervisorSettings, table, "supervisor", mistakes, also=frozenset({"section"}))
    workers = read.workers if "workers" in own else min(MAX_WORKERS, max(1, cpu_count))
    names = [spec.program or spec.name for spec in declared] or [read.program]
    if "section" in own:
        sections = read_sections(own["section"], "supervisor.section", mistakes)
    else:
        sections = tuple(dict.fromkeys(section for name in names for section in default_sections(name)))
    return replace(read, workers=workers, sections=sections, declared=declared)


def _belongs_to_each(key: str, declared: Iterable[ProgramSpec]) -> Mistake:
    names = ", ".join(spec.name for spec in declared)
    message = f"with [[supervisor.program]] each program has its own {key}: set it there ({names or 'by name'})"
    if key == "workers":
        message += ", or use 'nexus-supervisor scale' while it runs"
    return Mistake(f"supervisor.{key}", "value", message)


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay plain tables over each other: what is above wins, tables are joined."""
    joined = dict(below)
    for key, value in above.items():
        under = joined.get(key)
        joined[key] = _overlaid(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return joined


def _warnings(application: Mapping[str, Any]) -> tuple[Mistake, ...]:
    if not application:
        return ()
    names = ", ".join(sorted(application))
    message = f"these keys are no settings of nexus-supervisor, so they go to the application as they are: {names}"
    return (Mistake("daemon", "unknown_key", message),)


def overrides_from_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], tuple[Mistake, ...]]:
    """Return the settings that variables such as ``NEXUS_SUPERVISOR__ROLLOUT__BAKE_SECONDS`` give, as plain values.

    Text becomes what the setting wants; bounds are checked by ``parse``. Names without ``__`` are no settings.
    """
    plain: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for variable in sorted(environment):
        if variable.startswith(_PREFIX) and "__" in variable:
            path = variable.removeprefix(_PREFIX).lower().split("__")
            value = _from_text(variable, path, environment[variable])
            if isinstance(value, Mistake):
                mistakes.append(value)
            else:
                _put(plain, path, value[0])
    return plain, tuple(mistakes)


def _from_text(variable: str, path: list[str], text: str) -> tuple[Any] | Mistake:
    """Return the plain value that a variable gives to the setting at a path, or what is wrong with it."""
    given = f"(given by the environment variable {variable})"
    table: type = Settings
    for depth, name in enumerate(path):
        option = options(table).get(name)
        if option is None:
            mistake = unknown_key(".".join(path[:depth]), name, options(table))
            return replace(mistake, message=f"{mistake.message} {given}")
        if option.rule is not None:
            return _taken(option.rule, path, depth, text, given)
        table = option.table or table
    return Mistake(".".join(path), "type", f"this is a table: name one of its keys, joined by __ {given}")


def _taken(rule: Rule, path: list[str], depth: int, text: str, given: str) -> tuple[Any] | Mistake:
    """Return the plain value of text by the rule of the setting that ``path`` leads to at ``depth``."""
    if depth < len(path) - 1:
        return Mistake(".".join(path), "unknown_key", f"{'.'.join(path[: depth + 1])} is not a table {given}")
    try:
        return (rule.plain(text),)
    except Unfit as unfit:
        return Mistake(".".join(path), unfit.code, f"{unfit} {given}")


def _put(plain: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        plain = plain.setdefault(name, {})
    plain[path[-1]] = value
