"""Hooks: functions by which an application takes part in the change of its configuration.

Decided here: which hooks there are, and how they are found. Not decided here: when each is called: ``validate`` in the
compiler, the others in every worker (``agent/``).

    # hooks.py in DIR, named by  [supervisor] hooks = "hooks"
    def validate(snapshot): ...             # raise, yield or return Objections: the candidate is refused
    def prepare(snapshot, before): ...      # becomes snapshot.derived; ``before`` may be left out
    def probe(snapshot): ...                # raise where it would not work
    def activated(old, new): ...            # ``old`` is None at the first one
    def retired(old): ...                   # no request uses it any more: close what it held

Each is optional.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core.snapshot import Snapshot
from nexus_supervisor.core.spelling import suggestion
from nexus_supervisor.models.importing import LoadError, imported

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["NO_HOOKS", "Derive", "Hooks", "Objection", "load_hooks"]

Derive = Callable[[Snapshot, Snapshot | None], Any]
"""Makes something from a snapshot; the second one is the snapshot before, to start from, or None."""

_NAMES = {"validate": 1, "prepare": 2, "probe": 1, "activated": 2, "retired": 1}
"""The hooks, and how many snapshots each is given."""


class Objection(Exception):
    """Refuse a candidate in ``validate``: with a sentence, and where it can be told, the place that it is about.

    ``section`` and ``entry`` name an entry, ``key`` a dotted key in it (``limits.low``): the refusal then names file
    and line. Several are reported together where ``validate`` yields them or returns them in a list.
    """

    def __init__(self, message: str, *, section: str = "", entry: str = "", key: str = "") -> None:
        super().__init__(message)
        self.message, self.section, self.entry, self.key = message, section, entry, key


@dataclass(frozen=True, slots=True)
class Hooks:
    """Hold the hooks that an application gives; None for each that it doesn't."""

    validate: Callable[[Snapshot], object] | None = None
    prepare: Derive | None = None
    probe: Callable[[Snapshot], object] | None = None
    activated: Callable[[Snapshot | None, Snapshot], object] | None = None
    retired: Callable[[Snapshot], object] | None = None


NO_HOOKS = Hooks()


def load_hooks(module_name: str) -> Hooks:
    """Return the hooks of a module; ``""`` has none. Raise LoadError with a sentence that says why."""
    if not module_name:
        return NO_HOOKS
    what = f"the hooks {module_name!r}"
    module = imported(what, module_name)
    found = {name: _function(what, module, name) for name in _NAMES}
    _refuse_misspelled(what, module, [name for name in _NAMES if found[name] is None])
    if not any(found.values()):
        message = f"{what} can't be used: the module has none of {', '.join(_NAMES)}"
        raise LoadError(message)
    return Hooks(**found | {"prepare": _with_before(found["prepare"])})


def _function(what: str, module: ModuleType, name: str) -> Callable[..., Any] | None:
    found = getattr(module, name, None)
    if found is None:
        return None
    if (kind := _unfit(found, name)) is not None:
        message = f"{what} can't be used: expected {name} to be a plain function, found {kind}"
        raise LoadError(message)
    function: Callable[..., Any] = found
    count = _NAMES[name]
    if not (_takes(function, count) or (name == "prepare" and _takes(function, 1))):
        message = f"{what} can't be used: expected {name} to take {count} snapshot{'s' if count > 1 else ''}"
        raise LoadError(message)
    return function


def _unfit(found: object, name: str) -> str | None:
    """Return what keeps a hook from being called plainly, in words; ``validate`` may be a generator function."""
    if not callable(found):
        return "another thing of that name"
    for one in (found, getattr(found, "__call__", None)):  # noqa: B004 - of an object that can be called
        if inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one):
            return "an async one"
        if inspect.isgeneratorfunction(one) and name != "validate":
            return "a generator function, whose body would never run: take the yield out of it"
    return None


def _refuse_misspelled(what: str, module: ModuleType, absent: list[str]) -> None:
    """Raise LoadError for a function of the module that is named nearly as a hook which the module doesn't have."""
    for name, found in vars(module).items():
        if not inspect.isfunction(found) or found.__module__ != module.__name__ or name in _NAMES:
            continue
        if (meant := suggestion(name, [one for one in absent if one[0] == name[0]])) is not None:
            advice = f"did you mean {meant}? If it is no hook, begin its name with an underscore"
            message = f"{what} can't be used: there is no hook {name}: {advice}"
            raise LoadError(message)


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Say whether a function can be called with so many arguments, as far as that is known."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True  # of a function in C that doesn't say
    return True


def _with_before(prepare: Callable[..., Any] | None) -> Derive | None:
    """Return ``prepare`` as a function of two snapshots, whether or not it wants the one before."""
    if prepare is None or _takes(prepare, _NAMES["prepare"]):
        return prepare
    return lambda snapshot, _before: prepare(snapshot)
