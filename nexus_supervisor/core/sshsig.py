"""OpenSSH's signature format for Ed25519: bytes in, verdict out.

Decided here: the bytes that are signed, their armor, which signatures and which public keys are refused, and how keys
are written as text (PROTOCOL.sshsig and ssh-keygen(1), "ALLOWED SIGNERS"). Not decided here: where keys live
(``supervisor/keys.py``) and what a valid signature allows (``trust.py``).

A signature of one key over one message has exactly one armor, the one that ``ssh-keygen -Y sign`` writes; every other
spelling is refused, so that a changed byte is always noticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from nexus_supervisor.errors import DamageError, KeyFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "NAMESPACE",
    "PRINCIPAL",
    "allowed_signers_line",
    "armor",
    "check_public_key",
    "fingerprint",
    "parse_allowed_signers",
    "public_key_line",
    "sign_blob",
    "verify",
]

NAMESPACE: Final = "nexus-manifest"
PRINCIPAL: Final = "supervisor"

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = (1).to_bytes(4, "big")
_HASH: Final = b"sha512"
_KEY_TYPE: Final = b"ssh-ed25519"
_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----\n"
_END: Final = b"-----END SSH SIGNATURE-----\n"
_LINE: Final = 70
_MAX_ARMOR_BYTES: Final = 4096
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64

# RFC 8032, 5.1: the field's prime, the curve's constant d, and the y of the points whose order divides 8. A public key
# at one of these lets anybody make signatures that verify.
_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ORDER_8_Y: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y})

_SIGNER = re.compile(r"(?P<principals>\S+)\s+(?:(?P<options>\S+)\s+)?(?P<type>ssh-\S+)\s+(?P<key>\S+)(?:\s.*)?")
_NAMESPACES = re.compile(r'namespaces="(?P<names>[^"]*)"')


def sign_blob(namespace: str, message: bytes) -> bytes:
    """Return the bytes that an Ed25519 key signs for a message in a namespace."""
    digest = hashlib.sha512(message).digest()
    return _MAGIC + b"".join(_string(part) for part in (namespace.encode("utf-8"), b"", _HASH, digest))


def armor(public_key: bytes, signature: bytes, namespace: str) -> bytes:
    """Return the text that holds a raw signature (64 bytes), as ``ssh-keygen -Y sign`` writes it."""
    text = base64.b64encode(_head(public_key, namespace) + signature)
    lines = (text[start : start + _LINE] + b"\n" for start in range(0, len(text), _LINE))
    return _BEGIN + b"".join(lines) + _END


def verify(public_key: bytes, namespace: str, message: bytes, armored: bytes) -> None:
    """Return only if ``armored`` is this key's signature of the message; raise DamageError otherwise.

    Nothing of the message is looked at but its hash.
    """
    signature = _unarmor(public_key, namespace, armored)
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, sign_blob(namespace, message))
    except InvalidSignature as error:
        text = f"the signature of key {fingerprint(public_key)} does not belong to these bytes"
        raise DamageError(text) from error


def check_public_key(raw: bytes) -> None:
    """Raise KeyFileError for a public key that is no safe Ed25519 point.

    Refused are a wrong length, all zero, small order, a y that is not below the prime, and a y that no point has:
    libraries accept forged signatures for the first ones.
    """
    if len(raw) != _KEY_BYTES:
        text = f"an Ed25519 public key has {_KEY_BYTES} bytes, found {len(raw)}"
        raise KeyFileError(text)
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P:
        text = "the public key is not written in canonical form: make a new one with nexus-supervisor keygen"
        raise KeyFileError(text)
    if y in _SMALL_ORDER_Y:
        text = "the public key is a point of small order, for which anybody can sign: make a new one"
        raise KeyFileError(text)
    numerator, denominator = y * y - 1, _D * y * y + 1
    if pow(numerator * denominator, (_P - 1) // 2, _P) != 1:
        text = "the public key is not a point of the Ed25519 curve: make a new one with nexus-supervisor keygen"
        raise KeyFileError(text)


def fingerprint(public_key: bytes) -> str:
    """Return the name of a key as OpenSSH shows it: ``SHA256:`` and 43 characters."""
    digest = hashlib.sha256(_key_blob(public_key)).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def public_key_line(public_key: bytes, comment: str = "") -> str:
    """Return a public key as one line of text, as in a ``.pub`` file."""
    text = f"{_KEY_TYPE.decode()} {base64.b64encode(_key_blob(public_key)).decode('ascii')}"
    return f"{text} {comment}\n" if comment else f"{text}\n"


def allowed_signers_line(public_key: bytes) -> str:
    """Return the line that lets ``ssh-keygen -Y verify -I supervisor -n nexus-manifest`` accept this key."""
    return f'{PRINCIPAL} namespaces="{NAMESPACE}" {public_key_line(public_key)}'


def parse_allowed_signers(text: str) -> tuple[bytes, ...]:
    """Return the raw keys that may sign manifests; raise KeyFileError for a line that can't be understood.

    Lines for other principals, other namespaces and other kinds of key are passed over.
    """
    return tuple(_allowed_keys(text))


def _allowed_keys(text: str) -> Iterator[bytes]:
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _SIGNER.fullmatch(stripped)
        if found is None:
            message = f"line {number} is no allowed signer: expected 'principals options ssh-ed25519 key'"
            raise KeyFileError(message)
        ours = found["type"] == _KEY_TYPE.decode() and PRINCIPAL in found["principals"].split(",")
        if ours and _covers_namespace(found["options"], number):
            yield _parse_key(found["key"], number)


def _covers_namespace(options: str | None, number: int) -> bool:
    if options is None:
        return True
    namespaces = _NAMESPACES.fullmatch(options)
    if namespaces is None:
        message = f'line {number} has options that are not understood: expected only namespaces="{NAMESPACE}"'
        raise KeyFileError(message)
    return NAMESPACE in namespaces["names"].split(",")


def _parse_key(encoded: str, number: int) -> bytes:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    raw = blob[-_KEY_BYTES:]
    if blob != _key_blob(raw):
        message = f"line {number} holds no ssh-ed25519 key: copy it again from keys/allowed_signers"
        raise KeyFileError(message)
    check_public_key(raw)
    return raw


def _unarmor(public_key: bytes, namespace: str, armored: bytes) -> bytes:
    """Return the raw signature out of an armor that could only be this key's in this namespace."""
    body = armored.removeprefix(_BEGIN).removesuffix(_END)
    if len(armored) > _MAX_ARMOR_BYTES or len(body) + len(_BEGIN) + len(_END) != len(armored):
        text = "this is not an armored SSH signature: expected a BEGIN line, base64 and an END line, nothing more"
        raise DamageError(text)
    try:
        blob = base64.b64decode(body.replace(b"\n", b""), validate=True)
    except (binascii.Error, ValueError) as error:
        text = "the armored SSH signature is not base64"
        raise DamageError(text) from error
    head = _head(public_key, namespace)
    signature = blob[len(head) :]
    if not blob.startswith(head):
        raise DamageError(_refusal(blob, public_key, namespace))
    if len(signature) != _SIGNATURE_BYTES or armor(public_key, signature, namespace) != armored:
        text = "the SSH signature is damaged: its length or its spelling is not what ssh-keygen writes"
        raise DamageError(text)
    return signature


