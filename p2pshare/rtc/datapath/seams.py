"""Every private name of aiortc, aioice and pyOpenSSL that the data path uses, each in one place.

The fast path is on only for the versions in `TESTED`; for any other, stock aiortc serves.
tests/rtc/datapath/test_seams.py fails for each name that a new version changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import aiortc.rtcpeerconnection
from aioice import Connection
from aioice.ice import CandidatePair, StunProtocol
from aiortc import RTCDtlsTransport, RTCPeerConnection
from aiortc.rtcdtlstransport import State as DtlsState
from aiortc.rtcsctptransport import RTCSctpTransport
from OpenSSL import SSL

Address = tuple[str, int]

TESTED: dict[str, tuple[str, ...]] = {
    "aiortc": ("1.16.",),
    "aioice": ("0.13.",),
    "pyOpenSSL": ("26.",),
}
"Beginnings of the versions that the tests have run against."


def untested_version() -> str | None:
    """Name the first package whose version the tests have not run against, or None."""
    for package in ("aiortc", "aioice", "pyOpenSSL"):
        try:
            installed = version(package)
        except PackageNotFoundError:
            return f"{package} (not installed)"
        if not installed.startswith(TESTED.get(package, ())):
            return f"{package} {installed}"
    return None


# --- pyOpenSSL ---------------------------------------------------------------------------------------------

_ssl_module: Any = SSL
ffi: Any = _ssl_module._ffi
lib: Any = _ssl_module._lib

LIB_NAMES = (
    "SSL_read",
    "SSL_write",
    "SSL_get_error",
    "SSL_ERROR_WANT_READ",
    "SSL_ERROR_ZERO_RETURN",
    "BIO_read",
    "BIO_write",
    "ERR_clear_error",
)


def has_lib() -> bool:
    """Whether pyOpenSSL's binding has all the functions that the batches call by themselves."""
    return all(hasattr(lib, name) for name in LIB_NAMES)


def pointers(connection: SSL.Connection) -> tuple[Any, Any, Any]:
    """SSL*, the BIO that feeds it, the BIO that it writes to."""
    return connection._ssl, connection._into_ssl, connection._from_ssl


# --- aiortc's DTLS transport -------------------------------------------------------------------------------


def ssl_connection(dtls: RTCDtlsTransport) -> SSL.Connection:
    """The DTLS connection; there is one once the transport has started."""
    connection: SSL.Connection | None = dtls._ssl
    assert connection is not None
    return connection


def is_connected(dtls: RTCDtlsTransport) -> bool:
    """As ``dtls.state == "connected"``, 10 times as fast."""
    return dtls._state is DtlsState.CONNECTED


def is_dtls_server(dtls: RTCDtlsTransport) -> bool:
    """Whether we are the DTLS server, which owns the odd stream ids (RFC 8832 section 6)."""
    return bool(dtls._role == "server")


def count_received(dtls: Any, size: int, packets: int) -> None:
    """Keep aiortc's own statistics true."""
    dtls._RTCDtlsTransport__rx_bytes += size
    dtls._RTCDtlsTransport__rx_packets += packets


def count_sent(dtls: Any, size: int, packets: int) -> None:
    """Keep aiortc's own statistics true."""
    dtls._RTCDtlsTransport__tx_bytes += size
    dtls._RTCDtlsTransport__tx_packets += packets


def register_receiver(dtls: RTCDtlsTransport, receiver: Any) -> None:
    """Have aiortc's pump hand decrypted packets to ``receiver._handle_data``."""
    if dtls._data_receiver is not receiver:
        dtls._register_data_receiver(receiver)


def unregister_receiver(dtls: RTCDtlsTransport, receiver: Any) -> None:
    """The reverse."""
    dtls._unregister_data_receiver(receiver)


# --- aioice ------------------------------------------------------------------------------------------------


def ice_connection(dtls: RTCDtlsTransport) -> Connection:
    """The ICE agent below a DTLS transport."""
    return dtls.transport._connection


def nominated(connection: Connection) -> CandidatePair | None:
    """The pair that carries the data now. It may change, and is gone when the connection closes."""
    return connection._nominated.get(1)


def protocols(connection: Connection) -> list[StunProtocol]:
    """One per local candidate that has been gathered."""
    return connection._protocols


def received(connection: Connection) -> asyncio.Queue[tuple[bytes, int] | None]:
    """Where datagrams wait for aiortc's pump; None ends it, and with it the DTLS transport."""
    return connection._queue


def known_addresses(connection: Connection) -> Iterable[Address]:
    """The addresses that signaling named or an authenticated check came from.

    aioice learns an address that signaling did not name only from a check with a valid MESSAGE-INTEGRITY.
    """
    for candidate in connection._remote_candidates:
        yield candidate._network_host, candidate.port
    for _, address, _ in connection._early_checks:
        yield address[0], address[1]
    pair = nominated(connection)
    if pair is not None:
        yield pair.remote_addr


def known_addresses_age(connection: Connection) -> tuple[int, int, bool]:
    """Changes whenever `known_addresses` may have."""
    return len(connection._remote_candidates), len(connection._early_checks), bool(connection._nominated)


# --- aiortc's peer connection ------------------------------------------------------------------------------


def make_sctp_transports(pc: RTCPeerConnection, transport_class: type[RTCSctpTransport]) -> None:
    """Have a peer connection that has no SCTP transport yet make one of this class."""
    create: Any = vars(RTCPeerConnection)["_RTCPeerConnection__createSctpTransport"]
    vars(pc)["_RTCPeerConnection__createSctpTransport"] = lambda: _create(create, pc, transport_class)


def _create(create: Any, pc: RTCPeerConnection, transport_class: type[RTCSctpTransport]) -> None:
    """Stock code looks the class up as a global of its module: replace that for one synchronous call."""
    module: Any = aiortc.rtcpeerconnection
    stock = module.RTCSctpTransport
    module.RTCSctpTransport = transport_class
    try:
        create(pc)
    finally:
        module.RTCSctpTransport = stock
