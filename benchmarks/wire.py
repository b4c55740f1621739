"""What every measured process does: speak JSON lines with who started it, connect, and report its usage."""

from __future__ import annotations

import asyncio
import json
import resource
import sys

from aiortc import RTCPeerConnection, RTCSessionDescription


class Wire:
    """JSON lines on stdin and stdout."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    @classmethod
    async def open(cls) -> Wire:
        reader = asyncio.StreamReader(limit=1 << 20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        return cls(reader)

    async def get(self) -> dict[str, str]:
        line = await self._reader.readline()
        received = json.loads(line)
        assert isinstance(received, dict)
        return received

    def put(self, **fields: object) -> None:
        print(json.dumps(fields), flush=True)


async def connect(pc: RTCPeerConnection, wire: Wire, *, offers: bool) -> None:
    """Exchange descriptions with the other process."""
    if offers:
        await pc.setLocalDescription(await pc.createOffer())
        wire.put(sdp=pc.localDescription.sdp, type=pc.localDescription.type)
        await pc.setRemoteDescription(RTCSessionDescription(**await wire.get()))
    else:
        await pc.setRemoteDescription(RTCSessionDescription(**await wire.get()))
        await pc.setLocalDescription(await pc.createAnswer())
        wire.put(sdp=pc.localDescription.sdp, type=pc.localDescription.type)


def usage() -> dict[str, float]:
    """CPU seconds so far, and the peak of resident memory in MiB."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}
