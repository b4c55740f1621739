"""The rooms alone, on a clock of their own; messages go through the codec, as on the wire."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from signaling.errors import ErrorCode
from signaling.messages import (
    ClientMessage,
    Join,
    Joined,
    Leave,
    PeerJoined,
    PeerLeft,
    Refused,
    Relayed,
    Resume,
    ServerMessage,
    Signal,
    decode_client,
    decode_server,
    encode,
)
from signaling.names import name_key
from signaling.rooms import MAILBOX, Rooms, Send

GRACE = 3.0


@dataclass
class Client:
    """What one well-behaved client knows, from the server's messages alone."""

    connection: int | None
    room: str
    joined: Joined | None = None
    peers: dict[str, str] = field(default_factory=dict)
    inbox: list[ServerMessage] = field(default_factory=list)

    @property
    def me(self) -> Joined:
        assert self.joined is not None
        return self.joined

    @property
    def proof(self) -> Resume:
        return Resume(self.me.peer_id, self.me.secret)

    @property
    def last(self) -> ServerMessage:
        return self.inbox[-1]

    def receive(self, message: ServerMessage, *, final: bool) -> None:
        self.inbox.append(message)
        match message:
            case Joined():
                self.joined = message
                self.peers = {peer.peer_id: peer.name for peer in message.peers}
            case PeerJoined(peer_id, name):
                assert peer_id not in self.peers
                self.peers[peer_id] = name
            case PeerLeft(peer_id, name, _):
                assert self.peers.pop(peer_id) == name
        if final:
            self.connection = None


