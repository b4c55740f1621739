"""Listening sockets, and the addresses under which others reach them."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket

from signaling.errors import CannotListen

_BACKLOG = 128
# Addresses for documentation (RFC 5737, RFC 3849): a UDP socket "connected" to one sends nothing, and
# shows which of our addresses the default route leaves from.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def listen(host: str | None, port: int) -> list[socket.socket]:
    """Open listening TCP sockets, all on one port.

    Args:
        host: A name or address; None for every address of this machine, IPv4 and IPv6.
        port: 0 to 65535; 0 chooses a free one.

    Raises:
        CannotListen: If the port is in use or the address is not ours.
    """
    try:
        return [_listen_everywhere(port)] if not host else _listen_on(host, port)
    except (OSError, UnicodeError, OverflowError) as exc:
        # create_server() adds its own words to strerror; the system's are enough.
        number = getattr(exc, "errno", None)
        known = isinstance(exc, OSError) and not isinstance(exc, socket.gaierror) and number
        reason = os.strerror(number) if known and number else (getattr(exc, "strerror", None) or str(exc))
        raise CannotListen(host or "", port, reason) from exc


def _listen_everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        family = socket.AF_INET6
        try:
            return socket.create_server(("", port), family=family, dualstack_ipv6=True, backlog=_BACKLOG)
        except OSError as exc:
            # A kernel may know IPv6 and have it switched off: then "::" is not an address of this machine.
            if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    return socket.create_server(("", port), backlog=_BACKLOG)


def _listen_on(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, str(address[0])) for family, *_, address in found):
            opened.append(socket.create_server((address, port), family=family, backlog=_BACKLOG))
            port = opened[0].getsockname()[1]
    except OSError:
        for listener in opened:
            listener.close()
        raise
    return opened


def reachable_hosts(listeners: list[socket.socket]) -> list[str]:
    """Addresses under which these sockets are reached, the most widely reachable first.

    A socket that listens on every address counts with those of this machine's default routes and the
    loopback address.
    """
    hosts: list[str] = []
    for listener in listeners:
        host = str(listener.getsockname()[0])
        hosts += _own_addresses(listener) if ipaddress.ip_address(host).is_unspecified else [host]
    return list(dict.fromkeys(hosts))


def _own_addresses(listener: socket.socket) -> list[str]:
    families = _families(listener)
    addresses: list[str] = []
    for route_family, elsewhere in _ELSEWHERE:
        if route_family not in families:
            continue
        with (
            contextlib.suppress(OSError),
            socket.socket(route_family, socket.SOCK_DGRAM) as probe,
        ):
            probe.connect((elsewhere, 9))
            addresses.append(probe.getsockname()[0])
    return [*addresses, "127.0.0.1" if socket.AF_INET in families else "::1"]


def _families(listener: socket.socket) -> tuple[int, ...]:
    if listener.family == socket.AF_INET:
        return (socket.AF_INET,)
    is_dual = not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return (socket.AF_INET, socket.AF_INET6) if is_dual else (socket.AF_INET6,)
