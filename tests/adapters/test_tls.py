"""TLS by real handshakes: which certificate a client gets, what is refused, and what a renewal changes."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.adapters.tls import Contexts, contexts, listening
from nexus_supervisor.errors import RejectedError
from nexus_supervisor.models.certificate import Certificate
from nexus_supervisor.models.marks import Secret
from tests.support.certificates import Pair, a_pair, serial_of, trusting

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 30


def a_certificate(pair: Pair, *names: str, default: bool = False, key: str | None = None) -> Certificate:
    secrets = Secret.literal(pair.certificate, b"pepper"), Secret.literal(key or pair.key, b"pepper")
    return Certificate.model_construct(chain=secrets[0], key=secrets[1], names=names, default=default)


def made(before: Contexts | None = None, **entries: Certificate) -> Contexts:
    return contexts("certificates", entries, before)


class Door:
    """A listening context whose certificates can be exchanged, and clients that come in by it."""

    def __init__(self, newest: Contexts) -> None:
        self.newest = newest
        self.context = listening(lambda: self.newest)

    @contextlib.contextmanager
    def connected(self, client: ssl.SSLContext, host: str | None) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
        """Shake hands; yield the client's end and ours."""
        ours, theirs = socket.socketpair()
        ours.settimeout(PATIENCE_SECONDS)
        theirs.settimeout(PATIENCE_SECONDS)
        with ours, theirs, ThreadPoolExecutor(1) as pool:
            accepted = pool.submit(self.context.wrap_socket, ours, server_side=True)
            try:
                inside = client.wrap_socket(theirs, server_hostname=host)
            except ssl.SSLError:
                theirs.close()
                assert isinstance(accepted.exception(), OSError)
                raise
            with inside, accepted.result() as outside:
                yield inside, outside

    def serial(self, pair: Pair, host: str | None, *, check: bool = True) -> int:
        """Return the serial number of the certificate that a client is answered with which trusts only this one."""
        client = trusting(pair)
        client.check_hostname = check
        with self.connected(client, host) as (inside, _):
            return serial_of(inside)


def test_a_client_is_answered_with_the_certificate_of_the_host_that_it_names() -> None:
    one, two = a_pair("one.test"), a_pair("two.test", "*.two.test")
    door = Door(made(one=a_certificate(one), two=a_certificate(two)))

    assert door.serial(one, "one.test") == one.serial
    assert door.serial(two, "two.test") == two.serial
    assert door.serial(two, "shop.two.test") == two.serial


def test_names_that_are_written_go_before_those_that_another_certificate_holds() -> None:
    wide, exact = a_pair("*.shop.test", "a.shop.test"), a_pair("b.shop.test", "a.shop.test")
    door = Door(made(a_wide=a_certificate(wide), z_exact=a_certificate(exact, "a.shop.test")))

    assert door.serial(exact, "a.shop.test") == exact.serial
    assert door.serial(wide, "c.shop.test") == wide.serial


def test_a_wildcard_stands_for_one_level_only() -> None:
    wide, other = a_pair("*.shop.test"), a_pair("other.test")
    door = Door(made(wide=a_certificate(wide), other=a_certificate(other, default=True)))

    assert door.serial(other, "a.b.shop.test", check=False) == other.serial


def test_who_names_no_host_gets_the_default_and_a_single_certificate_is_the_default() -> None:
    one, two = a_pair("one.test"), a_pair("two.test")

    assert Door(made(one=a_certificate(one))).serial(one, None, check=False) == one.serial
    both = Door(made(one=a_certificate(one), two=a_certificate(two, default=True)))
    assert both.serial(two, None, check=False) == two.serial


def test_a_host_that_no_certificate_is_for_is_refused_by_its_alert_where_there_is_no_default() -> None:
    one, two = a_pair("one.test"), a_pair("two.test")
    door = Door(made(one=a_certificate(one), two=a_certificate(two)))

    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        door.serial(one, "three.test")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_of_tls_that_are_safe_speak_http_1_1(version: ssl.TLSVersion) -> None:
    pair = a_pair("web.test")
    client = trusting(pair)
    client.minimum_version = client.maximum_version = version
    client.set_alpn_protocols(["h2", "http/1.1"])

    with Door(made(web=a_certificate(pair))).connected(client, "web.test") as (inside, outside):
        assert inside.selected_alpn_protocol() == "http/1.1"
        outside.sendall(b"hello")
        assert inside.recv(5) == b"hello"


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated:DeprecationWarning")
def test_an_old_version_of_tls_is_refused() -> None:
    pair = a_pair("web.test")
    client = trusting(pair)
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")

    door = Door(made(web=a_certificate(pair)))
    with pytest.raises(ssl.SSLError), door.connected(client, "web.test"):
        pass


def test_a_renewed_certificate_is_used_by_the_next_connection_while_an_open_one_goes_on() -> None:
    old, new = a_pair("web.test"), a_pair("web.test")
    door = Door(made(web=a_certificate(old)))

    with door.connected(trusting(old), "web.test") as (inside, outside):
        door.newest = made(door.newest, web=a_certificate(new))

        assert door.serial(new, "web.test") == new.serial
        outside.sendall(b"still here")
        assert inside.recv(10) == b"still here"


def test_a_version_that_changes_nothing_about_them_keeps_the_contexts() -> None:
    one, two = a_certificate(a_pair("one.test")), a_certificate(a_pair("two.test"))
    before = made(one=one)

    after = made(before, one=one, two=two)

    assert after.of("one.test") is before.of("one.test")


def test_a_key_that_is_another_ones_is_refused_with_both_named() -> None:
    wrong = a_certificate(a_pair("web.test"), key=a_pair("web.test").key)

    with pytest.raises(RejectedError, match=r"certificates\.web can't be used: OpenSSL refuses") as refused:
        made(web=wrong)
    assert "KEY_VALUES_MISMATCH" in str(refused.value)


def test_an_encrypted_key_is_refused_without_asking_anybody_for_a_password() -> None:
    locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"

    with pytest.raises(RejectedError, match=r"certificates\.web can't be used"):
        made(web=a_certificate(a_pair("web.test"), key=locked))


def test_no_certificate_at_all_or_two_defaults_are_refused() -> None:
    with pytest.raises(RejectedError, match="needs at least one certificate"):
        contexts("certificates", None, None)
    one, two = (a_certificate(a_pair(f"{name}.test"), default=True) for name in ("one", "two"))
    with pytest.raises(RejectedError, match=r"certificates\.one and certificates\.two both say default = true"):
        made(one=one, two=two)


def test_an_entry_of_another_model_is_refused_with_the_one_that_it_needs() -> None:
    with pytest.raises(RejectedError, match=r'needs model = "nexus_supervisor\.models\.certificate:Certificate"'):
        contexts("certificates", {"web": {"chain": "x"}}, None)


def test_an_expired_certificate_is_used_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert made(web=a_certificate(a_pair("web.test", days=-1))).of("web.test") is not None

    assert "certificates.web: the certificate expired at " in caplog.text


def test_neither_descriptors_nor_files_with_keys_are_left() -> None:
    pair = a_certificate(a_pair("web.test"))
    made(web=pair)
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only, without a descriptor of the listing

    made(web=pair)
    with pytest.raises(RejectedError):
        made(web=a_certificate(a_pair("web.test"), key="no key"))

    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert "PRIVATE" not in repr(pair)
    assert "PRIVATE" not in repr(made(web=pair))
