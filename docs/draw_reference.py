"""Draw docs/reference.md from the docstrings: ``python docs/draw_reference.py`` writes the file.

With ``--print`` the text goes to standard output instead; a test compares that with the file. Every public name is
there because its module's ``__all__`` has it; one without a docstring ends the script.
"""

from __future__ import annotations

import ast
import enum
import inspect
import itertools
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_supervisor import errors
from nexus_supervisor.models import hooks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

PLACE = Path(__file__).parent / "reference.md"
HEAD = """# Reference

What Python code may use, drawn from its docstrings by `docs/draw_reference.py`. Names that are not on this page may
change at any time. The [how-to pages](index.md) show how the parts work together.
"""
PARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "nexus_supervisor",
        "What applications and worker programs import; each name is loaded when it is first used.",
        (),
    ),
    (
        "nexus_supervisor.core.shards",
        "What a section of a snapshot is. Hooks use `differing` to do no more than has changed.",
        ("Shards",),
    ),
    ("nexus_supervisor.agent", "What a worker program meets besides its `Agent`.", ("Request",)),
    ("nexus_supervisor.testing", "", ()),
    ("nexus_supervisor.adapters.asgi", "For a worker program that serves an ASGI application.", ("serve",)),
    ("nexus_supervisor.adapters.wsgi", "For a worker program that serves a WSGI application.", ("serve",)),
    ("nexus_supervisor.adapters.jobs", "For a worker program that runs jobs.", ("serve",)),
)
"""Module, what it is for (empty: what its docstring says), and which of its public names are here (empty: all)."""


def draw() -> str:
    """Return the text of docs/reference.md."""
    parts = [HEAD]
    for name, about, chosen in PARTS:
        module = import_module(name)
        names = [one for one in chosen or module.__all__ if not _is_type(getattr(module, one))]
        parts += [f"## `{name}`\n", f"{about or _about(module)}\n", *_module_part(module, names)]
    return "\n".join([*parts, *_hooks_part(), *_errors_part()])


def _about(module: ModuleType) -> str:
    """Return what a module's docstring says to those who use it."""
    return _plain((module.__doc__ or "").partition("\n\nDecided here")[0])


def _module_part(module: ModuleType, names: list[str]) -> Iterator[str]:
    """Yield classes, then functions, then constants."""

    def place(name: str) -> tuple[bool, bool, str]:
        found = getattr(module, name)
        return not isinstance(found, type), not callable(found), name.lower()

    for name in sorted(names, key=place):
        found = getattr(module, name)
        if isinstance(found, type):
            yield from _class_part(name, found)
        elif callable(found):
            yield from _entry(_function_head(name, found), _doc(found, name))
        else:
            yield from _entry(name, _constant_doc(name, found))


def _function_head(name: str, function: Any) -> str:
    """Return how a function is called; what is used by ``with`` says so."""
    head = f"{name}{_signature(function)}"
    inner = getattr(function, "__wrapped__", None)
    return re.sub(r"Iterator\[(.+)\]$", r"\1", f"with {head}") if inspect.isgeneratorfunction(inner) else head


def _is_type(found: Any) -> bool:
    """Return whether a name only says what something is made of: an alias for annotations."""
    return not isinstance(found, type) and hasattr(found, "__origin__")


def _class_part(name: str, cls: type) -> Iterator[str]:
    yield from _entry(f"class {name}{_constructor(cls)}", _doc(cls, name))
    rows = [_member(one, member) for one, member in vars(cls).items() if one[0] != "_" and _documented(member)]
    if rows:
        yield "| | |\n|---|---|"
        yield "\n".join(rows) + "\n"


def _constructor(cls: type) -> str:
    """Return what is given to make one; what only nexus-supervisor makes has none."""
    if "__init__" not in vars(cls) or cls.__name__ in ("Agent", "Snapshot", "Request", "Shards"):
        return ""
    return _signature(vars(cls)["__init__"], skip_first=True).removesuffix(" -> None")


