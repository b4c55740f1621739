"""Chromium as the other end: the methods of `Peer` in a page (`peer.js`), for a test to await.

Descriptions go between the test and the page as any other command does: there is no signaling server.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from playwright.async_api import Browser, Page

from tests.rtc.datapath.peers import PATIENCE_S, opened
from tests.support.chromium import new_page

_SCRIPT = Path(__file__).with_name("peer.js")


@asynccontextmanager
async def new_peer(browser: Browser, **configuration: object) -> AsyncIterator[ChromiumPeer]:
    """A page with a connection; the configuration is as for a web page's own."""
    made = f"globalThis.peer = new Peer({json.dumps(configuration)});"
    async with new_page(browser, _SCRIPT.read_text() + made) as page:
        yield ChromiumPeer(page)


class ChromiumPeer:
    """The methods of the page's `Peer`, by the same names; channels go by their labels."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def _call(self, method: str, *arguments: Any) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await self.page.evaluate("([method, args]) => peer[method](...args)", [method, arguments])

    # Signaling

    async def describe(self) -> RTCSessionDescription:
        """Make an offer, or an answer where an offer was taken."""
        return RTCSessionDescription(**await self._call("describe"))

    async def take_description(self, description: RTCSessionDescription) -> None:
        await self._call("take_description", {"type": description.type, "sdp": description.sdp})

    async def connection_state(self, *wanted: str) -> str:
        """Wait until the connection is in one of these states."""
        return str(await self._call("connection_state", *wanted))

    async def transport_closed(self) -> None:
        """Wait until DTLS below the association is closed."""
        await self._call("transport_closed")

    # Channels

    async def create(self, label: str, **options: object) -> None:
        """Create a channel; without one before the offer there is no association."""
        await self._call("create", label, options)

    async def about(self, label: str) -> dict[str, Any]:
        """What a channel was made with, once there is one of this label."""
        about: dict[str, Any] = await self._call("about", label)
        return about

    async def opened(self, label: str) -> None:
        await self._call("opened", label)

    async def closed(self, label: str) -> None:
        await self._call("closed", label)

    async def close(self, label: str) -> None:
        await self._call("close", label)

    # Messages

    async def send(self, label: str, messages: Sequence[bytes | str]) -> None:
        """Send them all at once."""
        await self._call("send", label, [_coded(message) for message in messages])

    async def received(self, label: str, count: int) -> list[bytes | str]:
        """Wait for so many messages; returns all that there are."""
        return [_decoded(message) for message in await self._call("received", label, count)]

    async def refuses(self, label: str, size: int) -> str:
        """Send a message of this size; returns the name of the error, or nothing."""
        return str(await self._call("refuses", label, size))

    async def drained(self, label: str) -> None:
        """Wait until nothing is buffered."""
        await self._call("drained", label)

    async def send_bulk(self, label: str, size: int) -> str:
        """Send so many random bytes; returns their SHA-256."""
        return str(await self._call("send_bulk", label, size))

    async def receive_bulk(self, label: str, size: int) -> str:
        """Receive so many bytes; returns their SHA-256."""
        return str(await self._call("receive_bulk", label, size))

    # Media

    async def call(self) -> None:
        """Send the camera and the microphone, from the next description on."""
        await self._call("call")

    async def shows(self, count: int) -> None:
        """Wait until so many more pictures were shown, and as many packets of sound have come."""
        await self._call("shows", count)

    async def stats(self) -> dict[str, dict[str, Any]]:
        """What getStats() says, by type; one of each type here."""
        return {report["type"]: report for report in await self._call("stats")}


def _coded(message: bytes | str) -> str:
    return "t" + message if isinstance(message, str) else "b" + base64.b64encode(message).decode()


def _decoded(coded: str) -> bytes | str:
    return coded[1:] if coded[0] == "t" else base64.b64decode(coded[1:])


async def negotiate(pc: RTCPeerConnection, peer: ChromiumPeer, *, chromium_offers: bool) -> None:
    """Exchange descriptions; the connection itself is made in the background."""
    if chromium_offers:
        await pc.setRemoteDescription(await peer.describe())
        await pc.setLocalDescription(await pc.createAnswer())
        await peer.take_description(pc.localDescription)
    else:
        await pc.setLocalDescription(await pc.createOffer())
        await peer.take_description(pc.localDescription)
        await pc.setRemoteDescription(await peer.describe())


async def meet(
    pc: RTCPeerConnection, peer: ChromiumPeer, *labels: str, chromium_offers: bool
) -> list[RTCDataChannel]:
    """Connect, with channels that were agreed on, open at both ends; their ids are 0, 1, ..."""
    channels = [pc.createDataChannel(label, negotiated=True, id=i) for i, label in enumerate(labels)]
    for i, label in enumerate(labels):
        await peer.create(label, negotiated=True, id=i)
    await negotiate(pc, peer, chromium_offers=chromium_offers)
    for channel in channels:
        await opened(channel)
        await peer.opened(channel.label)
    return channels
