"""Cutting lists and bytes into frames of a bounded size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

from p2pshare.model import Extent, FileEnd, HeldBlocks, OfferedFile, Piece
from p2pshare.protocol.codec import encoded_size
from p2pshare.protocol.frames import Ranges
from p2pshare.protocol.schema import DIGEST_SIZE

FRAME_OVERHEAD: Final = 64
"""Bytes that a frame's own keys take at most, its lists' entries excepted."""
EXTENT_OVERHEAD: Final = 20
FILE_END_SIZE: Final = 49
_RANGE_SIZE: Final = 11
_HELD_OVERHEAD: Final = 24
_ENTRIES: Final = 4000

_T = TypeVar("_T")


def max_extent(max_frame: int) -> int:
    """Bytes of the largest extent that fits a frame by itself."""
    return max_frame - FRAME_OVERHEAD - EXTENT_OVERHEAD


def _pages(entries: Iterable[_T], size_of: Callable[[_T], int], budget: int) -> Iterator[tuple[_T, ...]]:
    page: list[_T] = []
    used = 0
    for entry in entries:
        size = size_of(entry)
        if page and (used + size > budget or len(page) >= _ENTRIES):
            yield tuple(page)
            page, used = [], 0
        page.append(entry)
        used += size
    if page:
        yield tuple(page)


def file_pages(
    files: Sequence[OfferedFile], max_frame: int, first_overhead: int
) -> Iterator[tuple[OfferedFile, ...]]:
    """Offered files in pages; ``first_overhead`` is what else the first page must hold, in bytes."""
    return _pages(files, encoded_size, max_frame - FRAME_OVERHEAD - first_overhead)


def range_pages(ranges: Ranges, max_frame: int) -> Iterator[Ranges]:
    """Ranges of file indexes, in pages."""
    return _pages(ranges, lambda _: _RANGE_SIZE, max_frame - FRAME_OVERHEAD)


def want_pages(
    files: Ranges, held: Sequence[HeldBlocks], max_frame: int
) -> Iterator[tuple[Ranges, tuple[HeldBlocks, ...], bool]]:
    """What an ACCEPT wants and holds, in pages of (files, held, whether more follow); at least one."""
    budget = max_frame - 2 * FRAME_OVERHEAD
    pages: Iterator[tuple[Ranges, tuple[HeldBlocks, ...]]] = _chain(
        ((page, ()) for page in _pages(files, lambda _: _RANGE_SIZE, budget)),
        (
            ((), page)
            for page in _pages(
                _cut_held(held, (budget - _HELD_OVERHEAD) // DIGEST_SIZE),
                lambda blocks: _HELD_OVERHEAD + DIGEST_SIZE * len(blocks.digests),
                budget,
            )
        ),
    )
    page = next(pages)
    for following in pages:
        yield (*page, True)
        page = following
    yield (*page, False)


def _chain(
    first: Iterator[tuple[Ranges, tuple[HeldBlocks, ...]]],
    second: Iterator[tuple[Ranges, tuple[HeldBlocks, ...]]],
) -> Iterator[tuple[Ranges, tuple[HeldBlocks, ...]]]:
    yield from first
    yield from second


def _cut_held(held: Sequence[HeldBlocks], most: int) -> Iterator[HeldBlocks]:
    for blocks in held:
        for at in range(0, len(blocks.digests), most):
            yield HeldBlocks(blocks.index, blocks.first_block + at, blocks.digests[at : at + most])


def end_pages(ends: Sequence[FileEnd], max_frame: int) -> Iterator[tuple[FileEnd, ...]]:
    """Digests for HAVE, in pages."""
    return _pages(ends, lambda _: FILE_END_SIZE, max_frame - FRAME_OVERHEAD)


def take_frame(pieces: deque[Piece], budget: int) -> tuple[list[Extent], list[FileEnd]]:
    """Take from the left what fits one frame of ``budget`` bytes; both empty when not even one piece does."""
    extents: list[Extent] = []
    ends: list[FileEnd] = []
    left = budget - FRAME_OVERHEAD
    while pieces and len(extents) + len(ends) < _ENTRIES:
        piece = pieces[0]
        size = EXTENT_OVERHEAD + len(piece.payload) if isinstance(piece, Extent) else FILE_END_SIZE
        if size > left:
            break
        pieces.popleft()
        left -= size
        if isinstance(piece, Extent):
            extents.append(piece)
        else:
            ends.append(piece)
    return extents, ends


def joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces, those that follow each other in a file as one.

    A peer may cut bytes as small as it likes: each piece costs 200 bytes of memory, 4,096 of them 25 KB of
    credit.
    """
    run: list[Extent] = []
    end = 0
    for piece in pieces:
        if isinstance(piece, FileEnd):
            if run:
                yield _one_of(run)
                run = []
            yield piece
            continue
        if run and (piece.index != run[0].index or piece.offset != end):
            yield _one_of(run)
            run = []
        run.append(piece)
        end = piece.offset + len(piece.payload)
    if run:
        yield _one_of(run)


def _one_of(run: list[Extent]) -> Extent:
    if len(run) == 1:
        return run[0]
    return Extent(run[0].index, run[0].offset, b"".join([extent.payload for extent in run]))


def in_order(extents: Sequence[Extent], ends: Sequence[FileEnd]) -> Iterator[Piece]:
    """The pieces of a FINISH as they were before they shared a frame.

    Files go one after the other: before a file's end stand its own bytes, if this frame has any, and what
    is left after the last end is of the one file that is not finished.
    """
    at = 0
    for end in ends:
        while at < len(extents) and extents[at].index == end.index:
            yield extents[at]
            at += 1
        yield end
    yield from extents[at:]
