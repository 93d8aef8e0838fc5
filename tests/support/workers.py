"""Start real worker processes and be their supervisor: one socket, signed manifests, nothing else."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from nexus_supervisor.core import canonical, delta, manifest, sshsig
from nexus_supervisor.core.cells import COMPLETE, Layout
from nexus_supervisor.core.codec import pack
from nexus_supervisor.core.content import Content, Entries, Entry, Section, Version
from nexus_supervisor.core.messages import (
    FROM_WORKER,
    TO_WORKER,
    Activate,
    Active,
    Booted,
    Drain,
    FromWorker,
    Limit,
    Ready,
    Rejected,
    Stage,
    Staged,
    Start,
    ToWorker,
)
from nexus_supervisor.models.marks import keyed_digest
from nexus_supervisor.wire import Wire, close_all, sealed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

PEPPER = bytes(range(32))
ROWS, SLOTS = 64, 4
AUDIENCE = "nexus"

SHOP = '''
from dataclasses import dataclass
from nexus_supervisor import Secret

@dataclass(frozen=True)
class Item:
    price: int
    key: Secret | None = None

def wait(agent):
    """Serve nothing until the end."""
    agent.ready()
    agent.drain.wait()

def leave(agent):
    agent.ready()
'''

M = TypeVar("M")


def a_content(
    items: Mapping[str, Mapping[str, Any]], application: Mapping[str, Any] | None = None, **supervisor: Any
) -> Content:
    """Make content with one live section of items, the application's own keys of [daemon], and some of [supervisor]."""
    section = {"name": "items", "files": "items/*.toml", "apply": "live", "model": "shop:Item"}
    tables = {"daemon": dict(application or {}), "supervisor": {"section": [section], **supervisor}}
    return Content({"daemon": _section("restart", tables), "items": _section("live", items)})


def a_secret(value: str) -> dict[str, str | None]:
    """Make the stored form of a secret."""
    return {"digest": keyed_digest(PEPPER, value), "ref": None}


def _section(apply: str, entries: Mapping[str, Any]) -> Section:
    return Section(apply, Entries(Entry.of(name, canonical.encode(value)) for name, value in entries.items()))


class Signer:
    """Hold a key and state versions with it."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def state(self, content: Content, version: int, *, audience: str = AUDIENCE, note: int = 0) -> tuple[bytes, bytes]:
        """Return a manifest and its signature; ``note`` makes other bytes for the same version and content."""
        stated = manifest.describe(
            content,
            audience=audience,
            version=version,
            parent=None,
            created_at=f"2026-11-24T00:00:0{note}Z",
            key_id=sshsig.fingerprint(self.public_key),
        ).encode()
        return stated, self.sign(stated)

    def sign(self, stated: bytes) -> bytes:
        """Return the armored signature of a manifest."""
        blob = sshsig.sign_blob(sshsig.NAMESPACE, stated)
        return sshsig.armor(self.public_key, self._key.sign(blob), sshsig.NAMESPACE)


class Site:
    """Hold what all workers of one daemon share: DIR, key, listener, counters."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "shop.py").write_text(SHOP)
        self.signer = Signer()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.listener.setblocking(False)
        self.layout = Layout(ROWS, SLOTS)
        self.counters = os.memfd_create("counters", os.MFD_CLOEXEC)
        os.ftruncate(self.counters, self.layout.size_bytes)
        os.pwrite(self.counters, (1).to_bytes(8, "little"), COMPLETE)

    @property
    def address(self) -> tuple[str, int]:
        """Return where the listener is."""
        host, port = self.listener.getsockname()
        return host, port

    def words(self) -> list[int]:
        """Return the words of the counters."""
        raw = os.pread(self.counters, self.layout.size_bytes, 0)
        return memoryview(raw).cast("Q").tolist()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        os.close(self.counters)


