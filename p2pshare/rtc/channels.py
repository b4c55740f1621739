"""Message channels over one peer connection: negotiated data channels, their water marks, and the seam.

The seam is where aiortc calls us. An exception there would close the whole connection, the program's call
included, and an ``async def`` handler would reorder messages: so every handler is a plain ``def`` that
catches everything.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Final, Protocol

from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from p2pshare.errors import SharingNotAvailable
from p2pshare.rtc.datapath import PathStats, SctpTransport

logger = logging.getLogger(__name__)

CONTROL_LABEL: Final = "p2pshare"
STREAM_LABEL: Final = "p2pshare job"
"""Labels never travel, as the channels are negotiated; they are for who looks at a connection."""

HIGH_WATER: Final = 256 * 1024
"""Bytes that wait in all job streams together: beyond, no stream has room.

One queue serves all channels of a connection (aiortc), so what waits in the streams stands before the next
control message: 256 KiB are about 12 ms at 20 MB/s. A message is added below the mark, and may pass it.
"""
FAST_HIGH_WATER: Final = 1024 * 1024
"""The same on our own data path, where the control channel does not stand behind the others."""
CONTROL_HIGH_WATER: Final = 64 * 1024
"""Bytes that wait in the control channel: beyond, pages of long lists wait."""
CONTROL_CLOGGED: Final = 1024 * 1024
"""Bytes that wait in the control channel: beyond, the peer does not take what it is told."""
_MAX_MESSAGE_SIZE: Final = re.compile(r"^a=max-message-size:(\d{1,10})\s*$", re.MULTILINE)


class ChannelListener(Protocol):
    """Who hears of a connection's channels: a link."""

    def channel_opened(self, channel_id: int) -> None:
        """A channel that was opened here can carry messages."""

    def message_received(self, channel_id: int, message: bytes) -> None:
        """A binary message."""

    def text_received(self, channel_id: int) -> None:
        """A text message."""

    def channel_closed(self, channel_id: int) -> None:
        """A channel has closed at both ends; its id is free."""

    def writable(self, channel_id: int) -> None:
        """Less waits in a channel: there may be room again."""

    def connection_closed(self, reason: str) -> None:
        """The connection is gone, with every channel."""

    def failed(self, error: Exception) -> None:
        """The listener itself raised: it must end what it does, and may not raise again."""


