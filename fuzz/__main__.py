"""``make fuzz``, or ``python -m fuzz TARGET``: see what bytes from a stranger can do.

An input that fails is written to ``fuzz-...`` in the current folder; ``python -m fuzz TARGET FILE`` tries it
again.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from importlib import import_module, util
from pathlib import Path

from fuzz import TARGETS
from fuzz.target import Target

MISSING = (
    "atheris is not installed: make fuzz does that, or pip install atheris (Linux, Python 3.11 or newer). "
    "Without it, make test runs each target on its seeds and on random inputs."
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz what a stranger's bytes reach.")
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=int, default=60, help="for how long, each target")
    parser.add_argument("file", type=Path, nargs="*", help="run these inputs instead")
    args = parser.parse_args()
    if args.file:
        target = load(args.target)
        for file in args.file:
            target.run(file.read_bytes())
            print(f"{file}: nothing wrong")
    elif util.find_spec("atheris") is None:
        sys.exit(MISSING)
    else:
        names = TARGETS if args.target == "all" else (args.target,)
        if failed := [name for name in names if not _has_passed(name, args.seconds)]:
            sys.exit(f"something is wrong: {', '.join(failed)}")


def load(name: str) -> Target:
    """The target of this name."""
    target = import_module(f"fuzz.{name}").TARGET
    assert isinstance(target, Target)
    return target


def _has_passed(name: str, seconds: int) -> bool:
    """Fuzz in a process of its own."""
    print(f"== {name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for seed in load(name).seeds():
            Path(folder, hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
        command = [sys.executable, "-m", "fuzz.worker", name, str(seconds), folder]
        return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    main()
