"""The hand-written peer, one process of N: its own watchdog observer, every file read again, a global swapped.

This is what people write. It neither validates nor signs, and nothing makes the processes agree: it is given every
advantage. ``python peer.py DIRECTORY``; SIGTERM ends it.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from rounds import Reporter
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

SOURCES: dict[str, Any] = {}


def read(directory: Path) -> dict[str, Any]:
    """Return every source of the directory by name."""
    documents = [tomllib.loads(path.read_text()) for path in directory.glob("*.toml")]
    return {document["source"]["name"]: document["source"] for document in documents}


class Again(FileSystemEventHandler):
    """Read everything again whenever a file changes."""

    def __init__(self, directory: Path, reporter: Reporter) -> None:
        self._directory, self._reporter = directory, reporter

    def look(self) -> None:
        """Read, swap, report."""
        global SOURCES  # noqa: PLW0603 - the very thing that is compared
        SOURCES = read(self._directory)
        self._reporter.current(lambda name: int(SOURCES[name]["change"]), len(SOURCES))

    def on_created(self, event: FileSystemEvent) -> None:
        """Look; so for everything below."""
        self._changed(event)

    on_modified = on_moved = on_deleted = on_created

    def _changed(self, event: FileSystemEvent) -> None:
        if not event.is_directory and str(event.src_path).endswith(".toml"):
            self.look()


def main(directory: Path) -> None:
    """Watch for ever."""
    again = Again(directory, Reporter())
    observer = Observer()
    observer.schedule(again, str(directory))
    observer.start()
    again.look()
    observer.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
