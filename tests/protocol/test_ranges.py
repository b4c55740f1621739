"""File indexes as ranges, and the state of a job's files."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.protocol.ranges import FileState, JobFiles, indexes_of, to_ranges


@given(st.sets(st.integers(0, 500)))
def test_indexes_come_back_from_their_ranges(indexes: set[int]) -> None:
    ranges = to_ranges(sorted(indexes))
    assert list(indexes_of(ranges)) == sorted(indexes)
    assert all(second[0] > first[1] + 1 for first, second in pairwise(ranges))


def test_a_job_counts_what_remains() -> None:
    files = JobFiles(5)
    files.want(1, 3)
    files.want(2, 3)
    assert files.remaining == 3
    assert files.wanted() == [1, 2, 3]
    files.put(1, FileState.STARTED)
    files.put(1, FileState.FINISHED)
    assert files.remaining == 3
    files.put(1, FileState.CONFIRMED)
    files.put(2, FileState.FAILED)
    assert (files.remaining, files.confirmed) == (1, 1)
    assert files.wanted() == [1, 3]
    assert len(files) == 5


def test_a_file_given_up_before_it_was_wanted_stays_so() -> None:
    files = JobFiles(2)
    files.put(1, FileState.FAILED)
    files.want(0, 1)
    assert files.remaining == 1
    assert files[1] is FileState.FAILED


@pytest.mark.parametrize(("first", "last"), [(0, 2), (2, 2), (-1, 0)])
def test_there_are_no_files_beyond_the_offer(first: int, last: int) -> None:
    with pytest.raises(IndexError):
        JobFiles(2).want(first, last)
