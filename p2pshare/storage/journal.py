"""The journal beside a part file: which blocks of it are written, one line each.

The first line says of which source, size and time; a line more follows each block's write, with the block's
digest. Nothing in it is believed: blocks are hashed again before they count, and a line that a crash has
torn is none.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final

from p2pshare.model import BLOCK_SIZE, OfferedFile

_VERSION = "p2pshare-journal 1"
_LINE = re.compile(rb"(\d{1,12}) ([0-9a-f]{64})\n")
_LINE_BYTES: Final = 80
"""At least the bytes of a line."""


def header(file: OfferedFile) -> bytes:
    """The first line for a file: where it differs, the part is of something else."""
    source = file.source_id.hex() if file.source_id else "-"
    mtime = "-" if file.mtime_ns is None else str(file.mtime_ns)
    return f"{_VERSION} {source} {file.size} {mtime}\n".encode()


@dataclass(slots=True)
class Journal:
    """A journal that is open for appending."""

    fd: int
    digests: dict[int, bytes] = field(default_factory=dict)
    "What it said when it was opened, by block."

    def begin(self, file: OfferedFile) -> None:
        """Begin, in a new, empty file. Raises OSError."""
        _write(self.fd, header(file))

    def read(self, file: OfferedFile) -> bool:
        """Read what it says, before going on with it; False where it is not of this file as it is now."""
        assert file.size is not None
        first = header(file)
        blocks = -(-file.size // BLOCK_SIZE)
        content = _read(self.fd, len(first) + 4 * blocks * _LINE_BYTES)
        if not content.startswith(first):
            return False
        for line in content[len(first) :].splitlines(keepends=True):
            found = _LINE.fullmatch(line)
            if found and int(found[1]) < blocks:
                self.digests[int(found[1])] = bytes.fromhex(found[2].decode())
        if not content.endswith(b"\n"):
            _write(self.fd, b"\n")
        return True

    def add(self, block: int, digest: bytes) -> None:
        """A block is written. Raises OSError."""
        _write(self.fd, b"%d %s\n" % (block, digest.hex().encode()))


def _write(fd: int, line: bytes) -> None:
    while line:
        line = line[os.write(fd, line) :]


def _read(fd: int, size: int) -> bytes:
    """All of a file, or as much as a journal of ours can have."""
    pieces: list[bytes] = []
    while size > 0 and (piece := os.read(fd, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
