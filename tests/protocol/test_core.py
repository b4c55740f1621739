"""A link from greeting to close: who speaks first, versions, authentication, liveness."""

from __future__ import annotations

import pytest

from p2pshare.errors import (
    ConnectionLost,
    LocalProtocolError,
    RemoteProtocolError,
    SharingNotAvailable,
    TransferError,
)
from p2pshare.model import ErrorCode, OfferedFile
from p2pshare.protocol import events as e
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode, encode
from p2pshare.protocol.core import Core, CoreConfig
from p2pshare.protocol.outbox import CONTROL_CHANNEL, CloseChannel, OpenChannel, SendMessage
from p2pshare.protocol.states import LinkState
from tests.protocol.pair import HIGH, LOW, CorePair, limits


def hello(**changes: object) -> f.Hello:
    fields = {"versions": (1,), "nonce": LOW, "seen": False, "max_frame": 65_536}
    fields |= {"max_file_size": 2**53 - 1, "max_files": 100_000} | changes
    return f.Hello(**fields)  # type: ignore[arg-type]  # a test names the fields it cares for


# Greeting ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("left", "right"), ("right", "left")])
@pytest.mark.parametrize("is_late", [True, False])
def test_either_side_may_attach_first(order: tuple[str, str], is_late: bool) -> None:
    pair = CorePair(attach=False)
    first, second = (getattr(pair, name) for name in order)
    pair.attach(first)
    if is_late:
        pair.exchange()  # nobody is there: the HELLO is lost
        assert len(pair.lost) == 1
    pair.attach(second)
    pair.exchange()
    assert pair.is_open()
    assert [len(peer.of(e.LinkOpened)) for peer in (first, second)] == [1, 1]
    assert pair.left.core.version == pair.right.core.version == 1


def test_the_lower_nonce_owns_the_even_ids() -> None:
    pair = CorePair()
    for by, parity in ((pair.left, 1), (pair.right, 0)):  # the other side accepts
        offer = pair.offer(by, 1)
        pair.exchange()
        other = pair.other(by)
        job = pair.accept(other, offer)
        assert job % 2 == parity
        channel = other.core.downloads.jobs[job].channel
        assert channel is not None
        assert channel % 2 == parity
        assert 241 <= channel <= 255


def test_a_hello_that_was_not_seen_is_always_answered() -> None:
    pair = CorePair()
    before = len(pair.sent(pair.right, f.Hello))
    pair.receive(pair.right, hello())
    pair.receive(pair.right, hello())
    assert len(pair.sent(pair.right, f.Hello)) == before + 2
    assert pair.is_open()


def test_a_hello_that_was_seen_is_not_answered() -> None:
    pair = CorePair()
    before = len(pair.sent(pair.right, f.Hello))
    pair.receive(pair.right, hello(seen=True))
    assert len(pair.sent(pair.right, f.Hello)) == before


def test_another_session_on_the_channel_ends_the_link() -> None:
    pair = CorePair()
    pair.receive(pair.right, hello(nonce=bytes([7] * 16)))
    assert isinstance(pair.right.error, RemoteProtocolError)
    assert "HELLO" in str(pair.right.error)


def test_a_reflected_hello_ends_the_link() -> None:
    pair = CorePair(attach=False)
    pair.attach(pair.right)
    pair.receive(pair.right, hello(nonce=HIGH))
    assert isinstance(pair.right.error, RemoteProtocolError)
    assert "reflected" in str(pair.right.error)
    assert pair.sent(pair.right, f.Close)


def test_without_a_common_version_both_sides_say_which_there_are() -> None:
    pair = CorePair(versions=((1, 2), (3,)))
    for peer in (pair.left, pair.right):
        assert isinstance(peer.error, SharingNotAvailable)
        assert "(1, 2)" in str(peer.error)
        assert "(3,)" in str(peer.error)


def test_who_attached_late_learns_why_there_is_no_common_version() -> None:
    pair = CorePair(versions=((1,), (2,)), attach=False)
    pair.attach(pair.left)
    pair.exchange()
    pair.attach(pair.right)
    pair.exchange()
    assert isinstance(pair.right.error, SharingNotAvailable)


def test_the_highest_common_version_is_spoken() -> None:
    pair = CorePair(versions=((1, 2, 5), (2, 1, 4)))
    assert pair.left.core.version == pair.right.core.version == 2


