"""Events reach the program in order, none is lost in silence, and no callback reaches back."""

from __future__ import annotations

import asyncio
import gc

import pytest

from p2pshare import events as ev
from p2pshare.model import Progress
from p2pshare.session import EventsLost, Session
from p2pshare.session import dispatch as dispatch_module
from p2pshare.session.dispatch import Dispatcher
from p2pshare.session.tasks import TaskSet


def progress(stored: int, job: int = 1) -> ev.DownloadProgress:
    return ev.DownloadProgress(job, "bob", Progress(stored, 100, 0, 1, 0.0))


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher(TaskSet())


async def test_progress_keeps_its_place_and_only_the_newest_is_told(dispatcher: Dispatcher) -> None:
    stream = dispatcher.events()
    started, completed = ev.DownloadStarted(1, "bob"), ev.DownloadCompleted(1, "bob", {})
    for event in (started, progress(1), progress(2), progress(5, job=2), completed, progress(3)):
        dispatcher.emit(event)
    dispatcher.close()
    assert [event async for event in stream] == [started, progress(3), progress(5, job=2), completed]


async def test_a_slow_reader_hears_of_the_rest_although_progress_never_ends(dispatcher: Dispatcher) -> None:
    stream = dispatcher.events()
    joined = ev.PeerJoined("carol")
    dispatcher.emit(progress(1))
    dispatcher.emit(joined)
    heard = []
    for stored in range(2, 5):  # more progress comes with every event that is read
        heard.append(await anext(stream))
        dispatcher.emit(progress(stored))
    assert heard == [progress(1), joined, progress(3)]


async def test_events_are_heard_from_the_call_on_not_from_the_first_step(dispatcher: Dispatcher) -> None:
    stream = dispatcher.events()
    dispatcher.emit(ev.PeerJoined("bob"))
    assert await anext(stream) == ev.PeerJoined("bob")


async def test_events_end_with_the_session_and_after_it_there_are_none() -> None:
    session = Session()
    before = session.events()
    await session.close()
    assert [event async for event in before] == []
    assert [event async for event in session.events()] == []


async def test_a_stream_that_nobody_holds_any_more_keeps_nothing(dispatcher: Dispatcher) -> None:
    async for _ in _with_one(dispatcher):
        break
    gc.collect()
    assert not dispatcher._streams


def _with_one(dispatcher: Dispatcher) -> dispatch_module.EventStream:
    stream = dispatcher.events()
    dispatcher.emit(ev.PeerJoined("bob"))
    return stream


async def test_a_reader_that_falls_too_far_behind_is_told(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_module, "MAX_PENDING", 3)
    stream = dispatcher.events()
    for number in range(5):
        dispatcher.emit(progress(number, job=number))  # progress is bounded by the jobs, and does not count
        dispatcher.emit(ev.PeerJoined(str(number)))
    heard = [await anext(stream) for _ in range(8)]
    with pytest.raises(EventsLost):
        await anext(stream)
    assert [event.peer for event in heard if isinstance(event, ev.PeerJoined)] == ["0", "1", "2"]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_what_a_callback_raises_is_logged_and_goes_no_further(
    dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    def fail(event: ev.Event) -> None:
        raise error

    heard: list[ev.Event] = []
    dispatcher.on(ev.PeerJoined, fail)
    dispatcher.on(ev.Event, heard.append)
    dispatcher.emit(ev.PeerJoined("bob"))
    assert heard == [ev.PeerJoined("bob")]
    assert "a callback for PeerJoined failed" in caplog.text
