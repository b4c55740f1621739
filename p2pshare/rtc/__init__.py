"""Everything WebRTC: the only importers of aiortc, aioice and OpenSSL.

Names load on first use (PEP 562): `p2pshare.rtc.sctp` can be had without aiortc, and `import p2pshare` too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pshare.rtc.channels import ChannelListener as ChannelListener
    from p2pshare.rtc.channels import Channels as Channels
    from p2pshare.rtc.connection import PeerConnection as PeerConnection
    from p2pshare.rtc.datapath import PathStats as PathStats
    from p2pshare.rtc.datapath import RTCPeerConnection as RTCPeerConnection
    from p2pshare.rtc.datapath import accelerate as accelerate

_HOMES = {
    "ChannelListener": "p2pshare.rtc.channels",
    "Channels": "p2pshare.rtc.channels",
    "PathStats": "p2pshare.rtc.datapath",
    "PeerConnection": "p2pshare.rtc.connection",
    "RTCPeerConnection": "p2pshare.rtc.datapath",
    "accelerate": "p2pshare.rtc.datapath",
}

__all__ = ["ChannelListener", "Channels", "PathStats", "PeerConnection", "RTCPeerConnection", "accelerate"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value