def _documented(member: Any) -> bool:
    return bool(inspect.getdoc(_function(member))) and (callable(_function(member)) or isinstance(member, property))


def _function(member: Any) -> Any:
    if isinstance(member, property):
        return member.fget
    return member.__func__ if isinstance(member, classmethod | staticmethod) else member


def _member(name: str, member: Any) -> str:
    function = _function(member)
    shown = name if isinstance(member, property) else f"{name}{_signature(function, skip_first=True)}"
    about = " ".join(_plain(inspect.getdoc(function) or "").split())
    return f"| `{_cell(shown)}` | {_cell(about)} |"


def _signature(function: Any, *, skip_first: bool = False) -> str:
    """Return a signature as it is written, annotations without quotes."""
    signature = inspect.signature(function)
    shown: list[str] = []
    starred = False
    for parameter in list(signature.parameters.values())[skip_first:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            starred = True
        elif parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            shown.append("*")
        shown.append(_parameter(parameter))
    returned = (
        "" if signature.return_annotation is signature.empty else f" -> {_annotation(signature.return_annotation)}"
    )
    return f"({', '.join(shown)}){returned}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    annotated = "" if parameter.annotation is parameter.empty else f": {_annotation(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return f"{stars}{parameter.name}{annotated}"
    return f"{stars}{parameter.name}{annotated}{' = ' if annotated else '='}{parameter.default!r}"


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _entry(head: str, about: str) -> Iterator[str]:
    yield f"### `{head}`\n"
    yield f"{about}\n"


def _doc(found: Any, name: str) -> str:
    about = inspect.getdoc(found)
    if not about:
        sys.exit(f"{name} has no docstring")
    return _plain(about)


def _constant_doc(name: str, found: Any) -> str:
    """Return the text below the assignment of a name in the module that it comes from."""
    module = inspect.getmodule(type(found) if isinstance(found, enum.Enum) else found)
    body = ast.parse(inspect.getsource(module)).body if module else []
    for assigned, below in itertools.pairwise(body):
        if _assigns(assigned, name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            return _plain(inspect.cleandoc(str(below.value.value)))
    sys.exit(f"{name} has no text below it")


def _assigns(node: ast.stmt, name: str) -> bool:
    target = (
        node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
    )
    return isinstance(target, ast.Name) and target.id == name


def _hooks_part() -> Iterator[str]:
    yield "## Hooks\n"
    yield "Functions of the module that `[supervisor] hooks` names. [How to use them](how-to-hooks.md).\n"
    lines = _plain(hooks.__doc__ or "").splitlines()
    example = [re.sub(" +#", "  #", line[4:]) for line in lines if line.startswith("    ")]
    yield "\n".join(["```python", *example, "```\n"])


def _errors_part() -> Iterator[str]:
    yield "## `nexus_supervisor.errors`\n"
    yield "| error | exit code | |\n|---|---|---|"
    rows = (
        f"| `{kind.__name__}` | {kind.exit_code} | {_cell(_first_line(kind))} |" for kind in _kinds(errors.NexusError)
    )
    yield "\n".join(rows) + "\n"


def _kinds(kind: type[errors.NexusError]) -> Iterator[type[errors.NexusError]]:
    if kind.__module__ == errors.__name__:
        yield kind
        for one in _sorted(kind.__subclasses__()):
            yield from _kinds(one)


def _sorted(kinds: Iterable[type[errors.NexusError]]) -> list[type[errors.NexusError]]:
    return sorted(kinds, key=lambda kind: kind.__name__)


def _first_line(found: Any) -> str:
    return _doc(found, found.__name__).splitlines()[0]


def _plain(about: str) -> str:
    """Return a docstring as Markdown."""
    return re.sub(r"``(.+?)``", r"`\1`", about)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        print(draw(), end="")
    else:
        PLACE.write_text(draw(), encoding="utf-8")
