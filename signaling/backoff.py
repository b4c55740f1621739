"""How long to wait before the next attempt. Pure: the lot is an argument."""

from __future__ import annotations


class Backoff:
    """Delays that double up to a cap, each drawn from its upper half.

    The draw keeps the clients of a restarted server from coming back all at once; the lower bound keeps
    one client from hammering.
    """

    def __init__(self, *, first_s: float, cap_s: float) -> None:
        """Start over at `first_s` seconds, above 0; never more than `cap_s`."""
        self._first_s = first_s
        self._cap_s = cap_s
        self._next_s = first_s

    def next(self, lot: float) -> float:
        """Seconds to wait now; `lot` is random, from 0 to 1."""
        delay = self._next_s
        self._next_s = min(self._cap_s, self._next_s * 2)
        return min(self._cap_s, delay) * (0.5 + lot / 2)

    def reset(self) -> None:
        """Begin with the first delay again: an attempt succeeded."""
        self._next_s = self._first_s
