from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from p2pshare.model import EVERYONE, ErrorCode, Limits, OfferedFile, Progress


def test_everyone_is_one() -> None:
    assert repr(EVERYONE) == "EVERYONE"
    assert copy.deepcopy(EVERYONE) is EVERYONE
    assert pickle.loads(pickle.dumps(EVERYONE)) is EVERYONE


def test_error_codes_are_numbers_that_stay() -> None:
    assert {code.name: code.value for code in ErrorCode} == {
        "DOWNLOAD_NOT_AVAILABLE": 1181,
        "UPLOAD_FAILED": 1182,
        "DOWNLOAD_FAILED": 1183,
        "FILE_TOO_LARGE": 1185,
        "STORAGE_ACCESS_DENIED": 5089,
        "SAVE_FAILED": 5090,
        "SHARING_NOT_AVAILABLE": 5091,
        "CANCELLED": 6001,
        "DECLINED": 6002,
        "STALLED": 6003,
        "CONNECTION_LOST": 6004,
        "INTEGRITY": 6005,
        "PROTOCOL_ERROR": 6006,
        "SIGNALING_FAILED": 6007,
    }


def test_a_files_name_is_the_last_of_its_path() -> None:
    assert OfferedFile(0, ("photos", "2026", "a.jpg"), 1).name == "a.jpg"


@pytest.mark.parametrize(
    ("stored", "size", "rate", "seconds"),
    [
        (25, 100, 5.0, 15.0),
        (100, 100, 5.0, 0.0),
        (120, 100, 5.0, 0.0),
        (0, 0, 5.0, 0.0),
        (25, 100, 0.0, None),
        (25, None, 5.0, None),
    ],
)
def test_seconds_left(stored: int, size: int | None, rate: float, seconds: float | None) -> None:
    assert Progress(stored, size, files_done=0, files=1, rate=rate).seconds_left == seconds


def test_values_cannot_be_changed() -> None:
    limits = Limits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.max_files = 1  # type: ignore[misc]
    assert dataclasses.replace(limits, max_files=1).max_files == 1


def test_default_limits_fit_each_other() -> None:
    limits = Limits()
    assert 0 < limits.min_window <= limits.max_window <= limits.memory_budget
    assert limits.silence_timeout_s < limits.lost_timeout_s
    assert all(value is None or value > 0 for value in dataclasses.astuple(limits))
