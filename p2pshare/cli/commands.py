"""The command line itself: commands, options and their help. What a command does is loaded when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from p2pshare import __version__

if TYPE_CHECKING:
    from p2pshare.cli.running import Command

DEFAULT_SERVER: Final = "http://127.0.0.1:8765"
USAGE: Final = 2
CANCELLED: Final = 130

_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say; return the exit code. Errors are one sentence, never a traceback."""
    try:
        result = p2pshare.main(arguments, prog_name="p2pshare", standalone_mode=False)
    except click.UsageError as exc:
        click.echo(f"error: {exc.format_message()}", err=True)
        if exc.ctx is not None:
            click.echo(f"'{exc.ctx.command_path} --help' tells how", err=True)
        return USAGE
    except click.ClickException as exc:
        click.echo(f"error: {exc.format_message()}", err=True)
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return CANCELLED
    return result if isinstance(result, int) else 0


def _size(text: str) -> int:
    """A number of bytes with an optional unit, decimal as the displays write them: ``500M``."""
    number = text.strip().lower().removesuffix("b")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        size = round(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise click.BadParameter(f"{text!r} is no size; write 500M, or 2G")
    return size


_name = click.option("--name", metavar="ME", help="Your name in the room.  [default: login@host]")
_json = click.option("--json", is_flag=True, help="Write events to standard output, one JSON object a line.")
_quiet = click.option("-q", "--quiet", is_flag=True, help="Nothing but errors on standard error.")
_verbose = click.option("-v", "--verbose", is_flag=True, help="Log to standard error what happens inside.")
_seconds = click.FloatRange(min=0, min_open=True)


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 everything arrived, 1 failed, 2 wrong usage, 3 declined, 4 no peer or no server, "
    "5 storage, 6 integrity, 130 cancelled.",
)
@click.version_option(__version__, prog_name="p2pshare", message="%(prog)s %(version)s")
@click.pass_context
def p2pshare(context: click.Context) -> None:
    """Send files straight to other people's machines: no server stores them.

    Two people who choose the same room meet, one sends and the other receives:

    \b
      p2pshare send photos/                  prints what to type at the other end:
      p2pshare receive --room k3vd-9qwm-1xtz-e7pa --server http://192.0.2.7:8765
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(USAGE)


@p2pshare.command(short_help="Send files, folders, or standard input.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-r", "--room", help="Where to meet.  [default: one made up, and shown]")
@click.option(
    "-s",
    "--server",
    metavar="URL",
    envvar="P2PSHARE_SERVER",
    help="The signaling server (or P2PSHARE_SERVER).  [default: one that runs here, in this command]",
)
@click.option("--to", multiple=True, metavar="NAME", help="Send to this peer, and wait for it. Repeatable.")
@click.option("--everyone", is_flag=True, help="Send to whoever is there, or comes first. The default.")
@_name
@click.option("-m", "--message", metavar="TEXT", help="A line for who is asked to accept.")
@click.option("--filename", metavar="NAME", help="What standard input ('-') is called.  [default: stdin]")
@click.option(
    "--timeout",
    type=_seconds,
    metavar="S",
    help="Seconds for recipients to come and answer.  [default: no end]",
)
@_json
@_quiet
@_verbose
def send(
    paths: tuple[str, ...],
    room: str | None,
    server: str | None,
    to: tuple[str, ...],
    everyone: bool,
    name: str | None,
    message: str | None,
    filename: str | None,
    timeout: float | None,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Send files and folders. '-' is standard input; it goes to one recipient, the first to accept.

    Without --server, a signaling server runs here as long as the command does, and what to type at the
    other end is printed. Ends when every recipient has an outcome. Each --to is offered the files as soon
    as it is there, whoever else is still missing.

    \b
      p2pshare send report.pdf photos/
      p2pshare send report.pdf --room team --server http://192.0.2.7:8765 --to bob --to carol
      tar cz src | p2pshare send - --filename src.tar.gz --room team
    """
    if to and everyone:
        raise click.UsageError("--to and --everyone contradict each other.")
    if quiet and not json and room is None:
        raise click.UsageError("--quiet would not say which room was made up: choose one with --room.")
    if paths.count("-") > 1:
        raise click.UsageError("Standard input ('-') can be sent once.")
    if "-" in paths and len(set(to)) > 1:
        raise click.UsageError("Standard input ('-') can be sent to one recipient.")
    if filename is not None and "-" not in paths:
        raise click.UsageError("--filename names standard input: send '-'.")
    from p2pshare.cli.send import SendOptions, send

    options = SendOptions(
        paths=paths,
        server=server,
        room=room,
        name=name,
        to=to,
        message=message,
        filename="stdin" if filename is None else filename,
        timeout_s=timeout,
    )
    return _run(lambda display: send(options, display), json=json, quiet=quiet, verbose=verbose)


