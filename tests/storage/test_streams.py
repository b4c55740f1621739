"""Streams, file objects and pipes: read once, as they come."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2pshare.errors import UploadError
from p2pshare.model import MIB, Extent, FileEnd
from p2pshare.storage import (
    FileFailed,
    UploadReader,
    close_sources,
    file_digests,
    from_bytes,
    from_file_object,
    from_stream,
    list_sources,
)
from tests.storage.transfer import content, end, failure, read_all
from tests.support.needs import only_on


class Chunks:
    """An async generator that says when it was closed."""

    def __init__(self, *chunks: object) -> None:
        self.chunks = chunks
        self.is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self.chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk  # type: ignore[misc]  # some tests give what is not bytes
        finally:
            self.is_closed = True


async def test_a_stream_arrives_whole_between_other_files() -> None:
    chunks = Chunks(b"", b"a" * 200_000, bytearray(b"b"), memoryview(b"c"), b"")
    things = [from_bytes("first", b"1"), from_stream("stream", chunks), from_bytes("last", b"2")]
    pieces = await read_all(await list_sources(things, state_dir=None))
    assert content(pieces, 1) == b"a" * 200_000 + b"bc"
    assert (content(pieces, 0), content(pieces, 2)) == (b"1", b"2")
    assert chunks.is_closed


async def test_what_a_slow_stream_has_given_goes_out_without_the_rest() -> None:
    more = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        yield b"second"
        await more.wait()
        yield b"third"

    sources = await list_sources([from_bytes("a", b"a"), from_stream("b", slow())], state_dir=None)
    reader = UploadReader(sources, selection=[0, 1], held=(), chunk_size=1000)
    pieces: list[Extent | FileEnd | FileFailed] = []
    while len(pieces) < 4:
        pieces += await reader.next_batch(MIB)
    assert [piece.index for piece in pieces] == [0, 0, 1, 1]
    more.set()
    while batch := await reader.next_batch(MIB):
        pieces += batch
    await reader.close()
    assert content(pieces, 1) == b"firstsecondthird"


async def test_a_stream_can_be_read_once() -> None:
    sources = await list_sources([from_stream("s", Chunks(b"x"))], state_dir=None)
    assert content(await read_all(sources)) == b"x"
    error = failure(await read_all(sources))
    assert isinstance(error, UploadError)
    assert (error.code, "only once" in error.reason, error.file) == (1182, True, "s")


@pytest.mark.parametrize(
    ("size", "chunks", "reason"),
    [
        (3, [b"ab", b"cd"], "more than the 3 bytes"),
        (3, [b"ab"], "ended after 2 of 3 bytes"),
        (None, [b"ab", ValueError("broken\x1b[31m")], r"failed: broken\\u\{1b\}"),
        (None, ["text"], "str instead of bytes"),
        (None, [None], "NoneType instead of bytes"),
    ],
)
async def test_a_stream_that_does_not_keep_its_word_fails_and_the_rest_goes_on(
    size: int | None, chunks: list[object], reason: str
) -> None:
    stream = Chunks(*chunks)
    things = [from_stream("s", stream, size=size), from_bytes("next", b"next")]
    pieces = await read_all(await list_sources(things, state_dir=None))
    assert content(pieces, 1) == b"next"
    with pytest.raises(UploadError, match=reason):
        raise failure([piece for piece in pieces if piece.index == 0])
    assert stream.is_closed


async def test_closing_the_reader_ends_a_stream_that_waits() -> None:
    is_waiting, is_closed = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            is_waiting.set()
            await asyncio.Event().wait()
            yield b""
        finally:
            is_closed.set()

    sources = await list_sources([from_stream("s", endless())], state_dir=None)
    reader = UploadReader(sources, selection=[0], held=(), chunk_size=1000)
    reading = asyncio.create_task(reader.next_batch(MIB))
    await is_waiting.wait()
    await reader.close()
    assert is_closed.is_set()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_stream_that_nobody_reads_is_closed_with_its_sources() -> None:
    class Closable:
        is_closed = False

        def __aiter__(self) -> Closable:
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            self.is_closed = True

    stream = Closable()
    sources = await list_sources([from_stream("s", stream), from_bytes("b", b"")], state_dir=None)
    assert await file_digests(sources, [0, 1]) == [end(1, b"")]
    await close_sources(sources)
    await close_sources(sources)
    assert stream.is_closed
    assert "only once" in failure(await read_all(sources, selection=[0])).reason


async def test_a_file_object_is_read_from_where_it_stands_and_left_open() -> None:
    opened = io.BytesIO(b"header" + b"x" * MIB)
    opened.read(6)
    sources = await list_sources([from_file_object("f", opened)], state_dir=None)
    assert content(await read_all(sources)) == b"x" * MIB
    assert not opened.closed


async def test_a_file_object_that_fails_fails_its_file() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1, /) -> bytes:
            raise OSError("no more")

    sources = await list_sources([from_file_object("f", Broken())], state_dir=None)
    assert "no more" in failure(await read_all(sources)).reason


@only_on("linux")
async def test_a_pipe_is_read_as_it_is_written_and_can_be_closed_while_it_is_silent() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reading, os.fdopen(write_end, "wb", buffering=0) as writing:
        sources = await list_sources([from_file_object("p", reading)], state_dir=None)
        reader = UploadReader(sources, selection=[0], held=(), chunk_size=1000)
        writing.write(b"hello")
        batch = await reader.next_batch(MIB)
        assert batch == [Extent(0, 0, b"hello")]
        (thread,) = [each for each in threading.enumerate() if each.name == "p2pshare-pipe"]
        await reader.close()
        await asyncio.to_thread(thread.join, 60)
        assert not thread.is_alive()


@only_on("linux")
async def test_a_named_pipe_waits_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    sources = await list_sources([tmp_path / "pipe"], state_dir=None)
    reading = asyncio.create_task(read_all(sources))

    def write() -> None:
        with open(tmp_path / "pipe", "wb") as pipe:  # returns when the reader has opened it
            pipe.write(b"x" * 300_000)

    await asyncio.to_thread(write)
    assert content(await reading) == b"x" * 300_000


async def test_a_stream_that_fails_for_a_file_does_not_tell_the_peer_its_path() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise FileNotFoundError(2, "No such file or directory", "/home/alice/secret.mkv")

    sources = await list_sources([from_stream("s", broken())], state_dir=None)
    reason = str(failure(await read_all(sources)))
    assert "No such file or directory" in reason
    assert "alice" not in reason
