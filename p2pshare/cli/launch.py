"""From the options that all commands have to a command that runs; what it needs is loaded here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2pshare.cli.running import Command


def launch(command: Command, *, json: bool, quiet: bool, verbose: bool, is_log: bool = False) -> int:
    """Run a command with the display that was asked for; return its exit code."""
    from p2pshare.cli.display import make_display
    from p2pshare.cli.running import run, set_up_logging

    display = make_display(json=json, quiet=quiet, verbose=verbose, is_log=is_log)
    set_up_logging(verbose=verbose, display=display)
    return run(command, display)
