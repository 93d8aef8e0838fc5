"""The examples of the documentation: a copy of one with keys, a supervisor on it, and clients that ask on and on."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.nexus import Nexus, command
from tests.support.pages import DOCS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.http import Response

__all__ = ["EXAMPLES", "asking", "copied", "edit", "needs", "running"]

EXAMPLES = DOCS / "examples"
WORKERS = "2"


def needs(framework: str) -> None:
    """Skip a test where a framework is missing."""
    name = framework.lower()
    pytest.importorskip(name, reason=f"{framework} is not installed: pip install {name}")


def copied(name: str, place: Path) -> Path:
    """Copy an example as it is in the repository, without what git needs and what a run in place has left."""
    left = shutil.ignore_patterns(".gitignore", "compiled", "keys", "state", "__pycache__", "*.sqlite3*")
    return shutil.copytree(EXAMPLES / name, place / name, ignore=left)


def running(directory: Path, *secret_files: str) -> Nexus:
    """Make the keys of an example and a secret for each of these files; return a supervisor to start on it."""
    made = command("keygen", directory)
    assert made.returncode == 0, made.stderr
    for name in secret_files:
        (directory / name).write_text(f"{secrets.token_hex()}\n", encoding="utf-8")
    return Nexus(directory, "-w", WORKERS)


def edit(path: Path, before: str, after: str) -> None:
    """Change a file in place, the way an editor does: a new file takes the name of the old one."""
    text = path.read_text(encoding="utf-8")
    assert before in text
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text.replace(before, after), encoding="utf-8")
    draft.replace(path)


@contextlib.contextmanager
def asking(nexus: Nexus, path: str, clients: int = 2) -> Iterator[list[Response]]:
    """Ask on and on, each client on one connection, until the block ends; every answer is in the list then."""
    answers: list[Response] = []
    failures: list[BaseException] = []
    ended = threading.Event()

    def ask() -> None:
        try:
            with nexus.connection() as connection:
                while True:
                    answers.append(connection.request("GET", path))
                    if ended.is_set():
                        return
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert failures == []
