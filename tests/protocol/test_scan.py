"""The gate in front of msgpack: it lets pass what is well formed, and nothing that lies about its size."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pshare.errors import RemoteProtocolError
from p2pshare.protocol.scan import MAX_DEPTH, MAX_VALUES, scan

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
    | st.binary(max_size=300)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=30,
)


def pack(value: Any) -> bytes:
    packed = msgpack.packb(value)
    assert isinstance(packed, bytes)
    return packed


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@settings(deadline=None)
@given(values)
def test_what_msgpack_packs_passes_unless_it_is_too_deep(value: Any) -> None:
    try:
        packed = pack(value)
    except UnicodeEncodeError:
        return
    if depth(value) <= MAX_DEPTH:
        scan(packed)
    else:
        with pytest.raises(RemoteProtocolError, match="levels"):
            scan(packed)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=60))
def test_what_passes_can_be_unpacked(message: bytes) -> None:
    try:
        scan(message)
    except RemoteProtocolError:
        return
    msgpack.unpackb(message, raw=True, strict_map_key=False, use_list=False)


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_every_width_of_length_is_walked(size: int) -> None:
    for value in (
        "x" * size,
        b"x" * size,
        [0] * min(size, 60_000),
        dict.fromkeys(range(min(size, 30000)), 0),
    ):
        packed = pack(value)
        scan(packed)
        for wrong in (packed[:-1], packed + b"\x00"):
            if wrong:
                with pytest.raises(RemoteProtocolError):
                    scan(wrong)


def test_there_is_a_limit_to_the_number_of_values() -> None:
    scan(pack([0] * (MAX_VALUES - 1)))
    with pytest.raises(RemoteProtocolError, match="values"):
        scan(pack([0] * MAX_VALUES))
