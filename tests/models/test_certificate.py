"""The model of a certificate: what people write, and what is said where it doesn't fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from nexus_supervisor.core import canonical
from nexus_supervisor.models.loading import load_model
from nexus_supervisor.models.mistakes import ModelMistakesError
from nexus_supervisor.models.secrets import Known, Origins
from tests.support.certificates import Pair, a_pair

if TYPE_CHECKING:
    from pathlib import Path

MODEL = load_model("nexus_supervisor.models.certificate:Certificate")


def written(directory: Path, pair: Pair, **more: Any) -> tuple[dict[str, Any], Origins]:
    """Write the files of a certificate; return the document that refers to them."""
    (directory / "web.pem").write_text(pair.certificate)
    (directory / "web.key").write_text(pair.key)
    return {"chain": "file:web.pem", "key": "file:web.key", **more}, Origins(directory, {}, b"pepper")


def mistake(directory: Path, pair: Pair, **more: Any) -> tuple[Any, str]:
    """Return where and why a document is refused."""
    with pytest.raises(ModelMistakesError) as refused:
        MODEL.compile(*written(directory, pair, **more))
    (found,) = refused.value.mistakes
    return found.path, found.message


def test_a_pair_is_stored_without_a_byte_of_its_key_and_built_again_with_it(tmp_path: Path) -> None:
    pair = a_pair("web.test", "*.web.test")

    compiled = MODEL.compile(*written(tmp_path, pair))

    assert b"BEGIN" not in compiled.body
    assert set(compiled.files) == {"file:web.pem", "file:web.key"}
    built = MODEL.build(compiled.body, compiled.secrets)
    assert built.hosts() == ("web.test", "*.web.test")
    assert built.key.reveal() == pair.key.strip()


def test_a_file_that_changes_is_another_content(tmp_path: Path) -> None:
    bodies = [MODEL.compile(*written(tmp_path, a_pair("web.test"))).body for _ in range(2)]

    assert bodies[0] != bodies[1]


def test_written_names_go_before_those_of_the_certificate(tmp_path: Path) -> None:
    compiled = MODEL.compile(*written(tmp_path, a_pair("web.test"), names=["shop.test"]))

    assert MODEL.build(compiled.body, compiled.secrets).hosts() == ("shop.test",)


def test_two_certificates_can_not_be_for_one_written_name(tmp_path: Path) -> None:
    claims = MODEL.compile(*written(tmp_path, a_pair("web.test"), names=["shop.test"])).facts.claims

    assert len(claims) == 1


def test_a_key_of_another_certificate_is_refused_with_both_files(tmp_path: Path) -> None:
    pair = Pair(a_pair("web.test").certificate, a_pair("web.test").key, 0)

    assert mistake(tmp_path, pair) == (
        ("key",),
        "the private key of file:web.key does not belong to the first certificate of file:web.pem",
    )


def test_what_is_no_certificate_or_no_key_is_refused_without_showing_it(tmp_path: Path) -> None:
    pair = a_pair("web.test")

    path, message = mistake(tmp_path, Pair("rubbish", pair.key, 0))
    assert (path, "certificates in PEM" in message, "of file:web.pem" in message) == (("chain",), True, True)
    path, message = mistake(tmp_path, Pair(pair.certificate, "rubbish", 0))
    assert (path, "a private key in PEM" in message, "rubbish" in message) == (("key",), True, False)


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    pair = a_pair("web.test")
    key = load_pem_private_key(pair.key.encode(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))

    path, message = mistake(tmp_path, Pair(pair.certificate, locked.decode(), 0))

    assert path == ("key",)
    assert message == "the private key of file:web.key is encrypted: nobody can enter its password, so remove it"


@pytest.mark.parametrize("name", ["Web.test", "a.*.test", "*", "web test", ""])
def test_a_name_that_no_client_sends_is_refused(tmp_path: Path, name: str) -> None:
    path, message = mistake(tmp_path, a_pair("web.test"), names=[name])

    assert path == ("names", 0)
    assert message.startswith("expected a text that matches")


def test_content_whose_values_did_not_travel_is_judged_without_them(tmp_path: Path) -> None:
    compiled = MODEL.compile(*written(tmp_path, a_pair("web.test"), names=["web.test"]))

    assert len(MODEL.examine(canonical.encode(canonical.decode(compiled.body)), Known({})).claims) == 1
