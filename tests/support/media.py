"""Real audio and video for a call: tracks that make frames, and sinks that count what arrives."""

from __future__ import annotations

import asyncio
import fractions

from aiortc import MediaStreamTrack, RTCPeerConnection, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, VideoFrame

_RATE = 48_000
_SAMPLES = _RATE // 50


class ToneTrack(MediaStreamTrack):
    """Audio: 20 ms of a square wave a frame, at the speed of real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._at = 0
        self._next = asyncio.get_running_loop().time()

    async def recv(self) -> AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        self._next += _SAMPLES / _RATE
        await asyncio.sleep(max(0.0, self._next - asyncio.get_running_loop().time()))
        frame = AudioFrame(format="s16", layout="mono", samples=_SAMPLES)
        frame.planes[0].update((b"\x00\x10" * 24 + b"\x00\xf0" * 24) * (_SAMPLES // 48))
        frame.pts, frame.sample_rate, frame.time_base = self._at, _RATE, fractions.Fraction(1, _RATE)
        self._at += _SAMPLES
        return frame


class PictureTrack(VideoStreamTrack):
    """Video: small grey pictures at aiortc's 30 a second."""

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = VideoFrame(width=160, height=120, format="yuv420p")
        for plane in frame.planes:
            plane.update(bytes([pts // 3000 % 256]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


class MediaCounter:
    """Takes every track of a connection and counts its frames."""

    def __init__(self, pc: RTCPeerConnection) -> None:
        self.frames = {"audio": 0, "video": 0}
        self.tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        pc.on("track", self._add)

    def _add(self, track: MediaStreamTrack) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(self._count(track)))

    async def _count(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                await track.recv()
                self.frames[track.kind] += 1
                self._changed.set()
        except MediaStreamError:
            return

    async def more(self, count: int) -> None:
        """Wait for this many more frames of each kind."""
        wanted = {kind: had + count for kind, had in self.frames.items()}
        while any(self.frames[kind] < number for kind, number in wanted.items()):
            self._changed.clear()
            await self._changed.wait()
