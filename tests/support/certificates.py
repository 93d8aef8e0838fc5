"""Certificates for tests, made on the spot: nothing that is secret outside of them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

__all__ = ["SECTION", "Pair", "a_pair", "serial_of", "trusting"]

SECTION = """
[daemon.tls]
section = "certificates"

[[supervisor.section]]
name = "certificates"
files = "certificates/*.toml"
apply = "live"
model = "nexus_supervisor.models.certificate:Certificate"
"""
"""What daemon.toml says for a daemon that speaks TLS."""


@dataclass(frozen=True)
class Pair:
    """A certificate that signs itself, and its key."""

    certificate: str
    key: str
    serial: int


def a_pair(*names: str, days: int = 30) -> Pair:
    """Make a certificate for these names; one of negative days has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{names[0]} {serial}")])
    ends = datetime.now(UTC) + timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(ends - timedelta(days=60))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(made.public_bytes(Encoding.PEM).decode(), private.decode(), serial)


def trusting(*pairs: Pair) -> ssl.SSLContext:
    """Return the context of a client that trusts these certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for pair in pairs:
        context.load_verify_locations(cadata=pair.certificate)
    return context


def serial_of(connection: ssl.SSLSocket | ssl.SSLObject) -> int:
    """Return the serial number of the certificate that a connection was answered with."""
    shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number
