"""What an import must not load: aiortc and av cost 0.3 s and 52 MB.

Which module may import which is import-linter's business (pyproject.toml; ``make check`` runs it).
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("aiortc", "av")


@pytest.mark.parametrize(
    "module",
    ["p2pshare", "p2pshare.events", "p2pshare.protocol", "p2pshare.storage", "signaling", "signaling.server"],
)
def test_import_loads_no_webrtc_stack(module: str) -> None:
    program = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.split(), run.stderr) == (0, [], "")


def test_signaling_loads_nothing_of_p2pshare() -> None:
    program = "import sys, signaling.server; print(*(name for name in sys.modules if name.startswith('p2p')))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.split(), run.stderr) == (0, [], "")
