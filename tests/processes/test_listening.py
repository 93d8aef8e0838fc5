"""Where real daemons listen: several addresses, over restarts, and with certificates that change while they serve."""

from __future__ import annotations

import json
import os
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Pair, a_pair, trusting
from tests.support.listening import Load, ask, certify, make, rewrite
from tests.support.nexus import Nexus, command

if TYPE_CHECKING:
    from pathlib import Path

HERE = "127.0.0.1:0"


def addresses(nexus: Nexus) -> list[str]:
    return str(nexus.history("listening")[-1]["address"]).split(", ")


# --- addresses -----------------------------------------------------------------------------------------------------


def test_one_program_serves_tcp_and_a_unix_socket_on_which_clients_have_no_address(tmp_path: Path) -> None:
    with Nexus(make(tmp_path, [HERE, "unix:web.sock"]), bind="") as nexus:
        tcp, local = addresses(nexus)

        scheme, client, _ = json.loads(ask(tcp)[0])
        assert (scheme, client) == ("http", "127.0.0.1")
        assert json.loads(ask(local)[0]) == ["http", None, [f"{tmp_path}/web.sock", None]]
        assert nexus.status()["addresses"] == [tcp, local]
    assert not (tmp_path / "web.sock").exists()


def test_a_wsgi_application_serves_a_unix_socket(tmp_path: Path) -> None:
    program = '[[supervisor.program]]\nname = "web"\nprogram = "wsgi"\napp = "web:wsgi"\n'
    with Nexus(make(tmp_path, ["unix:web.sock"], more=program), bind="") as nexus:
        assert ask(addresses(nexus)[0]) == (b"nobody", 0)


