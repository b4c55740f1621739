"""Hostile, foreign and merely odd names."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pshare.errors import show
from p2pshare.storage import LocalNames, UnsafeName, check_wire_path, safe_name, wire_name
from p2pshare.storage import names as names_module
from p2pshare.storage.names import folded, numbered, shortened

NFD = unicodedata.normalize("NFD", "é")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ((), "empty"),
        (("",), "empty"),
        (("a", ""), "empty"),
        ((".",), "not a name"),
        (("a", "..", "b"), "not a name"),
        (("..",), "not a name"),
        (("a/b",), "separator"),
        (("/etc/passwd",), "separator"),
        (("..\\x",), "separator"),
        (("\\\\server\\share",), "separator"),
        (("//server/share",), "separator"),
        (("\\\\?\\C:",), "separator"),
        (("a\0b",), "NUL"),
        (("C:",), "drive"),
        (("c:boot.ini",), "drive"),
        (("a", "Z:x"), "drive"),
        (("x" * 256,), "255"),
        (("ü" * 128,), "255"),
        (("a",) * 33, "33 folders"),
        (("x" * 200,) * 6, "1,024"),
        ((NFD,), "normal form"),
        (("\udc80",), "Unicode"),
        (("half\ud83d",), "Unicode"),
    ],
)
def test_a_path_that_no_honest_program_sends_is_refused(path: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UnsafeName, match=reason):
        check_wire_path(path)


def test_the_refusal_names_the_component_in_a_form_that_is_safe_to_print() -> None:
    with pytest.raises(UnsafeName) as refused:
        check_wire_path(("ok", "\x1b[31m/\u202egpj.exe"))
    assert "\x1b" not in str(refused.value)
    assert "\u202e" not in str(refused.value)
    assert r"\u{1b}" in str(refused.value)


@pytest.mark.parametrize(
    "path",
    [("a",), ("ü.txt",), ("x" * 255,), ("a",) * 32, ("...",), (".hidden",), ("CON",), ("a\x1bb",), ("日本",)],
)
def test_what_is_merely_odd_may_travel(path: tuple[str, ...]) -> None:
    check_wire_path(path)


@pytest.mark.parametrize(
    ("local", "travels_as"),
    [
        ("plain.txt", "plain.txt"),
        ("ümlaut", "ümlaut"),
        (f"caf{NFD}.txt", "café.txt"),
        (os.fsdecode(b"caf\xe9.txt"), "caf%E9.txt"),
        ("\ud83d.txt", "\ufffd.txt"),
        ("back\\slash", "back_slash"),
        ("C:notes", "C_notes"),
    ],
)
def test_a_name_of_this_disk_gets_a_form_that_travels(local: str, travels_as: str) -> None:
    assert wire_name(local) == travels_as


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=300))
def test_every_name_gets_a_form_that_travels(name: str) -> None:
    check_wire_path((wire_name(name),))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("plain name.txt", "plain name.txt"),
        ("日本　語.txt", "日本　語.txt"),
        ("a\x1b[31mb", "a_[31mb"),
        ("a\x9bb", "a_b"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
        ("zero\u200bwidth", "zero_width"),
        ("filler\u3164", "filler_"),
        ('<>:"|?*', "_______"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("Aux.tar.gz", "_Aux.tar.gz"),
        ("NUL .txt", "_NUL .txt"),
        ("COM0", "_COM0"),
        ("lpt9.log", "_lpt9.log"),
        ("COM¹", "_COM¹"),
        ("LPT³.x", "_LPT³.x"),
        ("CONIN$", "_CONIN$"),
        ("CONSOLE", "CONSOLE"),
        ("COM10", "COM10"),
        ("trailing.", "trailing_"),
        ("trailing . .", "trailing____"),
        ("trailing ", "trailing_"),
        ("trailing\u00a0", "trailing_"),
        ("...", "___"),
        (".x.p2pshare-part", ".x.p2pshare-part_"),
        (".x.p2pshare-journal", ".x.p2pshare-journal_"),
    ],
)
def test_a_received_name_is_safe_on_every_platform(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_dot_in_front_goes_at_the_top_only() -> None:
    names = LocalNames()
    assert names.add((".bashrc",)) == ("_bashrc",)
    assert names.add((".ssh", ".config")) == ("_ssh", ".config")
    assert LocalNames(keep_hidden=True).add((".bashrc",)) == (".bashrc",)


@given(st.text(min_size=1, max_size=300))
def test_what_may_travel_becomes_a_safe_name_that_stays_as_it_is(text: str) -> None:
    name = wire_name(text)
    safe = safe_name(name, is_top=True)
    check_wire_path((safe,))
    assert safe == safe_name(safe, is_top=True)
    assert not safe.startswith(".")
    assert not safe.endswith((".", " "))
    for char in safe:
        assert char in " \\'" or unicodedata.category(char) == "Zs" or show(f"a{char}") == f"'a{char}'"


def test_names_that_some_file_system_takes_for_the_same_are_numbered() -> None:
    names = LocalNames()
    assert names.add(("Read.me",)) == ("Read.me",)
    assert names.add(("READ.ME",)) == ("READ (1).ME",)
    assert names.add(("read.me",)) == ("read (2).me",)
    assert names.add(("a?b",)) == ("a_b",)
    assert names.add(("a*b",)) == ("a_b (1)",)
    assert names.add(("straße",)) != names.add(("STRASSE",))


def test_a_folder_keeps_the_name_that_it_got() -> None:
    names = LocalNames()
    assert names.add(("Dir", "a")) == ("Dir", "a")
    assert names.add(("dir", "a")) == ("dir (1)", "a")
    assert names.add(("Dir", "b")) == ("Dir", "b")
    assert names.add(("dir", "b"), is_folder=True) == ("dir (1)", "b")
    assert names.add(("dir", "b", "c")) == ("dir (1)", "b", "c")


def test_a_file_and_a_folder_of_one_name_do_not_meet() -> None:
    names = LocalNames()
    assert names.add(("x",)) == ("x",)
    assert names.add(("x", "y")) == ("x (1)", "y")


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("a.txt", "a (1).txt"),
        ("archive.tar.gz", "archive (1).tar.gz"),
        ("noext", "noext (1)"),
        (".hidden", ".hidden (1)"),
        ("v1.2 final", "v1.2 final (1)"),
        ("x" * 251 + ".txt", "x" * 247 + " (1).txt"),
        ("ü" * 127, "ü" * 125 + " (1)"),
    ],
)
def test_the_number_goes_before_the_extension_and_the_name_stays_short_enough(name: str, second: str) -> None:
    assert numbered(name, 0) == name
    assert numbered(name, 1) == second
    assert len(second.encode()) <= 255


@given(st.text(min_size=1, max_size=300), st.integers(1, 99_999))
def test_a_numbered_or_shortened_name_fits(text: str, number: int) -> None:
    name = wire_name(text)
    assert len(numbered(name, number).encode()) <= 255
    assert len(shortened(name, 100).encode()) <= 100
    assert f"({number})" in numbered(name, number)


def test_folding_is_the_same_for_composed_and_decomposed() -> None:
    assert folded("É") == folded(unicodedata.normalize("NFD", "é"))


@pytest.mark.parametrize(
    "name_of",
    [
        lambda number: "a.txt",
        lambda number: f"a ({number}).txt" if number % 2 else "a.txt",
        lambda number: "x" * 250 + chr(0x3042 + number % 80),
        lambda number: ("A", "a")[number % 2],
    ],
)
def test_very_many_equal_names_get_different_ones_without_trying_all(
    name_of: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    def counting(name: str, number: int) -> str:
        nonlocal tried
        tried += 1
        return numbered(name, number)

    monkeypatch.setattr(names_module, "numbered", counting)
    names = LocalNames()
    taken = {names.add((name_of(number),)) for number in range(5000)}
    assert len(taken) == 5000
    assert len({folded(path[0]) for path in taken}) == 5000
    assert tried < 100_000
