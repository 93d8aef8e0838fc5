"""Staging: from an offered version to one that can be activated by one assignment.

Decided here: the order of checks (signature, form, audience and version; then the content against what was signed; then
the models) and what is kept to build the next version from. Not decided here: which manifest may follow which
(``core/trust.py``), and how messages arrive (``parent.py``).

An offer that is refused changes nothing but the floor, which only a verified manifest can raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from nexus_supervisor.agent.hooked import Failed, made
from nexus_supervisor.core.codec import unpack
from nexus_supervisor.core.content import Content
from nexus_supervisor.core.delta import decode as decode_delta
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.core.trust import Distrust, Floor, Judgement, Reason, Trust
from nexus_supervisor.errors import NexusError, ProtocolError
from nexus_supervisor.models.building import NOTHING, Builder, Built
from nexus_supervisor.models.hooks import Derive, Hooks
from nexus_supervisor.models.marks import keyed_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.agent.parts import Parts, Raw
    from nexus_supervisor.core.content import Delta, Digest, Version
    from nexus_supervisor.core.messages import Stage

__all__ = [
    "MAX_DETAIL",
    "MODEL",
    "NOT_APPLICABLE",
    "Derive",
    "Offer",
    "Refusal",
    "Secure",
    "Staging",
    "Verified",
    "emptied",
]

Secure = Callable[[Mapping[str, Any], Any], Any]
"""Makes what connections are secured with from the sections of a version; given that of the version before, or None."""

NOT_APPLICABLE = "not_applicable"
"""The reason of a refusal where an offer doesn't fit what this worker holds."""

MODEL = "model"
"""The reason of a refusal where what was offered can't be built."""

MAX_DETAIL = 4_000
"""Characters of why a version is refused: what is longer is no sentence."""


