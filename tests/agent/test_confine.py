"""Bounds that a process sets itself: in a process of its own each, since they hold for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

_TRY = """
import resource, sys
from nexus_supervisor.agent.confine import confine
confine(({limits}))
print([resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_DATA, resource.RLIMIT_NPROC)])
print(resource.getrlimit(resource.RLIMIT_CORE))
{more}
"""


def run(limits: str, more: str = "", before: str = "") -> list[str]:
    code = before + _TRY.format(limits=limits, more=more)
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()


def test_a_bound_is_soft_and_hard_so_that_nobody_raises_it_again() -> None:
    bounds, core = run("100, 1 << 30, 4000")

    assert bounds == f"[(100, 100), ({1 << 30}, {1 << 30}), (4000, 4000)]"
    assert core == "(0, 0)"


def test_zero_leaves_what_was_inherited() -> None:
    before = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 31, 1 << 32))\n"
    )
    bounds, _ = run("0, 0, 0", before=before)

    assert bounds.startswith(f"[(200, 300), ({1 << 31}, {1 << 32}), ")


def test_nothing_is_raised_above_the_hard_limit_that_was_inherited() -> None:
    bounds, _ = run("500, 0, 0", before="import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))\n")

    assert bounds.startswith("[(200, 200), ")


@pytest.mark.parametrize(
    ("limits", "attempt", "refusal"),
    [
        ("0, 300 << 20, 0", "bytearray(400 << 20)", "MemoryError"),
        ("20, 0, 0", "[open('/dev/null') for _ in range(20)]", "OSError"),
    ],
)
def test_a_process_over_its_bound_is_refused_and_lives(limits: str, attempt: str, refusal: str) -> None:
    more = f"try:\n    {attempt}\nexcept {refusal} as refused:\n    print(type(refused).__name__)"

    assert run(limits, more)[-1] == refusal
