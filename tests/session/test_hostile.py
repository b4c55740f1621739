"""A peer that breaks the protocol loses its link, and nothing else: the connection and its media go on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgpack
import pytest
from aiortc import RTCDataChannel, RTCPeerConnection

from p2pshare import events as ev
from p2pshare.errors import RemoteProtocolError
from p2pshare.model import Extent, Limits, OfferedFile, Piece
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode, encode
from p2pshare.session import Session
from p2pshare.storage import MemorySink, Stored
from tests.session.peers import Heard, offer_of
from tests.support.connections import connect, two_pcs
from tests.support.media import MediaCounter, PictureTrack, ToneTrack


class Stranger:
    """The other end, spoken by hand: frames in and out on the control channel."""

    def __init__(self, pc: RTCPeerConnection) -> None:
        self.pc = pc
        self.control = pc.createDataChannel("control", negotiated=True, id=240)
        self._inbox: asyncio.Queue[f.Frame | None] = asyncio.Queue()
        self.control.on("message", self._received)
        self.control.on("close", lambda: self._inbox.put_nowait(None))

    def _received(self, message: bytes) -> None:
        self._inbox.put_nowait(decode(message, max_size=1 << 20))

    async def greet(self) -> None:
        hello = await self.next(f.Hello)
        assert isinstance(hello, f.Hello)
        self.send(f.Hello((1,), bytes(16), True, 65_536, 2**53 - 1, 100_000))

    def send(self, frame: f.Frame) -> None:
        self.control.send(encode(frame))

    async def next(self, kind: type[f.Frame]) -> f.Frame:
        """The next frame of a kind; others are passed over."""
        while True:
            frame = await self._inbox.get()
            assert frame is not None, f"closed before {kind.__name__}"
            if isinstance(frame, kind):
                return frame

    def open(self, channel_id: int) -> RTCDataChannel:
        return self.pc.createDataChannel("job", negotiated=True, id=channel_id)


class StuckSink(MemorySink):
    """A disk that takes nothing before it is told to."""

    def __init__(self, files: Sequence[OfferedFile]) -> None:
        super().__init__(files)
        self.released = asyncio.Event()

    async def store(self, pieces: Sequence[Piece]) -> Stored:
        await self.released.wait()
        return await super().store(pieces)


BAD = {
    "garbage": b"\xc1garbage",
    "nothing": b"",
    "text": "text",
    "deep nesting": b"\x91" * 2000,
    "a bomb of lists": b"\xdd\xff\xff\xff\xff" * 100,
    "not a frame": msgpack.packb({"a": 1}),
    "a wrong type": msgpack.packb([3, {"offer": "one", "count": 1, "files": []}]),
    "a missing key": msgpack.packb([6, {"job": 1}]),
    "more than the largest frame": msgpack.packb([99, {"x": bytes(100_000)}]),
    "a second session": encode(f.Hello((1,), b"\1" * 16, True, 65_536, 1, 1)),
    "an answer to no offer": encode(f.Decline(7, 6002)),
    "bytes of no job": encode(f.Finish(1, ())),
    "random bytes": os.urandom(500),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_message_ends_the_link_and_not_the_call(what: str) -> None:
    message = BAD[what]
    if what == "random bytes":
        while message[0] == 0x92:  # that may be a frame of a type to come
            message = os.urandom(500)
    async with two_pcs() as (our_pc, their_pc), Session() as session:
        media = MediaCounter(their_pc)
        our_pc.addTrack(ToneTrack())
        our_pc.addTrack(PictureTrack())
        stranger = Stranger(their_pc)
        heard = Heard(session)
        link = session.attach(our_pc, peer="stranger")
        await connect(our_pc, their_pc)
        await stranger.greet()
        await link.ready()
        stranger.control.send(message)
        close = await stranger.next(f.Close)
        assert isinstance(close, f.Close)
        assert close.code == 6006
        assert isinstance((await heard.first(ev.LinkFailed)).error, RemoteProtocolError)
        assert not link.is_open
        await media.more(3)
        assert our_pc.connectionState == their_pc.connectionState == "connected"
    await asyncio.wait(media.tasks)


async def test_more_than_the_credit_ends_the_link() -> None:
    async with two_pcs() as (our_pc, their_pc), Session() as session:
        stranger = Stranger(their_pc)
        heard = Heard(session)
        session.attach(our_pc, peer="stranger")
        await connect(our_pc, their_pc)
        await stranger.greet()
        stranger.send(f.OfferFrame(1, 1, (OfferedFile(0, ("a",), 1 << 30),)))
        files = (await offer_of(heard)).files
        sinks: list[StuckSink] = []

        def stuck(offered: Sequence[OfferedFile]) -> StuckSink:
            sinks.append(StuckSink(offered))
            return sinks[0]

        download = session.download_into(files, stuck)
        accept = await stranger.next(f.Accept)
        assert isinstance(accept, f.Accept)
        stream = stranger.open(accept.channel)
        sent = 0
        while sent <= accept.limit + 200_000:  # a stream of promises broken: the frames are all well formed
            message = encode(f.Data(accept.job, (Extent(0, sent, bytes(60_000)),)))
            stream.send(message)
            sent += 60_000
        error = (await heard.first(ev.LinkFailed)).error
        assert isinstance(error, RemoteProtocolError)
        assert "credit" in str(error)
        sinks[0].released.set()
        with pytest.raises(Exception, match="credit"):
            await download
        assert our_pc.connectionState == "connected"


async def test_names_that_leave_the_folder_fail_by_name_and_three_end_the_link(tmp_path: Path) -> None:
    async with two_pcs() as (our_pc, their_pc), Session(download_dir=tmp_path) as session:
        stranger = Stranger(their_pc)
        heard = Heard(session)
        link = session.attach(our_pc, peer="stranger")
        await connect(our_pc, their_pc)
        await stranger.greet()
        files = [OfferedFile(n, ("..", f"{n}"), 1) for n in range(3)] + [OfferedFile(3, ("fine",), 1)]
        stranger.send(f.OfferFrame(1, 4, tuple(files)))
        offer = await offer_of(heard)
        bad = session.download_files([offer.files[0], offer.files[3]])
        stop = await stranger.next(f.Stop)
        assert isinstance(stop, f.Stop)
        assert (stop.file, stop.code) == (0, 5090)
        assert link.is_open
        bad.cancel()
        with pytest.raises(Exception, match="cancelled"):
            await bad
        worse = session.download_files(offer.files)
        with pytest.raises(Exception, match="names that are not allowed"):
            await worse
        assert isinstance((await heard.first(ev.LinkFailed)).error, RemoteProtocolError)
        assert our_pc.connectionState == "connected"


async def test_offers_beyond_the_limits_are_declined_by_themselves() -> None:
    limits = Limits(max_file_size=1000, max_files=2)
    async with two_pcs() as (our_pc, their_pc), Session(limits=limits) as session:
        stranger = Stranger(their_pc)
        session.attach(our_pc, peer="stranger")
        await connect(our_pc, their_pc)
        await stranger.greet()
        stranger.send(f.OfferFrame(1, 1, (OfferedFile(0, ("large",), 2000),)))
        large = await stranger.next(f.Decline)
        assert isinstance(large, f.Decline)
        assert large.code == 1185
        assert "1,000" in large.reason
        stranger.send(f.OfferFrame(2, 3, tuple(OfferedFile(n, (f"{n}",), 1) for n in range(3))))
        many = await stranger.next(f.Decline)
        assert isinstance(many, f.Decline)
        assert many.code == 6002
        assert not session.offers
