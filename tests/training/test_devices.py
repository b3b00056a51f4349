"""Every task works wherever the network is; told by a device that holds no values."""

import numpy as np
import pytest
import torch

from plc_training.tasks.base import Task
from plc_training.tasks.bridge import BridgeTask
from plc_training.tasks.causal import CausalTask
from plc_training.tasks.inpaint import InpaintTask
from tests.training.tasks import test_bridge, test_causal, test_inpaint

TASKS = {
    "inpaint": InpaintTask(
        test_inpaint.PLAN,
        test_inpaint.SETTINGS,
        test_inpaint.segments(),
        test_inpaint.segments(),
    ),
    "causal": CausalTask(
        test_causal.PLAN, test_causal.SETTINGS, test_causal.segments(), test_causal.segments()
    ),
    "bridge": BridgeTask(
        test_bridge.PLAN, test_bridge.SETTINGS, test_bridge.segments(), test_bridge.segments()
    ),
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_step_touches_no_tensor_of_another_device(task: Task) -> None:
    # What lies on "meta" has a shape and no values, and meets a tensor of the CPU with an error.
    network = task.make_network().to("meta")
    drawn = task.batch(3, np.random.default_rng(0))
    batch = {name: value.to("meta") if value.ndim else value for name, value in drawn.items()}
    loss = task.loss(network(*task.inputs(batch)), batch)
    assert loss.device.type == "meta"
    assert loss.shape == ()
    torch.autograd.backward(loss)
    assert all(weight.grad is not None for weight in network.parameters())
