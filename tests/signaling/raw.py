"""Clients that say what they like, to test what a server makes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from signaling.limits import Limits
from signaling.messages import Joined, Relayed, ServerMessage, decode_server
from signaling.server import SignalingServer


@asynccontextmanager
async def running(limits: Limits | None = None, **options: Any) -> AsyncIterator[SignalingServer]:
    """A server on a free port of this machine."""
    async with SignalingServer("127.0.0.1", 0, limits=limits, **options) as server:
        yield server


class RawClient:
    """One WebSocket, unmasked by any rule of the protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send_json(message)

    async def join(self, name: str, room: str = "lobby", **more: Any) -> ServerMessage:
        await self.say(**{"type": "join", "version": 1, "room": room, "name": name, **more})
        return await self.receive()

    async def enter(self, name: str, room: str = "lobby", **more: Any) -> Joined:
        """Join, where that must succeed."""
        joined = await self.join(name, room, **more)
        assert isinstance(joined, Joined), joined
        return joined

    async def signal(self, to: str, **payload: Any) -> None:
        await self.say(type="signal", to=to, payload=payload)

    async def receive(self) -> ServerMessage:
        message = decode_server(await self.socket.receive_str())
        assert message is not None
        return message

    async def receive_signal(self) -> dict[str, Any]:
        message = await self.receive()
        assert isinstance(message, Relayed), message
        return dict(message.payload)

    async def closed(self) -> int | None:
        """Read until the connection ends; return the close code."""
        while (await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        return self.socket.close_code


@asynccontextmanager
async def raw_client(url: str, **options: Any) -> AsyncIterator[RawClient]:
    async with aiohttp.ClientSession() as http, http.ws_connect(url, **options) as socket:
        yield RawClient(socket)


@asynccontextmanager
async def raw_clients(url: str, count: int) -> AsyncIterator[list[RawClient]]:
    async with aiohttp.ClientSession() as http:
        sockets = [await http.ws_connect(url) for _ in range(count)]
        yield [RawClient(socket) for socket in sockets]
        for each in sockets:
            await each.close()


class Bytes:
    """A TCP connection on which the test itself plays the WebSocket: it answers no ping and no close."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def upgrade(self, **headers: str) -> bytes:
        """Shake hands; return the head of the answer."""
        fields = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            **headers,
        }
        lines = [f"{name}: {text}\r\n" for name, text in fields.items() if text]
        self.writer.write(f"GET /ws HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
        return await self.reader.readuntil(b"\r\n\r\n")

    def send_frame(self, opcode: int, payload: bytes = b"") -> None:
        """Send one frame, final, masked with zeros."""
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2)
        self.writer.write(bytes([0x80 | opcode]) + size + bytes(4) + payload)

    def say(self, **message: Any) -> None:
        self.send_frame(1, json.dumps(message).encode())

    def join(self, name: str, room: str = "lobby", **more: Any) -> None:
        self.say(type="join", version=1, room=room, name=name, **more)

    async def ended(self) -> None:
        """Read until the server closes the connection, in whatever way."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


@asynccontextmanager
async def raw_bytes(port: int, *, is_deaf: bool = False) -> AsyncIterator[Bytes]:
    """Connect. What a deaf one does not ask for stays in the system's buffers, and soon in the server's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2048 if is_deaf else 65536)
    try:
        yield Bytes(reader, writer)
    finally:
        writer.transport.abort()
