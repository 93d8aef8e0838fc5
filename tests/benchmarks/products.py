"""Products: how each server is started, told to replace its workers, and stopped, in the way that its makers advise.

Python servers run the application of ``apps/named_app.py``; nginx and HAProxy answer by themselves, also with the pid
of the process that answers. All keep connections for 65 seconds; what isn't named here has its default.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nexus_supervisor.client import ControlClient
from nexus_supervisor.errors import NexusError
from nexus_supervisor.supervisor import keys
from tests.benchmarks.reports import PATIENCE_SECONDS, BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PRODUCTS", "Product", "Running", "free_port", "nexus", "start", "until"]

_APP = Path(__file__).with_name("apps") / "named_app.py"
_PAUSE_SECONDS = 0.02
_RESTART_SECONDS = 45.0  # after which a worker that is not replaced is counted


@dataclass(frozen=True, slots=True)
class Running:
    """Hold a server that runs: its process, of which all its processes are descendants, its directory and its port."""

    product: Product
    process: subprocess.Popen[bytes]
    directory: Path
    port: int

    @property
    def root(self) -> psutil.Process:
        """Return its first process."""
        return psutil.Process(self.process.pid)

    def workers(self) -> list[psutil.Process]:
        """Return the processes that serve, oldest first."""
        return sorted(self.product.workers(self), key=lambda worker: worker.create_time())

    def restart(self) -> int:
        """Have all workers replaced, wait until none of those before is left, and return how many are all the same."""
        before = self.workers()
        self.product.restart(self)
        return len(psutil.wait_procs(before, timeout=_RESTART_SECONDS)[1])

    def stop(self) -> int:
        """Have it end after what is in hand, wait for that, and return how many workers are left: none."""
        self.process.send_signal(self.product.stop_signal)
        self.process.wait(PATIENCE_SECONDS)
        return 0


@dataclass(frozen=True, slots=True)
class Product:
    """Hold how a server is run (directory, port, workers), and what it is told; ``needs`` is what has to be installed.

    ``one_process``: its workers are threads.
    """

    name: str
    line: Callable[[Path, int, int], list[str]]
    restart: Callable[[Running], None]
    workers: Callable[[Running], list[psutil.Process]]
    stop_signal: signal.Signals = signal.SIGTERM
    needs: str = ""
    one_process: bool = False

    @property
    def installed(self) -> bool:
        """Return whether it can be run here."""
        return not self.needs or _program(self.needs) is not None or importlib.util.find_spec(self.needs) is not None


@contextmanager
def start(product: Product, directory: Path, workers: int) -> Iterator[Running]:
    """Run a server until the end of the block; all its workers are there, and one answers, at its beginning."""
    shutil.copy(_APP, directory)
    port = free_port()
    line = product.line(directory, port, workers)
    with (directory / "log").open("w+b") as log:
        process = subprocess.Popen(line, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        running = Running(product, process, directory, port)
        try:
            until(lambda: _listens(port), process)
            until(lambda: len(running.workers()) >= (1 if product.one_process else workers), process)
            yield running
        except BenchmarkError as error:
            message = f"{error}\n{(directory / 'log').read_text(errors='replace')[-4000:]}"
            raise BenchmarkError(message) from error
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(PATIENCE_SECONDS)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for a condition as long as a process runs."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > give_up:
            message = f"{process.args!r} does not serve"
            raise BenchmarkError(message)
        time.sleep(_PAUSE_SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _children(running: Running) -> list[psutil.Process]:
    """Return the children that serve: multiprocessing has one that doesn't."""
    return [one for one in running.root.children() if "resource_tracker" not in " ".join(one.cmdline())]


def _told(number: signal.Signals) -> Callable[[Running], None]:
    return lambda running: running.process.send_signal(number)


# --- this project ----------------------------------------------------------------------------------------------------

_DAEMON = """
[supervisor]
program = "asgi"
app = "named_app:app"
preload = {preload}
{settings}
"""


