"""What surrounds the fleet, simulated: a directory with its compiler, and what can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core.content import EMPTY, Digest, Version
from nexus_supervisor.core.events import Candidate, CandidateRefused, CandidateSeen, Recalled
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import Settings, parse
from nexus_supervisor.core.shape import NO_SHAPE, SectionShape, Shape

if TYPE_CHECKING:
    from nexus_supervisor.core.effects import Look, Recall

__all__ = ["COLD_KEY", "SYNTAX", "Directory", "Faults", "content", "name_of", "settings"]

SYNTAX = (Problem("sources/a.toml", 3, "", "syntax", "expected a key, found '='"),)
HELD_BACK = (Problem("sources/a.toml", 1, "source.target_destination", "value", "it waits for the held destination"),)
NOT_THERE = (Problem("compiled", 0, "", "value", "this version is not there"),)
COLD_KEY = "destinations.main.db_path"
KILOBYTE = 1024
"""So many bytes a character of an entry counts, or no name could be long enough for a guard against growth."""


def content(name: str) -> Digest:
    """Return a digest that stands for some content."""
    return Digest(name.ljust(64, "0"))


def name_of(digest: Digest) -> str:
    """Return the name of the content that a digest stands for."""
    return "nothing" if digest == EMPTY.digest else digest.rstrip("0")


def settings(
    workers: int = 3, port: int = 8080, *, bake: float = 0, trial: bool = False, **supervisor: Any
) -> Settings:
    """Return settings for a small fleet: no debounce, no grace; a bake and a trial only where they are asked for.

    Where ``program`` declares several, ``workers`` counts for nothing.
    """
    rollout = {"bake_seconds": bake, "trial": {"enabled": trial}, **supervisor.pop("rollout", {})}
    document = {
        "daemon": {"port": port},
        "supervisor": {
            **({} if isinstance(supervisor.get("program"), list) else {"workers": workers}),
            "watch": {"debounce_ms": 0, "remove_settle_ms": 0},
            "rollout": rollout,
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

    @property
    def size(self) -> int:
        """Return how many bytes it counts."""
        return KILOBYTE * sum(map(len, self.live.values()))


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
    widened: tuple[str, ...] = ()
    adopted: Digest | None = None
    known: dict[Digest, Files] = field(default_factory=dict)
    last: Digest | None = None
    lessens: tuple[Digest, ...] = ()

    def put(self, live: Mapping[str, str], cold: str, settings: Settings) -> Digest:
        """Know a content; return its digest."""
        files = Files(dict(live), cold, settings)
        self.known[files.digest] = files
        return files.digest

    def cold_of(self, digest: Digest) -> str:
        """Return the restart-required part of a content."""
        return self.known[digest].cold

    @property
    def base(self) -> Digest:
        """Return the content that verdicts are against."""
        return EMPTY.digest if self.adopted is None else self.adopted

    @property
    def running(self) -> Files | None:
        """Return what runs."""
        return None if self.adopted is None else self.known[self.adopted]

    def verdict(self, look: Look) -> CandidateSeen | CandidateRefused:
        """Judge what the directory holds."""
        gone = self._gone()
        if self.problems:
            return self._refused(look.ticket, gone)
        seen = self._seen(whole=look.whole, gone=gone)
        seen = replace(seen, lessens=self._lessened(seen.wanted))
        revoked = self._revoked(gone)
        if revoked is not None:
            in_force = self.known[revoked].settings
            seen = replace(
                seen, revoked=revoked, revoked_settings=in_force, revoked_shape=self.shape(self.base, revoked)
            )
        return CandidateSeen(look.ticket, replace(seen, remains=self.remains if gone else ()))

    def recall(self, asked: Recall, issued: Mapping[int, Digest], committed: int) -> Recalled:
        """Judge an older content as if the files held it; None asks for the newest other one before ``committed``."""
        version = asked.version
        if version is None:
            older = [one for one in issued if one < committed and issued[one] != issued[committed]]
            version = max(older, default=0)
        running = self.running
        if version not in issued or running is None:
            return Recalled(asked.ticket, Version(version), None, NOT_THERE)
        old = self.known[issued[version]]
        left = {name: value for name, value in old.live.items() if name in self.live}
        gone = tuple(f"sources.{name}" for name in old.live if name not in self.live)
        held = (COLD_KEY,) if old.cold != running.cold else ()
        digest = self.put(left, running.cold, running.settings if held else old.settings)
        candidate = Candidate(digest, digest, self.base, held, (), gone, self.known[digest].settings)
        return Recalled(asked.ticket, Version(version), replace(candidate, shape=self.shape(self.base, digest)))

    def shape(self, before: Digest, after: Digest) -> Shape:
        """Compare two contents."""
        if before not in self.known or after not in self.known:
            return NO_SHAPE
        here, there = self.known[before], self.known[after]
        removed = len(here.live.keys() - there.live.keys())
        sections = {"sources": SectionShape(len(here.live), len(there.live), removed)}
        return Shape(sections, here.size, there.size)

    def _lessened(self, wanted: Digest) -> tuple[Digest, ...]:
        """Return what the files held before entries were taken away that run as they were."""
        last, self.last, running = self.last, wanted, self.running
        if last == wanted:
            return self.lessens
        here, there = self.known[wanted], None if last is None else self.known[last]
        self.lessens, before = (), self.lessens
        if last is not None and there is not None and running is not None:
            kept = {name: value for name, value in there.live.items() if name in here.live}
            left = {name: value for name, value in there.live.items() if name not in here.live}
            same = (kept, there.cold, there.settings) == (dict(here.live), here.cold, here.settings)
            if same and left and all(running.live.get(name) == value for name, value in left.items()):
                self.lessens = (last, *before)
        return self.lessens

    def _gone(self) -> tuple[str, ...]:
        running = self.running
        return () if running is None else tuple(f"sources.{name}" for name in running.live if name not in self.live)

    def _revoked(self, gone: tuple[str, ...]) -> Digest | None:
        """Return what runs less what is gone; None where nothing is, or what remains is invalid."""
        running = self.running
        if running is None or not gone or self.remains:
            return None
        left = {name: value for name, value in running.live.items() if name in self.live}
        return self.put(left, running.cold, running.settings)

    def _refused(self, ticket: int, gone: tuple[str, ...]) -> CandidateRefused:
        revoked = self._revoked(gone)
        in_force = None if revoked is None else self.known[revoked].settings
        shape = NO_SHAPE if revoked is None else self.shape(self.base, revoked)
        remains = self.remains if gone else ()
        verdict = CandidateRefused(
            ticket, self.problems, self.unstable, self.base, gone, revoked, remains, in_force, shape=shape
        )
        return replace(verdict, doubtful=self.doubtful)

    def _seen(self, *, whole: bool, gone: tuple[str, ...]) -> Candidate:
        running, base = self.running, self.base
        wanted = self.put(self.live, self.cold, self.settings)
        if whole or running is None:
            seen = Candidate(wanted, wanted, base, (), (), gone, self.settings)
            return replace(seen, shape=self.shape(base, wanted))
        held = (COLD_KEY,) if self.cold != running.cold else ()
        if held and self.blocks:
            seen = Candidate(wanted, base, base, held, HELD_BACK, gone, running.settings)
            return replace(seen, shape=self.shape(base, base))
        in_force = running.settings if held else self.settings
        digest = self.put(self.live, running.cold, in_force)
        seen = Candidate(wanted, digest, base, held, (), gone, in_force)
        return replace(seen, shape=self.shape(base, digest), widened=self.widened if digest != base else ())


@dataclass
class Faults:
    """Say what goes wrong. ``poison`` is what a content does to a worker, to which (none: all), and how often.

    ``trial`` is what is wrong with the trial worker, ``gate`` with the external gate, ``probe`` what a healthy probe
    answers, ``quiet`` that no requests come. ``code`` is what the code of a restart does to workers, by the number of
    its generation, ``import_error`` why it can't be imported, and ``imports`` False where nobody ever says whether.
    """

    poison: dict[Digest, str] = field(default_factory=dict)
    victims: set[str] = field(default_factory=set)
    chance: float = 1.0
    journal: bool = False
    commits: bool = False
    archive: bool = False
    looks: bool = False
    recalls: bool = False
    spawns: bool = False
    binds: bool = False
    quiet: bool = False
    code: dict[int, str] = field(default_factory=dict)
    import_error: str = ""
    imports: bool = True
    trial: str = ""
    gate: str = ""
    probe: str = "none"
    busy: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
