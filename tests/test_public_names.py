from __future__ import annotations

import ast
import importlib.metadata
import inspect
from pathlib import Path

import pytest

import p2pshare
import p2pshare.errors
import p2pshare.events


@pytest.mark.parametrize("name", p2pshare.__all__)
def test_public_name_resolves(name: str) -> None:
    assert getattr(p2pshare, name) is not None
    assert name in dir(p2pshare)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'p2pshare' has no attribute 'nonesuch'"):
        _ = p2pshare.nonesuch


def test_version_is_that_of_the_distribution() -> None:
    assert p2pshare.__version__ == importlib.metadata.version("p2pshare")


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(p2pshare.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (node.module, alias.asname)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert seen == {(home, name) for name, home in p2pshare._HOMES.items()}


def test_every_error_is_public() -> None:
    assert _classes(p2pshare.errors, p2pshare.errors.P2PShareError) <= set(p2pshare.__all__)


def test_every_event_is_public() -> None:
    assert _classes(p2pshare.events, p2pshare.events.Event) <= set(p2pshare.__all__)


def _classes(module: object, base: type) -> set[str]:
    return {name for name, cls in inspect.getmembers(module, inspect.isclass) if issubclass(cls, base)}
