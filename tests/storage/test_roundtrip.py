"""Whatever was held, however it is cut: what a reader reads is what a sink puts into place."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.model import Extent, OfferedFile, Piece
from p2pshare.storage import FolderSink, MemorySink, from_bytes, list_sources
from tests.storage.transfer import NO_RESERVE, read_all, tree

pytestmark = pytest.mark.usefixtures("blocks_of_1_kib")

_numbers = itertools.count()
_wholes = st.builds(
    lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 9), st.integers(0, 9_000)
)


def _cut(pieces: list[Piece], sizes: Iterator[int]) -> Iterator[list[Piece]]:
    at = 0
    while at < len(pieces):
        size = next(sizes)
        yield pieces[at : at + size]
        at += size


@given(
    wholes=st.lists(_wholes, min_size=1, max_size=4),
    chunk_size=st.integers(1, 3_000).filter(lambda size: size > 20),
    batch_size=st.integers(1, 20_000),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    held_blocks=st.sets(st.integers(0, 8)),
    wrong_blocks=st.sets(st.integers(0, 8)),
    torn_blocks=st.sets(st.integers(0, 8)),
    as_bytes=st.booleans(),
)
def test_what_is_read_arrives(
    tmp_path_factory: pytest.TempPathFactory,
    blocks_of_1_kib: int,
    wholes: list[bytes],
    chunk_size: int,
    batch_size: int,
    cuts: list[int],
    held_blocks: set[int],
    wrong_blocks: set[int],
    torn_blocks: set[int],
    as_bytes: bool,
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"roundtrip {next(_numbers)}"
    (folder / "source").mkdir(parents=True)
    names = [f"f{at}" for at in range(len(wholes))]
    for name, whole in zip(names, wholes, strict=True):
        (folder / "source" / name).write_bytes(whole)

    def attempt_before(file: OfferedFile) -> list[Piece]:
        """Some of the blocks arrived then, and some of those are not what the source has now."""
        pieces: list[Piece] = []
        whole = wholes[file.index]
        for block in sorted(held_blocks):
            payload = whole[block * blocks_of_1_kib : (block + 1) * blocks_of_1_kib]
            if block in wrong_blocks:
                payload = bytes(len(payload))
            if payload:
                pieces.append(Extent(file.index, block * blocks_of_1_kib, payload))
        return pieces

    def tear() -> None:
        for part in (folder / "in").glob(".*-part"):
            content = bytearray(part.read_bytes())
            for block in torn_blocks:
                if block * blocks_of_1_kib < len(content):
                    content[block * blocks_of_1_kib] ^= 1
            part.write_bytes(content)

    async def transfer() -> None:
        things = [
            from_bytes(name, whole) if as_bytes else folder / "source" / name
            for name, whole in zip(names, wholes, strict=True)
        ]
        sources = await list_sources(things, state_dir=None)
        files = [source.file for source in sources]
        sink = FolderSink(folder / "in", files, limits=NO_RESERVE)
        await sink.open()
        for file in files:
            await sink.store(attempt_before(file))
        await sink.close(keep_parts=True)
        tear()
        sink = FolderSink(folder / "in", files, limits=NO_RESERVE)
        held = await sink.open()
        pieces = await read_all(sources, held=held, chunk_size=chunk_size, batch_size=batch_size)
        confirmed: list[int] = []
        for batch in _cut(pieces, itertools.cycle(cuts)):  # type: ignore[arg-type]  # nothing fails
            report = await sink.store(batch)
            assert report.failed == {}
            confirmed += report.confirmed
        await sink.close(keep_parts=False)
        assert confirmed == list(range(len(wholes)))
        memory = MemorySink(files)
        await memory.open()
        await memory.store(await read_all(sources, chunk_size=chunk_size))  # type: ignore[arg-type]  # likewise
        assert list(memory.contents.values()) == wholes

    asyncio.run(transfer())
    assert tree(folder / "in") == dict(zip(names, wholes, strict=True))
