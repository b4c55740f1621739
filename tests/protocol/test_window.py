"""Credit as plain numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.errors import LocalProtocolError, RemoteProtocolError
from p2pshare.protocol.window import ReceiveWindow, SendWindow


def test_credit_is_spent_and_raised() -> None:
    window = SendWindow(100)
    window.spend(60)
    assert window.credit == 40
    window.raise_to(150)
    assert window.credit == 90


def test_spending_more_than_the_credit_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        SendWindow(10).spend(11)


@pytest.mark.parametrize("limit", [0, 99, 100])
def test_a_grant_that_comes_late_or_twice_changes_nothing(limit: int) -> None:
    window = SendWindow(100)
    window.raise_to(limit)
    assert window.limit == 100


def test_a_byte_beyond_the_limit_is_the_peers_mistake() -> None:
    window = ReceiveWindow(100, 100)
    window.take(100)
    with pytest.raises(RemoteProtocolError, match="1 bytes beyond the credit"):
        window.take(1)


def test_storing_what_never_arrived_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        ReceiveWindow(100, 100).store(1, 0.0, 0.0)


def test_a_grant_waits_for_a_quarter_of_the_window() -> None:
    window = ReceiveWindow(100, 100)
    window.take(100)
    window.store(24, 0.0, 0.0)
    assert window.grant() is None
    window.store(1, 0.0, 0.0)
    assert window.grant() == 125
    assert window.grant() is None
    assert window.held == 75


def test_the_window_doubles_while_it_is_stored_within_two_round_trips() -> None:
    window = ReceiveWindow(100, 350)
    sizes = []
    now = 1000.0
    for _ in range(6):
        size = window.size
        window.take(size)
        now += 0.1
        window.store(size, now, 0.06)
        window.grant()
        sizes.append(window.size)
    assert sizes == [100, 200, 350, 350, 350, 350]  # the first time there is nothing to measure from


def test_a_slow_disk_does_not_grow_the_window() -> None:
    window = ReceiveWindow(100, 1000)
    for turn in range(5):
        window.take(100)
        window.store(100, 1000.0 + turn, 0.06)
        window.grant()
    assert window.size == 100


def test_a_promise_is_never_taken_back() -> None:
    window = ReceiveWindow(100, 100)
    window.size = 10
    assert window.raise_limit() == 100


@given(st.lists(st.tuples(st.integers(1, 25), st.booleans())))
def test_all_stored_always_leaves_credit_for_a_quarter_of_the_window(steps: list[tuple[int, bool]]) -> None:
    receive = ReceiveWindow(100, 100)
    send = SendWindow(receive.limit)
    for size, is_stored in steps:
        if size <= send.credit:
            send.spend(size)
            receive.take(size)
        if is_stored:
            receive.store(receive.held, 0.0, 0.0)
            limit = receive.grant()
            if limit is not None:
                send.raise_to(limit)
            assert send.credit >= 25
        assert 0 <= receive.held <= 100
