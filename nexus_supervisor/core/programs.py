"""Programs: the groups of workers of one daemon, each with its own program, count and addresses.

Decided here: what ``[[supervisor.program]]`` may say, what a group inherits from ``[supervisor]`` and ``[daemon]``, and
how its slots are named. Not decided here: when a slot gets a process (``crew.py``) and how an address is bound
(``supervisor/listeners.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from nexus_supervisor.core.rules import Addresses, Share, ShareOf, Text, Whole, Word, addresses
from nexus_supervisor.core.tables import Mistake, read_list

if TYPE_CHECKING:
    from nexus_supervisor.core.options import DaemonSettings, SupervisorSettings

__all__ = [
    "MAX_PROGRAMS",
    "MAX_WORKERS",
    "RESTARTS",
    "STRATEGIES",
    "Program",
    "ProgramSpec",
    "declares_programs",
    "program_of",
    "named",
    "programs_of",
    "read_programs",
    "shared_addresses",
    "slot_name",
]

MAX_PROGRAMS = 32
MAX_WORKERS = 512

RESTARTS = ("permanent", "transient", "temporary")
"""Which ends of a worker have it started again: every one, one that was a failure, none (Erlang/OTP, supervisor(3))."""

STRATEGIES = ("one_for_one", "rest_for_one", "one_for_all")
"""Who is replaced with a worker that died: nobody else, those with a higher number, all of its program."""

_NAME = Text("1 to 32 lower-case letters, digits, _ and -, a letter or digit first", r"[a-z0-9][a-z0-9_-]{0,31}")
_PROGRAM = Text('the name of a worker program, "module:attribute", or ""', r"([\w.-]{1,128}(:\w[\w.]{0,127})?)?")
_APP = Text('"module:attribute", or ""', r"(\w[\w.]{0,255}:\w[\w.]{0,255})?")


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """Declare one group of workers."""

    name: Annotated[str, _NAME, "the name of the group; its slots are called NAME-0, NAME-1, and so on"]
    program: Annotated[str, _PROGRAM, 'the worker program; "": the one of the same name'] = ""
    app: Annotated[str, _APP, "the application that the program serves"] = ""
    workers: Annotated[int, Whole(0, MAX_WORKERS), "how many workers"] = 1
    threads: Annotated[int, Whole(1, 1_000), "requests that one worker of a WSGI application serves at a time"] = 10
    bind: Annotated[
        tuple[str, ...] | None,
        Addresses(),
        'addresses to listen on; "": none; not given: those of [daemon] for the first program, none for others',
    ] = None
    restart: Annotated[
        str,
        Word(("", *RESTARTS)),
        'which ends have a worker started again; "": as [supervisor.restart] type says',
    ] = ""
    strategy: Annotated[
        str,
        Word(("", *STRATEGIES)),
        'who is replaced with a worker that died; "": as [supervisor.restart] strategy says',
    ] = ""
    min_ready: Annotated[
        Share | None,
        ShareOf(MAX_WORKERS),
        "so many stay ready while others are recycled; not given: as in [supervisor]",
    ] = None


@dataclass(frozen=True, slots=True)
class Program:
    """Hold one group of workers with everything settled.

    ``program`` is the entry point or ``MODULE:ATTR``. ``addresses`` are ``host:port``, ``[v6]:port``, ``unix:PATH`` or
    ``fd://NAME`` each. ``restart`` is one of RESTARTS, ``strategy`` one of STRATEGIES.
    """

    name: str
    program: str
    app: str
    workers: int
    threads: int
    addresses: tuple[str, ...]
    restart: str
    strategy: str
    min_ready: Share


def slot_name(program: str, number: int) -> str:
    """Return the stable name of a slot."""
    return f"{program}-{number}"


def program_of(slot: str) -> str:
    """Return the name of the program that a slot belongs to; "" for a name that is none of ``slot_name``."""
    return slot.rpartition("-")[0]


def named(programs: Sequence[Program], name: str) -> Program | None:
    """Return the program of a name, the first one for ""; None where there is none."""
    return next((one for one in programs if name in ("", one.name)), None)


def read_programs(tables: Any, where: str, mistakes: list[Mistake]) -> tuple[ProgramSpec, ...]:
    """Read the list of program tables, noting every mistake; a bad one is left out of the result."""
    before = len(mistakes)
    read = read_list(ProgramSpec, tables, where, (1, MAX_PROGRAMS, "programs"), mistakes, _conflicts)
    total = sum(spec.workers for spec in read)
    if len(mistakes) == before and not 0 < total <= MAX_WORKERS:
        mistakes.append(Mistake(where, "range", f"expected 1 to {MAX_WORKERS} workers in all programs, found {total}"))
    return read


def _conflicts(spec: ProgramSpec, others: Sequence[ProgramSpec], key: str) -> list[Mistake]:
    """Return what keeps a program, good by itself, from standing beside the others."""
    if any(other.name == spec.name for other in others):
        return [Mistake(f"{key}.name", "duplicate", f'a program "{spec.name}" is already declared')]
    return []


def programs_of(
    specs: Sequence[ProgramSpec], supervisor: SupervisorSettings, daemon: DaemonSettings
) -> tuple[Program, ...]:
    """Return the groups of a daemon: those that are declared, else the one that ``[supervisor]`` itself names."""
    inherited = addresses(daemon.bind, daemon.port)
    restart = supervisor.restart
    if not specs:
        name = supervisor.program.rpartition(":")[2]
        return (
            Program(
                name,
                supervisor.program,
                supervisor.app,
                supervisor.workers,
                supervisor.threads,
                inherited,
                restart.type,
                restart.strategy,
                supervisor.min_ready,
            ),
        )
    return tuple(
        Program(
            spec.name,
            spec.program or spec.name,
            spec.app,
            spec.workers,
            spec.threads,
            addresses(spec.bind, daemon.port) if spec.bind is not None else inherited if index == 0 else (),
            spec.restart or restart.type,
            spec.strategy or restart.strategy,
            spec.min_ready or supervisor.min_ready,
        )
        for index, spec in enumerate(specs)
    )


def shared_addresses(programs: Sequence[Program], *, declared: bool) -> list[Mistake]:
    """Return the addresses that are named twice; those with port 0 become different ones."""
    mistakes: list[Mistake] = []
    taken: dict[str, str] = {}
    for index, program in enumerate(programs):
        for address in program.addresses:
            if address in taken and not address.endswith(":0"):
                key = f"supervisor.program[{index}].bind" if declared else "daemon.bind"
                message = f"{address} is an address of program {taken[address]} already: name each address once"
                mistakes.append(Mistake(key, "duplicate", message))
            taken.setdefault(address, program.name)
    return mistakes


def declares_programs(supervisor: Any) -> bool:
    """Say whether a plain ``[supervisor]`` table declares groups, rather than naming one program."""
    return isinstance(supervisor, Mapping) and isinstance(supervisor.get("program"), list | tuple)
