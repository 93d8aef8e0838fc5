"""The archive: ``compiled/<version>/`` for every version kept, and the pointer ``compiled/current``.

Decided here: how a version becomes files that are never seen in part, how it is read back, and which versions are
pruned. Not decided here: which version is committed (the journal knows) and whom to trust (``core/trust.py``).

Names that begin with a dot are work in hand: readers pass over them and the next start removes them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nexus_supervisor.core import canonical
from nexus_supervisor.core.content import Content, Entries, Entry, Section
from nexus_supervisor.core.manifest import MAX_MANIFEST_BYTES, Manifest, SectionStatement
from nexus_supervisor.core.trust import Distrust, Trust
from nexus_supervisor.errors import DamageError, ProtocolError
from nexus_supervisor.supervisor import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["FOLDER", "Archive", "Stored", "listed"]

FOLDER: Final = "compiled"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.json.sig"
POINTER: Final = "current"
_MAX_SIGNATURE_BYTES: Final = 4096
_MAX_SECTION_BYTES: Final = 1 << 30
_VERSION = re.compile(r"[0-9]{6,18}")


def listed(versions: tuple[int, ...]) -> str:
    """Return numbers as people list them, runs of them shortened: ``3, 5 to 8``."""
    runs: list[list[int]] = []
    for version in versions:
        if runs and version == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], version]
        else:
            runs.append([version])
    return ", ".join(" to ".join(map(str, run)) for run in runs)


@dataclass(frozen=True, slots=True)
class Stored:
    """Hold one version whole: its manifest, the bytes that were signed, the signature (or b"") and the content."""

    version: int
    manifest: Manifest
    manifest_bytes: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    content: Content = field(repr=False)


class Archive:
    """Read and write the version directories of one directory; writing is for one thread."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FOLDER

    def prepare(self) -> None:
        """Create the folder if it is missing, and remove what an interrupted run left half done."""
        self._path.mkdir(mode=0o700, exist_ok=True)
        with self._open() as folder:
            _clear(folder)

    def versions(self) -> tuple[int, ...]:
        """Return the numbers of all version directories, lowest first, whatever is in them."""
        try:
            with self._open() as folder:
                return tuple(sorted(int(name) for name in durable.names(folder) if _VERSION.fullmatch(name)))
        except FileNotFoundError:
            return ()

    def pointer(self) -> int | None:
        """Return the version that the pointer names, or None where it names none."""
        try:
            with self._open() as folder:
                target = os.readlink(POINTER, dir_fd=folder)
        except OSError:
            return None
        return int(target) if _VERSION.fullmatch(target) else None

    def signed(self) -> bool:
        """Return whether any version has a signature beside it."""
        return any((self._path / _name(version) / SIGNATURE).is_file() for version in self.versions())

    def load(self, version: int, read: Callable[[bytes, bytes], Manifest]) -> Stored:
        """Return one version, every byte of it checked; raise DamageError otherwise.

        ``read`` turns manifest and signature into a trusted manifest or raises Distrust; nothing is parsed before.
        """
        with self._inside(version) as (folder, where):
            raw, signature = _read(folder, where, MANIFEST, MAX_MANIFEST_BYTES), _read_signature(folder, where)
            try:
                manifest = read(raw, signature)
            except Distrust as error:
                raise _damage(where, MANIFEST, str(error), error.reason) from error
            if manifest.version != version:
                raise _damage(where, MANIFEST, f"it states version {manifest.version}")
            sections = {name: _load(folder, where, stated) for name, stated in sorted(manifest.sections.items())}
        content = Content(sections)
        try:
            Trust.check_content(manifest, content)
        except Distrust as error:
            raise _damage(where, MANIFEST, str(error)) from error
        return Stored(version, manifest, raw, signature, content)

    def write(self, stored: Stored) -> None:
        """Write a version's directory, whole or not at all; one that is there with the same bytes stays as it is."""
        with self._ready() as folder:
            name, fresh = _name(stored.version), f".{_name(stored.version)}.new"
            files = _files(stored)
            if _holds(folder, name, files):
                return
            try:
                _write_fresh(folder, fresh, files)
                _exchange(folder, fresh, name)
            except OSError:
                with suppress(OSError):  # the next write or start tries again
                    _clear(folder)  # on a full disk half a version would keep the room that others need
                raise
            os.fsync(folder)

    def point(self, version: int) -> None:
        """Make the pointer name this version, in one step."""
        if self.pointer() != version:
            with self._ready() as folder:
                durable.put_link(folder, POINTER, _name(version))

    def prune(self, kept: int, before: float, always: frozenset[int]) -> None:
        """Remove what is not among the newest ``kept`` versions, or was written ``before``; not those in ``always``."""
        versions = self.versions()
        newest = versions[max(0, len(versions) - kept) :]
        with self._ready() as folder:
            for version in versions:
                spent = version not in newest or _written(folder, _name(version)) < before
                if spent and version not in always:
                    gone = f".{_name(version)}.gone"
                    durable.remove_tree(folder, gone)
                    os.rename(_name(version), gone, src_dir_fd=folder, dst_dir_fd=folder)
                    durable.remove_tree(folder, gone)

    @contextmanager
    def _open(self) -> Iterator[int]:
        with durable.directory(self._path) as folder:
            yield folder

    @contextmanager
    def _ready(self) -> Iterator[int]:
        """Give the folder's descriptor, making the folder again where somebody removed it."""
        self._path.mkdir(mode=0o700, exist_ok=True)
        with self._open() as folder:
            yield folder

    @contextmanager
    def _inside(self, version: int) -> Iterator[tuple[int, str]]:
        where = f"{FOLDER}/{_name(version)}"
        try:
            with self._open() as folder, durable.directory(_name(version), folder) as inside:
                yield inside, where
        except OSError as error:
            message = f"{where} can't be read: {error.strerror}"
            raise DamageError(message, reason="file_read_error", file=where) from error


