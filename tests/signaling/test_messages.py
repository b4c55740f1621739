from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.errors import BadMessage, ErrorCode, MessageTooLarge
from signaling.messages import (
    ENVELOPE,
    MAX_PAYLOAD,
    ClientMessage,
    Join,
    Joined,
    Leave,
    PeerEntry,
    PeerJoined,
    PeerLeft,
    Refused,
    Relayed,
    Resume,
    ServerMessage,
    Signal,
    check_payload,
    decode_client,
    decode_server,
    encode,
    payload_size,
)
from signaling.names import name_problem

ID = "0123456789abcdef0123"
SECRET = "0123456789abcdef0123456789abcdef"

ids = st.text("0123456789abcdef", min_size=20, max_size=20)
secrets = st.text("0123456789abcdef", min_size=32, max_size=32)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)
names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=64).filter(
    lambda name: name_problem(name) is None
)
payloads = st.dictionaries(
    texts, texts | st.integers(-(2**60), 2**60) | st.lists(texts, max_size=3), max_size=3
)
entries = st.builds(PeerEntry, ids, names)
client_messages: st.SearchStrategy[ClientMessage] = st.one_of(
    st.builds(Join, names, names, st.integers(0, 2**53 - 1), st.none() | st.builds(Resume, ids, secrets)),
    st.builds(Signal, ids, payloads),
    st.builds(Leave),
)
server_messages: st.SearchStrategy[ServerMessage] = st.one_of(
    st.builds(
        Joined,
        ids,
        secrets,
        names,
        st.lists(entries, max_size=3).map(tuple),
        st.booleans(),
        st.integers(0, 99),
    ),
    st.builds(PeerJoined, ids, names),
    st.builds(PeerLeft, ids, names, texts),
    st.builds(Relayed, ids, payloads),
    st.builds(Refused, st.sampled_from(ErrorCode).map(str), texts, st.booleans(), st.none() | ids),
)


@given(client_messages)
def test_a_client_message_survives_the_wire(message: ClientMessage) -> None:
    assert decode_client(encode(message)) == message


@given(server_messages)
def test_a_server_message_survives_the_wire(message: ServerMessage) -> None:
    assert decode_server(encode(message)) == message


@pytest.mark.parametrize("decode", [decode_client, decode_server])
def test_unknown_types_and_keys_are_ignored(decode: Any) -> None:
    assert decode('{"type":"tomorrow","x":[1]}') is None
    assert decode_client('{"type":"leave","why":"bored"}') == Leave()


JOIN = {"type": "join", "version": 1, "room": "r", "name": "n"}
JOINED = {
    "type": "joined",
    "peer_id": ID,
    "secret": SECRET,
    "name": "n",
    "peers": [],
    "resumed": False,
    "max_payload": 1,
}
ERROR = {"type": "error", "code": "c", "reason": "r", "final": True}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({}, "type"),
        ({"type": 1}, "type"),
        ({"type": None}, "type"),
        ({"type": ["join"]}, "type"),
        ({**JOIN, "version": "1"}, "version"),
        ({**JOIN, "version": True}, "version"),
        ({**JOIN, "version": 1.0}, "version"),
        ({**JOIN, "version": -1}, "version"),
        ({**JOIN, "version": 2**53}, "version"),
        ({**JOIN, "room": None}, "room"),
        ({**JOIN, "room": ""}, "room"),
        ({**JOIN, "room": "x" * 65}, "room"),
        ({**JOIN, "room": "x" * 600}, "room"),
        ({**JOIN, "name": ["n"]}, "name"),
        ({**JOIN, "name": "a\u202eb"}, "name"),
        ({**JOIN, "resume": None}, "resume"),
        ({**JOIN, "resume": []}, "resume"),
        ({**JOIN, "resume": {}}, "resume.peer_id"),
        ({**JOIN, "resume": {"peer_id": ID, "secret": "x"}}, "resume.secret"),
        ({"type": "join"}, "version"),
        ({"type": "signal", "payload": {}}, "to"),
        ({"type": "signal", "to": "bob", "payload": {}}, "to"),
        ({"type": "signal", "to": ID}, "payload"),
        ({"type": "signal", "to": ID, "payload": "x"}, "payload"),
        ({"type": "signal", "to": ID, "payload": [1]}, "payload"),
    ],
)
def test_a_wrong_field_of_a_client_is_named(message: dict[str, Any], field: str) -> None:
    with pytest.raises(BadMessage) as caught:
        decode_client(json.dumps(message))
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({**JOINED, "peer_id": "0"}, "peer_id"),
        ({**JOINED, "peers": {}}, "peers"),
        ({**JOINED, "peers": [1]}, "peers[0]"),
        ({**JOINED, "peers": [{"peer_id": ID, "name": "a"}, {"peer_id": ID}]}, "peers[1].name"),
        ({**JOINED, "peers": [{"peer_id": ID, "name": "\x1b[2J"}]}, "peers[0].name"),
        ({**JOINED, "resumed": 1}, "resumed"),
        ({**JOINED, "max_payload": None}, "max_payload"),
        ({"type": "signal", "from": 7, "payload": {}}, "from"),
        ({"type": "peer_left", "peer_id": ID, "name": "n"}, "reason"),
        ({**ERROR, "code": 7}, "code"),
        ({**ERROR, "code": "x" * 65}, "code"),
        ({**ERROR, "reason": "x" * 501}, "reason"),
        ({**ERROR, "peer_id": "bob"}, "peer_id"),
    ],
)
def test_a_wrong_field_of_a_server_is_named(message: dict[str, Any], field: str) -> None:
    with pytest.raises(BadMessage) as caught:
        decode_server(json.dumps(message))
    assert caught.value.field == field


