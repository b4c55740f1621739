"""Frames to bytes and back, with limits.

A frame is one msgpack value, the array ``[type, {key: value}]``, and one data-channel message. What comes
from a peer passes three gates: `scan` walks the bytes without building anything (size, depth, number of
values, honest lengths), msgpack builds the value, the schema checks every known key. Unknown types and
keys are ignored; a known key of a wrong type is a `RemoteProtocolError` that names it.
See PROTOCOL.md, section Encoding.
"""

from __future__ import annotations

from typing import Any

import msgpack

from p2pshare.errors import RemoteProtocolError, show
from p2pshare.model import OfferedFile
from p2pshare.protocol import frames as f
from p2pshare.protocol.scan import scan
from p2pshare.protocol.schema import BY_TYPE, OFFERED_FILE, SCHEMA, check_fields, to_map


def _unique_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    for key, _ in pairs:  # before any of them is hashed: a peer can choose lists whose hashes are all equal
        if type(key) is tuple:
            raise RemoteProtocolError("malformed frame: a key that is a list")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise RemoteProtocolError("malformed frame: a key twice")
    return fields


def encode(frame: f.Frame) -> bytes:
    """The frame as one data-channel message."""
    packed = msgpack.packb((frame.TYPE, to_map(frame, SCHEMA[type(frame)])))
    assert isinstance(packed, bytes)
    return packed


def encoded_size(file: OfferedFile) -> int:
    """Bytes that a file's entry takes in OFFER and FILES."""
    return len(msgpack.packb(to_map(file, OFFERED_FILE)) or b"")


def decode(message: bytes, *, max_size: int) -> f.Frame | None:
    """The frame in a message, or None where its type is unknown.

    ``max_size`` is in bytes, the whole message.
    Raises:
        RemoteProtocolError: Too large, malformed, or a known key is missing or of a wrong type.
    """
    if len(message) > max_size:
        raise RemoteProtocolError(f"a frame of {len(message):,} bytes, the limit is {max_size:,}")
    scan(message)
    try:
        value = msgpack.unpackb(
            message, raw=False, strict_map_key=False, use_list=False, object_pairs_hook=_unique_keys
        )
    except (ValueError, TypeError) as exc:  # text that is not UTF-8, a key that cannot be hashed
        raise RemoteProtocolError(f"malformed frame: {show(str(exc))}") from None
    if type(value) is not tuple or len(value) < 2 or type(value[0]) is not int or type(value[1]) is not dict:
        raise RemoteProtocolError("malformed frame: not [type, fields]")
    cls = BY_TYPE.get(value[0])
    if cls is None:
        return None
    return cls(**check_fields(cls.WORD, value[1], SCHEMA[cls]))
