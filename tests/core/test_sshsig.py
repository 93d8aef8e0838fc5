from __future__ import annotations

import base64
import subprocess
from shutil import which
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nexus_supervisor.core import sshsig
from nexus_supervisor.errors import DamageError, KeyFileError

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
MESSAGE = b'{"format":1}'
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P

needs_ssh_keygen = pytest.mark.skipif(which("ssh-keygen") is None, reason="ssh-keygen is not installed")


def sign(message: bytes = MESSAGE, namespace: str = sshsig.NAMESPACE, private: Ed25519PrivateKey = PRIVATE) -> bytes:
    public = private.public_key().public_bytes_raw()
    return sshsig.armor(public, private.sign(sshsig.sign_blob(namespace, message)), namespace)


def verify(armored: bytes, message: bytes = MESSAGE) -> None:
    sshsig.verify(PUBLIC, sshsig.NAMESPACE, message, armored)


def test_a_signature_of_the_key_over_the_bytes_is_accepted() -> None:
    verify(sign())


def test_every_flipped_bit_of_a_signature_is_refused() -> None:
    armored = sign()
    for position in range(len(armored) * 8):
        flipped = bytearray(armored)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(DamageError):
            verify(bytes(flipped))


def test_a_signature_cut_anywhere_or_with_anything_after_it_is_refused() -> None:
    armored = sign()
    for end in range(len(armored)):
        with pytest.raises(DamageError):
            verify(armored[:end])
    for more in (b"\n", b" ", armored, b"\0"):
        with pytest.raises(DamageError):
            verify(armored + more)


@pytest.mark.parametrize("width", [64, 76, 1000])
def test_another_spelling_of_the_same_signature_is_refused(width: int) -> None:
    begin, *lines, end = sign().splitlines(keepends=True)
    text = b"".join(lines).replace(b"\n", b"")
    wrapped = [text[start : start + width] + b"\n" for start in range(0, len(text), width)]
    with pytest.raises(DamageError, match="spelling"):
        verify(begin + b"".join(wrapped) + end)


def test_a_signature_of_another_key_is_refused_by_that_name() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
    with pytest.raises(DamageError, match="of another key"):
        verify(sign(private=other))


def test_a_signature_for_another_purpose_is_refused() -> None:
    with pytest.raises(DamageError, match="another purpose"):
        verify(sign(namespace="file"))


def test_a_signature_over_other_bytes_is_refused() -> None:
    with pytest.raises(DamageError, match="does not belong to these bytes") as caught:
        verify(sign(), MESSAGE + b" ")
    assert caught.value.reason == "signature_mismatch"


@pytest.mark.parametrize("armored", [b"", b"no armor", b"-----BEGIN SSH SIGNATURE-----\n", b"x" * 100_000])
def test_what_is_no_armor_is_refused(armored: bytes) -> None:
    with pytest.raises(DamageError, match="not an armored SSH signature"):
        verify(armored)


def add(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
    """Add two points of the Edwards curve (RFC 8032, 5.1.4), the slow way."""
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2 % P
    x3 = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    return x3 % P, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


def point(y: int) -> tuple[int, int]:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return x, y


def test_all_points_whose_order_divides_eight_are_refused_with_either_sign() -> None:
    # given a point of order 8, which gives all eight by addition
    generator = point(sshsig._ORDER_8_Y)
    torsion = [(0, 1)]
    while (following := add(torsion[-1], generator)) != (0, 1):
        torsion.append(following)
    assert len(torsion) == 8
    # then none of them is accepted as a key
    for _, y in torsion:
        for sign_bit in (0, 1 << 255):
            with pytest.raises(KeyFileError, match="small order"):
                sshsig.check_public_key((y | sign_bit).to_bytes(32, "little"))


def test_a_key_for_which_libraries_accept_forgeries_is_refused() -> None:
    # given the identity as key: S = 0 and R = identity is then a "signature" of everything
    identity = (1).to_bytes(32, "little")
    forged = sshsig.armor(identity, identity + bytes(32), sshsig.NAMESPACE)
    sshsig.verify(identity, sshsig.NAMESPACE, b"anything", forged)
    # then it can't become a key
    with pytest.raises(KeyFileError):
        sshsig.check_public_key(identity)


@pytest.mark.parametrize("y", [P, P + 1, P + 18, 2**255 - 1])
def test_a_key_that_is_not_in_canonical_form_is_refused(y: int) -> None:
    for sign_bit in (0, 1 << 255):
        with pytest.raises(KeyFileError, match="canonical"):
            sshsig.check_public_key((y | sign_bit).to_bytes(32, "little"))


def test_a_key_that_is_no_point_of_the_curve_is_refused() -> None:
    with pytest.raises(KeyFileError, match="not a point"):
        sshsig.check_public_key((2).to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(KeyFileError, match=f"found {length}"):
        sshsig.check_public_key(b"\x05" * length)


def test_all_zero_is_no_key_and_a_generated_key_is() -> None:
    with pytest.raises(KeyFileError):
        sshsig.check_public_key(bytes(32))
    for _ in range(50):
        sshsig.check_public_key(Ed25519PrivateKey.generate().public_key().public_bytes_raw())


def test_allowed_signers_are_read_back_and_others_passed_over() -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    text = (
        "# who may sign\n\n"
        + sshsig.allowed_signers_line(PUBLIC)
        + f"alice {sshsig.public_key_line(other)}"
        + f'supervisor namespaces="file" {sshsig.public_key_line(other)}'
        + "supervisor ssh-rsa AAAA\n"
        + f"alice,supervisor {sshsig.public_key_line(other, 'a comment')}"
    )
    assert sshsig.parse_allowed_signers(text) == (PUBLIC, other)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("supervisor", "no allowed signer"),
        ("supervisor cert-authority ssh-ed25519 AAAA", "options"),
        ("supervisor ssh-ed25519 !!!", "no ssh-ed25519 key"),
        ("supervisor ssh-ed25519 " + base64.b64encode(b"\0" * 51).decode(), "no ssh-ed25519 key"),
        ("supervisor " + sshsig.public_key_line(bytes(32)), "small order"),
    ],
)
def test_an_allowed_signer_that_cannot_be_used_is_an_error(line: str, text: str) -> None:
    with pytest.raises(KeyFileError, match=text):
        sshsig.parse_allowed_signers(line)


@needs_ssh_keygen
def test_ssh_keygen_accepts_our_signature(tmp_path: Path) -> None:
    (tmp_path / "signers").write_text(sshsig.allowed_signers_line(PUBLIC))
    (tmp_path / "m.sig").write_bytes(sign())
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", sshsig.PRINCIPAL]
    command += ["-n", sshsig.NAMESPACE, "-s", str(tmp_path / "m.sig")]
    assert subprocess.run(command, input=MESSAGE, check=False, capture_output=True).returncode == 0
    assert subprocess.run(command, input=MESSAGE + b"x", check=False, capture_output=True).returncode != 0


@needs_ssh_keygen
def test_we_accept_the_signature_of_ssh_keygen_and_name_keys_alike(tmp_path: Path) -> None:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_bytes(PRIVATE.private_bytes(encoding, form, serialization.NoEncryption()))
    (tmp_path / "key.pub").write_text(sshsig.public_key_line(PUBLIC))
    command = ["ssh-keygen", "-Y", "sign", "-f", str(key), "-n", sshsig.NAMESPACE]
    signed = subprocess.run(command, input=MESSAGE, check=True, capture_output=True)
    verify(signed.stdout)
    listed = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], check=True, capture_output=True, text=True)
    assert sshsig.fingerprint(PUBLIC) in listed.stdout.split()