def test_the_largest_payload_fits_and_one_byte_more_does_not() -> None:
    payload = {"sdp": "é" * ((MAX_PAYLOAD - len('{"sdp":""}')) // 2)}
    assert payload_size(payload) == MAX_PAYLOAD
    check_payload(payload, MAX_PAYLOAD)
    assert decode_client(encode(Signal(ID, payload))) == Signal(ID, payload)
    with pytest.raises(MessageTooLarge) as caught:
        check_payload({"sdp": payload["sdp"] + "x"}, MAX_PAYLOAD)
    assert (caught.value.size, caught.value.limit, caught.value.field) == (
        MAX_PAYLOAD + 1,
        MAX_PAYLOAD,
        "payload",
    )


def test_a_message_beyond_payload_and_envelope_is_refused() -> None:
    text = json.dumps({"type": "signal", "to": ID, "payload": {}, "x": "x" * (100 + ENVELOPE)})
    with pytest.raises(MessageTooLarge):
        decode_client(text, max_payload=100)


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": b"x"}, {"x": "\ud800"}, {"x": 10**30}])
def test_a_payload_that_the_server_would_refuse_is_refused_before(payload: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        check_payload(payload, MAX_PAYLOAD)


def test_secrets_rooms_and_payloads_stay_out_of_logs() -> None:
    messages = [
        Join("secret-room", "n", resume=Resume(ID, SECRET)),
        Joined(ID, SECRET, "n", ()),
        Signal(ID, {"pwd": SECRET}),
        Relayed(ID, {"pwd": SECRET}),
    ]
    assert SECRET not in repr(messages)
    assert "secret-room" not in repr(messages)


def _specification() -> str:
    return (Path(__file__).parents[2] / "PROTOCOL.md").read_text("utf-8")


def _examples() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for section in re.split(r"^#{2,4} ", _specification(), flags=re.MULTILINE):
        heading = re.match(r"`\w+` \((client to server|server to client)\)", section)
        if heading is not None:
            found += [(heading[1], text) for text in re.findall(r"^```json\n(.*?)^```", section, re.S | re.M)]
    return found


@pytest.mark.parametrize(("direction", "text"), _examples())
def test_the_examples_of_the_specification_are_true(direction: str, text: str) -> None:
    message = decode_client(text) if direction == "client to server" else decode_server(text)
    assert message is not None
    assert json.loads(encode(message)) == json.loads(text)


def test_the_specification_has_an_example_of_every_message() -> None:
    kinds = {(direction, json.loads(text)["type"]) for direction, text in _examples()}
    assert len(kinds) == 8
