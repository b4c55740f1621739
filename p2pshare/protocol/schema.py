"""What each key of each frame must be: the one table that both encoding and decoding read.

A known key of a wrong type is a `RemoteProtocolError` that names frame and key; unknown keys are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from p2pshare.errors import RemoteProtocolError
from p2pshare.model import BLOCK_SIZE, Extent, FileEnd, FileKind, HeldBlocks, OfferedFile
from p2pshare.protocol import frames as f

MAX_INT: Final = 2**53 - 1
"""The largest number on the wire: what a browser's number holds exactly."""
MAX_TEXT: Final = 1024
MAX_COMPONENTS: Final = 64
MAX_PREVIEW: Final = 16 * 1024
DIGEST_SIZE: Final = 32
_PIECES_PER_FRAME: Final = 4096


# A check takes a decoded value and returns the program's own type, or raises _Wrong with what it wants.
_Check = Callable[[Any], Any]


class _Wrong(Exception):
    pass


def _uint(maximum: int = MAX_INT, minimum: int = 0) -> _Check:
    def check(value: Any) -> int:
        if type(value) is not int or not minimum <= value <= maximum:
            raise _Wrong(f"a number from {minimum} to {maximum}")
        return value

    return check


def _int64(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise _Wrong("a 64-bit number")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _Wrong("true or false")
    return value


def _text(maximum: int = MAX_TEXT) -> _Check:
    def check(value: Any) -> str:
        if type(value) is not str or len(value.encode()) > maximum:
            raise _Wrong(f"text of at most {maximum} bytes")
        return value

    return check


def _binary(maximum: int, minimum: int = 0) -> _Check:
    def check(value: Any) -> bytes:
        if type(value) is not bytes or not minimum <= len(value) <= maximum:
            raise _Wrong(f"{minimum} to {maximum} bytes")
        return value

    return check


def _each(item: _Check, maximum: int, minimum: int = 0) -> _Check:
    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not tuple or not minimum <= len(value) <= maximum:
            raise _Wrong(f"a list of {minimum} to {maximum}")
        return tuple([item(entry) for entry in value])

    return check


def _row(value: Any, length: int) -> tuple[Any, ...]:
    if type(value) is not tuple or len(value) < length:
        raise _Wrong(f"a list of {length}")
    return value


_index = _uint(2**32 - 1)
_id = _uint(2**32 - 1, 1)
_digest = _binary(DIGEST_SIZE, DIGEST_SIZE)
_offset = _uint()


def _ranges(value: Any) -> f.Ranges:
    if type(value) is not tuple or len(value) > _PIECES_PER_FRAME:
        raise _Wrong(f"a list of at most {_PIECES_PER_FRAME} ranges")
    checked: list[tuple[int, int]] = []
    before = -1
    for entry in value:
        row = _row(entry, 2)
        first, last = _index(row[0]), _index(row[1])
        if first <= before or last < first:
            raise _Wrong("ascending, disjoint ranges")
        before = last
        checked.append((first, last))
    return tuple(checked)


def _extent(value: Any) -> Extent:
    # One call a 64 KiB message or a small file: the checks stand inline.
    index, offset, payload = _row(value, 3)[:3]
    if type(payload) is not bytes or not payload:
        raise _Wrong("bytes")
    if _offset(offset) + len(payload) > MAX_INT:
        raise _Wrong(f"an end below {MAX_INT}")
    return Extent(_index(index), offset, payload)


def _file_end(value: Any) -> FileEnd:
    index, size, digest = _row(value, 3)[:3]
    return FileEnd(_index(index), _offset(size), _digest(digest))


def _held(value: Any) -> HeldBlocks:
    index, first, digests = _row(value, 3)[:3]
    if type(digests) is not bytes or not digests or len(digests) % DIGEST_SIZE:
        raise _Wrong(f"digests of {DIGEST_SIZE} bytes")
    cut = tuple(digests[at : at + DIGEST_SIZE] for at in range(0, len(digests), DIGEST_SIZE))
    return HeldBlocks(_index(index), _uint(MAX_INT // BLOCK_SIZE - len(cut))(first), cut)


def _kind(value: Any) -> FileKind:
    try:
        return FileKind(value)
    except ValueError:
        raise _Wrong("'file', 'directory' or 'link'") from None


def _offered_file(value: Any) -> OfferedFile:
    if type(value) is not dict:
        raise _Wrong("a map")
    file = OfferedFile(**check_fields("files", value, OFFERED_FILE))
    if file.kind is FileKind.LINK and (file.target is None or file.size != 0):
        raise _Wrong("links of size 0, each with a target")
    if file.kind is not FileKind.LINK and file.target is not None:
        raise _Wrong("without a target where they are no links")
    return file


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a frame."""

    key: str
    check: _Check
    required: bool = True
    encode: Callable[[Any], Any] | None = None
    "From the program's type to what msgpack packs; None: as it is."


def _optional(key: str, check: _Check, encode: Callable[[Any], Any] | None = None) -> Field:
    return Field(key, check, required=False, encode=encode)


def _rows_of(entry: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda entries: [entry(each) for each in entries]


_EXTENTS = _rows_of(lambda x: (x.index, x.offset, x.payload))
_FILE_ENDS = _rows_of(lambda x: (x.index, x.size, x.digest))
_HELD = _rows_of(lambda x: (x.index, x.first_block, b"".join(x.digests)))
_OFFERED = _rows_of(lambda x: to_map(x, OFFERED_FILE))

OFFERED_FILE: tuple[Field, ...] = (
    Field("index", _index),
    Field("path", _each(_text(4096), MAX_COMPONENTS, 1)),
    Field("size", lambda value: value if value is None else _offset(value)),
    _optional("kind", _kind, lambda kind: kind.value),
    _optional("target", _text()),
    _optional("media_type", _text(255)),
    _optional("mtime_ns", _int64),
    _optional("executable", _bool),
    _optional("source_id", _binary(16, 16)),
    _optional("preview", _binary(MAX_PREVIEW)),
    _optional("metadata", _binary(1024)),
)

_code = _uint(65_535)


def _cut(reason: str) -> str:
    """A reason may quote anything: what is too long, or is no Unicode text, must not end the link."""
    return reason.encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore")


_REASON = _optional("reason", _text(), _cut)
_MORE = _optional("more", _bool)
_FILES = _each(_offered_file, _PIECES_PER_FRAME)

SCHEMA: Mapping[type[f.Frame], tuple[Field, ...]] = {
    f.Hello: (
        Field("versions", _each(_uint(65_535, 1), 16, 1)),
        Field("nonce", _binary(16, 16)),
        Field("seen", _bool),
        Field("max_frame", _uint(minimum=16_384)),
        Field("max_file_size", _uint()),
        Field("max_files", _uint()),
        _optional("abilities", _each(_text(64), 64)),
        _optional("auth", _text(64)),
        _optional("key", _binary(32, 32)),
    ),
    f.Auth: (Field("payload", _binary(1024)),),
    f.OfferFrame: (
        Field("offer", _id),
        Field("count", _uint(2**32 - 1, 1)),
        Field("files", _FILES, encode=_OFFERED),
        _optional("message", _text()),
        _optional("metadata", _binary(4096)),
        _optional("key", _binary(16, 16)),
    ),
    f.Files: (Field("offer", _id), Field("files", _FILES, encode=_OFFERED)),
    f.Withdraw: (Field("offer", _id), Field("code", _code), _REASON),
    f.Accept: (
        Field("job", _id),
        Field("offer", _id),
        Field("channel", _uint(65_534)),
        Field("files", _ranges),
        Field("limit", _uint()),
        Field("connection_limit", _uint()),
        _optional("held", _each(_held, _PIECES_PER_FRAME), _HELD),
        _MORE,
    ),
    f.RangesFrame: (
        Field("job", _id),
        _optional("files", _ranges),
        _optional("held", _each(_held, _PIECES_PER_FRAME), _HELD),
        _MORE,
    ),
    f.Decline: (Field("offer", _id), Field("code", _code), _REASON, _optional("files", _ranges)),
    f.HaveQuery: (Field("offer", _id), Field("query", _id), Field("files", _ranges), _MORE),
    f.Have: (
        Field("offer", _id),
        Field("query", _id),
        Field("files", _each(_file_end, _PIECES_PER_FRAME), encode=_FILE_ENDS),
        _MORE,
    ),
    f.Data: (
        Field("job", _id),
        Field("extents", _each(_extent, _PIECES_PER_FRAME, 1), encode=_EXTENTS),
    ),
    f.Finish: (
        Field("job", _id),
        Field("files", _each(_file_end, _PIECES_PER_FRAME, 1), encode=_FILE_ENDS),
        _optional("extents", _each(_extent, _PIECES_PER_FRAME), _EXTENTS),
    ),
    f.Window: (
        Field("connection_limit", _uint()),
        _optional("job", _id),
        _optional("limit", _uint()),
        _optional("stored", _uint()),
    ),
    f.Pause: (Field("job", _id),),
    f.Resume: (Field("job", _id),),
    f.Confirm: (Field("job", _id), Field("files", _ranges)),
    f.Reset: (Field("job", _id), Field("code", _code), _REASON, _optional("file", _index)),
    f.Stop: (Field("job", _id), Field("code", _code), _REASON, _optional("file", _index)),
    f.Ping: (Field("token", _uint()),),
    f.Pong: (Field("token", _uint()),),
    f.Close: (Field("code", _code), _REASON),
    f.Ended: (Field("job", _id), Field("sent", _uint())),
    f.Kept: (Field("offer", _id), Field("files", _ranges)),
}
BY_TYPE: Mapping[int, type[f.Frame]] = {cls.TYPE: cls for cls in SCHEMA}


def check_fields(word: str, received: Mapping[Any, Any], schema: tuple[Field, ...]) -> dict[str, Any]:
    """The known keys of a received map, checked; ``word`` names the frame in the error."""
    checked: dict[str, Any] = {}
    for field in schema:
        try:
            value = received[field.key]
        except KeyError:
            if field.required:
                raise RemoteProtocolError(f"{word}: the key {field.key!r} is missing") from None
            continue
        try:
            checked[field.key] = field.check(value)
        except _Wrong as wrong:
            raise RemoteProtocolError(f"{word}: {field.key} must be {wrong}") from None
        except RemoteProtocolError as wrong:  # of a map within
            raise RemoteProtocolError(f"{word}: {wrong}") from None
    return checked


def to_map(value: Any, schema: tuple[Field, ...]) -> dict[str, Any]:
    """A frame's or file's fields as they are packed; what is at its default is left out."""
    packed: dict[str, Any] = {}
    defaults = _DEFAULTS[type(value)]
    for field in schema:
        part = getattr(value, field.key)
        if not field.required and part == defaults[field.key]:
            continue
        packed[field.key] = part if field.encode is None else field.encode(part)
    return packed


def _defaults_of(cls: type[Any], schema: tuple[Field, ...]) -> dict[str, Any]:
    fields = cls.__dataclass_fields__
    return {field.key: fields[field.key].default for field in schema if not field.required}


_DEFAULTS: Mapping[type[Any], Mapping[str, Any]] = {
    OfferedFile: _defaults_of(OfferedFile, OFFERED_FILE),
    **{cls: _defaults_of(cls, schema) for cls, schema in SCHEMA.items()},
}
