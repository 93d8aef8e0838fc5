"""A real PostgreSQL server: started, stopped, killed and started again by the test that needs it.

One server for each test process, one fresh database for each test. It listens on a Unix socket only, in a directory of
its own, and asks for a password. Its default is to *not* wait for the disk at commit: who promises durability has to
ask for it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psutil
import pytest

from nexus_supervisor.models.marks import Secret
from tests.support.http import PATIENCE_SECONDS
from tests.support.leaks import await_exit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from nexus_workers.gateway.postgres import PostgresStorage
    from nexus_workers.gateway.storage import StorageLimits

__all__ = ["Database", "Server", "a_storage", "fresh_database", "postgres", "postgres_server", "with_storage"]

T = TypeVar("T")

_BINARIES = ("initdb", "postgres")
_OWNER = "owner"
"""The superuser of the server; tests use it to change and to look."""
ROLE = "nexus"
"""The role of the daemon: owns its databases, nothing else."""
_POLL_SECONDS = 0.02
_DIE_WITH_PARENT = 1
_C_LIBRARY = ctypes.CDLL(None)
_SETTINGS = {
    "fsync": "off",  # the machine doesn't lose power here, processes die
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_writer_delay": "10s",
    "listen_addresses": "",
    "max_connections": "40",
    "shared_buffers": "16MB",
    "log_min_messages": "fatal",
}


def binaries() -> Path | None:
    """The directory with the server's programs, or None: on PATH, else where Debian puts them, the newest first."""
    found = shutil.which("postgres")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("[1-9]*/bin"), key=_release, reverse=True)
    return next((place for place in places if all((place / name).exists() for name in _BINARIES)), None)


def _release(place: Path) -> int:
    return int(place.parent.name.partition(".")[0])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A running server for all tests of this process."""
    pytest.importorskip("psycopg_pool", reason='psycopg is not installed: pip install "psycopg[binary,pool]"')
    place = binaries()
    if place is None:
        pytest.skip("there is no PostgreSQL server on this machine: install the package postgresql")
    with Server(place) as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Server) -> Iterator[Database]:
    """A fresh database of the role; the test may stop the server, which runs again after it."""
    with fresh_database(postgres_server) as database:
        yield database


@contextmanager
def fresh_database(server: Server) -> Iterator[Database]:
    """Make a database of the role for as long as the ``with`` block lasts."""
    database = Database(server, f"test_{secrets.token_hex(6)}")
    server.start()
    server.execute(f"CREATE DATABASE {database.name} OWNER {ROLE}")
    yield database
    server.start()
    server.execute(f"DROP DATABASE {database.name} WITH (FORCE)")


class Server:
    """A server that runs while the ``with`` block does, unless somebody stops it."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._password = secrets.token_hex(16)
        self.password = secrets.token_hex(16)
        self._account = _account()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="nexus-postgres-"))
        try:
            self._make()
            self.start()
            self.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self.password}'")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def start(self) -> None:
        """Start it and return when it takes connections; nothing where it runs."""
        if self._process is not None:
            return
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._place / "postgres", "-D", self._data, "-k", self.directory, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the one way to leave nothing behind when a test hangs
                **self._account,
            )
        self._await_ready()

    def stop(self) -> None:
        """Stop it at once: connections are cut, what is committed without a wait for the disk may be lost."""
        self._signal(signal.SIGQUIT)

    def kill(self) -> None:
        """Kill it; its connections end by themselves."""
        self._signal(signal.SIGKILL)

    def suspend(self) -> None:
        """Let it and its connections stand still, as a machine that can't be reached does."""
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser and return its rows."""
        import psycopg

        with psycopg.connect(self.owners_dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def dsn(self, database: str, password: str | None = None) -> str:
        """Where the role connects to."""
        return self._dsn(database, ROLE, password or self.password)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def owners_dsn(self, database: str) -> str:
        """Where the superuser connects to."""
        return self._dsn(database, _OWNER, self._password)

    def _dsn(self, database: str, role: str, password: str) -> str:
        return f"host={self.directory} dbname={database} user={role} password={password}"

    def _make(self) -> None:
        """Make the files of an empty server that asks for passwords."""
        given = self.directory / "password"
        given.write_text(self._password)
        for path in (self.directory, given):
            os.chown(path, self._account.get("user", -1), self._account.get("group", -1))
        subprocess.run(
            [
                *(self._place / "initdb", "-D", self._data, "-U", _OWNER, f"--pwfile={given}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"),
            ],
            check=True,
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            **self._account,
        )
        given.unlink()

    def _await_ready(self) -> None:
        import psycopg

        assert self._process is not None
        for _ in range(round(PATIENCE_SECONDS / _POLL_SECONDS)):
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                try:
                    code = self._process.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
                self._process = None
                pytest.fail(f"the PostgreSQL server ended at once with {code}:\n{self._log()}")
            else:
                return
        pytest.fail(f"the PostgreSQL server does not take connections:\n{self._log()}")

    def _log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-4_000:]

    def _family(self) -> list[psutil.Process]:
        """The server and the processes that it started, itself first."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        return [server, *server.children(recursive=True)]

    def _signal(self, number: signal.Signals) -> None:
        """End it by a signal, and wait for the last of its processes: they hold its memory."""
        family = self._family()
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(number)
        process.wait(PATIENCE_SECONDS)
        assert not await_exit(family[1:], PATIENCE_SECONDS)

    def _end(self) -> None:
        if self._process is not None:
            self.resume()
            self.stop()
        shutil.rmtree(self.directory)


