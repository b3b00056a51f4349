"""What holds for every task that improves drafts."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from plc_training.tasks.bridge import BridgeTask
from plc_training.tasks.causal import CausalTask
from plc_training.tasks.inpaint import InpaintTask
from tests.training.answer import Answer
from tests.training.tasks import test_bridge, test_causal, test_inpaint

# Each with its settings, and the frames behind its gap.
TASKS: dict[Any, tuple[Any, int]] = {
    BridgeTask: (test_bridge, 1),
    CausalTask: (test_causal, 0),
    InpaintTask: (test_inpaint, 4),
}


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> Any:
    module, _ = TASKS[request.param]
    return request.param(module.PLAN, module.SETTINGS, module.segments(), module.segments())


def test_nothing_of_the_truth_is_shown(task: Any) -> None:
    batch = task.batch(3, np.random.default_rng(0))
    before = task.inputs(batch)[0]
    batch["lines"][:, 0] = 0.0
    assert torch.equal(before, task.inputs(batch)[0])


def test_the_draft_gains_nothing_over_itself(task: Any) -> None:
    figures = task.validate(Answer(-1, TASKS[type(task)][1]))
    gain = next(iter(figures))
    assert gain in ("gain_percent", "gain_db")
    assert figures[gain] == pytest.approx(0.0, abs=0.1 if gain == "gain_percent" else 0.01)
    for name in ("lsd", "mel", "log_mel", "nmse", "level") if gain == "gain_percent" else ():
        assert figures[name] == pytest.approx(figures[f"draft_{name}"], abs=0.02), name


def test_all_the_loss_reaches_the_network(task: Any) -> None:
    network = task.make_network()
    nn.init.normal_(network.head.weight, std=0.01)
    batch = task.batch(4, np.random.default_rng(2))
    task.loss(network(*task.inputs(batch)), batch).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert bool(torch.isfinite(weight.grad).all()), name
        assert float(weight.grad.abs().max()) > 0.0, name
