"""What the test of two devices starts under torchrun: trains the toy task, keeps the weights."""

import sys
from pathlib import Path

import torch

from plc_training.train.loop import Schedule, open_devices, train
from tests.training.toy import ToyTask

SCHEDULE = Schedule(
    steps=6, batch=8, validate_every=3, warm_up=2, learning_rate=1e-2, optimiser="muon"
)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    fabric = open_devices(2, "cpu")
    task = ToyTask(dropout=0.0)
    kept: list[torch.nn.Module] = []
    make = task.make_network

    def keep() -> torch.nn.Module:
        kept.append(make())
        return kept[-1]

    task.make_network = keep  # type: ignore[method-assign]  # to look at the weights afterwards
    train(task, SCHEDULE, folder / "run", "toy", fabric=fabric)
    torch.save(kept[0].state_dict(), folder / f"rank{fabric.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