def test_no_hello_in_time_is_told_once_and_a_late_one_still_opens_the_link() -> None:
    pair = CorePair(attach=False)
    pair.attach(pair.left)
    pair.exchange()
    pair.wait(9.5)
    assert not pair.left.of(e.HelloTimedOut)
    pair.wait(0.5)
    pair.wait(100)
    assert len(pair.left.of(e.HelloTimedOut)) == 1
    assert pair.left.core.next_timer() is None
    pair.attach(pair.right)
    pair.exchange()
    assert pair.is_open()


def test_the_smaller_frame_limit_holds_for_both() -> None:
    core = Core(CoreConfig(LOW, limits()))
    core.start(0.0, max_message=20_000)
    core.receive_message(240, encode(hello(nonce=HIGH, max_frame=30_000)), 0.0)
    assert core.max_frame == 20_000


def test_a_peer_without_a_message_limit_gets_the_usual_frames() -> None:
    core = Core(CoreConfig(LOW, limits()))
    core.start(0.0, max_message=0)
    assert core.max_frame == 65_536


def test_a_frame_before_hello_ends_the_link() -> None:
    pair = CorePair(attach=False)
    pair.attach(pair.right)
    pair.receive(pair.right, f.Pause(2))
    assert "PAUSE while the link is greeting" in str(pair.right.error)


def test_ping_is_answered_before_hello() -> None:
    pair = CorePair(attach=False)
    pair.attach(pair.right)
    pair.receive(pair.right, f.Ping(77))
    assert pair.sent(pair.right, f.Pong) == [f.Pong(77)]


def test_nothing_can_be_offered_before_the_link_is_open() -> None:
    pair = CorePair(attach=False)
    pair.attach(pair.left)
    with pytest.raises(TransferError):
        pair.left.core.uploads.offer(1, [OfferedFile(0, ("a",), 1)])


# Authentication ----------------------------------------------------------------------------------------


def test_methods_that_differ_end_the_link_naming_both() -> None:
    pair = CorePair(auth=("cpace", None))
    for peer in (pair.left, pair.right):
        assert isinstance(peer.error, SharingNotAvailable)
        assert "'cpace'" in str(peer.error)
        assert "'nothing'" in str(peer.error)


def test_authentication_goes_in_steps_and_then_the_link_is_open() -> None:
    pair = CorePair(auth=("cpace", "cpace"))
    assert pair.left.core.state is pair.right.core.state is LinkState.AUTHENTICATING
    assert not pair.left.of(e.LinkOpened)
    for peer in (pair.left, pair.right):
        peer.core.send_auth(b"proof of " + peer.name.encode())
        pair.drain(peer)
    pair.exchange()
    assert pair.left.of(e.AuthReceived) == [e.AuthReceived(b"proof of right")]
    for peer in (pair.left, pair.right):
        pair.now += 0.1
        peer.core.authenticated()
        pair.drain(peer)
    pair.exchange()
    assert pair.is_open()
    job = pair.start(100)
    pair.run()
    assert pair.states(job)[0].value == "completed"


def test_the_round_trip_is_measured_after_authentication_too() -> None:
    pair = CorePair(auth=("cpace", "cpace"))
    pair.left.core.authenticated()
    pair.right.core.authenticated()
    pair.drain(pair.left)
    pair.drain(pair.right)
    pair.now += 0.08
    pair.exchange()
    assert pair.left.core.downloads.rtt == pytest.approx(0.08)
    assert pair.right.core.downloads.rtt == pytest.approx(0.08)


@pytest.mark.parametrize("frame", [f.Pause(2), f.Withdraw(1, 1181), f.Window(1), f.Ended(1, 1)])
def test_a_frame_before_the_end_of_authentication_ends_the_link(frame: f.Frame) -> None:
    pair = CorePair(auth=("cpace", "cpace"))
    pair.receive(pair.right, frame)
    assert f"{frame.WORD} while the link is authenticating" in str(pair.right.error)


def test_nothing_can_be_offered_while_authenticating() -> None:
    pair = CorePair(auth=("cpace", "cpace"))
    with pytest.raises(TransferError):
        pair.offer(pair.left, 10)
    assert not pair.sent(pair.left, f.OfferFrame)


