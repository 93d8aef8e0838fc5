"""Addresses and certificates in the settings: what can't stand beside each other."""

from __future__ import annotations

from typing import Any

import pytest

from nexus_supervisor.core.settings import parse


def mistakes(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one.key, one.message) for one in parse(document, cpu_count=1).errors]


def programs(*binds: Any) -> dict[str, Any]:
    return {"supervisor": {"program": [{"name": f"p{number}", "bind": bind} for number, bind in enumerate(binds)]}}


def section(apply: str) -> dict[str, Any]:
    return {"section": [{"name": "certificates", "files": "certificates/*.toml", "apply": apply}]}


def test_an_address_of_two_programs_is_refused_where_the_second_one_names_it() -> None:
    document = {"daemon": {"port": 8080}} | programs("127.0.0.1", ["[::1]:80", "127.0.0.1:8080"])

    assert mistakes(document) == [
        (
            "supervisor.program[1].bind",
            "127.0.0.1:8080 is an address of program p0 already: name each address once",
        )
    ]


def test_an_address_that_is_named_with_and_without_its_port_is_refused() -> None:
    ((key, message),) = mistakes({"daemon": {"bind": ["localhost", "localhost:8080"], "port": 8080}})

    assert key == "daemon.bind"
    assert message.startswith("localhost:8080 is an address of program gateway already")


def test_two_programs_may_each_have_a_free_port() -> None:
    assert mistakes(programs("127.0.0.1:0", "127.0.0.1:0")) == []


@pytest.mark.parametrize(
    ("supervisor", "message"),
    [
        ({}, "there is no section certificates: declare it with [[supervisor.section]]"),
        (
            section("restart"),
            'the section certificates must have apply = "live", so that a renewed certificate is used at once',
        ),
    ],
)
def test_certificates_must_be_in_a_live_section(supervisor: dict[str, Any], message: str) -> None:
    document = {"daemon": {"tls": {"section": "certificates"}}, "supervisor": supervisor}

    assert mistakes(document) == [("daemon.tls.section", message)]


def test_a_live_section_of_certificates_is_taken() -> None:
    document = {"daemon": {"tls": {"section": "certificates"}}, "supervisor": section("live")}

    assert mistakes(document) == []
