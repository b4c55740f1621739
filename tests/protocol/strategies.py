"""Hypothesis strategies: any frame that the schema allows."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from p2pshare.model import BLOCK_SIZE, Extent, FileEnd, FileKind, HeldBlocks, OfferedFile
from p2pshare.protocol import frames as f
from p2pshare.protocol.schema import MAX_INT

ids = st.integers(1, 2**32 - 1)
indexes = st.integers(0, 2**32 - 1)
numbers = st.integers(0, MAX_INT)
codes = st.integers(0, 65_535)
digests = st.binary(min_size=32, max_size=32)


def texts(most: int) -> st.SearchStrategy[str]:
    """Text of at most so many bytes."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=most // 4)


reasons = texts(1024)


@st.composite
def ranges(draw: st.DrawFn) -> f.Ranges:
    """Ascending, disjoint pairs."""
    bounds: list[int] = sorted(draw(st.sets(indexes, max_size=8)))
    pairs = []
    while bounds:
        is_single: bool = draw(st.booleans())
        first = bounds.pop(0)
        last = first if is_single or not bounds else bounds.pop(0)
        pairs.append((first, last))
    return tuple(pairs)


extents = st.builds(Extent, indexes, st.integers(0, MAX_INT - 100), st.binary(min_size=1, max_size=100))
file_ends = st.builds(FileEnd, indexes, numbers, digests)
held_blocks = st.builds(
    HeldBlocks,
    indexes,
    st.integers(0, MAX_INT // BLOCK_SIZE - 4),
    st.lists(digests, min_size=1, max_size=4).map(tuple),
)
offered_files = st.builds(
    OfferedFile,
    index=indexes,
    path=st.lists(texts(64), min_size=1, max_size=5).map(tuple),
    size=st.none() | numbers,
    kind=st.sampled_from([FileKind.FILE, FileKind.DIRECTORY]),
    media_type=st.none() | texts(255),
    mtime_ns=st.none() | st.integers(-(2**63), 2**63 - 1),
    executable=st.booleans(),
    source_id=st.none() | st.binary(min_size=16, max_size=16),
    preview=st.none() | st.binary(max_size=50),
    metadata=st.none() | st.binary(max_size=50),
) | st.builds(
    OfferedFile,
    index=indexes,
    path=st.lists(texts(64), min_size=1, max_size=5).map(tuple),
    size=st.just(0),
    kind=st.just(FileKind.LINK),
    target=texts(1024),
)


def tuples(each: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    """A few of them."""
    return st.lists(each, min_size=least, max_size=4).map(tuple)


BY_CLASS: dict[type[f.Frame], st.SearchStrategy[f.Frame]] = {
    f.Hello: st.builds(
        f.Hello,
        versions=tuples(st.integers(1, 65_535), 1),
        nonce=st.binary(min_size=16, max_size=16),
        seen=st.booleans(),
        max_frame=st.integers(16_384, MAX_INT),
        max_file_size=numbers,
        max_files=numbers,
        abilities=tuples(texts(64)),
        auth=st.none() | texts(64),
        key=st.none() | digests,
    ),
    f.Auth: st.builds(f.Auth, st.binary(max_size=1024)),
    f.OfferFrame: st.builds(
        f.OfferFrame,
        offer=ids,
        count=ids,
        files=tuples(offered_files),
        message=st.none() | reasons,
        metadata=st.none() | st.binary(max_size=4096),
    ),
    f.Files: st.builds(f.Files, ids, tuples(offered_files)),
    f.Withdraw: st.builds(f.Withdraw, ids, codes, reasons),
    f.Accept: st.builds(
        f.Accept,
        job=ids,
        offer=ids,
        channel=st.integers(0, 65_534),
        files=ranges(),
        limit=numbers,
        connection_limit=numbers,
        held=tuples(held_blocks),
        more=st.booleans(),
    ),
    f.RangesFrame: st.builds(
        f.RangesFrame, job=ids, files=ranges(), held=tuples(held_blocks), more=st.booleans()
    ),
    f.Decline: st.builds(f.Decline, ids, codes, reasons, ranges()),
    f.HaveQuery: st.builds(f.HaveQuery, ids, ids, ranges(), st.booleans()),
    f.Have: st.builds(f.Have, ids, ids, tuples(file_ends), st.booleans()),
    f.Data: st.builds(f.Data, ids, tuples(extents, 1)),
    f.Finish: st.builds(f.Finish, ids, tuples(file_ends, 1), tuples(extents)),
    f.Window: st.builds(f.Window, numbers, st.none() | ids, numbers, numbers),
    f.Pause: st.builds(f.Pause, ids),
    f.Resume: st.builds(f.Resume, ids),
    f.Confirm: st.builds(f.Confirm, ids, ranges()),
    f.Reset: st.builds(f.Reset, ids, codes, reasons, st.none() | indexes),
    f.Stop: st.builds(f.Stop, ids, codes, reasons, st.none() | indexes),
    f.Ping: st.builds(f.Ping, numbers),
    f.Pong: st.builds(f.Pong, numbers),
    f.Close: st.builds(f.Close, codes, reasons),
    f.Ended: st.builds(f.Ended, ids, numbers),
    f.Kept: st.builds(f.Kept, ids, ranges()),
}

frames = st.one_of(list(BY_CLASS.values()))