def _load(folder: int, where: str, stated: SectionStatement) -> Section:
    """Return one section; its file is compared with the signed hash before it is parsed."""
    raw = _read(folder, where, stated.file, min(stated.size, _MAX_SECTION_BYTES))
    if len(raw) != stated.size or hashlib.sha256(raw).hexdigest() != stated.sha256:
        raise _damage(where, stated.file, "its bytes are not those that the manifest states")
    try:
        document = canonical.decode(raw)
        entries = Entries(Entry.of(name, canonical.encode(body)) for name, body in document.items())
    except (ProtocolError, AttributeError, ValueError) as error:
        raise _damage(where, stated.file, "it holds no entries by name") from error
    return Section(stated.apply, entries)


def _read(folder: int, where: str, name: str, limit: int) -> bytes:
    try:
        return durable.read(folder, name, limit)
    except OSError as error:
        reason = "signature_mismatch" if error.errno == errno.EFBIG else "file_read_error"
        raise _damage(where, name, error.strerror or "it can't be read", reason) from error


def _read_signature(folder: int, where: str) -> bytes:
    """Return the signature, or b"" where there is none: whether one is needed is a question of trust."""
    try:
        return durable.read(folder, SIGNATURE, _MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _damage(where, SIGNATURE, error.strerror or "it can't be read", "file_read_error") from error


def _damage(where: str, name: str, what: str, reason: str = "signature_mismatch") -> DamageError:
    known = reason if reason in ("sig_file_missing", "file_read_error") else "signature_mismatch"
    file = f"{where}/{SIGNATURE if reason == 'sig_file_missing' else name}"
    return DamageError(f"{file} does not verify: {what}", reason=known, file=file)


def _files(stored: Stored) -> dict[str, bytes]:
    """Return the files of a version, the manifest last."""
    sections = stored.manifest.sections
    files = {sections[name].file: section.document for name, section in stored.content.sections.items()}
    if stored.signature:
        files[SIGNATURE] = stored.signature
    return {**files, MANIFEST: stored.manifest_bytes}


def _clear(folder: int) -> None:
    """Remove what was left half done."""
    for name in durable.names(folder):
        if name.startswith("."):
            durable.remove_tree(folder, name)


def _write_fresh(folder: int, fresh: str, files: dict[str, bytes]) -> None:
    """Write a directory under its temporary name, durable with all that is in it."""
    _clear(folder)
    os.mkdir(fresh, mode=0o700, dir_fd=folder)
    with durable.directory(fresh, folder) as inside:
        for file, raw in files.items():
            durable.write_new(inside, file, raw)
        os.fsync(inside)


def _holds(folder: int, name: str, files: dict[str, bytes]) -> bool:
    """Return whether a directory holds exactly these files."""
    try:
        with durable.directory(name, folder) as inside:
            return durable.names(inside) == sorted(files) and all(
                durable.read(inside, file, len(raw)) == raw for file, raw in files.items()
            )
    except OSError:
        return False


def _exchange(folder: int, fresh: str, name: str) -> None:
    """Give a finished directory its name; a damaged one that has it goes out of the way first."""
    gone = f".{name}.gone"
    durable.remove_tree(folder, gone)
    try:
        os.rename(name, gone, src_dir_fd=folder, dst_dir_fd=folder)
    except FileNotFoundError:
        gone = ""
    os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    if gone:
        durable.remove_tree(folder, gone)


def _written(folder: int, name: str) -> float:
    """Return when a version's directory was written, in unix seconds."""
    return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime


def _name(version: int) -> str:
    return f"{version:06d}"
