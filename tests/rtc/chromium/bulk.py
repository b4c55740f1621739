"""Much data at once, and the digest of it at either end."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Coroutine
from typing import Any

from aiortc import RTCDataChannel

from tests.rtc.chromium.peer import ChromiumPeer
from tests.rtc.datapath.peers import PATIENCE_S, send_all

MIB = 1 << 20
MESSAGE = 65_536


async def receive_bulk(channel: RTCDataChannel, size: int) -> str:
    """Receive so many bytes; returns their SHA-256."""
    digest = hashlib.sha256()
    left = size
    done = asyncio.Event()

    def received(message: bytes) -> None:
        nonlocal left
        digest.update(message)
        left -= len(message)
        if left <= 0:
            done.set()

    channel.on("message", received)
    await asyncio.wait_for(done.wait(), PATIENCE_S)
    channel.remove_listener("message", received)
    assert left == 0
    return digest.hexdigest()


async def send_bulk(channel: RTCDataChannel, size: int, seed: int = 1) -> str:
    """Send so many random bytes; returns their SHA-256."""
    bulk = random.Random(seed).randbytes(size)
    await send_all(channel, [bulk[at : at + MESSAGE] for at in range(0, size, MESSAGE)])
    return hashlib.sha256(bulk).hexdigest()


async def both(*ways: Coroutine[Any, Any, str]) -> list[str]:
    """Await all of them at once."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(way) for way in ways]
    return [task.result() for task in running]


async def exchange_bulk(out: RTCDataChannel, back: RTCDataChannel, peer: ChromiumPeer, size: int) -> None:
    """So many bytes out on one channel and back on another, at once; each end has what the other sent."""
    out_here, out_there, back_here, back_there = await both(
        send_bulk(out, size),
        peer.receive_bulk(out.label, size),
        receive_bulk(back, size),
        peer.send_bulk(back.label, size),
    )
    assert out_here == out_there
    assert back_here == back_there
