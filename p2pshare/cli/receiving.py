"""The options and the help of ``p2pshare receive``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from p2pshare.cli import options
from p2pshare.cli.launch import launch
from p2pshare.model import Conflict

DEFAULT_SERVER: Final = "http://127.0.0.1:8765"


@click.command(short_help="Receive files.")
@click.option("-r", "--room", required=True, help="Where to meet: what the sender says.")
@click.option(
    "-s",
    "--server",
    metavar="URL",
    envvar="P2PSHARE_SERVER",
    default=DEFAULT_SERVER,
    help=f"The signaling server (or P2PSHARE_SERVER).  [default: {DEFAULT_SERVER}]",
)
@click.option(
    "-d",
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    metavar="D",
    help="Where files go.  [default: here]",
)
@options.name
@click.option(
    "--accept",
    type=click.Choice(["ask", "all", "none"]),
    default="ask",
    show_default=True,
    help="What no rule takes: ask before each offer, take everything, or decline it.",
)
@click.option(
    "--accept-from",
    multiple=True,
    metavar="PATTERN",
    help="A rule: take what peers of this name offer, without asking: 'alice*'. Repeatable.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="PATTERN",
    help="A rule: take offers of only such files: 'image/*'. With --accept-from, both hold. Repeatable.",
)
@click.option(
    "--max-size",
    type=options.size,
    metavar="SIZE",
    help="Refuse an offer, all of it, that holds a larger file: 500M, 2G.",
)
@click.option(
    "--max-per-peer",
    type=options.size,
    metavar="SIZE",
    help="Take no more than this from one peer without asking, as long as the command runs.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Of each offer, take the files of this name: '*.pdf'. Repeatable.",
)
@click.option(
    "--on-conflict",
    type=click.Choice([each.value for each in Conflict]),
    default=Conflict.RENAME.value,
    show_default=True,
    help="Where a name is taken: store the file beside what is there, skip it, or replace what is there.",
)
@click.option(
    "--keep-executable", is_flag=True, help="Files that are executable at the sender are here, too."
)
@click.option(
    "--links", is_flag=True, help="Make symbolic links that are offered, if they stay in the folder."
)
@click.option("--stdout", is_flag=True, help="Write one file to standard output, and nothing else.")
@click.option("--watch", is_flag=True, help="Go on after the first offer, until Ctrl-C or --timeout.")
@click.option(
    "--timeout",
    type=options.seconds,
    metavar="S",
    help="Seconds for an offer to come; with --watch, for another one while nothing runs.  [default: no end]",
)
@options.rate_limit
@options.reconnect_timeout
@options.json
@options.quiet
@options.verbose
@click.pass_obj
def receive(
    typed: Sequence[str],
    room: str,
    server: str,
    folder: Path | None,
    name: str | None,
    accept: str,
    accept_from: tuple[str, ...],
    types: tuple[str, ...],
    max_size: int | None,
    max_per_peer: int | None,
    only: tuple[str, ...],
    on_conflict: str,
    keep_executable: bool,
    links: bool,
    stdout: bool,
    watch: bool,
    timeout: float | None,
    rate: int | None,
    reconnect_timeout: float | None,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Receive what somebody in the room sends.

    Shows who offers what and asks first. Prints the paths of what was saved. A file that is there already,
    byte for byte, is not fetched again. What was broken off goes on where it was, when the same is typed.

    Ends after the first offer; with --watch it takes one after another, and a --timeout that ends it is no
    failure once something was received. Then Ctrl-C cancels what runs, and ends it where nothing runs. With
    rules (--accept-from, --type) nobody need be there: what they do not take is asked about on a terminal,
    and declined elsewhere. A name is what a peer calls itself: the room is the secret.

    What --max-size refuses is never shown here: its sender is told which file is too large.

    \b
      p2pshare receive --room k3vd-9qwm-1xtz-e7pa --server http://192.0.2.7:8765
      p2pshare receive --room team --dir inbox --watch --accept-from 'alice*' --type 'image/*'
      p2pshare receive --room team --accept all --stdout | tar x
    """
    _check_receive(
        has_rules=bool(accept_from or types),
        accept=accept,
        stdout=stdout,
        is_into_folder=folder is not None or on_conflict != Conflict.RENAME.value or keep_executable or links,
        watch=watch,
        json=json,
        max_per_peer=max_per_peer,
    )
    from p2pshare.cli.admission import Wishes
    from p2pshare.cli.receive import ReceiveOptions, receive

    wanted = ReceiveOptions(
        server=server,
        room=room,
        name=name,
        folder=folder or Path(),
        wishes=Wishes(
            takes_all=accept == "all",
            asks=accept == "ask",
            peers=accept_from,
            media_types=types,
            max_peer_bytes=max_per_peer,
            only=only,
        ),
        watches=watch,
        max_size=max_size,
        timeout_s=timeout,
        conflict=Conflict(on_conflict),
        keep_executable=keep_executable,
        keep_links=links,
        to_stdout=stdout,
        rate=rate,
        reconnect_timeout_s=reconnect_timeout,
        again=shlex.join(["p2pshare", *typed]),
    )
    return launch(
        lambda display, interrupts: receive(wanted, display, interrupts),
        json=json,
        quiet=quiet,
        verbose=verbose,
        is_log=watch,
    )


def _check_receive(
    *,
    has_rules: bool,
    accept: str,
    stdout: bool,
    is_into_folder: bool,
    watch: bool,
    json: bool,
    max_per_peer: int | None,
) -> None:
    """Options that make no sense together."""
    if has_rules and accept == "all":
        raise click.UsageError("--accept all takes everything: rules (--accept-from, --type) contradict it.")
    if accept == "none" and not has_rules:
        raise click.UsageError("--accept none takes nothing without a rule: --accept-from, or --type.")
    if max_per_peer is not None and not has_rules and accept != "all":
        raise click.UsageError("--max-per-peer is for what is taken without asking: --accept all, or rules.")
    if not stdout:
        return
    if json:
        raise click.UsageError("--stdout and --json both want standard output.")
    if watch:
        raise click.UsageError("--stdout takes one file: it does not go with --watch.")
    if is_into_folder:
        raise click.UsageError(
            "--stdout writes into no folder: --dir and what files become there make no sense."
        )
    if sys.stdout.isatty():
        raise click.UsageError(
            "--stdout to a terminal would let a stranger's bytes drive it: use a pipe, or > FILE."
        )
