"""``python -m p2pshare``: the command."""

from __future__ import annotations

import sys

from p2pshare.cli import main

if __name__ == "__main__":
    sys.exit(main())
