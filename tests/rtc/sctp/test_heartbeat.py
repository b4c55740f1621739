from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pshare.rtc.sctp import Closed, CloseReason, PeerResponsive, PeerUnresponsive
from p2pshare.rtc.sctp.state import State
from tests.rtc.sctp.link import Pair


def test_an_idle_pair_exchanges_about_one_heartbeat_a_second() -> None:
    pair = Pair().connect()
    before = pair.left.association.stats().packets_sent
    pair.run(60)
    assert 20 <= pair.left.association.stats().packets_sent - before <= 130
    assert not pair.left.count(PeerUnresponsive)


def test_a_peer_that_is_cut_off_is_unresponsive_and_then_responsive_again() -> None:
    pair = Pair().connect()
    pair.left.conditions.loss = pair.right.conditions.loss = 1.0
    begun = pair.now
    pair.run(20, until=lambda: pair.left.count(PeerUnresponsive) == 1)
    assert 4.5 < pair.now - begun < 6
    pair.run(5)
    pair.left.conditions.loss = pair.right.conditions.loss = 0.0
    pair.run(3, until=lambda: pair.left.count(PeerResponsive) == 1)
    pair.send(pair.left, 1, b"still there")
    pair.settle()
    assert pair.right.messages == [(1, 53, b"still there")]
    assert pair.left.count(PeerUnresponsive) == 1


def test_a_peer_that_stays_away_is_given_up_after_half_a_minute() -> None:
    pair = Pair().connect()
    pair.send(pair.left, 1, bytes(100_000))
    pair.left.conditions.loss = 1.0
    pair.right.conditions.loss = 1.0
    begun = pair.now
    pair.run(60, until=lambda: bool(pair.left.count(Closed)))
    assert Closed(CloseReason.PEER_SILENT) in pair.left.events
    assert 29 < pair.now - begun < 32


def test_data_goes_on_soon_after_a_long_cut() -> None:
    pair = Pair().connect()
    for _ in range(10):
        pair.send(pair.left, 1, bytes(200_000))
    pair.run(0.1)
    pair.left.conditions.loss = pair.right.conditions.loss = 1.0
    pair.run(15)
    pair.left.conditions.loss = pair.right.conditions.loss = 0.0
    begun = pair.now
    pair.settle(30)
    assert pair.now - begun < 8
    assert len(pair.right.messages) == 10


@given(st.integers(5, 20), st.floats(0, 30))
def test_what_is_due_is_done_at_once_however_times_are_rounded(power: int, before: float) -> None:
    pair = Pair()
    pair.now = 2.0**power - before  # sums are rounded where a power of two lies between
    pair.connect()
    left = pair.left.association
    while left.state is State.ESTABLISHED:
        pair.now = left.next_timer() or pair.now
        left.handle_timer(pair.now)
        while left.write(pair.now) is not None:
            pass
        due = left.next_timer()
        assert due is None or due > pair.now
    assert [type(event) for event in left.take_events()][-2:] == [PeerUnresponsive, Closed]
