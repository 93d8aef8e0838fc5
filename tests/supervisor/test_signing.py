from __future__ import annotations

import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.core.manifest import Parent
from nexus_supervisor.core.trust import NO_FLOOR
from nexus_supervisor.supervisor import keys
from nexus_supervisor.supervisor.signing import Signer
from tests.support.versions import AT, AUDIENCE, SIGNER, UNSIGNED, History, content, issue

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_issued_is_trusted_by_its_own_trust() -> None:
    stored = issue(3, content(alpha=1))
    judgement = SIGNER.trust.judge(stored.manifest_bytes, stored.signature, NO_FLOOR)
    assert judgement.manifest == stored.manifest
    assert stored.manifest.key_id == SIGNER.key_id


def test_a_version_names_its_parent_by_number_and_hash() -> None:
    first = issue(3, content(alpha=1))
    second = issue(4, content(alpha=2), first)
    assert first.manifest.parent is None
    assert second.manifest.parent == Parent(first.manifest.version, hashlib.sha256(first.manifest_bytes).hexdigest())


def test_a_rollback_states_the_old_content_under_a_new_number() -> None:
    first = issue(3, content(alpha=1))
    again = SIGNER.issue(first.content, version=5, parent=first, created_at=AT, rollback_of=3)
    assert (again.manifest.digest, again.manifest.rollback_of) == (first.manifest.digest, 3)


def test_the_same_statement_gets_the_same_bytes_and_the_same_signature() -> None:
    one, two = issue(3, content(alpha=1)), issue(3, content(alpha=1))
    assert (one.manifest_bytes, one.signature) == (two.manifest_bytes, two.signature)


def test_with_signing_off_signature_and_key_id_are_empty() -> None:
    stored = issue(3, content(alpha=1), signer=UNSIGNED)
    assert (stored.signature, stored.manifest.key_id, UNSIGNED.trust.public_key) == (b"", "", None)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_the_command_of_the_contract_verifies_a_version_on_disk_and_refuses_a_changed_one(tmp_path: Path) -> None:
    # given a directory whose generated key signed a version
    keys.generate(tmp_path)
    history = History(tmp_path, Signer(keys.load(tmp_path, "keys/signing.key"), AUDIENCE))
    history.commit(1, alpha=1)
    history.store.close()
    # then ssh-keygen accepts the bytes under the pointer, and only these
    command = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        "keys/allowed_signers",
        "-I",
        "supervisor",
        "-n",
        "nexus-manifest",
        "-s",
        "compiled/current/",
    ]
    command[-1] += "manifest.json.sig"
    raw = (tmp_path / "compiled/current/manifest.json").read_bytes()
    assert subprocess.run(command, cwd=tmp_path, input=raw, check=False, capture_output=True).returncode == 0
    changed = raw.replace(b'"version":1', b'"version":2')
    assert subprocess.run(command, cwd=tmp_path, input=changed, check=False, capture_output=True).returncode != 0
