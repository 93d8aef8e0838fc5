"""A daemon that is pushed to and restarted again and again under load: it holds afterwards what it held before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.endurance import endurance

if TYPE_CHECKING:
    from pathlib import Path

PUSHES = 100
RESTARTS = 10


def test_pushes_and_restarts_under_load_leave_no_descriptor_process_thread_zombie_or_file(tmp_path: Path) -> None:
    with endurance(tmp_path) as subject:
        subject.push()
        subject.restart()
        before = subject.held()
        with subject.load() as load:
            for _ in range(PUSHES):
                subject.push()
            for _ in range(RESTARTS):
                subject.restart()
        after = subject.held()
        assert after.counts() == before.counts()
        assert (after.zombies, after.files) == (0, ())
        assert load.asked > 0
        assert load.failed == 0
