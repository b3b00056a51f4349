"""What the test of two devices starts under torchrun: trains the toy tasks, keeps the weights."""

import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric

from plc_training.tasks.base import Task
from plc_training.train.loop import Schedule, open_devices, train
from tests.training.toy import AdversarialTask, ToyTask

SCHEDULE = Schedule(
    steps=6, batch=8, validate_every=3, warm_up=2, learning_rate=1e-2, optimiser="muon"
)


def tasks() -> dict[str, Task]:
    """Return the tasks by the names of their folders, without what sees a device's share alone."""
    return {"toy": ToyTask(dropout=0.0), "players": AdversarialTask(norm=False)}


def weights(task: Task, folder: Path, fabric: Fabric) -> dict[str, torch.Tensor]:
    """Train a task; return this device's weights."""
    kept: list[torch.nn.Module] = []
    make = task.make_network

    def keep() -> torch.nn.Module:
        kept.append(make())
        return kept[-1]

    task.make_network = keep  # type: ignore[method-assign]  # to look at the weights afterwards
    train(task, SCHEDULE, folder, "toy", fabric=fabric)
    return kept[0].state_dict()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    fabric = open_devices(2, "cpu")
    for name, task in tasks().items():
        found = weights(task, folder / f"{name}-run", fabric)
        torch.save(found, folder / f"{name}{fabric.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
