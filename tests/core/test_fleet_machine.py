"""The fleet against whatever can happen, in any order: every event is legal, and what must hold holds."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import settings as budget
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from nexus_supervisor.core import events
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.history import Committed
from nexus_supervisor.core.messages import Booted, FromWorker, Ready, Retired
from tests.support.happenings import (
    GUARDS,
    LETTERS,
    STRATEGIES,
    VERBS,
    anybody,
    digests,
    push_ids,
    said,
    slots,
)
from tests.support.simulated import SYNTAX, Faults, content, settings
from tests.support.world import World

if TYPE_CHECKING:
    from nexus_supervisor.core.events import Event
    from nexus_supervisor.core.settings import Settings

POISONS = [
    *("refuse", "stage dies", "activate dies", "activate hangs", "active dies", "start dies", "silent"),
    *("bomb", "slow bomb", "errors", "hangs", "leaks", "slow", "probe fails", "probe hangs"),
    *("trial refuses", "trial hangs", "trial dies"),
]
CROWD = ("c1", "c2", "c3", "c4")
MAX_PAUSE_SECONDS = 100
LONGEST_SECONDS = 400
"""No rollout lasts as long, whatever hangs: it is paused for a while, every step takes all its time."""
SEARCHING = os.environ.get("HYPOTHESIS_PROFILE") == "search"
NO_PUSH = 1_000_000


class FleetMachine(RuleBasedStateMachine):
    """Do anything to a simulated world; once everything is well again, it comes to rest on what the directory holds."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.past: list[Event] = []
        self.tickets = 0
        self.crowded = False
        self.careful: dict[str, object] = {}
        self.shape = ""  # settings that differ by what needs a restart make the content another one

    @initialize(
        workers=st.integers(1, 4),
        before=st.booleans(),
        unchanged=st.booleans(),
        careful=st.booleans(),
        gate=st.booleans(),
        inconclusive=st.sampled_from(["continue", "rollback"]),
        group=st.sampled_from([1, "50%"]),
        edits=st.sampled_from(["", "b", "bcd"]),
    )
    def begin(self, workers: int, *, gate: bool, inconclusive: str, group: object, edits: str, **more: bool) -> None:
        before, unchanged = more["before"], more["unchanged"]
        self.careful = {"bake": 2.0, "trial": True} if more["careful"] else {}
        self.careful["rollout"] = {
            "on_inconclusive": inconclusive,
            "max_parallel": group,
            "max_pause_seconds": MAX_PAUSE_SECONDS,
            **({"wave_pause_seconds": 1} if gate else {}),
        }
        self.careful["external_gate"] = {"command": "true"} if gate else {}
        committed = Committed(Version(3), content("a")) if before else None
        self.world = World(workers=workers, committed=committed, given=self._given(workers))
        self.world.directory.live["x"] = "1"
        if before and unchanged:
            del self.world.directory.live["x"]
        self.world.begin()
        for letter in edits:
            self.world.settle()
            self.world.elapse(10)
            self.world.change(letter)

    def _given(self, workers: int, port: int = 8080) -> Settings:
        return settings(workers, port, **self.careful)  # type: ignore[arg-type]

    # --- what happens by itself --------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.pending)
    @rule(picks=st.lists(st.integers(0, 30), min_size=1, max_size=8))
    def deliver(self, picks: list[int]) -> None:
        for pick in picks:
            if self.world.pending:
                self.past.append(self.world.deliver(pick % len(self.world.pending)))

    @rule()
    def everything_arrives(self) -> None:
        self.world.settle()

    @rule(seconds=st.sampled_from([0.01, 1, 2.5, 12, 70]))
    def time_passes(self, seconds: float) -> None:
        self.world.elapse(seconds)

    @precondition(lambda self: self.past)
    @rule(back=st.integers(0, 50))
    def an_old_word_comes_again(self, back: int) -> None:
        self.world.post(self.past[-1 - back % len(self.past)])

    @rule(message=said(st.just(NO_PUSH)).filter(lambda one: not isinstance(one, Ready | Retired | Booted)))
    def a_word_comes_that_answers_nothing(self, message: FromWorker) -> None:
        self.world.post(events.WorkerSaid(message))

    @rule(slot=anybody)
    def a_worker_dies(self, slot: str) -> None:
        self.world.kill(slot)

    @rule(pick=st.integers(0, 9), clean=st.booleans())
    def a_worker_ends_by_itself(self, pick: int, *, clean: bool) -> None:
        keys = sorted(self.world.workers)
        if keys:
            self.world.die(keys[pick % len(keys)], "exit code 0" if clean else "exit code 1", clean=clean)

    @rule(workers=st.none() | st.integers(0, 5), by=st.sampled_from([-1, 1]), program=st.sampled_from(["", "jobs"]))
    def somebody_scales(self, workers: int | None, by: int, program: str) -> None:
        self.tickets += 1
        self.world.scale(self.tickets, workers, program, by=by)

    # --- what people do ----------------------------------------------------------------------------------------------

    @rule(letter=st.sampled_from(LETTERS))
    def a_file_changes(self, letter: str) -> None:
        self.world.change(letter)

    @rule(there=st.booleans())
    def an_entry_comes_or_goes(self, *, there: bool) -> None:
        self.world.directory.live.pop("x", None)
        if there:
            self.world.directory.live["x"] = "1"
        self.world.touch()

    @rule(there=st.booleans())
    def many_entries_come_or_go(self, *, there: bool) -> None:
        self.crowded = True
        for name in CROWD:
            self.world.directory.live.pop(name, None)
            if there:
                self.world.directory.live[name] = "1"
        self.world.touch()

    @rule(widened=st.booleans())
    def an_entry_may_do_more(self, *, widened: bool) -> None:
        self.world.directory.widened = ("sources.main.can_write",) if widened else ()

    @rule(broken=st.booleans(), unstable=st.booleans(), remains=st.booleans())
    def a_file_is_broken_or_mended(self, *, broken: bool, unstable: bool, remains: bool) -> None:
        self.world.directory.problems = SYNTAX if broken else ()
        self.world.directory.unstable = unstable
        self.world.directory.remains = SYNTAX if broken and remains else ()
        self.world.touch()

    @rule(cold=st.sampled_from(["", "1", "2"]), blocks=st.booleans())
    def something_changes_that_needs_a_restart(self, cold: str, *, blocks: bool) -> None:
        self.world.directory.cold, self.world.directory.blocks = f"{self.shape}{cold}", blocks
        self.world.touch()

    @rule(workers=st.integers(1, 4), port=st.sampled_from([8080, 8081]))
    def the_settings_change(self, workers: int, port: int) -> None:
        self.world.directory.settings = self._given(workers, port)
        self.world.directory.cold = self.shape = f"{workers}-{port}-"
        self.world.touch()

    @rule(
        until_retired=st.booleans(),
        now=st.booleans(),
        force=st.booleans(),
        strategy=st.sampled_from(STRATEGIES),
        allow=st.sampled_from([(), ("shrink",), GUARDS]),
        push_id=push_ids,
    )
    def somebody_pushes(self, *, until_retired: bool, **more: Any) -> None:
        self.tickets += 1
        self.world.push(self.tickets, until_retired=until_retired, **more)

    @rule(push_id=push_ids)
    def somebody_restarts(self, push_id: str) -> None:
        self.tickets += 1
        self.world.restart(self.tickets, push_id=push_id)

    @rule(version=st.none() | st.integers(0, 9), push_id=push_ids)
    def somebody_goes_back(self, version: int | None, push_id: str) -> None:
        self.tickets += 1
        self.world.rollback(self.tickets, version, push_id=push_id)

    @rule(verb=st.sampled_from(VERBS))
    def somebody_steers(self, verb: events.Verb) -> None:
        self.tickets += 1
        self.world.steer(self.tickets, verb)

    @precondition(lambda self: "x" in self.world.directory.live and self.world.exit is None)
    @rule()
    def an_entry_is_gone_and_nothing_but_its_own_failure_keeps_it_alive(self) -> None:
        """Whatever bakes, is paused, pinned, quarantined or held: what is gone is revoked in all workers at once."""
        world = self.world
        faults, world.faults = world.faults, Faults(quiet=world.faults.quiet)
        world.bombs.clear()
        del world.directory.live["x"]
        world.post(events.Touched(None, urgent=True))
        world.settle()
        world.elapse(60)
        world.faults = faults
        serving = {name for name in world.digests() if "+x" in name}
        told = {"entry_still_live", "rollout_failed"} & set(world.kinds())
        assert not serving or told or world.directory.remains or world.invariants.stopped, "what is gone is revoked"

    @rule()
    def somebody_is_in_a_hurry(self) -> None:
        self.world.post(events.Touched(None, urgent=True))

    @precondition(lambda self: self.tickets > 9)
    @rule(now=st.booleans())
    def somebody_stops_it(self, *, now: bool) -> None:
        self.world.post(events.StopAsked("test", now=now))

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    @rule(
        bad=digests,
        what=st.sampled_from(POISONS),
        chance=st.sampled_from([0.3, 1.0]),
        victims=st.sets(slots, max_size=2),
    )
    def a_content_is_bad(self, bad: str, what: str, chance: float, victims: set[str]) -> None:
        self.world.faults.poison[content(bad.rstrip("0"))] = what
        self.world.faults.chance, self.world.faults.victims = chance, victims

    @rule(
        what=st.sampled_from(["journal", "commits", "archive", "looks", "recalls", "spawns", "binds", "quiet"]),
        fails=st.booleans(),
    )
    def something_outside_fails_or_works_again(self, what: str, *, fails: bool) -> None:
        self.world.faults = replace(self.world.faults, **{what: fails})  # type: ignore[arg-type]

    @rule(busy=st.sets(slots, max_size=1), pinned=st.sets(slots, max_size=1))
    def requests_take_long(self, busy: set[str], pinned: set[str]) -> None:
        self.world.faults.busy, self.world.faults.pinned = busy, pinned

    @rule(
        trial=st.sampled_from(["", "never starts", "silent"]),
        gate=st.sampled_from(["", "refuses", "silent"]),
        probe=st.sampled_from(["none", "passed"]),
    )
    def who_is_asked_answers_otherwise(self, trial: str, gate: str, probe: str) -> None:
        self.world.faults = replace(self.world.faults, trial=trial, gate=gate, probe=probe)

    def teardown(self) -> None:
        """Let every rollout end whatever goes on to fail; then let everything be well, and time pass."""
        world = self.world
        world.settle()
        under_way = world.fleet.board.rollout
        if under_way is not None:
            world.elapse(LONGEST_SECONDS)
            assert world.fleet.board.rollout is not under_way, "every rollout ends"
        world.faults = Faults()
        world.bombs.clear()
        world.directory.problems = world.directory.remains = ()
        world.directory.unstable = world.directory.blocks = False
        world.settle()
        if world.exit is None:
            world.elapse(400)  # who died or hangs is not to be blamed on what comes now
            world.change("z")
            if self.crowded:
                self.tickets += 1
                world.push(self.tickets, allow=GUARDS)
            world.settle()
            self._retire()
            world.elapse(400)
            self._retire()
        world.check_rest()
        if world.exit is None and not world.invariants.stopped:
            committed = world.fleet.board.history.digest
            assert committed is not None
            assert world.directory.known[committed].live == world.directory.live, "what is valid goes live"
            wanted = [slot for slot in world.fleet.board.roster.slots.values() if not slot.stopped]
            assert len(world.workers) == len(wanted), "every slot has its worker"

    def _retire(self) -> None:
        for worker in list(self.world.workers.values()):
            if worker.current is not None:
                self.world.post(events.WorkerSaid(Retired(*worker.key, Version(worker.current[0]))))


