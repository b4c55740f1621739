"""PROTOCOL.md cannot rot: its bytes, its tables of fields and its numbers are compared with the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import msgpack
import pytest

from p2pshare.model import BLOCK_SIZE, ErrorCode, Limits
from p2pshare.protocol import frames as f
from p2pshare.protocol.codec import decode, encode
from p2pshare.protocol.core import PING_AFTER_S, VERSIONS
from p2pshare.protocol.outbox import CONTROL_CHANNEL, DEFAULT_MAX_FRAME, FIRST_STREAM, LAST_STREAM
from p2pshare.protocol.scan import MAX_DEPTH, MAX_VALUES
from p2pshare.protocol.schema import OFFERED_FILE, SCHEMA, Field
from p2pshare.protocol.uploads import MAX_QUERIES

PAGE = (Path(__file__).parents[2] / "PROTOCOL.md").read_text()
BLOCKS = re.findall(r"```hex\n(.*?)```\n\n```python\n(.*?)```", PAGE, re.DOTALL)
SECTIONS = {
    word: (int(number), text)
    for word, number, text in re.findall(r"\n### (\S+) \((\d+)\)\n(.*?)(?=\n##)", PAGE, re.DOTALL)
}


def tables(text: str) -> list[list[list[str]]]:
    """The cells of each table, without the head."""
    found = re.findall(r"\| key \|.*?\n\|[ |-]+\|\n((?:\|.*\n)+)", text + "\n")
    return [[[cell.strip() for cell in row.split("|")[1:-1]] for row in rows.splitlines()] for rows in found]


@pytest.mark.parametrize(("hexes", "literal"), BLOCKS, ids=lambda text: text.split()[2])
def test_a_block_of_bytes_is_what_stands_beside_it(hexes: str, literal: str) -> None:
    message = bytes.fromhex(hexes)
    assert msgpack.unpackb(message) == ast.literal_eval(literal)
    frame = decode(message, max_size=DEFAULT_MAX_FRAME)
    assert frame is not None
    assert encode(frame) == message


def test_every_block_of_bytes_is_checked() -> None:
    assert PAGE.count("```hex") == len(BLOCKS)


@pytest.mark.parametrize("cls", list(SCHEMA), ids=lambda cls: cls.WORD)
def test_every_frame_has_its_section_its_bytes_and_its_fields(cls: type[f.Frame]) -> None:
    number, text = SECTIONS[cls.WORD]
    assert number == cls.TYPE
    blocks = re.findall(r"```hex\n(.*?)```", text, re.DOTALL)
    assert [type(decode(bytes.fromhex(block), max_size=DEFAULT_MAX_FRAME)) for block in blocks] == [cls]
    assert re.search(r"^(Uploader|Downloader|Either side), (control channel|job stream)", text, re.MULTILINE)
    expected = [SCHEMA[cls]] + ([OFFERED_FILE] if cls is f.OfferFrame else [])
    found = tables(text)
    assert len(found) == len(expected)
    for fields, rows in zip(expected, found, strict=True):
        assert_same(fields, rows)


def assert_same(fields: tuple[Field, ...], rows: list[list[str]]) -> None:
    assert [row[0] for row in rows] == [field.key for field in fields]
    for field, row in zip(fields, rows, strict=True):
        assert row[1].startswith("optional") is not field.required, field.key


def test_there_is_no_section_of_a_frame_that_does_not_exist() -> None:
    assert set(SECTIONS) == {cls.WORD for cls in SCHEMA}


def test_error_codes_are_the_programs() -> None:
    assert [int(code) for code in re.findall(r"^\| (\d{4}) \|", PAGE, re.MULTILINE)] == sorted(
        map(int, ErrorCode)
    )


def test_numbers_are_the_programs() -> None:
    limits = Limits()
    for number in (
        f"| {CONTROL_CHANNEL} | control channel",
        f"| {FIRST_STREAM} to {LAST_STREAM} | job streams |",
        f"({DEFAULT_MAX_FRAME:,} where unknown",
        f"| block | {BLOCK_SIZE:,} bytes",
        f"at most {MAX_DEPTH}\n   containers",
        f"at most {MAX_VALUES:,} values",
        f"At most {MAX_QUERIES} queries",
        f"version {VERSIONS[-1]}\n",
        f"({limits.max_files:,} files in an offer, twice as many and {limits.max_open_offers}\noffers",
        f"{limits.max_offer_bytes // 2**20} MiB of lists",
        f"Without a HELLO for {limits.hello_timeout_s:.0f} seconds",
        f"| {PING_AFTER_S:.0f} | PING",
        f"| {limits.silence_timeout_s:.0f} | the peer counts as unresponsive",
        f"| {limits.lost_timeout_s:.0f} | the link is lost",
        f"{limits.min_window // 1024} KiB by default",
    ):
        assert number in PAGE, number
