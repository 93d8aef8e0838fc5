"""One question to somebody else about a version: a command that is run, or an address that is fetched.

Decided here: what they are told, what counts as yes, and how much of their words is taken. Not decided here: how long
they may take (``gates.py``, which calls ``stop`` from another thread).
"""

from __future__ import annotations

import http.client
import os
import select
import shlex
import signal
import socket
import ssl
import subprocess
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from nexus_supervisor.log_lines import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["AddressQuestion", "CommandQuestion", "Question"]

_TAIL_BYTES = 4096
_MAX_CHARACTERS = 300
_PIECE_BYTES = 1 << 16
_PATIENCE = 2
"""How much longer a connection waits than whoever asks does: what is late must not look like an answer."""

_GOOD = range(200, 300)


class Question(Protocol):
    """Ask once. ``subject`` names who is asked."""

    subject: str

    def refusal(self) -> str:
        """Return why the answer is no, in words that follow the subject; empty where it is yes."""

    def stop(self) -> None:
        """End the asking, from another thread; a second time does nothing."""


class CommandQuestion:
    """Run a command without a shell, in a session of its own: exit code 0 is yes."""

    subject = "the command of supervisor.external_gate"

    def __init__(self, command: str, directory: Path, variables: Mapping[str, str]) -> None:
        self._command, self._directory, self._variables = command, directory, variables
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def refusal(self) -> str:
        """Run it to its end and say why that is no yes: how it ended, and the last line that it wrote."""
        if self._stopped:
            return "was given up"
        try:
            process = self._start(shlex.split(self._command))
        except (OSError, ValueError) as error:
            return f"can't be run: {error}"
        with process:
            said = self._listen(process)
        if process.returncode == 0:
            return ""
        return f"{_ended(process.returncode)}{f': {said}' if said else ''}"

    def stop(self) -> None:
        """Kill its whole group. The process is not reaped before that, so the number is still its own."""
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.returncode is None:
                _kill_group(self._process)

    def _start(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        """Start it; one that is given up meanwhile is killed at once."""
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._directory,
            env=dict(self._variables),
            start_new_session=True,
        )
        with self._lock:
            self._process = process
            if self._stopped:
                _kill_group(process)
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> str:
        """Read what it writes until it ends, and end what it leaves behind; return the last line."""
        output = process.stdout
        if output is None:
            return ""
        os.set_blocking(output.fileno(), False)
        reading, writing = socket.socketpair()
        waiter = threading.Thread(target=self._wait, args=(process, writing), daemon=True)
        waiter.start()
        with closing(reading):
            tail = _tail(output.fileno(), reading.fileno())
        waiter.join()
        return _last_line(tail)

    def _wait(self, process: subprocess.Popen[bytes], ended: socket.socket) -> None:
        """Wait for its end, kill what is left of its group, reap it, and say so by closing ``ended``."""
        with closing(ended):
            if hasattr(os, "waitid"):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            else:
                process.wait()
            with self._lock:
                _kill_group(process)
                process.wait()


class AddressQuestion:
    """Fetch an address, without following it anywhere else: a status of 200 to 299 is yes."""

    subject = "the url of supervisor.external_gate"

    def __init__(self, url: str, facts: Mapping[str, str], timeout_seconds: float) -> None:
        self._url, self._facts, self._timeout_seconds = url, facts, _PATIENCE * timeout_seconds
        self._connection: http.client.HTTPConnection | None = None
        self._stopped = False

    def refusal(self) -> str:
        """Ask, and say why the answer is no: the status, and the last line of what came with it."""
        try:
            parts = urlsplit(self._url)
            connection = self._connect(parts.scheme, parts.hostname or "", parts.port)
        except ValueError as error:
            return f"can't be used: {error}"
        headers = {f"Nexus-{name.replace('_', '-').title()}": value for name, value in self._facts.items()}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with closing(connection):
            try:
                self._connection = connection
                connection.connect()
                if self._stopped:
                    return "was given up"
                connection.request("GET", target, headers=headers | {"Connection": "close"})
                response = connection.getresponse()
                if response.status in _GOOD:
                    return ""
                said = _last_line(response.read1(_TAIL_BYTES))
            except (OSError, http.client.HTTPException) as error:
                return f"can't be asked: {printable(str(error))[:_MAX_CHARACTERS] or type(error).__name__}"
        answer = printable(f"{response.status} {response.reason}".strip())[:_MAX_CHARACTERS]
        return f"answered {answer}{f': {said}' if said else ''}"

    def stop(self) -> None:
        """Shut the connection down; whoever reads from it gets an end."""
        self._stopped = True
        connection = self._connection
        held = None if connection is None else connection.sock
        if held is not None:
            with suppress(OSError):  # it is closed already
                held.shutdown(socket.SHUT_RDWR)

    def _connect(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_seconds, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_seconds)


def _tail(output: int, ended: int) -> bytes:
    """Return the last bytes of an output until the process has ended: one more piece is all that a pipe can hold then.

    Not until the output ends: a process that was left behind may hold it, and fill it for ever.
    """
    tail, over = b"", False
    poller = select.poll()
    poller.register(output, select.POLLIN)
    poller.register(ended, select.POLLIN)
    while not over:
        ready = [descriptor for descriptor, _ in poller.poll()]
        over = ended in ready
        piece = _piece(output)
        if piece == b"" and output in ready:
            poller.unregister(output)
        tail = (tail + (piece or b""))[-_TAIL_BYTES:]
    return tail


def _piece(output: int) -> bytes | None:
    """Return what is there, b"" at the end, None where nothing is."""
    try:
        return os.read(output, _PIECE_BYTES)
    except BlockingIOError:
        return None


def _last_line(raw: bytes) -> str:
    lines = [line.strip() for line in raw.decode("utf-8", "replace").splitlines() if line.strip()]
    return printable(lines[-1])[:_MAX_CHARACTERS] if lines else ""


def _ended(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nothing is left of it
        os.killpg(process.pid, signal.SIGKILL)