def test_an_inherited_socket_is_served_and_still_there_afterwards(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        make(tmp_path, [f"fd://{given.fileno()}"])
        with Nexus(tmp_path, bind="", pass_fds=[given.fileno()]) as nexus:
            place = f"127.0.0.1:{given.getsockname()[1]}"
            assert addresses(nexus) == [place]
            ask(place)
            assert nexus.restart("it stays").outcome == "APPLIED"
            ask(place)
        with socket.create_connection(given.getsockname()):
            pass  # it waits in the queue that nobody has closed


def test_the_command_line_may_name_several_addresses(tmp_path: Path) -> None:
    make(tmp_path, ["127.0.0.1:1"])
    with Nexus(tmp_path, "-b", HERE, "-b", f"unix:{tmp_path}/web.sock", bind="") as nexus:
        for place in addresses(nexus):
            ask(place)


def test_a_restart_that_changes_one_address_fails_no_request_on_either(tmp_path: Path) -> None:
    make(tmp_path, [HERE, "unix:old.sock"])
    with Nexus(tmp_path, bind="") as nexus:
        tcp, old = addresses(nexus)
        with Load(tcp, clients=2) as on_tcp:
            on_tcp.until(50)
            rewrite(tmp_path, [HERE, "unix:new.sock"])
            assert nexus.restart("another path").outcome == "APPLIED"
            on_tcp.until(50)
        assert on_tcp.failures == []
        assert addresses(nexus) == [tcp, f"unix:{tmp_path}/new.sock"]
        ask(f"unix:{tmp_path}/new.sock")
        assert not (tmp_path / "old.sock").exists()
        with pytest.raises(OSError):
            ask(old)


def test_an_address_that_a_stranger_has_refuses_the_restart_and_touches_nothing(tmp_path: Path) -> None:
    make(tmp_path, [HERE])
    with Nexus(tmp_path, bind="") as nexus, socket.create_server(("127.0.0.1", 0)) as stranger:
        before, workers = addresses(nexus), nexus.workers()
        port = stranger.getsockname()[1]
        rewrite(tmp_path, [HERE, f"127.0.0.1:{port}"])

        refused = nexus.restart("one more")

        assert refused.exit_code != 0
        assert f"port {port} is already in use by pid {os.getpid()}" in refused.text
        assert {slot: one["pid"] for slot, one in nexus.workers().items()} == {
            slot: one["pid"] for slot, one in workers.items()
        }
        ask(before[0])


def test_an_address_of_two_programs_is_refused_by_check(tmp_path: Path) -> None:
    program = '[[supervisor.program]]\nname = "{}"\nprogram = "asgi"\napp = "web:app"\nbind = "127.0.0.1:8080"\n'
    make(tmp_path, [], more=program.format("web") + program.format("api"))

    refused = command("check", tmp_path)

    assert refused.returncode == 3
    assert "supervisor.program[1].bind: 127.0.0.1:8080 is an address of program web already" in refused.stdout


# --- TLS -----------------------------------------------------------------------------------------------------------


def secure(directory: Path, *pairs: Pair, more: str = "") -> Path:
    """Make a directory whose daemon speaks TLS with certificates named one, two, and so on."""
    make(directory, [HERE], more=more, tls=True)
    for name, pair in zip(("one", "two"), pairs, strict=False):
        certify(directory, name, pair)
    return directory


def test_a_certificate_that_is_renewed_under_load_fails_no_request_and_needs_no_restart(tmp_path: Path) -> None:
    old, new = a_pair("web.test"), a_pair("web.test")
    with Nexus(secure(tmp_path, old), bind="") as nexus:
        (place,) = addresses(nexus)
        pids = {one["pid"] for one in nexus.workers().values()}
        with Load(place, trusting(old, new)) as load:
            load.until(50)
            certify(tmp_path, "one", new)
            assert nexus.push("renewed").outcome == "APPLIED"
            assert {ask(place, trusting(new))[1] for _ in range(4)} == {new.serial}
            load.until(50)

        assert load.failures == []
        assert load.serials == {old.serial, new.serial}
        assert {one["pid"] for one in nexus.workers().values()} == pids


def test_a_certificate_file_that_changes_is_noticed_by_itself(tmp_path: Path) -> None:
    old, new = a_pair("web.test"), a_pair("web.test")
    with Nexus(secure(tmp_path, old, more="watch.reconcile_seconds = 0.1\n"), bind="") as nexus:
        before = nexus.version

        certify(tmp_path, "one", new)

        nexus.until("committed")
        assert nexus.version > before
        assert ask(addresses(nexus)[0], trusting(new))[1] == new.serial


def test_who_goes_back_past_a_renewal_keeps_the_renewed_certificate(tmp_path: Path) -> None:
    old, new = a_pair("web.test"), a_pair("web.test")
    with Nexus(secure(tmp_path, old), bind="") as nexus:
        first = nexus.version
        certify(tmp_path, "one", new)
        with (tmp_path / "daemon.toml").open("a") as daemon:
            daemon.write("watch.debounce_ms = 60\n")
        assert nexus.push("renewed, and something else").outcome == "APPLIED"

        assert nexus.rollback(first, "something else was bad").exit_code == 0

        assert nexus.version == first + 2
        assert ask(addresses(nexus)[0], trusting(new))[1] == new.serial


def test_tls_is_turned_on_by_a_restart(tmp_path: Path) -> None:
    pair = a_pair("web.test")
    with Nexus(make(tmp_path, ["unix:plain.sock"]), bind="") as nexus:
        ask(f"unix:{tmp_path}/plain.sock")
        rewrite(tmp_path, [HERE], tls=True)
        certify(tmp_path, "one", pair)

        assert nexus.restart("TLS from now on").outcome == "APPLIED"

        (place,) = addresses(nexus)
        assert ask(place, trusting(pair))[1] == pair.serial


def test_a_restart_under_load_fails_no_request_over_tls(tmp_path: Path) -> None:
    pair = a_pair("web.test")
    with Nexus(secure(tmp_path, pair), bind="") as nexus:
        with Load(addresses(nexus)[0], trusting(pair)) as load:
            load.until(50)
            assert nexus.restart("new code").outcome == "APPLIED"
            load.until(50)
        assert load.failures == []


def test_each_host_gets_its_certificate_and_a_stranger_none(tmp_path: Path) -> None:
    one, two = a_pair("one.test"), a_pair("two.test")
    with Nexus(secure(tmp_path, one, two), bind="") as nexus:
        (place,) = addresses(nexus)

        assert ask(place, trusting(one), "one.test")[1] == one.serial
        answer, serial = ask(place, trusting(two), "two.test")
        assert (json.loads(answer)[0], serial) == ("https", two.serial)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(place, trusting(one), "three.test")


def test_a_key_of_another_certificate_is_refused_with_its_file_and_what_serves_goes_on(tmp_path: Path) -> None:
    pair = a_pair("web.test")
    with Nexus(secure(tmp_path, pair), bind="") as nexus:
        before = nexus.version
        certify(tmp_path, "one", pair, key=a_pair("web.test").key)

        refused = nexus.push("wrong")

        assert (refused.exit_code, nexus.version) == (3, before)
        (problem,) = refused.problems
        assert problem.startswith("certificates/one.toml:2: ")
        assert "the private key of file:tls/one.key does not belong to the first certificate of file:tls/one.pem" in (
            problem
        )
        assert ask(addresses(nexus)[0], trusting(pair))[1] == pair.serial


def test_the_last_certificate_can_not_be_taken_away(tmp_path: Path) -> None:
    pair = a_pair("web.test")
    with Nexus(secure(tmp_path, pair), bind="") as nexus:
        (tmp_path / "certificates" / "one.toml").unlink()

        refused = nexus.push("gone")

        assert refused.exit_code != 0
        assert ask(addresses(nexus)[0], trusting(pair))[1] == pair.serial


def test_an_expired_certificate_is_used_and_warned_of(tmp_path: Path) -> None:
    expired = a_pair("web.test", days=-1)
    with Nexus(secure(tmp_path, expired), bind="") as nexus:
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        assert ask(addresses(nexus)[0], client)[1] == expired.serial
        assert "certificates.one: the certificate expired at " in nexus.output


def test_a_key_is_in_no_file_of_the_daemon_nor_in_anything_that_it_says(tmp_path: Path) -> None:
    pair, wrong = a_pair("web.test"), a_pair("web.test")
    with Nexus(secure(tmp_path, pair), bind="") as nexus:
        certify(tmp_path, "one", pair, key=wrong.key)
        answer = repr(nexus.push("wrong"))
        certify(tmp_path, "one", wrong, key=wrong.key)
        nexus.push("right")
        said = [answer, repr(nexus.status()), command("diff", tmp_path, "1").stdout, nexus.output]
        files = [one for folder in ("compiled", "state") for one in (tmp_path / folder).rglob("*") if one.is_file()]
        said += [one.read_bytes().decode("latin-1") for one in files]

    lines = [line for key in (pair.key, wrong.key) for line in key.splitlines()[1:-1]]
    assert files
    assert not [line for line in lines if any(line in one for one in said)]


def test_a_section_that_is_not_there_or_waits_for_a_restart_is_refused_by_check(tmp_path: Path) -> None:
    make(tmp_path, [HERE], tls=True)
    daemon = tmp_path / "daemon.toml"
    text = daemon.read_text()

    daemon.write_text(text.replace('section = "certificates"', 'section = "nothing"'))
    assert "daemon.tls.section: there is no section nothing" in command("check", tmp_path).stdout
    daemon.write_text(text.replace('apply = "live"', 'apply = "restart"'))
    assert 'daemon.tls.section: the section certificates must have apply = "live"' in command("check", tmp_path).stdout
