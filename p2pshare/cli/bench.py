"""``p2pshare bench``: what the path between two machines gives, and where the time goes.

Both ends run the command. Who comes second sends first, then the other: bytes from memory, through the whole
of p2pshare (credit, hashing, confirmation), to a sink that only counts and verifies them. So no disk has a
part in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from p2pshare import events as ev
from p2pshare.cli.display import Display
from p2pshare.cli.moments import Measured
from p2pshare.cli.names import random_room
from p2pshare.cli.room import Place, deadline_in, in_room
from p2pshare.cli.serve import addresses, embedded_server
from p2pshare.errors import IntegrityError, SharingNotAvailable, TransferError
from p2pshare.events import Offer
from p2pshare.model import MIB, Extent, HeldBlocks, OfferedFile, Piece
from p2pshare.session import Session
from p2pshare.storage import BaseSink, SourceLike, Stored, from_stream

FILE_NAME: Final = "p2pshare-bench"
_BLOCK: Final = bytes(range(256)) * (MIB // 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What was asked for."""

    server: str | None
    "None: one of our own."
    room: str | None
    name: str | None
    size: int
    "Bytes each way."
    timeout_s: float | None
    "For the other end to come."


async def bench(options: BenchOptions, display: Display) -> None:
    """Measure both ways. Raises what a transfer raises, and SharingNotAvailable where nobody comes."""
    room = random_room() if options.room is None else options.room
    async with contextlib.AsyncExitStack() as stack:
        server = options.server
        if server is None:
            own = await stack.enter_async_context(embedded_server(display))
            server = addresses(own)[0]
            place = Place(server=f"http://127.0.0.1:{own.port}", room=room, name=options.name)
            display.note(f"at the other end, type:\n\n    p2pshare bench --room {room} --server {server}\n")
        else:
            place = Place(server=server, room=room, name=options.name)
        session = await stack.enter_async_context(in_room(place, display, command="bench"))
        offers: asyncio.Queue[Offer] = asyncio.Queue()
        session.on(ev.FileOffered, lambda event: offers.put_nowait(event.offer))
        deadline = deadline_in(options.timeout_s)
        if session.peers:
            await _upload(session, session.peers[0], options.size, display)
            await _download(session, offers, deadline, display)
        else:
            peer = await _download(session, offers, deadline, display)
            await _upload(session, peer, options.size, display)


async def _upload(session: Session, peer: str, size: int, display: Display) -> None:
    watched: list[Watched] = []
    off = session.on(ev.UploadStarted, lambda _: watched.append(Watched(session, peer)))
    try:
        await session.send_files(_made_up(size), to=peer)
    finally:
        off()
    display.tell(watched[0].measured(size, is_upload=True))


async def _download(
    session: Session, offers: asyncio.Queue[Offer], deadline: float | None, display: Display
) -> str:
    """Take what the other end sends; returns its name."""
    try:
        async with asyncio.timeout_at(deadline):
            offer = await offers.get()
    except TimeoutError:
        raise SharingNotAvailable("nobody came to measure with") from None
    if [file.name for file in offer.files] != [FILE_NAME]:
        session.decline(offer, "only measures")
        raise SharingNotAvailable("the other end sends files, and does not measure: is this its room?")
    watched = Watched(session, offer.peer)
    download = session.download_into(offer.files, CountingSink)
    await download
    display.tell(watched.measured(download.progress.stored, is_upload=False))
    return offer.peer


class Watched:
    """What a transfer takes, from now on."""

    def __init__(self, session: Session, peer: str) -> None:
        self._peer = peer
        self._link = session.links.get(peer)  # the other end may be gone when its last byte is confirmed
        self._began_s, self._cpu_s = time.perf_counter(), time.process_time()

    def measured(self, size: int, *, is_upload: bool) -> Measured:
        """The figures, after so many bytes."""
        seconds = time.perf_counter() - self._began_s
        path = self._link.stats().path if self._link is not None else None
        return Measured(self._peer, is_upload, size, seconds, time.process_time() - self._cpu_s, path)


def _made_up(size: int) -> SourceLike:
    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(size // MIB):
            yield _BLOCK
        if rest := size % MIB:
            yield _BLOCK[:rest]

    return from_stream(FILE_NAME, blocks(), size=size)


class CountingSink(BaseSink):
    """Keeps nothing of one file but its length and its digest."""

    def __init__(self, files: Sequence[OfferedFile]) -> None:
        self._file = files[0]
        self._hasher = blake3()
        self._size = 0

    async def open(self) -> Sequence[HeldBlocks]:
        """Nothing is held."""
        return ()

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        """Hash what comes, in a thread as a disk would have it."""
        return await asyncio.to_thread(self._store, pieces)

    def _store(self, pieces: Sequence[Piece]) -> Stored:
        stored = 0
        failed: dict[int, TransferError] = {}
        confirmed: list[int] = []
        for piece in pieces:
            if isinstance(piece, Extent):
                self._hasher.update(piece.payload)
                stored += len(piece.payload)
            elif self._size + stored == piece.size and self._hasher.digest() == piece.digest:
                confirmed.append(piece.index)
            else:
                failed[piece.index] = IntegrityError(file=self._file.name)
        self._size += stored
        return Stored(stored, confirmed, failed)

    async def close(self, *, keep_parts: bool) -> None:
        """There is nothing to close."""
