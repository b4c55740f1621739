"""Long lists and small files in frames of a bounded size."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pshare.model import Extent, FileEnd, HeldBlocks, Piece
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import encode
from p2pshare.protocol.paging import (
    end_pages,
    in_order,
    max_extent,
    range_pages,
    take_frame,
    want_pages,
)

MOST = 2**32 - 1
BIG = 2**53 - 100_000
DIGEST = bytes([255] * 32)


@st.composite
def streams(draw: st.DrawFn) -> list[Piece]:
    """What a job stream may carry: one file after the other, the last one perhaps not finished."""
    pieces: list[Piece] = []
    indexes = draw(st.lists(st.integers(0, 50), unique=True, max_size=12))
    for index in indexes:
        sizes = draw(st.lists(st.integers(1, 300), max_size=4))
        pieces.extend(Extent(index, 1000 * at, bytes(size)) for at, size in enumerate(sizes))
        pieces.append(FileEnd(index, 5000, DIGEST))
    is_cut: bool = draw(st.booleans())
    if pieces and is_cut:
        pieces.pop()
    return pieces


@given(streams(), st.integers(450, 2000))
def test_pieces_that_shared_frames_come_out_in_the_order_they_went_in(
    pieces: list[Piece], budget: int
) -> None:
    queue = deque(pieces)
    arrived: list[Piece] = []
    while queue:
        extents, ends = take_frame(queue, budget)
        assert extents or ends
        frame = f.Finish(1, tuple(ends), tuple(extents)) if ends else f.Data(1, tuple(extents))
        assert len(encode(frame)) <= budget
        arrived.extend(in_order(extents, ends))
    assert arrived == pieces


def test_an_extent_as_large_as_may_be_fits_a_frame_by_itself() -> None:
    for max_frame in (16_384, 65_536, 262_144):
        extent = Extent(MOST, BIG, bytes(max_extent(max_frame)))
        queue: deque[Piece] = deque([extent])
        assert take_frame(queue, max_frame) == ([extent], [])
        assert len(encode(f.Data(MOST, (extent,)))) <= max_frame


def test_nothing_is_taken_where_not_even_one_piece_fits() -> None:
    queue: deque[Piece] = deque([Extent(0, 0, bytes(100))])
    assert take_frame(queue, 100) == ([], [])
    assert queue


def test_a_page_is_never_larger_than_a_frame() -> None:
    ranges = tuple((index, index) for index in range(MOST - 60_000, MOST, 2))
    held = [HeldBlocks(MOST, at, (DIGEST,) * 700) for at in range(2**32, 2**32 + 7000, 700)]
    for max_frame in (16_384, 65_536):
        first, *rest = want_pages(ranges, held, max_frame)
        accept = f.Accept(MOST, MOST, 65_534, first[0], BIG, BIG, first[1], first[2])
        assert len(encode(accept)) <= max_frame
        for files, blocks, more in rest:
            assert len(encode(f.RangesFrame(MOST, files, blocks, more))) <= max_frame
        assert [page[2] for page in (first, *rest)] == [True] * len(rest) + [False]
        assert sum((page[0] for page in (first, *rest)), ()) == ranges
        digests = [digest for page in (first, *rest) for blocks in page[1] for digest in blocks.digests]
        assert len(digests) == 7000
        for page in range_pages(ranges, max_frame):
            assert len(encode(f.Confirm(MOST, page))) <= max_frame
            assert len(encode(f.HaveQuery(MOST, MOST, page, True))) <= max_frame
        for ends in end_pages([FileEnd(MOST, BIG, DIGEST)] * 3000, max_frame):
            assert len(encode(f.Have(MOST, MOST, ends, True))) <= max_frame


def test_wanting_one_file_and_holding_nothing_is_one_page() -> None:
    assert list(want_pages(((0, 0),), [], 65_536)) == [(((0, 0),), (), False)]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.integers(0, 2**20))
def test_held_blocks_that_are_cut_keep_their_numbers(count: int, first: int) -> None:
    digests = tuple(index.to_bytes(32, "big") for index in range(count))
    pages = list(want_pages(((0, 0),), [HeldBlocks(0, first, digests)], 4096))
    numbered = {
        blocks.first_block + at: digest
        for _, held, _ in pages
        for blocks in held
        for at, digest in enumerate(blocks.digests)
    }
    assert numbered == {first + at: digest for at, digest in enumerate(digests)}
