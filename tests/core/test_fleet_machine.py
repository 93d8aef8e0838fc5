"""The fleet against whatever can happen, in any order: every event is legal, and what must hold holds."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from nexus_supervisor.core import effects, events, status
from nexus_supervisor.core.content import EMPTY, Version
from nexus_supervisor.core.events import Candidate, Event
from nexus_supervisor.core.fleet import Fleet
from nexus_supervisor.core.history import Committed, History
from nexus_supervisor.core.messages import Active, Booted, Drained, FromWorker, Ready, Rejected, Retired, Staged
from tests.support.simulated import SYNTAX, Faults, content, settings
from tests.support.world import World

if TYPE_CHECKING:
    from nexus_supervisor.core.effects import Effect

LETTERS = "abcdef"
POISONS = ["refuse", "stage dies", "activate dies", "activate hangs", "active dies", "start dies", "silent"]
SLOTS = [f"gateway-{number}" for number in range(4)]
NO_PUSH = 1_000_000
SEARCHING = os.environ.get("HYPOTHESIS_PROFILE") == "search"

names = st.sampled_from([f"{letter}{more}" for letter in LETTERS for more in ("", "+x", "!1", "+x!1")])
digests = names.map(content)
slots = st.sampled_from(SLOTS)
moments = st.none() | st.floats(allow_nan=False, allow_infinity=False)


def said(pushes: st.SearchStrategy[int], most: int = 9) -> st.SearchStrategy[FromWorker]:
    """Return anything that a worker could say."""
    who = (slots, st.integers(0, 4))
    version = st.integers(0, most).map(Version)
    reasons = st.sampled_from(["model", "not_applicable", "signature_mismatch", "rolled_back"])
    return st.one_of(
        st.builds(Booted, *who),
        st.builds(Ready, *who),
        st.builds(Drained, *who),
        st.builds(Retired, *who, version, moments, st.integers(-9, 9), moments),
        st.builds(Staged, *who, pushes, version, digests),
        st.builds(Active, *who, pushes, version, digests),
        st.builds(Rejected, *who, pushes, version, reasons, st.just("it is bad")),
    )


class FleetMachine(RuleBasedStateMachine):
    """Do anything to a simulated world; once everything is well again, it comes to rest on what the directory holds."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.past: list[Event] = []
        self.tickets = 0

    @initialize(workers=st.integers(1, 4), before=st.booleans(), unchanged=st.booleans())
    def begin(self, workers: int, *, before: bool, unchanged: bool) -> None:
        self.world = World(workers=workers, committed=Committed(Version(3), content("a")) if before else None)
        self.world.directory.live["x"] = "1"
        if before and unchanged:
            del self.world.directory.live["x"]
        self.world.begin()

    # --- what happens by itself --------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.pending)
    @rule(picks=st.lists(st.integers(0, 30), min_size=1, max_size=8))
    def deliver(self, picks: list[int]) -> None:
        for pick in picks:
            if self.world.pending:
                self.past.append(self.world.deliver(pick % len(self.world.pending)))

    @rule(seconds=st.sampled_from([0.01, 1, 12, 70]))
    def time_passes(self, seconds: float) -> None:
        self.world.elapse(seconds)

    @precondition(lambda self: self.past)
    @rule(back=st.integers(0, 50))
    def an_old_word_comes_again(self, back: int) -> None:
        self.world.post(self.past[-1 - back % len(self.past)])

    @rule(message=said(st.just(NO_PUSH)).filter(lambda one: not isinstance(one, Ready | Retired | Booted)))
    def a_word_comes_that_answers_nothing(self, message: FromWorker) -> None:
        self.world.post(events.WorkerSaid(message))

    @rule(slot=slots)
    def a_worker_dies(self, slot: str) -> None:
        self.world.kill(slot)

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

    @rule(broken=st.booleans(), unstable=st.booleans(), remains=st.booleans())
    def a_file_is_broken_or_mended(self, *, broken: bool, unstable: bool, remains: bool) -> None:
        self.world.directory.problems = SYNTAX if broken else ()
        self.world.directory.unstable = unstable
        self.world.directory.remains = SYNTAX if broken and remains else ()
        self.world.touch()

    @rule(cold=st.sampled_from(["", "1", "2"]), blocks=st.booleans())
    def something_changes_that_needs_a_restart(self, cold: str, *, blocks: bool) -> None:
        self.world.directory.cold, self.world.directory.blocks = cold, blocks
        self.world.touch()

    @rule(workers=st.integers(1, 4), port=st.sampled_from([8080, 8081]))
    def the_settings_change(self, workers: int, port: int) -> None:
        self.world.directory.settings = settings(workers, port)
        self.world.directory.cold = f"{workers}-{port}"
        self.world.touch()

    @rule(until_retired=st.booleans())
    def somebody_pushes(self, *, until_retired: bool) -> None:
        self.tickets += 1
        self.world.push(self.tickets, until_retired=until_retired)

    @rule()
    def somebody_restarts(self) -> None:
        self.tickets += 1
        self.world.restart(self.tickets)

    @rule()
    def somebody_is_in_a_hurry(self) -> None:
        self.world.post(events.Touched(None, urgent=True))

    @precondition(lambda self: self.tickets > 2)
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

    @rule(what=st.sampled_from(["journal", "commits", "archive", "looks", "spawns", "binds"]), fails=st.booleans())
    def something_outside_fails_or_works_again(self, what: str, *, fails: bool) -> None:
        self.world.faults = replace(self.world.faults, **{what: fails})

    @rule(busy=st.sets(slots, max_size=1), pinned=st.sets(slots, max_size=1))
    def requests_take_long(self, busy: set[str], pinned: set[str]) -> None:
        self.world.faults.busy, self.world.faults.pinned = busy, pinned

    def teardown(self) -> None:
        """Let everything be well, and time pass."""
        world = self.world
        world.faults = Faults()
        world.directory.problems = world.directory.remains = ()
        world.directory.unstable = world.directory.blocks = False
        world.settle()
        if world.exit is None:
            world.elapse(400)  # who died or hangs is not to be blamed on what comes now
            world.change("z")
            world.settle()
            self._retire()
            world.elapse(400)
            self._retire()
        world.check_rest()
        if world.exit is None and not world.invariants.stopped:
            committed = world.fleet.board.history.digest
            assert committed is not None
            assert world.directory.known[committed].live == world.directory.live, "what is valid goes live"
            assert len(world.workers) == len(world.fleet.board.roster.slots), "every slot has its worker"

    def _retire(self) -> None:
        for worker in list(self.world.workers.values()):
            if worker.current is not None:
                self.world.post(events.WorkerSaid(Retired(*worker.key, Version(worker.current[0]))))


