"""Reading and writing at a place in an open file: all of it, whatever one system call does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

from p2pshare.model import BLOCK_SIZE, Payload

_MAX_BUFFERS: Final = 512
"""Of one pwritev; Linux takes 1024."""


def by_block(payloads: Sequence[Payload], offset: int) -> Iterator[tuple[int, list[Payload]]]:
    """Consecutive bytes by the block that they are in, each with where it begins."""
    start, end = offset, offset - offset % BLOCK_SIZE + BLOCK_SIZE
    of_block: list[Payload] = []
    for payload in payloads:
        while offset + len(payload) >= end:
            of_block.append(memoryview(payload)[: end - offset])
            yield start, of_block
            payload = memoryview(payload)[end - offset :]
            start = offset = end
            end += BLOCK_SIZE
            of_block = []
        if payload:
            of_block.append(payload)
            offset += len(payload)
    if of_block:
        yield start, of_block


def write_all(fd: int, payloads: Sequence[Payload], offset: int) -> None:
    """Write every byte: a system call may write fewer than it was given."""
    for first in range(0, len(payloads), _MAX_BUFFERS):
        buffers: list[Payload] = list(payloads[first : first + _MAX_BUFFERS])
        while buffers:
            written = _pwritev(fd, buffers, offset)
            offset += written
            while buffers and written >= len(buffers[0]):
                written -= len(buffers.pop(0))
            if written:
                buffers[0] = memoryview(buffers[0])[written:]


def _pwritev(fd: int, buffers: Sequence[Payload], offset: int) -> int:
    if hasattr(os, "pwritev"):
        return os.pwritev(fd, buffers, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows
    return os.write(fd, buffers[0])


def pread(fd: int, length: int, offset: int) -> bytes:
    """So many bytes, or what there is up to the end of the file."""
    pieces: list[bytes] = []
    while length > 0 and (piece := _pread_some(fd, length, offset)):
        pieces.append(piece)
        length -= len(piece)
        offset += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _pread_some(fd: int, length: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, length, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, length)
