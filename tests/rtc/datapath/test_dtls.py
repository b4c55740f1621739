"""Records in batches: what is sealed opens at the other end with any cipher; garbage costs only itself."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from aiortc import RTCCertificate
from OpenSSL import SSL

from p2pshare.rtc.datapath import dtls, seams
from p2pshare.rtc.datapath.dtls import BatchRecords, MethodRecords, Records, cut
from p2pshare.rtc.datapath.seams import ffi
from tests.rtc.datapath.peers import newest_dtls

WAYS = pytest.mark.parametrize("way", [BatchRecords, MethodRecords])
CIPHERS = pytest.mark.parametrize(
    "cipher",
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",  # CBC: pads
        "ECDHE-ECDSA-AES256-SHA",
    ],
)
GCM = "ECDHE-ECDSA-AES128-GCM-SHA256"
NOW = 7.5


class End:
    """One end of a DTLS connection in memory, and what it has opened."""

    def __init__(self, connection: SSL.Connection, way: type[BatchRecords] | type[MethodRecords]) -> None:
        self.connection = connection
        self.inbox = ffi.new("char[]", dtls.MAX_PLAINTEXT)
        self.outbox = ffi.new("char[]", 1 << 16)
        self.opened: list[bytes] = []
        self.records: Records = way(connection, self.inbox, self.outbox)

    def _take(self, read: Callable[[], int], now: float) -> int:
        assert now == NOW
        while (size := read()) > 0:
            self.opened.append(bytes(ffi.buffer(self.inbox, size)))
        return size

    def seal(self, packets: list[bytes]) -> list[bytes]:
        """As the data path does: records as they would leave in datagrams."""
        joined = b"".join(packets)
        ffi.buffer(self.outbox)[0 : len(joined)] = joined
        sealed = self.records.seal(len(joined), len(packets[0]))
        wire = bytes(self.records.sealed(sealed.size))
        if not sealed.is_uniform:
            return list(cut(wire))
        return [wire[at : at + sealed.record] for at in range(0, len(wire), sealed.record)]

    def open(self, datagrams: list[bytes]) -> bool:
        """Hand over one merged datagram; all but the last have to be of one size."""
        joined = b"".join(datagrams)
        buffer = ffi.new("char[]", joined)
        view = memoryview(ffi.buffer(buffer))
        return self.records.open(buffer, view, len(joined), len(datagrams[0]), self._take, NOW)


def pair(cipher: str, way: type[BatchRecords] | type[MethodRecords]) -> tuple[End, End]:
    """Two ends that have shaken hands."""
    ends = []
    for role in (SSL.Connection.set_connect_state, SSL.Connection.set_accept_state):
        certificate = RTCCertificate.generateCertificate()
        assert certificate.expires > datetime.datetime.now(tz=datetime.UTC)
        context = SSL.Context(SSL.DTLS_METHOD)
        context.use_certificate(certificate._cert)
        context.use_privatekey(certificate._key)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.set_cipher_list(cipher.encode())
        connection = SSL.Connection(context)
        role(connection)
        ends.append(connection)
    for _ in range(10):
        for here, there in (ends, reversed(ends)):
            with suppress(SSL.WantReadError):
                here.do_handshake()
            try:
                flight = here.bio_read(1 << 16)
            except SSL.WantReadError:
                continue
            for record in cut(flight):
                there.bio_write(record)
                with suppress(SSL.WantReadError):
                    there.do_handshake()
    left, right = (End(connection, way) for connection in ends)
    assert left.records.own_records() == right.records.own_records() == []
    return left, right


def packets(count: int, size: int, last: int | None = None) -> list[bytes]:
    sizes = [size] * (count - 1) + [last or size]
    return [bytes((i % 251,)) * each for i, each in enumerate(sizes)]


@WAYS
@CIPHERS
@pytest.mark.parametrize(
    "shape", [(1, 40), (1, 1_200), (2, 1_200), (45, 1_176), (45, 1_176, 64), (3, 500, 499)]
)
def test_a_train_opens_at_the_other_end(
    way: type[BatchRecords] | type[MethodRecords], cipher: str, shape: tuple[int, ...]
) -> None:
    left, right = pair(cipher, way)
    for _ in range(3):  # the first measures, the others know
        right.opened.clear()
        sent = packets(*shape)
        datagrams = left.seal(sent)
        assert len(datagrams) == len(sent)
        assert right.open(datagrams)
        assert right.opened == sent


@WAYS
def test_trains_of_many_sizes_follow_each_other(way: type[BatchRecords] | type[MethodRecords]) -> None:
    left, right = pair(GCM, way)
    for size in (1_200, 28, 1_404, 100, 1_200, 8_000, 16_000):
        right.opened.clear()
        sent = packets(4, size, size // 2)
        assert right.open(left.seal(sent))
        assert right.opened == sent


@WAYS
def test_trains_go_over_the_newest_dtls_that_openssl_has(
    way: type[BatchRecords] | type[MethodRecords],
) -> None:
    left, right = pair(GCM, way)
    assert left.connection.get_protocol_version() == newest_dtls()
    sent = packets(20, 1_176, 90)
    assert right.open(left.seal(sent))
    assert right.opened == sent


@WAYS
@pytest.mark.parametrize("at", [0, 3, 12, 19])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: bytes(len(record)),
        lambda record: b"\x63" + record[1:],  # a foreign type
        lambda record: record[:1] + b"\x03\x03" + record[3:],  # a foreign version
        lambda record: record[:11] + b"\xff\xff" + record[13:],  # a wrong length
        lambda record: record[:11] + b"\0\1" + record[13:],
        lambda record: record[:-1] + bytes((record[-1] ^ 1,)),  # a wrong tag
        lambda record: record[:3] + b"\0\7" + record[5:],  # a foreign epoch
        lambda record: b"\x15" + record[1:],  # an alert that is none
        lambda record: b"\x16" + record[1:],
    ],
)
def test_a_garbage_record_in_a_train_costs_only_itself(
    way: type[BatchRecords] | type[MethodRecords], at: int, spoil: Callable[[bytes], bytes]
) -> None:
    left, right = pair(GCM, way)
    sent = packets(20, 1_176)
    datagrams = left.seal(sent)
    datagrams[at] = spoil(datagrams[at])
    assert right.open(datagrams)
    assert right.opened == sent[:at] + sent[at + 1 :]
    more = packets(5, 1_176)
    right.opened.clear()
    assert right.open(left.seal(more))
    assert right.opened == more


@WAYS
def test_a_short_garbage_record_at_the_end_costs_only_itself(
    way: type[BatchRecords] | type[MethodRecords],
) -> None:
    left, right = pair(GCM, way)
    sent = packets(20, 1_176)
    datagrams = left.seal(sent)
    assert right.open([*datagrams, b"\x17\xfe\xfd"])
    assert right.open([b"\x17"])
    assert right.opened == sent


@WAYS
def test_a_replayed_train_opens_once(way: type[BatchRecords] | type[MethodRecords]) -> None:
    left, right = pair(GCM, way)
    sent = packets(10, 1_176)
    datagrams = left.seal(sent)
    assert right.open(datagrams)
    assert right.open(datagrams)
    assert right.opened == sent


@WAYS
def test_close_notify_is_told(way: type[BatchRecords] | type[MethodRecords]) -> None:
    left, right = pair(GCM, way)
    left.connection.shutdown()
    (alert,) = left.records.own_records()
    assert not right.open([alert])


@WAYS
def test_sealing_on_a_closed_connection_sends_nothing(way: type[BatchRecords] | type[MethodRecords]) -> None:
    left, _ = pair(GCM, way)
    left.connection.shutdown()
    left.records.own_records()
    assert left.seal(packets(3, 1_000)) == []
    assert left.seal(packets(1, 1_000)) == []
    assert seams.lib.ERR_peek_error() == 0


@WAYS
def test_a_stale_error_of_somebody_elses_is_not_taken_for_ours(
    way: type[BatchRecords] | type[MethodRecords],
) -> None:
    left, right = pair(GCM, way)
    lib: Any = seams.lib
    context = SSL.Context(SSL.DTLS_METHOD)
    lib.SSL_CTX_set_cipher_list(context._context, b"no such cipher")  # leaves an error in OpenSSL's queue
    sent = packets(3, 1_000)
    assert right.open(left.seal(sent))
    assert right.opened == sent
    assert lib.ERR_peek_error() == 0 or way is MethodRecords
    lib.ERR_clear_error()


def test_the_fallback_serves_where_the_binding_lacks_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    left, _ = pair(GCM, BatchRecords)

    def chosen() -> type:
        return type(dtls.records_of(left.connection, left.inbox, left.outbox))

    assert chosen() is BatchRecords
    monkeypatch.setattr(seams, "LIB_NAMES", ("SSL_read", "SSL_write_sideways"))
    assert chosen() is MethodRecords


def test_what_openssl_says_by_itself_is_cut_into_its_records() -> None:
    plain = [b"\x16\xfe\xfd" + bytes(8) + n.to_bytes(2, "big") + bytes(n) for n in (5, 0, 300)]
    assert list(cut(b"".join(plain))) == plain
    unified = [b"\x2c\0\1" + n.to_bytes(2, "big") + bytes(n) for n in (20, 21)]
    assert list(cut(b"".join(unified))) == unified
    assert list(cut(b"\x16\xfe")) == [b"\x16\xfe"]
    assert list(cut(b"\x24\0\1")) == [b"\x24\0\1"]
    assert list(cut(plain[2][:100])) == [plain[2][:100]]
    assert list(cut(b"")) == []
