"""Listening sockets, bound for real."""

from __future__ import annotations

import os
import socket
import stat
import sys
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.settings import Settings, parse
from nexus_supervisor.errors import ConflictError, NexusError, RejectedError
from nexus_supervisor.supervisor.inherited import Inherited
from nexus_supervisor.supervisor.listeners import Listeners, bind
from tests.support.http import PATIENCE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

HERE = "127.0.0.1:0"


def settings(*programs: tuple[str, list[str]]) -> Settings:
    """Return the settings of programs with their addresses."""
    tables = [{"name": name, "program": "hello", "bind": addresses} for name, addresses in programs]
    parsed = parse({"supervisor": {"program": tables}}, cpu_count=1)
    assert not parsed.errors
    return parsed.settings


def web(*addresses: str) -> Settings:
    return settings(("web", list(addresses)))


def opened(directory: Path, wanted: Settings, inherited: Inherited | None = None) -> Listeners:
    """Return the listeners of a daemon that has started with these settings."""
    listeners = Listeners(directory, inherited)
    listeners.prepare(wanted)
    listeners.settle(adopted=True)
    return listeners


def answers(address: str) -> bool:
    """Say whether somebody listens there."""
    kind, _, path = address.partition(":")
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as client:
        host, _, port = address.rpartition(":")
        return client.connect_ex(path if kind == "unix" else (host, int(port))) == 0


def test_the_address_names_the_port_that_was_given() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert listener.port > 0
        assert listener.address == f"127.0.0.1:{listener.port}"
        assert listener.socket.getsockname() == ("127.0.0.1", listener.port)


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


def test_ipv4_and_ipv6_can_both_be_bound_to_all_addresses_on_one_port() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with bind("0.0.0.0", 0) as four:
        try:
            bind("::", four.port).close()
        except RejectedError as error:
            pytest.skip(f"this machine has no IPv6: {error}")


# --- several, by program, and over restarts ------------------------------------------------------------------------


def test_each_program_has_the_sockets_of_its_own_addresses(tmp_path: Path) -> None:
    listeners = opened(tmp_path, settings(("web", [HERE, "unix:web.sock"]), ("api", [HERE]), ("jobs", [])))

    assert [len(listeners.of(name)) for name in ("web", "api", "jobs")] == [2, 1, 0]
    assert listeners.of("web")[1].address == f"unix:{tmp_path}/web.sock"
    assert listeners.addresses() == tuple(one.address for name in ("web", "api") for one in listeners.of(name))
    listeners.close()


def test_an_address_that_stays_keeps_its_socket_and_one_that_goes_loses_it_only_once_that_is_settled(
    tmp_path: Path,
) -> None:
    listeners = opened(tmp_path, web(HERE, "unix:old.sock"))
    stays, goes = listeners.of("web")

    listeners.prepare(web(HERE, "unix:new.sock"))

    assert listeners.of("web") == (stays, goes)
    assert listeners.of("web", fresh=True)[0] is stays
    assert answers(f"unix:{tmp_path}/new.sock")
    assert answers(goes.address)
    listeners.settle(adopted=True)
    assert listeners.of("web")[0] is stays
    assert answers(stays.address)
    assert not (tmp_path / "old.sock").exists()
    listeners.close()
    assert list(tmp_path.iterdir()) == []


def test_what_was_prepared_and_is_not_adopted_is_closed_and_the_old_goes_on(tmp_path: Path) -> None:
    listeners = opened(tmp_path, web(HERE))
    before = listeners.of("web")

    listeners.prepare(web(HERE, "unix:new.sock"))
    listeners.settle(adopted=False)

    assert listeners.of("web", fresh=True) == before
    assert answers(before[0].address)
    assert not (tmp_path / "new.sock").exists()
    listeners.close()


def test_an_address_that_a_stranger_took_leaves_everything_as_it_was(tmp_path: Path) -> None:
    listeners = opened(tmp_path, web(HERE))
    before = listeners.of("web")
    with bind("127.0.0.1", 0) as stranger, pytest.raises(NexusError):
        listeners.prepare(web("unix:new.sock", stranger.address))

    assert listeners.of("web", fresh=True) == before
    assert list(tmp_path.iterdir()) == []
    listeners.close()


def test_an_address_that_moves_to_another_program_keeps_its_socket(tmp_path: Path) -> None:
    listeners = opened(tmp_path, settings(("web", ["unix:a.sock"]), ("api", [])))
    (socket_of_both,) = listeners.of("web")

    listeners.prepare(settings(("web", []), ("api", [f"unix:{tmp_path}/a.sock"])))
    listeners.settle(adopted=True)

    assert (listeners.of("web"), listeners.of("api")) == ((), (socket_of_both,))
    assert answers(socket_of_both.address)
    listeners.close()


def test_an_address_that_overlaps_one_of_the_daemon_is_told_as_that(tmp_path: Path) -> None:
    listeners = opened(tmp_path, web(HERE))
    port = listeners.of("web")[0].port

    with pytest.raises(
        ConflictError, match="this daemon itself: beside an address that it listens on, none that overlaps"
    ):
        listeners.prepare(web(f"0.0.0.0:{port}"))
    listeners.close()


def test_two_names_of_one_socket_are_refused(tmp_path: Path) -> None:
    listeners = Listeners(tmp_path)

    with pytest.raises(RejectedError, match="are one socket: one program listens on it, once"):
        listeners.prepare(web("unix:a.sock", f"unix:{tmp_path}/a.sock"))
    assert list(tmp_path.iterdir()) == []
    listeners.close()


# --- Unix sockets --------------------------------------------------------------------------------------------------


