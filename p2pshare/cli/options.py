"""What options of several commands have in common: their types, and their help."""

from __future__ import annotations

from typing import Final

import click

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def size(text: str) -> int:
    """A number of bytes with an optional unit, decimal as the displays write them: ``500M``."""
    count = _bytes(text)
    if count is None:
        raise click.BadParameter(f"{text!r} is no size; write 500M, or 2G")
    return count


def rate(text: str) -> int:
    """Bytes a second, as `size`: ``5MB``, or ``5MB/s``."""
    count = _bytes(text.strip().removesuffix("/s"))
    if count is None:
        raise click.BadParameter(f"{text!r} is no rate; write 500k, 5MB, or 1G: bytes a second")
    return count


def _bytes(text: str) -> int | None:
    number = text.strip().lower().removesuffix("b")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        count = round(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        return None
    return count if count > 0 else None


seconds: Final = click.FloatRange(min=0, min_open=True)

room = click.option("-r", "--room", help="Where to meet.  [default: one made up, and shown]")
server = click.option(
    "-s",
    "--server",
    metavar="URL",
    envvar="P2PSHARE_SERVER",
    help="The signaling server (or P2PSHARE_SERVER).  [default: one that runs here, in this command]",
)
name = click.option("--name", metavar="ME", help="Your name in the room.  [default: login@host]")
json = click.option("--json", is_flag=True, help="Write events to standard output, one JSON object a line.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Nothing but errors on standard error.")
verbose = click.option("-v", "--verbose", is_flag=True, help="Log to standard error what happens inside.")
rate_limit = click.option(
    "--rate", type=rate, metavar="RATE", help="At most so many bytes a second, in all: 500k, 5MB, 1G."
)
reconnect_timeout = click.option(
    "--reconnect-timeout",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Seconds to wait for a peer whose connection was lost; 0: not at all.  [default: 300]",
)
