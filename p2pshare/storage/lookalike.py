"""Whether a file that is there already is the one that is offered."""

from __future__ import annotations

import os
import stat
from threading import Event

from blake3 import blake3

from p2pshare.model import MIB
from p2pshare.storage.beneath import Folder
from p2pshare.storage.sources import Stamp


def is_file(folder: Folder, name: str, size: int, digest: bytes, stop: Event) -> bool:
    """Whether a plain file of this name has so many bytes, and this digest; it is read to its end.

    If so it is synced: it counts as received, and what is confirmed lasts.
    ``stop`` ends it early, as not equal.
    Raises:
        OSError: It cannot be opened or read.
    """
    with open(folder.open(name, os.O_RDONLY), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        hasher = blake3()
        buffer = bytearray(MIB)
        while length := file.readinto(buffer):
            if stop.is_set():
                return False
            hasher.update(memoryview(buffer)[:length])
        is_same = hasher.digest() == digest and Stamp.of(os.fstat(file.fileno())) == Stamp.of(found)
        if is_same and os.name == "posix":
            os.fsync(file.fileno())
        return is_same
