"""Real peer connections on this machine, connected as a program with signaling of its own does it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiortc import RTCConfiguration, RTCPeerConnection


def new_pc() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def connect(offerer: RTCPeerConnection, answerer: RTCPeerConnection) -> None:
    """Exchange descriptions; the connection itself is made in the background."""
    await offerer.setLocalDescription(await offerer.createOffer())
    await answerer.setRemoteDescription(offerer.localDescription)
    await answerer.setLocalDescription(await answerer.createAnswer())
    await offerer.setRemoteDescription(answerer.localDescription)


async def close_pcs(*pcs: RTCPeerConnection) -> None:
    for pc in pcs:
        await pc.close()


@asynccontextmanager
async def two_pcs() -> AsyncIterator[tuple[RTCPeerConnection, RTCPeerConnection]]:
    """Two connections that have not met; closed at the end."""
    pcs = new_pc(), new_pc()
    try:
        yield pcs
    finally:
        await close_pcs(*pcs)