def test_the_file_is_for_user_and_group_and_gone_at_the_end(tmp_path: Path) -> None:
    listeners = opened(tmp_path, web("unix:web.sock"))

    assert stat.S_IMODE((tmp_path / "web.sock").stat().st_mode) == 0o660
    listeners.close()
    assert not (tmp_path / "web.sock").exists()


def test_a_stale_file_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "web.sock"))

    listeners = opened(tmp_path, web("unix:web.sock"))

    assert answers(f"unix:{tmp_path}/web.sock")
    listeners.close()


def test_a_socket_on_which_somebody_answers_is_not_taken_and_who_that_is_is_told(tmp_path: Path) -> None:
    first = opened(tmp_path, web("unix:web.sock"))

    with pytest.raises(ConflictError, match=rf"somebody listens on unix:.*/web\.sock already: pid {os.getpid()} "):
        opened(tmp_path, web("unix:web.sock"))
    assert answers(f"unix:{tmp_path}/web.sock")
    first.close()


def test_a_file_that_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "web.sock").write_text("precious")

    with pytest.raises(RejectedError, match="is there already, and no socket"):
        opened(tmp_path, web("unix:web.sock"))
    assert (tmp_path / "web.sock").read_text() == "precious"


def test_a_stale_socket_of_another_user_is_not_removed(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of another user's")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "web.sock"))
    os.chown(tmp_path / "web.sock", 65_534, 65_534)

    with pytest.raises(RejectedError, match="it belongs to user 65534"):
        opened(tmp_path, web("unix:web.sock"))
    assert (tmp_path / "web.sock").exists()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RejectedError, match=rf"there is no directory {tmp_path}/run: make it"):
        opened(tmp_path, web("unix:run/web.sock"))


def test_a_path_that_is_longer_than_an_address_may_be_is_bound(tmp_path: Path) -> None:
    deep = tmp_path.joinpath("d" * 90, "e" * 90)
    deep.mkdir(parents=True)

    listeners = opened(deep, web("unix:web.sock"))

    assert listeners.addresses() == (f"unix:{deep}/web.sock",)
    assert stat.S_ISSOCK((deep / "web.sock").stat().st_mode)
    listeners.close()


def test_a_file_that_somebody_put_in_its_place_stays(tmp_path: Path) -> None:
    listeners = opened(tmp_path, web("unix:web.sock"))
    (tmp_path / "web.sock").unlink()
    (tmp_path / "web.sock").write_text("another one's")

    listeners.close()

    assert (tmp_path / "web.sock").read_text() == "another one's"


# --- inherited ones ------------------------------------------------------------------------------------------------


def test_an_inherited_socket_is_shared_and_kept_when_a_restart_gives_it_up(tmp_path: Path) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    place = f"127.0.0.1:{given.getsockname()[1]}"
    listeners = opened(tmp_path, web("fd://web"), Inherited({given.fileno(): given}, {"web": (given.fileno(),)}))

    assert listeners.addresses() == (place,)
    listeners.prepare(web(HERE))
    listeners.settle(adopted=True)
    assert answers(place)
    listeners.prepare(web("fd://web"))
    listeners.settle(adopted=True)
    assert listeners.addresses() == (place,)
    listeners.close()
    assert not answers(place)


def test_an_address_that_an_inherited_socket_has_is_not_bound_again(tmp_path: Path) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    place = f"127.0.0.1:{given.getsockname()[1]}"
    path = tmp_path / "web.sock"
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(path))
    local.listen()

    inherited = Inherited({given.fileno(): given, local.fileno(): local})
    listeners = opened(tmp_path, web(place, "unix:web.sock"), inherited)

    assert listeners.addresses() == (place, f"unix:{path}")
    listeners.close()
    assert path.exists()


def test_an_inherited_socket_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RejectedError, match="fd://web is no listening socket"):
        Listeners(tmp_path).prepare(web("fd://web"))


def test_a_hundred_restarts_leave_no_descriptor(tmp_path: Path) -> None:
    listeners = opened(tmp_path, web(HERE))
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for number in range(100):
        listeners.prepare(web(HERE, f"unix:{number}.sock"))
        listeners.settle(adopted=number % 2 == 0)
    listeners.prepare(web(HERE))
    listeners.settle(adopted=True)

    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert list(tmp_path.iterdir()) == []
    listeners.close()


@pytest.mark.skipif(sys.platform != "linux", reason="socket filters are Linux's")
@pytest.mark.parametrize("address", [HERE, "[::1]:0"])
def test_a_daemon_that_ends_lets_nobody_new_in_and_keeps_who_waits(tmp_path: Path, address: str) -> None:
    listeners = opened(tmp_path, web(address))
    (listener,) = listeners.of("web")
    with listener.socket.dup() as workers, socket.create_connection(workers.getsockname()[:2]) as waits:
        listeners.leave(kept=False)

        with pytest.raises(TimeoutError):
            socket.create_connection(workers.getsockname()[:2], timeout=0.2)
        accepted, _ = workers.accept()
        with accepted:
            waits.sendall(b"x")
            assert accepted.recv(1) == b"x"


def test_a_socket_that_the_service_manager_keeps_goes_on_letting_in(tmp_path: Path) -> None:
    listeners = opened(tmp_path, web(HERE))
    (listener,) = listeners.of("web")
    with listener.socket.dup() as keeps:
        listeners.leave(kept=True)

        socket.create_connection(keeps.getsockname(), timeout=PATIENCE_SECONDS).close()


def test_an_inherited_socket_goes_on_letting_in(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as keeps:
        number = os.dup(keeps.fileno())
        inherited = Inherited({number: socket.socket(fileno=number)}, {"web": (number,)})
        listeners = opened(tmp_path, web("fd://web"), inherited)

        listeners.leave(kept=False)

        socket.create_connection(keeps.getsockname(), timeout=PATIENCE_SECONDS).close()