class House:
    """Rooms, their clients, a clock and the numbers that stand in for chance."""

    def __init__(self, **limits: int) -> None:
        self.rooms = Rooms(grace_s=GRACE, **limits)
        self.now = 100.0
        self.clients: dict[int, Client] = {}
        self._count = 0

    def _drain(self, sends: list[Send]) -> None:
        for send in sends:
            client = self.clients[send.connection]
            message = decode_server(encode(send.message))
            assert message is not None
            client.receive(message, final=send.final)

    def say(self, connection: int, message: ClientMessage) -> None:
        decoded = decode_client(encode(message))
        assert decoded is not None
        self._count += 1
        self._drain(self.rooms.receive(connection, decoded, secret=f"{self._count:032x}"))

    def join(self, name: str, room: str = "lobby", resume: Resume | None = None, version: int = 1) -> Client:
        self._count += 1
        connection = self._count
        client = self.clients[connection] = Client(connection, room)
        self.say(connection, Join(room, name, version, resume))
        return client

    def send(self, sender: Client, to: Client, **payload: object) -> None:
        assert sender.connection is not None
        self.say(sender.connection, Signal(to.me.peer_id, payload))

    def leave(self, client: Client) -> None:
        assert client.connection is not None
        self.say(client.connection, Leave())
        self.drop(client)

    def drop(self, client: Client) -> None:
        connection, client.connection = client.connection, None
        assert connection is not None
        self._drain(self.rooms.disconnect(connection, now=self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._drain(self.rooms.handle_timer(self.now))


def test_each_learns_of_the_other() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    assert alice.peers == {bob.me.peer_id: "bob"}
    assert bob.peers == {alice.me.peer_id: "alice"}
    assert alice.me.secret != bob.me.secret


def test_rooms_do_not_hear_of_each_other() -> None:
    house = House()
    alice, bob = house.join("alice", "one"), house.join("bob", "two")
    assert alice.peers == bob.peers == {}
    house.send(alice, bob, x=1)
    assert isinstance(alice.last, Refused)
    assert alice.last.code == ErrorCode.PEER_GONE
    assert bob.inbox == [bob.me]


def test_a_signal_is_relayed_with_its_sender() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.send(alice, bob, sdp="v=0")
    assert bob.last == Relayed(alice.me.peer_id, {"sdp": "v=0"})


def test_a_signal_before_join_ends_the_connection() -> None:
    house = House()
    bob = house.join("bob")
    stranger = house.clients[99] = Client(99, "lobby")
    house.say(99, Signal(bob.me.peer_id, {}))
    assert isinstance(stranger.last, Refused)
    assert stranger.last.final
    assert bob.inbox == [bob.me]


def test_a_signal_to_who_left_is_refused_and_the_sender_stays() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.leave(bob)
    house.send(alice, bob, x=1)
    assert alice.last == Refused(
        ErrorCode.PEER_GONE, "nobody in the room has this id", final=False, peer_id=bob.me.peer_id
    )
    assert alice.connection is not None


def test_who_leaves_is_gone_at_once_and_the_name_is_free() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.leave(bob)
    assert alice.last == PeerLeft(bob.me.peer_id, "bob", "left")
    assert house.rooms.next_timer is None
    assert house.join("bob").joined is not None


def test_a_name_whose_holder_is_connected_is_taken() -> None:
    house = House()
    house.join("Bob")
    for name in ("Bob", "bob", "ＢＯＢ"):
        second = house.join(name)
        assert isinstance(second.last, Refused)
        assert second.last.code == ErrorCode.NAME_TAKEN
        assert second.connection is None
    assert house.join("Bob", "elsewhere").joined is not None


def test_a_lost_peer_is_reported_after_its_grace() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.drop(bob)
    assert house.rooms.next_timer == house.now + GRACE
    house.wait(GRACE - 0.01)
    assert bob.me.peer_id in alice.peers
    house.wait(0.01)
    assert alice.last == PeerLeft(bob.me.peer_id, "bob", "connection lost")
    assert house.rooms.next_timer is None


def test_who_resumes_in_time_is_not_missed_and_gets_its_signals() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.drop(bob)
    heard = len(alice.inbox)
    house.send(alice, bob, number=1)
    house.send(alice, bob, number=2)
    again = house.join("bob", resume=bob.proof)
    assert again.me.resumed
    assert (again.me.peer_id, again.me.secret, again.peers) == (bob.me.peer_id, bob.me.secret, bob.peers)
    assert again.inbox[1:] == [Relayed(alice.me.peer_id, {"number": n}) for n in (1, 2)]
    house.wait(10)
    assert len(alice.inbox) == heard


def test_a_mailbox_is_bounded_and_the_sender_hears_of_it() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.drop(bob)
    for number in range(MAILBOX + 1):
        house.send(alice, bob, number=number)
    assert isinstance(alice.last, Refused)
    assert (alice.last.code, alice.last.final) == (ErrorCode.PEER_AWAY, False)
    assert len(house.join("bob", resume=bob.proof).inbox) == 1 + MAILBOX


def test_signals_of_who_left_meanwhile_are_not_delivered() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.drop(bob)
    house.send(alice, bob, number=1)
    house.leave(alice)
    assert house.join("bob", resume=bob.proof).inbox[1:] == []


def test_who_resumes_too_late_keeps_its_id_and_joins_anew() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.drop(bob)
    house.wait(GRACE)
    again = house.join("bob", resume=bob.proof)
    assert again.me.peer_id == bob.me.peer_id
    assert not again.me.resumed
    assert alice.last == PeerJoined(bob.me.peer_id, "bob")


def test_a_server_that_restarted_gives_the_old_ids_back() -> None:
    before, after = House(), House()
    alice = before.join("alice")
    again = after.join("alice", resume=alice.proof)
    assert again.me.peer_id == alice.me.peer_id


def test_resuming_over_a_connection_that_seems_alive_replaces_it() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    old = bob.connection
    heard = len(alice.inbox)
    again = house.join("bob", resume=bob.proof)
    assert again.me.resumed
    assert isinstance(bob.last, Refused)
    assert bob.last.code == ErrorCode.REPLACED
    assert old is not None
    assert house.rooms.disconnect(old, now=house.now) == []
    house.send(alice, again, x=1)
    assert again.last == Relayed(alice.me.peer_id, {"x": 1})
    assert len(alice.inbox) == heard


def test_a_wrong_secret_resumes_nobody() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.drop(bob)
    thief = house.join("bob", resume=Resume(bob.me.peer_id, alice.me.secret))
    assert isinstance(thief.last, Refused)
    assert thief.last.code == ErrorCode.NOT_ALLOWED
    assert bob.me.peer_id in alice.peers


def test_a_killed_program_gets_its_name_back_at_once() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob")
    house.drop(bob)
    reborn = house.join("bob")
    assert reborn.me.peer_id != bob.me.peer_id
    assert alice.inbox[-2:] == [
        PeerLeft(bob.me.peer_id, "bob", "replaced"),
        PeerJoined(reborn.me.peer_id, "bob"),
    ]
    assert house.rooms.next_timer is None


def test_the_ghost_of_a_replaced_peer_cannot_take_its_name_back() -> None:
    house = House()
    house.join("alice")
    bob = house.join("bob")
    house.drop(bob)
    house.join("bob")
    ghost = house.join("bob", resume=bob.proof)
    assert isinstance(ghost.last, Refused)
    assert ghost.last.code == ErrorCode.NAME_TAKEN


def test_limits_of_peers_and_rooms_hold() -> None:
    house = House(max_peers=2, max_rooms=2)
    alice = house.join("alice")
    house.join("bob")
    for client, code in (
        (house.join("carol"), ErrorCode.ROOM_FULL),
        (house.join("carol", "two"), None),
        (house.join("dave", "three"), ErrorCode.SERVER_FULL),
    ):
        refused = client.last if isinstance(client.last, Refused) else None
        assert (refused.code if refused else None) == code
    house.leave(alice)
    assert house.join("carol").joined is not None


def test_empty_rooms_vanish() -> None:
    house = House()
    alice, bob = house.join("alice"), house.join("bob", "other")
    assert len(house.rooms) == 2
    house.leave(alice)
    house.drop(bob)
    house.wait(GRACE)
    assert len(house.rooms) == 0
    assert house.rooms.roster("lobby") == {}


def test_a_killed_program_alone_in_its_room_finds_a_room() -> None:
    house = House()
    house.drop(house.join("bob"))
    reborn = house.join("bob")
    other = house.join("alice")
    assert other.peers == {reborn.me.peer_id: "bob"}


def test_another_version_is_told_which_one_is_spoken() -> None:
    client = House().join("alice", version=2)
    assert client.last == Refused(ErrorCode.UNSUPPORTED_VERSION, "this server speaks version 1")


def test_joining_twice_ends_the_connection() -> None:
    house = House()
    alice = house.join("alice")
    assert alice.connection is not None
    house.say(alice.connection, Join("lobby", "alice"))
    assert isinstance(alice.last, Refused)


class RoomsMachine(RuleBasedStateMachine):
    """Any interleaving of joins, drops, resumes, leaves, signals and timers."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House(max_peers=4, max_rooms=2)
        self.signals = 0

    def _pick(self, number: int, *, connected: bool) -> Client | None:
        found = [
            client
            for client in self.house.clients.values()
            if client.joined is not None and (client.connection is not None) == connected
        ]
        return found[number % len(found)] if found else None

    @rule(name=st.sampled_from(["ann", "Ann", "bob", "cat", "dan", "eve"]), room=st.sampled_from("xyz"))
    def join(self, name: str, room: str) -> None:
        self.house.join(name, room)

    @rule(number=st.integers(0, 20))
    def leave(self, number: int) -> None:
        if (client := self._pick(number, connected=True)) is not None:
            self.house.leave(client)

    @rule(number=st.integers(0, 20))
    def drop(self, number: int) -> None:
        if (client := self._pick(number, connected=True)) is not None:
            self.house.drop(client)

    @rule(number=st.integers(0, 20), connected=st.booleans(), room=st.sampled_from("xyz") | st.none())
    def resume(self, number: int, connected: bool, room: str | None) -> None:
        if (client := self._pick(number, connected=connected)) is not None:
            self.house.join(client.me.name, room or client.room, resume=client.proof)

    @rule(sender=st.integers(0, 20), receiver=st.integers(0, 20), connected=st.booleans())
    def signal(self, sender: int, receiver: int, connected: bool) -> None:
        source, target = self._pick(sender, connected=True), self._pick(receiver, connected=connected)
        if source is not None and target is not None:
            self.signals += 1
            self.house.send(source, target, number=self.signals)

    @rule(seconds=st.sampled_from([0.0, 0.5, GRACE - 0.5, GRACE, 10.0]))
    def wait(self, seconds: float) -> None:
        self.house.wait(seconds)

    @precondition(lambda self: self.house.rooms.next_timer is not None)
    @rule()
    def wake_when_asked(self) -> None:
        before = self.house.rooms.next_timer
        assert before is not None
        self.house.wait(max(0.0, before - self.house.now))
        after = self.house.rooms.next_timer
        assert after is None or after > before

    @invariant()
    def every_client_knows_the_roster(self) -> None:
        for client in self.house.clients.values():
            if client.connection is not None and client.joined is not None:
                roster = self.house.rooms.roster(client.room)
                assert roster.pop(client.me.peer_id) == client.me.name
                assert client.peers == roster

    @invariant()
    def names_differ_and_limits_hold(self) -> None:
        assert len(self.house.rooms) <= 2
        for room in "xyz":
            roster = self.house.rooms.roster(room)
            assert len(roster) <= 4
            assert len({name_key(name) for name in roster.values()}) == len(roster)

    @invariant()
    def signals_come_in_order_once_from_known_peers(self) -> None:
        for client in self.house.clients.values():
            numbers: dict[str, list[int]] = {}
            for message in client.inbox:
                if isinstance(message, Relayed):
                    numbers.setdefault(message.sender, []).append(message.payload["number"])
            for received in numbers.values():
                assert received == sorted(set(received))

    def teardown(self) -> None:
        for client in list(self.house.clients.values()):
            if client.connection is not None:
                self.house.drop(client)
        self.house.wait(GRACE)
        assert len(self.house.rooms) == 0
        assert self.house.rooms.next_timer is None


RoomsMachine.TestCase.settings = settings(deadline=None, stateful_step_count=40)
TestRooms = RoomsMachine.TestCase
