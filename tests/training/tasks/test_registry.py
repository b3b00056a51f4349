"""A new task: one class and one line of the registry bring it from audio to a model."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plc.engine.models.kinds import KINDS
from plc.engine.models.manifest import Manifest
from plc.engine.networks.flat import SPEECH_DRAFTS
from plc.errors import ConfigError
from plc_training.cli import app
from plc_training.data.segments import CausalPlan, Segments
from plc_training.networks.spectral import Grid
from plc_training.tasks.base import (
    Amount,
    Count,
    ModelCard,
    Positive,
    Settings,
    Task,
    TaskChoice,
    grid_fields,
)
from plc_training.train.recipe import TASKS, parse_recipe
from tests.options import ran
from tests.training.clips import write_clips

RECIPE = """
[task]
kind = "gain"

[data]
sample_rate = 8000
packet_ms = [20.0]
loss = 0.2
burst = 1.5
margin = 160
horizon = 480
rung = [8.0, 32.0]
domains = ["any"]

[settings]
power = 2.0

[schedule]
steps = 6
batch = 4
validate_every = 2

[model]
name = "gain"
content = "any"
licence = "MIT"
"""
FRAMES = 13


class GainSettings(Settings, frozen=True, kw_only=True):
    bin_hz: Positive = 50.0
    context_frames: Count = 1
    power: Amount


class Gain(nn.Module):
    """A gain for each bin of the last draft."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(bins, 1))

    def forward(self, spectra: Tensor, lost: Tensor) -> Tensor:
        return self.gain * spectra[:, -1, :, :, 1:] * lost[:, None, None, 1:]


class GainTask(Task):
    """Learns the gain of the last draft in each bin."""

    kind = "gain"
    plan_type = CausalPlan
    settings_type = GainSettings
    _settings: GainSettings

    def __init__(
        self, plan: CausalPlan, settings: GainSettings, train: Segments, valid: Segments
    ) -> None:
        self.plan, self.settings = plan, settings
        self._train, self._valid = train.lines, valid.lines
        self._grid = Grid(plan.sample_rate, settings.bin_hz)

    @classmethod
    def check(
        cls, plan: CausalPlan, settings: GainSettings, choice: TaskChoice, card: ModelCard
    ) -> None:
        super().check(plan, settings, choice, card)
        if settings.power not in (1.0, 2.0):
            raise ConfigError(f"settings.power is {settings.power:g}; expected 1 or 2")

    def make_network(self) -> Gain:
        return Gain(self._grid.bins)

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        return self._spectra(self._train[rng.integers(len(self._train), size=size)])

    def _spectra(self, lines: Any) -> dict[str, Tensor]:
        return {"lines": self._grid.analyse(torch.from_numpy(lines / np.float32(32768.0)))}

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        spectra = batch["lines"][:, 1:]
        return spectra, torch.ones(spectra.shape[0], spectra.shape[-1])

    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        error: Tensor = (output - batch["lines"][:, 0, :, :, 1:]).abs()
        loss: Tensor = (error**self.settings.power).mean()
        return loss

    def validate(self, network: nn.Module) -> dict[str, float]:
        batch = self._spectra(self._valid[:32])
        return {"less": -float(self.loss(network(*self.inputs(batch)), batch).detach())}

    def model_fields(self, card: ModelCard) -> dict[str, Any]:
        hops = FRAMES - 1 - 3
        return grid_fields(self.plan, self.settings, card) | {
            "kind": "causal",
            "context_frames_after": 0,
            "horizon_ms": 1000.0 * hops * self._grid.hop / self.plan.sample_rate,
        }


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, GainTask.kind, GainTask)


def test_a_registered_task_trains_and_exports(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", 3)
    recipe, run = tmp_path / "mine.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    place = ["--data", str(tmp_path / "clips"), "--out", str(run)]
    ran(app, "train", str(recipe), *place, "--accelerator", "cpu")
    ran(app, "export", str(run))
    model = Manifest.read(run / "gain.json")
    assert (model.kind, model.drafts, model.frames(8000)) == ("causal", SPEECH_DRAFTS, FRAMES)
    assert json.loads(json.dumps(dict(model.training["settings"])))["power"] == 2.0


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"gain"', '"gian"', "task.kind is 'gian'; expected inpaint or .* or gain$"),
        ("margin = 160", "margin = 0", "data.margin is 0; expected above 0"),
        ("power = 2.0", "power = 3.0", "settings.power is 3; expected 1 or 2"),
        ("power = 2.0", "power = -1.0", "settings.power is -1.0; expected a number, at least 0"),
        ("power = 2.0", "", "settings.power is missing; expected a number, at least 0"),
        ("power = 2.0", "gru = 3", "settings.gru is unknown; known: bin_hz, context_frames, power"),
        ("[model]", "[model]\nhorizon_ms = 9", "model.horizon_ms is for causal models, not gain"),
        (
            "[settings]",
            "[data.valid]\nmargin = 200\n[settings]",
            "data.train and data.valid differ in the rate",
        ),
    ],
)
def test_a_registered_task_refuses_mistakes_by_name(old: str, new: str, match: str) -> None:
    assert old in RECIPE
    with pytest.raises(ConfigError, match=f"mine.toml: {match}"):
        parse_recipe(RECIPE.replace(old, new, 1), "mine", "mine.toml")


def test_each_kind_of_models_has_the_name_of_its_task() -> None:
    assert set(KINDS) <= set(TASKS)


def test_the_page_on_training_names_every_task() -> None:
    page = (Path(__file__).parents[3] / "training/README.md").read_text("utf-8")
    found = re.search(r"\| `\[task\]` \| `kind` \((.*?)\);", page)
    assert found is not None
    assert set(re.findall(r"`(\w+)`", found[1])) == set(TASKS) - {GainTask.kind}
