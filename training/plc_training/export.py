"""Export of a run's best weights as ONNX file and manifest.

Both are tested before they are written.

The tests use the run's validation segments. ONNX Runtime and torch agree for one segment, for a
batch and, where the graph takes any number of frames, for longer segments; the first validation
figure is equal, although the weights are rounded; and the engine opens the model.
"""

import copy
import hashlib
import shutil
import tempfile
import timeit
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import structs
from torch import Tensor, nn

from plc import __version__
from plc.engine.models.manifest import FORMAT, Manifest
from plc.engine.runtime.known import LISTED
from plc.engine.runtime.session import open_session
from plc.engine.runtime.shared import BoundSession
from plc.errors import ModelError
from plc_training.data.segments import Segments
from plc_training.networks.onnx_graph import OPSET, fold_norms, round_weights, to_onnx
from plc_training.tasks.base import Task
from plc_training.train.checkpoint import Progress, load_mean
from plc_training.train.journal import read_log
from plc_training.train.loop import BEST
from plc_training.train.recipe import Recipe
from plc_training.train.run import read_run

PARITY = 1e-4
"""Largest accepted difference, as a share of a segment's largest output."""
_TIMED_RUNS = 40
_MORE_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported model, and the results of its tests.

    Attributes
    ----------
    manifest : Manifest
        Read from the written file.
    parity : float
        Largest difference between torch and ONNX Runtime, relative to a segment's largest output.
    figures : dict
        Figures of the probe by name: torch's, ONNX Runtime's.
    run_ms : float
        Median time of one segment, on one thread.
    free_frames : bool
        Whether the graph takes any number of frames.
    """

    manifest: Manifest
    parity: float
    figures: dict[str, tuple[float, float]]
    run_ms: float
    free_frames: bool


def export_run(folder: Path, out: Path, figures: Mapping[str, float] | None = None) -> Exported:
    """Export a run's best weights as ``NAME.onnx`` and ``NAME.json``.

    Parameters
    ----------
    out : Path
        Folder to write to; created if missing. An earlier model is replaced only after the tests.
    figures : mapping, optional
        Additional figures for the manifest, such as those of a test split.

    Raises
    ------
    ConfigError
        If the folder holds no run.
    ModelError
        If no manifest can describe the network, the graph and the network differ, or the engine
        refuses the model.
    """
    torch.set_flush_denormal(True)
    recipe, facts, probe = read_run(folder)
    task = recipe.make_task(probe, probe)
    fields = task.model_fields(recipe.model)
    network = task.make_network()
    progress = load_mean(folder / BEST, network)
    network = task.exported(network.eval())
    trained = copy.deepcopy(network)
    fold_norms(network)
    by_kernels = fields["kind"] in LISTED
    round_weights(network, recipe.model.weight_bits, axes=1 if by_kernels else 2)
    batch = probe_batch(task, probe)
    with torch.no_grad():
        inputs = task.inputs(batch)
    ports = task.ports
    data = to_onnx(network, dict(zip(ports.inputs, inputs, strict=True)), ports.axes, ports.output)
    manifest = _manifest(recipe, fields, facts, progress, network, data, figures, folder)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{manifest.name}.json"
        path.with_suffix(".onnx").write_bytes(data)
        manifest.write(path)
        exported = _prove(Manifest.read(path), task, network, trained, inputs)
        out.mkdir(parents=True, exist_ok=True)
        for each in (path.with_suffix(".onnx"), path):
            shutil.copyfile(each, out / each.name)
    return replace(exported, manifest=Manifest.read(out / path.name))


class OnnxNetwork(nn.Module):
    """A model's sessions with the interface of its torch network."""

    def __init__(self, sessions: Sequence[BoundSession]) -> None:
        super().__init__()
        self._sessions = sessions
        # Tasks read the device from the parameters.
        self.register_parameter("place", nn.Parameter(torch.zeros(1)))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the output for the whole batch, or segment by segment."""
        arrays = [tensor.contiguous().numpy() for tensor in inputs]
        for session in self._sessions:
            if session.inputs[0].shape == arrays[0].shape:
                for to, array in zip(session.inputs, arrays, strict=True):
                    np.copyto(to, array)
                session.run()
                return torch.from_numpy(session.output.copy())
        assert len(inputs[0]) > 1, f"no signature for {arrays[0].shape}"
        each = zip(*(torch.split(tensor, 1) for tensor in inputs), strict=True)
        return torch.cat([self(*one) for one in each])


def probe_batch(task: Task, probe: Segments) -> dict[str, Tensor]:
    """Return one random batch of the probe's segments."""
    # The exporter fixes an axis of size 1.
    return task.batch(max(2, probe.gaps.size), np.random.default_rng(0))


