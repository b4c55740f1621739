"""aiortc's SCTP transport over our association: what RTCPeerConnection and RTCDataChannel know and call.

The work is done elsewhere: pump drives the association, wire carries its packets, datachannels its messages.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final

from aiortc import RTCDataChannel, RTCDtlsTransport, RTCSctpCapabilities, RTCSctpTransport
from aiortc.rtcsctptransport import Chunk

from p2pshare.rtc.datapath import seams
from p2pshare.rtc.datapath.datachannels import DataChannels
from p2pshare.rtc.datapath.pump import Pump
from p2pshare.rtc.datapath.stats import PathStats
from p2pshare.rtc.datapath.wire import Wire
from p2pshare.rtc.sctp.association import Association
from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.events import (
    AssociationEvent,
    BytesSent,
    Closed,
    CloseReason,
    Established,
    MessageAbandoned,
    MessageReceived,
    PeerResponsive,
    PeerUnresponsive,
    StreamResetDenied,
    StreamsReset,
)
from p2pshare.rtc.sctp.snapshot import Snapshot

logger = logging.getLogger(__name__)

FOREIGN_PACKET_SIZE: Final = 1_500
"Bytes in the largest packet that another stack is sent."

MAX_MESSAGE_SIZE: Final = 8 << 20
"Bytes of the largest message that is sent, even to a peer that takes any size."


class SctpTransport(RTCSctpTransport):
    """What ``pc.sctp`` is. Emits "datachannel", and "livenesschange" when `liveness` changes."""

    urgent_streams: frozenset[int] = frozenset({240})
    "Ids of channels whose messages go before those of all others: by default our own control channel's."

    def __init__(self, transport: RTCDtlsTransport, port: int = 5000) -> None:
        super().__init__(transport, port)
        self._adopt()

    def _adopt(self) -> None:
        """Make a transport of aiortc's, that may be a minute old, one of ours; its class is ours already."""
        assert self._loop is not None
        self._event_loop = self._loop
        self._state = "new"
        self._liveness = "connected"
        self._association: Association | None = None
        self._pump: Pump | None = None
        self._channels = DataChannels(self, self._event_loop.time, self._wake)
        self._close_reason: CloseReason | None = None
        self._max_channels: int | None = None
        self._is_peer_ours = False
        self._use_wire()

    def _use_wire(self) -> None:
        self._dtls: RTCDtlsTransport = self.transport
        self._wire = Wire(self._dtls, self._event_loop.time)
        self._dtls.on("statechange", self._dtls_changed)

    def _dtls_changed(self) -> None:
        if self._association is not None and self._dtls.state in ("closed", "failed"):
            self._end(CloseReason.ABORTED_BY_PEER)

    # --- what aiortc and programs know ---------------------------------------------------------------------

    @property
    def state(self) -> str:
        """One of "new", "connecting", "connected", "closed"."""
        return self._state

    @property
    def maxChannels(self) -> int | None:  # noqa: N802  # aiortc's name
        """How many channels there can be at once; None before the association is established."""
        return self._max_channels

    @property
    def liveness(self) -> str:
        """Whether the peer answers: "connected"; "disconnected" after 5 s of silence; "failed" after 30."""
        return self._liveness

    def setTransport(self, transport: RTCDtlsTransport) -> None:  # noqa: N802  # aiortc's name
        """Move to the DTLS transport that BUNDLE shares with media."""
        super().setTransport(transport)
        self._dtls.remove_listener("statechange", self._dtls_changed)
        self._use_wire()

    async def start(self, remoteCaps: RTCSctpCapabilities | None, remotePort: int) -> None:  # noqa: N803  # aiortc's
        """Set the association up; DTLS is connected."""
        if self._state != "new":
            return
        self._state = "connecting"
        self._remote_port = remotePort
        if remoteCaps is not None:
            self._remote_max_message_size = remoteCaps.maxMessageSize
        now = self._event_loop.time()
        association = Association(
            self._config(), is_client=not seams.is_dtls_server(self._dtls), random=os.urandom, now=now
        )
        self._serve(association)
        association.connect(now)
        self._wake()

    def resume(self, snapshot: Snapshot, **channels: Any) -> None:
        """Go on with an association that stock has established."""
        self._state = "connected"
        self._max_channels = channels["max_streams"]
        is_dtls_server = seams.is_dtls_server(self._dtls)
        association = Association.take_over(
            snapshot,
            self._config(),
            is_client=not is_dtls_server,
            random=os.urandom,
            now=self._event_loop.time(),
        )
        self._serve(association)
        self._channels.resume(association, is_dtls_server=is_dtls_server, **channels)
        self._is_peer_ours = association.is_peer_ours
        self._adapt_to_peer(association)
        self._wake()

    def peer_is_ours(self) -> None:
        """Told by other means that the peer uses this data path: send it long trains and large packets.

        The handshake tells it of a peer that was ours from the start, not of one that was taken over.
        """
        association = self._association
        if association is None or self._is_peer_ours or self._state != "connected":
            return
        self._is_peer_ours = True
        association.trust_peer()
        self._adapt_to_peer(association)
        self._wake()

    async def stop(self) -> None:
        """Abort the association."""
        association = self._association
        if association is not None and self._pump is not None:
            association.abort("closed by the application")
            self._pump.now()
        self._end(CloseReason.ABORTED)

    def stats(self) -> PathStats:
        """What the path gives and what went over it."""
        association = self._association
        return PathStats.of(
            association.stats() if association is not None else None, self._wire.network, self._channels.drops
        )

    # --- what RTCDataChannel calls -------------------------------------------------------------------------

    def _data_channel_open(self, channel: RTCDataChannel) -> None:
        self._channels.open(channel)
        self._refuse_if_closed(channel)

    def _data_channel_add_negotiated(self, channel: RTCDataChannel) -> None:
        self._channels.add_negotiated(channel)
        self._refuse_if_closed(channel)

    def _refuse_if_closed(self, channel: RTCDataChannel) -> None:
        if self._state == "closed":  # it never opens: say so once the caller has its listeners in place
            self._event_loop.call_soon(self._channels.close, channel)

    def _data_channel_send(self, channel: RTCDataChannel, data: bytes | str) -> None:
        self._channels.send(channel, data, self._remote_max_message_size)
        self._wake()

    def _data_channel_close(self, channel: RTCDataChannel) -> None:
        self._channels.close(channel)

    # --- the association -----------------------------------------------------------------------------------

    def _config(self) -> AssociationConfig:
        assert self._remote_port is not None
        return AssociationConfig(
            local_port=self._local_port,
            remote_port=self._remote_port,
            receive_window=self._wire.receive_window,
            urgent_streams=self.urgent_streams,
            max_message_size=min(self._remote_max_message_size or MAX_MESSAGE_SIZE, MAX_MESSAGE_SIZE),
        )

    def _serve(self, association: Association) -> None:
        """Connect an association with the layers below."""
        self._association = association
        association.on_message = self._channels.message_received
        self._pump = Pump(
            association, self._wire, self._event_loop, prepare=self._channels.flush, handle=self._handle
        )
        seams.register_receiver(self._dtls, self)

    def _wake(self) -> None:
        if self._pump is not None:
            self._pump.soon()

    def _handle(self, event: AssociationEvent) -> None:
        channels = self._channels
        if isinstance(event, MessageReceived):
            channels.message_received(event.stream_id, event.ppid, event.payload)
        elif isinstance(event, (BytesSent, MessageAbandoned)):
            channels.bytes_sent(event)
        elif isinstance(event, StreamsReset):
            channels.streams_reset(event)
        elif isinstance(event, StreamResetDenied):
            channels.reset_denied(event)
        elif isinstance(event, Established):
            self._established(event)
        elif isinstance(event, PeerUnresponsive):
            self._set_liveness("disconnected")
        elif isinstance(event, PeerResponsive):
            self._set_liveness("connected")
        elif isinstance(event, Closed):
            self._end(event.reason)

    def _established(self, event: Established) -> None:
        assert self._association is not None
        self._state = "connected"
        self._max_channels = event.max_outbound_streams
        self._channels.established(self._association, event, is_dtls_server=seams.is_dtls_server(self._dtls))
        self._is_peer_ours = self._association.is_peer_ours
        self._adapt_to_peer(self._association)
        self._wake()

    def _adapt_to_peer(self, association: Association) -> None:
        """Packets as large, and SACKs as few, as the peer can do with."""
        if self._is_peer_ours:
            self._wire.peer_is_ours()
        # The peer's own largest is not known: stock aiortc reads 1,500 bytes of a record and never catches up
        # with what is left of a larger one.
        limit = association.config.max_packet_size if self._is_peer_ours else FOREIGN_PACKET_SIZE
        association.discover_packet_size(min(size, limit) for size in self._wire.packet_sizes())

    def _set_liveness(self, liveness: str) -> None:
        if liveness != self._liveness:
            self._liveness = liveness
            try:
                self.emit("livenesschange")
            except Exception:  # the program's listener
                logger.exception("a listener to 'livenesschange' failed")

    def _end(self, reason: CloseReason) -> None:
        if self._state == "closed":
            return
        self._state = "closed"
        self._close_reason = reason
        self._association = None
        if self._pump is not None:
            self._pump.close()
            self._pump = None
            seams.unregister_receiver(self._dtls, self)
        self._dtls.remove_listener("statechange", self._dtls_changed)
        self._channels.all_closed()
        if reason is CloseReason.PEER_SILENT:
            self._set_liveness("failed")
        self.remove_all_listeners()

    async def _receive_chunk(self, chunk: Chunk) -> None:
        """What stock was doing when it was taken over, from a listener of the program's, ends here."""

    async def _send_chunk(self, chunk: Chunk) -> None:
        """As `_receive_chunk`."""

    async def _handle_data(self, data: bytes) -> None:
        """A packet from aiortc's pump, that had come before its records were ours to take."""
        try:
            if self._pump is not None:
                self._pump.packet_received(data)
        except Exception:  # whatever it is: aiortc would close the whole connection
            logger.exception("a received packet could not be handled")
