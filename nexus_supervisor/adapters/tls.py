"""TLS: which certificate a connection is answered with.

Decided here: how certificates of a version become contexts, which of them a client gets by the host that it names, and
what every connection is held to (TLS 1.2 or newer, HTTP/1.1). Not decided here: what a certificate is
(``models/certificate.py``) and when a version is in force (the agent, which finds ``contexts`` by its name: so that
only who speaks TLS imports it).

A connection is answered with the newest version's certificates at the moment of its handshake; one that is open stays
as it is.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nexus_supervisor.errors import RejectedError
from nexus_supervisor.models.certificate import Certificate

__all__ = ["Contexts", "contexts", "listening"]

_logger = logging.getLogger(__name__)

_PROTOCOLS = ["http/1.1"]


@dataclass(frozen=True, slots=True)
class Contexts:
    """Hold the contexts of one version: by the digests of certificate and key, by host name, and the default."""

    by_pair: Mapping[tuple[str, str], ssl.SSLContext] = field(repr=False)
    by_host: Mapping[str, ssl.SSLContext] = field(repr=False)
    default: ssl.SSLContext | None = field(repr=False)

    def of(self, host: str | None) -> ssl.SSLContext | None:
        """Return the context for the host that a client names, a whole name before a wildcard; None: it gets none."""
        name = (host or "").lower()
        return self.by_host.get(name) or self.by_host.get(f"*.{name.partition('.')[2]}") or self.default


def contexts(section: str, entries: Mapping[str, Any] | None, before: Contexts | None) -> Contexts:
    """Return the contexts of a version; one whose certificate and key are as before is used again.

    Raise RejectedError where they can't be used. Names that are written go before names that certificates hold.
    """
    found = _certificates(section, entries or {})
    known = {} if before is None else before.by_pair
    by_pair: dict[tuple[str, str], ssl.SSLContext] = {}
    by_host: dict[str, ssl.SSLContext] = {}
    default = None
    for name, one in sorted(found.items(), key=lambda item: (not item[1].names, item[0])):
        pair = one.chain.digest, one.key.digest
        context = known.get(pair) or _context(section, name, one)
        by_pair[pair] = context
        for host in one.hosts():
            by_host.setdefault(host, context)
        if one.default or len(found) == 1:
            default = context
    return Contexts(by_pair, by_host, default)


def _certificates(section: str, entries: Mapping[str, Any]) -> dict[str, Certificate]:
    """Return the entries of the section, which are certificates, at least one, at most one of them the default."""
    if not entries:
        message = f"[daemon.tls] needs at least one certificate, and the section {section} has none: no client gets in"
        raise RejectedError(message)
    found = {name: entry for name, entry in entries.items() if isinstance(entry, Certificate)}
    if strangers := sorted(entries.keys() - found.keys()):
        model = f"{Certificate.__module__}:{Certificate.__qualname__}"
        message = f'{section}.{strangers[0]} is no certificate: its section needs model = "{model}"'
        raise RejectedError(message)
    defaults = sorted(name for name, one in found.items() if one.default)
    if len(defaults) > 1:
        message = f"{' and '.join(f'{section}.{name}' for name in defaults)} both say default = true: only one can"
        raise RejectedError(message)
    return found


def listening(newest: Callable[[], Contexts]) -> ssl.SSLContext:
    """Return the context for listening sockets: each handshake is answered with the newest version's certificates."""
    context = _base()

    def choose(connection: ssl.SSLObject, host: str | None, _: ssl.SSLContext) -> int | None:
        chosen = newest().of(host)
        if chosen is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = chosen
        return None

    context.sni_callback = choose
    return context


def _base() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(_PROTOCOLS)
    return context


def _context(section: str, name: str, certificate: Certificate) -> ssl.SSLContext:
    context = _base()
    try:
        with _readable(certificate.chain.reveal()) as chain, _readable(certificate.key.reveal()) as key:
            context.load_cert_chain(chain, key, password=lambda: b"")
    except ssl.SSLError as error:
        message = (
            f"{section}.{name} can't be used: OpenSSL refuses {certificate.chain.ref or 'its chain'} with "
            f"{certificate.key.ref or 'its key'} ({error.reason or 'unknown reason'})"
        )
    except OSError as error:
        message = f"{section}.{name} can't be used: its certificate could not be handed to OpenSSL ({error.strerror})"
    else:
        _warn_of_dates(section, name, certificate)
        return context
    raise RejectedError(message)


@contextmanager
def _readable(text: str) -> Iterator[str]:
    """Provide a path from which a text can be read that is in no file: Python's ssl takes keys from paths alone."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("nexus-tls", os.MFD_CLOEXEC)
        os.write(descriptor, text.encode())
        path = f"/proc/self/fd/{descriptor}"
    else:
        descriptor, writing = os.pipe()
        os.write(writing, text.encode())  # no more than a pipe takes: secrets are 64 KiB at most
        os.close(writing)
        path = f"/dev/fd/{descriptor}"
    try:
        yield path
    finally:
        os.close(descriptor)


def _warn_of_dates(section: str, name: str, certificate: Certificate) -> None:
    begins, ends = certificate.validity()
    now = datetime.now(UTC)
    if ends <= now:
        _logger.warning("%s.%s: the certificate expired at %s: clients refuse it", section, name, ends.isoformat())
    elif begins > now:
        _logger.warning("%s.%s: the certificate is not valid before %s", section, name, begins.isoformat())
