"""Shared by the tests of training, none of which is collected without its packages."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

NEEDED = (
    *("torch", "lightning_fabric", "safetensors", "tensorboard", "filelock", "soxr", "msgspec"),
    *("onnx", "onnxscript", "onnxruntime"),
)
collect_ignore_glob = [] if all(map(find_spec, NEEDED)) else ["*.py"]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep decoded audio of commands apart from the user's; decode in this process."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plc_training.cli._cache", lambda: folder)
        patch.setattr("plc_training.cli.usable_cores", lambda: 1)
        yield


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Have denormal numbers be numbers again: training and export flush them for their process."""
    yield
    import torch

    torch.set_flush_denormal(False)
