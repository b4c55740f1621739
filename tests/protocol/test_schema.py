"""One table that both directions read."""

from __future__ import annotations

import dataclasses

import pytest

from p2pshare.model import OfferedFile
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode, encode
from p2pshare.protocol.schema import BY_TYPE, MAX_TEXT, OFFERED_FILE, SCHEMA


@pytest.mark.parametrize("cls", [*SCHEMA, OfferedFile], ids=lambda cls: cls.__name__)
def test_the_table_has_every_field_and_optional_are_those_with_a_default(cls: type[object]) -> None:
    table = OFFERED_FILE if cls is OfferedFile else SCHEMA[cls]  # type: ignore[index]  # the others are frames
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # all are dataclasses
    assert {field.key for field in table} == set(fields)
    for field in table:
        has_default = fields[field.key].default is not dataclasses.MISSING
        assert field.required is not has_default


def test_every_frame_class_is_in_the_table() -> None:
    classes = {cls for cls in vars(f).values() if isinstance(cls, type) and issubclass(cls, f.Frame)}
    assert classes - {f.Frame} == set(SCHEMA) == set(BY_TYPE.values())


def test_a_reason_is_cut_to_whole_characters() -> None:
    frame = decode(encode(f.Close(1, "\N{SNOWMAN}" * 1000)), max_size=65_536)
    assert isinstance(frame, f.Close)
    assert frame.reason == "\N{SNOWMAN}" * (MAX_TEXT // 3)
