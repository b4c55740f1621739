"""The sockets of one ICE agent, taken over from asyncio, and the way out through its nominated pair.

A socket is duplicated and asyncio's transport closed: the agent's protocols keep their addresses, their
transactions and their consent checks. A relayed candidate (TURN) has no socket of its own: it keeps its
transport, behind the same guard, and takes one packet a call.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from aioice import Connection
from aioice.ice import StunProtocol

from p2pshare.rtc.datapath import offload, seams
from p2pshare.rtc.datapath.guard import DTLS_BELOW, DTLS_FROM, Guard
from p2pshare.rtc.datapath.udp import GATHERED_OF_FOREIGNERS, OffloadTransport, RecordsReceived

logger = logging.getLogger(__name__)

PATH_MTUS = (1280, 1400, 1492, 1500, 9000)
"What paths take: IPv6's minimum, tunnels, PPPoE, Ethernet, its jumbo frames."

IPV4_HEADER, IPV6_HEADER, UDP_HEADER = 20, 40, 8


class Network:
    """What is below the DTLS transport."""

    def __init__(self, connection: Connection) -> None:
        self.guard = Guard(connection)
        self._connection = connection
        self._on_records: RecordsReceived | None = None
        self._on_drained: Callable[[], None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self._on_window: Callable[[], None] | None = None
        self._is_unfragmented = False
        self._gathers = GATHERED_OF_FOREIGNERS
        self._drain: asyncio.Handle | None = None

    @property
    def connection(self) -> Connection:
        """The ICE agent."""
        return self._connection

    def take_sockets(self) -> None:
        """Take over what candidates have been gathered so far. Idempotent."""
        for protocol in seams.protocols(self._connection):
            if not isinstance(protocol.transport, OffloadTransport):
                self._take(protocol)

    def _take(self, protocol: StunProtocol) -> None:
        stock = protocol.transport
        vars(protocol)["datagram_received"] = partial(self._receive_one, protocol)
        held = stock.get_extra_info("socket")
        if held is None or stock.is_closing():
            return
        try:
            sock = socket.socket(fileno=os.dup(held.fileno()))
        except OSError:  # too many open files; Windows, whose sockets are no descriptors
            return
        try:
            taken = OffloadTransport(asyncio.get_running_loop(), sock, protocol, self.guard)
        except (NotImplementedError, OSError):  # a loop that cannot watch sockets
            sock.close()
            return
        self._connect(taken)
        stock.set_protocol(asyncio.DatagramProtocol())
        stock.close()
        protocol.connection_made(taken)

    def _receive_one(self, protocol: StunProtocol, datagram: bytes, address: tuple[Any, ...]) -> None:
        """One datagram through a transport of somebody else's. Its records are not for aiortc's pump either:

        that reads 1,500 bytes of each, and what is left of a larger one holds up all that follow.
        """
        if (
            self._on_records is None
            or not datagram
            or not DTLS_FROM <= datagram[0] < DTLS_BELOW
            or not self.guard.trusts(address)
        ):
            self.guard.receive(protocol, datagram, address)
            return
        if self._drain is None:
            self._drain = asyncio.get_running_loop().call_soon(self._drained)
        try:
            size = len(datagram)
            self._on_records(seams.ffi.from_buffer(datagram), memoryview(datagram), size, size)
        except Exception:  # whatever it is: it must not reach aioice
            logger.exception("a received record could not be handled")

    def _drained(self) -> None:
        self._drain = None
        if self._on_drained is not None:
            self._on_drained()

    def _connect(self, transport: OffloadTransport) -> None:
        transport.on_records = self._on_records
        transport.on_drained = self._on_drained
        transport.on_writable = self._on_writable
        transport.on_window = self._on_window
        transport.gathers = self._gathers
        if self._is_unfragmented:
            transport.forbid_fragments()

    def open(
        self,
        on_records: RecordsReceived,
        on_drained: Callable[[], None],
        on_writable: Callable[[], None],
        on_window: Callable[[], None],
    ) -> None:
        """Hand DTLS records to us from now on, no longer to aiortc's pump: the handshake is done."""
        self._on_records, self._on_drained = on_records, on_drained
        self._on_writable, self._on_window = on_writable, on_window
        self._is_unfragmented = True
        for transport in self._transports():
            self._connect(transport)

    def gather(self, count: int) -> None:
        """Hand over up to so many datagrams together that come singly."""
        self._gathers = count
        for transport in self._transports():
            transport.gathers = count

    def close(self) -> None:
        """Hand DTLS records to aiortc's pump again. The sockets stay: aioice closes them."""
        self._on_records = self._on_drained = self._on_writable = self._on_window = None
        for transport in self._transports():
            self._connect(transport)

    def _transports(self) -> list[OffloadTransport]:
        transports = (protocol.transport for protocol in seams.protocols(self._connection))
        return [transport for transport in transports if isinstance(transport, OffloadTransport)]

    def chosen(self) -> OffloadTransport | None:
        """The socket of the nominated pair; None while there is none, or where a relay carries the data."""
        pair = seams.nominated(self._connection)
        transport = pair.protocol.transport if pair is not None else None
        return transport if isinstance(transport, OffloadTransport) else None

    @property
    def is_relayed(self) -> bool:
        """Whether packets go one a call, through a transport of somebody else's."""
        return seams.nominated(self._connection) is not None and self.chosen() is None

    def packet_sizes(self, overhead: int) -> list[int]:
        """Sizes that packets may have on the way to the peer if a record adds ``overhead`` bytes to one.

        The usual path MTUs, as far as the first link takes them, and what that link takes. None for a relay,
        whose own limits are not known.
        """
        pair = seams.nominated(self._connection)
        if pair is None or self.chosen() is None:
            return []
        link = offload.link_mtu(pair.remote_addr)
        headers = (IPV6_HEADER if ":" in pair.remote_addr[0] else IPV4_HEADER) + UDP_HEADER + overhead
        return [mtu - headers for mtu in sorted({*PATH_MTUS, link}) if mtu <= link]

    @property
    def is_blocked(self) -> bool:
        """Whether the socket is full; on_writable says when it no longer is."""
        transport = self.chosen()
        return transport is not None and transport.is_queueing

    def send(self, train: Any, segment: int, *, may_fragment: bool = False) -> bool:
        """Send datagrams of ``segment`` bytes, the last may be shorter, to the peer.

        ``may_fragment``: they may be larger than the path takes, and arrive all the same.
        Returns False when they wait for a full socket. Without a nominated pair (closing) they are dropped.
        """
        pair = seams.nominated(self._connection)  # looked up each time: it may change, and goes at close
        if pair is None:
            return True
        transport = pair.protocol.transport
        if isinstance(transport, OffloadTransport):
            if may_fragment:
                return transport.send_fragmented(train, segment, pair.remote_addr)
            return transport.send_train(train, segment, pair.remote_addr)
        for start in range(0, len(train), segment):
            transport.sendto(bytes(train[start : start + segment]), pair.remote_addr)
        return True

    def send_probe(self, record: Any) -> bool:
        """Send one record that may be too large; returns False when the first link refuses it."""
        transport = self.chosen()
        if transport is None:
            return False
        refused = transport.stats.too_large
        self.send(record, len(record))
        return transport.stats.too_large == refused

    def hang_up(self) -> None:
        """Tell aiortc that the peer has closed the DTLS connection: its pump then closes all states."""
        seams.received(self._connection).put_nowait(None)
