"""The DTLS connection and the network below one association: its trains out, packets into its inbox.

The hot path of both directions, 0.9 us a packet to send and 1.0 to receive, of which OpenSSL takes 0.7 each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiortc import RTCDtlsTransport

from p2pshare.rtc.datapath import seams
from p2pshare.rtc.datapath.dtls import Records, cut, records_of
from p2pshare.rtc.datapath.network import Network
from p2pshare.rtc.datapath.seams import ffi
from p2pshare.rtc.datapath.udp import GATHERED_OF_OURS
from p2pshare.rtc.sctp.association import Association
from p2pshare.rtc.sctp.tx.outbox import Train

UNKNOWN_WINDOW: Final = 104_857
"For a socket that is not ours: 0.4 of the 262,144 bytes that aioice asks for as receive buffer."


class Wire:
    """Made before there is anything to connect; `open` when DTLS is connected."""

    def __init__(self, dtls: RTCDtlsTransport, clock: Callable[[], float]) -> None:
        """Guard the sockets below, and take them over as soon as there are some."""
        self.network = Network(seams.ice_connection(dtls))
        self._dtls = dtls
        self._clock = clock
        self._association: Association | None = None
        self._records: Records | None = None
        self._batch_received: Callable[[float, int], None] | None = None
        gatherer = dtls.transport.iceGatherer

        def gathered() -> None:
            if gatherer.state == "completed":
                self.network.take_sockets()

        gathered()
        gatherer.on("statechange", gathered)

    def open(
        self,
        association: Association,
        *,
        batch_received: Callable[[float, int], None],
        drained: Callable[[], None],
        writable: Callable[[], None],
    ) -> None:
        """Serve an association; ``batch_received(now, packets)`` follows each receive."""
        self.network.take_sockets()
        self._association = association
        self._batch_received = batch_received
        self._records = records_of(seams.ssl_connection(self._dtls), association.inbox, association.outbox)
        self._send_own_records()
        # What a record adds is known once some are sealed. These are not sent: to DTLS they are lost ones.
        for size in range(64, 80, 4):  # CBC pads by up to 16 bytes
            self._records.seal(size, size)
        self.network.open(self._records_received, drained, writable, self._window_changed)

    def close(self) -> None:
        """Leave DTLS to aiortc again."""
        self._association = None
        self.network.close()

    def peer_is_ours(self) -> None:
        """The peer's trains do not wait for each SACK: what comes singly is taken in longer batches."""
        self.network.gather(GATHERED_OF_OURS)

    @property
    def receive_window(self) -> int:
        """Bytes that may be on the way to us."""
        socket = self.network.chosen()
        return UNKNOWN_WINDOW if socket is None else socket.receive_buffer.window

    def _window_changed(self) -> None:
        if self._association is not None:
            self._association.set_receive_window(self.receive_window)

    def packet_sizes(self) -> list[int]:
        """Sizes that packets may have on the way to the peer."""
        assert self._records is not None
        return self.network.packet_sizes(self._records.overhead)

    # --- out -----------------------------------------------------------------------------------------------

    @property
    def may_send(self) -> bool:
        """Whether a train would leave now. If not, none is to be built: a sealed record is sent or lost."""
        return seams.is_connected(self._dtls) and not self.network.is_blocked

    def send(self, train: Train, now: float) -> bool:
        """Seal and send what lies in the outbox. Returns False if the socket is full: writable() follows."""
        records, network = self._records, self.network
        assert records is not None
        sealed = records.seal(train.size, train.packet_size)
        seams.count_sent(self._dtls, sealed.size, train.count)
        wire = records.sealed(sealed.size)
        if train.is_probe:
            if not network.send_probe(wire) and self._association is not None:
                self._association.probe_failed(now)
            return True
        if sealed.is_uniform:
            return network.send(wire, sealed.record, may_fragment=train.is_oversized)
        for record in cut(bytes(wire)):
            network.send(record, len(record), may_fragment=train.is_oversized)
        return self.may_send

    def _send_own_records(self) -> None:
        """What OpenSSL has to say: an alert, a flight of the handshake that the peer did not get."""
        assert self._records is not None
        for record in self._records.own_records():
            seams.count_sent(self._dtls, len(record), 1)
            self.network.send(record, len(record))

    # --- in ------------------------------------------------------------------------------------------------

    def _records_received(self, datagrams: Any, view: memoryview, size: int, segment: int) -> None:
        """One receive's worth of DTLS records."""
        association, records, batch_received = self._association, self._records, self._batch_received
        if association is None or records is None or batch_received is None:
            return
        count = -(-size // segment)
        seams.count_received(self._dtls, size, count)
        if not seams.is_connected(self._dtls):
            return
        now = self._clock()
        is_open = records.open(datagrams, view, size, segment, association.receive_packets, now)
        self._send_own_records()
        if not is_open:
            self.network.hang_up()
        batch_received(now, count)

    def receive(self, packet: bytes, now: float) -> bool:
        """Take a packet that aiortc has decrypted. Returns whether there is an association to take it."""
        association = self._association
        if association is None or len(packet) > association.inbox_size:
            return False
        ffi.memmove(association.inbox, packet, len(packet))
        association.receive_packet(len(packet), now)
        return True
