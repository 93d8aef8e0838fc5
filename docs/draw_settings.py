"""Draw docs/settings.md from the tables that parse settings: ``python docs/draw_settings.py`` writes the file.

With ``--print`` the text goes to standard output instead; a test compares that with the file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_supervisor.core.programs import ProgramSpec
from nexus_supervisor.core.sections import RESERVED_NAMES, SectionSpec, default_sections
from nexus_supervisor.core.settings import UNREAD, Settings, needs
from nexus_supervisor.core.tables import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nexus_supervisor.core.tables import Option

PLACE = Path(__file__).parent / "settings.md"
HEAD = """# Settings

Every setting of `daemon.toml`. `[daemon]` is what the daemon is to the outside, and holds the application's own keys;
`[supervisor]` is how nexus-supervisor works. Drawn by `docs/draw_settings.py` from the tables that read the file.

**Where a value comes from.** The command line wins over the environment, the environment over `daemon.toml`, and that
over the default. A variable is named after tables and key, joined by two underscores:
`NEXUS_SUPERVISOR__ROLLOUT__BAKE_SECONDS=0`. Names without two underscores are no settings. What comes from the command
line or the environment is never pending.

**What is refused.** A value of another type ("3" is not 3, "yes" is not true), a value out of bounds, an unknown key of
`[supervisor]`, and a key of `[daemon]` that is one edit away from one listed here. Every mistake is reported, not only
the first. Other keys of `[daemon]` belong to the application; one warning names them.

**What a change needs.** *live*: it takes effect like a change of a live section, and the change itself is judged by the
settings before it. *restart*: it is held until `nexus-supervisor restart`. *start*: it is read when the supervisor
starts, so stop it and run it again.

A setting marked † is checked but not used yet; `nexus-supervisor status` lists those that are set.
"""


def draw() -> str:
    """Return the text of docs/settings.md."""
    return "\n".join([HEAD, *_tables(Settings, ""), *_program_part(), *_section_part()])


def _tables(table: type, where: str) -> Iterator[str]:
    keys = options(table).values()
    rows = [_row(option, where) for option in keys if option.table is None]
    if rows:
        about = (table.__doc__ or "").splitlines()[0].replace("``", "`")
        yield f"## `[{where}]`\n\n{about}\n"
        yield "| key | default | accepts | change | for |\n|---|---|---|---|---|"
        yield "\n".join(rows) + "\n"
    for option in keys:
        if option.table is not None:
            yield from _tables(option.table, f"{where}.{option.name}".lstrip("."))


def _row(option: Option, where: str) -> str:
    key = f"{where}.{option.name}"
    mark = " †" if any(key == prefix or key.startswith(f"{prefix}.") for prefix in UNREAD) else ""
    default = "processors" if key == "supervisor.workers" else _default(option.default)
    accepts = option.rule.expected if option.rule else ""
    return f"| `{option.name}`{mark} | {default} | {_cell(accepts)} | {needs(key)} | {_cell(option.about)} |"


def _default(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float():
            return f"`{value:.15g}`"
        case tuple():
            return ", ".join(f'`"{one}"`' for one in value) or '`""`'
        case _:
            return f'`"{value}"`' if isinstance(value, str) or value.percent else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _program_part() -> Iterator[str]:
    yield """## `[[supervisor.program]]`

Declare the programs of a daemon that has several: each has workers of its own, and all of them have one configuration
and one version. Then `[supervisor]` has no `program`, `app`, `workers` and `threads` of its own. A change needs a
restart.
"""
    yield "| key | default | accepts | for |\n|---|---|---|---|"
    for option in options(ProgramSpec).values():
        default = "required" if option.required else _default(option.default)
        yield f"| `{option.name}` | {default} | {_cell(option.rule.expected if option.rule else '')} | {option.about} |"
    yield ""


def _section_part() -> Iterator[str]:
    yield """## `[[supervisor.section]]`

Declare which files form a section of the configuration, and what a change of it needs. Declaring any replaces the
defaults. A change of sections needs a restart. Two sections may not share a name or a file.
"""
    reserved = ", ".join(f"`{name}`" for name in sorted(RESERVED_NAMES))
    yield f"A snapshot uses these names for something else: {reserved}.\n"
    yield "| key | default | accepts | for |\n|---|---|---|---|"
    for option in options(SectionSpec).values():
        default = "required" if option.required else _default(option.default)
        yield f"| `{option.name}` | {default} | {_cell(option.rule.expected if option.rule else '')} | {option.about} |"
    yield "\nThe defaults of program `gateway` (other programs have none):\n\n```toml"
    yield "\n\n".join(_declaration(section) for section in default_sections("gateway"))
    yield "```\n"


def _declaration(section: SectionSpec) -> str:
    lines = [f'{name} = "{getattr(section, name)}"' for name in options(SectionSpec)]
    return "\n".join(["[[supervisor.section]]", *lines])


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        print(draw(), end="")
    else:
        PLACE.write_text(draw(), encoding="utf-8")
