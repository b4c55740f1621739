"""What may pass from the network: no datagram of a stranger's, none that is malformed, never too many."""

from __future__ import annotations

import struct

import pytest
from aioice import Candidate, Connection, stun
from aioice.ice import StunProtocol
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.rtc.datapath import guard as guard_module
from p2pshare.rtc.datapath import seams
from p2pshare.rtc.datapath.guard import Drops, Guard
from tests.rtc.datapath.agents import record

PEER = ("192.0.2.1", 5000)
STRANGER = ("198.51.100.9", 6000)


class Sent(StunProtocol):
    """Keeps what aioice answers."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.answers: list[stun.Message] = []
        self.local_candidate = Candidate("1", 1, "udp", 1, "192.0.2.7", 7000, "host")

    def send_stun(self, message: stun.Message, addr: tuple[str, int]) -> None:
        self.answers.append(message)


class Guarded:
    """An agent that signaling has told of one peer, behind its guard."""

    def __init__(self) -> None:
        self.connection = Connection(ice_controlling=False, local_username="left", local_password="p" * 22)
        self.connection.remote_username, self.connection.remote_password = "right", "q" * 22
        self.guard = Guard(self.connection)
        self.protocol = Sent(self.connection)

    def receive(self, datagram: bytes, address: tuple[str, int] = PEER) -> None:
        self.guard.receive(self.protocol, datagram, address)

    @property
    def waiting(self) -> int:
        return seams.received(self.connection).qsize()


@pytest.fixture
async def guarded() -> Guarded:
    subject = Guarded()
    await subject.connection.add_remote_candidate(Candidate("1", 1, "udp", 1, *PEER, "host"))
    return subject


def check(password: str = "p" * 22, *, has_priority: bool = True) -> bytes:
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = "left:right"
    if has_priority:
        request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLING"] = 5
    request.add_message_integrity(password.encode())
    return bytes(request)


async def test_records_and_media_pass_from_the_peer_that_signaling_named(guarded: Guarded) -> None:
    guarded.receive(record(50))
    guarded.receive(record(50, first=128))
    assert guarded.waiting == 2
    assert guarded.guard.drops == Drops()


async def test_an_empty_datagram_is_dropped_whoever_sends_it(guarded: Guarded) -> None:
    guarded.receive(b"")
    guarded.receive(b"", STRANGER)
    assert guarded.waiting == 0
    assert guarded.guard.drops == Drops(empty=2)


async def test_nothing_but_stun_passes_from_a_stranger(guarded: Guarded) -> None:
    for first in (20, 22, 23, 63, 128, 191):
        guarded.receive(record(50, first=first), STRANGER)
    assert guarded.waiting == 0
    assert guarded.guard.drops == Drops(strange=6)


async def test_what_is_neither_stun_nor_dtls_nor_media_is_dropped(guarded: Guarded) -> None:
    for first in (4, 19, 64, 127, 192, 255):
        guarded.receive(record(50, first=first))
    assert guarded.waiting == 0
    assert guarded.guard.drops == Drops(unknown=6)


async def test_malformed_stun_is_dropped(guarded: Guarded) -> None:
    whole = check()
    short_attribute = bytearray(whole)
    struct.pack_into("!H", short_attribute, 22, 60_000)
    for datagram in (
        b"\0",
        whole[:-1],
        whole[:19],
        whole + b"\0",
        bytes(short_attribute),
        record(40, first=1),
    ):
        guarded.receive(datagram)
    assert guarded.waiting == 0
    assert guarded.guard.drops == Drops(malformed=6)
    assert guarded.protocol.answers == []


async def test_an_authenticated_check_makes_a_new_address_of_the_peer_known(guarded: Guarded) -> None:
    moved = ("203.0.113.5", 9000)
    guarded.receive(record(50), moved)
    guarded.receive(check(), moved)
    guarded.receive(record(50), moved)
    assert [answer.message_class for answer in guarded.protocol.answers] == [stun.Class.RESPONSE]
    assert guarded.waiting == 1
    assert guarded.guard.drops == Drops(strange=1)


async def test_a_check_with_a_wrong_password_makes_nobody_known(guarded: Guarded) -> None:
    guarded.receive(check("x" * 22), STRANGER)
    guarded.receive(record(50), STRANGER)
    assert guarded.waiting == 0
    assert guarded.guard.drops == Drops(strange=1)


async def test_a_check_that_aioice_cannot_handle_raises_nothing(guarded: Guarded) -> None:
    seams.known_addresses_age(guarded.connection)
    guarded.connection._early_checks_done = True
    guarded.receive(check(has_priority=False), STRANGER)
    assert guarded.guard.drops == Drops(malformed=1)


async def test_what_waits_for_aiortc_is_bounded(guarded: Guarded) -> None:
    for _ in range(guard_module.QUEUE_LIMIT + 10):
        guarded.receive(record(50))
    assert guarded.waiting == guard_module.QUEUE_LIMIT
    assert guarded.guard.drops == Drops(overflow=10)


@given(st.binary(max_size=200), st.booleans())
async def test_no_datagram_raises(datagram: bytes, is_peer: bool) -> None:
    subject = Guarded()
    await subject.connection.add_remote_candidate(Candidate("1", 1, "udp", 1, *PEER, "host"))
    subject.receive(datagram, PEER if is_peer else STRANGER)
    subject.receive(b"\0\1" + datagram, PEER if is_peer else STRANGER)
