"""The fleet against lies and nonsense: no event raises in any state, whatever workers claim."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import effects, events, status
from nexus_supervisor.core.content import EMPTY, Version
from nexus_supervisor.core.events import Candidate, Event
from nexus_supervisor.core.fleet import Fleet
from nexus_supervisor.core.history import Committed, History
from nexus_supervisor.core.readings import Reading
from nexus_supervisor.core.shape import NO_SHAPE, SectionShape, Shape
from tests.support.happenings import GUARDS, STRATEGIES, VERBS, anybody, digests, push_ids, said, slots
from tests.support.simulated import SYNTAX, content, settings

if TYPE_CHECKING:
    from nexus_supervisor.core.effects import Effect
    from nexus_supervisor.core.settings import Settings

bases = st.sampled_from([EMPTY.digest, content("a"), content("b")])
some_keys = st.sampled_from([(), ("sources.x",)])
some_problems = st.sampled_from([(), SYNTAX])
shapes = st.sampled_from([NO_SHAPE, Shape({"sources": SectionShape(9, 0, 9)}, 9, 0), Shape({}, 9, 1 << 30)])
tickets = st.integers(0, 12)
versions = st.integers(0, 9).map(Version)
reasons = st.just("no space left")
CAREFUL = settings(3, bake=2.0, trial=True, external_gate={"command": "true"})
given_settings = st.sampled_from([settings(1), settings(3, port=8081), CAREFUL])
candidates = st.builds(
    Candidate,
    digests,
    digests,
    bases,
    st.sampled_from([(), ("daemon.port",)]),
    some_problems,
    some_keys,
    given_settings,
    shapes,
    some_keys,
    st.none() | digests,
    some_problems,
    st.none() | given_settings,
    shapes,
)
who_asks = (st.just(0), reasons, reasons)
keys = st.tuples(slots, st.integers(0, 4))
numbers = st.integers(0, 1_000)
readings = st.builds(
    Reading,
    st.integers(0, 9),
    numbers,
    numbers,
    st.sampled_from([(), (9,) * 48]),
    st.floats(0, 99),
    st.none() | st.floats(0, 99),
    numbers,
    numbers,
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
            some_keys,
            shapes,
        ),
    ),
    st.builds(events.LookFailed, tickets, reasons),
    st.builds(events.Recorded, versions),
    st.builds(events.CommitRecorded, versions),
    st.builds(events.RecordFailed, versions, reasons),
    st.builds(events.Archived, versions, st.none() | reasons),
    st.builds(events.Spawned, anybody, st.integers(0, 4), st.integers(2, 9)),
    st.builds(events.SpawnFailed, anybody, st.integers(0, 4), reasons),
    st.builds(events.WorkerExited, anybody, st.integers(0, 4), st.just("exit code 1"), st.booleans()),
    st.builds(events.WorkerSaid, said(st.integers(0, 12))),
    st.just(events.Prepared()),
    st.builds(events.PrepareFailed, reasons),
    st.builds(events.RestartAsked, *who_asks, st.booleans(), push_ids),
    st.builds(
        events.PushAsked,
        *who_asks,
        *(st.none() | st.integers(0, 3), st.booleans(), st.booleans(), st.sampled_from(STRATEGIES)),
        *(st.sampled_from([(), GUARDS]), st.booleans(), push_ids),
    ),
    st.builds(events.RollbackAsked, st.just(0), st.none() | st.integers(0, 9), reasons, reasons, push_ids),
    st.builds(events.SteerAsked, st.just(0), st.sampled_from(VERBS), reasons, reasons),
    st.builds(
        events.ScaleAsked,
        *(st.just(0), st.sampled_from(["", "gateway", "other"]), st.none() | st.integers(-1, 600)),
        *(st.integers(-3, 3), reasons, reasons),
    ),
    st.builds(events.Recalled, tickets, versions, st.none() | candidates, some_problems),
    st.builds(events.Measured, st.dictionaries(keys, readings, max_size=4)),
    st.builds(events.GateEnded, versions, st.booleans(), reasons),
    st.just(events.Elapsed()),
)
AROUND = status.Surroundings(100.0, 0.0, 0.0, 1, "/srv", (), True, "inotify", 0.0, {})


@given(
    st.lists(st.tuples(anything, st.sampled_from([0.0, 0.0, 1.0, 30.0])), max_size=60),
    st.sampled_from([None, Committed(Version(3), content("a"))]),
    st.integers(40, 60),
    given_settings,
)
def test_no_event_raises_in_any_state_whatever_workers_claim(
    happenings: list[tuple[Event, float]], committed: Committed | None, stop_at: int, chosen: Settings
) -> None:
    now, highest, answered = 0.0, 3, set[int]()
    fleet = Fleet(chosen, History(highest, committed), now)
    first = Candidate(content("b"), content("b"), EMPTY.digest, (), (), (), chosen)
    decided: list[Effect] = fleet.begin(first, (), now)
    for number, (event, pause) in enumerate(happenings):
        now += pause
        happened = events.StopAsked("test", now=False) if number == stop_at else event
        if isinstance(
            happened,
            events.PushAsked | events.RestartAsked | events.RollbackAsked | events.SteerAsked | events.ScaleAsked,
        ):
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
        status.document(fleet.board, fleet.trying.process, AROUND)
