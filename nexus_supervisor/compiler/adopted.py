"""What runs, as the compiler was told: the adopted content, its secrets, and contents that may be adopted next.

Decided here: how an ``Adopt`` becomes a content, and how stored secrets are resolved again. Not decided here: what is
adopted (the supervisor's fleet).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from nexus_supervisor.compiler.daemonfile import stored_admin_token
from nexus_supervisor.compiler.sheets import dotted
from nexus_supervisor.core import delta
from nexus_supervisor.core.changes import BUILT_IN, key_text
from nexus_supervisor.core.content import EMPTY
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.errors import ProtocolError
from nexus_supervisor.models.marks import Secret
from nexus_supervisor.models.mistakes import ModelMistakesError
from nexus_supervisor.models.secrets import Reissue, SecretMistakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nexus_supervisor.compiler.survey import Survey
    from nexus_supervisor.core.content import Content, Digest
    from nexus_supervisor.models.loading import EntryModel

__all__ = ["Running", "resolve_again"]

_REMEMBERED = 8


class Running:
    """Hold the adopted content and its secrets, and remember what was answered lately."""

    def __init__(self) -> None:
        self.content: Content = EMPTY
        self.secrets: Mapping[str, str] = {}
        self._answered: OrderedDict[Digest, tuple[Content, Mapping[str, str]]] = OrderedDict()

    def remember(self, content: Content, secrets: Mapping[str, str]) -> None:
        """Remember a content that was answered: when it is adopted, it is shared instead of built again."""
        self._answered[content.digest] = (content, secrets)
        self._answered.move_to_end(content.digest)
        while len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)

    def adopt(self, digest: Digest, payload: bytes | memoryview | None, secrets: Mapping[str, str] | None) -> None:
        """Take over what runs; raise ProtocolError where the payload doesn't lead to the digest.

        Without a payload the digest must be known; without secrets, those that were answered with it are taken.
        """
        known = self._answered.get(digest)
        content = known[0] if known is not None else self._built(digest, payload)
        self.content = content
        self.secrets = secrets if secrets is not None else known[1] if known is not None else {}

    def _built(self, digest: Digest, payload: bytes | memoryview | None) -> Content:
        if payload is None:
            known = {EMPTY.digest: EMPTY, self.content.digest: self.content}
            if digest not in known:
                message = f"content {digest[:12]} was adopted without a payload and is not known here"
                raise ProtocolError(message)
            return known[digest]
        change = delta.decode(payload)
        base = None if change.base is None else self._answered.get(change.base)
        content = (self.content if base is None else base[0]).after(change)
        if content.digest != digest:
            message = f"a payload leads to content {content.digest[:12]}, not to {digest[:12]} as announced"
            raise ProtocolError(message)
        return content


def resolve_again(
    content: Content, models: Mapping[str, EntryModel], survey: Survey, reissue: Reissue
) -> Iterator[Problem]:
    """Resolve every reference of a content again, into ``reissue``; yield a problem where that fails.

    What the directory holds unchanged was resolved when it was read, and is taken from there.
    """
    token = stored_admin_token(content)
    if token is not None:
        try:
            reissue.secret(Secret, token)
        except SecretMistakeError as mistake:
            yield Problem("daemon.toml", 0, "daemon.admin_token", "secret", str(mistake))
    for section, part in content.sections.items():
        if section == BUILT_IN or section not in models:
            continue
        fresh = survey.fresh_items(section)
        for name, entry in part.entries.items():
            item = fresh.get(name)
            if item is not None and item.entry is not None and item.entry.digest == entry.digest:
                reissue.take(item.secrets, item.environment)
                continue
            try:
                models[section].examine(entry.body, reissue)
            except ModelMistakesError as refused:
                for one in refused.mistakes:
                    key = ".".join(text for text in (key_text(section, name), dotted(one.path)) if text)
                    yield Problem("", 0, key, one.code, one.message)
