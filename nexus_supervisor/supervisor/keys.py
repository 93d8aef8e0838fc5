"""Keys: made once, checked each time they are loaded, shown never.

Decided here: the files of ``keys/``, how they are created, and which key files are refused. Not decided here: what is
signed (``signing.py``) and what a public key may look like (``core/sshsig.py``).

A key file is opened below its directory's descriptor and never through a link; owner and mode are those of the very
file that is read. The private key lives in the cryptography library's object only.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nexus_supervisor.core import sshsig
from nexus_supervisor.errors import ConflictError, DirectoryError, KeyFileError
from nexus_supervisor.supervisor import durable

__all__ = [
    "ALLOWED_SIGNERS",
    "FOLDER",
    "PEPPER_BYTES",
    "Keys",
    "generate",
    "load",
    "load_pepper",
    "read_allowed_signers",
]

FOLDER: Final = "keys"
SIGNING_KEY: Final = "signing.key"
PUBLIC_KEY: Final = "signing.pub"
ALLOWED_SIGNERS: Final = "allowed_signers"
PEPPER: Final = "pepper"
PEPPER_BYTES: Final = 32

_MAX_KEY_BYTES: Final = 16 * 1024
_MAX_SIGNERS_BYTES: Final = 256 * 1024
_OPENSSH = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+\n-----END OPENSSH PRIVATE KEY-----\n?")


class Keys:
    """Hold a signing key; neither its repr nor anything else of it shows the private part."""

    __slots__ = ("_private", "key_id", "public_key")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        """Take a private key; raise KeyFileError where its public key is a weak one."""
        public_key = private.public_key().public_bytes_raw()
        sshsig.check_public_key(public_key)
        self._private = private
        self.public_key = public_key
        self.key_id = sshsig.fingerprint(public_key)

    def __repr__(self) -> str:
        return f"<keys {self.key_id}>"

    def __reduce__(self) -> str:
        message = "a signing key can't be copied or pickled"
        raise TypeError(message)

    def sign(self, message: bytes) -> bytes:
        """Return the raw Ed25519 signature (64 bytes)."""
        return self._private.sign(message)


def generate(directory: Path) -> None:
    """Make ``keys/`` in a directory: signing key, public key, allowed signers and pepper, all durable.

    Raise ConflictError where one of them is there: an existing key is never overwritten.
    """
    folder = directory / FOLDER
    private = Ed25519PrivateKey.generate()
    public_key = private.public_key().public_bytes_raw()
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    files = {
        PEPPER: (secrets.token_bytes(PEPPER_BYTES), 0o600),
        PUBLIC_KEY: (sshsig.public_key_line(public_key, "nexus-supervisor").encode(), 0o644),
        ALLOWED_SIGNERS: (sshsig.allowed_signers_line(public_key).encode(), 0o644),
        SIGNING_KEY: (private.private_bytes(encoding, form, serialization.NoEncryption()), 0o600),
    }
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with durable.directory(folder) as inside, durable.directory(directory.resolve()) as around:
            _put_all(inside, files)
            os.fsync(around)
    except FileExistsError as error:
        message = f"{folder / error.filename} is there already: keys are never overwritten. Move them away first"
        raise ConflictError(message) from error
    except OSError as error:
        message = f"{folder} can't be written ({error.strerror}): see that it is a real directory of yours with room"
        raise DirectoryError(message) from error


def load(directory: Path, key_file: str) -> Keys:
    """Return the signing key; ``key_file`` is relative to the directory if not absolute.

    Raise KeyFileError where the file is missing, is a link, belongs to somebody else, can be read by others, or holds
    no Ed25519 private key in OpenSSH format without a passphrase.
    """
    path = directory / Path(key_file).expanduser()
    raw = bytearray(_read_private(path))
    try:
        return Keys(_parse(path, raw))
    finally:
        raw[:] = bytes(len(raw))


def load_pepper(directory: Path) -> bytes:
    """Return the 32 bytes under which secrets are hashed; raise KeyFileError like ``load``."""
    path = directory / FOLDER / PEPPER
    pepper = _read_private(path)
    if len(pepper) != PEPPER_BYTES or not any(pepper):
        message = (
            f"{path} is no pepper: expected {PEPPER_BYTES} random bytes, found {len(pepper)}. Restore it from a copy"
        )
        raise KeyFileError(message)
    return pepper


def read_allowed_signers(path: Path) -> tuple[bytes, ...]:
    """Return the public keys of an allowed_signers file; raise KeyFileError where it holds none that may sign."""
    try:
        with durable.directory(path.parent.resolve()) as folder:
            text = durable.read(folder, path.name, _MAX_SIGNERS_BYTES).decode("utf-8")
        public_keys = sshsig.parse_allowed_signers(text)
    except (OSError, UnicodeDecodeError) as error:
        message = (
            f"{path} can't be read ({getattr(error, 'strerror', 'it is not text')}): name a file of allowed signers"
        )
        raise KeyFileError(message) from error
    except KeyFileError as error:
        message = f"{path}: {error}"
        raise KeyFileError(message) from error
    if not public_keys:
        message = f"{path} allows nobody to sign as {sshsig.PRINCIPAL} in namespace {sshsig.NAMESPACE}"
        raise KeyFileError(message)
    return public_keys


def _put_all(folder: int, files: dict[str, tuple[bytes, int]]) -> None:
    """Give all files their names, or none: a complete file under another name is linked to its own."""
    put = contextlib.ExitStack()
    with put:
        for name, (raw, mode) in files.items():
            fresh = f".{name}.{secrets.token_hex(8)}"
            durable.write_new(folder, fresh, raw, mode)
            try:
                os.link(fresh, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError as error:
                error.filename = name
                raise
            finally:
                os.unlink(fresh, dir_fd=folder)
            put.callback(durable.remove_tree, folder, name)
        os.fsync(folder)
        put.pop_all()


def _read_private(path: Path) -> bytes:
    """Return the bytes of a file that only its owner, who is us or root, can read."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError as error:
        message = f"{path} is missing: make keys with nexus-supervisor keygen, or restore the file from a copy"
        raise KeyFileError(message) from error
    except OSError as error:
        what = "it is a symbolic link" if path.is_symlink() else error.strerror
        message = f"{path} is refused ({what}): put the key's own file there, readable by this user"
        raise KeyFileError(message) from error
    try:
        _check_file(path, os.fstat(fd))
        return os.read(fd, _MAX_KEY_BYTES + 1)
    finally:
        os.close(fd)


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        message = f"{path} is not a regular file: put the key's own file there"
    elif found.st_uid not in (os.geteuid(), 0):
        message = f"{path} belongs to user {found.st_uid}: expected user {os.geteuid()} or root. Run chown on it"
    elif found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        message = f"{path} has mode {mode:04o}, so others can reach the key: run chmod 600 {path}"
    elif not 0 < found.st_size <= _MAX_KEY_BYTES:
        message = f"{path} has {found.st_size} bytes: expected a key of at most {_MAX_KEY_BYTES} bytes"
    else:
        return
    raise KeyFileError(message)


def _parse(path: Path, raw: bytearray) -> Ed25519PrivateKey:
    """Return the private key of a file that holds just that."""
    if not _OPENSSH.fullmatch(raw):
        message = f"{path} is no private key in OpenSSH format, or holds more than one: expected what keygen writes"
        raise KeyFileError(message)
    try:
        private = serialization.load_ssh_private_key(raw, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        what = "it has a passphrase" if isinstance(error, TypeError) else "it can't be understood"
        message = f"{path} is refused ({what}): expected an Ed25519 key without a passphrase"
        raise KeyFileError(message) from error
    if not isinstance(private, Ed25519PrivateKey):
        message = f"{path} is no Ed25519 key: make one with nexus-supervisor keygen"
        raise KeyFileError(message)
    if private.public_key() == Ed25519PrivateKey.from_private_bytes(bytes(PEPPER_BYTES)).public_key():
        message = f"{path} holds a key that is all zero: make a new one with nexus-supervisor keygen"
        raise KeyFileError(message)
    return private
