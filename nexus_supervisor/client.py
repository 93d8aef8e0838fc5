"""The client of a running supervisor: one request over the control socket, and its answer.

Decided here: which requests there are functions for, how long an answer may take, and which error says what it means.
Not decided here: how the socket is reached (``conversation.py``), what requests mean (``core/control.py``) and how
answers are shown (``cli/``). Synchronous: it serves scripts, the command line and tests alike.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from nexus_supervisor import errors
from nexus_supervisor.conversation import Conversation, Peer
from nexus_supervisor.core import canonical
from nexus_supervisor.core.control import (
    Answer,
    Ended,
    FollowNotices,
    FollowOutput,
    Noticed,
    OutputLine,
    Refusal,
    Request,
    ScaleRequest,
    StatusReport,
    StatusRequest,
    StopRequest,
    UpgradeRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["ControlClient"]

ANSWER_SECONDS = 10.0
"""How long a request that leads to no change may take."""

VERDICT_SECONDS = 900.0
"""How long a push, a restart or a stop may take until its end is known."""

SILENCE_SECONDS = 60.0
"""How long a supervisor that is asked for its status now and then may say nothing at all."""

_ONLY_NEW = (1 << 63) - 1
"""Since which number notices are told where none of those that are kept is wanted."""

_ERROR_OF_CODE: dict[int, type[errors.NexusError]] = {
    2: errors.UsageError,
    3: errors.RejectedError,
    4: errors.RolledBackError,
    5: errors.UnfinishedError,
    6: errors.ConflictError,
    7: errors.NotRunningError,
    8: errors.HeldError,
}


class ControlClient:
    """Talk to the supervisor that runs on one directory. Every call is a connection of its own.

    Every call raises NotRunningError where no supervisor runs, UnfinishedError where the supervisor doesn't answer in
    time or ends before it has answered, and the error of its exit code where it refuses the request.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ask(self, request: Request, patience: float = VERDICT_SECONDS) -> StatusReport | Ended:
        """Send one request and return its answer; ``patience`` is in seconds."""
        with Conversation(self._directory) as conversation:
            conversation.send(request)
            return self._verdict(conversation, patience)

    def watch(
        self,
        request: Request,
        told: Callable[[Noticed | StatusReport], object],
        *,
        every: float = 5.0,
        silence: float = SILENCE_SECONDS,
    ) -> Ended:
        """Send one request and return its end, however long that takes; tell what happens until then.

        Told are the status before the request, each notice, and the status again whenever nothing was told for so many
        seconds (``every``). Raise UnfinishedError where the supervisor says nothing at all for the seconds of
        ``silence``.
        """
        with Conversation(self._directory) as conversation:
            for one in (FollowNotices(since=_ONLY_NEW), StatusRequest(), request):
                conversation.send(one)
            status_is_due = False
            while True:
                if status_is_due and not conversation.answered_within(every):
                    conversation.ask_status()
                    status_is_due = False
                answer = self._answer(conversation, silence)
                if isinstance(answer, Ended):
                    return answer
                status_is_due = status_is_due or isinstance(answer, StatusReport)
                told(answer)

    def status(self, *, sizes: bool = False) -> dict[str, Any]:
        """Return the status as the document that ``status --json`` shows; with ``sizes`` memory is measured for it."""
        answer = self.ask(StatusRequest(sizes=sizes), ANSWER_SECONDS)
        document: dict[str, Any] = canonical.decode(answer.document)
        return document

    def stop(self, *, now: bool = False, patience: float = VERDICT_SECONDS) -> Ended:
        """Ask the supervisor to drain and end, and return when its process is gone."""
        deadline = time.monotonic() + patience
        with Conversation(self._directory) as conversation, Peer(conversation.peer_pid) as peer:
            conversation.send(StopRequest(now=now))
            answer = self._verdict(conversation, patience)
            if not isinstance(answer, Ended):
                raise _unexpected(answer)
            if answer.exit_code == 0:
                conversation.await_end(deadline)
                peer.await_exit(deadline)
            return answer

    def scale(self, program: str = "", *, workers: int | None = None, by: int = 0, reason: str = "") -> Ended:
        """Have so many workers of a program (empty: the first), or ``by`` more where no number is given."""
        answer = self.ask(ScaleRequest(program, workers, by, reason), ANSWER_SECONDS)
        if not isinstance(answer, Ended):
            raise _unexpected(answer)
        return answer

    def upgrade(self, reason: str = "", patience: float = VERDICT_SECONDS) -> Ended:
        """Have the code as it is now take over, and return when it has, or how that ended otherwise."""
        deadline = time.monotonic() + patience
        before = self.status()["supervisor"]
        with Conversation(self._directory) as conversation:
            conversation.send(UpgradeRequest(reason))
            answer = conversation.receive(deadline)
        match answer:
            case Ended():
                return answer
            case Refusal():
                raise _refused(answer)
            case None:
                return self._upgraded(before, deadline)
            case _:
                raise _unexpected(answer)

    def _upgraded(self, before: dict[str, Any], deadline: float) -> Ended:
        """Return once another instance answers than before; who connects meanwhile waits until it does."""
        while time.monotonic() < deadline:
            try:
                after = self.status()["supervisor"]
            except errors.UnfinishedError:  # it takes longer than an answer may
                continue
            if after["upgrades"] != before["upgrades"]:
                document = canonical.encode({"before": before["version"], "after": after["version"]})
                text = f"version {after['version']} of nexus-supervisor runs in place of {before['version']}."
                return Ended(0, "UPGRADED", text, (), document)
            message = f"the supervisor on {self._directory} hung up and was not upgraded: ask again"
            raise errors.UnfinishedError(message)
        message = f"the supervisor on {self._directory} hasn't answered in time since the upgrade. Look at its log"
        raise errors.UnfinishedError(message)

    def notices(self, since: int = 0, *, follow: bool = True, patience: float | None = None) -> Iterator[Noticed]:
        """Yield the notices with a number of at least ``since``: those still kept, and with ``follow`` new ones.

        The iterator ends when the supervisor does. With ``patience``, UnfinishedError is raised when no notice comes
        for that many seconds.
        """
        with Conversation(self._directory) as conversation:
            conversation.send(FollowNotices(since=since))
            if not follow:  # requests are served in order, so the status comes after everything that is kept
                conversation.send(StatusRequest())
                patience = ANSWER_SECONDS
            while (answer := conversation.receive(_deadline(patience))) is not None:
                match answer:
                    case Noticed():
                        yield answer
                    case StatusReport():
                        return
                    case Refusal():
                        raise _refused(answer)
                    case _:
                        raise _unexpected(answer)

    def output(
        self, slot: str = "", lines: int = 0, *, follow: bool = False, patience: float | None = None
    ) -> Iterator[OutputLine]:
        """Yield what workers wrote: the newest kept lines of a slot (empty: of all), and with ``follow`` new ones.

        The iterator ends when the supervisor does. With ``patience``, UnfinishedError is raised when no line comes for
        that many seconds.
        """
        with Conversation(self._directory) as conversation:
            conversation.send(FollowOutput(slot, lines, follow))
            if not follow:
                patience = ANSWER_SECONDS
            while (answer := conversation.receive(_deadline(patience))) is not None:
                match answer:
                    case OutputLine():
                        yield answer
                    case Ended():
                        return
                    case Refusal():
                        raise _refused(answer)
                    case _:
                        raise _unexpected(answer)

    def _verdict(self, conversation: Conversation, patience: float) -> StatusReport | Ended:
        answer = self._answer(conversation, patience)
        if isinstance(answer, Noticed):
            raise _unexpected(answer)
        return answer

    def _answer(self, conversation: Conversation, patience: float) -> StatusReport | Ended | Noticed:
        answer = conversation.receive(_deadline(patience))
        match answer:
            case Refusal():
                raise _refused(answer)
            case OutputLine():
                raise _unexpected(answer)
            case None:
                message = (
                    f"the supervisor on {self._directory} closed the connection before it answered: it has ended, or "
                    "it doesn't serve this user. Look at its log"
                )
                raise errors.UnfinishedError(message)
            case _:
                return answer


def _refused(refusal: Refusal) -> errors.NexusError:
    return _ERROR_OF_CODE.get(refusal.exit_code, errors.NexusError)(refusal.text)


def _unexpected(answer: Answer) -> errors.ProtocolError:
    return errors.ProtocolError(
        f"the supervisor answered with {type(answer).__name__}, which this request doesn't lead to: "
        "it may be of another version than this command"
    )


def _deadline(patience: float | None) -> float | None:
    return None if patience is None else time.monotonic() + patience
