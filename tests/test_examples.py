"""Every program in examples/ runs as a process, and prints what examples/README.md shows, figures aside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.processes import HANG_S, Command, environment

EXAMPLES = Path(__file__).parents[1] / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
BY_ITSELF = ("attach.py", "bot.py", "room.py", "vocabulary.py")
IN_ANY_ORDER = frozenset({"vocabulary.py"})
LONGER = {"vocabulary.py": 60}
"Lines of an example that has much to show."
LINES = 40


def shown(name: str) -> list[str]:
    """The output that the README shows for an example."""
    block = re.search(rf"```\n\$ python examples/{name}[^\n]*\n(.*?)```", README, re.DOTALL)
    assert block is not None, f"examples/README.md does not show {name}"
    return block[1].splitlines()


def run(name: str, *arguments: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=home,
        env=environment(home) | {"TMPDIR": str(home)},
        timeout=HANG_S,
        check=False,
    )


def test_every_example_is_shown_and_short() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {*BY_ITSELF, "inbox.py", "demo.py"}
    for name in names - {"demo.py"}:
        assert shown(name)
        assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) < LONGER.get(name, LINES)


@pytest.mark.parametrize("name", BY_ITSELF)
def test_an_example_prints_what_the_readme_shows(name: str, tmp_path: Path) -> None:
    ran = run(name, home=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    said, wanted = ran.stdout.splitlines(), shown(name)
    if name in IN_ANY_ORDER:
        said, wanted = sorted(said), sorted(wanted)
    assert said == wanted


def test_the_bot_takes_what_is_small_and_declines_the_rest(tmp_path: Path) -> None:
    small, large = tmp_path / "README.md", tmp_path / "large"
    small.write_bytes(os.urandom(6_922))
    large.write_bytes(bytes(10_000_001))
    with Command("serve", "--host", "127.0.0.1", "--port", "0", home=tmp_path) as serve:
        server = serve.out.first(lambda line: "listening" in line).split()[-1]
        bot = subprocess.Popen(
            [sys.executable, EXAMPLES / "inbox.py", server, "team"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment(tmp_path),
        )
        with bot:
            assert bot.stdout is not None
            said = [bot.stdout.readline().rstrip()]
            room = ("--room", "team", "--server", server, "--to", "inbox")
            with Command("send", large, *room, home=tmp_path) as send:
                ended = send.ended()
                assert (ended.code, ended.err.splitlines()[-1]) == (
                    3,
                    "error: 'inbox' declined: at most 10,000,000 bytes (6002)",
                )
            assert bot.stdout.readline() == "declined: 10000001 bytes\n"
            with Command("send", small, *room, home=tmp_path) as send:
                assert send.ended().code == 0
            while not said[-1].startswith("saved"):
                said.append(bot.stdout.readline().rstrip())
            bot.send_signal(signal.SIGINT)
            assert bot.stdout.read() == "bye\n"
        assert bot.returncode == 0
    assert said[0] == shown("inbox.py")[0]
    assert [_shape(line) for line in said[-2:]] == shown("inbox.py")[-2:]
    assert (tmp_path / "inbox" / "README.md").read_bytes() == small.read_bytes()


def test_the_bot_says_how_it_is_used_and_that_no_server_answers(tmp_path: Path) -> None:
    ran = run("inbox.py", home=tmp_path)
    assert (ran.returncode, ran.stderr) == (2, "usage: python examples/inbox.py SERVER ROOM\n")
    ran = run("inbox.py", "http://127.0.0.1:1", "team", home=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: no signaling server answers at ")
    assert ran.stderr.count("\n") == 1


def test_the_demo_shares_a_tree_compares_it_and_cleans_up(tmp_path: Path) -> None:
    tree = tmp_path / "source" / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "a:b\x1b").write_bytes(os.urandom(100_000))
    (tree / "deep" / "link").symlink_to("nowhere")
    (tree / "zero").write_bytes(b"")
    (tree / "nothing" / "at all").mkdir(parents=True)
    home = tmp_path / "home"
    home.mkdir()
    ran = run("demo.py", tree, home=home)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    said = ran.stdout.splitlines()
    assert said[0] == "sharing tree: 2 files and 1 empty folder, 100.0 kB"
    assert said[1].startswith("signaling server: http://127.0.0.1:")
    assert {line.split()[0] for line in said[2:-2]} == {"sender", "receiver"}
    whole = [line for line in said if "100 %" in line]
    assert len(whole) == 2
    assert all(line.endswith("3/3 in place") for line in whole)
    assert said[-2] == "verified: 2 files and 1 empty folder, BLAKE3 equal, 1 renamed"
    assert re.fullmatch(r"100\.0 kB in \d+\.\d\d s: [\d,.]+ MB/s", said[-1])
    assert not list(home.glob("p2pshare-demo-*"))


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    source = tmp_path / "README.md"
    source.write_bytes(os.urandom(6_922))
    said = run("demo.py", source, home=tmp_path).stdout
    ended = [_shape(line) for line in said.splitlines() if not re.search(r" (25|50|75) %", line)]
    assert sorted(ended) == sorted(shown("demo.py"))


def _shape(line: str) -> str:
    """A line as the README writes it: without the figures that differ from run to run."""
    return re.sub(r"(?<=:)\d+$|[\d.,]+(?= (kB|MB/s|s|bytes)\b)", "…", line)


def test_the_demo_says_that_a_path_is_not_there(tmp_path: Path) -> None:
    ran = run("demo.py", tmp_path / "nope", home=tmp_path)
    assert (ran.returncode, ran.stderr) == (2, "")
    assert ran.stdout == f"error: '{tmp_path / 'nope'}' is not there\n"


def test_the_demo_shares_no_device(tmp_path: Path) -> None:
    ran = run("demo.py", os.devnull, home=tmp_path)
    assert (ran.returncode, ran.stderr) == (2, "")
    assert ran.stdout == f"error: '{os.devnull}' is neither a file nor a folder\n"


def test_a_process_of_the_demo_that_dies_is_told_in_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "p2pshare"
    broken.mkdir(parents=True)
    (broken / "__init__.py").touch()
    (broken / "__main__.py").write_text("raise SystemExit('no such thing')\n", encoding="utf-8")
    source = tmp_path / "source"
    source.write_bytes(b"x")
    ran = subprocess.run(
        [sys.executable, EXAMPLES / "demo.py", source],
        capture_output=True,
        text=True,
        cwd=broken.parent,  # where "python -m" finds its modules first
        env=environment(tmp_path),
        timeout=HANG_S,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (1, "no such thing\n")
    assert ran.stdout.splitlines()[-1] == "error: a process ended early; it says why above"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_demo_with_its_processes_and_its_folder(tmp_path: Path, number: int) -> None:
    source = tmp_path / "large"
    with source.open("wb") as opened:
        opened.truncate(2 << 30)  # far more than can be sent meanwhile
    home = tmp_path / "home"
    home.mkdir()
    demo = subprocess.Popen(
        [sys.executable, EXAMPLES / "demo.py", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(home) | {"TMPDIR": str(home)},
        start_new_session=True,
    )
    with demo:
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith("sharing large")
        assert demo.stdout.readline().startswith("signaling server")
        demo.send_signal(number)
        assert demo.wait(timeout=HANG_S) == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)
    assert not list(home.glob("p2pshare-demo-*"))
