"""Scenarios: commands to the simulated world, and what the fleet decides, one line for each event and effect.

A file holds blocks of one command, a line ``----`` and the transcript. Lines that begin with ``>`` are events as they
arrive, the others are effects in their order. Digests are shown by the name of their content. Everything is delivered
in the order in which it came about, so a transcript is the same on every run.
"""

from __future__ import annotations

import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.effects import Effect, Outcome
from nexus_supervisor.core.events import Candidate, Event
from nexus_supervisor.core.history import Committed
from nexus_supervisor.core.settings import Settings
from tests.support.simulated import SYNTAX, content, name_of, settings
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nexus_supervisor.core.problems import Problem

__all__ = ["Block", "parsed", "played", "written"]

RULE = "----"
QUIET = {"version_staged", "version_active", "retired", "slot_drained"}
"""Notices that only repeat the event before them."""

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
            "remove": self._remove,
            "break": lambda: self._broken(SYNTAX),
            "mend": lambda: self._broken(()),
            "hold": self._hold,
            "push": lambda ticket: self.world.push(int(ticket)),
            "restart": lambda ticket: self.world.restart(int(ticket)),
            "poison": self._poison,
            "stop": lambda: self.world.post(events.StopAsked("SIGTERM", now=False)),
        }

    def play(self, line: str) -> list[str]:
        """Perform one command; return what came of it."""
        name, *arguments = shlex.split(line)
        self._lines: list[str] = []
        self.world.heard = self._hear
        command = self._commands[name] if name in self._commands else getattr(self.world, name)
        command(*arguments)
        return self._lines

    def _hear(self, what: Event | Effect) -> None:
        self._lines.extend(_effect(what) if isinstance(what, Effect) else [f"> {shown(what)}"])

    # --- commands ----------------------------------------------------------------------------------------------------

    def _world(self, *options: str) -> None:
        given = dict(option.split("=") for option in options)
        committed = None
        if "committed" in given:
            version, name = given["committed"].split(":")
            committed = Committed(Version(int(version)), content(name))
        self.world = World(workers=int(given.get("workers", "2")), committed=committed, given=self._settings(given))
        self.world.directory.live |= {name: "1" for name in given.get("entries", "").split(",") if name}

    @staticmethod
    def _settings(given: dict[str, str]) -> Settings:
        return settings(int(given.get("workers", "2")), rollout={"bake_seconds": 0, "max_parallel": 1})

    def _settle(self) -> None:
        while self.world.pending:
            self.world.deliver(0)

    def _deliver(self, count: str = "1") -> None:
        for _ in range(int(count)):
            self.world.deliver(0)

    def _until(self, version: str) -> None:
        while not any(one.current and one.current[0] == int(version) for one in self.world.workers.values()):
            self.world.deliver(0)

    def _remove(self, name: str) -> None:
        del self.world.directory.live[name]
        self.world.touch()

    def _broken(self, problems: tuple[Problem, ...]) -> None:
        self.world.directory.problems = problems
        self.world.touch()

    def _hold(self, cold: str) -> None:
        self.world.directory.cold = cold
        self.world.touch()

    def _poison(self, name: str, what: str, *victims: str) -> None:
        self.world.faults.poison[content(name)] = what
        self.world.faults.victims = set(victims)


def _effect(effect: Effect) -> Iterator[str]:
    match effect:
        case effects.Announce():
            if effect.notice.kind not in QUIET:
                yield f"Announce {effect.notice.level} {effect.notice.kind}: {_named(effect.notice.text)}"
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
    told = ((field, getattr(value, field.name)) for field in fields(value))  # type: ignore[arg-type]
    facts = {field.name: fact for field, fact in told if fact != field.default}
    slot, incarnation = facts.pop("slot", None), facts.pop("incarnation", None)
    who = [] if slot is None else [f"{slot}/{incarnation}"]
    said = [text for name, fact in facts.items() if (text := _fact(name, fact))]
    return " ".join([type(value).__name__, *who, *said])


def _fact(name: str, fact: Any) -> str:
    match fact:
        case None | False | () | "" | Settings():
            return ""
        case True:
            return name
        case Candidate():
            return " ".join(filter(None, (_fact(field.name, getattr(fact, field.name)) for field in fields(fact))))
        case tuple():
            return f"{name}=[{', '.join(_named(str(item)) for item in fact)}]"
        case str() | int() | float():
            return f"{name}={_named(str(fact))}"
        case _:
            return shown(fact)


def _named(text: str) -> str:
    """Show digests by the names of their contents."""
    return " ".join(name_of(word) if len(word) == 64 else word for word in text.split(" "))  # type: ignore[arg-type]
