"""Memory that C code reads and writes in place: packets are built, sealed, opened and checked there.

The checksum library takes ``bytes`` and cffi's buffers only, and the DTLS library takes cffi's pointers, so
one block of cffi memory serves both without a copy. cffi's own class, written in C, is used as every module
that cffi generates uses it: the methods of ``cffi.FFI`` are Python around the same calls (0.1 us each, per
packet).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import _cffi_backend  # type: ignore[import-untyped]  # part of cffi, compiled, ships no types
from google_crc32c import extend as _extend
from google_crc32c import value as _value

Pointer: TypeAlias = Any
"A ``char *`` or ``char[]`` of cffi, whose classes no type checker knows."

Buffer: TypeAlias = Any
"A ``cffi.buffer``: slices read and write bytes of the memory it looks at."

_ffi = _cffi_backend.FFI()


def allocate(size: int) -> Pointer:
    """Zeroed memory, freed with the last reference to what this returns."""
    return _ffi.new("char[]", size)


buffer_at: Callable[[Pointer, int], Buffer] = _ffi.buffer
"``size`` bytes from ``pointer`` on; does not keep the memory alive."

address_of: Callable[[bytes], Pointer] = _ffi.from_buffer
"Where the content of a ``bytes`` object lies; keeps the object alive."

copy: Callable[[Pointer, Any, int], None] = _ffi.memmove
"Copy ``size`` bytes to a pointer from a pointer or a buffer."

extend_crc: Callable[[int, Any], int] = _extend
"CRC32c of what was summed up so far, followed by these bytes (RFC 9260 appendix A)."

crc_of: Callable[[bytes], int] = _value
"CRC32c of these bytes."


class _SwappedWords:
    """`words_of` where the machine's own byte order is not the checksum's."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer

    def __getitem__(self, index: int) -> int:
        word: int = struct.unpack_from("<I", self._buffer, 4 * index)[0]
        return word

    def __setitem__(self, index: int, word: int) -> None:
        struct.pack_into("<I", self._buffer, 4 * index, word)


def words_of(buffer: Buffer) -> Any:
    """A view that reads and writes 32-bit little-endian words by index: 26 ns, where a slice takes 100."""
    if sys.byteorder == "little":
        return memoryview(buffer).cast("B").cast("I")
    return _SwappedWords(buffer)
