"""One end of a bare data channel, as a process of its own; `benchmarks.pairs` starts two of them."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import time

import aiortc
from aiortc import RTCConfiguration, RTCPeerConnection

from benchmarks.wire import Wire, connect, usage

HIGH_WATER = 1 << 20
STACKS = ("stock", "p2pshare", "libwebrtc")


def new_pc(stack: str) -> RTCPeerConnection:
    """A connection of one of the stacks that are compared; all have aiortc's interface."""
    if stack == "stock":
        return RTCPeerConnection(RTCConfiguration(iceServers=[]))
    name = {"p2pshare": "p2pshare.rtc", "libwebrtc": "webrtc.aiortc"}[stack]
    module = importlib.import_module(name)
    configuration = (module if stack == "libwebrtc" else aiortc).RTCConfiguration(iceServers=[])
    pc: RTCPeerConnection = module.RTCPeerConnection(configuration)
    return pc


async def raw(wire: Wire, stack: str, size: int, message_size: int, *, sends: bool) -> None:
    """A bare data channel, back-pressure by bufferedAmount."""
    pc = new_pc(stack)
    channel = pc.createDataChannel("raw", negotiated=True, id=1)
    opened, room, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    channel.on("open", opened.set)
    received = 0
    if sends:
        channel.bufferedAmountLowThreshold = HIGH_WATER // 4
        channel.on("bufferedamountlow", room.set)
        channel.on("message", lambda _: done.set())
    else:

        @channel.on("message")
        def _(message: bytes) -> None:
            nonlocal received
            received += len(message)
            if received >= size:
                done.set()

    await connect(pc, wire, offers=sends)
    if channel.readyState != "open":
        await opened.wait()
    began, cpu = time.perf_counter(), usage()["cpu_s"]
    if sends:
        message = (bytes(range(256)) * (message_size // 256 + 1))[:message_size]
        left = size
        while left > 0:
            if channel.bufferedAmount > HIGH_WATER:
                room.clear()
                await room.wait()
            channel.send(message if left >= message_size else message[:left])
            left -= message_size
    await done.wait()
    if not sends:
        channel.send(b"done")
    seconds = time.perf_counter() - began
    wire.put(seconds=seconds, bytes=size, cpu_used_s=usage()["cpu_s"] - cpu, **usage())
    if not sends:
        await wire.get()  # the sender has heard it
    await pc.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["send", "receive"])
    parser.add_argument("--stack", choices=STACKS, default="stock")
    parser.add_argument("--size", type=int, required=True, help="bytes in all")
    parser.add_argument("--message", type=int, default=65_536, help="bytes of a message")
    arguments = parser.parse_args()

    async def run() -> None:
        sends = arguments.side == "send"
        await raw(await Wire.open(), arguments.stack, arguments.size, arguments.message, sends=sends)

    asyncio.run(run())


if __name__ == "__main__":
    main()
