"""JSON from strangers: one object, of bounded size and depth, with one meaning.

Pure. Python's parser accepts duplicate keys, NaN, lone surrogates and integers of any length; each of
these means something else, or an exception, at the next reader. Here they are refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Never

from signaling.errors import BadMessage, MessageTooLarge
from signaling.names import show

MAX_DEPTH = 16
"Levels of nesting, the outermost object included."

_MAX_DIGITS = 20

# A string, or one bracket outside of strings. The possessive repeats and the optional last quote keep it
# linear on any input: an unfinished string is one match to the end, never a reason to start over.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.?)*+"?|[\[\]{}]', re.DOTALL)


def parse_object(text: str, *, max_size: int) -> dict[str, Any]:
    """Parse one JSON object.

    Raises:
        MessageTooLarge: If `text` has more than `max_size` bytes in UTF-8.
        BadMessage: If it is not JSON, not an object, or not strict.
    """
    size = _utf8_size(text)
    if size > max_size:
        raise MessageTooLarge(size, max_size)
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_parse_int,
            parse_float=_parse_float,
        )
    except json.JSONDecodeError as exc:
        raise BadMessage(f"not JSON: {exc.msg} at character {exc.pos}") from exc
    if not isinstance(value, dict):
        raise BadMessage("not a JSON object")
    if "\\u" in text:
        # Only an escape can smuggle half a surrogate pair in, which no UTF-8 writer could pass on.
        dump_object(value)
    return value


def dump_object(value: dict[str, Any]) -> str:
    """Write one JSON object, compact and in plain UTF-8.

    Raises:
        BadMessage: If it holds what JSON cannot carry.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadMessage(f"cannot be written as JSON: {exc}") from exc
    _utf8_size(text)
    return text


def _utf8_size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as exc:
        raise BadMessage("holds half a surrogate pair") from exc


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                depth += 1
                if depth > MAX_DEPTH:
                    raise BadMessage(f"nested deeper than {MAX_DEPTH} levels")
            case "}" | "]":
                depth -= 1


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise BadMessage("appears twice", field=show(key[:32]))
        unique[key] = value
    return unique


def _refuse_constant(name: str) -> Never:
    raise BadMessage(f"{name} is not JSON")


def _parse_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise BadMessage(f"a number of {len(digits):,} digits")
    return int(digits)


def _parse_float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadMessage("a number beyond the range of a double")
    return value
