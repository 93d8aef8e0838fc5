"""How a process ended, in words: by its exit code, its signal, and what the kernel counts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from nexus_supervisor.agent.drain import OVERDUE_STATUS
from nexus_supervisor.supervisor.exits import MEANINGS, OomKills, in_words

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (75, "exit code 75 (it was not done when its drain timeout was over)"),
        (-signal.SIGSEGV, "killed by SIGSEGV (segmentation fault)"),
        (-signal.SIGABRT, "killed by SIGABRT (abort)"),
        (-signal.SIGUSR1, "killed by SIGUSR1"),
        (-signal.SIGKILL, "killed by SIGKILL, which the supervisor did not send: maybe out of memory"),
        (-40, "killed by signal 40"),
    ],
)
def test_an_end_is_told_by_its_exit_code_or_the_name_of_its_signal(code: int, words: str) -> None:
    assert in_words(code) == words


def test_a_signal_that_the_supervisor_sent_is_told_as_that() -> None:
    assert in_words(-signal.SIGKILL, sent={signal.SIGKILL}) == "killed by SIGKILL, which the supervisor sent"
    assert "did not send" in in_words(-signal.SIGKILL, sent={signal.SIGTERM})


def test_a_kill_is_put_down_to_a_lack_of_memory_only_where_the_kernel_counted_one() -> None:
    told = in_words(-signal.SIGKILL, out_of_memory="its control group")
    assert told == "killed by SIGKILL: the kernel ended a process of its control group for lack of memory"
    assert in_words(-signal.SIGSEGV, out_of_memory="its control group") == "killed by SIGSEGV (segmentation fault)"


def test_the_exit_code_of_an_overdue_worker_is_explained() -> None:
    assert OVERDUE_STATUS in MEANINGS


class Kernel:
    """Files as the kernel shows them."""

    def __init__(self, folder: Path, groups: str) -> None:
        self.groups, self.hierarchy, self.machine = folder / "cgroup", folder / "fs", folder / "vmstat"
        self.groups.write_text(groups)
        self.machine.write_text("nr_free_pages 1\noom_kill 7\n")

    def counts(self, path: str, text: str) -> None:
        file = self.hierarchy / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def kills(self) -> OomKills:
        return OomKills(groups=self.groups, hierarchy=self.hierarchy, machine=self.machine)


def test_each_kill_that_the_control_group_counts_explains_one_death(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "0::/system.slice/shop.service\n")
    kernel.counts("system.slice/shop.service/memory.events", "low 0\noom 1\noom_kill 1\n")
    kills = kernel.kills()

    before = kills.take()
    kernel.counts("system.slice/shop.service/memory.events", "low 0\noom 3\noom_kill 3\n")
    kernel.machine.write_text("oom_kill 70\n")

    assert before == ""
    assert [kills.take() for _ in range(3)] == ["its control group", "its control group", ""]


def test_the_memory_group_of_the_older_kind_counts_too(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "9:name=systemd:/\n4:memory:/shop\n0::/\n")
    kernel.counts("memory/shop/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    kills = kernel.kills()

    kernel.counts("memory/shop/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")

    assert kills.take() == "its control group"


@pytest.mark.parametrize("groups", ["0::/\n", "", "4:memory:/gone\n"])
def test_without_a_count_of_the_group_that_of_the_machine_is_looked_at(tmp_path: Path, groups: str) -> None:
    kernel = Kernel(tmp_path, groups)
    kills = kernel.kills()

    before = kills.take()
    kernel.machine.write_text("oom_kill 8\n")

    assert (before, kills.take(), kills.take()) == ("", "the machine", "")


def test_where_the_kernel_counts_nothing_nothing_is_claimed(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "")
    kernel.groups.unlink()
    kernel.machine.unlink()

    assert kernel.kills().take() == ""
