from __future__ import annotations

import gc
import os
import pickle
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from nexus_supervisor.core import sshsig
from nexus_supervisor.errors import ConflictError, DirectoryError, KeyFileError
from nexus_supervisor.supervisor import keys

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE = "keys/signing.key"
PEM, OPENSSH = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    keys.generate(tmp_path)
    return tmp_path


def put(made: Path, raw: bytes) -> None:
    (made / KEY_FILE).write_bytes(raw)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_generated_keys_sign_what_the_allowed_signers_accept(made: Path) -> None:
    loaded = keys.load(made, KEY_FILE)
    armored = sshsig.armor(loaded.public_key, loaded.sign(sshsig.sign_blob("x", b"m")), "x")
    sshsig.verify(loaded.public_key, "x", b"m", armored)
    assert keys.read_allowed_signers(made / "keys/allowed_signers") == (loaded.public_key,)
    assert (made / "keys/signing.pub").read_text().startswith(sshsig.public_key_line(loaded.public_key).strip())
    assert loaded.key_id == sshsig.fingerprint(loaded.public_key)


def test_generated_files_are_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys.generate(tmp_path)
    finally:
        os.umask(before)
    assert mode(tmp_path / "keys") == 0o700
    assert mode(tmp_path / KEY_FILE) == mode(tmp_path / "keys/pepper") == 0o600
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == [
        "allowed_signers",
        "pepper",
        "signing.key",
        "signing.pub",
    ]


@pytest.mark.parametrize("name", ["signing.key", "signing.pub", "allowed_signers", "pepper"])
def test_an_existing_file_is_never_overwritten_and_nothing_is_left_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / name).write_text("mine")
    with pytest.raises(ConflictError, match=name):
        keys.generate(tmp_path)
    assert [path.name for path in (tmp_path / "keys").iterdir()] == [name]
    assert (tmp_path / "keys" / name).read_text() == "mine"


def test_other_files_in_the_key_directory_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/demo.key").write_text("nxs_demo")
    keys.generate(tmp_path)
    assert (tmp_path / "keys/demo.key").read_text() == "nxs_demo"


def test_keys_are_not_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "keys").symlink_to("elsewhere")
    with pytest.raises(DirectoryError, match="real directory"):
        keys.generate(tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_an_absolute_key_file_is_taken_as_it_is(made: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "nexus"
    shutil.copy(made / KEY_FILE, elsewhere)
    assert keys.load(made, str(elsewhere)).key_id == keys.load(made, KEY_FILE).key_id


@pytest.mark.parametrize("bit", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001])
def test_any_bit_for_others_is_refused_with_the_fix(made: Path, bit: int) -> None:
    for name in ("signing.key", "pepper"):
        (made / "keys" / name).chmod(0o600 | bit)
    with pytest.raises(KeyFileError, match=r"chmod 600 .*signing\.key"):
        keys.load(made, KEY_FILE)
    with pytest.raises(KeyFileError, match=r"chmod 600 .*pepper"):
        keys.load_pepper(made)


def test_a_link_is_refused_even_to_a_good_key(made: Path) -> None:
    (made / KEY_FILE).rename(made / "keys/real.key")
    (made / KEY_FILE).symlink_to("real.key")
    with pytest.raises(KeyFileError, match="symbolic link"):
        keys.load(made, KEY_FILE)


def test_a_missing_key_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="keygen"):
        keys.load(tmp_path, KEY_FILE)
    with pytest.raises(KeyFileError, match="pepper is missing"):
        keys.load_pepper(tmp_path)


@needs_root
def test_the_key_of_another_user_is_refused(made: Path) -> None:
    os.chown(made / KEY_FILE, 65534, 65534)
    with pytest.raises(KeyFileError, match="belongs to user 65534"):
        keys.load(made, KEY_FILE)


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_what_is_no_regular_file_is_refused_at_once(made: Path, kind: str) -> None:
    (made / KEY_FILE).unlink()
    if kind == "fifo":
        os.mkfifo(made / KEY_FILE, 0o600)
    else:
        (made / KEY_FILE).mkdir(mode=0o700)
    with pytest.raises(KeyFileError, match="not a regular file"):
        keys.load(made, KEY_FILE)


