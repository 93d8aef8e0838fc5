"""What must hold whatever happens, checked at every step of the simulated world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.lifecycle import Life
from nexus_supervisor.core.messages import Activate, Drain, Probe, Staged
from nexus_supervisor.core.programs import program_of
from nexus_supervisor.core.rollout import Kind, Phase, Rollout
from tests.support.simulated_workers import TRIAL

if TYPE_CHECKING:
    from nexus_supervisor.core.content import Digest
    from nexus_supervisor.core.effects import Effect, Outcome
    from nexus_supervisor.core.events import Event
    from tests.support.simulated_workers import SimulatedWorker
    from tests.support.world import World

__all__ = ["Invariants"]

BEGINNINGS = (effects.Record, effects.Spawn, effects.SendStage, effects.Look, effects.Recall, effects.Prepare)
TRIED = (Kind.PUSH, Kind.RETURN, Kind.REVOCATION)
BAKED = (Kind.PUSH, Kind.RETURN)
MOMENT = 1e-6


class Invariants:
    """Watch one world; every method raises AssertionError where something doesn't hold."""

    def __init__(self, world: World) -> None:
        self.world = world
        committed = world.fleet.board.history.committed
        self.kept: set[Digest] = set(world.directory.known)
        self.quarantined: set[Digest] = set()
        self.pinned: Digest | None = None
        self.recorded = dict(world.durable)
        self.highest = max(world.durable, default=0)
        self.committed: set[int] = set() if committed is None else {committed.version}
        self.archived: set[int] = set(self.committed)
        self.incarnations: dict[str, int] = {}
        self.sent: dict[tuple[str, int], int] = {}
        self.tried: set[int] = set()
        self.stopped = self.served = False
        self._ids: dict[int, str] = {}
        self._told: dict[str, Outcome] = {}
        self._last: Rollout | None = None
        self._left: set[Digest] = set()
        self._looks = 0
        self._forced = False

    def before(self, event: Event) -> None:
        """Note an event that is about to be handed over."""
        match event:
            case events.CommitRecorded():
                self.committed.add(event.version)
            case events.Archived():
                self.archived.add(event.version)
            case events.CandidateSeen() | events.CandidateRefused() | events.LookFailed():
                self._looks = max(0, self._looks - 1)
            case events.WorkerSaid() if isinstance(event.message, Staged) and event.message.slot == TRIAL:
                self.tried.add(event.message.version)
            case events.PushAsked() | events.RestartAsked() | events.RollbackAsked():
                self._ids[event.ticket] = event.push_id and f"{type(event).__name__} {event.push_id}"
            case events.StopAsked():
                self.stopped = True
            case _:
                pass

    def decided(self, batch: list[Effect]) -> None:
        """Note what was decided at a time."""
        kinds = [one.notice.kind for one in batch if isinstance(one, effects.Announce)]
        self._forced = "rollout_failed" in kinds or "slot_fenced" in kinds

    def effect(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - one case for each effect
        """Check an effect before it is performed."""
        world = self.world
        assert world.exit is None or isinstance(effect, effects.Answer | effects.Announce | effects.Note), (
            "nothing comes after the end"
        )
        assert not (self.stopped and isinstance(effect, BEGINNINGS)), "nothing begins after a stop"
        match effect:
            case effects.Look():
                self._looks += 1
                assert self._looks == 1 or self.stopped, "one look is in flight at a time"
            case effects.Record():
                self._issued(effect)
            case effects.Quarantine():
                committed = world.fleet.board.history.digest
                assert effect.digest != committed, "committed content is never quarantined"
                self.quarantined.add(effect.digest)
            case effects.Release():
                assert effect.reason, "a reason is given where content is tried again"
                self.quarantined.discard(effect.digest)
            case effects.Pin():
                self.pinned = effect.digest
            case effects.Spawn():
                assert effect.incarnation > self.incarnations.get(effect.slot, 0), "incarnations rise"
                self.incarnations[effect.slot] = effect.incarnation
                assert effect.digest in self.kept, "content that is booted must be held"
                assert effect.trial == (effect.slot == TRIAL), "the trial worker has a name of its own"
                self._comes_back(effect)
            case effects.SendStage():
                self._sent(effect)
            case effects.Send():
                self._said(effect)
            case effects.RunGate():
                assert effect.version in world.durable, "the gate is asked about what is on its way"
            case effects.Commit():
                self._all_serve(effect.version)
            case effects.Announce() if effect.notice.fields.get("reason") == "no trial worker":
                self.tried.add(int(str(effect.notice.fields["version"])))
            case effects.Keep():
                self.kept &= set(effect.digests)
            case effects.Answer():
                self._answered(effect)
            case effects.Exit():
                assert not world.workers, "the end comes when every worker is gone"
                assert not world.trials, "the end comes when the trial worker is gone, too"
            case _:
                pass

    def _comes_back(self, effect: effects.Spawn) -> None:
        """A process is of the program that its slot is named after, and not all come back at a time."""
        board = self.world.fleet.board
        assert effect.program == ("" if effect.trial else program_of(effect.slot)), "a slot is of its program"
        process = board.roster.get(effect.slot, effect.incarnation)
        slot = board.roster.slots.get(effect.slot)
        if process is None or process.purpose is not None or slot is None or not slot.restarts:
            return
        most = board.settings.supervisor.rollout.max_parallel.of(len(board.roster.slots))
        own = [one for one in board.roster.live() if one.life is Life.STARTING and one.purpose is None]
        again = [one for one in own if board.roster.slots[one.slot].restarts]
        assert len(again) <= most, "who died together doesn't come back all at once"

    def _issued(self, effect: effects.Record) -> None:
        assert effect.version > self.highest, "a version must rise"
        assert effect.digest in self.kept, "content that is issued must be held"
        assert effect.digest not in self.quarantined, "content that failed is not issued again"
        if effect.kind == Kind.PUSH:
            assert effect.digest != self.pinned, "content that is pinned does not go by itself"
        if effect.rollback_of is not None and effect.kind == Kind.ROLLBACK:
            assert effect.digest == self.recorded[effect.rollback_of], "a rollback names what it brings back"
        self.highest, self.recorded[effect.version] = effect.version, effect.digest

    def _sent(self, effect: effects.SendStage) -> None:
        world, key = self.world, (effect.slot, effect.incarnation)
        digest = world.durable.get(effect.version)
        assert digest is not None, "the journal record comes before the first byte"
        assert digest in self.kept, "content that is sent must be held"
        assert digest not in self.quarantined, "content that failed is never sent"
        assert effect.version > self.sent.get(key, 0), "versions sent to one incarnation strictly rise"
        self.sent[key] = effect.version
        worker = world.process(key)
        if worker is None:
            return
        assert worker.current is not None or effect.version >= worker.floor, "nobody goes below what was committed"
        holds = {worker.previous, None if worker.current is None else worker.current[1]}
        assert digest not in effect.holds or digest in holds, "a worker is not believed to hold what it doesn't"
        if effect.slot == TRIAL:
            assert worker.limited, "a trial is bounded"
        else:
            self._met_the_trial(effect.version)

    def _met_the_trial(self, version: int) -> None:
        board = self.world.fleet.board
        rollout = board.rollout
        if rollout is None or rollout.version != version or rollout.kind not in TRIED:
            return
        if board.settings.supervisor.rollout.trial.enabled:
            assert version in self.tried, "the trial worker meets a candidate before anything live sees it"

    def _said(self, effect: effects.Send) -> None:
        worker = self.world.process((effect.slot, effect.incarnation))
        if worker is None:
            return
        if isinstance(effect.message, Activate):
            assert worker.staged is not None, "only what is staged is activated"
            assert (worker.staged[0], worker.staged[2]) == (effect.message.version, effect.message.push)
            self._follows(worker, effect.message.version)
        elif isinstance(effect.message, Probe):
            assert worker.current is not None, "what is probed is active"
            assert worker.current[0] == effect.message.version, "what is probed is active"
        elif isinstance(effect.message, Drain) and not self.stopped and not self._forced and effect.slot != TRIAL:
            slot = self.world.fleet.board.roster.slots.get(effect.slot)
            wanted = slot is not None and not slot.stopped
            others = [one for one in self.world.workers.values() if one.slot == effect.slot and one is not worker]
            ready = any(one.serving for one in others) or self._died_untold(worker)
            assert ready or not wanted, "the replacement is ready before the old one is drained"

    def _follows(self, worker: SimulatedWorker, version: int) -> None:
        """Until the canary has baked nobody else runs the target, unless somebody asked for that."""
        board, now = self.world.fleet.board, self.world.now
        rollout, chosen = board.rollout, board.settings.supervisor.rollout
        if worker.slot == TRIAL or rollout is None or rollout.version != version or rollout.kind not in BAKED:
            return
        if (rollout.strategy or chosen.strategy) != "canary" or rollout.promoted:
            return
        first = [one for one in self.world.workers.values() if one.current and one.current[0] == version]
        if len(first) >= chosen.canary.of(len(board.roster.slots)):
            bake = 0.0 if rollout.short else chosen.bake_seconds
            assert any(one.active_at + bake <= now + MOMENT for one in first), "nobody follows before the canary baked"

    def _died_untold(self, worker: SimulatedWorker) -> bool:
        """Say whether another process of a slot has just ended, which the fleet can't know: nobody told it yet."""
        told = (one for one in self.world.pending if isinstance(one, events.WorkerExited))
        return any(one.slot == worker.slot and one.incarnation != worker.incarnation for one in told)

    def _all_serve(self, version: int) -> None:
        """One that died meanwhile or is frozen is not asked, nor one that belongs to a slot which is about to go."""
        rollout = self.world.fleet.board.rollout
        for worker in self.world.workers.values():
            counts = rollout is None or not rollout.slots or worker.slot in rollout.slots
            if worker.serving and worker.frozen_at is None and counts:
                assert worker.current is not None
                assert worker.current[0] == version, "a version is committed when every worker serves it"

    def _answered(self, effect: effects.Answer) -> None:
        world, outcome = self.world, effect.outcome
        assert effect.ticket in world.asked, "nobody is answered who did not ask"
        assert effect.ticket not in world.answers, "a request is answered once"
        push_id = self._ids.get(effect.ticket, "")
        if push_id:
            assert self._told.setdefault(push_id, outcome) == outcome, "one request has one answer"
        if outcome.exit_code == 0 and outcome.version is not None and outcome.word == "APPLIED":
            assert outcome.version in self.committed, "what is answered as done survives a power loss"
            assert outcome.version in self.archived, "what is answered as done is complete on disk"
            self._live_everywhere(outcome.version, again=bool(push_id))

    def _live_everywhere(self, version: int, *, again: bool) -> None:
        """What was answered before, under the same id, may have been followed by anything."""
        for worker in self.world.workers.values():
            if worker.serving and worker.frozen_at is None and not again:
                assert worker.current is not None
                assert worker.current[0] >= version, "what is answered as live is live everywhere"

    def activated(self, worker: SimulatedWorker, version: int, digest: Digest) -> None:
        """Check a swap inside a worker."""
        assert not worker.served or version > worker.served[-1], "versions of one incarnation strictly rise"
        assert version >= worker.floor, "no worker goes below what was committed when it was started"
        worker.served.append(version)
        cold = self.world.directory.cold_of
        assert cold(worker.spawned) == cold(digest), "restart-required content is never applied live"

    def after(self) -> None:
        """Check what must hold between two events."""
        board = self.world.fleet.board
        self._note_what_is_left(board.rollout)
        live = [one for one in self.world.workers.values() if not one.draining and one.frozen_at is None]
        digests = {one.current[1] for one in live if one.current}
        allowed = {one.digest for one in (board.history.committed, board.rollout) if one is not None}
        if board.rollout is not None and _takes_over(board.rollout):
            allowed |= self._left
        assert digests <= allowed or self.stopped, "at most committed and target are live, or what is being left"
        if board.rollout is None and board.ending is None and board.history.committed is not None:
            committed = (board.history.committed.version, board.history.committed.digest)
            assert all(one.current in (None, committed) for one in live), "between rollouts one version is live"
        assert board.rollout is None or board.rollout.phase not in (Phase.REJECTED, Phase.ROLLED_BACK)
        self._slots()

    def _slots(self) -> None:
        """Check that every program has its slots, and one that somebody keeps trying where it has any."""
        board = self.world.fleet.board
        slots = list(board.roster.slots.values())
        self.served = self.served or any(one.life is Life.READY for one in board.roster.live())
        for program in board.settings.programs:
            own = [one for one in slots if one.program == program.name]
            if board.rollout is None or not board.rollout.slots:
                assert len(own) == board.workers(program), "a program has as many slots as it is to have"
            failed = [one for one in own if one.failed]
            if self.served and failed:
                assert len(failed) < len(own), "the last slot of a program is never given up"
        for one in slots:
            assert one.open or not any(p.live for p in board.roster.of(one.name)), "who was given up has no process"

    def _note_what_is_left(self, rollout: Rollout | None) -> None:
        """Remember what a version takes the place of: that may be live until this one has ended."""
        if rollout is self._last:
            return
        if rollout is None or not _takes_over(rollout):
            self._left = set()
        elif self._last is not None:
            self._left |= {self._last.digest}
        self._last = rollout

    def at_rest(self) -> None:
        """Check what must hold when nothing is under way."""
        world, board = self.world, self.world.fleet.board
        if world.exit is None:
            assert board.rollout is None, "every rollout ends"
            assert board.waiting is None, "nothing waits for nothing"
            assert board.history.committed is not None
            committed = (board.history.committed.version, board.history.committed.digest)
            for worker in world.workers.values():
                assert worker.current == committed, "one version is live"
                assert worker.code == world.code, "one generation of code runs"
            for worker in world.trials.values():
                assert worker.current is None or worker.current[1] == committed[1], "the trial worker follows"
        missing = [ticket for ticket in world.asked if ticket not in world.answers]
        assert not missing, f"every request is answered: {missing}"


def _takes_over(rollout: Rollout) -> bool:
    """Say whether a version may begin where another one is live in a part of the fleet."""
    return rollout.kind in (Kind.ROLLBACK, Kind.REVOCATION, Kind.RETURN)