class ProgramsMachine(FleetMachine):
    """The same with two programs, each of which has workers that are started again in its own way."""

    how: dict[str, str]

    @initialize(
        restart=st.sampled_from(["permanent", "transient", "temporary"]),
        strategy=st.sampled_from(["one_for_one", "rest_for_one", "one_for_all"]),
        workers=st.integers(1, 3),
        before=st.booleans(),
        careful=st.booleans(),
    )
    def begin(self, workers: int, restart: str, strategy: str, *, before: bool, careful: bool) -> None:  # type: ignore[override]
        self.how = {"restart": restart, "strategy": strategy}
        more = {"unchanged": False, "before": before, "careful": careful}
        super().begin(workers, gate=False, inconclusive="continue", group="50%", edits="", **more)

    def _given(self, workers: int, port: int = 8080) -> Settings:
        first = {"name": "gateway", "workers": workers, "strategy": self.how["strategy"]}
        jobs = {"name": "jobs", "program": "hello", "workers": 2, "bind": "", **self.how}
        return settings(port=port, program=[first, jobs], **self.careful)  # type: ignore[arg-type]


ProgramsMachine.TestCase.settings = budget(max_examples=2_000 if SEARCHING else 30, stateful_step_count=40)
TestProgramsMachine = ProgramsMachine.TestCase
FleetMachine.TestCase.settings = budget(max_examples=2_000 if SEARCHING else 150, stateful_step_count=50)
TestFleetMachine = FleetMachine.TestCase
