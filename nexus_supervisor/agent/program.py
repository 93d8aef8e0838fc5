"""Programs: from a name in the settings to the function that serves.

Decided here: how a program is found and how its absence is explained, and how it says what it derives from a version
and what it imports later.
Not decided here: what it does with its Agent.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nexus_supervisor.agent import Agent
    from nexus_supervisor.models.hooks import Derive

__all__ = [
    "GROUP",
    "derived_by",
    "derives",
    "hold_program",
    "load_object",
    "load_program",
    "needed_by",
    "needs",
    "rehearsal_of",
]

P = TypeVar("P", bound="Callable[[Agent], object]")

_DERIVE = "__nexus_derive__"
_NEEDS = "__nexus_needs__"
_REHEARSAL = "__nexus_rehearsal__"

_held: dict[str, Callable[[Agent], object]] = {}

GROUP = "nexus_supervisor.workers"
"""The entry point group of worker programs: users register theirs exactly as ours are."""


def derives(derive: Derive) -> Callable[[P], P]:
    """Say, above a program, that ``snapshot.program`` is ``derive(snapshot, before)``.

    It is made when a version is staged, outside requests, and first in a trial: what it raises refuses the version.
    ``before`` is the snapshot that is current at that time, to start from (``Shards.differing`` says what changed), or
    None.
    """

    def say(program: P) -> P:
        setattr(program, _DERIVE, derive)
        return program

    return say


def derived_by(program: Callable[[Agent], object]) -> Derive | None:
    """Return what a program says that it derives from a version; None where it says nothing."""
    found: Derive | None = getattr(program, _DERIVE, None)
    return found


def needs(*modules: str, rehearsal: str = "") -> Callable[[P], P]:
    """Say, above a program, which modules it imports only when it runs, and what else is worth doing once.

    They are imported once, before workers are forked, and so cost neither time nor memory in each. ``rehearsal`` is the
    ``MODULE:ATTR`` of a function without arguments that is called then. It must leave neither threads, processes,
    connections nor an event loop behind.
    """

    def say(program: P) -> P:
        setattr(program, _NEEDS, modules)
        setattr(program, _REHEARSAL, rehearsal)
        return program

    return say


def needed_by(program: Callable[[Agent], object]) -> tuple[str, ...]:
    """Return the modules that a program says it imports when it runs."""
    found: tuple[str, ...] = getattr(program, _NEEDS, ())
    return found


def rehearsal_of(program: Callable[[Agent], object]) -> str:
    """Return what a program says that is worth doing before workers are forked; empty where it says nothing."""
    found: str = getattr(program, _REHEARSAL, "")
    return found


def hold_program(name: str) -> Callable[[Agent], object]:
    """Load a program for good: in this process, and those forked from it, it is not looked for again."""
    _held[name] = found = load_program(name)
    return found


def load_program(name: str) -> Callable[[Agent], object]:
    """Return the function of a program: an entry point's name, or ``MODULE:ATTR``; raise UsageError."""
    if name in _held:
        return _held[name]
    if ":" in name:
        found: Any = load_object(name, "program")
    else:
        registered = {point.name: point for point in entry_points(group=GROUP)}
        if name not in registered:
            raise UsageError(_unknown(name, sorted(registered)))
        found = registered[name].load()
    if not callable(found):
        message = f"program {name!r} must be a function that takes the Agent, found {type(found).__name__}"
        raise UsageError(message)
    return cast("Callable[[Agent], object]", found)


def load_object(path: str, what: str) -> Any:
    """Return what ``MODULE:ATTR`` names; raise UsageError where there is no such module or attribute.

    An error inside the module is the module's own and is raised as it is.
    """
    module_name, _, attributes = path.partition(":")
    if not module_name or not attributes:
        message = f"{what} {path!r} must be MODULE:ATTR, such as shop.web:app"
        raise UsageError(message)
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        message = f"{what} {path!r}: there is no module {error.name!r} in DIR or on the import path"
        raise UsageError(message) from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            message = f"{what} {path!r}: module {module_name!r} has no attribute {attributes!r}"
            raise UsageError(message) from error
    return found


def _unknown(name: str, known: list[str]) -> str:
    nearest = suggestion(name, known)
    advice = f"did you mean {nearest!r}?" if nearest else f"known are {', '.join(known)}, or MODULE:ATTR"
    return f"no worker program is called {name!r}: {advice}"
