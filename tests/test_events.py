from __future__ import annotations

import dataclasses
import inspect

import pytest

import p2pshare.events
from p2pshare.errors import SharingNotAvailable
from p2pshare.events import AvailableFile, Event, LinkFailed, Offer, PeerJoined, UploadFailed, UploadStarted
from p2pshare.model import OfferedFile

EVENTS = [cls for _, cls in inspect.getmembers(p2pshare.events, inspect.isclass) if issubclass(cls, Event)]


@pytest.mark.parametrize("cls", EVENTS, ids=lambda cls: cls.__name__)
def test_every_event_is_a_plain_frozen_value(cls: type[Event]) -> None:
    assert dataclasses.is_dataclass(cls)
    assert "__slots__" in vars(cls)
    assert cls.__doc__
    event = cls(*["field"] * len(dataclasses.fields(cls)))
    assert not hasattr(event, "__dict__")
    for field in dataclasses.fields(cls):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, field.name, None)


def test_events_of_one_job_share_their_first_fields() -> None:
    started = UploadStarted(job_id=1, peer="bob")
    assert started == UploadStarted(1, "bob")
    assert started != UploadStarted(2, "bob")
    assert [field.name for field in dataclasses.fields(UploadFailed)] == ["job_id", "peer", "error"]


def test_events_of_two_kinds_differ() -> None:
    started: Event = UploadStarted(1, "bob")
    assert started != PeerJoined("bob")
    error = SharingNotAvailable()
    assert LinkFailed("bob", error).error is error


def _file(index: int, size: int | None) -> AvailableFile:
    return AvailableFile(offer_id=1, peer="bob", file=OfferedFile(index, ("photos", f"{index}.jpg"), size))


def test_an_available_file_reads_what_its_sender_says() -> None:
    file = _file(3, 10)
    assert (file.name, file.path, file.size) == ("3.jpg", "photos/3.jpg", 10)


@pytest.mark.parametrize(("sizes", "total"), [([], 0), ([1, 2], 3), ([0], 0), ([1, None, 2], None)])
def test_an_offers_size_is_known_when_every_files_is(sizes: list[int | None], total: int | None) -> None:
    offer = Offer(1, "bob", tuple(_file(index, size) for index, size in enumerate(sizes)))
    assert offer.size == total
