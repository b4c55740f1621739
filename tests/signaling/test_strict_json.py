from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.errors import BadMessage, MessageTooLarge
from signaling.strict_json import MAX_DEPTH, dump_object, parse_object

SIZE = 100_000

values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('ab\\"{[', max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text('xyz{}[]"\\', max_size=4), values, max_size=4), st.booleans())
def test_what_any_json_writer_writes_is_read(value: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    try:
        assert parse_object(text, max_size=SIZE) == value
    except BadMessage as exc:
        assert "deeper" in str(exc)


@given(st.dictionaries(st.text("xyz", max_size=4), values, max_size=4))
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    try:
        assert parse_object(dump_object(value), max_size=SIZE) == value
    except BadMessage as exc:
        assert "deeper" in str(exc)


@given(st.text() | st.text('{}[]",:\\u0d8Nae1.-'))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        value = parse_object(text, max_size=SIZE)
    except BadMessage as exc:
        assert str(exc).isprintable()
    else:
        dump_object(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ("1", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"a":1,"a":2}', "appears twice"),
        ('{"a":{"b":1,"b":1}}', "appears twice"),
        (r'{"\ud800":1,"\ud800":2}', "appears twice"),
        ('{"a":NaN}', "NaN"),
        ('{"a":-Infinity}', "Infinity"),
        ('{"a":1e999}', "double"),
        ('{"a":' + "9" * 21 + "}", "21 digits"),
        ('{"a":' + "9" * 5_000 + "}", "digits"),
        (r'{"a":"\ud800"}', "surrogate"),
        (r'{"\udfff":1}', "surrogate"),
        ('{"a":"\ud800"}', "surrogate"),
        ('{"a":"\n"}', "not JSON"),
        ('{"a":1} {"b":2}', "not JSON"),
        ('{"a":1', "not JSON"),
        ("{'a':1}", "not JSON"),
        ('{"a":01}', "not JSON"),
        ("\ufeff{}", "not JSON"),
        ('{"a":' + "[" * 50_000, "deeper"),
        ('{"a":' * 20_000, "deeper"),
        ('{"a":' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}", "deeper"),
    ],
)
def test_hostile_json_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(BadMessage, match=problem):
        parse_object(text, max_size=SIZE * 2)


def test_brackets_in_strings_are_not_nesting() -> None:
    text = json.dumps({"a": "[" * 100 + '"' + "{" * 100 + "\\"})
    assert parse_object(text, max_size=SIZE) == json.loads(text)


def test_the_deepest_allowed_value_is_read() -> None:
    text = '{"a":' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}"
    assert parse_object(text, max_size=SIZE) == json.loads(text)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse_object(r'{"a":"\ud83d\ude00"}', max_size=SIZE) == {"a": "😀"}


def test_size_is_counted_in_bytes() -> None:
    text = '{"a":"é"}'
    assert parse_object(text, max_size=10) == {"a": "é"}
    with pytest.raises(MessageTooLarge) as caught:
        parse_object(text, max_size=9)
    assert (caught.value.size, caught.value.limit) == (10, 9)


@pytest.mark.parametrize("text", ['"' + '\\"' * 50_000, '"' * 100_000, "\\" * 100_000, '"' + "\\" * 99_999])
def test_the_depth_check_is_linear(text: str) -> None:
    # A quadratic check takes minutes of processor time for these.
    start = time.process_time()
    with pytest.raises(BadMessage):
        parse_object(text, max_size=SIZE * 2)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "value", [{"a": float("nan")}, {"a": b"x"}, {"a": {1, 2}}, {"a": "\ud800"}, {(1,): 2}]
)
def test_what_json_cannot_carry_is_not_written(value: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        dump_object(value)
