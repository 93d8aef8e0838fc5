"""The poison corpus: kinds of versions that harm who uses them, and a daemon under load that meets them one by one.

Decided here: the kinds, how a directory gets one, and what notices and answers tell about what came of it. Not decided
here: what must hold of that (``tests/poison``) and how long it takes (``tests/benchmarks/poison.py``). What a poison
does is in ``tests/poison/site``, which is copied into the directory.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import Ended
from nexus_supervisor.supervisor import keys
from tests.support.gateway_directory import write_atomically
from tests.support.nexus import Nexus
from tests.support.steady_load import Asked, Load

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "EXPLODES",
    "HARMLESS",
    "HEALTHY",
    "KINDS",
    "LIES",
    "WORKERS",
    "Case",
    "Kind",
    "Told",
    "Ward",
    "a_ward",
    "kinds_met_by",
    "make_ward_directory",
]

WORKERS = 3

_SITE = Path(__file__).parents[1] / "poison" / "site"
_DAEMON = """\
[supervisor]
program = "{program}"
app = "app:app"
hooks = "hooks"
workers = {workers}

[supervisor.restart]
backoff_seconds = 0

[supervisor.rollout]
{rollout}

[[supervisor.section]]
name = "rules"
files = "rules/*.toml"
apply = "live"
model = "models:Rule"
"""


class Kind(NamedTuple):
    """Name a poison, the fields of the rule that holds it, and who is to meet it and with which outcome.

    ``quiet``: there are no requests while it is pushed.
    """

    name: str
    fields: Mapping[str, str | int]
    met_by: str
    word: str = "ROLLED_BACK"
    quiet: bool = False

    @property
    def text(self) -> str:
        """Return the file of the rule."""
        lines = {
            name: f'"{value}"' if isinstance(value, str) else str(value).lower() for name, value in self.fields.items()
        }
        return "".join(f"{name} = {value}\n" for name, value in lines.items())


def _tried(poison: str, at: str = "prepare") -> Kind:
    return Kind(f"{poison} in {at}", {"poison": poison, "at": at}, "trial", "REJECTED")


def _spared(poison: str) -> Kind:
    fields: dict[str, str | int] = {"poison": poison, "at": "prepare", "spares_trial": True}
    return Kind(f"{poison} in prepare, not in the trial", fields, "staging", "REJECTED")


def _baked(name: str, poison: str, at: str = "", *, quiet: bool = False, spares_trial: bool = False) -> Kind:
    fields: dict[str, str | int] = {"poison": poison, "at": at, "spares_trial": spares_trial}
    return Kind(name, fields, "bake", quiet=quiet)


KINDS = (
    Kind("raises in validate", {"poison": "raises", "at": "validate"}, "compiler", "REJECTED"),
    *map(_tried, ("raises", "exits", "segfaults", "hangs", "spins", "slow", "grows")),
    *(_tried(poison, "probe") for poison in ("raises", "exits", "hangs")),
    *map(_spared, ("raises", "exits", "segfaults", "hangs")),
    _baked("raises in a handler", "raises", "handler"),
    _baked("exits in a handler", "exits", "handler"),
    _baked("segfaults in a handler", "segfaults", "handler"),
    _baked("hangs the loop", "hangs", "handler"),
    _baked("spins in the loop", "spins", "handler"),
    _baked("answers ten times slower", "slower"),
    _baked("leaks 50 MB/s", "leaks"),
    _baked("fails one request in five", "errs"),
    _baked("refuses every request", "refuses"),
    _baked("stops the loop now and then", "lags"),
    _baked("exits at the first use of what changed", "exits", "changed"),
    _baked("exits in activated", "exits", "activated"),
    _baked("raises in probe, not in the trial", "raises", "probe", quiet=True, spares_trial=True),
)
"""What is refused or rolled back before a second worker uses it."""

LIES = _baked("acknowledges and does not apply", "lies")
EXPLODES = Kind("exits 5 s after its activation", {"poison": "explodes"}, "commit", "APPLIED")
HEALTHY = Kind("another price", {"price": 2}, "nobody", "APPLIED")
HARMLESS = Kind("raises in activated", {"poison": "raises", "at": "activated"}, "nobody", "APPLIED")


def kinds_met_by(*who: str) -> list[Kind]:
    """Return the kinds that are met there."""
    return [kind for kind in KINDS if kind.met_by in who]


def make_ward_directory(parent: Path, rollout: str, *, program: str = "asgi", workers: int = WORKERS) -> Path:
    """Make a directory whose only rule is harmless; ``rollout`` are lines of ``[supervisor.rollout]``."""
    directory = parent / "dir"
    shutil.copytree(_SITE, directory, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "rules").mkdir()
    (directory / "daemon.toml").write_text(_DAEMON.format(program=program, workers=workers, rollout=rollout))
    (directory / "rules" / "main.toml").write_text("price = 1\n")
    (directory / "alive").touch()
    keys.generate(directory)
    return directory


class Told(NamedTuple):
    """Hold one notice."""

    number: int
    at: float
    kind: str
    text: str
    fields: dict[str, Any]


@dataclass
class Case:
    """Hold what came of one push: its answer, what was told, what clients were answered, and the versions in it."""

    asked_at: float
    before: int
    ended: Ended
    told: list[Told]
    asked: list[Asked]
    status: dict[str, Any]
    slots: frozenset[str] = field(default_factory=frozenset)

    def first(self, *kinds: str, **fields: object) -> Told | None:
        """Return the first notice of one of these kinds with these fields, or None."""
        return next((told for told in self.told if told.kind in kinds and _has(told, fields)), None)

    def all(self, *kinds: str, **fields: object) -> list[Told]:
        return [told for told in self.told if told.kind in kinds and _has(told, fields)]

    @property
    def target(self) -> int | None:
        """The version that held the poison; None where there was none."""
        started = self.first("rollout_started")
        return None if started is None else int(started.fields["version"])

    @property
    def staged_by(self) -> set[str]:
        return {told.fields["slot"] for told in self.all("version_staged", version=self.target)} & self.slots

    @property
    def activated_by(self) -> set[str]:
        return {told.fields["slot"] for told in self.all("version_active", version=self.target)} & self.slots

    @property
    def lost(self) -> set[str]:
        """The slots whose process ended or was ended."""
        return {told.fields["slot"] for told in self.all("worker_exited", "slot_fenced")} & self.slots

    @property
    def answered_by(self) -> set[str]:
        """The slots from which a client had an answer with the poisoned version."""
        return {one.slot for one in self.asked if one.version == self.target and self.target}

    @property
    def affected(self) -> set[str]:
        return self.activated_by | self.lost | self.answered_by

    @property
    def least_ready(self) -> int:
        """How many slots served, when they were fewest."""
        ready = least = set(self.slots)
        for told in self.told:
            if (slot := told.fields.get("slot")) in self.slots:
                if told.kind in ("worker_exited", "slot_fenced"):
                    ready = ready - {slot}
                elif told.kind == "slot_ready":
                    ready = ready | {slot}
            least = min(least, ready, key=len)
        return len(least)

    @property
    def failures(self) -> list[Asked]:
        return [one for one in self.asked if one.failed]

    def __str__(self) -> str:
        told = "\n".join(f"  {one.number} {one.at - self.asked_at:7.3f} {one.kind}: {one.text}" for one in self.told)
        return f"{self.ended}\nsent {len(self.asked)}, failed {len(self.failures)}\n{told}"


class Ward:
    """A daemon under load that is given one poison after the other, and is well again in between."""

    def __init__(self, nexus: Nexus, load: Load) -> None:
        self.nexus, self.load = nexus, load
        self.slots = frozenset(nexus.workers())

    def write(self, text: str) -> None:
        """Replace the rule."""
        write_atomically(self.nexus.directory / "rules" / "main.toml", text)

    def meet(self, kind: Kind, **options: Any) -> Case:
        """Push a poison; return what came of it. The load has met every worker before, and is on."""
        with self.load.paused() if kind.quiet else contextlib.nullcontext():
            mark = self.mark()
            self.write(kind.text)
            return self.since(mark, self.nexus.push(**options))

    def mark(self) -> Mark:
        """Return where notices and requests are now."""
        told = self._told(0)
        return Mark(told[-1].number, len(self.load.asked), time.time(), self.nexus.version)

    def since(self, mark: Mark, ended: Ended) -> Case:
        """Return what happened since then."""
        told, status = self._told(mark.number + 1), self.nexus.status()
        return Case(mark.at, mark.version, ended, told, self.load.asked[mark.asked :], status, self.slots)

    def cure(self) -> None:
        """Put the rule back, and wait until every worker serves what is committed, and is asked by the load."""
        self.write("price = 1\n")
        ended = self.nexus.push()
        assert ended.exit_code == 0, ended
        self.until_well()

    def until_well(self) -> None:
        """Wait until every worker serves what is committed, and is asked by the load."""
        while not self._is_well():
            pass
        self.load.until_answered_by(set(self.slots), self.nexus.version)

    def _is_well(self) -> bool:
        status = self.nexus.status()
        return status["rollout"] is None and all(
            (worker["state"], worker["version"]) == ("ready", status["version"]) for worker in status["workers"]
        )

    def _told(self, since: int) -> list[Told]:
        return [
            Told(noticed.number, noticed.at, document["kind"], document["text"], document["fields"])
            for noticed in self.nexus.client.notices(since, follow=False)
            for document in [canonical.decode(noticed.document)]
        ]


QUICK = """\
bake_seconds = 3
quiet_bake_seconds = 10
stage_timeout_seconds = 3
gates.min_requests = 20
gates.max_rss_growth_mb = 16
gates.max_lag_seconds = 0.5
trial.timeout_seconds = 3
trial.cpu_seconds = 1
trial.memory_mb = 128
"""
"""Durations are short where they have to pass, and long where they only may."""


@contextlib.contextmanager
def a_ward(parent: Path, rollout: str = QUICK, *, program: str = "asgi") -> Iterator[Ward]:
    """Run a daemon under load until the block ends."""
    with Nexus(make_ward_directory(parent, rollout, program=program)) as nexus, Load(nexus.address) as load:
        ward = Ward(nexus, load)
        ward.until_well()
        yield ward


class Mark(NamedTuple):
    """Say where notices and requests were at a moment, and which version was committed."""

    number: int
    asked: int
    at: float
    version: int


def _has(told: Told, fields: Mapping[str, object]) -> bool:
    return all(told.fields.get(name) == value for name, value in fields.items())