class Worker:
    """Run one worker process and talk to it; it is killed at the end if it still runs."""

    def __init__(
        self,
        site: Site,
        number: int = 0,
        *,
        incarnation: int = 1,
        floor: int = 0,
        output: int | None = None,
        **fields: Any,
    ) -> None:
        self.site = site
        self._log = (site.directory / f"worker-{number}-{secrets.token_hex(4)}.log").open("w+")
        self.process, ours = self._started(output, trial=bool(fields.get("trial")))
        self.wire: Wire[FromWorker, ToWorker] = Wire(ours, FROM_WORKER, TO_WORKER)
        self.messages: list[FromWorker] = []
        start = {
            "slot": f"shop-{number}",
            "incarnation": incarnation,
            "slot_number": number,
            "slots": SLOTS,
            "directory": str(site.directory),
            "audience": AUDIENCE,
            "program": "shop:wait",
            "app": "",
            "public_key": site.signer.public_key,
            "floor": floor,
            "listeners": ("127.0.0.1:0",),
            "counter_rows": ROWS,
            "drain_timeout_seconds": 30.0,
            "log_level": "info",
            "log_format": "text",
            "hooks": "",
            "threads": 1,
            "max_snapshot_seconds": None,
            "pepper": PEPPER,
        }
        self.push = 0
        said = Start(**(start | fields))
        beside = [*[site.listener.fileno() for _ in said.listeners], site.counters]
        self.wire.send(said, [] if said.trial else beside)

    def _started(self, output: int | None, *, trial: bool) -> tuple[Any, socket.socket]:
        """Start the process; return it and our end of its pipe."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "nexus_supervisor.agent.boot", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log if output is None else output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                env=os.environ | ({"NEXUS_TRIAL": "1"} if trial else {}),
            )
        return process, ours

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.wire.close()
        if error is not None:
            error.add_note(f"{self.messages}\n{self.log()}")
        self._log.close()

    def log(self) -> str:
        """Return what the process wrote so far."""
        return Path(self._log.name).read_text()

    def receive(self, kind: type[M]) -> M:
        """Return the next message of a kind; those before it are kept in ``messages``."""
        while (received := self.wire.receive()) is not None:
            message, _ = received
            self.messages.append(message)
            if isinstance(message, kind):
                return message
        failure = f"the worker ended before it said {kind.__name__}"
        raise AssertionError(failure)

    def rest(self) -> list[FromWorker]:
        """Return all messages until the worker's end, those before included."""
        while (received := self.wire.receive()) is not None:
            self.messages.append(received[0])
        return self.messages

    def stage(self, content: Content, version: int, base: Content | None = None, **fields: Any) -> Staged | Rejected:
        """Offer a version and return the verdict; ``fields`` replace those of the message."""
        stated, signature = self.site.signer.state(content, version)
        self.push += 1
        offer = {
            "push": self.push,
            "version": Version(version),
            "manifest": stated,
            "signature": signature,
            "base": None if base is None else base.digest,
            "payload": delta.encode(content.delta_from(base)),
            "payload_beside": False,
            "secrets_beside": False,
            "rows": None,
            "rows_beside": False,
        } | fields
        return self.offer(Stage(**offer))

    def offer(self, message: Stage, descriptors: tuple[int, ...] = ()) -> Staged | Rejected:
        """Send an offer as it is and return the verdict on it; descriptors are given away."""
        self.wire.send(message, descriptors)
        close_all(descriptors)
        while True:
            verdict: Any = self.receive(object)
            if isinstance(verdict, (Staged, Rejected)) and verdict.push == message.push:
                return verdict

    def activate(self, version: int) -> Active | Rejected:
        """Activate a version and return the answer."""
        self.push += 1
        self.wire.send(Activate(self.push, Version(version)))
        while True:
            answer: Any = self.receive(object)
            if isinstance(answer, (Active, Rejected)) and answer.push == self.push:
                return answer

    def go(self, content: Content, version: int, base: Content | None = None, **fields: Any) -> None:
        """Stage and activate a version."""
        staged = self.stage(content, version, base, **fields)
        assert isinstance(staged, Staged), staged
        active = self.activate(version)
        assert isinstance(active, Active), active

    def serve(self, content: Content, version: int = 1, **fields: Any) -> Self:
        """Bring a fresh worker to its first version and wait until it serves."""
        self.receive(Booted)
        self.go(content, version, **fields)
        self.receive(Ready)
        return self

    def drain(self, timeout_seconds: float = 30.0) -> None:
        """Order the worker to end."""
        self.wire.send(Drain(timeout_seconds))

    def ended(self) -> int:
        """Wait for the end of the process and return its status."""
        self.rest()
        return self.process.wait()


class TrialWorker(Worker):
    """Run the trial worker, which holds a first version and tries others."""

    def __init__(self, site: Site, content: Content, **fields: Any) -> None:
        super().__init__(site, **{"slot": "trial", "trial": True, "listeners": ()} | fields)
        self.holds = content

    def __enter__(self) -> Self:
        try:
            self.receive(Booted)
            self.go(self.holds, 1)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def limit(self, cpu_seconds: float = 60.0, memory_mb: int = 1_024, timeout_seconds: float = 60.0) -> None:
        """Bound what later trials may cost."""
        self.wire.send(Limit(cpu_seconds, memory_mb, timeout_seconds))

    def tries(self, content: Content, version: int = 2, **fields: Any) -> str:
        """Have a version tried; return why it is refused, or nothing."""
        verdict = self.stage(content, version, self.holds, **fields)
        if isinstance(verdict, Staged):
            return ""
        assert verdict.reason == "model", verdict
        return verdict.detail


def a_table(*values: str) -> int:
    """Return a sealed memfd of secret values."""
    return sealed(pack({keyed_digest(PEPPER, value): value for value in values}), "secrets")