def _refusal(blob: bytes, public_key: bytes, namespace: str) -> str:
    """Say why a blob can't be a signature of this key in this namespace."""
    prefix = _MAGIC + _VERSION
    if not blob.startswith(prefix):
        return "the SSH signature is damaged: it is not SSHSIG version 1"
    if not blob.startswith(prefix + _string(_key_blob(public_key))):
        return f"the signature is of another key than {fingerprint(public_key)}"
    return f"the signature is for another purpose: expected namespace {namespace!r}, hash sha512, type ssh-ed25519"


def _head(public_key: bytes, namespace: str) -> bytes:
    """Return everything before the 64 bytes of the raw signature: one constant for one key and namespace."""
    parts = (_key_blob(public_key), namespace.encode("utf-8"), b"", _HASH)
    kind = _string(_KEY_TYPE) + _SIGNATURE_BYTES.to_bytes(4, "big")
    length = (len(kind) + _SIGNATURE_BYTES).to_bytes(4, "big")
    return _MAGIC + _VERSION + b"".join(_string(part) for part in parts) + length + kind


def _key_blob(public_key: bytes) -> bytes:
    return _string(_KEY_TYPE) + _string(public_key)


def _string(raw: bytes) -> bytes:
    """Return an SSH string (RFC 4251, 5): a 4-byte length and the bytes."""
    return len(raw).to_bytes(4, "big") + raw
