"""Limits of the pace, in bytes a second, that may be changed while jobs run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

BURST_S: Final = 0.05
"""Seconds of the rate that may go at once after a rest."""
LOOK_AGAIN_S: Final = 0.25
"""Who waits looks again after so long, at the latest: the limit may have been changed."""


class RateLimit:
    """One limit: of a job, or of a session, shared by all who spend from it."""

    def __init__(self, rate: int | None = None, clock: Callable[[], float] | None = None) -> None:
        """``rate`` is bytes a second, None for no limit.

        Raises:
            ValueError: The rate is not above 0.
        """
        self._clock = clock or asyncio.get_running_loop().time
        self._rate = _checked(rate)
        self._free_at = 0.0

    @property
    def rate(self) -> int | None:
        """Bytes a second; None: no limit. May be set at any time.

        Raises (when set):
            ValueError: The rate is not above 0.
        """
        return self._rate

    @rate.setter
    def rate(self, rate: int | None) -> None:
        now = self._clock()
        debt = max(0.0, self._free_at - now) * (self._rate or 0)
        self._rate = _checked(rate)
        self._free_at = now + debt / rate if rate else 0.0

    def spend(self, size: int) -> None:
        """So many bytes have gone."""
        if self._rate is not None:
            self._free_at = max(self._free_at, self._clock() - BURST_S) + size / self._rate

    def wait_s(self) -> float:
        """Seconds until more may go; 0: now."""
        return 0.0 if self._rate is None else max(0.0, self._free_at - self._clock())


class Pace:
    """Several limits that hold at once: the job's own and the session's."""

    def __init__(self, *limits: RateLimit) -> None:
        self._limits = limits

    def spend(self, size: int) -> None:
        """So many bytes have gone."""
        for limit in self._limits:
            limit.spend(size)

    def wait_s(self) -> float:
        """Seconds until more may go, at most `LOOK_AGAIN_S`: then ask again. 0: now."""
        return min(max(limit.wait_s() for limit in self._limits), LOOK_AGAIN_S)


def _checked(rate: int | None) -> int | None:
    if rate is not None and rate <= 0:
        raise ValueError(f"a rate of {rate} bytes a second, not above 0")
    return rate
