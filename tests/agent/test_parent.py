"""A real worker process, driven over its socket as the supervisor drives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nexus_supervisor.core import delta
from nexus_supervisor.core.content import EMPTY, Content, Version
from nexus_supervisor.core.messages import (
    FROM_WORKER,
    TO_WORKER,
    Active,
    Booted,
    Discard,
    Drain,
    Drained,
    Ready,
    Rejected,
    Retired,
    Stage,
    Staged,
    Start,
)
from nexus_supervisor.wire import Wire, sealed
from tests.support.workers import Signer, Site, Worker, a_content, a_secret, a_table

ONE = a_content({"nut": {"price": 1}})
TWO = a_content({"nut": {"price": 2}, "bolt": {"price": 3}})
THREE = a_content({"bolt": {"price": 3}})


def open_files(worker: Worker) -> list[str]:
    folder = Path(f"/proc/{worker.process.pid}/fd")
    return sorted(str(one.readlink()) for one in folder.iterdir())


def reason(verdict: Staged | Rejected | Active) -> str | None:
    return verdict.reason if isinstance(verdict, Rejected) else None


def test_a_fresh_worker_boots_stages_activates_serves_and_drains(site: Site) -> None:
    with Worker(site) as worker:
        worker.receive(Booted)

        staged = worker.stage(ONE, 1)
        active = worker.activate(1)
        worker.receive(Ready)
        worker.drain()

        assert staged == Staged("shop-0", 1, 1, Version(1), ONE.digest)
        assert active == Active("shop-0", 1, 2, Version(1), ONE.digest)
        assert worker.ended() == 0
        assert worker.messages[-1] == Drained("shop-0", 1)


def test_a_delta_against_what_runs_gives_the_content_that_was_signed(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)

        assert worker.stage(TWO, 2, ONE) == Staged("shop-0", 1, 3, Version(2), TWO.digest)
        worker.activate(2)
        assert worker.stage(THREE, 3, TWO) == Staged("shop-0", 1, 5, Version(3), THREE.digest)


def test_going_back_needs_no_payload(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        worker.go(TWO, 2, ONE)

        worker.go(ONE, 3, ONE, payload=None)
        worker.go(ONE, 4, ONE, payload=None)

        assert isinstance(worker.messages[-1], (Active, Retired))


def test_a_payload_against_unknown_content_is_refused_and_whole_content_is_taken_then(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)

        refused = worker.stage(THREE, 2, TWO)
        taken = worker.stage(THREE, 2)

        assert reason(refused) == "not_applicable"
        assert isinstance(taken, Staged)


def test_large_payloads_travel_beside_and_leave_no_descriptor(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        before = open_files(worker)
        content, version = ONE, 1
        for number in range(5):
            version += 1
            grown = a_content({f"nut-{one}": {"price": number} for one in range(2_000)})
            stated, signature = site.signer.state(grown, version)
            beside = sealed(delta.encode(grown.delta_from(content)), "payload")
            worker.push += 1
            offer = Stage(
                worker.push, Version(version), stated, signature, content.digest, None, True, False, None, False
            )

            assert isinstance(worker.offer(offer, (beside,)), Staged)
            assert isinstance(worker.activate(version), Active)
            content = grown

        worker.stage(content, version + 1, content, payload=None)
        assert open_files(worker) == before


def test_memory_that_could_still_change_is_refused(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        stated, signature = site.signer.state(TWO, 2)
        unsealed = os.memfd_create("payload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(unsealed, delta.encode(TWO.delta_from(ONE)))

        verdict = worker.offer(
            Stage(9, Version(2), stated, signature, ONE.digest, None, True, False, None, False), (unsealed,)
        )

        assert reason(verdict) == "not_applicable"
        assert "seals" in verdict.detail


def test_descriptors_that_were_not_announced_are_refused_and_closed(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        before = open_files(worker)
        stated, signature = site.signer.state(TWO, 2)
        stray = os.open("/dev/null", os.O_RDONLY)

        verdict = worker.offer(
            Stage(9, Version(2), stated, signature, ONE.digest, b"", False, False, None, False), (stray,)
        )

        assert reason(verdict) == "not_applicable"
        assert open_files(worker) == before


def test_every_older_version_is_refused_as_rolled_back(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        worker.go(TWO, 5, ONE)

        verdicts = [reason(worker.stage(ONE, version)) for version in range(1, 5)]

        assert verdicts == ["rolled_back"] * 4


def test_a_worker_that_starts_takes_its_floor_and_nothing_below(site: Site) -> None:
    with Worker(site, floor=7) as worker:
        worker.receive(Booted)

        below = worker.stage(ONE, 6)
        exactly = worker.stage(ONE, 7)

        assert reason(below) == "rolled_back"
        assert isinstance(exactly, Staged)


def test_an_absurd_number_is_refused(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)

        assert reason(worker.stage(TWO, 2**62, ONE)) == "fast_forward"
        assert isinstance(worker.stage(TWO, 2, ONE), Staged)


@pytest.mark.parametrize("live", [True, False])
def test_one_number_with_two_contents_is_an_alarm(site: Site, live: bool) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        worker.stage(TWO, 2, ONE)
        if live:
            worker.activate(2)

        verdict = worker.stage(THREE, 2)

        assert reason(verdict) == "equivocation"


def test_the_same_bytes_again_are_the_same_answer(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        first, again = worker.stage(TWO, 2, ONE), worker.stage(TWO, 2, ONE)
        active, still = worker.activate(2), worker.activate(2)
        late = worker.stage(TWO, 2, ONE)

        assert {type(one) for one in (first, again, late)} == {Staged}
        assert {type(one) for one in (active, still)} == {Active}
        assert first.digest == again.digest == late.digest == active.digest == still.digest == TWO.digest


def test_the_current_version_may_be_offered_again_after_another_one_was_discarded(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        worker.stage(TWO, 2, ONE)
        worker.wire.send(Discard(3, Version(2)))

        assert isinstance(worker.stage(ONE, 1, ONE, payload=None), Staged)
        assert isinstance(worker.activate(1), Active)
        assert reason(worker.activate(2)) == "not_applicable"


def test_what_is_not_staged_is_not_activated(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)

        refused = worker.activate(2)

        assert isinstance(refused, Rejected)
        assert refused.detail == "version 2 is not staged here"


def test_no_flipped_bit_of_manifest_or_signature_is_accepted(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        stated, signature = site.signer.state(TWO, 2)
        reasons = set()
        for raw, field in ((stated, "manifest"), (signature, "signature")):
            for bit in range(0, len(raw) * 8, 13):
                flipped = bytearray(raw)
                flipped[bit // 8] ^= 1 << bit % 8
                given: dict[str, Any] = {"manifest": stated, "signature": signature} | {field: bytes(flipped)}

                reasons.add(reason(worker.stage(TWO, 2, ONE, **given)))

        assert reasons == {"signature_mismatch"}
        assert isinstance(worker.stage(TWO, 2, ONE), Staged)


def test_no_flipped_bit_of_a_payload_is_accepted(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        payload = delta.encode(TWO.delta_from(ONE))
        for bit in range(0, len(payload) * 8, 5):
            flipped = bytearray(payload)
            flipped[bit // 8] ^= 1 << bit % 8

            verdict = worker.stage(TWO, 2, ONE, payload=bytes(flipped))

            assert reason(verdict) in {"digest_mismatch", "not_applicable"}, bit


def test_the_statement_of_another_key_daemon_or_version_is_refused(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        others, theirs = Signer().state(TWO, 2)
        elsewhere, ours = site.signer.state(TWO, 2, audience="other")
        third, signature = site.signer.state(TWO, 3)

        assert reason(worker.stage(TWO, 2, ONE, manifest=others, signature=theirs)) == "signature_mismatch"
        assert reason(worker.stage(TWO, 2, ONE, signature=b"")) == "sig_file_missing"
        assert reason(worker.stage(TWO, 2, ONE, manifest=elsewhere, signature=ours)) == "wrong_audience"
        assert reason(worker.stage(TWO, 2, ONE, manifest=third, signature=signature)) == "malformed"


def test_without_signatures_the_digests_and_the_version_rule_stay(site: Site) -> None:
    with Worker(site, public_key=None) as worker:
        worker.serve(ONE, signature=b"")

        assert reason(worker.stage(TWO, 2, ONE, signature=b"", payload=delta.encode(THREE.delta_from(ONE)))) == (
            "digest_mismatch"
        )
        assert reason(worker.stage(TWO, 1, ONE, signature=b"")) == "equivocation"
        assert isinstance(worker.stage(TWO, 2, ONE, signature=b""), Staged)


def test_what_a_model_refuses_is_rejected_by_name_and_without_its_value(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        broken = a_content({"nut": {"price": "hunter2"}})

        verdict = worker.stage(broken, 2, ONE)

        assert reason(verdict) == "model"
        assert "nut" in verdict.detail or "price" in verdict.detail
        assert "hunter2" not in verdict.detail


def test_a_section_that_the_settings_do_not_declare_is_rejected(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        stranger = Content({**ONE.sections, "strangers": ONE.sections["items"]})

        verdict = worker.stage(stranger, 2)

        assert reason(verdict) == "model"
        assert "'strangers'" in verdict.detail


def test_secret_values_arrive_beside_and_are_checked_against_what_was_signed(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        content = a_content({"nut": {"price": 1, "key": a_secret("opensesame")}})
        stated, signature = site.signer.state(content, 2)
        payload = delta.encode(content.delta_from(ONE))
        forged = sealed(b"\x81\xd9\x40" + b"0" * 64 + b"\xa1x", "secrets")

        def offer(push: int, table: int) -> Staged | Rejected:
            message = Stage(push, Version(2), stated, signature, ONE.digest, payload, False, True, None, False)
            return worker.offer(message, (table,))

        assert reason(offer(8, forged)) == "digest_mismatch"
        assert isinstance(offer(9, a_table("opensesame")), Staged)
        assert "opensesame" not in worker.log()


def test_a_version_is_retired_at_once_where_no_request_uses_it(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        worker.go(TWO, 2, ONE)

        while worker.receive(Retired).oldest != 2:
            pass


def test_the_death_of_the_supervisor_ends_the_worker(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)

        worker.wire.close()

        assert worker.process.wait() == 0


@pytest.mark.parametrize("said", [b"", b"\0\0\0\x02\0zz", b"\xff\xff\xff\xff\0"])
def test_what_can_not_be_understood_ends_the_worker(site: Site, said: bytes) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)

        if said:
            worker.wire.connection.sendall(said)
        else:
            worker.wire.connection.shutdown(2)

        assert worker.process.wait() == 0


def test_a_worker_without_a_first_version_ends_with_its_supervisor(site: Site) -> None:
    with Worker(site) as worker:
        worker.receive(Booted)

        worker.wire.close()

        assert worker.process.wait() == 0


def test_a_first_message_that_is_no_start_is_refused() -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-m", "nexus_supervisor.agent.boot", str(theirs.fileno())]
    with ours, theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE) as process:
        Wire(ours, FROM_WORKER, TO_WORKER).send(Drain(1.0))

        _, told = process.communicate()

    assert process.returncode == 1
    assert b"the first message must be Start" in told


def test_a_second_start_ends_the_worker(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        words = ("slot", "directory", "audience", "program", "app", "hooks", "log_level", "log_format")
        fields = dict.fromkeys(words, "")
        numbers = {"incarnation": 1, "slot_number": 0, "slots": 1, "floor": 0, "counter_rows": 1, "threads": 1}
        worker.wire.send(
            Start(
                **fields,
                **numbers,
                public_key=None,
                listeners=(),
                drain_timeout_seconds=1.0,
                max_snapshot_seconds=None,
                pepper=b"",
            )
        )

        assert worker.ended() == 0
        assert "second Start" in worker.log()


def test_a_worker_holds_its_socket_its_listener_and_nothing_else(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)

        held = open_files(worker)

        sockets = [one for one in held if one.startswith("socket:")]
        assert len(sockets) == 2
        assert [one for one in held if "memfd:" in one] == ["/memfd:counters (deleted)"]
        assert len(held) == 3 + len(sockets) + 1


def test_signals_for_the_group_are_ignored_and_a_termination_drains(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        for meant_for_the_group in (signal.SIGHUP, signal.SIGINT):
            worker.process.send_signal(meant_for_the_group)
        assert isinstance(worker.stage(TWO, 2, ONE), Staged)

        worker.process.terminate()

        assert worker.ended() == 0
        assert isinstance(worker.messages[-1], Drained)


def test_a_program_that_returns_ends_its_worker(site: Site) -> None:
    with Worker(site, program="shop:leave") as worker:
        worker.serve(ONE)

        assert worker.ended() == 0
        assert isinstance(worker.messages[-1], Drained)


def test_a_program_that_ignores_the_order_to_end_is_ended(site: Site) -> None:
    (site.directory / "stubborn.py").write_text(
        "import threading\n\ndef run(agent):\n    agent.ready()\n    threading.Event().wait()\n"
    )
    with Worker(site, program="stubborn:run") as worker:
        worker.serve(ONE)

        worker.drain(timeout_seconds=0.0)

        assert worker.ended() == 75


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("gatewau", "did you mean 'gateway'?"),
        ("shop:nothing", "no attribute 'nothing'"),
        ("nowhere:run", "no module 'nowhere'"),
        ("shop:PRICE", "no attribute"),
        (":run", "must be MODULE:ATTR"),
    ],
)
def test_a_program_that_is_not_there_is_explained(site: Site, program: str, said: str) -> None:
    with Worker(site, program=program) as worker:
        worker.receive(Booted)
        worker.go(ONE, 1)

        assert worker.ended() == 2
        assert said in worker.log()


def test_the_title_of_a_worker_names_slot_and_version(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(ONE)
        worker.go(TWO, 2, ONE)
        worker.stage(TWO, 3, TWO, payload=None)

        title = Path(f"/proc/{worker.process.pid}/cmdline").read_bytes().rstrip(b"\0")

        assert title == f"nexus: shop-0 [v2 {TWO.digest[:12]}]".encode()


def test_the_first_version_may_be_of_no_sections(site: Site) -> None:
    with Worker(site) as worker:
        worker.serve(EMPTY)
        worker.go(ONE, 2)
