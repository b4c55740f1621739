"""A signaling server in memory: the real rooms and the real client, without the sockets between them.

A server that stops takes its memory with it. A host whose cable is pulled is missed after the heartbeats.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Iterable
from typing import Final

import aiohttp
from aiohttp import WSCloseCode, WSMessage, WSMsgType

from signaling.errors import Unreachable, refusal
from signaling.messages import Join, Joined, Leave, Refused, decode_client, decode_server, encode
from signaling.rooms import Rooms, Send
from tests.support.memory_network import MemoryNetwork
from tests.support.virtual import Process

HEARTBEATS_S: Final = 15.0
"Seconds of silence after which either side takes the socket for dead: one heartbeat, and half of one."


class MemoryServer:
    """What `signaling.client.dial` reaches, in place of the network."""

    def __init__(self, network: MemoryNetwork, seed: int) -> None:
        self._network = network
        self._lots = random.Random(seed)
        self._rooms: Rooms | None = None
        self._sockets: dict[int, MemorySocket] = {}
        self._numbers = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        network.on_change(self._path_changed)

    def start(self) -> None:
        """It knows nobody."""
        self._rooms = Rooms()

    def stop(self) -> None:
        """It is gone, and its clients notice."""
        self._rooms = None
        if self._timer is not None:
            self._timer.cancel()
        for socket in list(self._sockets.values()):
            socket.break_off(WSCloseCode.GOING_AWAY)
        self._sockets.clear()

    def kill(self, process: Process) -> None:
        """The kernel closes a dead process's sockets."""
        for socket in [each for each in self._sockets.values() if each.process is process]:
            socket.break_off(WSCloseCode.ABNORMAL_CLOSURE)
            self.lose(socket)

    async def dial(
        self, http: object, url: str, join: Join, *, timeout_s: float, heartbeat_s: float, tls: object
    ) -> tuple[MemorySocket, Joined]:
        """As `signaling.dial.dial`."""
        process = Process.current()
        await asyncio.sleep(self._network.delay_s)
        if self._network.is_cut(process.host):
            await asyncio.sleep(timeout_s)
            raise Unreachable(url, f"no answer within {timeout_s:g} s")
        if self._rooms is None or process.is_dead:
            raise Unreachable(url, "connection refused")
        socket = MemorySocket(self, next(self._numbers), process)
        self._sockets[socket.number] = socket
        self.receive(socket, encode(join))
        while True:
            message = await socket.receive()
            if message.type is not WSMsgType.TEXT:
                raise Unreachable(url, "the connection was closed")
            match decode_server(message.data):
                case Joined() as joined:
                    return socket, joined
                case Refused(code, reason, _, _):
                    raise refusal(code, reason, room=join.room, name=join.name)

    def receive(self, socket: MemorySocket, text: str) -> None:
        """A client's words."""
        if self._rooms is None or socket.number not in self._sockets:
            return
        message = decode_client(text)
        assert message is not None
        self._drain(self._rooms.receive(socket.number, message, secret=self._lots.randbytes(16).hex()))
        if isinstance(message, Leave):
            self.lose(socket)

    def lose(self, socket: MemorySocket) -> None:
        """A client's socket is closed."""
        if self._sockets.pop(socket.number, None) is not None and self._rooms is not None:
            self._drain(self._rooms.disconnect(socket.number, now=asyncio.get_running_loop().time()))

    def is_cut(self, socket: MemorySocket) -> bool:
        """Whether nothing passes between a client and this server."""
        return self._network.is_cut(socket.process.host)

    def _drain(self, sends: Iterable[Send]) -> None:
        loop = asyncio.get_running_loop()
        for send in sends:
            socket = self._sockets.get(send.connection)
            if socket is not None:
                socket.tell(encode(send.message))
                if send.final:
                    socket.break_off(WSCloseCode.POLICY_VIOLATION)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._rooms is not None and (when := self._rooms.next_timer) is not None:
            self._timer = loop.call_at(when, self._handle_timer)

    def _handle_timer(self) -> None:
        if self._rooms is not None:
            self._drain(self._rooms.handle_timer(asyncio.get_running_loop().time()))

    def _path_changed(self) -> None:
        for socket in list(self._sockets.values()):
            socket.path_changed(self.is_cut(socket))


class MemorySocket:
    """What a signaling client holds of its connection."""

    def __init__(self, server: MemoryServer, number: int, process: Process) -> None:
        self.number = number
        self.process = process
        self.close_code: int | None = None
        self._server = server
        self._received: asyncio.Queue[WSMessage] = asyncio.Queue()
        self._held_up: deque[tuple[bool, str]] = deque()  # by a cut: whether to the server, and what
        self._heartbeat: asyncio.TimerHandle | None = None

    async def receive(self) -> WSMessage:
        return await self._received.get()

    async def send_str(self, text: str) -> None:
        if self.close_code is not None:
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        if self._server.is_cut(self):
            self._held_up.append((True, text))
        else:
            self._server.receive(self, text)

    async def close(self) -> None:
        if self.close_code is None:
            self.close_code = WSCloseCode.OK
            if not self._server.is_cut(self):
                self._server.lose(self)
        self._stop_heartbeat()

    def exception(self) -> BaseException | None:
        return None

    # From the server ---------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        if self._server.is_cut(self):
            self._held_up.append((False, text))
        else:
            self._received.put_nowait(WSMessage(WSMsgType.TEXT, text, None))

    def break_off(self, code: int) -> None:
        """The connection has ended, as this client sees it."""
        self._stop_heartbeat()
        if self.close_code is None:
            self.close_code = code
            self._received.put_nowait(WSMessage(WSMsgType.CLOSED, None, None))

    def path_changed(self, is_cut: bool) -> None:
        if is_cut and self._heartbeat is None:
            self._heartbeat = asyncio.get_running_loop().call_later(HEARTBEATS_S, self._missed)
        elif not is_cut:
            self._stop_heartbeat()
            while self._held_up and not self._server.is_cut(self):
                to_server, text = self._held_up.popleft()
                if to_server:
                    self._server.receive(self, text)
                else:
                    self.tell(text)

    def _missed(self) -> None:
        self._held_up.clear()
        self.break_off(WSCloseCode.ABNORMAL_CLOSURE)
        self._server.lose(self)

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            self._heartbeat = None
