"""The targets of the fuzzer, without the fuzzer: their seeds, and some thousand inputs by chance."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from fuzz import TARGETS
from fuzz.__main__ import load

INPUTS = {"packet": 20_000, "frames": 10_000, "names": 8_000, "association": 700}
"Of the others 1,500: these set up two ends for each."

EACH = pytest.mark.parametrize("name", TARGETS)


def spoilt(seed: bytes, dice: random.Random) -> bytes:
    """A seed with a few bytes changed, left out or repeated."""
    made = bytearray(seed)
    for _ in range(dice.choice([1, 2, 8])):
        at = dice.randrange(len(made) + 1)
        step = dice.randrange(1, 6)
        made[at : at + dice.choice([0, step])] = dice.choice(
            [dice.randbytes(step), made[at - step : at], b""]
        )
    return bytes(made)


@EACH
def test_what_is_made_of_real_traffic_is_taken_and_there_is_enough_of_it(name: str) -> None:
    target = load(name)
    seeds = list(target.seeds())
    assert len(set(seeds)) >= 10
    assert seeds == list(target.seeds()), "a crash could not be tried again"
    for seed in seeds:
        target.run(seed)
    target.run(b"")


@EACH
def test_nothing_goes_wrong_by_chance(name: str) -> None:
    target = load(name)
    seeds = list(target.seeds())
    dice = random.Random(7)
    for _ in range(INPUTS.get(name, 1_500)):
        if dice.random() < 0.3:
            target.run(dice.randbytes(dice.randrange(min(300, target.max_size))))
        else:
            target.run(spoilt(dice.choice(seeds), dice)[: target.max_size])


def test_an_input_can_be_tried_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("crash") / "crash-1"
    file.write_bytes(b"\0some bytes")
    command = [sys.executable, "-m", "fuzz", "packet", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nothing wrong" in done.stdout


def test_without_the_fuzzer_the_command_says_how_to_get_it() -> None:
    without = "import sys; sys.modules['atheris'] = None; sys.argv = ['fuzz', 'packet']; "
    done = subprocess.run(
        [sys.executable, "-c", without + "from fuzz.__main__ import main; main()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install atheris" in done.stderr
