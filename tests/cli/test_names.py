from __future__ import annotations

import re

import pytest

from p2pshare.cli.names import default_name, distinct, named, numbered, random_room, valid_name, web_address
from signaling.names import MAX_NAME, name_problem


def test_a_made_up_room_is_random_and_can_be_typed() -> None:
    rooms = {random_room() for _ in range(100)}
    assert len(rooms) == 100
    assert all(re.fullmatch(r"([0-9a-hjkmnp-tv-z]{4}-){3}[0-9a-hjkmnp-tv-z]{4}", room) for room in rooms)


def test_our_own_name_is_valid_whatever_the_machine_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "al\x1bice ")
    monkeypatch.setattr("socket.gethostname", lambda: "laptop.example.com")
    assert default_name() == "alice @laptop"


def test_a_user_without_a_name_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert default_name().startswith("someone@")


@pytest.mark.parametrize("text", ["", " ", "\x1b", "a" * 200, " a\u202eb ", "e\u0301", "\u3164"])
def test_every_text_becomes_a_valid_name(text: str) -> None:
    assert name_problem(valid_name(text)) is None


def test_namesakes_are_numbered_within_the_limit() -> None:
    assert numbered("alice@laptop", 2) == "alice@laptop-2"
    assert len(numbered("a" * MAX_NAME, 11)) == MAX_NAME


def test_letter_case_does_not_matter_in_who_is_meant() -> None:
    assert named("BOB", ["alice", "bob"]) == "bob"
    assert named("eve", ["alice", "bob"]) is None


def test_a_person_is_meant_once_however_often_it_is_named() -> None:
    assert distinct(["bob", "alice", "BOB"]) == ["bob", "alice"]


def test_addresses_are_shown_as_people_type_them() -> None:
    assert web_address("ws://192.0.2.7:8765/ws") == "http://192.0.2.7:8765"
    assert web_address("wss://[2001:db8::1]:443/ws") == "https://[2001:db8::1]:443"
