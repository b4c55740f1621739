"""Session descriptions from strangers: read as our own small subset of SDP, and written anew.

A description that came through signaling is whoever's word. Only the fields below reach aiortc, each
checked; every other line is dropped, so that no line of a stranger's is ever parsed there.
Source of the lines: RFC 8866 (SDP), RFC 8839 (candidates), RFC 8841 (sctp-port, max-message-size),
RFC 8842 and RFC 8122 (setup, fingerprint).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal

from p2pshare.errors import SharingNotAvailable

MAX_SDP_BYTES: Final = 8 * 1024
MAX_CANDIDATES: Final = 20
"""Candidates that are taken; a peer behind many addresses names its best ones first."""
_MIN_MESSAGE_SIZE: Final = 16_384
_ICE_CHARS: Final = re.compile(r"[A-Za-z0-9+/]+")
_SHA_256: Final = re.compile(r"sha-256 ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})", re.IGNORECASE)
_CANDIDATE: Final = re.compile(
    r"(?P<foundation>[A-Za-z0-9+/]{1,32}) (?P<component>1) (?P<transport>udp) (?P<priority>\d{1,10}) "
    r"(?P<host>\S{1,255}) (?P<port>\d{1,5}) typ (?P<type>host|srflx|prflx|relay)(?: .*)?",
    re.IGNORECASE,
)
_LOCAL_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,63}\.local", re.IGNORECASE)
_SETUP: Final = {"offer": ("actpass", "active", "passive"), "answer": ("active", "passive")}

Role = Literal["offer", "answer"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address at which the peer may be reached."""

    foundation: str
    priority: int
    host: str
    "A literal IPv4 or IPv6 address, or a ``.local`` name (mDNS)."
    port: int
    type: str


@dataclass(frozen=True, slots=True)
class Description:
    """What one side says of its end of a connection that has nothing but data channels."""

    role: Role
    mid: str
    ice_ufrag: str
    ice_pwd: str
    fingerprint: str
    "SHA-256 of its certificate, as 32 hex pairs with colons."
    setup: str
    candidates: tuple[Candidate, ...]
    sctp_port: int = 5000
    max_message_size: int = 65_536

    def to_sdp(self) -> str:
        """The description as the SDP of one data section."""
        lines = [
            "v=0",
            "o=- 1 1 IN IP4 0.0.0.0",
            "s=-",
            "t=0 0",
            f"a=group:BUNDLE {self.mid}",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "c=IN IP4 0.0.0.0",
            f"a=mid:{self.mid}",
            f"a=sctp-port:{self.sctp_port}",
            f"a=max-message-size:{self.max_message_size}",
            *(
                f"a=candidate:{each.foundation} 1 udp {each.priority} {each.host} {each.port} typ {each.type}"
                + ("" if each.type == "host" else " raddr 0.0.0.0 rport 0")
                for each in self.candidates
            ),
            "a=end-of-candidates",
            f"a=ice-ufrag:{self.ice_ufrag}",
            f"a=ice-pwd:{self.ice_pwd}",
            f"a=fingerprint:sha-256 {self.fingerprint}",
            f"a=setup:{self.setup}",
        ]
        return "\r\n".join([*lines, ""])


def read_description(value: object, role: Role, *, allow_loopback: bool = False) -> Description:
    """Read what a peer sent as its description: ``{"type": role, "sdp": text}``.

    A candidate that cannot be used is dropped, not an error: browsers name some that are not for us (TCP).
    ``allow_loopback`` lets this machine's own loopback addresses through, for peers on a machine without a
    network.

    Raises:
        SharingNotAvailable: It is no description of a data-only connection; the sentence says what is wrong.
    """
    if not isinstance(value, dict) or value.get("type") != role or not isinstance(value.get("sdp"), str):
        raise _refused(f"not an {role}")
    sdp: str = value["sdp"]
    if len(sdp.encode("utf-8", "replace")) > MAX_SDP_BYTES:
        raise _refused(f"more than {MAX_SDP_BYTES:,} bytes")
    lines = sdp.splitlines()
    sections = [line for line in lines if line.startswith("m=")]
    if len(sections) != 1 or not sections[0].startswith("m=application "):
        raise _refused("not exactly one data section")
    attributes: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("a="):
            key, _, rest = line[2:].partition(":")
            attributes.setdefault(key, []).append(rest.strip())
    return Description(
        role,
        _mid(attributes),
        _ice_text(attributes, "ice-ufrag", 4),
        _ice_text(attributes, "ice-pwd", 22),
        _fingerprint(attributes),
        _setup(attributes, role),
        _candidates(attributes, allow_loopback=allow_loopback),
        _number(attributes, "sctp-port", 5000, 1, 65_535),
        _message_size(attributes),
    )


def _refused(what: str) -> SharingNotAvailable:
    return SharingNotAvailable(f"the peer's description cannot be used: {what}")


def _one(attributes: dict[str, list[str]], key: str) -> str:
    found = set(attributes.get(key, ()))
    if len(found) != 1:
        raise _refused(f"{len(found)} values of {key}")
    return found.pop()


def _mid(attributes: dict[str, list[str]]) -> str:
    mid = _one(attributes, "mid")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", mid):
        raise _refused("mid")
    return mid


def _ice_text(attributes: dict[str, list[str]], key: str, least: int) -> str:
    text = _one(attributes, key)
    if not least <= len(text) <= 256 or not _ICE_CHARS.fullmatch(text):  # RFC 8839 section 5.4
        raise _refused(key)
    return text


def _fingerprint(attributes: dict[str, list[str]]) -> str:
    found = {
        match[1].upper() for each in attributes.get("fingerprint", ()) if (match := _SHA_256.fullmatch(each))
    }
    if len(found) != 1:
        raise _refused(f"{len(found)} fingerprints of SHA-256")
    return found.pop()


def _setup(attributes: dict[str, list[str]], role: Role) -> str:
    setup = _one(attributes, "setup")
    if setup not in _SETUP[role]:
        raise _refused("setup")
    return setup


def _number(attributes: dict[str, list[str]], key: str, default: int, least: int, most: int) -> int:
    if key not in attributes:
        return default
    text = _one(attributes, key)
    if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise _refused(key)
    return int(text)


def _message_size(attributes: dict[str, list[str]]) -> int:
    size = _number(attributes, "max-message-size", 65_536, 0, 2**32 - 1)
    if 0 < size < _MIN_MESSAGE_SIZE:
        raise _refused(f"takes messages of {size} bytes at most")
    return size


def _candidates(attributes: dict[str, list[str]], *, allow_loopback: bool) -> tuple[Candidate, ...]:
    found: dict[tuple[str, int], Candidate] = {}
    for text in attributes.get("candidate", ()):
        match = _CANDIDATE.fullmatch(text)
        if match is None or len(found) >= MAX_CANDIDATES:
            continue
        host, port, priority = match["host"], int(match["port"]), int(match["priority"])
        if 1024 <= port <= 65_535 and priority < 2**32 and _is_usable(host, allow_loopback=allow_loopback):
            kind = match["type"].lower()
            found.setdefault((host, port), Candidate(match["foundation"], priority, host, port, kind))
    return tuple(found.values())


def _is_usable(host: str, *, allow_loopback: bool) -> bool:
    if _LOCAL_NAME.fullmatch(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # what holds for the one address must hold for the other
    if address.is_loopback:
        return allow_loopback
    is_link_local_v4 = address.version == 4 and address.is_link_local
    return not (address.is_multicast or address.is_unspecified or address.is_reserved or is_link_local_v4)
