"""Validation: what the application itself says against a content, by its hook ``validate``.

Decided here: that the hook is asked once about a content that it accepts, and what becomes of everything that it may
raise, yield or return. Not decided here: which contents it is asked about, and what an objection leads to
(``compile.py``); how hooks are found (``models/hooks.py``).

What the hook is shown is a snapshot as workers see it, secrets included, without ``derived``; its version is 0. Only
what changed since the last one is built. No text of an exception other than an Objection or a ValueError is shown:
it may hold anything.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.tree import shown
from nexus_supervisor.core.content import Version
from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.errors import RejectedError
from nexus_supervisor.models.building import NOTHING, Builder, Built
from nexus_supervisor.models.hooks import NO_HOOKS, Objection, load_hooks
from nexus_supervisor.models.importing import LoadError, place_of
from nexus_supervisor.models.secrets import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nexus_supervisor.core.content import Content, Digest
    from nexus_supervisor.core.settings import SupervisorSettings
    from nexus_supervisor.models.hooks import Hooks

__all__ = ["Validation"]

_REMEMBERED = 8
_MOST_CHARACTERS = 64 * 1024


@dataclass(slots=True)
class _Workshop:
    """Build snapshots for one program, each from the one before."""

    program: str
    builder: Builder
    last: Built = NOTHING

    def snapshot(self, content: Content, secrets: Mapping[str, str]) -> Snapshot:
        """Return a content as programs see it; raise RejectedError."""
        self.last = self.builder.build(content, self.last, secrets, {})
        return Snapshot(Version(0), content.digest, self.last.sections, self.last.daemon)


class Validation:
    """Ask the hooks of the application about contents."""

    def __init__(self) -> None:
        self._hooks: dict[str, Hooks] = {"": NO_HOOKS}
        self._workshop: _Workshop | None = None
        self._accepted: OrderedDict[tuple[str, Digest], None] = OrderedDict()

    def forget(self) -> None:
        """Forget the snapshots that were built; the next one is built whole."""
        self._workshop = None

    def load(self, module: str) -> str | None:
        """Import a module of hooks, and return why that fails; one that failed is imported again the next time."""
        if module in self._hooks:
            return None
        known = module in sys.modules
        try:
            self._hooks[module] = load_hooks(module)
        except LoadError as error:
            if not known:
                sys.modules.pop(module, None)
            return str(error)
        return None

    def asks(self, module: str) -> bool:
        """Say whether a module was loaded and wants to be asked."""
        return self._hooks.get(module, NO_HOOKS).validate is not None

    def objections(self, settings: SupervisorSettings, content: Content, secrets: Mapping[str, str]) -> list[Objection]:
        """Return what the hook says against a content, nothing where there is no hook; texts hold no secret."""
        validate = self._hooks.get(settings.hooks, NO_HOOKS).validate
        key = (settings.hooks, content.digest)
        if validate is None or key in self._accepted:
            return []
        try:
            snapshot = self._shown(settings.program, content, secrets)
        except RejectedError as refused:
            return [_cleaned(Objection(f"validate can't be asked: {refused}"), secrets)]
        found = [_cleaned(one, secrets) for one in _asked(validate, snapshot, settings.limits.max_problems)]
        if not found:
            self._accepted[key] = None
            while len(self._accepted) > _REMEMBERED:
                self._accepted.popitem(last=False)
        return found

    def _shown(self, program: str, content: Content, secrets: Mapping[str, str]) -> Snapshot:
        if self._workshop is None or self._workshop.program != program:
            self._workshop = _Workshop(program, Builder(program))
        return self._workshop.snapshot(content, secrets)


def _asked(validate: Callable[[Snapshot], object], snapshot: Snapshot, most: int) -> list[Objection]:
    """Call the hook, and return at most so many objections, whatever it does."""
    found: list[Objection] = []
    try:
        found.extend(islice(_each(validate(snapshot)), most + 1))
    except Objection as one:
        found.append(one)
    except MemoryError:
        raise
    except ValueError as error:
        found.append(Objection(_words(error) or type(error).__name__))
    except BaseException as error:  # noqa: BLE001 - a hook may raise anything
        found.append(Objection(f"validate failed with {type(error).__name__}{place_of(error)}: mend it"))
    return found


def _each(answer: Any) -> Iterable[Objection]:
    """Yield the objections of an answer: none, one, or several."""
    if isinstance(answer, Objection):
        answer = (answer,)
    if answer is None:
        return
    if isinstance(answer, str | bytes) or not isinstance(answer, Iterable):
        yield _mistaken(answer)
        return
    for one in answer:
        yield one if isinstance(one, Objection) else _mistaken(one)


def _mistaken(found: object) -> Objection:
    return Objection(f"expected validate to return or yield Objections, found {type(found).__name__}: mend it")


def _cleaned(one: Objection, secrets: Mapping[str, str]) -> Objection:
    """Return an objection of plain texts without secrets; None is taken for a part that is left out."""
    message, *place = (
        shown(redacted(_words(part), secrets.values())) for part in (one.message, one.section, one.entry, one.key)
    )
    return Objection(message, **dict(zip(("section", "entry", "key"), place, strict=True)))


def _words(part: object) -> str:
    """Return the text of what a hook gave, of bounded length; making it may raise anything, too."""
    try:
        return "" if part is None else str(part)[:_MOST_CHARACTERS]
    except BaseException as error:  # noqa: BLE001
        return f"a {type(part).__name__} whose text can't be made ({type(error).__name__}{place_of(error)})"
