from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from nexus_supervisor.core import canonical
from nexus_supervisor.core.trust import MAX_VERSION_STEP, NO_FLOOR, Distrust, Floor, Reason, Trust
from nexus_supervisor.errors import KeyFileError
from nexus_supervisor.supervisor.keys import Keys
from nexus_supervisor.supervisor.signing import Signer
from tests.support.versions import AUDIENCE, SIGNER, UNSIGNED, content, issue

if TYPE_CHECKING:
    from nexus_supervisor.supervisor.store import Stored

TRUST = SIGNER.trust


def judge(stored: Stored, floor: Floor = NO_FLOOR, trust: Trust = TRUST) -> Any:
    return trust.judge(stored.manifest_bytes, stored.signature, floor)


def refused(stored: Stored, floor: Floor = NO_FLOOR, trust: Trust = TRUST) -> Reason:
    with pytest.raises(Distrust) as caught:
        judge(stored, floor, trust)
    assert str(caught.value)
    return caught.value.reason


def test_a_signed_first_version_is_trusted() -> None:
    stored = issue(1, content(alpha=1))
    judgement = judge(stored)
    assert judgement.manifest == stored.manifest
    assert judgement.sha256 == hashlib.sha256(stored.manifest_bytes).hexdigest()
    assert not judgement.repeated


def test_a_greater_version_is_trusted_and_becomes_the_floor() -> None:
    first = judge(issue(4, content(alpha=1)))
    second = judge(issue(9, content(alpha=2)), first.floor)
    assert second.floor == Floor(9, second.sha256)


def test_the_very_same_bytes_are_a_repetition() -> None:
    stored = issue(4, content(alpha=1))
    assert judge(stored, judge(stored).floor).repeated


def test_every_earlier_version_is_refused_as_rolled_back() -> None:
    floor = judge(issue(9, content(alpha=2))).floor
    for version in range(1, 9):
        assert refused(issue(version, content(alpha=1)), floor) is Reason.rolled_back


def test_the_same_version_with_other_bytes_is_equivocation() -> None:
    floor = judge(issue(4, content(alpha=1))).floor
    assert refused(issue(4, content(alpha=2)), floor) is Reason.equivocation


def test_a_floor_of_which_only_the_number_is_known_accepts_that_version_once() -> None:
    judgement = judge(issue(4, content(alpha=1)), Floor(4, None))
    assert not judgement.repeated
    assert refused(issue(4, content(alpha=2)), judgement.floor) is Reason.equivocation


@pytest.mark.parametrize("floor", [0, 7])
def test_a_step_over_the_limit_is_refused_whatever_the_floor(floor: int) -> None:
    there = Floor(floor, None)
    judge(issue(floor + MAX_VERSION_STEP, content(alpha=1)), there)
    assert refused(issue(floor + MAX_VERSION_STEP + 1, content(alpha=1)), there) is Reason.fast_forward
    assert refused(issue(2**63 - 1, content(alpha=1)), there) is Reason.fast_forward


def test_a_manifest_for_somebody_else_is_refused() -> None:
    assert refused(issue(1, content(alpha=1)), trust=Trust("other", TRUST.public_key)) is Reason.wrong_audience


def test_a_manifest_of_another_epoch_is_refused() -> None:
    stored = issue(1, content(alpha=1))
    raw = stored.manifest_bytes.replace(b'"epoch":1', b'"epoch":2')
    with pytest.raises(Distrust) as caught:
        TRUST.judge(raw, SIGNER.sign(raw), NO_FLOOR)
    assert caught.value.reason is Reason.wrong_epoch


def test_a_missing_signature_is_refused_by_that_name() -> None:
    assert refused(issue(1, content(alpha=1), signer=UNSIGNED)) is Reason.sig_file_missing


def test_the_signature_of_another_key_is_refused() -> None:
    other = Signer(Keys(Ed25519PrivateKey.generate()), AUDIENCE)
    assert refused(issue(1, content(alpha=1), signer=other)) is Reason.signature_mismatch


def test_signed_bytes_that_are_no_manifest_are_malformed() -> None:
    raw = b'{"format":1}'
    with pytest.raises(Distrust) as caught:
        TRUST.judge(raw, SIGNER.sign(raw), NO_FLOOR)
    assert caught.value.reason is Reason.malformed


def test_no_flipped_bit_is_accepted_and_nothing_is_parsed_before_the_signature_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given a parser that counts
    parsed: list[int] = []
    decode = canonical.decode

    def counting(raw: bytes | memoryview) -> Any:
        parsed.append(len(raw))
        return decode(raw)

    monkeypatch.setattr(canonical, "decode", counting)
    stored = issue(1, content(alpha=1))
    # when every bit of the manifest, and every byte of the signature, is damaged once
    for position in range(len(stored.manifest_bytes) * 8):
        raw = bytearray(stored.manifest_bytes)
        raw[position // 8] ^= 1 << position % 8
        with pytest.raises(Distrust) as caught:
            TRUST.judge(bytes(raw), stored.signature, NO_FLOOR)
        assert caught.value.reason is Reason.signature_mismatch
    for position in range(len(stored.signature)):
        signature = bytearray(stored.signature)
        signature[position] ^= 1 << position % 8
        with pytest.raises(Distrust):
            TRUST.judge(stored.manifest_bytes, bytes(signature), NO_FLOOR)
    # then nothing was parsed, and the intact one still is
    assert parsed == []
    judge(stored)
    assert parsed == [len(stored.manifest_bytes)]


def test_a_manifest_cut_anywhere_or_with_a_byte_more_is_refused() -> None:
    stored = issue(1, content(alpha=1))
    for raw in (
        *(stored.manifest_bytes[:end] for end in range(len(stored.manifest_bytes))),
        stored.manifest_bytes + b" ",
    ):
        with pytest.raises(Distrust):
            TRUST.judge(raw, stored.signature, NO_FLOOR)


def test_with_signing_off_the_version_rule_stays() -> None:
    trust = UNSIGNED.trust
    floor = judge(issue(4, content(alpha=1), signer=UNSIGNED), trust=trust).floor
    assert refused(issue(3, content(alpha=1), signer=UNSIGNED), floor, trust) is Reason.rolled_back
    assert refused(issue(4, content(alpha=2), signer=UNSIGNED), floor, trust) is Reason.equivocation
    assert refused(issue(5, content(alpha=1)), floor, Trust("other", None)) is Reason.wrong_audience


def test_content_that_differs_from_what_was_stated_is_named_by_section() -> None:
    stored = issue(1, content(alpha=1))
    Trust.check_content(stored.manifest, content(alpha=1))
    with pytest.raises(Distrust, match="sources differ") as caught:
        Trust.check_content(stored.manifest, content(alpha=2))
    assert caught.value.reason is Reason.digest_mismatch
    with pytest.raises(Distrust, match="destinations, sources differ"):
        Trust.check_content(stored.manifest, type(stored.content)({}))


def test_a_weak_public_key_is_never_trusted() -> None:
    with pytest.raises(KeyFileError):
        Trust(AUDIENCE, bytes(32))


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 1)), max_size=12))
def test_what_one_reader_accepts_only_rises_and_one_number_has_one_content(offers: list[tuple[int, int]]) -> None:
    floor, accepted = NO_FLOOR, []
    for version, tier in offers:
        stored = issue(version, content(alpha=tier), signer=UNSIGNED)
        try:
            judgement = judge(stored, floor, UNSIGNED.trust)
        except Distrust:
            continue
        floor = judgement.floor
        if not judgement.repeated:
            accepted.append((version, tier))
    assert [version for version, _ in accepted] == sorted({version for version, _ in accepted})
