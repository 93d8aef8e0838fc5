"""Walkthroughs: a page of the documentation, done the way a reader does it, in an empty directory.

Decided here: what a block is, and when an output is the one that is shown. Not decided here: which pages are done
(``tests/docs/``).

- A block whose first line is a comment with a path (``# knobs/main.toml``) is a file. ``# knobs/main.toml, at the end``
  adds to it.
- Any other Python block is run as a script.
- In a console block bash runs the lines that begin with ``$``, and what follows is the output; ``[…]`` stands for any
  text. ``nexus-supervisor run`` is the first terminal: it goes on while the others are run. The one indented command
  line of the README that runs something counts as such a block.
- ``<!-- not run: why -->`` before a block says that it isn't run.
- Below a heading with the name of a track, blocks are for that track alone.
- A block without a language is a picture, not code.
- Where a rollout is, which ``push`` and ``restart`` tell line by line where there is no terminal, is left out: a reader
  has a terminal.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.http import PATIENCE_SECONDS
from tests.support.nexus import Nexus
from tests.support.pages import text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TRACKS", "Block", "blocks", "same", "walk"]

TRACKS = ("FastAPI", "Flask", "Django")
SHOWN_ADDRESS = "127.0.0.1:8080"
SHOWN_PLACE = "/srv/shop"
WORKERS = "2"
ANY = "[…]"

_FENCE = re.compile(r"^```(\w*)$")
_NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")
_HEADING = re.compile(r"^(#+) (.+)$")
_FILE = re.compile(r"^(?:# |<!-- )([\w-][\w./-]*\.\w+)(, at the end)?(?: -->)?$")
_INDENTED_RUN = re.compile(r"^    (?:.* && )?(nexus-supervisor run .*)$")
_RUN = re.compile(r"nexus-supervisor run\b")
_PUSH = re.compile(r"nexus-supervisor push\b")
_LOOKS_BY_ITSELF = re.compile(r"nexus-supervisor\b")
_PROGRESS = re.compile(
    r"^(?:Version \d+ (?:(?:has )?replaced?s?\b|is (?:tried|activated|watched) in\b).*"
    r"|Version \d+ is (?:staged|inconclusive|live in \d+ of)\b.*"
    r"|version \d+ [a-z_]+(?: \d+/\d+)?(?:, .*)?)\n",
    re.MULTILINE,
)
_VARIES = (
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "MOMENT"),
    (r"SHA256:[\w+/]{43}", "KEY"),
    (r"\b[0-9a-f]{12}\b", "DIGEST"),
    (r'("pid": ?|\bpid )\d+', r"\1PID"),
    (r"\b([a-z]+)-\d+/\d+", r"\1-N/N"),
    (
        r"^(\w+-\d+) +\d+ +(\d+ +\w+ +\d+) +\d+\w+ +\d+ +(\d+) +[\d.]+ MiB",
        r"\1 PID \2 AGE REQUESTS \3 RSS",
    ),
    (r"\b\d+(\.\d+)? ?(s|ms)\b", "DURATION"),
    (r"\b\d+ records\b", "N records"),
    (r"[ \t]+", " "),
    (r" $", ""),
)
"""What is different each time, and the word that stands for it in both texts."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page: its language, where it begins, whose it is, and why it isn't run."""

    page: Path
    line: int
    language: str
    body: str
    track: str | None = None
    not_run: str | None = None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def file(self) -> tuple[str, bool] | None:
        """The path that it is for, and whether it is added to that file; None for a block that is no file."""
        found = None if self.language == "console" else _FILE.match(self.body.partition("\n")[0])
        return (found[1], found[2] is not None) if found else None

    def commands(self) -> Iterator[tuple[str, str]]:
        """Each command, with the output that is shown below it."""
        for part in re.split(r"^\$ ", self.body, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown


def blocks(page: Path) -> list[Block]:
    """Every block of a page that a reader could run."""
    return list(_read(page))


def walk(page: Path, place: Path, track: str | None = None) -> None:
    """Do everything that a page says, in an empty directory; an output that isn't the one shown is a failure."""
    for tool in ("bash", "curl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    with ExitStack() as ending:
        reader = _Reader(place, ending)
        for block in blocks(page):
            if block.not_run is None and block.track in (None, track):
                reader.do(block)
        reader.end()


def same(shown: str, found: str) -> bool:
    """Whether an output is the one that is shown, apart from what is different each time."""
    return re.fullmatch(_pattern(shown), _settled(found)) is not None


class _Reader:
    """Do what blocks say, one after the other, with at most one supervisor at a time."""

    def __init__(self, place: Path, ending: ExitStack) -> None:
        self._place = place
        self._shell = _Shell(place, ending)
        self._first_terminal = ending.enter_context(ExitStack())
        self._nexus: Nexus | None = None
        self._shown: tuple[Block, str] | None = None
        self._address = SHOWN_ADDRESS
        self._unseen = False

    def do(self, block: Block) -> None:
        """Write its file, run its script, or run its commands."""
        if block.language == "console":
            for command, shown in block.commands():
                self._command(block, command, shown)
        elif block.file is not None:
            self._write(block, *block.file)
        elif block.language == "python":
            self._script(block)
        else:
            assert block.language == "toml", f"{block}: name its file in the first line, or say why it isn't run"
            tomllib.loads(block.body)

    def end(self) -> None:
        """End the supervisor, and look at what it printed."""
        if self._nexus is None or self._shown is None:
            return
        code = self._nexus.stop()
        (block, shown), output = self._shown, self._as_shown(self._nexus.output)
        self._nexus = self._shown = None
        self._first_terminal.close()
        assert code == 0, f"{block}: the supervisor ended with {code}\n{output}"
        lines = iter(output.splitlines())
        for wanted in shown.splitlines():
            assert any(same(wanted, line) for line in lines), f"{block}: nothing like {wanted!r} in\n{output}"

    def _write(self, block: Block, name: str, at_the_end: bool) -> None:
        path = self._place / name
        assert path.exists() >= at_the_end, f"{block}: there is no {name} to add to"
        path.parent.mkdir(parents=True, exist_ok=True)
        rest = block.body.partition("\n")[2].lstrip()
        body = f"\n{rest}" if at_the_end else block.body
        with path.open("a" if at_the_end else "w", encoding="utf-8") as file:
            file.write(body)
        self._unseen = True

    def _command(self, block: Block, command: str, shown: str) -> None:
        if _RUN.match(command):
            self._start(block, command, shown)
            return
        if not _PUSH.match(command):
            self._settle()
        output = self._as_shown(self._shell.run(command.replace(SHOWN_ADDRESS, self._address)))
        assert same(shown, output), f"{block}: $ {command}\n--- shown:\n{shown}--- found:\n{output}"
        self._unseen = not _LOOKS_BY_ITSELF.match(command)

    def _script(self, block: Block) -> None:
        self._settle()
        found = subprocess.run(
            [sys.executable, "-"],
            cwd=self._place,
            env=_environment(),
            input=block.body,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert found.returncode == 0, f"{block}: {found.stderr}"

    # --- the first terminal ---

    def _start(self, block: Block, command: str, shown: str) -> None:
        """Run a supervisor beside what follows, on a port that is free."""
        self.end()
        words = shlex.split(command, comments=True)[2:]
        named = [words.pop(0)] if words and not words[0].startswith("-") else ["."]
        workers = [] if {"-w", "--workers"} & set(words) else ["-w", WORKERS]
        self._nexus = self._first_terminal.enter_context(Nexus(self._place / named[0], *words, *workers))
        self._shown, self._address = (block, shown), self._nexus.address

    def _settle(self) -> None:
        """Wait until what was changed is in every worker; a reader who pushes next sees that happen."""
        if self._unseen and self._nexus is not None and self._nexus.process.poll() is None:
            self._nexus.push()
        self._unseen = False

    def _as_shown(self, output: str) -> str:
        output = _PROGRESS.sub("", output)
        return output.replace(self._address, SHOWN_ADDRESS).replace(str(self._place), SHOWN_PLACE)


class _Shell:
    """One bash for all commands of a page, so that a variable that one sets is there for the next."""

    def __init__(self, place: Path, ending: ExitStack) -> None:
        process = subprocess.Popen(
            ["bash"],
            cwd=place,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ending.enter_context(process)
        assert process.stdin is not None
        assert process.stdout is not None
        self._given, self._output = process.stdin, process.stdout

    def run(self, command: str) -> str:
        """Run one command, and return what it prints on either output."""
        mark = f"--- {uuid.uuid4().hex} ---"
        self._given.write(f"{{ {command}\n}} < /dev/null\nprintf '\\n%s\\n' '{mark}'\n")
        self._given.flush()
        lines: list[str] = []
        while (line := self._output.readline()) != f"{mark}\n":
            assert line, f"the shell ended: {lines}"
            lines.append(line)
        return "".join(lines).removesuffix("\n")


def _read(page: Path) -> Iterator[Block]:
    language, body, begun = "", list[str](), 0
    tracks: list[tuple[int, str | None]] = []
    reason: str | None = None
    for number, line in enumerate(text(page).splitlines(), 1):
        if begun and line == "```":
            if language:
                track = next((name for _, name in reversed(tracks) if name), None)
                yield Block(page, begun, language, "".join(f"{one}\n" for one in body), track, reason)
            begun, reason = 0, None
        elif begun:
            body.append(line)
        elif fence := _FENCE.match(line):
            language, body, begun = fence[1], [], number
        elif heading := _HEADING.match(line):
            level = len(heading[1])
            tracks = [one for one in tracks if one[0] < level]
            tracks.append((level, heading[2] if heading[2] in TRACKS else None))
        elif skipped := _NOT_RUN.match(line):
            reason = skipped[1]
        elif run := _INDENTED_RUN.match(line):
            yield Block(page, number, "console", f"$ {run[1]}\n")


def _pattern(shown: str) -> str:
    """The regular expression of an output; a line that is only ``[…]`` stands for any lines."""
    lines = (
        r"(?:[^\n]*\n)*" if line == ANY else r"[^\n]*".join(map(re.escape, line.split(ANY))) + r"\n"
        for line in _settled(shown).splitlines()
    )
    return "".join(lines)


def _settled(output: str) -> str:
    for varying, word in _VARIES:
        output = re.sub(varying, word, output, flags=re.MULTILINE)
    return "".join(f"{line}\n" for line in output.strip("\n").splitlines())


def _environment() -> dict[str, str]:
    """The environment of a terminal: nothing of this test run, and the commands of this Python first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NEXUS_", "PYTEST_"))}
    programs = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": programs, "NO_COLOR": "1", "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
