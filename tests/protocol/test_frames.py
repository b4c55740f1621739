"""Frames and events are values."""

from __future__ import annotations

import dataclasses

import pytest

from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f

VALUES = [
    cls
    for module, base in ((f, f.Frame), (e, e.CoreEvent))
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, base)
]


@pytest.mark.parametrize("cls", VALUES)
def test_values_cannot_change_and_say_what_they_are(cls: type[object]) -> None:
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]  # every dataclass has them
    assert "__slots__" in vars(cls)
    assert cls.__doc__
    assert dataclasses.is_dataclass(cls)


def test_frames_are_equal_by_value() -> None:
    assert f.Ping(1) == f.Ping(1)
    assert f.Ping(1) != f.Ping(2)
    other: f.Frame = f.Pong(1)
    assert other != f.Ping(1)
