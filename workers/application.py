"""The application: what ``[supervisor] app`` or ``--app`` names, found and checked before it is served.

Decided here: that it is there and can be called as its program calls it. Not decided here: how it is served.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from nexus_supervisor.agent.program import load_object
from nexus_supervisor.errors import UsageError

if TYPE_CHECKING:
    from nexus_supervisor.agent import Agent

__all__ = ["application"]

_PROGRAMS = {0: "jobs", 2: "wsgi", 3: "asgi"}
"""Which program calls its application with so many arguments."""


def application(agent: Agent, kind: str, arguments: int) -> Any:
    """Return the agent's application, which is called with so many arguments; raise UsageError where there is none."""
    if not agent.app:
        message = (
            f"program {agent.program} needs an application: set app = "
            '"MODULE:ATTR" in [supervisor], or run with --app MODULE:ATTR'
        )
        raise UsageError(message)
    found = load_object(agent.app, "app")
    if not callable(found):
        message = f"app {agent.app!r} must be {kind}, found {type(found).__name__}"
        raise UsageError(message)
    if not _takes(found, arguments):
        fitting = [program for count, program in _PROGRAMS.items() if _takes(found, count)]
        message = f"app {agent.app!r} must be {kind}; {_advice(fitting)}"
        raise UsageError(message)
    return found


def _advice(fitting: list[str]) -> str:
    """Say what an application with another signature may be."""
    match fitting:
        case ["jobs"]:
            return (
                "it takes no arguments: where it makes the application, call it in its module and name what it returned"
                ' (app = make_app()); where it does a job, use program = "jobs"'
            )
        case [program]:
            return f'it takes other arguments, like an application of program = "{program}"'
        case _:
            return "it takes other arguments"


def _takes(found: Any, count: int) -> bool:
    """Return whether something can be called with so many arguments, as far as it can be known."""
    try:
        inspect.signature(found).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a builtin may not say
        return True
    return True
