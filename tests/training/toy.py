"""Tasks that train in milliseconds: to find a filter, to generate points."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plc_training.papers.blocks import wasserstein
from plc_training.tasks.base import ModelCard, Task, Turn

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


class Players(nn.Module):
    """A generator and two critics; called, it generates."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        middle = nn.BatchNorm1d(WIDTH) if norm else nn.Tanh()
        self.generator = nn.Sequential(nn.Linear(TAPS, WIDTH), middle, nn.Linear(WIDTH, 2))
        self.critics = nn.ModuleList(
            nn.Sequential(nn.Linear(2, WIDTH), nn.LeakyReLU(), nn.Linear(WIDTH, 1))
            for _ in range(2)
        )

    def forward(self, noise: Tensor) -> Tensor:
        points: Tensor = self.generator(noise)
        return points


class AdversarialTask(ToyTask):
    """Generates points about (3, -1) that two critics cannot tell from real ones."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self._norm = norm

    def make_network(self) -> nn.Module:
        return Players(self._norm)

    def players(self) -> tuple[str, ...]:
        return ("generator", "critics.0", "critics.1")

    def turns(self, step: int) -> tuple[Turn, ...]:
        critics = [Turn(f"critics.{i}", partial(self._critic_loss, i)) for i in range(2)]
        # Every second step, the critics move alone.
        return (*critics, *([Turn("generator", self._generator_loss)] if step % 2 else []))

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        noise, points = rng.standard_normal((size, TAPS)), rng.standard_normal((size, 2))
        arrays = {"x": noise, "real": 0.1 * points + [3.0, -1.0], "mix": rng.random(size)}
        return {name: torch.from_numpy(value).float() for name, value in arrays.items()}

    def _critic_loss(self, i: int, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        fake = network(batch["x"])
        return wasserstein(network.get_submodule(f"critics.{i}"), batch["real"], fake, batch["mix"])

    def _generator_loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        fake = network(batch["x"])
        scores = [network.get_submodule(f"critics.{i}")(fake).mean() for i in range(2)]
        return -torch.stack(scores).sum()

    @torch.no_grad()
    def validate(self, network: nn.Module) -> dict[str, float]:
        points = network(self.batch(256, np.random.default_rng(99))["x"])
        away = points.mean(0) - torch.tensor([3.0, -1.0])
        return {"minus_distance": -float(away.norm())}