class Refusal(NexusError):
    """Say that an offer is refused, with one word for programs and a sentence without secrets."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Verified:
    """Hold what an offer says, once all that was signed is checked: nothing of the application has seen it yet.

    ``near`` is what models are shared with, ``secrets`` are values by digest, ``rows`` those of entries that are new.
    """

    judgement: Judgement
    content: Content
    near: Built
    secrets: Mapping[str, str] = field(repr=False)
    rows: Mapping[str, Mapping[str, int]]

    @property
    def version(self) -> Version:
        """Return the number of the version."""
        return self.judgement.manifest.version

    @property
    def digest(self) -> Digest:
        """Return the digest of the content."""
        return self.content.digest


@dataclass(frozen=True, slots=True)
class Offer:
    """Hold one version that is verified and built; ``tls`` is what ``Secure`` made of it."""

    judgement: Judgement
    built: Built
    snapshot: Snapshot
    tls: Any = field(default=None, repr=False)

    @property
    def version(self) -> Version:
        """Return the number of the version."""
        return self.judgement.manifest.version

    @property
    def digest(self) -> Digest:
        """Return the digest of what was built."""
        return self.built.content.digest


class Staging:
    """Hold the current and the staged version and the content before, and judge what is offered.

    ``unused`` takes the snapshots that were prepared and will never be current.
    """

    def __init__(
        self,
        trust: Trust,
        floor: Floor,
        builder: Builder,
        pepper: bytes,
        hooks: Hooks,
        secure: Secure | None = None,
    ) -> None:
        self._trust, self._floor, self._secure = trust, floor, secure
        self._builder, self._pepper = builder, pepper
        self._prepare = hooks.prepare
        self._derive: Derive | None = None
        self.current: Offer | None = None
        self.staged: Offer | None = None
        self._previous = NOTHING
        self.unused: SimpleQueue[Snapshot] = SimpleQueue()

    def stage(self, message: Stage, parts: Parts) -> Offer:
        """Verify an offer and build it beside the current version; raise Refusal."""
        found = self.verify(message, parts)
        return found if isinstance(found, Offer) else self.build(found)

    def verify(self, message: Stage, parts: Parts) -> Verified | Offer:
        """Return what an offer says, or what is held of it already; run nothing of the application, raise Refusal."""
        judgement = self._judge(message)
        for known in (self.current, self.staged):
            if known is not None and known.judgement.sha256 == judgement.sha256:
                return known
        try:
            return self._verified(judgement, message, parts)
        except Distrust as error:
            raise Refusal(error.reason, str(error)) from error
        except ProtocolError as error:
            raise Refusal(NOT_APPLICABLE, str(error)) from error

    def build(self, verified: Verified) -> Offer:
        """Build a verified offer beside the current version, and hold it staged; raise Refusal."""
        try:
            built = self._builder.build(verified.content, verified.near, verified.secrets, verified.rows)
        except NexusError as error:
            raise Refusal(MODEL, str(error)) from error
        snapshot = Snapshot(verified.version, verified.digest, built.sections, built.daemon, built.rows)
        offer = Offer(verified.judgement, built, snapshot, self._secured(built))
        self._complete(offer)
        self._stage_instead(offer)
        return offer

    def activate(self, version: Version) -> Offer:
        """Make the staged version the current one, once; raise Refusal where it isn't staged."""
        if self.current is not None and self.current.version == version:
            return self.current
        if self.staged is None or self.staged.version != version:
            message = f"version {version} is not staged here"
            raise Refusal(NOT_APPLICABLE, message)
        self._previous = NOTHING if self.current is None else self.current.built
        self.current, self.staged = self.staged, None
        return self.current

    def discard(self, version: Version) -> None:
        """Forget the staged version, if it is this one."""
        if self.staged is not None and self.staged.version == version:
            self._stage_instead(None)

    def close(self) -> None:
        """Forget the staged version, whichever it is."""
        self._stage_instead(None)

    def derive(self, derive: Derive) -> None:
        """Build what a program derives, for what is held now and for every offer from now on."""
        self._derive = derive
        for offer in (self.current, self.staged):
            if offer is not None:
                self._add_derived(offer)

    def _judge(self, message: Stage) -> Judgement:
        """Verify the manifest. The current version may be offered again, whatever was verified since."""
        current = self.current
        again = current is not None and current.version == message.version
        floor = current.judgement.floor if current is not None and again else self._floor
        try:
            judgement = self._trust.judge(message.manifest, message.signature, floor)
        except Distrust as error:
            raise Refusal(error.reason, str(error)) from error
        if judgement.manifest.version != message.version:
            text = f"version {message.version} was offered with the manifest of version {judgement.manifest.version}"
            raise Refusal(Reason.malformed, text)
        if not again:
            self._floor = judgement.floor
        return judgement

    def _verified(self, judgement: Judgement, message: Stage, parts: Parts) -> Verified:
        base = self._base(message.base)
        content = base.content if parts.payload is None else base.content.after(_matching(parts.payload, message.base))
        self._trust.check_content(judgement.manifest, content)
        table = base.secrets if parts.secrets is None else self._secret_values(parts.secrets, base.secrets)
        return Verified(judgement, content, self._near(message.base, base), table, _rows(parts.rows))

    def _base(self, digest: Digest | None) -> Built:
        """Return the content that a payload is against: whichever of those held has this digest."""
        if digest is None:
            return NOTHING
        held = [offer.built for offer in (self.current, self.staged) if offer is not None]
        for built in (*held, self._previous):
            if built.content.digest == digest:
                return built
        message = f"the payload is against content {digest[:12]}, which this worker doesn't hold"
        raise ProtocolError(message)

    def _near(self, digest: Digest | None, base: Built) -> Built:
        """Return what to share models with: the base, or for whole content what runs now."""
        return self.current.built if digest is None and self.current is not None else base

    def _secret_values(self, raw: Raw, known: Mapping[str, str]) -> Mapping[str, str]:
        """Return the table of values by digest; a value that isn't what was signed is refused."""
        table = unpack(raw)
        if not isinstance(table, dict):
            message = "the secret values must be a map"
            raise ProtocolError(message)
        for digest, value in table.items():
            if not isinstance(digest, str) or not isinstance(value, str):
                message = "the secret values must be text by digest"
                raise ProtocolError(message)
            if known.get(digest) != value and digest != keyed_digest(self._pepper, value):
                message = "a secret value is not the one whose digest was signed"
                raise Distrust(Reason.digest_mismatch, message)
        return table

    def _secured(self, built: Built) -> Any:
        """Return what connections are secured with; raise Refusal where that can't be had."""
        if self._secure is None:
            return None
        try:
            return self._secure(built.sections, None if self.current is None else self.current.tls)
        except NexusError as error:
            raise Refusal(MODEL, str(error)) from error

    def _stage_instead(self, offer: Offer | None) -> None:
        """Hold another version staged, or none; the one before will never be current."""
        before, self.staged = self.staged, offer
        if before is not None:
            self.unused.put(before.snapshot)

    def _complete(self, offer: Offer) -> None:
        """Have made what application and program derive from an offer; raise Refusal, and leave nothing half made."""
        if self._prepare is not None:
            offer.snapshot.__dict__["derived"] = self._made("the hook prepare", self._prepare, offer)
        try:
            self._add_derived(offer)
        except Refusal:
            if self._prepare is not None:
                self.unused.put(offer.snapshot)
            raise

    def _add_derived(self, offer: Offer) -> None:
        if self._derive is not None:
            offer.snapshot.__dict__["program"] = self._made("the program", self._derive, offer)

    def _made(self, what: str, derive: Derive, offer: Offer) -> Any:
        before = self.current.snapshot if self.current is not None and self.current is not offer else None
        try:
            return made(what, derive, offer.snapshot, before)
        except Failed as error:
            message = f"what is derived from version {offer.version} can't be built: {error}"
        raise Refusal(MODEL, message)


def emptied(queue: SimpleQueue[Snapshot]) -> Iterator[Snapshot]:
    """Yield what a queue holds now."""
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _matching(payload: Raw, base: Digest | None) -> Delta:
    """Return the delta of a payload; raise ProtocolError where it is against something else than was said."""
    change = decode_delta(payload)
    if change.base != base:
        message = "the payload is against another content than its message says"
        raise ProtocolError(message)
    return change


def _rows(raw: Raw | None) -> Mapping[str, Mapping[str, int]]:
    """Return the rows that the bytes name, section by section; raise ProtocolError for anything else."""
    value = {} if raw is None else unpack(raw)
    rows = value.values() if isinstance(value, dict) else (None,)
    if all(isinstance(one, dict) and all(type(row) is int for row in one.values()) for one in rows):
        named: Mapping[str, Mapping[str, int]] = value
        return named
    message = "rows must be a map of sections, each a map of entries to numbers"
    raise ProtocolError(message)
