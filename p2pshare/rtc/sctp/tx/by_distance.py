"""Which congestion control a path gets: CUBIC's window on short ones, BBR's model on all others.

A model needs samples, and they are no finer than the millisecond of an event loop's timers: on a round trip
of less than some of these it would measure the event loop. There a window alone makes the longest trains,
and random loss hardly hurts, since a window that was cut has grown again some round trips later.
"""

from __future__ import annotations

from collections.abc import Callable

from p2pshare.rtc.sctp.config import AssociationConfig
from p2pshare.rtc.sctp.tx.bbr import Bbr
from p2pshare.rtc.sctp.tx.congestion import Acknowledgement, CongestionControl
from p2pshare.rtc.sctp.tx.cubic import Cubic

FAR_S = 0.003
"From this shortest round trip on, a path gets the model."
_FAR_FROM_NEAR_S = 0.03
"A path that was near needs a longer one: a window's own queue on a LAN takes some milliseconds."


class ByDistance:
    """`Cubic` or `Bbr`, as the shortest round trip says; it may change when the path does."""

    def __init__(self, packet_size: int, initial_packets: int, random: Callable[[int], bytes]) -> None:
        self._packet = packet_size
        self._random = random
        self._in_use: CongestionControl = Cubic(packet_size, initial_packets)
        self._far_s = FAR_S
        self.is_far = False

    @property
    def window(self) -> int:
        """Bytes that may be in flight."""
        return self._in_use.window

    @window.setter
    def window(self, size: int) -> None:
        self._in_use.window = size

    @property
    def pacing_rate(self) -> float | None:
        """Bytes a second to send at; None: as fast as the window allows."""
        return self._in_use.pacing_rate

    def set_packet_size(self, size: int) -> None:
        """Packets carry so many bytes of payload from now on."""
        self._packet = size
        self._in_use.set_packet_size(size)

    def on_acknowledgement(self, ack: Acknowledgement) -> None:
        """Look at the distance, and pass it on."""
        shortest = ack.min_rtt_s
        if shortest is not None:
            if shortest < FAR_S:
                self._far_s = _FAR_FROM_NEAR_S
                if self.is_far:
                    self._change()
            elif shortest >= self._far_s and not self.is_far:
                self._change()
        self._in_use.on_acknowledgement(ack)

    def _change(self) -> None:
        """Begin anew with the other one, from the window that there is."""
        packets = max(self._in_use.window // self._packet, 1)
        self.is_far = not self.is_far
        if self.is_far:
            self._in_use = Bbr(self._packet, packets, self._random)
        else:
            self._in_use = Cubic(self._packet, packets)

    def on_loss(self, now: float, flight: int) -> None:
        """Pass it on."""
        self._in_use.on_loss(now, flight)

    def on_timeout(self, now: float) -> None:
        """Pass it on."""
        self._in_use.on_timeout(now)

    def undo(self, now: float) -> None:
        """Pass it on."""
        self._in_use.undo(now)

    def on_idle(self, now: float) -> None:
        """Pass it on."""
        self._in_use.on_idle(now)


def make(config: AssociationConfig, packet_size: int, random: Callable[[int], bytes]) -> CongestionControl:
    """The congestion control that a configuration asks for."""
    if config.congestion == "cubic":
        return Cubic(packet_size, config.initial_window_packets)
    kind = Bbr if config.congestion == "bbr" else ByDistance
    return kind(packet_size, config.initial_window_packets, random)
