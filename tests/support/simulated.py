"""What surrounds the fleet, simulated: a directory with its compiler, and workers that answer, refuse, hang or die."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nexus_supervisor.core.content import EMPTY, Digest
from nexus_supervisor.core.events import Candidate, CandidateRefused, CandidateSeen
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import Settings, parse

if TYPE_CHECKING:
    from nexus_supervisor.core.effects import Look

__all__ = ["COLD_KEY", "SYNTAX", "Directory", "Faults", "SimulatedWorker", "content", "name_of", "settings"]

SYNTAX = (Problem("sources/a.toml", 3, "", "syntax", "expected a key, found '='"),)
HELD_BACK = (Problem("sources/a.toml", 1, "source.target_destination", "value", "it waits for the held destination"),)
COLD_KEY = "destinations.main.db_path"


def content(name: str) -> Digest:
    """Return a digest that stands for some content."""
    return Digest(name.ljust(64, "0"))


def name_of(digest: Digest) -> str:
    """Return the name of the content that a digest stands for."""
    return "nothing" if digest == EMPTY.digest else digest.rstrip("0")


def settings(workers: int = 3, port: int = 8080, **supervisor: object) -> Settings:
    """Return settings for a small fleet: no debounce, no grace, no bake."""
    document = {
        "daemon": {"port": port},
        "supervisor": {
            "workers": workers,
            "watch": {"debounce_ms": 0, "remove_settle_ms": 0},
            "rollout": {"bake_seconds": 0},
            **supervisor,
        },
    }
    parsed = parse(document, cpu_count=2)
    assert not parsed.errors, parsed.errors
    return parsed.settings


@dataclass(frozen=True)
class Files:
    """Hold what one content consists of: live entries by name, what needs a restart, and the settings."""

    live: Mapping[str, str]
    cold: str
    settings: Settings

    @property
    def digest(self) -> Digest:
        """Name it: ``b`` for one entry, ``b+x`` with another one, ``b!2`` with other restart-required content."""
        names = "+".join(value if name == "main" else name for name, value in sorted(self.live.items()))
        return content(f"{names or 'empty'}{f'!{self.cold}' if self.cold else ''}")


@dataclass
class Directory:
    """Hold the files, and judge them like the compiler does: against what it was told that runs."""

    settings: Settings
    live: dict[str, str] = field(default_factory=lambda: {"main": "a"})
    cold: str = ""
    problems: tuple[Problem, ...] = ()
    unstable: bool = False
    blocks: bool = False
    remains: tuple[Problem, ...] = ()
    doubtful: tuple[str, ...] = ()
    adopted: Digest | None = None
    known: dict[Digest, Files] = field(default_factory=dict)

    def put(self, live: Mapping[str, str], cold: str, settings: Settings) -> Digest:
        """Know a content; return its digest."""
        files = Files(dict(live), cold, settings)
        self.known[files.digest] = files
        return files.digest

    def cold_of(self, digest: Digest) -> str:
        """Return the restart-required part of a content."""
        return self.known[digest].cold

    def verdict(self, look: Look) -> CandidateSeen | CandidateRefused:
        """Judge what the directory holds."""
        running = None if self.adopted is None else self.known[self.adopted]
        base = EMPTY.digest if self.adopted is None else self.adopted
        gone = () if running is None else tuple(f"sources.{name}" for name in running.live if name not in self.live)
        less = base if running is None or not gone else self._less(running)
        if self.problems:
            return self._refused(look.ticket, base, less, gone)
        return CandidateSeen(look.ticket, self._seen(look, running, base, less, gone))

    def _less(self, running: Files) -> Digest:
        left = {name: value for name, value in running.live.items() if name in self.live}
        return self.put(left, running.cold, running.settings)

    def _refused(self, ticket: int, base: Digest, less: Digest, gone: tuple[str, ...]) -> CandidateRefused:
        goes = bool(gone) and not self.remains
        remains = self.remains if gone else ()
        revoked, in_force = (less, self.known[less].settings) if goes else (None, None)
        verdict = CandidateRefused(ticket, self.problems, self.unstable, base, gone, revoked, remains, in_force)
        return replace(verdict, doubtful=self.doubtful)

    def _seen(self, look: Look, running: Files | None, base: Digest, less: Digest, gone: tuple[str, ...]) -> Candidate:
        wanted = self.put(self.live, self.cold, self.settings)
        if look.whole or running is None:
            return Candidate(wanted, wanted, base, (), (), gone, self.settings)
        held = (COLD_KEY,) if self.cold != running.cold else ()
        blocked = HELD_BACK if held and self.blocks else ()
        if look.bare or blocked:
            digest = base if self.remains else less
            return Candidate(wanted, digest, base, held, blocked + self.remains, gone, running.settings)
        in_force = running.settings if held else self.settings
        digest = self.put(self.live, running.cold, in_force)
        return Candidate(wanted, digest, base, held, (), gone, in_force)


@dataclass
class SimulatedWorker:
    """Hold what a worker process knows; ``spawned`` is the content whose settings it was started with."""

    slot: str
    incarnation: int
    floor: int
    spawned: Digest
    current: tuple[int, Digest] | None = None
    previous: Digest | None = None
    staged: tuple[int, Digest, int] | None = None
    served: list[int] = field(default_factory=list)
    ready: bool = False
    draining: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Return slot and incarnation."""
        return self.slot, self.incarnation

    @property
    def serving(self) -> bool:
        """Say whether new requests may reach it."""
        return self.ready and not self.draining


@dataclass
class Faults:
    """Say what goes wrong. ``poison`` is what a content does to a worker, to which (none: all), and how often."""

    poison: dict[Digest, str] = field(default_factory=dict)
    victims: set[str] = field(default_factory=set)
    chance: float = 1.0
    journal: bool = False
    commits: bool = False
    archive: bool = False
    looks: bool = False
    spawns: bool = False
    binds: bool = False
    busy: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
