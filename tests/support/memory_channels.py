"""Channels in memory, in place of `p2pshare.rtc.Channels`: negotiated, and reset as SCTP resets streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pshare.errors import SharingNotAvailable
from p2pshare.rtc import ChannelListener, PathStats
from tests.support.memory_network import MemoryPeerConnection, Signal

HIGH_WATER: Final = 256 * 1024
"Bytes that wait in all job streams together: beyond, none has room."


@dataclass(slots=True)
class _End:
    """One side's end of a channel; its id is free when it has reset its own way and the other has, too."""

    has_sent_reset: bool = False
    has_got_reset: bool = False
    is_reset_done: bool = False


class MemoryChannels:
    """In place of `p2pshare.rtc.Channels`: a `MessageChannels` over a `MemoryPeerConnection`."""

    max_message_size = 65_536
    takes_trains = False
    is_clogged = False

    def __init__(self, pc: MemoryPeerConnection, listener: ChannelListener) -> None:
        self._pc = pc
        self._listener = listener
        self._ends: dict[int, _End] = {}
        self._remembered_resets: set[int] = set()
        self._wants_room: set[int] = set()
        pc.channels = self

    def send_trains(self) -> None:
        """There are none."""

    def path_stats(self) -> PathStats | None:
        return None

    def open(self, channel_id: int) -> None:
        if channel_id in self._ends or self._pc.connectionState == "closed":
            raise SharingNotAvailable(f"the data channel id {channel_id} is in use, or the connection closed")
        end = self._ends[channel_id] = _End()
        if self._pc.connectionState == "connected":
            self._soon(channel_id)
        if channel_id in self._remembered_resets:
            self._remembered_resets.discard(channel_id)
            end.has_got_reset = True
            self.close_channel(channel_id)

    def _soon(self, channel_id: int) -> None:
        loop = asyncio.get_running_loop()
        context = self._pc.process.context
        loop.call_soon(self._guarded, self._listener.channel_opened, channel_id, context=context)

    def send(self, channel_id: int, message: bytes) -> None:
        end = self._ends.get(channel_id)
        if end is not None and not end.has_sent_reset:
            self._pc.transmit(channel_id, message)

    def has_room(self, channel_id: int) -> bool:
        if self._pc.connectionState != "connected" or channel_id not in self._ends:
            return False
        if self._pc.waiting(channel_id) < HIGH_WATER:
            return True
        self._wants_room.add(channel_id)
        return False

    def close_channel(self, channel_id: int) -> None:
        end = self._ends.get(channel_id)
        if end is not None and not end.has_sent_reset:
            end.has_sent_reset = True
            self._pc.transmit(channel_id, Signal.RESET)

    def close(self) -> None:
        for channel_id in self._ends:
            self.close_channel(channel_id)

    # From the connection ---------------------------------------------------------------------------------

    def connected(self) -> None:
        for channel_id in list(self._ends):
            self._guarded(self._listener.channel_opened, channel_id)

    def lost(self, reason: str) -> None:
        self._guarded(self._listener.connection_closed, reason)

    def arrived(self, channel_id: int, item: bytes | Signal) -> None:
        end = self._ends.get(channel_id)
        if isinstance(item, bytes):
            if end is not None:
                self._guarded(self._listener.message_received, channel_id, item)
            return
        if item is Signal.RESET:
            self._pc.transmit(channel_id, Signal.RESET_DONE)
            if end is None:
                self._remembered_resets.add(channel_id)
            else:
                end.has_got_reset = True
                self.close_channel(channel_id)
        elif end is not None:
            end.is_reset_done = True
        if end is not None and end.is_reset_done and end.has_got_reset:
            del self._ends[channel_id]
            self._guarded(self._listener.channel_closed, channel_id)

    def took(self, channel_id: int) -> None:
        """The other side has something that waited."""
        if channel_id in self._wants_room and self._pc.waiting(channel_id) <= HIGH_WATER // 2:
            self._wants_room.discard(channel_id)
            self._guarded(self._listener.writable, channel_id)

    def _guarded(self, call: Callable[..., None], *args: object) -> None:
        try:
            call(*args)
        except Exception as exc:  # noqa: BLE001  (the seam, as in p2pshare.rtc; the test fails in the end)
            self._pc.network.failures.append(exc)
            self._listener.failed(exc)
