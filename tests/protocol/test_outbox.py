"""One queue for all that leaves a core."""

from __future__ import annotations

from collections.abc import Iterator

from p2pshare.model import Limits
from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode
from p2pshare.protocol.outbox import CloseChannel, OpenChannel, Outbox, SendMessage


def frames_of(outbox: Outbox) -> list[f.Frame | None]:
    return [
        decode(action.message, max_size=65_536)
        for action in outbox.take_actions()
        if isinstance(action, SendMessage)
    ]


def pings(first: int, count: int) -> Iterator[f.Frame]:
    return (f.Ping(token) for token in range(first, first + count))


def test_actions_leave_in_order_and_once() -> None:
    outbox = Outbox(Limits())
    outbox.act(OpenChannel(241))
    outbox.control(f.Ping(1))
    outbox.act(CloseChannel(241))
    assert [type(action) for action in outbox.take_actions()] == [OpenChannel, SendMessage, CloseChannel]
    assert outbox.take_actions() == []


def test_the_first_page_leaves_at_once_and_lists_take_turns() -> None:
    outbox = Outbox(Limits())
    outbox.pages(pings(0, 3), lambda: True)
    outbox.pages(pings(10, 3), lambda: True)
    assert frames_of(outbox) == [f.Ping(0), f.Ping(10)]
    while outbox.send_page():
        pass
    assert frames_of(outbox) == [f.Ping(1), f.Ping(11), f.Ping(2), f.Ping(12)]


def test_a_list_that_nobody_wants_any_more_ends() -> None:
    outbox = Outbox(Limits())
    is_wanted = True
    outbox.pages(pings(0, 3), lambda: is_wanted)
    is_wanted = False
    assert not outbox.send_page()
    assert frames_of(outbox) == [f.Ping(0)]


def test_the_last_word_is_the_last_but_channels_are_still_made_and_closed() -> None:
    outbox = Outbox(Limits())
    outbox.act(OpenChannel(241))
    outbox.pages(pings(0, 3), lambda: True)
    outbox.finish(f.Close(6006, "why"))
    outbox.control(f.Ping(5))
    outbox.pages(pings(9, 3), lambda: True)
    outbox.act(CloseChannel(241))
    outbox.tell(e.LinkOpened())
    assert not outbox.send_page()
    actions = outbox.take_actions()
    assert [type(action) for action in actions] == [OpenChannel, SendMessage, CloseChannel]
    assert outbox.take_events() == [e.LinkOpened()]
