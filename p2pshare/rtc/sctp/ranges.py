"""A set of TSNs as an ordered list of ranges: what is selectively acknowledged, lost or received.

The numbers are extended TSNs (they do not wrap, see `packet.py`). What happens nearly always, adding at the
upper end, takes constant time; the rest O(log n) for n ranges, plus the ranges that are touched.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Ranges:
    """Disjoint ranges that do not touch: ``firsts[i]`` to ``lasts[i]``, both included, ascending."""

    __slots__ = ("firsts", "lasts")

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.firsts)

    def __len__(self) -> int:
        return len(self.firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.firsts, self.lasts, strict=True)

    def __contains__(self, tsn: int) -> bool:
        index = bisect_right(self.firsts, tsn) - 1
        return index >= 0 and tsn <= self.lasts[index]

    @property
    def count(self) -> int:
        """How many numbers are in the set."""
        return sum(self.lasts) - sum(self.firsts) + len(self.firsts)

    def add(self, first: int, last: int) -> None:
        """Put a range into the set; it may overlap what is there."""
        firsts, lasts = self.firsts, self.lasts
        if not firsts or first > lasts[-1] + 1:
            firsts.append(first)
            lasts.append(last)
            return
        low = bisect_left(lasts, first - 1)  # the first range that reaches up to this one
        high = bisect_right(firsts, last + 1)  # behind the last range that it reaches
        if low < high:
            first = min(first, firsts[low])
            last = max(last, lasts[high - 1])
        firsts[low:high] = [first]
        lasts[low:high] = [last]

    def remove(self, first: int, last: int) -> None:
        """Take a range out of the set, as far as it is in it."""
        firsts, lasts = self.firsts, self.lasts
        low = bisect_left(lasts, first)
        high = bisect_right(firsts, last)
        if low >= high:
            return
        kept: list[tuple[int, int]] = []
        if firsts[low] < first:
            kept.append((firsts[low], first - 1))
        if lasts[high - 1] > last:
            kept.append((last + 1, lasts[high - 1]))
        firsts[low:high] = [start for start, _ in kept]
        lasts[low:high] = [end for _, end in kept]

    def remove_through(self, tsn: int) -> None:
        """Take out all numbers up to this one."""
        if self.firsts and self.firsts[0] <= tsn:
            self.remove(self.firsts[0], tsn)

    def clear(self) -> None:
        """Take out everything."""
        self.firsts.clear()
        self.lasts.clear()

    def within(self, first: int, last: int) -> list[tuple[int, int]]:
        """What of a range is in the set."""
        firsts, lasts = self.firsts, self.lasts
        low = bisect_left(lasts, first)
        high = bisect_right(firsts, last)
        return [(max(firsts[i], first), min(lasts[i], last)) for i in range(low, high)]

    def holes(self, first: int, last: int) -> list[tuple[int, int]]:
        """What of a range is not in the set."""
        firsts, lasts = self.firsts, self.lasts
        missing: list[tuple[int, int]] = []
        index = bisect_left(lasts, first)
        while first <= last:
            if index == len(firsts) or firsts[index] > last:
                missing.append((first, last))
                break
            if firsts[index] > first:
                missing.append((first, firsts[index] - 1))
            first = lasts[index] + 1
            index += 1
        return missing
