"""A task that trains in milliseconds: to find the filter that made a signal from noise."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plc_training.tasks.base import ModelCard, Task

TAPS = 4
WIDTH = 16


class ToyTask(Task):
    """Finds a filter; dropout makes its weights depend on every random number."""

    def __init__(self, dropout: float = 0.2) -> None:
        self._dropout = dropout
        self.validations = 0

    def make_network(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(TAPS, WIDTH),
            nn.Linear(WIDTH, WIDTH),
            nn.Dropout(self._dropout),
            nn.Linear(WIDTH, 1),
        )

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        x = torch.from_numpy(rng.standard_normal((size, TAPS)).astype(np.float32))
        return {"x": x, "y": x @ torch.arange(1.0, TAPS + 1.0)[:, None], "scale": torch.tensor(0.5)}

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor]:
        return (batch["x"],)

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        loss: Tensor = (batch["scale"] * (output - batch["y"])).square().mean()
        return loss

    def validate(self, network: nn.Module) -> dict[str, float]:
        self.validations += 1
        batch = self.batch(64, np.random.default_rng(99))
        with torch.no_grad():
            error = (network(batch["x"]) - batch["y"]).square().mean()
        return {"minus_error": -float(error), "validations": float(self.validations)}

    def model_fields(self, card: ModelCard) -> dict[str, Any]:
        raise NotImplementedError("the loop alone is tested with it")
