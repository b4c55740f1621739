"""``python -m fuzz.worker TARGET SECONDS FOLDER``: the fuzzer itself, which ends the process that it runs in.

``FOLDER`` has the seeds, and gets the inputs that find something new.
"""

from __future__ import annotations

import sys

import atheris

INSTRUMENTED = ["p2pshare.rtc.sctp", "p2pshare.protocol", "p2pshare.storage.names"]
INPUT_TIMEOUT_S = 60


def main() -> None:
    name, seconds, folder = sys.argv[1:]
    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.__main__ import load

        target = load(name)
    options = {
        "max_total_time": seconds,
        "timeout": INPUT_TIMEOUT_S,
        "max_len": target.max_size,
        "artifact_prefix": "fuzz-",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    arguments = [sys.argv[0], *(f"-{option}={value}" for option, value in options.items()), folder]
    atheris.Setup(arguments, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
