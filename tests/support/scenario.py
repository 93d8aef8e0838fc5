"""Scenarios: commands to the simulated world, and what the fleet decides, one line for each event and effect.

A file holds blocks of one command, a line ``----`` and the transcript. Lines that begin with ``>`` are events as they
arrive, the others are effects in their order. Digests are shown by the name of their content. Everything is delivered
in the order in which it came about, so a transcript is the same on every run.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.effects import Effect, Outcome
from nexus_supervisor.core.events import Candidate, Event
from nexus_supervisor.core.history import Committed
from nexus_supervisor.core.settings import Settings
from nexus_supervisor.core.shape import Shape
from tests.support.simulated import SYNTAX, content, name_of, settings
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexus_supervisor.core.problems import Problem

__all__ = ["Block", "parsed", "played", "written"]

RULE = "----"
QUIET = {"version_staged", "version_active", "retired", "slot_drained"}
"""Notices that only repeat the event before them."""
REGULAR = (events.Elapsed, events.Measured)
"""Events that come again and again; shown where something follows from them."""

Block = tuple[str, str]


def parsed(text: str) -> tuple[str, list[Block]]:
    """Return the heading of a file, and its blocks of command and transcript."""
    heading, *parts = text.split("\n\n")
    blocks = [part.partition(f"\n{RULE}") for part in parts if part.strip()]
    return heading, [(command.strip(), transcript.strip("\n")) for command, _, transcript in blocks]


def written(heading: str, blocks: list[Block]) -> str:
    """Return a file."""
    return (
        "\n\n".join([heading, *(f"{command}\n{RULE}\n{transcript}".rstrip() for command, transcript in blocks)]) + "\n"
    )


def played(commands: list[str]) -> list[Block]:
    """Return the blocks that the commands lead to."""
    stage = _Stage()
    return [(command, "\n".join(stage.play(command))) for command in commands]


class _Stage:
    """Hold the world of one scenario."""

    def __init__(self) -> None:
        self.world = World()
        self._commands: dict[str, Callable[..., None]] = {
            "world": self._world,
            "settle": self._settle,
            "deliver": self._deliver,
            "until": self._until,
            "elapse": lambda seconds: self.world.elapse(float(seconds)),
            "break": lambda: self._broken(SYNTAX),
            "mend": lambda: self._broken(()),
            "hold": self._hold,
            "push": self._push,
            "restart": lambda ticket: self.world.restart(int(ticket)),
            "rollback": lambda ticket, version=None: self.world.rollback(int(ticket), version and int(version)),
            "steer": lambda ticket, verb: self.world.steer(int(ticket), verb),
            "poison": self._poison,
            "busiest": self._busiest,
            "fault": self._fault,
            "stop": lambda: self.world.post(events.StopAsked("SIGTERM", now=False)),
        }

    def play(self, line: str) -> list[str]:
        """Perform one command; return what came of it."""
        name, *arguments = shlex.split(line)
        self._lines: list[str] = []
        self._regular = ""
        self.world.heard = self._hear
        command = self._commands[name] if name in self._commands else getattr(self.world, name)
        command(*arguments)
        return self._lines

    def _hear(self, what: Event | Effect) -> None:
        if isinstance(what, REGULAR):
            self._regular = f"> {shown(what)}"
            return
        lines = list(_effect(what)) if isinstance(what, Effect) else [f"> {shown(what)}"]
        if not isinstance(what, Effect):
            self._regular = ""
        elif lines and self._regular:
            lines, self._regular = [self._regular, *lines], ""
        self._lines.extend(lines)

    # --- commands ----------------------------------------------------------------------------------------------------

    def _world(self, *options: str) -> None:
        given = {name: value for name, _, value in (option.partition("=") for option in options)}
        committed = None
        if "committed" in given:
            version, name = given["committed"].split(":")
            committed = Committed(Version(int(version)), content(name))
        self.world = World(workers=int(given.get("workers", "2")), committed=committed, given=self._settings(given))
        self.world.directory.live |= {name: "1" for name in given.get("entries", "").split(",") if name}

    @staticmethod
    def _settings(given: dict[str, str]) -> Settings:
        trial, bake = "trial" in given, float(given.get("bake", 0))
        more: dict[str, Any] = {"external_gate": {"command": given["gate"]}} if "gate" in given else {}
        rollout = {"max_parallel": int(given.get("group", 1))}
        return settings(int(given.get("workers", "2")), bake=bake, trial=trial, rollout=rollout, **more)

    def _settle(self) -> None:
        while self.world.pending:
            self.world.deliver(0)

    def _deliver(self, count: str = "1") -> None:
        for _ in range(int(count)):
            self.world.deliver(0)

    def _until(self, version: str) -> None:
        while not any(one.current and one.current[0] == int(version) for one in self.world.workers.values()):
            self.world.deliver(0)

    def _push(self, ticket: str, *options: str) -> None:
        """Push with options, such as ``now``, ``strategy=rolling`` or ``allow=shrink``."""
        more: dict[str, Any] = {}
        for name, _, value in (option.partition("=") for option in options):
            more[name] = (value,) if name == "allow" else value or True
        self.world.push(int(ticket), **more)

    def _broken(self, problems: tuple[Problem, ...]) -> None:
        self.world.directory.problems = problems
        self.world.touch()

    def _hold(self, cold: str) -> None:
        self.world.directory.cold = cold
        self.world.touch()

    def _poison(self, name: str, what: str, *victims: str) -> None:
        self.world.faults.poison[content(name)] = what
        self.world.faults.victims = set(victims)

    def _busiest(self, slot: str) -> None:
        self.world.rates[slot] = 1000.0

    def _fault(self, name: str, value: str = "") -> None:
        setattr(self.world.faults, name, value or True)


def _effect(effect: Effect) -> Iterator[str]:
    match effect:
        case effects.Announce():
            if effect.notice.kind not in QUIET:
                yield f"Announce {effect.notice.level} {effect.notice.kind}: {_named(effect.notice.text)}"
        case effects.Measure():
            pass
        case effects.Answer():
            yield f"Answer {effect.ticket}: {_outcome(effect.outcome)}"
        case _:
            yield shown(effect)


def _outcome(outcome: Outcome) -> str:
    return f"{outcome.exit_code} {outcome.word} {_named(outcome.text)}"


def shown(value: object) -> str:
    """Show an event or effect in one line."""
    if isinstance(value, events.WorkerSaid):
        return shown(value.message)
    if isinstance(value, events.Measured):
        return "Measured"
    told = ((field, getattr(value, field.name)) for field in fields(value))  # type: ignore[arg-type]
    facts = {field.name: fact for field, fact in told if fact != field.default}
    slot, incarnation = facts.pop("slot", None), facts.pop("incarnation", None)
    who = [] if slot is None else [f"{slot}/{incarnation}"]
    said = [text for name, fact in facts.items() if (text := _fact(name, fact))]
    return " ".join([type(value).__name__, *who, *said])


def _fact(name: str, fact: Any) -> str:  # noqa: PLR0911 - one case for each kind of fact
    match fact:
        case None | False | () | "" | Settings() | Shape():
            return ""
        case True:
            return name
        case Candidate():
            return " ".join(filter(None, (_fact(field.name, getattr(fact, field.name)) for field in fields(fact))))
        case tuple():
            return f"{name}=[{', '.join(_named(str(item)) for item in fact)}]"
        case dict():
            return f"{name}={{{', '.join(f'{key}: {value}' for key, value in fact.items())}}}" if fact else ""
        case Outcome():
            return _outcome(fact)
        case str() | int() | float():
            return f"{name}={_named(str(fact))}"
        case _:
            return shown(fact)


def _named(text: str) -> str:
    """Show digests, also the beginnings of some, by the names of their contents."""
    named = " ".join(name_of(word) if len(word) == 64 else word for word in text.split(" "))  # type: ignore[arg-type]
    return re.sub(r"0{6,}", "", named)
