"""The command line itself: commands, options and their help. What a command does is loaded when it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import click

from p2pshare import __version__
from p2pshare.cli import options
from p2pshare.cli.launch import launch
from p2pshare.cli.receiving import receive

USAGE: Final = 2
CANCELLED: Final = 130


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say; return the exit code. Errors are one sentence, never a traceback."""
    try:
        typed = list(sys.argv[1:] if arguments is None else arguments)
        result = p2pshare.main(typed, prog_name="p2pshare", standalone_mode=False, obj=typed)
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
@options.room
@options.server
@click.option("--to", multiple=True, metavar="NAME", help="Send to this peer, and wait for it. Repeatable.")
@click.option("--everyone", is_flag=True, help="Send to whoever is there, or comes first. The default.")
@options.name
@click.option("-m", "--message", metavar="TEXT", help="A line for who is asked to accept.")
@click.option("--filename", metavar="NAME", help="What standard input ('-') is called.  [default: stdin]")
@click.option(
    "--timeout",
    type=options.seconds,
    metavar="S",
    help="Seconds for recipients to come and answer.  [default: no end]",
)
@click.option(
    "--links", is_flag=True, help="Send symbolic links within a folder as links, not leave them out."
)
@options.rate_limit
@options.reconnect_timeout
@options.json
@options.quiet
@options.verbose
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
    links: bool,
    rate: int | None,
    reconnect_timeout: float | None,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Send files and folders. '-' is standard input; it goes to one recipient, the first to accept.

    Without --server, a signaling server runs here as long as the command does, and what to type at the
    other end is printed. Ends when every recipient has an outcome. Each --to is offered the files as soon
    as it is there, whoever else is still missing. A recipient whose connection is lost is waited for, and
    has what it has. On a terminal, p pauses and resumes.

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

    wanted = SendOptions(
        paths=paths,
        server=server,
        room=room,
        name=name,
        to=to,
        message=message,
        filename="stdin" if filename is None else filename,
        timeout_s=timeout,
        rate=rate,
        keep_links=links,
        reconnect_timeout_s=reconnect_timeout,
    )
    return launch(
        lambda display, interrupts: send(wanted, display, interrupts), json=json, quiet=quiet, verbose=verbose
    )


@p2pshare.command(short_help="Measure the path between two machines.")
@options.room
@options.server
@options.name
@click.option(
    "--size",
    type=options.size,
    default="256M",
    show_default=True,
    metavar="SIZE",
    help="Bytes to send each way.",
)
@click.option(
    "--timeout", type=options.seconds, metavar="S", help="Seconds for the other end.  [default: no end]"
)
@options.json
@options.quiet
@options.verbose
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

    wanted = BenchOptions(server=server, room=room, name=name, size=size, timeout_s=timeout)
    return launch(lambda display, _: bench(wanted, display), json=json, quiet=quiet, verbose=verbose)


@p2pshare.command(short_help="List what runs.")
@click.option("--json", is_flag=True, help="Write one JSON object a process and a job, a line each.")
def jobs(json: bool) -> int:
    """List what every running p2pshare of this user is at: who sends to whom, how far it is, how fast.

    \b
      p2pshare jobs
      watch -n 1 p2pshare jobs
    """
    from p2pshare.cli.jobs import list_jobs

    return list_jobs(json=json)


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
@options.verbose
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


p2pshare.add_command(receive)
