"""Shared by the tests of training."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded audio of commands apart from the user's; decode in this process."""
    if find_spec("torch") is None:
        yield
        return
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plc_training.cli._cache", lambda: folder)
        patch.setattr("plc_training.cli.usable_cores", lambda: 1)
        yield


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Have denormal numbers be numbers again: training and export flush them for their process."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
