"""What this kernel does with UDP for us: cut one large send into datagrams, merge datagrams into one receive.

Both are Linux's (UDP_SEGMENT since 4.18, UDP_GRO since 5.0) and worth a factor of 45 in system calls.
Asked once per process; a socket whose path refuses them at run time turns them off for itself (udp.py).
"""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass
from functools import cache

SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
# The socket module does not name these; the values are the kernel's (linux/udp.h, linux/in.h, linux/in6.h).
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
IP_MTU = 14
IPV6_MTU = 24
PMTUDISC_WANT = 1
PMTUDISC_PROBE = 3

ETHERNET_MTU = 1500

MAX_SEGMENTS = 64
"Datagrams in one send that every kernel with UDP_SEGMENT takes (128 since 6.9)."

MAX_SEND_SIZE = 65_000
"Bytes in one send, headers not counted: below 65,535 less IPv6, UDP."


@dataclass(frozen=True, slots=True)
class Offload:
    """What the kernel offers."""

    segments: bool
    "One send of many equal datagrams (UDP_SEGMENT)."
    merges: bool
    "One receive of many equal datagrams (UDP_GRO)."


NO_OFFLOAD = Offload(segments=False, merges=False)


@cache
def probe() -> Offload:
    """Ask the kernel, once."""
    if sys.platform != "linux":
        return NO_OFFLOAD
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:  # a host with IPv6 alone, or no descriptor left: nothing can be said, so nothing is used
        return NO_OFFLOAD
    with sock:
        return Offload(segments=_takes(sock, UDP_SEGMENT, 0), merges=_takes(sock, UDP_GRO, 1))


def _takes(sock: socket.socket, option: int, value: int) -> bool:
    try:
        sock.setsockopt(SOL_UDP, option, value)
    except OSError:
        return False
    return True


def forbid_fragments(sock: socket.socket, *, forbid: bool = True) -> bool:
    """Set the don't-fragment bit on every datagram, whatever the kernel believes of the path.

    Packet size discovery needs it (RFC 8899 section 3). ``forbid=False`` goes back to the kernel's default.
    Returns whether the platform does it.
    """
    if sys.platform != "linux":
        return False
    mode = PMTUDISC_PROBE if forbid else PMTUDISC_WANT
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, mode)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, mode)
    except OSError:
        return False
    return True


def link_mtu(address: tuple[str, int]) -> int:
    """Bytes of an IP packet that the way to this address begins with, as far as the kernel knows."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    level, option = (
        (socket.IPPROTO_IPV6, IPV6_MTU) if family == socket.AF_INET6 else (socket.IPPROTO_IP, IP_MTU)
    )
    if sys.platform != "linux":
        return ETHERNET_MTU
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(address)
            return sock.getsockopt(level, option)
    except OSError:  # no route, no descriptor left
        return ETHERNET_MTU