class Database:
    """One fresh database of the role."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name

    @property
    def dsn(self) -> str:
        return self.server.dsn(self.name)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser and return its rows."""
        return self.server.execute(statement, self.name)

    def connections(self) -> int:
        """How many connections the role has to it."""
        return int(self.execute(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'")[0][0])

    @contextmanager
    def locked(self, table: str = "memories") -> Iterator[None]:
        """Let nobody read or write a table meanwhile."""
        import psycopg

        with closing(psycopg.connect(self.server.owners_dsn(self.name))) as connection:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            yield

    def until_waiting(self, sessions: int) -> None:
        """Wait until so many sessions of the role wait for a lock."""
        waiting = f"usename = '{ROLE}' AND wait_event_type = 'Lock'"
        self._until(f"(SELECT count(*) FROM pg_stat_activity WHERE {waiting}) = {sessions}")

    def _until(self, condition: str) -> None:
        """Wait until a condition is true of the database."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.execute(f"SELECT {condition}") != [(True,)]:
            assert time.monotonic() < deadline, condition


def a_storage(
    database: Database, limits: StorageLimits | None = None, *, dsn: str | None = None, pool_size: int = 4
) -> PostgresStorage:
    """Make the gateway's storage in a database."""
    from nexus_workers.gateway.models import Destination
    from nexus_workers.gateway.postgres import PostgresStorage
    from nexus_workers.gateway.storage import StorageLimits

    secret = Secret.literal(dsn or database.dsn)
    destination = Destination(name="main", type="postgres", dsn=secret, pool_size=pool_size)
    return PostgresStorage("main", destination, limits or StorageLimits())


def with_storage(
    database: Database,
    use: Callable[[PostgresStorage], Awaitable[T]],
    limits: StorageLimits | None = None,
    **options: Any,
) -> T:
    """Use the gateway's storage in an event loop of its own, and close it."""

    async def serve() -> T:
        storage = a_storage(database, limits, **options)
        storage.start()
        try:
            return await use(storage)
        finally:
            await storage.close()

    return asyncio.run(serve())


def _account() -> dict[str, Any]:
    """Who runs the server: the server refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL can't be run by root, and there is no account postgres or nobody")


def _die_with_parent() -> None:
    """Have the kernel stop the server when this test process dies, where it can."""
    if sys.platform == "linux":
        _C_LIBRARY.prctl(_DIE_WITH_PARENT, signal.SIGQUIT)
