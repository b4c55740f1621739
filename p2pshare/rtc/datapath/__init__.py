"""The fast data path: our association (`p2pshare.rtc.sctp`) in aiortc's peer connection.

From below: offload and udp (the socket), guard (what may come in), network (the ICE agent's sockets), dtls
(records in batches), wire (both for one association), pump (drives it), datachannels (what it carries),
transport (the class that aiortc knows), takeover and peer_connection. seams: the private names of others.
"""

from p2pshare.rtc.datapath.peer_connection import RTCPeerConnection, accelerate
from p2pshare.rtc.datapath.stats import PathStats
from p2pshare.rtc.datapath.transport import SctpTransport

__all__ = ["PathStats", "RTCPeerConnection", "SctpTransport", "accelerate"]