def nexus(preload: str, settings: str = "") -> Callable[[Path, int, int], list[str]]:
    """Return how this project is run, forked by a zygote or not, with more settings."""

    def line(directory: Path, port: int, workers: int) -> list[str]:
        (directory / "daemon.toml").write_text(_DAEMON.format(preload=preload, settings=settings))
        keys.generate(directory)
        run = [sys.executable, "-m", "nexus_supervisor", "run", str(directory)]
        return [*run, "-b", f"127.0.0.1:{port}", "-w", str(workers)]

    return line


def _nexus_restart(running: Running) -> None:
    line = [sys.executable, "-m", "nexus_supervisor", "restart", str(running.directory)]
    ended = subprocess.run(line, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise BenchmarkError(ended.stdout + ended.stderr)


def _nexus_workers(running: Running) -> list[psutil.Process]:
    try:
        status = ControlClient(running.directory).status()
    except NexusError:  # it isn't there yet
        return []
    return [psutil.Process(one["pid"]) for one in status["workers"] if one["state"] == "ready"]


# --- others ----------------------------------------------------------------------------------------------------------


def _gunicorn(*more: str) -> Callable[[Path, int, int], list[str]]:
    def line(_: Path, port: int, workers: int) -> list[str]:
        own = importlib.util.find_spec("uvicorn_worker") is not None
        kind = "uvicorn_worker.UvicornWorker" if own else "uvicorn.workers.UvicornWorker"
        run = [sys.executable, "-m", "gunicorn", "named_app:app", "-k", kind, "-w", str(workers), *more]
        return [*run, "-b", f"127.0.0.1:{port}", "--keep-alive", "65", "--no-control-socket", "--log-level", "warning"]

    return line


def _uvicorn(_: Path, port: int, workers: int) -> list[str]:
    run = [sys.executable, "-m", "uvicorn", "named_app:app", "--workers", str(workers), "--port", str(port)]
    patience = ["--timeout-worker-healthcheck", "60"]  # or it gives a restart up where a start takes over 5 s
    return [*run, *patience, "--no-access-log", "--timeout-keep-alive", "65", "--log-level", "warning"]


_NGINX = """
daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ }}
http {{
    access_log off;
    keepalive_timeout 65s;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "$pid"; }}
    }}
}}
"""


def _nginx(directory: Path, port: int, workers: int) -> list[str]:
    path = directory / "nginx.conf"
    path.write_text(_NGINX.format(directory=directory, port=port, workers=workers))
    return [_program("nginx") or "nginx", "-e", str(directory / "error.log"), "-p", str(directory), "-c", str(path)]


_HAPROXY = """
global
    nbthread {workers}
    stats socket {directory}/stats mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout client 65s
    timeout server 65s
    timeout connect 5s
frontend bench
    bind 127.0.0.1:{port}
    http-request return status 200 content-type text/plain lf-string %pid
"""


def _haproxy(directory: Path, port: int, workers: int) -> list[str]:
    path = directory / "haproxy.cfg"
    path.write_text(_HAPROXY.format(directory=directory, port=port, workers=workers))
    return [_program("haproxy") or "haproxy", "-W", "-f", str(path)]


def _program(name: str) -> str | None:
    """Return where a program is, also where the path of an ordinary user doesn't lead."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


PRODUCTS = (
    Product("nexus-supervisor", nexus("true"), _nexus_restart, _nexus_workers),
    Product("nexus-supervisor, preload = false", nexus("false"), _nexus_restart, _nexus_workers),
    Product("gunicorn", _gunicorn(), _told(signal.SIGHUP), _children, needs="gunicorn"),
    Product("uvicorn", _uvicorn, _told(signal.SIGHUP), _children, needs="uvicorn"),
    Product("nginx", _nginx, _told(signal.SIGHUP), _children, signal.SIGQUIT, "nginx"),
    Product("HAProxy", _haproxy, _told(signal.SIGUSR2), _children, signal.SIGUSR1, "haproxy", one_process=True),
)
