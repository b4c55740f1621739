"""``make bench``: every benchmark, one after the other. ``python -m benchmarks NAME --help`` for one.

Figures are ratios between things measured side by side in one run, medians of several: they hold on a noisy
machine, where a number of seconds would not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import broadcast, datapath, transfer

BENCHMARKS: dict[str, Callable[[list[str]], None]] = {
    "transfer": transfer.main,
    "datapath": datapath.main,
    "broadcast": broadcast.main,
}


def main() -> None:
    names = [name for name in sys.argv[1:2] if name in BENCHMARKS]
    if sys.argv[1:] and not names:
        sys.exit(f"usage: python -m benchmarks [{' | '.join(BENCHMARKS)}] [OPTION...]")
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        BENCHMARKS[name](sys.argv[2:] if names else [])


if __name__ == "__main__":
    main()
