"""How large packets may be: the search of RFC 8899 (DPLPMTUD), as a state machine of its own.

Pure: it says which size to try and takes what became of it. Sizes are those of SCTP packets. A size is proven
by a packet of it that was answered; nothing but that raises the size. Packets that are lost again and again
lower it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto

_TRIES = 3  # MAX_PROBES, RFC 8899 section 5.1.2
_SEARCH_AGAIN_S = 600.0  # PMTU_RAISE_TIMER, section 5.1.1
_AFTER_BLACK_HOLE_S = 30.0


class Phase(Enum):
    """RFC 8899 section 5.2."""

    BASE = auto()
    "The base size is in use and nothing is being looked for."
    SEARCHING = auto()
    COMPLETE = auto()


class PacketSizeSearch:
    """Finds the largest of some candidate sizes that the path takes."""

    def __init__(self, base: int) -> None:
        self._base = base
        self.size = base
        "The size in use."
        self.phase = Phase.BASE
        self._candidates: list[int] = []
        self._tries = 0
        self._again_at: float | None = None

    def start(self, candidates: Iterable[int]) -> None:
        """Look for the largest of these sizes, in rising order."""
        self._candidates = sorted({size & ~3 for size in candidates})
        self._search()

    def _search(self) -> None:
        self._tries = 0
        self._again_at = None
        self.phase = Phase.SEARCHING if self.candidate is not None else Phase.COMPLETE

    @property
    def candidate(self) -> int | None:
        """The smallest size that is larger than the one in use."""
        return next((size for size in self._candidates if size > self.size), None)

    def next_probe(self, now: float) -> int | None:
        """The size to try now, if any."""
        if self._again_at is not None and now >= self._again_at:
            self._search()
        return self.candidate if self.phase is Phase.SEARCHING else None

    def next_timer(self) -> float | None:
        """When a search begins again by itself."""
        return self._again_at

    def acked(self, size: int, now: float) -> bool:
        """A packet of this size was answered; returns whether it is the size in use from now on."""
        if size <= self.size or size not in self._candidates:
            return False
        self.size = size
        self._tries = 0
        if self.candidate is None:
            self._complete(now, _SEARCH_AGAIN_S)
        return True

    def lost(self, size: int, now: float, is_certain: bool = False) -> None:
        """A packet of this size was not answered; ``is_certain``: it never will be, the network said so."""
        if self.phase is not Phase.SEARCHING or size != self.candidate:
            return
        self._tries += 1
        if is_certain or self._tries >= _TRIES:
            self._complete(now, _SEARCH_AGAIN_S)

    def black_hole(self, now: float) -> bool:
        """Packets of the size in use vanish; returns whether the base is in use instead from now on."""
        if self.size <= self._base:
            return False
        self.size = self._base
        self._complete(now, _AFTER_BLACK_HOLE_S)
        return True

    def rebase(self, base: int) -> None:
        """The base has changed, as the overhead of the layers below has."""
        self._base = base
        self.size = base
        self.phase = Phase.BASE

    def _complete(self, now: float, again_after_s: float) -> None:
        self._tries = 0
        self.phase = Phase.COMPLETE
        self._again_at = now + again_after_s
