"""Checkpoints: whole or not at all, and never another's."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from plc.errors import ConfigError
from plc_training.train.checkpoint import (
    Progress,
    load_checkpoint,
    load_mean,
    read_progress,
    save_checkpoint,
)

PROGRESS = Progress(7, 1.5, 6, "abc")


def network(seed: int, width: int = 4) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))


def stepped(made: nn.Module) -> Optimizer:
    optimiser = AdamW(made.parameters(), lr=1e-2)
    made(torch.randn(8, 3)).square().sum().backward()
    optimiser.step()
    return optimiser


def mean_of(made: nn.Module, value: float) -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, value) for name, tensor in made.state_dict().items()}


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    first = network(0)
    optimiser = stepped(first)
    save_checkpoint(path, first, mean_of(first, 2.0), [optimiser], PROGRESS)
    second = network(1)
    other, mean = stepped(second), mean_of(second, 0.0)
    assert load_checkpoint(path, second, mean, [other]) == PROGRESS == read_progress(path)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert all(bool((value == 2.0).all()) for value in mean.values())
    for mine, theirs in zip(
        optimiser.state_dict()["state"].values(), other.state_dict()["state"].values(), strict=True
    ):
        assert all(torch.equal(mine[name], theirs[name]) for name in ("exp_avg", "step"))
    assert not list(tmp_path.glob("*.part"))


def test_another_networks_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    first = network(0)
    save_checkpoint(path, first, mean_of(first, 0.0), [stepped(first)], PROGRESS)
    with pytest.raises(ConfigError, match="a checkpoint of another network"):
        load_mean(path, network(0, width=5))


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\xff" * 64])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a checkpoint"):
        read_progress(path)
    with pytest.raises(ConfigError, match="is not a checkpoint"):
        load_mean(path, network(0))


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    first = network(0)
    save_checkpoint(path, first, mean_of(first, 0.0), [stepped(first)], PROGRESS)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ConfigError, match="checkpoint"):
        load_mean(path, first)


def test_other_safetensors_and_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(ConfigError, match="is not a checkpoint"):
        read_progress(path)
    save_file({"x": torch.zeros(2)}, path, {"plc": json.dumps({"format": 99})})
    with pytest.raises(ConfigError, match="its format is 99"):
        read_progress(path)
