"""aiortc's RTCPeerConnection with data channels over our association; and the same for one that exists."""

from __future__ import annotations

import logging

import aiortc
from aiortc import RTCConfiguration

from p2pshare.rtc.datapath import seams, takeover
from p2pshare.rtc.datapath.transport import SctpTransport

logger = logging.getLogger(__name__)


class RTCPeerConnection(aiortc.RTCPeerConnection):
    """A drop-in for ``aiortc.RTCPeerConnection``: the same API, the same SDP, any peer.

    With versions of aiortc, aioice or pyOpenSSL that it was not tested with it is the stock one, and says so.
    """

    def __init__(self, configuration: RTCConfiguration | None = None) -> None:
        super().__init__(configuration)
        accelerate(self)


def accelerate(pc: aiortc.RTCPeerConnection) -> bool:
    """Have the data channels of a peer connection use our association, from now on.

    At any time: before its first channel, before it connects, or in the middle of a call, whose association
    is then taken over as it is: channels, listeners and what is on its way stay, and the peer notices
    nothing. Idempotent. Returns whether the connection is or will be ours: not if it is closed, nor with
    versions that were not tested, which is logged.
    """
    if isinstance(pc.sctp, SctpTransport):
        return True
    untested = seams.untested_version()
    if untested is not None:
        logger.info("data channels are aiortc's own: not tested with %s", untested)
        return False
    if pc.signalingState == "closed" or (pc.sctp is not None and pc.sctp.state == "closed"):
        return False
    if pc.sctp is None:
        seams.make_sctp_transports(pc, SctpTransport)
    else:
        takeover.take_over(pc.sctp)
    return True
