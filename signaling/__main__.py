"""``python -m signaling``: a signaling server on its own."""

from __future__ import annotations

import argparse
import logging
import sys

from signaling.address import DEFAULT_PORT
from signaling.errors import CannotListen
from signaling.serve import serve
from signaling.server import SignalingServer

EXIT_OK = 0
EXIT_FAILED = 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code: 0 ended by a signal, 1 cannot listen, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m signaling",
        description="Introduce peers to each other. No file passes through this server.",
    )
    parser.add_argument("--host", help="name or address to listen on (default: all of this machine's)")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="default: %(default)s; 0: a free one"
    )
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        dest="origins",
        metavar="URL",
        help="let pages of this site connect, as https://share.example.com (may be repeated)",
    )
    parser.add_argument("--verbose", action="store_true", help="log connections to standard error")
    options = parser.parse_args(arguments)
    if options.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        serve(options.host, options.port, origins=options.origins, ready=_announce)
    except CannotListen as exc:
        sys.stderr.write(f"error: {exc}\n")
        return EXIT_FAILED
    return EXIT_OK


def _announce(server: SignalingServer) -> None:
    for url in server.urls:
        sys.stdout.write(f"listening on {url}\n")
    sys.stdout.write("press Ctrl-C to stop\n")
    sys.stdout.flush()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError("a port is 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
