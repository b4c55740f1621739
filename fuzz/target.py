"""What a fuzzer needs of a target: something to run on bytes, and bytes to begin with."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that takes bytes from a stranger."""

    run: Callable[[bytes], None]
    "Raises for a defect, and for nothing else."
    seeds: Callable[[], Iterable[bytes]]
    "Inputs made of real traffic."
    max_size: int
    "Bytes of the longest input that is worth trying."


class Choices:
    """Decisions read from an input, one after the other; zeros once it is at its end."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self._at = 0

    @property
    def is_over(self) -> bool:
        """Whether all of the input was read."""
        return self._at >= len(self._source)

    def take(self, size: int) -> bytes:
        """So many bytes, or what is left."""
        taken = self._source[self._at : self._at + size]
        self._at += size
        return taken

    def byte(self) -> int:
        """A number from 0 to 255."""
        return self.take(1)[0] if not self.is_over else 0

    def short(self) -> int:
        """A number from 0 to 65,535."""
        return int.from_bytes(self.take(2), "big")

    def near(self) -> int:
        """A number from -128 to 127."""
        return (self.byte() ^ 0x80) - 0x80

    def one_of(self, choices: Sequence[_T]) -> _T:
        """One of these."""
        return choices[self.byte() % len(choices)]

    def piece(self) -> bytes:
        """Bytes that say themselves how many they are; `framed` writes them."""
        return self.take(self.short())


def framed(piece: bytes) -> bytes:
    """What `Choices.piece` reads."""
    return struct.pack("!H", len(piece)) + piece
