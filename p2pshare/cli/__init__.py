"""The command ``p2pshare``.

Loads the rest on use: ``p2pshare --help`` answers without the WebRTC stack.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code (see `p2pshare.cli.exit_codes`)."""
    from p2pshare.cli.commands import run_command

    return run_command(arguments)
