"""The training loop, for every task and any number of devices.

The batch of a step, its augmentation and the learning rate follow from the seed and the step's
number alone. Every device draws the whole batch and works on its share. So a stopped run continues
exactly, two runs with the same seed end with equal weights (on the same machine and number of
threads), and the data do not depend on the number of devices.
"""

import atexit
import copy
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from msgspec import Meta, Struct
from torch import Tensor, nn

from plc.errors import ConfigError, in_a_line
from plc_training.tasks.base import Amount, Count, Task, Turn, Whole
from plc_training.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from plc_training.train.optimiser import BETA1, Optimisers, make_optimiser

CHECKPOINT = "last.safetensors"
BEST = "best.safetensors"
# torch's capability names of x86 processors without bfloat16.
_WITHOUT_BFLOAT16 = ("DEFAULT", "AVX2")
# A step in bfloat16. Some virtual machines report its instructions but do not allow them.
_BFLOAT16_STEP = """
import torch
layer = torch.nn.Linear(64, 64)
with torch.autocast("cpu", torch.bfloat16):
    layer(torch.ones(64, 64)).float().sum().backward()
"""
# Decay of the running mean of the weights; it rises from 0.1.
_MEAN_DECAY = 0.998
# Share of the steps after which "tenth" lowers the learning rate: the paper's 600k of 800k.
_TENTH_FROM = 0.75
# Time in which one process may decode a library while the others wait.
_PATIENCE = timedelta(hours=24)