def _manifest(
    recipe: Recipe,
    fields: dict[str, Any],
    facts: dict[str, Any],
    progress: Progress,
    network: nn.Module,
    data: bytes,
    figures: Mapping[str, float] | None,
    folder: Path,
) -> Manifest:
    values = dict(
        format=FORMAT,
        name=recipe.model.name,
        content=recipe.model.content,
        licence=recipe.model.licence,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        parameters=sum(weight.numel() for weight in network.parameters()),
        opset=OPSET,
        training={
            **facts,
            "step": progress.best_step,
            "plan": asdict(recipe.train),
            "settings": structs.asdict(recipe.settings),
        },
        figures={**_valid_figures(folder, progress.best_step), **(figures or {})},
        created_by=f"plc {__version__}",
        **fields,
    )
    return Manifest.from_fields(values)


def _valid_figures(folder: Path, step: int) -> dict[str, float]:
    """Return the validation figures of the exported step, prefixed ``valid``."""
    lines = [line for line in read_log(folder) if line["step"] == step]
    figures = lines[-1] if lines else {}
    return {
        f"valid {name}": round(value, 4)
        for name, value in figures.items()
        if name not in ("step", "loss") and np.isfinite(value)
    }


def _prove(
    manifest: Manifest,
    task: Task,
    network: nn.Module,
    trained: nn.Module,
    inputs: tuple[Tensor, ...],
) -> Exported:
    """Compare model and network by outputs and figures; measure the time."""
    fixed = [tuple(tensor[:1] for tensor in inputs), inputs]
    # Two segments, whose last frames are repeated.
    few = [tensor[:2] for tensor in inputs]
    free = [*fixed, tuple(torch.cat([each, each[..., -_MORE_FRAMES:]], dim=-1) for each in few)]
    sets = free if task.ports.free_frames else fixed
    try:
        sessions = _cpu_sessions(manifest, task, sets)
    except ModelError:
        if sets is fixed:
            raise
        sets = fixed
        sessions = _cpu_sessions(manifest, task, sets)
    judged = OnnxNetwork(sessions)
    with torch.no_grad():
        parity = max(_difference(network(*each), judged(*each)) for each in sets)
        ours, theirs = task.validate(trained), task.validate(judged)
    figures = {name: (value, theirs[name]) for name, value in ours.items()}
    _refuse_difference(manifest, parity, figures, task.figure_parity)
    run = task.engine_run(manifest, sessions[0], inputs)
    run_ms = 1e3 * float(np.median(timeit.repeat(run, number=1, repeat=_TIMED_RUNS)))
    return Exported(manifest, parity, figures, run_ms, sets is free)


def _cpu_sessions(
    manifest: Manifest, task: Task, sets: list[tuple[Tensor, ...]]
) -> list[BoundSession]:
    signatures = [task.signature(manifest, each) for each in sets]
    return [open_session(manifest, signature, providers="cpu") for signature in signatures]


def _difference(expected: Tensor, found: Tensor) -> float:
    """Return the largest error of the segments, relative to the output."""
    error = (expected - found).flatten(1).abs().amax(1)
    return float((error / expected.flatten(1).abs().amax(1).clamp_min(1e-12)).max())


def _refuse_difference(
    manifest: Manifest, parity: float, figures: dict[str, tuple[float, float]], figure_parity: float
) -> None:
    if not parity <= PARITY:
        raise ModelError(
            f"{manifest.name}: ONNX Runtime's output differs from torch's by {parity:.2g} of the "
            f"largest; expected at most {PARITY:g}; nothing was written"
        )
    name, (ours, theirs) = next(iter(figures.items()))
    if not abs(ours - theirs) <= figure_parity:
        raise ModelError(
            f"{manifest.name}: {name} is {theirs:.3f} in ONNX Runtime and {ours:.3f} in torch; "
            "nothing was written"
        )
