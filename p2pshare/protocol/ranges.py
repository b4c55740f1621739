"""File indexes as ranges, and what became of each file of a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum

from p2pshare.protocol.frames import Ranges


def to_ranges(indexes: Iterable[int]) -> Ranges:
    """Ascending indexes as (first, last) pairs, both inclusive."""
    ranges: list[tuple[int, int]] = []
    for index in indexes:
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1] = (ranges[-1][0], index)
        else:
            ranges.append((index, index))
    return tuple(ranges)


def indexes_of(ranges: Ranges) -> Iterator[int]:
    """The indexes in ranges, ascending."""
    for first, last in ranges:
        yield from range(first, last + 1)


class FileState(IntEnum):
    """What became of one file of a job."""

    UNWANTED = 0
    WANTED = 1
    STARTED = 2
    "Bytes of it have travelled."
    FINISHED = 3
    "All its bytes and its digest have travelled."
    CONFIRMED = 4
    FAILED = 5
    "Either side gave it up."


_WANTED = bytes([FileState.WANTED, *range(1, 256)])
"""What becomes of each state where a file is wanted."""


class JobFiles:
    """The state of every file of a job, a byte a file."""

    def __init__(self, count: int) -> None:
        self._states = bytearray(count)
        self.remaining = 0
        "Wanted files that are neither confirmed nor failed."
        self.confirmed = 0

    def __len__(self) -> int:
        return len(self._states)

    def __getitem__(self, index: int) -> FileState:
        return FileState(self._states[index])

    def want(self, first: int, last: int) -> None:
        """Add files to the job. Raises IndexError beyond the offer."""
        if first < 0 or last >= len(self._states):
            raise IndexError(last)
        span = self._states[first : last + 1]  # all at once: a short frame may name 100,000 files
        self.remaining += span.count(FileState.UNWANTED)
        self._states[first : last + 1] = span.translate(_WANTED)

    def put(self, index: int, state: FileState) -> None:
        """Move a wanted file on."""
        before = self._states[index]
        self._states[index] = state
        if FileState.UNWANTED < before < FileState.CONFIRMED <= state:
            self.remaining -= 1
            self.confirmed += state == FileState.CONFIRMED

    def wanted(self) -> list[int]:
        """The indexes of the job's files, ascending, but for those that were given up."""
        over = int(FileState.FAILED)
        return [index for index, state in enumerate(self._states) if 0 < state < over]