class Schedule(Struct, frozen=True, kw_only=True):
    """Schedule of a training: the table ``[schedule]``.

    Attributes
    ----------
    steps, batch : int
        Number of steps; segments of a step over all devices.
    learning_rate : float
        Maximum, reached after ``warm_up`` steps.
    decay : str
        ``"cosine"``: down to 0 along a cosine; ``"tenth"``: a tenth after three quarters of the
        steps; ``"none"``: constant.
    optimiser : str
        ``"adamw"``, or ``"muon"`` (:class:`plc_training.train.optimiser.Muon`).
    weight_decay : float
        Of both optimisers; AdamW with 0 is Adam.
    beta1 : float
        Of AdamW; without effect under Muon.
    beta2 : float
        Of AdamW, which also moves biases and small matrices under Muon.
    clip_norm : float
        Largest norm of the gradients, which are scaled down to it; 0: no limit.
    validate_every : int, steps between validations
    checkpoint_s : float, seconds between checkpoints
    precision : str
        As Lightning Fabric names it: ``"32-true"`` or ``"bf16-mixed"``.
    """

    steps: Count
    batch: Count = 32
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 1e-3
    decay: Literal["cosine", "tenth", "none"] = "cosine"
    warm_up: Whole = 200
    optimiser: Optimisers = "adamw"
    weight_decay: Amount = 1e-4
    beta1: Annotated[float, Meta(ge=0, lt=1)] = BETA1
    beta2: Annotated[float, Meta(ge=0, lt=1)] = 0.98
    clip_norm: Amount = 5.0
    validate_every: Count = 500
    checkpoint_s: Amount = 180.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    seed: Whole = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A completed step."""

    step: int
    loss: float
    steps_per_s: float
    figures: dict[str, float]
    """Empty in steps without a validation."""


class Reason(Enum):
    """Reason for the end of a training."""

    DONE = "all steps are done"
    STOPPED = "stopped; the same command goes on from here"


@dataclass(frozen=True, slots=True)
class Ending:
    """Progress at the end of a training, and the reason."""

    progress: Progress
    reason: Reason


def open_devices(devices: int = 1, accelerator: str = "auto", precision: str = "32-true") -> Fabric:
    """Return devices to train on, with their processes running.

    Parameters
    ----------
    devices : int
        Number on this machine; under torchrun, of its processes.
    accelerator, precision : str
        As Lightning Fabric names them.

    Raises
    ------
    ConfigError
        If this machine has too few such devices.
    """
    several = devices > 1 or torch.distributed.is_torchelastic_launched()
    # A GPU's processes talk through NCCL, those of a CPU through gloo: Fabric's choice.
    strategy = DDPStrategy(timeout=_PATIENCE) if several else "auto"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=devices,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]  # a Literal's, checked by Schedule
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(
            f"{devices} device{'s' * (devices != 1)} of {accelerator} cannot be used here: "
            f"{in_a_line(error)}; this machine has {available_accelerator()}: try --accelerator "
            "auto"
        ) from error
    fabric.launch()
    if several:
        atexit.register(_leave_group)
    return fabric


def _leave_group() -> None:
    """End the threads that talk to other processes: they abort one that ends before them."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def available_accelerator() -> str:
    """Return the accelerator that ``auto`` selects here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def affordable_precision(precision: str, accelerator: str = "auto") -> tuple[str, str]:
    """Return the precision for a device, and the reason for a change.

    bfloat16 becomes float32 on x86 processors without AVX-512, which emulate it many times slower,
    and where a trial step fails.
    """
    used = available_accelerator() if accelerator == "auto" else accelerator
    if precision != "bf16-mixed" or used != "cpu":
        return precision, ""
    if torch.backends.cpu.get_cpu_capability() in _WITHOUT_BFLOAT16:
        return "32-true", "this processor would only imitate that, many times slower"
    # In a process of its own: what is not allowed ends it.
    tried = subprocess.run([sys.executable, "-c", _BFLOAT16_STEP], capture_output=True, text=True)
    if tried.returncode:
        said = tried.stderr.strip().splitlines() or [f"it ends with status {tried.returncode}"]
        return "32-true", f"a trial step failed on this machine ({said[-1]})"
    return precision, ""


def train(
    task: Task,
    schedule: Schedule,
    folder: Path,
    fingerprint: str,
    on_step: Sequence[Callable[[Event], object]] = (),
    fabric: Fabric | None = None,
    begin: Callable[[nn.Module], object] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Ending:
    """Train to the end of the schedule, from the folder's checkpoint on.

    Parameters
    ----------
    task : Task
        Network, batches, loss and figures.
    folder : Path
        For checkpoints; created if missing.
    fingerprint : str
        Of the recipe and its data.
    on_step : sequence of callable
        Receive each step in the first process, before its checkpoint is written.
    fabric : Fabric, optional
        From :func:`open_devices`; by default one device of the best kind.
    begin : callable, optional
        Loads initial weights into the network, if the folder holds no checkpoint.
    should_stop : callable
        Asked after each step; training ends with a checkpoint if it is true on any device.

    Raises
    ------
    ConfigError
        If the folder holds a run of another recipe, the batch is not a multiple of the devices,
        or the loss or its gradients are not finite.
    """
    fabric = fabric or open_devices(precision=affordable_precision(schedule.precision)[0])
    trainer = _Trainer(task, schedule, folder, fingerprint, fabric, begin)
    saved = time.monotonic()
    for step in range(trainer.progress.step, schedule.steps):
        began = time.monotonic()
        loss, stopped = trainer.agreed(trainer.step(step), should_stop())
        _refuse_unless_finite(loss, step, "loss")
        validating = (step + 1) % schedule.validate_every == 0 or step + 1 == schedule.steps
        figures = trainer.validate() if validating else {}
        event = Event(step + 1, loss, 1.0 / (time.monotonic() - began), figures)
        for tell in on_step if fabric.is_global_zero else ():
            tell(event)
        trainer.advance(step + 1, figures)
        if validating or stopped or time.monotonic() - saved > schedule.checkpoint_s:
            trainer.save(CHECKPOINT)
            saved = time.monotonic()
        if stopped and step + 1 < schedule.steps:
            return Ending(trainer.progress, Reason.STOPPED)
    return Ending(trainer.progress, Reason.DONE)


def learning_rate(schedule: Schedule, step: int) -> float:
    """Return the learning rate of a step."""
    rise = min(1.0, (step + 1) / max(schedule.warm_up, 1))
    if schedule.decay == "none":
        fall = 1.0
    elif schedule.decay == "tenth":
        fall = 1.0 if step < _TENTH_FROM * schedule.steps else 0.1
    else:
        fall = 0.5 * (1.0 + math.cos(math.pi * step / schedule.steps))
    return schedule.learning_rate * rise * fall


def _refuse_unless_finite(value: float, step: int, what: str) -> None:
    if not math.isfinite(value):
        raise ConfigError(f"the {what} is {value} at step {step}; lower the learning rate")


class _Trainer:
    """State of a training: weights, their mean, optimisers, progress."""

    def __init__(
        self,
        task: Task,
        schedule: Schedule,
        folder: Path,
        fingerprint: str,
        fabric: Fabric,
        begin: Callable[[nn.Module], object] | None,
    ) -> None:
        if schedule.batch % fabric.world_size:
            raise ConfigError(
                f"schedule.batch is {schedule.batch}; {fabric.world_size} devices need a multiple "
                "of their number"
            )
        self.progress = Progress(0, -math.inf, 0, fingerprint)
        self._task, self._schedule, self._folder, self._fabric = task, schedule, folder, fabric
        # Not by Fabric, which would set environment variables.
        torch.manual_seed(schedule.seed)
        self._network = task.make_network()
        if begin is not None and not (folder / CHECKPOINT).exists():
            begin(self._network)
        optimisers = [
            make_optimiser(
                schedule.optimiser,
                self._network.get_submodule(player).parameters(),
                schedule.learning_rate,
                schedule.weight_decay,
                schedule.beta2,
                schedule.beta1,
            )
            for player in task.players()
        ]
        self._wrapped, *made = fabric.setup(self._network, *optimisers)
        self._optimisers = dict(zip(task.players(), made, strict=True))
        first = task.players()[0]
        self._followed = {
            name for name in self._network.state_dict() if not first or name.startswith(f"{first}.")
        }
        self._mean = {name: value.clone() for name, value in self._network.state_dict().items()}
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).exists():
            self.progress = load_checkpoint(
                folder / CHECKPOINT, self._network, self._mean, [*self._optimisers.values()]
            )
            if self.progress.fingerprint != fingerprint:
                raise ConfigError(
                    f"{folder} holds a run of another recipe or of other data; name another folder"
                )

    def step(self, step: int) -> float:
        """Train on one batch; return the last turn's loss for this device's share."""
        schedule, fabric = self._schedule, self._fabric
        rng = np.random.default_rng([schedule.seed, step])
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        whole = self._task.batch(schedule.batch, rng)
        batch = {name: fabric.to_device(self._share(value)) for name, value in whole.items()}
        self._network.train()
        loss = math.nan
        for turn in self._task.turns(step):
            loss = self._move(turn, batch, step)
        self._follow(step)
        return loss

    def _move(self, turn: Turn, batch: dict[str, Tensor], step: int) -> float:
        """Change the weights of a turn's player; return the loss."""
        optimiser = self._optimisers[turn.player]
        for group in optimiser.param_groups:
            group["lr"] = turn.pace * learning_rate(self._schedule, step)
        if len(self._optimisers) > 1:
            # Only the player's weights have gradients.
            self._network.requires_grad_(False)
            self._network.get_submodule(turn.player).requires_grad_(True)
        if turn.player:
            with self._fabric.autocast():
                loss = turn.loss(self._network, batch)
        else:
            loss = turn.loss(self._wrapped, batch)
        optimiser.zero_grad()
        self._fabric.backward(loss)
        if turn.player:
            self._average(turn.player)
        # All devices have the same gradients here, so that all raise.
        _refuse_unless_finite(self._clip(optimiser), step, "norm of the gradients")
        optimiser.step()
        return float(loss.detach())

    def _average(self, player: str) -> None:
        """Average a player's gradients, and all buffers, over the devices.

        The wrapper of several devices does so only in calls of the whole network.
        """
        if self._fabric.world_size == 1:
            return
        gradients = [each.grad for each in self._network.get_submodule(player).parameters()]
        buffers = [each for each in self._network.buffers() if each.is_floating_point()]
        for value in (*gradients, *buffers):
            if value is not None:
                mean: Any = self._fabric.all_reduce(value, reduce_op="mean")
                value.copy_(mean)

    def _clip(self, optimiser: Any) -> float:
        """Limit the norm of the gradients; return the norm before."""
        most = self._schedule.clip_norm or math.inf
        norm = self._fabric.clip_gradients(
            self._wrapped, optimiser, max_norm=most, error_if_nonfinite=False
        )
        assert norm is not None
        return float(norm)

    def _share(self, value: Tensor) -> Tensor:
        if not value.ndim:
            return value
        size = self._schedule.batch // self._fabric.world_size
        first = self._fabric.global_rank * size
        return value[first : first + size]

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Update the running mean of the weights."""
        decay = min(_MEAN_DECAY, (1.0 + step) / (10.0 + step))
        for name, value in self._network.state_dict().items():
            if value.is_floating_point() and name in self._followed:
                self._mean[name].lerp_(value, 1.0 - decay)
            else:
                self._mean[name].copy_(value)

    def agreed(self, loss: float, stop: bool) -> tuple[float, bool]:
        """Return the mean loss, and whether any device is to stop."""
        if self._fabric.world_size == 1:
            return loss, stop
        both = self._fabric.to_device(torch.tensor([loss, float(stop)], dtype=torch.float64))
        mean: Any = self._fabric.all_reduce(both, reduce_op="mean")
        return float(mean[0]), float(mean[1]) > 0.0

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the figures of the mean weights, equal on all devices."""
        figures: dict[str, float] = {}
        if self._fabric.is_global_zero:
            judged = copy.deepcopy(self._network)
            judged.load_state_dict(self._mean)
            figures = self._task.validate(judged.eval())
        return self._fabric.broadcast(figures)

    def advance(self, step: int, figures: dict[str, float]) -> None:
        """Count a step; save its weights if its figure is the best."""
        self.progress = replace(self.progress, step=step)
        figure = next(iter(figures.values()), -math.inf)
        if figure > self.progress.best:
            self.progress = replace(self.progress, best=figure, best_step=step)
            self.save(BEST)

    def save(self, name: str) -> None:
        """Write a checkpoint, in the first process only."""
        if self._fabric.is_global_zero:
            path = self._folder / name
            optimisers = [*self._optimisers.values()]
            save_checkpoint(path, self._network, self._mean, optimisers, self.progress)
