"""Parts of a verdict: which keys are live, which are widened, which secrets travel, and how long its lists may be.

Decided here: the bounds of what one message may list, and that secrets are those of exactly the content that may go
live. Not decided here: the verdict itself (``compile.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from nexus_supervisor.compiler.daemonfile import stored_admin_token
from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import BUILT_IN, is_stored_secret, key_text
from nexus_supervisor.core.problems import Problem
from nexus_supervisor.core.settings import LIVE_KEYS
from nexus_supervisor.core.widening import widened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nexus_supervisor.compiler.daemonfile import DaemonFile
    from nexus_supervisor.compiler.survey import Survey
    from nexus_supervisor.core.content import Content
    from nexus_supervisor.models.loading import EntryModel

__all__ = ["bounded", "listed", "live_keys", "secrets_of", "widened_keys"]

MAX_LISTED = 2_000
"""How many names one message lists; a delta has them all."""

_MAX_LISTED_BYTES = 128 * 1024
"""What the names of one list may take of a message."""

_MAX_PROBLEM_CHARACTERS = 128 * 1024
_KEY_CHARACTERS = 200
_MESSAGE_CHARACTERS = 1_000


def live_keys(overrides: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the live keys by section; what is given from elsewhere than daemon.toml is never pending."""
    return {BUILT_IN: (*LIVE_KEYS, *_leaves(overrides, ""))}


def _leaves(tables: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def bounded(problems: Sequence[Problem], most: int) -> tuple[Problem, ...]:
    """Return problems in order of file and line, without repetition, as many as one message may hold."""
    ordered = sorted(set(problems), key=lambda one: (one.file, one.line, one.key, one.message))
    taken: list[Problem] = []
    room = _MAX_PROBLEM_CHARACTERS
    for problem in map(_clipped, ordered[:most]):
        room -= len(str(problem))
        if room < 0:
            break
        taken.append(problem)
    if (more := len(ordered) - len(taken)) > 0:
        taken.append(Problem("", 0, "", "limit", f"{more} more problems are not shown: mend these first"))
    return tuple(taken)


def _clipped(problem: Problem) -> Problem:
    """Return a problem that quotes no endless key, path or list of a file."""
    key, message = _cut(problem.key, _KEY_CHARACTERS), _cut(problem.message, _MESSAGE_CHARACTERS)
    return replace(problem, key=key, message=message)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(names: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return names as ``section.name``, as many as one message may hold; a section ``""`` leaves names as they are."""
    every = [f"{section}.{name}" if section else name for section in sorted(names) for name in sorted(names[section])]
    clipped = [_cut(name, _KEY_CHARACTERS) for name in every[:MAX_LISTED]]
    ends = accumulate(len(name.encode("utf-8", "surrogatepass")) for name in clipped)
    return tuple(name for name, end in zip(clipped, ends, strict=True) if end <= _MAX_LISTED_BYTES)


def widened_keys(before: Content, after: Content, models: Mapping[str, EntryModel]) -> tuple[str, ...]:
    """Return the keys of entries that are there before and after at which they may do more, as many as are listed."""
    keys: list[str] = []
    for section, part in after.sections.items():
        runs, model = before.sections.get(section), models.get(section)
        fields = model.widens() if model is not None else ()
        for name, here, there in runs.entries.differing(part.entries) if runs is not None and fields else ():
            if here is not None and there is not None:
                places = widened(canonical.decode(here.body), canonical.decode(there.body), fields)
                keys += [key_text(section, name, *place) for place in places]
    return listed({"": keys})


def secrets_of(content: Content, survey: Survey, daemon: DaemonFile, known: Mapping[str, str]) -> Mapping[str, str]:
    """Return the values, by digest, of every secret in a content that travels.

    Entries that are as their files hold them have the values that were resolved with the file; what is held has those
    that run, which are ``known``. An entry of which fields are held has some of both.
    """
    secrets: dict[str, str] = {}
    for name, shelf in survey.shelves.items():
        section = content.sections.get(name)
        if section is None:
            continue
        for place in shelf.with_secrets:
            item = shelf.item(place)
            entry = section.entries.get(item.name or "")
            if entry is not None and item.entry is not None and entry.digest == item.entry.digest:
                secrets.update(item.secrets)
        for entry_name, _, there in shelf.entries.differing(section.entries):
            if there is not None:
                values = {**known, **shelf.secrets_of(entry_name)}
                secrets.update(_known(canonical.decode(there.body), values) if values else {})
    secrets.update(_known(stored_admin_token(content), {**known, **daemon.secrets}))
    return secrets


def _known(value: Any, values: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the stored secrets inside a plain value, as far as they are known."""
    if is_stored_secret(value):
        return {value["digest"]: values[value["digest"]]} if value["digest"] in values else {}
    found: dict[str, str] = {}
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        found.update(_known(item, values))
    return found
