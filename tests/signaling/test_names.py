from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.names import is_peer_id, is_secret, name_key, name_problem, peer_id_of, show


@pytest.mark.parametrize("name", ["a", "Zoë", "東京", "the second floor", "x" * 64, "🐍", "it's", "a/b\\c"])
def test_ordinary_names_are_allowed(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 65,
        " a",
        "a ",
        "a\n",
        "a\x1b[31m",
        "a\x00",
        "a\x7f",
        "a\u202eb",
        "a\u2066b",
        "a\u200bb",
        "a\ufeff",
        "a\u00adb",
        "\u3164",
        "a\ufe0f",
        "a\U000e0101",
        "\ud800",
        "e\u0301",
        "a\u00a0b",
        "a\u2028b",
        "\ue000",
    ],
)
def test_names_that_deceive_are_refused(name: str) -> None:
    assert name_problem(name) is not None


def test_names_that_look_alike_are_the_same() -> None:
    assert name_key("Bob") == name_key("bob") == name_key("ＢＯＢ")
    assert name_key("straße") == name_key("STRASSE")
    assert name_key("bob") != name_key("bop")


@given(st.text())
def test_a_key_is_stable(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)


@given(st.text(max_size=300))
def test_what_is_shown_is_printable_and_short(text: str) -> None:
    shown = show(text)
    assert shown.isprintable()
    assert len(shown) <= 122


def test_a_short_text_is_shown_whole() -> None:
    assert show("bob") == "'bob'"
    assert show("a\x1b[2J") == "'a\\u{1b}[2J'"


def test_a_peer_id_is_a_digest_of_the_secret() -> None:
    secret = "000102030405060708090a0b0c0d0e0f"
    assert is_secret(secret)
    assert is_peer_id(peer_id_of(secret))
    assert peer_id_of(secret) != peer_id_of(secret.replace("f", "e"))


@pytest.mark.parametrize("text", ["", "0" * 19, "0" * 21, "G" * 20, "A" * 20, "0" * 20 + "\n", "٠" * 20])
def test_other_texts_are_not_peer_ids(text: str) -> None:
    assert not is_peer_id(text)
