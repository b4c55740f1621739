"""A datagram transport under aioice's StunProtocol that moves trains of datagrams a system call.

It is asyncio's DatagramTransport for who holds it (aioice), on the same socket, and has a second door for
the data path: `send_train`, `on_records`. What the kernel or the path refuses (offload.py) is turned off for
this socket, and the same bytes go one by one: 16 us a packet instead of 0.3.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from aioice.ice import StunProtocol

from p2pshare.rtc.datapath import offload
from p2pshare.rtc.datapath.guard import DTLS_BELOW, DTLS_FROM, Guard
from p2pshare.rtc.datapath.receive_buffer import ReceiveBuffer
from p2pshare.rtc.datapath.seams import ffi

logger = logging.getLogger(__name__)

BUFFER_SIZE = 4 << 20
"Bytes asked for SO_RCVBUF and SO_SNDBUF: the kernel grants what net.core.rmem_max allows."

DATAGRAMS_PER_WAKE_UP = 256
"Received in one turn of the event loop, a millisecond of them, so that a busy socket starves nobody."

GATHERED_OF_FOREIGNERS = 6
GATHERED_OF_OURS = 32
"Datagrams that are passed on together when they come singly. Foreign senders want their SACKs sooner."

QUEUE_LIMIT = 1 << 20
"Bytes that wait for a full socket: then the newest are dropped, as a network would."

_RECEIVE_SIZE = 1 << 17  # a merged datagram is up to 64 KiB: one byte too few truncates it (MSG_TRUNC)
_GATHERED_AT_MOST = _RECEIVE_SIZE - (1 << 16)
_OTHERS_WEIGH = 8  # as many times as a record of ours costs what is for aioice or aiortc
_CONTROL_SIZE = 64  # without room for the control message the segment size is lost (MSG_CTRUNC)
_INT = struct.Struct("i")
_UINT16 = struct.Struct("H")
_REFUSED = frozenset({errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.EMSGSIZE})

RecordsReceived = Callable[[Any, memoryview, int, int], None]
"Called with a char*, the same bytes as a view, their size, and the size of each datagram but the last."


class _ReceiveBuffer(threading.local):
    """One for all sockets of a thread: a wake-up leaves nothing in it. (asyncio maps memory a datagram.)"""

    def __init__(self) -> None:
        self.pointer = ffi.new("char[]", _RECEIVE_SIZE)
        self.view = memoryview(ffi.buffer(self.pointer))


_receive_buffer = _ReceiveBuffer()


@dataclass(slots=True)
class SocketStats:
    """What one socket did. Datagrams divided by calls is what offload gives."""

    receives: int = 0
    datagrams_received: int = 0
    sends: int = 0
    datagrams_sent: int = 0
    queued: int = 0
    "Sends that met a full socket."
    dropped: int = 0
    "Sends that met a full queue."
    too_large: int = 0
    "Datagrams larger than the local network takes."


class OffloadTransport(asyncio.DatagramTransport):
    """A UDP socket of an ICE agent."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: StunProtocol,
        guard: Guard,
        offers: offload.Offload | None = None,
    ) -> None:
        """Serve a bound socket, which becomes this object's own.

        Raises:
            NotImplementedError: The loop cannot watch a socket (Windows' proactor).
        """
        super().__init__({"socket": sock, "sockname": sock.getsockname()})
        if offers is None:
            offers = offload.probe()
        self.stats = SocketStats()
        self.segments = offers.segments
        self.gathers = GATHERED_OF_FOREIGNERS
        self.merges = offers.merges and _set(sock, offload.SOL_UDP, offload.UDP_GRO, 1)
        self.on_records: RecordsReceived | None = None
        self.on_drained: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.on_window: Callable[[], None] | None = None
        "Called when `receive_buffer.window` has changed."
        self._loop = loop
        self._socket = sock
        self._protocol = protocol
        self._guard = guard
        self._is_closing = False
        self._is_unfragmented = False
        self._queue: deque[tuple[Any, int, Any]] = deque()
        self._queue_size = 0
        self._ancillary: dict[int, list[tuple[int, int, bytes]]] = {}
        sock.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            _set(sock, socket.SOL_SOCKET, option, BUFFER_SIZE)
        self.receive_buffer = ReceiveBuffer(sock)
        self.send_buffer_size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        loop.add_reader(sock.fileno(), self._ready)

    # --- asyncio.DatagramTransport -------------------------------------------------------------------------

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram: STUN, media, a handshake."""
        if self._is_closing:
            return
        if self._queue:
            self._enqueue(data, 0, addr)
            return
        self._send_single(data, addr, may_fragment=True)

    def close(self) -> None:
        """Close when what waits has gone. Idempotent."""
        if self._is_closing:
            return
        self._is_closing = True
        self._loop.remove_reader(self._socket.fileno())
        if not self._queue:
            self._loop.call_soon(self._closed)

    def abort(self) -> None:
        """Close at once. Idempotent."""
        if self._queue:
            self._loop.remove_writer(self._socket.fileno())
            self._queue.clear()
            self._queue_size = 0
            if self._is_closing:
                self._loop.call_soon(self._closed)
        self.close()

    def is_closing(self) -> bool:
        """Whether close() or abort() was called."""
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for a full socket."""
        return self._queue_size

    def _closed(self) -> None:
        if self._socket.fileno() >= 0:
            self.on_records = self.on_drained = self.on_writable = self.on_window = None
            self._socket.close()
            self._protocol.connection_lost(None)

    # --- trains --------------------------------------------------------------------------------------------

    def forbid_fragments(self) -> None:
        """Have a datagram that is too large for the path lost, not cut: packet size discovery asks for it."""
        self._is_unfragmented = offload.forbid_fragments(self._socket)

    @property
    def is_queueing(self) -> bool:
        """Whether the socket is full: nothing should be encrypted until on_writable is called."""
        return bool(self._queue)

    def send_train(self, train: Any, segment: int, address: Any) -> bool:
        """Send a buffer of datagrams of ``segment`` bytes each, of which the last may be shorter.

        Returns False when it waits for a full socket.
        """
        size = len(train)
        if self._is_closing or self._queue:
            self._enqueue(train, segment, address)
            return False
        if size <= segment:
            return self._send_single(train, address)
        if not self.segments:
            return self._send_singly(train, segment, address)
        count = -(-size // segment)
        if count > offload.MAX_SEGMENTS or size > offload.MAX_SEND_SIZE:
            step = segment * max(1, min(offload.MAX_SEGMENTS, offload.MAX_SEND_SIZE // segment))
            parts = [train[start : start + step] for start in range(0, size, step)]
            return [self.send_train(part, segment, address) for part in parts][-1]
        try:
            self._socket.sendmsg((train,), self._segmented(segment), 0, address)
        except (BlockingIOError, InterruptedError):
            self._enqueue(train, segment, address)
            return False
        except OSError as exc:
            return self._refused(exc, train, segment, address)
        self.stats.sends += 1
        self.stats.datagrams_sent += count
        return True

    def send_fragmented(self, train: Any, segment: int, address: Any) -> bool:
        """As `send_train`, of datagrams that may be larger than the path takes: the network may cut them."""
        if not self._is_unfragmented or self._queue:
            return self.send_train(train, segment, address)
        offload.forbid_fragments(self._socket, forbid=False)
        self._is_unfragmented = False
        try:
            return self._send_singly(train, segment, address)
        finally:
            self.forbid_fragments()

    def _segmented(self, segment: int) -> list[tuple[int, int, bytes]]:
        ancillary = self._ancillary.get(segment)
        if ancillary is None:
            control = (offload.SOL_UDP, offload.UDP_SEGMENT, _UINT16.pack(segment))
            ancillary = self._ancillary[segment] = [control]
        return ancillary

    def _refused(self, exc: OSError, train: Any, segment: int, address: Any) -> bool:
        """A train was refused: because of its datagrams' size, or because there is no offload here."""
        if exc.errno not in _REFUSED:
            self._protocol.error_received(exc)
            return True
        too_large = self.stats.too_large
        if not self._send_singly(train[0:segment], segment, address):
            self._enqueue(train[segment:], segment, address)
            return False
        if self.stats.too_large > too_large:  # the network became smaller: the association will find out
            return True
        logger.info("no segmentation offload on this path: %s", exc)
        self.segments = False
        return self._send_singly(train[segment:], segment, address)

    def _send_singly(self, train: Any, segment: int, address: Any) -> bool:
        for start in range(0, len(train), segment):
            if not self._send_single(train[start : start + segment], address):
                rest = train[start + segment :]
                if len(rest):
                    self._enqueue(rest, segment, address)
                return False
        return True

    def _send_single(self, datagram: Any, address: Any, *, may_fragment: bool = False) -> bool:
        try:
            self._sendto(datagram, address)
        except (BlockingIOError, InterruptedError):
            self._enqueue(datagram, 0 if may_fragment else len(datagram), address)
            return False
        except OSError as exc:
            if exc.errno == errno.EMSGSIZE:
                if may_fragment and self._is_unfragmented:
                    return self.send_fragmented(datagram, len(datagram), address)
                self.stats.too_large += 1
            self._protocol.error_received(exc)
        else:
            self.stats.sends += 1
            self.stats.datagrams_sent += 1
        return True

    def _sendto(self, datagram: Any, address: Any) -> None:
        if address is None:
            self._socket.send(datagram)
        else:
            self._socket.sendto(datagram, address)

    # --- a full socket -------------------------------------------------------------------------------------

    def _enqueue(self, train: Any, segment: int, address: Any) -> None:
        if self._is_closing or self._queue_size + len(train) > QUEUE_LIMIT:
            self.stats.dropped += 1
            return
        if not self._queue:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self.stats.queued += 1
        self._queue.append((bytes(train), segment, address))
        self._queue_size += len(train)

    def _writable(self) -> None:
        waiting, self._queue = self._queue, deque()
        self._queue_size = 0
        self._loop.remove_writer(self._socket.fileno())
        is_closing, self._is_closing = self._is_closing, False
        for train, segment, address in waiting:  # what does not go now queues again, in its order
            if segment:
                self.send_train(train, segment, address)
            else:
                self.sendto(train, address)
        self._is_closing = is_closing
        if self._queue:
            return
        if is_closing:
            self._loop.call_soon(self._closed)
        elif self.on_writable is not None:
            self.on_writable()

    # --- receiving -----------------------------------------------------------------------------------------

    def _ready(self) -> None:
        """Receive what waits, and pass it on in batches.

        Datagrams of one size and from one address that come singly, or in short trains, are gathered behind
        one another, as the kernel merges them where it does: what is done once a batch, here and above,
        costs 10 us.
        """
        receive, view, stats = self._socket.recvmsg_into, _receive_buffer.view, self.stats
        start = stop = segment = 0
        sender: Any = None
        left = DATAGRAMS_PER_WAKE_UP
        charged, received, before = self.receive_buffer.sample(), 0, stats.datagrams_received
        while left > 0:
            try:
                size, ancillary, _, address = receive((view[stop:],), _CONTROL_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:  # an ICMP error of an earlier datagram; the next call receives again
                self._protocol.error_received(exc)
                left -= 1
                continue
            stats.receives += 1
            each = size
            for level, kind, value in ancillary:
                if level == offload.SOL_UDP and kind == offload.UDP_GRO:
                    each = _INT.unpack_from(value)[0]
            if not size:
                self._guard.receive(self._protocol, b"", address)
                left -= 1
                continue
            if start < stop and not (
                address == sender
                and (stop - start) % segment == 0
                and (each == segment or size == each < segment)  # a shorter one is a train's last
            ):
                left -= self._deliver(start, stop, segment, sender)
                if self._is_closing:
                    return
                start = stop
            if start == stop:
                segment, sender = each, address
            stop += size
            received += size
            if stop - start >= self.gathers * segment or stop > _GATHERED_AT_MOST:
                left -= self._deliver(start, stop, segment, sender)
                if self._is_closing:
                    return
                start = stop = 0
        if start < stop:
            left -= self._deliver(start, stop, segment, sender)
            if self._is_closing:
                return
        if charged and left > 0:  # else the socket may not be empty
            datagrams = stats.datagrams_received - before
            if self.receive_buffer.emptied(charged, received, datagrams) and self.on_window is not None:
                self.on_window()
        if self.on_drained is not None:
            self.on_drained()

    def _deliver(self, start: int, stop: int, segment: int, address: Any) -> int:
        """Pass on datagrams of ``segment`` bytes, the last shorter, from the buffer; returns their weight."""
        view = _receive_buffer.view
        firsts = view[start:stop:segment].tobytes()
        count = len(firsts)
        self.stats.datagrams_received += count
        if min(firsts) >= DTLS_FROM and max(firsts) < DTLS_BELOW and self.on_records is not None:
            if self._guard.trusts(address):
                self.on_records(_receive_buffer.pointer + start, view[start:stop], stop - start, segment)
            else:
                self._guard.drops.strange += count
        else:
            self._deliver_mixed(firsts, start, stop, segment, address)
            count *= _OTHERS_WEIGH
        return count

    def _deliver_mixed(self, firsts: bytes, start: int, stop: int, segment: int, address: Any) -> None:
        """A consent check among DTLS records, media, a handshake: the kernel merges what is of one size."""
        view = _receive_buffer.view
        for is_dtls, run in groupby(firsts, key=_is_dtls):
            end = min(start + segment * len(list(run)), stop)
            if is_dtls and self.on_records is not None and self._guard.trusts(address):
                self.on_records(_receive_buffer.pointer + start, view[start:end], end - start, segment)
            else:
                for at in range(start, end, segment):
                    self._guard.receive(self._protocol, bytes(view[at : min(at + segment, end)]), address)
            start = end


def _is_dtls(first: int) -> bool:
    return DTLS_FROM <= first < DTLS_BELOW


def _set(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True