FleetMachine.TestCase.settings = budget(max_examples=2_000 if SEARCHING else 150, stateful_step_count=50)
TestFleetMachine = FleetMachine.TestCase


# --- lies and nonsense -----------------------------------------------------------------------------------------------

bases = st.sampled_from([EMPTY.digest, content("a"), content("b")])
some_keys = st.sampled_from([(), ("sources.x",)])
some_problems = st.sampled_from([(), SYNTAX])
tickets = st.integers(0, 12)
versions = st.integers(0, 9).map(Version)
reasons = st.just("no space left")
given_settings = st.sampled_from([settings(1), settings(3, port=8081)])
candidates = st.builds(
    Candidate,
    digests,
    digests,
    bases,
    st.sampled_from([(), ("daemon.port",)]),
    some_problems,
    some_keys,
    given_settings,
)
anything: st.SearchStrategy[Event] = st.one_of(
    st.builds(events.Touched, st.none(), urgent=st.booleans()),
    st.builds(events.CandidateSeen, tickets, candidates),
    st.builds(
        events.CandidateRefused,
        *(
            tickets,
            st.just(SYNTAX),
            st.booleans(),
            bases,
            some_keys,
            st.none() | digests,
            some_problems,
            given_settings,
        ),
    ),
    st.builds(events.LookFailed, tickets, reasons),
    st.builds(events.Recorded, versions),
    st.builds(events.CommitRecorded, versions),
    st.builds(events.RecordFailed, versions, reasons),
    st.builds(events.Archived, versions, st.none() | reasons),
    st.builds(events.Spawned, slots, st.integers(0, 4), st.integers(2, 9)),
    st.builds(events.SpawnFailed, slots, st.integers(0, 4), reasons),
    st.builds(events.WorkerExited, slots, st.integers(0, 4), st.just("exit code 1"), st.booleans()),
    st.builds(events.WorkerSaid, said(st.integers(0, 12))),
    st.just(events.Bound()),
    st.builds(events.BindFailed, reasons),
    st.just(events.RestartAsked(0, "test", "me")),
    st.builds(events.PushAsked, st.just(0), reasons, reasons, st.none() | st.integers(0, 3), st.booleans()),
    st.just(events.Elapsed()),
)
AROUND = status.Surroundings(100.0, 0.0, 0.0, 1, "/srv", (), True, "inotify", 0.0, {})


@given(
    st.lists(st.tuples(anything, st.sampled_from([0.0, 0.0, 1.0, 30.0])), max_size=60),
    st.sampled_from([None, Committed(Version(3), content("a"))]),
    st.integers(40, 60),
)
def test_no_event_raises_in_any_state_whatever_workers_claim(
    happenings: list[tuple[Event, float]], committed: Committed | None, stop_at: int
) -> None:
    now, highest, answered = 0.0, 3, set[int]()
    fleet = Fleet(settings(3), History(highest, committed), now)
    first = Candidate(content("b"), content("b"), EMPTY.digest, (), (), (), settings(3))
    decided: list[Effect] = fleet.begin(first, (), now)
    for number, (event, pause) in enumerate(happenings):
        now += pause
        happened = events.StopAsked("test", now=False) if number == stop_at else event
        if isinstance(happened, events.PushAsked | events.RestartAsked):
            happened = replace(happened, ticket=number + 1)
        decided += fleet.handle(happened, now)
        for effect in decided:
            if isinstance(effect, effects.Record):
                assert effect.version > highest
                highest = effect.version
            elif isinstance(effect, effects.Answer):
                assert effect.ticket not in answered
                answered.add(effect.ticket)
        decided = []
        fleet.deadline()
        status.document(fleet.board, AROUND)
