"""Certificates: what people write in the section that ``[daemon.tls]`` names.

Decided here: which fields there are, that a key belongs to its certificate, and for which names that stands. Not
decided here: what a connection is answered with (``adapters/tls.py``). Importing this brings pydantic and cryptography.

    [[supervisor.section]]
    name = "certificates"
    files = "certificates/*.toml"
    apply = "live"
    model = "nexus_supervisor.models.certificate:Certificate"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from nexus_supervisor.errors import NexusError
from nexus_supervisor.models.marks import Secret, Unique

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Certificate"]

Name = Annotated[str, Field(max_length=253, pattern=r"^(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*$")]


class Certificate(BaseModel):
    """Hold one certificate with its key, and the host names that it is used for."""

    model_config = ConfigDict(frozen=True)

    chain: Secret
    """The certificate in PEM, then those between it and the root: ``file:PATH``. It is no secret, and resolved as one:
    so a file that changes makes a new version."""

    key: Secret
    """The private key in PEM, without a password: ``file:PATH``."""

    names: Annotated[tuple[Annotated[Name, Unique], ...], Field(max_length=1_000)] = ()
    """Host names, ``*.`` first for all names one level below; none: those that the certificate names."""

    default: bool = False
    """Whether a client that names no host, or one that no certificate is for, is answered with this one."""

    @field_validator("chain")
    @classmethod
    def _is_a_chain(cls, chain: Secret) -> Secret:
        _leaf(chain)
        return chain

    @field_validator("key")
    @classmethod
    def _belongs(cls, key: Secret, info: ValidationInfo) -> Secret:
        chain = info.data.get("chain")  # it is not there where it was refused
        leaf = _leaf(chain) if isinstance(chain, Secret) else None
        public = _public_key(key)
        if leaf is not None and public is not None:
            theirs = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            if theirs != public:
                message = f"the private key{_of(key)} does not belong to the first certificate{_of(chain)}"
                raise _refused(message)
        return key

    def hosts(self) -> tuple[str, ...]:
        """Return the host names that this is used for."""
        if self.names or (leaf := _leaf(self.chain)) is None:
            return self.names
        try:
            found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))

    def validity(self) -> tuple[datetime, datetime]:
        """Return from when until when the certificate is valid."""
        leaf = _leaf(self.chain)
        if leaf is None:
            message = "the certificate did not travel to this process"
            raise NexusError(message)
        return leaf.not_valid_before_utc, leaf.not_valid_after_utc


def _leaf(chain: Secret | None) -> x509.Certificate | None:
    """Return the first certificate; None where the value isn't known in this process."""
    text = _text(chain)
    if chain is None or text is None:
        return None
    try:
        return x509.load_pem_x509_certificates(text.encode())[0]
    except (ValueError, UnsupportedAlgorithm):
        message = f"expected certificates in PEM (-----BEGIN CERTIFICATE-----){_of(chain)}, found none that can be read"
    raise _refused(message)


def _public_key(key: Secret) -> bytes | None:
    text = _text(key)
    if text is None:
        return None
    try:
        private = load_pem_private_key(text.encode(), password=None)
    except TypeError:
        message = f"the private key{_of(key)} is encrypted: nobody can enter its password, so remove it"
    except (ValueError, UnsupportedAlgorithm):
        message = f"expected a private key in PEM (-----BEGIN PRIVATE KEY-----){_of(key)}, found none that can be read"
    else:
        return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raise _refused(message)


def _text(secret: Secret | None) -> str | None:
    try:
        return None if secret is None else secret.reveal()
    except NexusError:  # content is judged, too, where values did not travel
        return None


def _of(secret: Secret | None) -> str:
    return f" of {secret.ref}" if secret is not None and secret.ref is not None else ""


def _refused(message: str) -> PydanticCustomError:
    return PydanticCustomError("certificate", "{message}", {"message": message})
