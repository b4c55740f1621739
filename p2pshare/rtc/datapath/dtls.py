"""DTLS records in batches, on the connection that aiortc has made.

A batch of packets is N x SSL_write and one BIO_read; a received train is BIO_write of up to 16,000 bytes of
whole records, then SSL_read until it wants more: 0.6 to 0.8 us a record, where pyOpenSSL's methods take 2.3
(and serve where its binding lacks a name). Sizes of records are measured, never assumed: they depend on
the cipher, and CBC pads.

**The BIO that OpenSSL writes to is empty between calls**: what it says by itself (alerts, a flight again)
is taken out by `own_records` after every batch, and leaves one record a datagram.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from OpenSSL import SSL

from p2pshare.rtc.datapath import seams
from p2pshare.rtc.datapath.seams import ffi, lib

READ_AT_ONCE = 16_000
"Bytes of records that OpenSSL reads from its BIO as one datagram; of more it loses the last record."

MAX_PLAINTEXT = 1 << 14
"Bytes in a record (RFC 6347 section 4.1)."

_PACKETS_AT_MOST = 1 << 10  # in a train
_MAX_OVERHEAD = 256  # bytes a record may add: CBC with SHA-384 adds 93 at most
_READ_SIZE = 1 << 17
_HEADER_SIZE = 13
_APPLICATION_DATA = 23
_DTLS_1_2 = 0xFEFD

_allocate = ffi.new_allocator(should_clear_after_alloc=False)  # pages that no train reaches stay untouched

TakePackets = Callable[[Callable[[], int], float], int]
"""Called with a function that decrypts the next packet into the inbox and returns its size, and the time.
Calls that until it returns 0 or less; returns the same."""


class Sealed(NamedTuple):
    """The records of a train, in a buffer that the next train reuses."""

    size: int
    record: int
    "Bytes of each record; the last may be shorter."
    is_uniform: bool
    "Whether that holds. If not, the records have to be cut by their headers."


class Records(Protocol):
    """A DTLS connection that seals and opens many packets a call."""

    overhead: int
    "Bytes that a record adds to its packet, at most, of those sealed so far."

    def seal(self, size: int, packet_size: int) -> Sealed:
        """Encrypt the outbox's first ``size`` bytes: packets of ``packet_size``, the last may be shorter."""

    def sealed(self, size: int) -> Any:
        """The buffer of the sealed records."""

    def open(
        self, records: Any, view: memoryview, size: int, segment: int, take: TakePackets, now: float
    ) -> bool:
        """Have ``take`` decrypt datagrams of ``segment`` bytes, the last shorter, one by one into the inbox.

        Returns False when the peer has closed the connection (close_notify).
        """

    def own_records(self) -> list[bytes]:
        """What OpenSSL wants to say by itself, one record each."""


