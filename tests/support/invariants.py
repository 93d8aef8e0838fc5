"""What must hold whatever happens, checked at every step of the simulated world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nexus_supervisor.core import effects, events
from nexus_supervisor.core.content import Digest
from nexus_supervisor.core.messages import Activate, Drain
from nexus_supervisor.core.rollout import Kind, Phase

if TYPE_CHECKING:
    from nexus_supervisor.core.effects import Effect
    from nexus_supervisor.core.events import Event
    from tests.support.simulated import SimulatedWorker
    from tests.support.world import World

__all__ = ["Invariants"]

BEGINNINGS = (effects.Record, effects.Spawn, effects.SendStage, effects.Look, effects.Bind)


class Invariants:
    """Watch one world; every method raises AssertionError where something doesn't hold."""

    def __init__(self, world: World) -> None:
        self.world = world
        committed = world.fleet.board.history.committed
        self.kept: set[Digest] = set(world.directory.known)
        self.quarantined: set[Digest] = set()
        self.recorded = dict(world.durable)
        self.highest = max(world.durable, default=0)
        self.committed: set[int] = set() if committed is None else {committed.version}
        self.archived: set[int] = set(self.committed)
        self.incarnations: dict[str, int] = {}
        self.stopped = False
        self._leaving = Digest("")
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
            case events.StopAsked():
                self.stopped = True
            case _:
                pass

    def decided(self, batch: list[Effect]) -> None:
        """Note what was decided at a time."""
        kinds = [one.notice.kind for one in batch if isinstance(one, effects.Announce)]
        self._forced = "rollout_failed" in kinds

    def effect(self, effect: Effect) -> None:  # noqa: C901 - one case for each effect
        """Check an effect before it is performed."""
        world = self.world
        assert world.exit is None or isinstance(effect, effects.Answer | effects.Announce), (
            "nothing comes after the end"
        )
        assert not (self.stopped and isinstance(effect, BEGINNINGS)), "nothing begins after a stop"
        match effect:
            case effects.Look():
                self._looks += 1
                assert self._looks == 1 or self.stopped, "one look is in flight at a time"
            case effects.Record():
                assert effect.version > self.highest, "a version must rise"
                assert effect.digest in self.kept, "content that is issued must be held"
                assert effect.digest not in self.quarantined, "content that failed is not issued again"
                if effect.rollback_of is not None:
                    assert effect.digest == self.recorded[effect.rollback_of], "a rollback names what it brings back"
                self.highest, self.recorded[effect.version] = effect.version, effect.digest
            case effects.Quarantine():
                committed = world.fleet.board.history.digest
                assert effect.digest != committed, "committed content is never quarantined"
                self.quarantined.add(effect.digest)
            case effects.Spawn():
                assert effect.incarnation > self.incarnations.get(effect.slot, 0), "incarnations rise"
                self.incarnations[effect.slot] = effect.incarnation
                assert effect.digest in self.kept, "content that is booted must be held"
            case effects.SendStage():
                self._sent(effect)
            case effects.Send():
                self._told(effect)
            case effects.Commit():
                self._all_serve(effect.version)
            case effects.Keep():
                self.kept &= set(effect.digests)
            case effects.Answer():
                self._answered(effect)
            case effects.Exit():
                assert not world.workers, "the end comes when every worker is gone"
            case _:
                pass

    def _sent(self, effect: effects.SendStage) -> None:
        digest = self.world.durable.get(effect.version)
        assert digest is not None, "the journal record comes before the first byte"
        assert digest in self.kept, "content that is sent must be held"
        assert digest not in self.quarantined, "content that failed is never sent"
        worker = self.world.workers.get((effect.slot, effect.incarnation))
        if worker is not None:
            newest = worker.current[0] if worker.current else worker.floor
            first = worker.current is None and effect.version == newest
            assert first or effect.version > newest, "versions rise"
            holds = {worker.previous, None if worker.current is None else worker.current[1]}
            assert digest not in effect.holds or digest in holds, "a worker is not believed to hold what it doesn't"

    def _told(self, effect: effects.Send) -> None:
        worker = self.world.workers.get((effect.slot, effect.incarnation))
        if worker is None:
            return
        if isinstance(effect.message, Activate):
            assert worker.staged is not None, "only what is staged is activated"
            assert (worker.staged[0], worker.staged[2]) == (effect.message.version, effect.message.push)
        elif isinstance(effect.message, Drain) and not self.stopped and not self._forced:
            wanted = effect.slot in self.world.fleet.board.roster.slots
            others = [one for one in self.world.workers.values() if one.slot == effect.slot and one is not worker]
            ready = any(one.serving for one in others)
            assert ready or not wanted, "the replacement is ready before the old one is drained"

    def _all_serve(self, version: int) -> None:
        """A worker that died meanwhile is not asked, nor one that belongs to a slot which is about to go."""
        rollout = self.world.fleet.board.rollout
        for worker in self.world.workers.values():
            if worker.serving and (rollout is None or not rollout.slots or worker.slot in rollout.slots):
                assert worker.current is not None
                assert worker.current[0] == version, "a version is committed when every worker serves it"

    def _answered(self, effect: effects.Answer) -> None:
        world, outcome = self.world, effect.outcome
        assert effect.ticket in world.asked, "nobody is answered who did not ask"
        assert effect.ticket not in world.answers, "a request is answered once"
        if outcome.exit_code == 0 and outcome.version is not None:
            assert outcome.version in self.committed, "what is answered as done survives a power loss"
            assert outcome.version in self.archived, "what is answered as done is complete on disk"
            for worker in world.workers.values():
                if worker.serving:
                    assert worker.current is not None
                    assert worker.current[0] >= outcome.version, "what is answered as live is live everywhere"

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
        live = [one for one in self.world.workers.values() if not one.draining]
        digests = {one.current[1] for one in live if one.current}
        allowed = {one.digest for one in (board.history.committed, board.rollout) if one is not None}
        if board.rollout is not None and board.rollout.kind is Kind.ROLLBACK:
            allowed.add(self._leaving)
        elif board.rollout is not None:
            self._leaving = board.rollout.digest
        assert digests <= allowed or self.stopped, "at most committed and target are live, or what is being left"
        if board.rollout is None and board.ending is None and board.history.committed is not None:
            committed = (board.history.committed.version, board.history.committed.digest)
            assert all(one.current in (None, committed) for one in live), "between rollouts one version is live"
        assert board.rollout is None or board.rollout.phase not in (Phase.REJECTED, Phase.ROLLED_BACK)

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
        missing = [ticket for ticket in world.asked if ticket not in world.answers]
        assert not missing, f"every request is answered: {missing}"
