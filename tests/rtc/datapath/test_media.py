"""Audio and video of a call go on beside a transfer, on the same socket and the same DTLS connection."""

from __future__ import annotations

import asyncio

from aiortc import AudioStreamTrack, MediaStreamTrack, VideoStreamTrack
from av import VideoFrame
from av.frame import Frame

from tests.rtc.datapath.peers import (
    PEERS,
    Incoming,
    Make,
    apart,
    negotiate,
    opened,
    send_all,
    transport_of,
)


class SmallVideo(VideoStreamTrack):
    """Grey frames of a size that costs nothing to encode."""

    async def recv(self) -> Frame:
        pts, time_base = await self.next_timestamp()
        frame = VideoFrame(width=64, height=48)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts = pts
        frame.time_base = time_base
        return frame


@PEERS
async def test_media_flows_beside_a_transfer(make_left: Make, make_right: Make) -> None:
    async with apart(make_left, make_right) as (left, right):
        tracks: list[MediaStreamTrack] = []
        incoming = Incoming(right)
        right.on("track", tracks.append)
        left.addTrack(AudioStreamTrack())
        left.addTrack(SmallVideo())
        channel = left.createDataChannel("bulk")
        blocks = [i.to_bytes(4, "big") * 16_000 for i in range(40)]
        await negotiate(left, right)
        await opened(channel)
        await incoming.channel("bulk")
        frames = {"audio": 0, "video": 0}
        until_enough = asyncio.Event()

        async def watch(track: MediaStreamTrack) -> None:
            while not until_enough.is_set():
                await track.recv()
                frames[track.kind] += 1
                if min(frames.values()) >= 10:
                    until_enough.set()

        async def transfer() -> None:
            while not until_enough.is_set():
                await send_all(channel, blocks)

        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            for track in tracks:
                tasks.create_task(watch(track))
            tasks.create_task(transfer())
        received = await incoming.inboxes["bulk"].has(40)
        assert received[:40] == blocks
        for pc in (left, right):
            assert pc.connectionState == "connected"
            if make_left is make_right:
                assert not any(transport_of(pc).stats().dropped.values())