@p2pshare.command(short_help="Receive files.")
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
    default=Path(),
    metavar="D",
    help="Where files go; nothing there is overwritten.  [default: here]",
)
@_name
@click.option(
    "--accept",
    type=click.Choice(["ask", "all"]),
    default="ask",
    show_default=True,
    help="Ask before each offer, or take everything.",
)
@click.option("--watch", is_flag=True, help="Go on after the first offer, until Ctrl-C or --timeout.")
@click.option(
    "--max-size",
    type=_size,
    metavar="SIZE",
    help="Refuse an offer, all of it, that holds a larger file: 500M, 2G.",
)
@click.option(
    "--timeout",
    type=_seconds,
    metavar="S",
    help="Seconds for an offer to come; with --watch, for another one while nothing runs.  [default: no end]",
)
@_json
@_quiet
@_verbose
def receive(
    room: str,
    server: str,
    folder: Path,
    name: str | None,
    accept: str,
    watch: bool,
    max_size: int | None,
    timeout: float | None,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Receive what somebody in the room sends.

    Shows who offers what and asks first. Prints the paths of what was saved. Ends after the first offer;
    with --watch it takes one after another, and a --timeout that ends it is no failure once something was
    received. What --max-size refuses is never shown here: its sender is told which file is too large.

    \b
      p2pshare receive --room k3vd-9qwm-1xtz-e7pa --server http://192.0.2.7:8765
      p2pshare receive --room team --server http://192.0.2.7:8765 --dir inbox --accept all --watch
    """
    from p2pshare.cli.receive import ReceiveOptions, receive

    options = ReceiveOptions(
        server=server,
        room=room,
        name=name,
        folder=folder,
        asks=accept == "ask",
        watches=watch,
        max_size=max_size,
        timeout_s=timeout,
    )
    return _run(lambda display: receive(options, display), json=json, quiet=quiet, verbose=verbose)


@p2pshare.command(short_help="Measure the path between two machines.")
@click.option("-r", "--room", help="Where to meet.  [default: one made up, and shown]")
@click.option(
    "-s",
    "--server",
    metavar="URL",
    envvar="P2PSHARE_SERVER",
    help="The signaling server (or P2PSHARE_SERVER).  [default: one that runs here, in this command]",
)
@_name
@click.option(
    "--size", type=_size, default="256M", show_default=True, metavar="SIZE", help="Bytes to send each way."
)
@click.option("--timeout", type=_seconds, metavar="S", help="Seconds for the other end.  [default: no end]")
@_json
@_quiet
@_verbose
def bench(
    room: str | None,
    server: str | None,
    name: str | None,
    size: int,
    timeout: float | None,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Measure what the path between two machines gives, both ways, and say where the time goes.

    Run it at both ends: the first prints what to type at the other. Bytes come from memory and are verified
    and thrown away, so no disk has a part in it.

    \b
      p2pshare bench
      p2pshare bench --room k3vd-9qwm-1xtz-e7pa --server http://192.0.2.7:8765
    """
    from p2pshare.cli.bench import BenchOptions, bench

    options = BenchOptions(server=server, room=room, name=name, size=size, timeout_s=timeout)
    return _run(lambda display: bench(options, display), json=json, quiet=quiet, verbose=verbose)


@p2pshare.command(short_help="Run a signaling server.")
@click.option("--host", metavar="H", help="Name or address to listen on.  [default: all of this machine's]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    metavar="P",
    help="TCP port; 0 chooses a free one.",
)
@_verbose
def serve(host: str | None, port: int, verbose: bool) -> int:
    """Run a signaling server until Ctrl-C.

    It introduces the members of a room to each other. No file, and no file's name, passes through it.

    \b
      p2pshare serve
      p2pshare serve --host 192.0.2.7 --port 9000
    """
    from p2pshare.cli.display import Display
    from p2pshare.cli.exit_codes import exit_code
    from p2pshare.cli.running import raise_file_limit, report, set_up_logging
    from p2pshare.cli.serve import serve
    from signaling.errors import SignalingError

    display = Display()
    set_up_logging(verbose=verbose, display=display)
    raise_file_limit()
    try:
        serve(host, port)
    except SignalingError as error:
        report(error, display)
        return exit_code(error)
    return 0


def _run(command: Command, *, json: bool, quiet: bool, verbose: bool) -> int:
    from p2pshare.cli.display import make_display
    from p2pshare.cli.running import run, set_up_logging

    display = make_display(json=json, quiet=quiet, verbose=verbose)
    set_up_logging(verbose=verbose, display=display)
    return run(command, display)