def test_an_empty_or_huge_key_file_is_refused(made: Path) -> None:
    put(made, b"")
    with pytest.raises(KeyFileError, match="0 bytes"):
        keys.load(made, KEY_FILE)
    os.truncate(made / KEY_FILE, 1 << 30)
    with pytest.raises(KeyFileError, match="at most"):
        keys.load(made, KEY_FILE)


@pytest.mark.parametrize("change", ["trailing", "leading", "two", "crlf", "cut", "flip", "text"])
def test_anything_but_one_key_is_refused(made: Path, change: str) -> None:
    raw = (made / KEY_FILE).read_bytes()
    changed = {
        "trailing": raw + b"more",
        "leading": b"more\n" + raw,
        "two": raw + raw,
        "crlf": raw.replace(b"\n", b"\r\n"),
        "cut": raw[: len(raw) // 2],
        "flip": raw.replace(raw[60:70], b"AAAAAAAAAA"),
        "text": b"hello",
    }
    put(made, changed[change])
    with pytest.raises(KeyFileError) as caught:
        keys.load(made, KEY_FILE)
    assert "signing.key" in str(caught.value)


@needs_ssh_keygen
def test_a_passphrase_is_refused_by_that_name(made: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", made / KEY_FILE], check=True)
    with pytest.raises(KeyFileError, match="passphrase"):
        keys.load(made, KEY_FILE)


def test_another_kind_of_key_is_refused(made: Path) -> None:
    put(made, generate_private_key(65537, 2048).private_bytes(PEM, OPENSSH, serialization.NoEncryption()))
    with pytest.raises(KeyFileError, match="no Ed25519 key"):
        keys.load(made, KEY_FILE)


def test_the_all_zero_key_is_refused(made: Path) -> None:
    zero = Ed25519PrivateKey.from_private_bytes(bytes(32))
    put(made, zero.private_bytes(PEM, OPENSSH, serialization.NoEncryption()))
    with pytest.raises(KeyFileError, match="all zero"):
        keys.load(made, KEY_FILE)


@pytest.mark.parametrize("raw", [bytes(32), b"x" * 31, b"x" * 33])
def test_a_pepper_of_zeros_or_another_length_is_refused(made: Path, raw: bytes) -> None:
    assert len(keys.load_pepper(made)) == keys.PEPPER_BYTES
    (made / "keys/pepper").write_bytes(raw)
    with pytest.raises(KeyFileError, match="no pepper"):
        keys.load_pepper(made)


def test_neither_repr_nor_pickle_nor_an_error_shows_the_private_key(made: Path) -> None:
    raw = (made / KEY_FILE).read_bytes()
    loaded = keys.load(made, KEY_FILE)
    assert repr(loaded) == f"<keys {loaded.key_id}>"
    with pytest.raises(TypeError):
        pickle.dumps(loaded)
    put(made, raw + b"x")
    with pytest.raises(KeyFileError) as caught:
        keys.load(made, KEY_FILE)
    assert raw.splitlines()[2].decode() not in str(caught.value)


def test_the_bytes_of_the_key_file_are_wiped_from_our_buffer(made: Path) -> None:
    raw = (made / KEY_FILE).read_bytes()
    loaded = keys.load(made, KEY_FILE)
    buffers = [one for one in gc.get_objects() if isinstance(one, bytearray)]
    assert all(raw not in one for one in buffers)
    assert loaded.public_key


@needs_ssh_keygen
def test_ssh_keygen_reads_our_key_and_we_read_its(made: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    shown = subprocess.run(["ssh-keygen", "-y", "-f", made / KEY_FILE], check=True, capture_output=True, text=True)
    assert shown.stdout.split()[:2] == (made / "keys/signing.pub").read_text().split()[:2]
    other = tmp_path_factory.mktemp("theirs") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    assert keys.load(made, str(other)).key_id.startswith("SHA256:")


@pytest.mark.parametrize(("text", "what"), [("", "allows nobody"), ("supervisor\n", "line 1"), ("\xff", "not text")])
def test_allowed_signers_that_allow_nobody_are_an_error_with_the_name_of_the_file(
    tmp_path: Path, text: str, what: str
) -> None:
    path = tmp_path / "signers"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(KeyFileError, match=what) as caught:
        keys.read_allowed_signers(path)
    assert str(path) in str(caught.value)
