"""A TURN server without passwords, as small as it can be: allocations, channels, data."""

from __future__ import annotations

import asyncio
import struct
from typing import Any, cast

from aioice import stun

Address = tuple[str, int]


class Relay(asyncio.DatagramProtocol):
    """One allocation: a relayed address, and its client's channels."""

    def __init__(self, server: TurnServer, client: Address) -> None:
        self._server = server
        self._client = client
        self.channels: dict[int, Address] = {}
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        number = next((number for number, peer in self.channels.items() if peer == addr), None)
        if number is not None:
            self._server.transport.sendto(struct.pack("!HH", number, len(data)) + data, self._client)
            return
        message = stun.Message(stun.Method.DATA, stun.Class.INDICATION)
        message.attributes["XOR-PEER-ADDRESS"] = addr
        message.attributes["DATA"] = data
        self._server.transport.sendto(bytes(message), self._client)


class TurnServer(asyncio.DatagramProtocol):
    """Serves on 127.0.0.1; `address` says where."""

    def __init__(self) -> None:
        self.relays: dict[Address, Relay] = {}
        self.transport: asyncio.DatagramTransport
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> TurnServer:
        loop = asyncio.get_running_loop()
        await self._tasks.__aenter__()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._tasks.__aexit__(*exc)
        for relay in self.relays.values():
            relay.transport.close()
        self.transport.close()

    @property
    def address(self) -> Address:
        return cast("Address", self.transport.get_extra_info("sockname"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if data[0] & 0xC0 == 0x40:
            number, size = struct.unpack_from("!HH", data)
            relay = self.relays.get(addr)
            if relay is not None and number in relay.channels:
                relay.transport.sendto(data[4 : 4 + size], relay.channels[number])
            return
        self._tasks.create_task(self._answer(stun.parse_message(data), addr))

    async def _answer(self, request: stun.Message, client: Address) -> None:
        response = stun.Message(request.message_method, stun.Class.RESPONSE, request.transaction_id)
        if request.message_method is stun.Method.ALLOCATE:
            loop = asyncio.get_running_loop()
            if client not in self.relays:
                _, relay = await loop.create_datagram_endpoint(
                    lambda: Relay(self, client), local_addr=("127.0.0.1", 0)
                )
                self.relays[client] = relay
            response.attributes["XOR-MAPPED-ADDRESS"] = client
            relayed = self.relays[client].transport.get_extra_info("sockname")
            response.attributes["XOR-RELAYED-ADDRESS"] = relayed
            response.attributes["LIFETIME"] = 600
        elif request.message_method is stun.Method.CHANNEL_BIND:
            number = request.attributes["CHANNEL-NUMBER"]
            self.relays[client].channels[number] = request.attributes["XOR-PEER-ADDRESS"]
        elif request.message_method is stun.Method.REFRESH:
            response.attributes["LIFETIME"] = request.attributes["LIFETIME"]
        self.transport.sendto(bytes(response), client)
