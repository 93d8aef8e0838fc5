"""Secrets: references, digests, and that no value is ever shown."""

from __future__ import annotations

import copy
import hashlib
import hmac
import os
import pickle
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from nexus_supervisor.errors import NexusError
from nexus_supervisor.models.marks import HashedSecret, Secret, keyed_digest
from nexus_supervisor.models.secrets import (
    MAX_SECRET_BYTES,
    Origins,
    Reissue,
    Resolution,
    SecretMistakeError,
    Stored,
)

if TYPE_CHECKING:
    from pathlib import Path

PEPPER = b"pepper"


@pytest.fixture
def origins(tmp_path: Path) -> Origins:
    return Origins(tmp_path, {"KEY": "from-env", "EMPTY": " "}, PEPPER)


def test_a_digest_is_hmac_sha256_under_the_pepper() -> None:
    assert keyed_digest(PEPPER, "kéy") == hmac.new(PEPPER, "kéy".encode(), hashlib.sha256).hexdigest()


def test_a_literal_has_no_reference(origins: Origins) -> None:
    secret = Resolution(origins).secret(Secret, "value")

    assert (secret.ref, secret.digest, secret.reveal()) == (None, keyed_digest(PEPPER, "value"), "value")


def test_a_variable_of_the_environment_is_resolved(origins: Origins) -> None:
    resolution = Resolution(origins)

    assert resolution.secret(Secret, "env:KEY").reveal() == "from-env"
    assert resolution.environment == {"KEY"}


def test_a_file_is_relative_to_the_directory_and_trimmed(origins: Origins, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/a").write_text("  from-file\n")

    assert Resolution(origins).secret(Secret, "file:keys/a").reveal() == "from-file"
    assert Resolution(origins).secret(Secret, f"file:{tmp_path}/keys/a").reveal() == "from-file"


def test_a_home_directory_is_expanded(origins: Origins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text("from-home")

    assert Resolution(origins).secret(Secret, "file:~/token").reveal() == "from-home"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "found an empty text"),
        ("  \t", "found an empty text"),
        ("env:", "the environment variable '', which is not set"),
        ("env:NOT_SET", "the environment variable 'NOT_SET', which is not set"),
        ("env:EMPTY", "the environment variable 'EMPTY', which is empty"),
        ("file:", 'a path after "file:"'),
        ("file:nowhere", "the file 'nowhere', which does not exist"),
        ("file:empty", "the file 'empty', which is empty"),
        ("file:folder", "'folder' to be a regular file"),
        ("file:fifo", "'fifo' to be a regular file"),
        ("file:large", f"'large' to hold at most {MAX_SECRET_BYTES} bytes"),
        ("file:binary", "bytes that are not UTF-8"),
        ("file:nul\0", "can't be resolved"),
        ("file:~nobody-of-this-name/x", "can't be resolved"),
        (5, "expected a text"),
        (None, "expected a text"),
    ],
)
def test_what_leads_to_no_secret_is_refused_with_a_reason(
    origins: Origins, tmp_path: Path, written: object, words: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(SecretMistakeError) as caught:
        Resolution(origins).secret(Secret, written)

    assert words in str(caught.value)


@pytest.mark.parametrize("cls", [Secret, HashedSecret])
def test_a_secret_shows_nothing_and_can_not_be_changed_or_pickled(cls: type[Secret]) -> None:
    secret = cls.literal("canary", PEPPER)

    assert {repr(secret), str(secret), f"{secret}", f"{[secret]}"} == {"<secret>", "[<secret>]"}
    with pytest.raises(AttributeError, match="frozen"):
        secret._value = "x"
    with pytest.raises(AttributeError, match="frozen"):
        del secret._value
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(secret)
    assert copy.deepcopy([secret])[0] is secret


def test_secrets_are_equal_by_digest() -> None:
    assert Secret.literal("a", PEPPER) == HashedSecret.literal("a", PEPPER)
    assert Secret.literal("a", PEPPER) != Secret.literal("b", PEPPER)
    assert len({Secret.literal("a", PEPPER), Secret.literal("a", PEPPER)}) == 1
    assert Secret.literal("a") != "a"


def test_a_hashed_secret_never_travels(origins: Origins) -> None:
    resolution = Resolution(origins)
    secret = resolution.secret(HashedSecret, "value")

    assert resolution.traveling == {}
    built = Stored({secret.digest: "value"}).secret(HashedSecret, secret.stored())
    with pytest.raises(NexusError, match="did not travel"):
        built.reveal()


def test_a_stored_secret_needs_the_value_that_traveled() -> None:
    secret = Secret.literal("value", PEPPER)

    assert Stored({secret.digest: "value"}).secret(Secret, secret.stored()).reveal() == "value"
    with pytest.raises(SecretMistakeError, match="did not travel"):
        Stored({}).secret(Secret, secret.stored())


@pytest.mark.parametrize("written", ["text", {"digest": "x"}, {"digest": 1, "ref": None}, {"digest": "x", "ref": 1}])
def test_only_the_stored_form_is_taken_as_stored(written: object) -> None:
    with pytest.raises(SecretMistakeError, match="expected a stored secret"):
        Stored({}).secret(Secret, written)


def test_a_hashed_secret_is_never_resolved_again(origins: Origins) -> None:
    reissue = Reissue(origins, {})

    again = reissue.secret(HashedSecret, {"ref": "env:NOT_SET", "digest": "d"})

    assert (again.digest, reissue.traveling, reissue.environment) == ("d", {}, {"NOT_SET"})


def test_a_model_can_be_made_in_a_test_without_any_directory() -> None:
    class Source(BaseModel):
        key: Secret

    assert Source(key="value").key.reveal() == "value"  # type: ignore[arg-type]
    assert Source(key=Secret.literal("value")).key == Secret.literal("value")
    assert "value" not in repr(Source(key="value"))  # type: ignore[arg-type]
    assert Source.model_json_schema()["properties"]["key"]["type"] == "string"


def test_values_that_were_seen_are_taken_out_of_a_text(origins: Origins) -> None:
    resolution = Resolution(origins)
    resolution.secret(Secret, "env:KEY")

    assert resolution.redacted("bad: from-env!") == "bad: <secret>!"
