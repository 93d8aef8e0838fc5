"""Listening sockets, bound for real."""

from __future__ import annotations

import os
import socket

import pytest

from nexus_supervisor.errors import ConflictError, RejectedError
from nexus_supervisor.supervisor.listeners import bind, bound


def test_the_address_names_the_port_that_was_given() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert listener.port > 0
        assert listener.address == f"127.0.0.1:{listener.port}"
        assert listener.socket.getsockname() == ("127.0.0.1", listener.port)


def test_an_empty_address_listens_on_nothing_whatever_the_port() -> None:
    assert bound("", 8080) == ()


def test_an_address_of_the_settings_has_one_listener() -> None:
    (listener,) = bound("127.0.0.1", 0)
    with listener:
        assert listener.address == f"127.0.0.1:{listener.port}"


def test_a_connection_to_it_is_accepted() -> None:
    with bind("127.0.0.1", 0) as listener, socket.create_connection(("127.0.0.1", listener.port)) as client:
        listener.socket.setblocking(True)
        accepted, address = listener.socket.accept()
        accepted.close()
        assert address == client.getsockname()


def test_the_socket_is_plain_tcp_non_blocking_and_closed_on_exec() -> None:
    with bind("127.0.0.1", 0) as listener:
        bound = listener.socket
        assert (bound.type, bound.proto) == (socket.SOCK_STREAM, socket.IPPROTO_TCP)
        assert not bound.getblocking()
        assert not os.get_inheritable(bound.fileno())
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert not bound.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_a_connection_that_a_descriptor_copy_accepts_has_no_delay() -> None:
    with bind("127.0.0.1", 0) as listener:
        with socket.socket(fileno=os.dup(listener.socket.fileno())) as copy:
            assert copy.proto == socket.IPPROTO_TCP
            copy.setblocking(True)
            with socket.create_connection(("127.0.0.1", listener.port)):
                accepted, _ = copy.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6_is_bound_and_shown_in_brackets(host: str) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        with bind(host, 0) as listener:
            assert listener.address == f"[::1]:{listener.port}"
    except RejectedError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")


def test_a_host_name_is_resolved() -> None:
    with bind("localhost", 0) as listener:
        assert listener.port > 0


def test_who_holds_the_port_is_named_with_what_to_do() -> None:
    with bind("127.0.0.1", 0) as first:
        with pytest.raises(ConflictError) as refused:
            bind("127.0.0.1", first.port)
        assert refused.value.exit_code == 6
        assert f"port {first.port} is already in use by pid {os.getpid()} (" in str(refused.value)
        assert "choose another port" in str(refused.value)


def test_a_closed_listener_gives_its_port_back() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.port
        with socket.create_connection(("127.0.0.1", port)):
            pass
    bind("127.0.0.1", port).close()


def test_an_address_of_another_machine_is_refused_with_what_to_do() -> None:
    with pytest.raises(RejectedError, match="is not an address of this machine"):
        bind("192.0.2.1", 0)


def test_a_name_that_does_not_resolve_is_refused() -> None:
    with pytest.raises(RejectedError, match=r"neither an address nor a host name"):
        bind("no such host", 0)


def test_a_failed_bind_leaves_no_descriptor() -> None:
    with bind("127.0.0.1", 0) as first:
        before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only, without a descriptor of the listing
        for _ in range(3):
            with pytest.raises(ConflictError):
                bind("127.0.0.1", first.port)
        assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
