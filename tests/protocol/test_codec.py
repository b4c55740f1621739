"""Frames to bytes and back; and bytes from anybody, which are refused or understood, and nothing else."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pshare.errors import RemoteProtocolError
from p2pshare.model import Extent, FileEnd, FileKind, HeldBlocks, OfferedFile
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode, encode, encoded_size
from p2pshare.protocol.schema import SCHEMA
from tests.protocol.strategies import BY_CLASS, frames, offered_files

LIMIT = 65_536


def pack(value: Any) -> bytes:
    packed = msgpack.packb(value)
    assert isinstance(packed, bytes)
    return packed


@pytest.mark.parametrize("cls", list(SCHEMA), ids=lambda cls: cls.WORD)
def test_every_frame_comes_back_as_it_was(cls: type[f.Frame]) -> None:
    @settings(deadline=None, max_examples=40)
    @given(BY_CLASS[cls])
    def check(frame: f.Frame) -> None:
        message = encode(frame)
        assert decode(message, max_size=LIMIT) == frame
        assert encode(decode(message, max_size=LIMIT) or f.Ping(0)) == message

    check()


@given(offered_files)
def test_the_size_of_a_files_entry_is_known(file: OfferedFile) -> None:
    one, two = (f.Files(1, (file,) * count) for count in (1, 2))
    assert len(encode(two)) - len(encode(one)) == encoded_size(file)


def test_what_is_at_its_default_is_left_out() -> None:
    file = OfferedFile(0, ("a",), None)
    assert msgpack.unpackb(encode(f.Files(1, (file,)))) == [
        4,
        {"offer": 1, "files": [{"index": 0, "path": ["a"], "size": None}]},
    ]
    assert msgpack.unpackb(encode(f.Stop(1, 6001))) == [18, {"job": 1, "code": 6001}]


def test_types_are_numbered_once_and_within_a_byte() -> None:
    assert sorted(cls.TYPE for cls in SCHEMA) == list(range(1, 24))
    assert len({cls.WORD for cls in SCHEMA}) == len(SCHEMA)


# Hostile frames ----------------------------------------------------------------------------------------

VALID: dict[type[f.Frame], f.Frame] = {
    f.Hello: f.Hello((1,), bytes(16), False, 65_536, 1, 1, ("x",), "spake2", bytes(32)),
    f.Auth: f.Auth(b"x"),
    f.OfferFrame: f.OfferFrame(
        1,
        1,
        (
            OfferedFile(
                0,
                ("a", "b"),
                1,
                FileKind.DIRECTORY,
                "text/plain",
                1,
                True,
                bytes(16),
                b"preview",
                b"metadata",
            ),
        ),
        "message",
        b"metadata",
        bytes(16),
    ),
    f.Files: f.Files(1, (OfferedFile(1, ("a",), 1),)),
    f.Withdraw: f.Withdraw(1, 2, "reason"),
    f.Accept: f.Accept(1, 1, 241, ((0, 1), (3, 3)), 1, 1, (HeldBlocks(0, 0, (bytes(32),)),), True),
    f.RangesFrame: f.RangesFrame(1, ((0, 1),), (HeldBlocks(0, 0, (bytes(32),)),), True),
    f.Decline: f.Decline(1, 2, "reason", ((0, 1),)),
    f.HaveQuery: f.HaveQuery(1, 1, ((0, 1),), True),
    f.Have: f.Have(1, 1, (FileEnd(0, 1, bytes(32)),), True),
    f.Data: f.Data(1, (Extent(0, 0, b"x"),)),
    f.Finish: f.Finish(1, (FileEnd(0, 1, bytes(32)),), (Extent(0, 0, b"x"),)),
    f.Window: f.Window(1, 1, 1, 1),
    f.Pause: f.Pause(1),
    f.Resume: f.Resume(1),
    f.Confirm: f.Confirm(1, ((0, 1),)),
    f.Reset: f.Reset(1, 2, "reason", 3),
    f.Stop: f.Stop(1, 2, "reason", 3),
    f.Ping: f.Ping(1),
    f.Pong: f.Pong(1),
    f.Close: f.Close(1, "reason"),
    f.Ended: f.Ended(1, 1),
    f.Kept: f.Kept(1, ((0, 1),)),
}
"""A frame of each type with every key in use."""


@pytest.mark.parametrize("cls", list(SCHEMA), ids=lambda cls: cls.WORD)
def test_a_frame_cut_short_anywhere_is_malformed(cls: type[f.Frame]) -> None:
    message = encode(VALID[cls])
    for end in range(len(message)):
        with pytest.raises(RemoteProtocolError, match="malformed"):
            decode(message[:end], max_size=LIMIT)


@pytest.mark.parametrize("cls", list(SCHEMA), ids=lambda cls: cls.WORD)
def test_a_known_key_of_a_wrong_type_is_named(cls: type[f.Frame]) -> None:
    fields = msgpack.unpackb(encode(VALID[cls]))[1]
    assert set(fields) == {field.key for field in SCHEMA[cls]}
    wrong: list[Any] = [None, True, -1, 2**64 - 1, "x" * 5000, b"x" * 17_000, [[[]]], {"x": 1}, [1, "x"], ""]
    for key, right in fields.items():
        errors = []
        for value in wrong:
            if type(value) is type(right) and value in ("", True):
                continue
            try:
                decode(pack([cls.TYPE, fields | {key: value}]), max_size=LIMIT)
            except RemoteProtocolError as error:
                errors.append(str(error))
        assert len(errors) >= len(wrong) - 1, key
        assert all(error.startswith(f"{cls.WORD}: {key} must be ") for error in errors)


def test_a_wrong_key_within_a_list_names_the_frame_too() -> None:
    for entry, says in (
        ({"index": 0, "path": ["a"]}, "FILES: files: the key 'size' is missing"),
        ({"index": -1, "path": ["a"], "size": 1}, "FILES: files: index must be a number"),
    ):
        with pytest.raises(RemoteProtocolError, match=says):
            decode(pack([4, {"offer": 1, "files": [entry]}]), max_size=LIMIT)


@pytest.mark.parametrize("cls", list(SCHEMA), ids=lambda cls: cls.WORD)
def test_a_missing_key_is_named_and_only_where_it_is_required(cls: type[f.Frame]) -> None:
    fields = msgpack.unpackb(encode(VALID[cls]))[1]
    for field in SCHEMA[cls]:
        rest = {key: value for key, value in fields.items() if key != field.key}
        message = pack([cls.TYPE, rest])
        if field.required:
            with pytest.raises(RemoteProtocolError, match=f"the key '{field.key}' is missing"):
                decode(message, max_size=LIMIT)
        else:
            assert decode(message, max_size=LIMIT) is not None


@pytest.mark.parametrize("cls", list(SCHEMA), ids=lambda cls: cls.WORD)
def test_unknown_keys_and_elements_are_ignored(cls: type[f.Frame]) -> None:
    fields = msgpack.unpackb(encode(VALID[cls]))[1]
    more = fields | {"from the future": [1, {"a": b"b"}], 7: None, b"k": True}
    assert decode(pack([cls.TYPE, more, "and more"]), max_size=LIMIT) == VALID[cls]


def test_an_unknown_type_is_ignored_but_must_be_well_formed() -> None:
    assert decode(pack([99, {"x": 1}]), max_size=LIMIT) is None
    assert decode(pack([-5, {}]), max_size=LIMIT) is None
    for message in (
        pack([99, {"x": 1.5}]),
        pack([99, {}])[:-1],
        pack([99]),
        b"\x92\x63\x82\xa1a\x01\xa1a\x02",
    ):
        with pytest.raises(RemoteProtocolError):
            decode(message, max_size=LIMIT)


def nested(depth: int) -> bytes:
    value: Any = {}
    for _ in range(depth):
        value = [value]
    return pack([19, {"token": 1, "x": value}])


def ping(value: bytes) -> bytes:
    """PING with this, packed, as a key that nobody knows."""
    return b"\x92\x13\x82\xa5token\x01\xa1x" + value


HOSTILE = {
    "nothing": b"",
    "not an array": pack({"type": 19}),
    "an empty array": b"\x90",
    "a type that is text": pack(["19", {"token": 1}]),
    "a type that is a truth": pack([True, {"token": 1}]),
    "fields that are a list": pack([19, [1]]),
    "trailing bytes": pack([19, {"token": 1}]) + b"\x00",
    "two frames": pack([19, {"token": 1}]) * 2,
    "a key twice": b"\x92\x13\x82\xa5token\x01\xa5token\x02",
    "a key twice in an unknown map": ping(b"\x82\x01\x01\x01\x02"),
    "a key that is a map": ping(b"\x81\x80\x01"),
    "a float": ping(b"\xca" + struct.pack(">f", 1.5)),
    "a double": ping(b"\xcb" + struct.pack(">d", 1.5)),
    "not a number": ping(b"\xcb\x7f\xf8" + bytes(6)),
    "infinity": ping(b"\xcb\x7f\xf0" + bytes(6)),
    "a number that is a double": b"\x92\x13\x81\xa5token\xcb" + struct.pack(">d", 1.0),
    "an extension": ping(b"\xc7\x01\x05x"),
    "a fixed extension": ping(b"\xd4\x05x"),
    "a timestamp": ping(b"\xd6\xff" + bytes(4)),
    "the byte that is never used": ping(b"\xc1"),
    "text that is not UTF-8": ping(b"\xa2\xc3\x28"),
    "text that is half a surrogate": ping(b"\xa3\xed\xa0\x80"),
    "deep nesting": nested(4),
    "very deep nesting": nested(1000),
    "only array headers": b"\x91" * 60_000,
    "only large array headers": b"\xdd\x00\x00\xff\xff" * 13_000,
    "only large map headers": b"\xdf\x7f\xff\xff\xff" * 13_000,
    "an array of 4 billion": ping(b"\xdd\xff\xff\xff\xff"),
    "a map of 2 billion": ping(b"\xdf\x7f\xff\xff\xff"),
    "text of 4 GB": ping(b"\xdb\xff\xff\xff\xff"),
    "bytes of 4 GB": ping(b"\xc6\xff\xff\xff\xff"),
    "bytes that end after the frame": ping(b"\xc4\x05abcd"),
    "a length cut short": ping(b"\xc6\x00"),
    "a number cut short": ping(b"\xcf\x00"),
    "too large": pack([19, {"token": 1, "x": bytes(LIMIT)}]),
    "a token beyond 53 bits": pack([19, {"token": 2**53}]),
    "ranges that overlap": pack([16, {"job": 1, "files": [[0, 5], [5, 6]]}]),
    "ranges that go back": pack([16, {"job": 1, "files": [[5, 4]]}]),
    "half a range": pack([16, {"job": 1, "files": [[5]]}]),
    "a range of truths": pack([16, {"job": 1, "files": [[False, True]]}]),
    "an extent without bytes": pack([11, {"job": 1, "extents": [[0, 0, b""]]}]),
    "an extent of text": pack([11, {"job": 1, "extents": [[0, 0, "x"]]}]),
    "an extent beyond 53 bits": pack([11, {"job": 1, "extents": [[0, 2**53 - 1, b"x"]]}]),
    "no extent at all": pack([11, {"job": 1, "extents": []}]),
    "digests of half a size": pack([7, {"job": 1, "held": [[0, 0, bytes(48)]]}]),
    "no digest": pack([7, {"job": 1, "held": [[0, 0, b""]]}]),
    "blocks beyond the largest file": pack([7, {"job": 1, "held": [[0, 2**33, bytes(32)]]}]),
    "a path of 65 components": pack(
        [4, {"offer": 1, "files": [{"index": 0, "path": ["a"] * 65, "size": 0}]}]
    ),
    "an empty path": pack([4, {"offer": 1, "files": [{"index": 0, "path": [], "size": 0}]}]),
    "a path that is text": pack([4, {"offer": 1, "files": [{"index": 0, "path": "a", "size": 0}]}]),
    "a file without a size": pack([4, {"offer": 1, "files": [{"index": 0, "path": ["a"]}]}]),
    "a kind that nobody knows": pack(
        [4, {"offer": 1, "files": [{"index": 0, "path": ["a"], "size": 0, "kind": "socket"}]}]
    ),
    "a kind that is a list": pack(
        [4, {"offer": 1, "files": [{"index": 0, "path": ["a"], "size": 0, "kind": []}]}]
    ),
    "a link to nothing": pack(
        [4, {"offer": 1, "files": [{"index": 0, "path": ["a"], "size": 0, "kind": "link"}]}]
    ),
    "a link with a size": pack(
        [4, {"offer": 1, "files": [{"index": 0, "path": ["a"], "size": 5, "kind": "link", "target": "b"}]}]
    ),
    "a link of unknown size": pack(
        [4, {"offer": 1, "files": [{"index": 0, "path": ["a"], "size": None, "kind": "link", "target": "b"}]}]
    ),
    "a target that is a list": pack(
        [4, {"offer": 1, "files": [{"index": 0, "path": ["a"], "size": 0, "kind": "link", "target": []}]}]
    ),
    "a target of 1,025 bytes": pack(
        [
            4,
            {
                "offer": 1,
                "files": [{"index": 0, "path": ["a"], "size": 0, "kind": "link", "target": "x" * 1025}],
            },
        ]
    ),
    "a file with a target": pack(
        [4, {"offer": 1, "files": [{"index": 0, "path": ["a"], "size": 0, "target": "b"}]}]
    ),
    "more ranges than a frame may have": pack(
        [16, {"job": 1, "files": [[i * 2, i * 2] for i in range(4097)]}]
    ),
}


@pytest.mark.parametrize("message", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_frame_is_refused_in_little_memory(message: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            decode(message, max_size=LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


def test_four_levels_within_the_fields_are_allowed() -> None:
    assert decode(nested(2), max_size=LIMIT) == f.Ping(1)


def test_the_largest_frame_is_allowed_and_one_byte_more_is_not() -> None:
    message = encode(f.Data(1, (Extent(0, 0, bytes(1000)),)))
    assert decode(message, max_size=len(message)) is not None
    with pytest.raises(RemoteProtocolError, match="the limit is"):
        decode(message, max_size=len(message) - 1)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_refused(message: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode(message, max_size=LIMIT)


@settings(deadline=None, max_examples=500)
@given(
    frames,
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    st.sampled_from(["change", "insert", "remove"]),
)
def test_a_frame_with_bytes_changed_is_understood_or_refused(
    frame: f.Frame, changes: list[tuple[int, int]], how: str
) -> None:
    message = bytearray(encode(frame))
    for at, byte in changes:
        at %= len(message)
        if how == "change":
            message[at] = byte
        elif how == "insert":
            message.insert(at, byte)
        elif len(message) > 1:
            del message[at]
    try:
        understood = decode(bytes(message), max_size=LIMIT)
    except RemoteProtocolError:
        return
    if understood is not None:
        assert decode(encode(understood), max_size=LIMIT) == understood


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(list(SCHEMA)),
    st.dictionaries(
        st.sampled_from(sorted({field.key for fields in SCHEMA.values() for field in fields})),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**64 - 1)
            | st.text(max_size=9)
            | st.binary(max_size=40),
            lambda inner: (
                st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
            max_leaves=8,
        ),
    ),
)
def test_any_fields_are_understood_or_refused(cls: type[f.Frame], fields: dict[str, Any]) -> None:
    with contextlib.suppress(RemoteProtocolError, UnicodeEncodeError):
        decode(pack([cls.TYPE, fields]), max_size=LIMIT)
