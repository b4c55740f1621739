"""A peer connection of our own, for a peer met in a room: made, negotiated and closed here.

It carries data channels and nothing else. Descriptions of the other side come through `description`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

import aiortc
from aioice import Candidate, Connection
from aioice.ice import get_host_addresses
from aiortc import RTCConfiguration, RTCIceServer, RTCSessionDescription
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError

from p2pshare.errors import SharingNotAvailable, map_exceptions
from p2pshare.rtc.datapath import RTCPeerConnection
from p2pshare.rtc.description import Role, read_description

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S: Final = 3.0
_LOOPBACK: Final = ("127.0.0.1", "::1")

_REFUSED = map_exceptions(
    {
        InternalError: SharingNotAvailable,
        InvalidAccessError: SharingNotAvailable,
        InvalidStateError: SharingNotAvailable,
        OperationError: SharingNotAvailable,
        ConnectionError: SharingNotAvailable,
        OSError: SharingNotAvailable,
        ValueError: SharingNotAvailable,
    }
)


class PeerConnection:
    """One connection to one peer."""

    def __init__(self, ice_servers: Sequence[RTCIceServer] = (), *, accelerate: bool = True) -> None:
        """Make a connection; without ``ice_servers`` no server is ever asked for an address.

        ``accelerate`` gives it the fast data path, where that was tested with the libraries below.
        """
        # aiortc's default is a public STUN server: say always which ones.
        configuration = RTCConfiguration(iceServers=list(ice_servers))
        make = RTCPeerConnection if accelerate else aiortc.RTCPeerConnection
        self.pc: aiortc.RTCPeerConnection = make(configuration)

    async def create_offer(self) -> dict[str, str]:
        """Our description, to be sent to the peer. Raises SharingNotAvailable."""
        with _REFUSED:
            self._gather_loopback()
            await self.pc.setLocalDescription(await self.pc.createOffer())
            return self._local("offer")

    async def accept_offer(self, description: object) -> dict[str, str]:
        """Take the peer's offer; returns our answer.

        Raises:
            SharingNotAvailable: The peer's description cannot be used, or no connection can be made now.
        """
        with _REFUSED:
            self._gather_loopback()
            await self._take(description, "offer")
            await self.pc.setLocalDescription(await self.pc.createAnswer())
            return self._local("answer")

    async def accept_answer(self, description: object) -> None:
        """Take the peer's answer to our offer; the connection is made now. Raises SharingNotAvailable."""
        with _REFUSED:
            await self._take(description, "answer")

    async def close(self) -> None:
        """Close the connection, within 3 s. Idempotent."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.pc.close(), CLOSE_TIMEOUT_S)

    async def _take(self, value: object, role: Role) -> None:
        description = read_description(value, role, allow_loopback=_is_alone())
        await self.pc.setRemoteDescription(RTCSessionDescription(description.to_sdp(), role))

    def _local(self, role: Role) -> dict[str, str]:
        return {"type": role, "sdp": self.pc.localDescription.sdp}

    def _gather_loopback(self) -> None:
        """Where the machine has no other address, offer its loopback ones: two peers on it still meet."""
        if self.pc.sctp is not None and _is_alone():
            connection: Connection = self.pc.sctp.transport.transport.iceGatherer._connection
            gather = connection.get_component_candidates

            async def gather_loopback(
                component: int, addresses: list[str], timeout: int = 5
            ) -> list[Candidate]:
                return await gather(component, addresses or [*_LOOPBACK], timeout)

            connection.get_component_candidates = gather_loopback  # type: ignore[method-assign]  # of this one alone


def _is_alone() -> bool:
    return not get_host_addresses(use_ipv4=True, use_ipv6=True)
