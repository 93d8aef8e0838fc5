"""What an editor for TOML says about files: tombi, run as people run it in their checks."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import NamedTuple

__all__ = ["Complaint", "complaints"]

TOMBI = Path(sysconfig.get_path("scripts")) / "tombi"


class Complaint(NamedTuple):
    """Hold one complaint: file, line, and what is said."""

    file: str
    line: int
    message: str


def complaints(directory: Path, *files: str) -> list[Complaint]:
    """Return every error and warning about the TOML files of a directory, or about some of them, in order."""
    report = ["--diagnostics-format", "json", "--diagnostics-file", "/dev/stdout", "--quiet"]
    command = [str(TOMBI), "lint", "--offline", "--error-on-warnings", *report, *files]
    environment = {**os.environ, "XDG_CACHE_HOME": str(directory / ".cache"), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    found = [
        Complaint(Path(one["path"]).as_posix(), one["range"]["start"]["line"], one["message"])
        for one in json.loads(done.stdout or "[]")
    ]
    assert (done.returncode != 0) == bool(found), done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return sorted(found)
