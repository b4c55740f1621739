"""What an association may be told when it is made: limits, sizes and features, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

CONGESTION_CONTROLS = ("by distance", "bbr", "cubic")


@dataclass(frozen=True, slots=True)
class AssociationConfig:
    """Limits and features of one association."""

    local_port: int = 5000
    remote_port: int = 5000
    max_streams: int = 65_535
    "How many streams each way are offered in the handshake; data channels have ids below 65,535."
    receive_window: int = 1 << 20
    "Bytes that may be on the way to us: what the socket's buffer holds, less its own cost of each packet."
    receive_memory: int = 8 << 20
    "Bytes of unfinished and out-of-order messages that are kept at most; the window closes before that."
    max_out_of_order: int = 8_192
    "Packets kept beyond a gap at most: one that is lost twice is missing for 4,000 of 100 Mbit/s and 200 ms."
    max_message_size: int = 262_144
    "Size of the largest message that the peer takes (its SDP's max-message-size)."
    initial_packet_size: int = 1_132
    "Bytes of an SCTP packet that any path takes: 1200 less the headers of IPv6, UDP and DTLS records."
    max_packet_size: int = 16_000
    "No larger packet is sent or looked for: a DTLS record holds 16,384 bytes."
    max_train: int = 45
    "Packets that are handed out at once at most; more gained nothing when it was measured."
    max_train_bytes: int = 61_440
    "Nor more bytes than one datagram with segmentation offload may have, once each packet is sealed."
    max_train_to_foreigners: int = 8
    "The same towards a stack that is not known to take long trains; 64 made others drop a third of them."
    initial_window_packets: int = 10
    "Congestion window at the start, in packets (RFC 6928)."
    congestion: str = "by distance"
    "Congestion control: one of `CONGESTION_CONTROLS`."
    interleaving: bool = True
    "Offer I-DATA (RFC 8260)."
    partial_reliability: bool = True
    "Offer FORWARD-TSN (RFC 3758)."
    pacing: bool = True
    urgent_streams: frozenset[int] = frozenset()
    "Streams whose messages go before those of all others."
    heartbeat_interval_s: float = 1.0
    "A HEARTBEAT goes out after so long a silence of the peer."
    unresponsive_after_s: float = 5.0
    "A peer that is silent for so long is reported as unresponsive."
    failed_after_s: float = 30.0
    "A peer that is silent for so long is given up."
    handshake_timeout_s: float = 30.0
    "An association that is not established by then is given up."
    cookie_lifetime_s: float = 60.0
    "A state cookie is valid for so long (RFC 9260 section 16)."
    rto_initial_s: float = 0.5
    "Retransmission timeout before a round trip is measured."
    rto_min_s: float = 0.2
    "RFC 9260 says 1 s, of its time; the tail loss probe acts far sooner than either."
    rto_max_s: float = 1.0
    "So that a path which comes back is noticed soon: after a timeout few packets ask, and no more follow."

    def __post_init__(self) -> None:
        if not 0 < self.max_streams <= 65_535:
            raise ValueError(f"max_streams is {self.max_streams}, not 1 to 65535")
        if self.initial_packet_size < 512:
            raise ValueError(f"an initial packet size of {self.initial_packet_size} is below 512")
        if self.congestion not in CONGESTION_CONTROLS:
            raise ValueError(f"no congestion control {self.congestion!r}: {', '.join(CONGESTION_CONTROLS)}")
        if self.receive_memory < self.max_message_size:
            raise ValueError("receive_memory cannot hold one message of max_message_size")
