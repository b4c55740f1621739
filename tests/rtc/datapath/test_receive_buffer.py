"""What a receive buffer holds: measured where the kernel tells, and never believed too low."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from p2pshare.rtc.datapath import receive_buffer
from p2pshare.rtc.datapath.receive_buffer import ENOUGH, USABLE, ReceiveBuffer
from tests.support.needs import only_on

PACKET = 1_400


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        made.setblocking(False)
        yield made


def emptied(buffer: ReceiveBuffer, cost: float, packets: int = 20) -> bool:
    return buffer.emptied(int(cost * packets * PACKET), packets * PACKET, packets)


def test_before_anything_is_known_two_fifths_of_the_buffer_are_offered(sock: socket.socket) -> None:
    buffer = ReceiveBuffer(sock)
    assert buffer.window == pytest.approx(0.4 * buffer.size, rel=0.01)


def test_a_higher_cost_is_believed_at_once_and_a_lower_one_slowly(sock: socket.socket) -> None:
    buffer = ReceiveBuffer(sock)
    assert emptied(buffer, 3.0)
    assert buffer.window == pytest.approx(USABLE * buffer.size / 3, rel=0.01)
    assert not emptied(buffer, 1.2)
    for _ in range(200):
        emptied(buffer, 1.2)
    assert buffer.window == pytest.approx(USABLE * buffer.size / 1.2, rel=0.15)


def test_what_cannot_be_true_and_small_datagrams_count_for_nothing(sock: socket.socket) -> None:
    buffer = ReceiveBuffer(sock)
    usual = buffer.window
    for _ in range(100):
        assert not emptied(buffer, 0.5)  # most of it came while the rest was read
        assert not emptied(buffer, 5.0, packets=3)
        assert not buffer.emptied(1_000_000, 100_000, 1_000)
    assert buffer.window == usual


def test_a_low_cost_makes_no_large_window_larger_but_a_high_one_makes_it_smaller(sock: socket.socket) -> None:
    buffer = ReceiveBuffer(sock)
    buffer.size = 10 * ENOUGH
    usual = buffer.window
    for _ in range(200):
        emptied(buffer, 1.1)
    assert buffer.window == usual
    emptied(buffer, 7.0)
    assert buffer.window == pytest.approx(ENOUGH, rel=0.01)


@only_on("linux")
def test_the_kernel_says_what_a_datagram_takes(sock: socket.socket) -> None:
    buffer = ReceiveBuffer(sock)
    for _ in range(10):
        sock.sendto(bytes(PACKET), sock.getsockname())
    charged = buffer.sample()
    assert 10 * PACKET < charged <= buffer.size
    assert [buffer.sample() for _ in range(receive_buffer._SAMPLE_EVERY)] == [0] * 7 + [charged]


def test_a_system_that_does_not_tell_is_not_asked_again(
    sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receive_buffer, "_SO_MEMINFO", 9_999)
    buffer = ReceiveBuffer(sock)
    monkeypatch.undo()
    assert [buffer.sample() for _ in range(20)] == [0] * 20