def test_ping_is_answered_and_close_is_read_while_authenticating() -> None:
    pair = CorePair(auth=("cpace", "cpace"))
    pair.receive(pair.right, f.Ping(5))
    assert f.Pong(5) in pair.sent(pair.right, f.Pong)
    pair.receive(pair.right, f.Close(6007, "wrong code"))
    assert "wrong code" in str(pair.right.error)


def test_a_late_auth_ends_the_link() -> None:
    pair = CorePair()
    pair.receive(pair.right, f.Auth(b"again"))
    assert "AUTH while the link is open" in str(pair.right.error)


def test_auth_commands_need_the_state() -> None:
    pair = CorePair()
    with pytest.raises(LocalProtocolError):
        pair.left.core.send_auth(b"")
    with pytest.raises(LocalProtocolError):
        pair.left.core.authenticated()


# Liveness ----------------------------------------------------------------------------------------------


def test_a_second_of_silence_asks_for_a_sign_of_life() -> None:
    pair = CorePair()
    before = len(pair.sent(pair.left, f.Ping))
    pair.wait(0.75)
    assert len(pair.sent(pair.left, f.Ping)) == before
    pair.wait(0.25)
    assert len(pair.sent(pair.left, f.Ping)) == before + 1


def test_pings_that_are_answered_keep_the_link() -> None:
    pair = CorePair()
    for _ in range(200):
        pair.wait(0.5)
        pair.exchange()
    assert pair.is_open()
    assert not pair.left.of(e.PeerSilent)
    assert len(pair.sent(pair.left, f.Ping)) < 250


def test_a_silent_peer_is_told_once_and_heard_again() -> None:
    pair = CorePair()
    pair.wait(4.75)
    assert not pair.left.of(e.PeerSilent)
    pair.wait(10)
    assert len(pair.left.of(e.PeerSilent)) == 1
    assert pair.left.of(e.PeerSilent)[0].silent_s >= 5.0
    pair.exchange()
    assert len(pair.left.of(e.PeerHeard)) == 1
    assert pair.is_open()


def test_a_peer_that_stays_silent_is_lost_with_its_jobs() -> None:
    pair = CorePair()
    job = pair.start(1000)
    pair.wait(29.5)
    assert pair.is_open()
    pair.wait(0.5)
    assert isinstance(pair.left.error, ConnectionLost)
    assert pair.left.ended[job].code == ErrorCode.CONNECTION_LOST
    assert pair.left.core.next_timer() is None


def test_the_round_trip_is_smoothed() -> None:
    pair = CorePair()
    pair.left.core.downloads.rtt = 0.0
    for round_trip in (0.1, 0.2):
        pair.left.core.ping(pair.now)
        pair.drain(pair.left)
        pair.now += round_trip
        pair.exchange()
    assert pair.left.core.downloads.rtt == pytest.approx(0.875 * 0.1 + 0.125 * 0.2)


def test_a_pong_that_nobody_asked_for_is_ignored() -> None:
    pair = CorePair()
    pair.receive(pair.right, f.Pong(123_456))
    assert pair.is_open()


# The end -----------------------------------------------------------------------------------------------


def test_close_ends_both_sides_with_the_reason_and_takes_all_channels() -> None:
    pair = CorePair()
    job = pair.start(100_000)
    pair.left.core.close(SharingNotAvailable("the session was closed"))
    pair.drain(pair.left)
    pair.exchange()
    assert str(pair.right.error) == "the session was closed"
    assert [state.value for state in pair.states(job)] == ["lost", "lost"]
    assert pair.left.ends == pair.right.ends == {}
    assert pair.right.ended[job].remote


def test_closing_twice_and_losing_afterwards_does_nothing_more() -> None:
    pair = CorePair()
    for _ in range(2):
        pair.left.core.close(SharingNotAvailable("done"))
        pair.drain(pair.left)
    pair.left.core.connection_lost("late")
    pair.drain(pair.left)
    assert len(pair.left.of(e.LinkClosed)) == 1
    assert len(pair.sent(pair.left, f.Close)) == 1


def test_the_link_closed_event_is_the_last_one() -> None:
    pair = CorePair()
    pair.start(100_000)
    pair.offer(pair.right, 1)
    pair.exchange()
    pair.cut()
    for peer in (pair.left, pair.right):
        assert isinstance(peer.events[-1], e.LinkClosed)


