"""Everything WebRTC: the only importers of aiortc, aioice and OpenSSL.

Names load on first use (PEP 562): `p2pshare.rtc.sctp` can be had without aiortc, and `import p2pshare` too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pshare.rtc.channels import ChannelListener as ChannelListener
    from p2pshare.rtc.channels import Channels as Channels
    from p2pshare.rtc.connection import PeerConnection as PeerConnection

_HOMES = {
    "ChannelListener": "p2pshare.rtc.channels",
    "Channels": "p2pshare.rtc.channels",
    "PeerConnection": "p2pshare.rtc.connection",
}

__all__ = ["ChannelListener", "Channels", "PeerConnection"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value
