"""``history`` and ``show``: what ran when and why, and what one version holds.

Decided here: how the past is told, and how a version is shown. Not decided here: what the journal says
(``core/ledger.py``). Read from the disk, without the lock: no supervisor is needed, and one may run.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nexus_supervisor.cli import terminal
from nexus_supervisor.cli.options import json_option, with_directory
from nexus_supervisor.cli.values import flat, shown
from nexus_supervisor.cli.words import UNKNOWN, figures, moment
from nexus_supervisor.core import canonical
from nexus_supervisor.core.changes import BUILT_IN, key_text
from nexus_supervisor.core.comparison import redacted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nexus_supervisor.core.past import Past
    from nexus_supervisor.core.records import Answered
    from nexus_supervisor.supervisor.archive import Stored

__all__ = ["history", "show"]

T = TypeVar("T")

SHOWN = 20


@click.command
@with_directory()
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help=f"Show the newest ones only; default: {SHOWN}, with --json all.",
)
@json_option
def history(directory: Path, *, count: int | None, as_json: bool) -> None:
    """Show what ran when, who asked for it, and how it ended.

    The oldest is shown first. Requests that led to no version are among them.
    """
    from nexus_supervisor.supervisor.past import read_past

    found = read_past(directory)
    if found.damage:
        message = f"note: the journal can't be followed to its end: {found.damage}"
        terminal.say(message, err=True)
    if as_json:
        terminal.show_json(
            {
                "committed": found.committed,
                "pinned": found.pinned,
                "versions": [asdict(one) for one in _newest(found.versions, count)],
                "requests": [_request(one) for one in _newest(found.answered, count)],
            }
        )
        return
    lines = _chronicle(found.versions, found.answered)
    for line in _newest(lines, count or SHOWN):
        terminal.say(line[0])
        for detail in line[1:]:
            terminal.say(f"    {detail}")
    if len(lines) > (count or SHOWN):
        terminal.say(f"note: {len(lines) - (count or SHOWN)} older ones are not shown; -n COUNT shows more", err=True)
    if not lines:
        terminal.say(f"nothing ran on {directory} yet", err=True)


@click.command
@click.argument("version", metavar="VERSION", type=click.IntRange(min=1))
@with_directory(argument=False)
@json_option
def show(directory: Path, *, version: int, as_json: bool) -> None:
    """Show one stored version, without its secrets.

    VERSION is the number of one in compiled/. Its signature and digests are checked before anything of it is read.
    """
    from nexus_supervisor.supervisor.versions import stored_version

    stored = stored_version(directory, version)
    if as_json:
        terminal.show_json({**_facts(stored), "content": redacted(_content(stored))})
        return
    for name, fact in _facts(stored).items():
        terminal.say(f"{name.replace('_', ' ')}: {UNKNOWN if fact is None else fact}")
    for section, entries in _content(stored).items():
        for entry, body in entries.items():
            for key, value in flat(key_text(section, entry), body):
                terminal.say(f"{key} = {shown(value)}")


def _newest(found: Sequence[T], count: int | None) -> Sequence[T]:
    return found if count is None else found[-count:]


# --- history ---------------------------------------------------------------------------------------------------------


def _chronicle(versions: tuple[Past, ...], answered: tuple[Answered, ...]) -> list[list[str]]:
    """Return each version, and each request that led to none, as lines: the first says it, others say more."""
    known = {one.version for one in versions}
    by_id = {one.push_id: one for one in answered}
    told = [(one.at, number, _of_version(one, by_id)) for number, one in enumerate(versions)]
    told += [
        (one.at, len(versions) + number, _of_request(one))
        for number, one in enumerate(answered)
        if one.version not in known or not _carried(one, versions)
    ]
    return [lines for _, _, lines in sorted(told, key=lambda one: one[:2])]


def _carried(request: Answered, versions: tuple[Past, ...]) -> bool:
    """Say whether the line of a version tells of a request."""
    return any(request.push_id in one.pushes for one in versions if one.version == request.version)


def _of_version(past: Past, by_id: Mapping[str, Answered]) -> list[str]:
    kind = f" {past.kind or past.origin}" if past.kind or past.origin else ""
    of = f" of {past.rollback_of}" if past.rollback_of is not None else ""
    ended = f" at {moment(past.ended_at)}" if past.ended_at else ""
    lines = [f"{moment(past.at) if past.at else UNKNOWN} version {past.version}{kind}{of}: {past.outcome}{ended}"]
    why, because = past.reason, past.detail
    if past.outcome == "committed":  # what its end says is why somebody wanted it, whoever saw the change first
        why, because = because or why, ""
    said = {"by": past.requester, "why": why, "changes": past.changes, "because": because}
    lines += [f"{name}: {fact}" for name, fact in said.items() if fact]
    if measured := figures(past.numbers):
        lines.append(f"numbers: {measured}")
    for push_id in past.pushes:
        asked = by_id.get(push_id)
        lines.append(f"push {push_id}" if asked is None else f"{asked.verb} {push_id}: {asked.outcome}{_reason(asked)}")
    return lines


def _of_request(request: Answered) -> list[str]:
    lines = [f"{moment(request.at)} {request.verb} {request.push_id}: {request.outcome}"]
    if request.requester:
        lines.append(f"by: {request.requester}")
    if request.reason:
        lines.append(f"why: {request.reason}")
    return [*lines, request.text]


def _reason(request: Answered) -> str:
    return f" ({request.reason})" if request.reason else ""


def _request(request: Answered) -> dict[str, Any]:
    """Return a request as plain values; its numbers are JSON already."""
    plain = asdict(request)
    if isinstance(plain.get("numbers"), bytes):
        plain["numbers"] = canonical.decode(plain["numbers"])
    return {**plain, "version": request.version or None}


# --- show ------------------------------------------------------------------------------------------------------------


def _facts(stored: Stored) -> dict[str, Any]:
    """Return what the manifest states."""
    manifest = stored.manifest
    return {
        "version": stored.version,
        "digest": manifest.digest,
        "created_at": manifest.created_at,
        "audience": manifest.audience,
        "parent": None if manifest.parent is None else manifest.parent.version,
        "rollback_of": manifest.rollback_of,
        "signed_with": manifest.key_id if stored.signature else None,
    }


def _content(stored: Stored) -> dict[str, dict[str, Any]]:
    """Return the entries of each section as plain values, daemon.toml first."""
    sections = stored.content.sections
    return {
        name: {entry: canonical.decode(sections[name].entries[entry].body) for entry in sorted(sections[name].entries)}
        for name in sorted(sections, key=lambda name: (name != BUILT_IN, name))
    }