class BatchRecords:
    """By the functions of pyOpenSSL's binding, on the caller's buffers."""

    def __init__(self, connection: SSL.Connection, inbox: Any, outbox: Any) -> None:
        self._connection = connection  # keeps the pointers alive
        self._ssl, self._into, self._from = seams.pointers(connection)
        self._read = partial(lib.SSL_read, self._ssl, inbox, ffi.sizeof(inbox))
        self._outbox = outbox
        self._wire_size = ffi.sizeof(outbox) + _PACKETS_AT_MOST * _MAX_OVERHEAD
        self._wire = _allocate("char[]", self._wire_size)
        self._wire_view = memoryview(ffi.buffer(self._wire))
        self._record_sizes: dict[int, int] = {}
        self._starts: dict[int, list[Any]] = {}  # pointers at the packets: making them anew costs 0.1 us each
        self._headers = _Headers()
        self.overhead = 0

    def seal(self, size: int, packet_size: int) -> Sealed:
        """See `Records`."""
        write, read, ssl, outbox, wire = lib.SSL_write, lib.BIO_read, self._ssl, self._outbox, self._wire
        count = -(-size // packet_size)
        last = (count - 1) * packet_size
        record = self._record_sizes.get(packet_size, 0)
        start = sealed = 0
        if not record:  # the first of its size alone, to see how large its record is
            write(ssl, outbox, min(size, packet_size))
            record = sealed = max(0, read(self._from, wire, self._wire_size))
            start = packet_size
            if packet_size < record <= packet_size + _MAX_OVERHEAD and size >= packet_size:
                self._record_sizes[packet_size] = record
                self.overhead = max(self.overhead, record - packet_size)
        starts = self._starts.get(packet_size)
        if starts is None:
            starts = self._starts[packet_size] = [
                outbox + at for at in range(0, ffi.sizeof(outbox), packet_size)
            ]
        for packet in starts[1 if start else 0 : count - 1]:
            write(ssl, packet, packet_size)
        if start <= last:
            write(ssl, starts[count - 1], size - last)
            sealed += max(0, read(self._from, wire + sealed, self._wire_size - sealed))
        tail = sealed - record * (count - 1)
        is_whole = size - last == packet_size
        is_uniform = 0 < tail == record if is_whole else 0 < tail <= record
        if not is_uniform:
            lib.ERR_clear_error()  # closed meanwhile: the next call of aiortc's must not find our error
        return Sealed(sealed, record, is_uniform)

    def sealed(self, size: int) -> Any:
        """See `Records`."""
        return self._wire_view[:size]

    def open(
        self, records: Any, view: memoryview, size: int, segment: int, take: TakePackets, now: float
    ) -> bool:
        """See `Records`."""
        read, into = self._read, self._into
        lib.ERR_clear_error()  # a stale error of somebody else's would be taken for ours
        step = segment
        # A record of a foreign type or a wrong length costs OpenSSL the rest of its BIO: so only records
        # whose headers fit share one, and anything else goes in alone.
        if segment < size and self._headers.fit(view, size, segment):
            step *= max(1, READ_AT_ONCE // segment)
        result = 0
        for start in range(0, size, step):
            lib.BIO_write(into, records + start, step if size - start > step else size - start)
            result = take(read, now)
        error = lib.SSL_get_error(self._ssl, result)
        if error == lib.SSL_ERROR_WANT_READ:
            return True
        lib.ERR_clear_error()
        return bool(error != lib.SSL_ERROR_ZERO_RETURN)

    def own_records(self) -> list[bytes]:
        """See `Records`."""
        size = lib.BIO_read(self._from, self._wire, self._wire_size)
        if size <= 0:
            return []
        return list(cut(bytes(self._wire_view[:size])))


class MethodRecords:
    """By pyOpenSSL's methods alone: half as fast."""

    def __init__(self, connection: SSL.Connection, inbox: Any, outbox: Any) -> None:
        self._connection = connection
        self._inbox = inbox
        self._inbox_size = ffi.sizeof(inbox)
        self._outbox = memoryview(ffi.buffer(outbox))
        self._wire = b""
        self._is_open = True
        self.overhead = 0

    def seal(self, size: int, packet_size: int) -> Sealed:
        """See `Records`."""
        records = []
        for start in range(0, size, packet_size):
            try:
                self._connection.send(self._outbox[start : min(start + packet_size, size)])
                records.append(self._connection.bio_read(_READ_SIZE))
            except SSL.Error:  # closed meanwhile: as good as lost
                break
        self._wire = b"".join(records)
        record = len(records[0]) if records else 0
        self.overhead = max(self.overhead, record - min(size, packet_size))
        is_uniform = all(len(each) == record for each in records[:-1]) and bool(records)
        return Sealed(len(self._wire), record, is_uniform=is_uniform and len(records[-1]) <= record)

    def sealed(self, size: int) -> Any:
        """See `Records`."""
        return memoryview(self._wire)[:size]

    def open(
        self, records: Any, view: memoryview, size: int, segment: int, take: TakePackets, now: float
    ) -> bool:
        """See `Records`."""
        for start in range(0, size, segment):
            with suppress(SSL.Error):  # it does not take what is no record
                self._connection.bio_write(bytes(view[start : min(start + segment, size)]))
            take(self._read, now)
            if not self._is_open:
                break
        return self._is_open

    def _read(self) -> int:
        while True:
            try:
                packet = self._connection.recv(MAX_PLAINTEXT)
            except SSL.ZeroReturnError:
                self._is_open = False
                return 0
            except SSL.Error:  # wants more, or a broken record
                return 0
            if len(packet) <= self._inbox_size:
                ffi.memmove(self._inbox, packet, len(packet))
                return len(packet)

    def own_records(self) -> list[bytes]:
        """See `Records`."""
        try:
            return list(cut(self._connection.bio_read(_READ_SIZE)))
        except SSL.Error:
            return []


def records_of(connection: SSL.Connection, inbox: Any, outbox: Any) -> Records:
    """The fastest way there is."""
    chosen = BatchRecords if seams.has_lib() else MethodRecords
    return chosen(connection, inbox, outbox)


class _Headers:
    """Checks the headers of a whole train at once: 1.2 us for 45 records."""

    def __init__(self) -> None:
        self._expected: dict[tuple[int, int], tuple[bytes, ...]] = {}

    def fit(self, view: memoryview, size: int, segment: int) -> bool:
        """Whether each datagram is one record of application data of DTLS 1.2, as long as it says."""
        if segment <= _HEADER_SIZE:
            return False
        count, rest = divmod(size, segment)
        expected = self._expected.get((count, segment))
        if expected is None:
            expected = self._expect(count, segment)
        whole = count * segment
        if (
            view[0:whole:segment].tobytes() != expected[0]
            or view[1:whole:segment].tobytes() != expected[1]
            or view[2:whole:segment].tobytes() != expected[2]
            or view[11:whole:segment].tobytes() != expected[3]
            or view[12:whole:segment].tobytes() != expected[4]
        ):
            return False
        return not rest or (
            rest > _HEADER_SIZE
            and view[whole] == _APPLICATION_DATA
            and view[whole + 1] << 8 | view[whole + 2] == _DTLS_1_2
            and view[whole + 11] << 8 | view[whole + 12] == rest - _HEADER_SIZE
        )

    def _expect(self, count: int, segment: int) -> tuple[bytes, ...]:
        if len(self._expected) > 1_000:  # a peer that sends trains of every size
            self._expected.clear()
        length = segment - _HEADER_SIZE
        header = (_APPLICATION_DATA, _DTLS_1_2 >> 8, _DTLS_1_2 & 0xFF, length >> 8, length & 0xFF)
        expected = self._expected[count, segment] = tuple(bytes((byte,)) * count for byte in header)
        return expected


def cut(records: bytes) -> Iterator[bytes]:
    """Cut what OpenSSL wrote into its records; what cannot be read as one comes whole."""
    start = 0
    while start < len(records):
        stop = start + _record_size(records, start)
        yield records[start:stop]
        start = stop


def _record_size(records: bytes, start: int) -> int:
    """The size of the record at ``start`` (RFC 6347 section 4.1, RFC 9147 section 4)."""
    left = len(records) - start
    first = records[start]
    if first & 0xE0 == 0x20:  # the unified header of DTLS 1.3
        at = start + 1 + (2 if first & 0x08 else 1)
        if not first & 0x04 or first & 0x10 or at + 2 > len(records):
            return left
        size = at + 2 - start + int.from_bytes(records[at : at + 2], "big")
    elif left >= _HEADER_SIZE:
        size = _HEADER_SIZE + int.from_bytes(records[start + 11 : start + 13], "big")
    else:
        return left
    return min(size, left)
