from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signaling.events import PeerJoined, PeerLeft
from signaling.messages import Joined, PeerEntry
from signaling.roster import Roster, RosterEvent

SETTLE = 10.0


def joined(*names: str, resumed: bool = False) -> Joined:
    """A server's roster; a peer's id is its name, or ``name#2`` for a second life."""
    peers = tuple(PeerEntry(name, name.partition("#")[0]) for name in names)
    return Joined("me", "secret", "me", peers, resumed)


def test_the_first_roster_is_reported_peer_by_peer() -> None:
    roster = Roster(settle_s=SETTLE)
    assert roster.enter(joined("a", "b"), now=0) == [PeerJoined("a", "a"), PeerJoined("b", "b")]
    assert roster.peers == {"a": "a", "b": "b"}


def test_who_left_while_we_were_away_is_reported() -> None:
    roster = Roster(settle_s=SETTLE)
    roster.enter(joined("a", "b"), now=0)
    assert roster.enter(joined("b", "c", resumed=True), now=1) == [
        PeerLeft("a", "a", "connection lost"),
        PeerJoined("c", "c"),
    ]
    assert roster.next_timer is None


def test_peers_that_come_back_to_a_restarted_server_cause_no_event() -> None:
    roster = Roster(settle_s=SETTLE)
    roster.enter(joined("a", "b"), now=0)
    assert roster.enter(joined("a"), now=1) == []
    assert roster.peers == {"a": "a", "b": "b"}
    assert roster.add("b", "b") == []
    assert roster.next_timer is None


def test_peers_that_do_not_come_back_are_given_up() -> None:
    roster = Roster(settle_s=SETTLE)
    roster.enter(joined("a", "b"), now=0)
    roster.enter(joined(), now=1)
    assert roster.next_timer == 1 + SETTLE
    assert roster.handle_timer(SETTLE) == []
    assert roster.handle_timer(1 + SETTLE) == [
        PeerLeft("a", "a", "connection lost"),
        PeerLeft("b", "b", "connection lost"),
    ]
    assert roster.next_timer is None


def test_a_program_started_anew_supersedes_its_former_self() -> None:
    roster = Roster(settle_s=SETTLE)
    roster.enter(joined("a"), now=0)
    assert roster.enter(joined("a#2"), now=1) == [PeerLeft("a", "a", "replaced"), PeerJoined("a#2", "a")]


def test_unknown_peers_cannot_leave() -> None:
    assert Roster(settle_s=SETTLE).remove("a", "left") == []


ids = st.sampled_from(["a", "a#2", "b", "c", "d"])
steps = st.one_of(
    st.tuples(st.just("enter"), st.lists(ids, unique=True, max_size=4), st.booleans()),
    st.tuples(st.just("add"), ids),
    st.tuples(st.just("remove"), ids),
    st.tuples(st.just("wait"), st.floats(0, 2 * SETTLE)),
)


@given(st.lists(steps, max_size=25))
def test_the_events_always_add_up_to_the_roster(script: list[tuple[object, ...]]) -> None:
    roster, now = Roster(settle_s=SETTLE), 0.0
    seen: dict[str, str] = {}
    for step in script:
        events: list[RosterEvent] = []
        match step:
            case ("enter", [*names], bool(resumed)):
                events = roster.enter(joined(*map(str, names), resumed=resumed), now=now)
            case ("add", str(peer_id)):
                events = roster.add(peer_id, peer_id.partition("#")[0])
            case ("remove", str(peer_id)):
                events = roster.remove(peer_id, "left")
            case ("wait", float(seconds)):
                now += seconds
                events = roster.handle_timer(now)
        for event in events:
            if isinstance(event, PeerJoined):
                assert event.peer_id not in seen
                seen[event.peer_id] = event.name
            else:
                assert seen.pop(event.peer_id) == event.name
        assert seen == roster.peers
        assert roster.next_timer is None or roster.next_timer > now
