"""Checkpoints as safetensors files, with numbers as JSON in their metadata.

A checkpoint holds the complete state of a run: weights, their running mean, the optimisers' states,
numbered from the second on, and the step. Batches and dropout follow from the seed and the step, so
that no generator's state is needed.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from plc.errors import ConfigError

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run.

    Attributes
    ----------
    best : float
        Best validation figure; minus infinity before the first validation.
    best_step : int
        Step of the best figure.
    fingerprint : str
        Of the recipe and its data; a run continues only with the same fingerprint.
    """

    step: int
    best: float
    best_step: int
    fingerprint: str


def save_checkpoint(
    path: Path,
    network: nn.Module,
    mean: dict[str, Tensor],
    optimisers: Sequence[torch.optim.Optimizer],
    progress: Progress,
) -> None:
    """Write a checkpoint, and replace the earlier one atomically."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"mean.{name}": value for name, value in mean.items()}
    for prefix, optimiser in _prefixed(optimisers):
        for index, values in optimiser.state_dict()["state"].items():
            for name, value in values.items():
                tensors[f"{prefix}{index}.{name}"] = torch.as_tensor(value)
    part = path.with_suffix(".part")
    metadata = {"plc": json.dumps({"format": _FORMAT, **asdict(progress)})}
    save_file(
        {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, part, metadata
    )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def load_checkpoint(
    path: Path,
    network: nn.Module,
    mean: dict[str, Tensor],
    optimisers: Sequence[torch.optim.Optimizer] = (),
) -> Progress:
    """Load a checkpoint into a network, its mean and its optimisers.

    Raises
    ------
    ConfigError
        If the file is not a checkpoint, or is that of another network.
    """
    tensors, progress = _loaded(path, network, "network.")
    for name, value in _under("mean.", tensors).items():
        mean[name].copy_(value)
    for prefix, optimiser in _prefixed(optimisers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(prefix, tensors).items():
            index, field = name.split(".", 1)
            state.setdefault(int(index), {})[field] = value
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    return progress


def load_mean(path: Path, network: nn.Module) -> Progress:
    """Load the mean weights of a checkpoint into a network, as :func:`load_checkpoint`."""
    return _loaded(path, network, "mean.")[1]


def read_progress(path: Path) -> Progress:
    """Return the progress of a checkpoint.

    Raises
    ------
    ConfigError
        If the file is not a checkpoint.
    """
    try:
        with safe_open(path, "pt") as file:
            fields = json.loads((file.metadata() or {})["plc"])
        if (version := fields.pop("format")) != _FORMAT:
            raise ValueError(f"its format is {version}, this version reads {_FORMAT}")
        return Progress(**fields)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path} is not a checkpoint of this version: {error}") from error


def _loaded(path: Path, network: nn.Module, prefix: str) -> tuple[dict[str, Tensor], Progress]:
    """Load weights whose names have a prefix into a network; return the file's content."""
    progress = read_progress(path)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ConfigError(f"{path} is a damaged checkpoint: {error}") from error
    try:
        network.load_state_dict(_under(prefix, tensors))
    except RuntimeError as error:
        raise ConfigError(f"{path} is a checkpoint of another network: {error}") from error
    return tensors, progress


def _prefixed(
    optimisers: Sequence[torch.optim.Optimizer],
) -> list[tuple[str, torch.optim.Optimizer]]:
    return [(f"optimiser{i or ''}.", optimiser) for i, optimiser in enumerate(optimisers)]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
