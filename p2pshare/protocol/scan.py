"""The first gate for bytes from a peer: walk a frame's structure without building anything of it.

Pure. msgpack's own limits are not enough: nested headers of a short message can ask for tens of megabytes.
"""

from __future__ import annotations

from typing import Final

from p2pshare.errors import RemoteProtocolError

MAX_DEPTH: Final = 5
"""Containers within containers, the frame's own array included (frame, fields, list, entry, path)."""
MAX_VALUES: Final = 65_536
"""Values of a frame, containers and keys included."""


class _Cut(Exception):
    pass


def scan(message: bytes) -> None:
    """Refuse what is not one well-formed, shallow msgpack value, before anything is built of it.

    Every container must really hold the values that its header claims, so that a short message cannot
    ask for a large allocation. This protocol has no floats and no extension types.
    Raises:
        RemoteProtocolError: Naming what is wrong and at which byte.
    """
    end = len(message)
    at = 0
    left: list[int] = [1]  # values still to come, one count a level
    values = 1
    try:
        while left:
            if left[-1] == 0:
                left.pop()
                continue
            left[-1] -= 1
            head = message[at]
            at += 1
            if head <= 0x7F or head >= 0xE0 or head in (0xC0, 0xC2, 0xC3):
                continue
            width = _INT_WIDTH.get(head)
            if width is not None:
                at += width
            elif 0xA0 <= head <= 0xBF:
                at += head & 0x1F
            elif head in _BYTES_WIDTH:
                width = _BYTES_WIDTH[head]
                at += width + int.from_bytes(message[at : at + width], "big")
            else:
                if head <= 0x8F:
                    count = 2 * (head & 0x0F)
                elif head <= 0x9F:
                    count = head & 0x0F
                elif head in _CONTAINER_WIDTH:
                    width, factor = _CONTAINER_WIDTH[head]
                    count = factor * int.from_bytes(message[at : at + width], "big")
                    at += width
                else:
                    raise _Cut(f"a value of type 0x{head:02x}")
                if len(left) > MAX_DEPTH:
                    raise _Cut(f"more than {MAX_DEPTH} levels")
                if count > end - at:
                    raise _Cut("a list longer than the frame")
                values += count
                if values > MAX_VALUES:
                    raise _Cut(f"more than {MAX_VALUES} values")
                left.append(count)
            if at > end:
                raise _Cut("a value cut short")
    except IndexError:
        raise RemoteProtocolError(f"malformed frame: cut short at byte {end}") from None
    except _Cut as cut:
        raise RemoteProtocolError(f"malformed frame: {cut} at byte {min(at, end)}") from None
    if at != end:
        raise RemoteProtocolError(f"malformed frame: ends at byte {at} of {end}")


_INT_WIDTH = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_BYTES_WIDTH = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_CONTAINER_WIDTH = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