class Channels:
    """The channels of one listener on a connection that somebody else owns."""

    def __init__(self, pc: RTCPeerConnection, listener: ChannelListener) -> None:
        """Wrap a connection; nothing of it is touched before open().

        Raises:
            SharingNotAvailable: It is closed, or was negotiated without a data section.
        """
        if pc.connectionState == "closed":
            raise SharingNotAvailable("the connection is closed")
        # aiortc's first channel on a connection that has connected without one puts its state back to
        # "connecting", and nothing travels before the two sides have negotiated again.
        if pc.sctp is None and (pc.localDescription is not None or pc.remoteDescription is not None):
            raise SharingNotAvailable(
                "the connection was negotiated without a data section: "
                "renegotiate with one (createDataChannel, then offer and answer), then attach"
            )
        self._pc = pc
        self._listener = listener
        self._channels: dict[int, RTCDataChannel] = {}
        self._control: int | None = None
        self._high_water = HIGH_WATER
        self._is_closed = False

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest message that the peer takes; 0: it does not say (RFC 8841 section 6.1)."""
        description: RTCSessionDescription | None = self._pc.remoteDescription
        found = _MAX_MESSAGE_SIZE.search(description.sdp) if description is not None else None
        return int(found[1]) if found else 0

    @property
    def takes_trains(self) -> bool:
        """Whether our own data path serves this end."""
        return isinstance(self._pc.sctp, SctpTransport)

    def send_trains(self) -> None:
        """Our own data path serves the other end: it takes trains of packets, and large ones.

        The SCTP handshake says so by itself, but not of an association that was taken over.
        """
        if isinstance(self._pc.sctp, SctpTransport):
            self._pc.sctp.peer_is_ours()

    def path_stats(self) -> PathStats | None:
        """What the path gives and has carried; None where aiortc's own transport carries it."""
        transport = self._pc.sctp
        return transport.stats() if isinstance(transport, SctpTransport) else None

    def open(self, channel_id: int) -> None:
        """Create the negotiated channel with this id; the first one is the control channel.

        Raises:
            SharingNotAvailable: The id is taken, or the connection is closed.
        """
        if self._is_closed or self._pc.connectionState == "closed":
            raise SharingNotAvailable("the connection is closed")
        label = CONTROL_LABEL if self._control is None else STREAM_LABEL
        try:
            channel = self._pc.createDataChannel(label, negotiated=True, id=channel_id)
        except ValueError as exc:
            raise SharingNotAvailable(
                f"the data channel id {channel_id} is in use on this connection"
            ) from exc
        if self._control is None:
            self._control = channel_id
            self._high_water = FAST_HIGH_WATER if self.takes_trains else HIGH_WATER
            self._pc.on("connectionstatechange", self._state_changed)
        self._channels[channel_id] = channel

        def guard(handler: Callable[[], None]) -> None:
            self._guarded(channel_id, channel, handler)

        def message_received(message: bytes | str) -> None:
            if isinstance(message, str):
                guard(lambda: self._listener.text_received(channel_id))
            else:
                guard(lambda: self._listener.message_received(channel_id, message))

        channel.on("message", message_received)
        channel.on("bufferedamountlow", lambda: guard(lambda: self._listener.writable(channel_id)))
        channel.on("close", lambda: guard(lambda: self._channel_closed(channel_id)))
        if channel.readyState == "open":  # the caller hears of it after this call, not within
            asyncio.get_running_loop().call_soon(self._opened, channel_id, channel)
        else:
            channel.on("open", lambda: self._opened(channel_id, channel))

    def send(self, channel_id: int, message: bytes) -> None:
        """Send a message; on a channel that is closing or closed it is dropped."""
        channel = self._channels.get(channel_id)
        if channel is not None and channel.readyState == "open":
            channel.send(message)

    def has_room(self, channel_id: int) -> bool:
        """Whether the channel may be given another message now; if not, writable() says when to ask."""
        channel = self._channels.get(channel_id)
        if channel is None or channel.readyState != "open":
            return False
        if channel_id == self._control:
            return channel.bufferedAmount < CONTROL_HIGH_WATER
        streams = [each for key, each in self._channels.items() if key != self._control]
        if sum(each.bufferedAmount for each in streams) < self._high_water:
            return True
        for each in streams:  # at least one of them holds something, and tells when half of it is gone
            each.bufferedAmountLowThreshold = each.bufferedAmount // 2
        return False

    @property
    def is_clogged(self) -> bool:
        """Whether the control channel holds so much that the peer does not seem to take it."""
        control = self._channels.get(self._control) if self._control is not None else None
        return control is not None and control.bufferedAmount >= CONTROL_CLOGGED

    def close_channel(self, channel_id: int) -> None:
        """Close one channel; what waits in it is sent first. Idempotent."""
        channel = self._channels.get(channel_id)
        if channel is not None:
            channel.close()

    def close(self) -> None:
        """Close our channels and let go of the connection, which stays open. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        for channel in list(self._channels.values()):
            channel.close()
        if self._state_changed in self._pc.listeners("connectionstatechange"):  # a closed pc has none
            self._pc.remove_listener("connectionstatechange", self._state_changed)

    # The seam ------------------------------------------------------------------------------------------

    def _guarded(self, channel_id: int, channel: RTCDataChannel, handler: Callable[[], None]) -> None:
        if self._channels.get(channel_id) is not channel:
            return
        self._run(handler)

    def _run(self, handler: Callable[[], None]) -> None:
        try:
            handler()
        except Exception as exc:  # the seam: whatever failed here, the program's connection must not
            logger.exception("the share side of a connection failed; the connection goes on")
            self._listener.failed(exc)

    def _opened(self, channel_id: int, channel: RTCDataChannel) -> None:
        if channel.readyState == "open":
            self._guarded(channel_id, channel, lambda: self._listener.channel_opened(channel_id))

    def _channel_closed(self, channel_id: int) -> None:
        del self._channels[channel_id]
        self._listener.channel_closed(channel_id)

    def _state_changed(self) -> None:
        state = self._pc.connectionState
        if state in ("closed", "failed") and not self._is_closed:
            self._run(lambda: self._listener.connection_closed(f"the connection is {state}"))