def test_a_control_channel_that_closes_is_the_end() -> None:
    pair = CorePair()
    pair.left.core.channel_closed(CONTROL_CHANNEL)
    pair.drain(pair.left)
    assert isinstance(pair.left.error, ConnectionLost)


def test_messages_after_the_end_are_dropped() -> None:
    pair = CorePair()
    pair.cut()
    count = len(pair.right.events)
    pair.receive(pair.right, f.Ping(1))
    pair.receive(pair.right, f.Withdraw(99, 1))
    assert len(pair.right.events) == count
    assert pair.right.core.take_actions() == []


def test_nothing_is_sent_after_close() -> None:
    pair = CorePair()
    pair.start(100_000)
    pair.send_all(pair.left)
    pair.exchange()
    pair.right.core.close(SharingNotAvailable("done"))
    pair.right.core.uploads.answer_have(1, 1, [])
    actions = pair.right.core.take_actions()
    messages = [action.message for action in actions if isinstance(action, SendMessage)]
    assert [type(decode(message, max_size=65_536)) for message in messages] == [f.Close]
    assert actions[-1] == CloseChannel(CONTROL_CHANNEL)


def test_a_stream_that_a_fatal_accept_asked_for_is_made_before_it_is_closed() -> None:
    pair = CorePair()
    pair.offer(pair.left, 10)
    pair.exchange()
    frame = f.Accept(1, 1, 241, ((0, 99),), 65_536, 65_536)
    pair.left.core.receive_message(CONTROL_CHANNEL, encode(frame), pair.now)
    actions = pair.left.core.take_actions()
    assert [type(action) for action in actions] == [OpenChannel, SendMessage, CloseChannel, CloseChannel]
    assert actions[0] == OpenChannel(241)
    assert actions[2] == CloseChannel(241)


def test_a_violation_closes_the_link_and_names_the_frame_to_the_peer() -> None:
    pair = CorePair()
    pair.receive(pair.right, f.Decline(7, 6002))
    pair.exchange()
    assert isinstance(pair.right.error, RemoteProtocolError)
    close = pair.sent(pair.right, f.Close)[0]
    assert isinstance(close, f.Close)
    assert close.code == ErrorCode.PROTOCOL_ERROR
    assert close.reason.startswith("DECLINE")
    assert isinstance(pair.left.error, LocalProtocolError)
    assert "DECLINE: there is no offer 7" in str(pair.left.error)


@pytest.mark.parametrize("channel", [240, 242])
def test_a_text_message_ends_the_link(channel: int) -> None:
    pair = CorePair()
    pair.right.core.text_received(channel)
    pair.drain(pair.right)
    assert f"text message on channel {channel}" in str(pair.right.error)


@pytest.mark.parametrize("frame", [f.Ping(1), f.Pause(1), f.Hello((1,), LOW, True, 16_384, 1, 1)])
def test_a_control_frame_on_a_stream_ends_the_link(frame: f.Frame) -> None:
    pair = CorePair()
    pair.receive(pair.right, frame, channel=241)
    assert f"{frame.WORD} on the job stream 241" in str(pair.right.error)


def test_a_frame_beyond_the_limit_ends_the_link() -> None:
    pair = CorePair()
    pair.right.core.receive_message(241, bytes(65_537), pair.now)
    pair.drain(pair.right)
    assert "65,537 bytes" in str(pair.right.error)


def test_an_unknown_frame_is_ignored_on_every_channel() -> None:
    pair = CorePair()
    job = pair.start(1000)
    for channel in (240, 241):
        pair.right.core.receive_message(channel, bytes.fromhex("927f80"), pair.now)
    pair.drain(pair.right)
    pair.run()
    assert pair.states(job)[1].value == "completed"


def test_a_reason_too_long_for_the_wire_is_cut_and_not_fatal() -> None:
    pair = CorePair()
    job = pair.start(1000)
    pair.left.core.uploads.reset(job, 1182, "\N{SNOWMAN}" * 5000 + "\udcff")
    pair.drain(pair.left)
    pair.exchange()
    assert pair.is_open()
    assert len(pair.right.ended[job].reason.encode()) <= 1024
