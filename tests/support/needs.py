"""What a test needs of its machine. Where that is missing the test skips and says why.

``pytestmark = needs_command("ip", "nft")``, or as a decorator. Continuous integration, as root, has to
have all of it: there such a skip fails (`tests.support.skips`), save for `only_on`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache

import pytest

PACKAGES = {"ip": "iproute2", "nft": "nftables", "turnserver": "coturn"}
"Debian's package, where it is not named like its command (see also tests/system-packages.sh)."

SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def needs_command(*commands: str) -> pytest.MarkDecorator:
    """Every one of the commands is installed."""
    missing = [command for command in commands if shutil.which(command, path=SYSTEM_PATH) is None]
    told = ", ".join(f"{command} (package {PACKAGES.get(command, command)})" for command in missing)
    return pytest.mark.skipif(bool(missing), reason=f"needs {told}")


def needs_root() -> pytest.MarkDecorator:
    """The tests run as root."""
    return pytest.mark.skipif(not _is_root(), reason="needs root")


def needs_tmpfs() -> pytest.MarkDecorator:
    """A tmpfs may be mounted: a small disk that can run full."""
    return pytest.mark.skipif(
        not _may("--mount", "mount", "-t", "tmpfs", "none", "/mnt"), reason="needs root that may mount"
    )


def needs_namespaces() -> pytest.MarkDecorator:
    """Network namespaces may be made: hosts of their own, with a network between them."""
    return pytest.mark.skipif(
        not _may("--net", "--mount", "true"), reason="needs root that may unshare the network"
    )


def only_on(platform: str) -> pytest.MarkDecorator:
    """What is tested exists on this platform alone (``sys.platform``); the one reason good everywhere."""
    return pytest.mark.skipif(sys.platform != platform, reason=f"only on {platform}")


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


@cache
def _may(*what: str) -> bool:
    """Try it in a namespace of its own, which goes away with the process."""
    if not _is_root() or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", *what], capture_output=True, check=False).returncode == 0
