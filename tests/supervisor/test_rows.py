"""The counters as the supervisor holds them: what a process has counted, and nothing of the one before."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from nexus_supervisor.core.cells import Totals
from nexus_supervisor.core.latency import BUCKETS, bucket
from nexus_supervisor.core.readings import Reading
from nexus_supervisor.supervisor.rows import Rows

FIRST, SECOND = ("w-0", 1), ("w-0", 2)


def write(rows: Rows, column: int, words: dict[int, int]) -> None:
    """Write what a worker would have counted, into its block."""
    for word, value in words.items():
        os.pwrite(rows.descriptor, value.to_bytes(8, "little"), 8 * (rows.layout.block(column) + word))


def test_a_reading_is_what_the_process_wrote() -> None:
    with closing(Rows(64, 4)) as rows:
        column = rows.column(FIRST)
        write(rows, column, {0: 9, 3: 2_500, 8: 7, 9: 1, 8 + 4 + bucket(0.25): 3})

        reading = rows.reading(FIRST)

        assert (reading.version, reading.requests, reading.errors, reading.total) == (7, 3, 1, 9)
        assert reading.beat == pytest.approx(2.5)
        assert rows.totals(FIRST) == Totals(9, 0, 0)


def test_a_new_process_begins_with_an_empty_column() -> None:
    with closing(Rows(64, 4)) as rows:
        column = rows.column(FIRST)
        write(rows, column, dict.fromkeys(range(120), 5))
        rows.leave(FIRST)

        assert rows.column(SECOND) == column
        assert rows.totals(SECOND) == Totals(0, 0, 0)
        assert rows.reading(SECOND) == Reading(latencies=(0,) * BUCKETS)


def test_a_new_process_leaves_the_columns_of_others_and_what_entries_counted() -> None:
    with closing(Rows(64, 4)) as rows:
        column = rows.column(FIRST)
        write(rows, column, {0: 9})
        cell = rows.layout.cell(3, column + 1)
        os.pwrite(rows.descriptor, (77).to_bytes(8, "little"), 8 * cell)
        rows.column(SECOND)

        assert rows.totals(FIRST).requests == 9
        assert os.pread(rows.descriptor, 8, 8 * cell) == (77).to_bytes(8, "little")


def test_a_process_that_is_gone_has_counted_nothing() -> None:
    with closing(Rows(64, 4)) as rows:
        assert rows.totals(FIRST) == Totals(0, 0, 0)
        assert rows.reading(FIRST) == Reading()
