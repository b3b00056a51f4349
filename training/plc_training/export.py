"""A run's best weights as a model: ONNX file and manifest, proved before they stand there.

Proved on validation segments that the run kept: the graph in ONNX Runtime says what the network in
torch says, for one segment and for many and, where the frames are free, for more of them; the
figure that training was judged by comes out the same end to end, though the weights are rounded to
half precision; and the engine opens it.
"""

import copy
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plc import __version__
from plc.errors import ModelError
from plc.models.manifest import FORMAT, Manifest
from plc.networks.paper import CONTEXT_FRAMES, GAP_FRAMES, GAP_SAMPLES, WINDOW_SAMPLES
from plc.runtime.bound import BoundSession
from plc.runtime.network import NetworkShape, network_signature, open_network
from plc.runtime.providers import Signature
from plc.runtime.session import open_session
from plc_kernels.phase.windows import grid_window_samples
from plc_training.data.segments import BridgePlan, CausalPlan, Segments, TwoSidedPlan
from plc_training.networks.onnx_graph import OPSET, round_weights, to_onnx
from plc_training.tasks.bridge import BridgeSettings
from plc_training.tasks.causal import CausalSettings
from plc_training.tasks.heard_plan import HeardPlan
from plc_training.train.checkpoint import Progress, load_mean
from plc_training.train.journal import read_log
from plc_training.train.loop import BEST, Task
from plc_training.train.recipe import PaperSettings, Recipe
from plc_training.train.run import build_task, read_run

PARITY = 1e-4
"""How far the two may be apart, as a share of a segment's largest output."""
# The two round differently; a figure in dB or percent may move by this much.
FIGURE_PARITY = 0.01
_TIMED_RUNS = 40
_MORE_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how it was proved.

    Attributes
    ----------
    manifest : Manifest
        Read back from its file.
    parity : float
        Largest difference between torch and ONNX Runtime, relative to a segment's largest output.
    figures : dict
        Figures of the probe: name to torch's and ONNX Runtime's.
    run_ms : float
        Median of a run of one segment, one thread.
    free_frames : bool
        Whether any number of frames will do.
    """

    manifest: Manifest
    parity: float
    figures: dict[str, tuple[float, float]]
    run_ms: float
    free_frames: bool


def export_run(
    folder: Path, out: Path, name: str | None = None, figures: Mapping[str, float] | None = None
) -> Exported:
    """Write ``NAME.onnx`` and ``NAME.json`` of a run's best weights.

    Parameters
    ----------
    folder : Path
        Of the run.
    out : Path
        Folder to write to; made where it is missing. What stood there is replaced only by a model
        that was proved.
    name : str, optional
        Of the model; by default the recipe's.
    figures : mapping, optional
        More figures for the manifest, such as those of a test split.

    Raises
    ------
    ConfigError
        If the folder holds no run.
    ModelError
        If the graph and the network differ, or the engine refuses the model.
    """
    torch.set_flush_denormal(True)
    recipe, facts, probe = read_run(folder)
    task = build_task(recipe, probe, probe)
    network = task.make_network()
    progress = load_mean(folder / BEST, network)
    network.eval()
    trained = copy.deepcopy(network)
    round_weights(network, recipe.model.weight_bits)
    batch = probe_batch(task, probe)
    with torch.no_grad():
        inputs = task.inputs(batch)
    ports = _ports(recipe)
    data = to_onnx(network, dict(zip(ports.inputs, inputs, strict=True)), ports.axes, ports.output)
    manifest = _manifest(recipe, facts, progress, network, data, name, figures, folder)
    with tempfile.TemporaryDirectory() as scratch:
        path = _write(manifest, data, Path(scratch))
        exported = _prove(Manifest.read(path), recipe, task, network, trained, inputs)
        out.mkdir(parents=True, exist_ok=True)
        for each in (path.with_suffix(".onnx"), path):
            shutil.copyfile(each, out / each.name)
    return Exported(
        Manifest.read(out / path.name),
        exported.parity,
        exported.figures,
        exported.run_ms,
        exported.free_frames,
    )


class OnnxNetwork(nn.Module):
    """A model's sessions behind the face of its network, for a task to validate."""

    def __init__(self, sessions: Sequence[BoundSession]) -> None:
        super().__init__()
        self._sessions = sessions
        # Tasks look at a network's parameters for where it runs.
        self.register_parameter("place", nn.Parameter(torch.zeros(1)))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the output of the signature that the inputs fit; without one, of each alone."""
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


@dataclass(frozen=True, slots=True)
class _Ports:
    """Names of a graph's inputs and output, and which axes of the inputs are free."""

    inputs: tuple[str, ...]
    output: str
    axes: dict[str, dict[int, str]]


def _ports(recipe: Recipe) -> _Ports:
    if isinstance(recipe.settings, PaperSettings):
        return _Ports(("context",), "gap", {"context": {0: "batch"}})
    axes = {"spectra": {0: "batch", 4: "frames"}, "lost": {0: "batch", 1: "frames"}}
    return _Ports(("spectra", "lost"), "filled", axes)


def probe_batch(task: Task, probe: Segments) -> dict[str, Tensor]:
    """Return one batch of real segments, drawn from those of the task."""
    # An axis of one is no free axis to the exporter.
    return task.batch(max(2, probe.gaps.size), np.random.default_rng(0))


def _manifest(
    recipe: Recipe,
    facts: dict[str, Any],
    progress: Progress,
    network: nn.Module,
    data: bytes,
    name: str | None,
    figures: Mapping[str, float] | None,
    folder: Path,
) -> Manifest:
    values = dict(
        format=FORMAT,
        name=name or recipe.model.name,
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
            "settings": asdict(recipe.settings),
        },
        figures={**_valid_figures(folder, progress.best_step), **(figures or {})},
        created_by=f"plc {__version__}",
        **_grid(recipe),
    )
    return Manifest.from_fields(values)


def _valid_figures(folder: Path, step: int) -> dict[str, float]:
    """Return what was measured when the weights were kept, named by its split."""
    lines = [line for line in read_log(folder) if line["step"] == step]
    figures = lines[-1] if lines else {}
    return {
        f"valid {name}": round(value, 4)
        for name, value in figures.items()
        if name not in ("step", "loss") and np.isfinite(value)
    }


def _grid(recipe: Recipe) -> dict[str, Any]:
    """Return the manifest's fields about kind, grid, drafts and gaps."""
    plan, settings = recipe.train, recipe.settings
    if isinstance(plan, HeardPlan):
        plan = plan.bursts
    rate = plan.sample_rate
    rates = recipe.model.sample_rates or (rate, rate)
    common = {"sample_rates": rates, "drafts": plan.lines[1:]}
    if isinstance(settings, PaperSettings):
        return common | {
            "kind": "paper",
            "bin_hz": rate / WINDOW_SAMPLES,
            "top_hz": None,
            "context_frames": CONTEXT_FRAMES,
            "context_frames_after": CONTEXT_FRAMES,
            "horizon_ms": 1000.0 * GAP_SAMPLES / rate,
        }
    hop = grid_window_samples(rate, settings.bin_hz) // 4
    # The networks take as many bins as their own rate has, whatever the rate.
    grid = common | {
        "bin_hz": settings.bin_hz,
        "top_hz": 2 * hop * settings.bin_hz,
        "context_frames": settings.context_frames,
    }
    if isinstance(plan, TwoSidedPlan):
        return grid | {
            "kind": "inpaint",
            "context_frames_after": settings.context_frames,
            "horizon_ms": 1000.0 * plan.longest / rate,
        }
    if isinstance(settings, BridgeSettings):
        assert isinstance(plan, BridgePlan)
        return grid | {
            "kind": "bridge",
            "context_frames_after": settings.context_frames_after,
            "horizon_ms": 1000.0 * plan.horizon / rate,
        }
    assert isinstance(plan, CausalPlan)
    assert isinstance(settings, CausalSettings)
    # The last three frames are needed to complete those before them.
    hops = min(settings.horizon_frames + 3, plan.horizon // hop) - 3
    horizon_ms = 1000.0 * hops * hop / rate
    return grid | {
        "kind": "causal",
        "context_frames_after": 0,
        "horizon_ms": min(recipe.model.horizon_ms or horizon_ms, horizon_ms),
    }


def _write(manifest: Manifest, data: bytes, folder: Path) -> Path:
    path = folder / f"{manifest.name}.json"
    path.with_suffix(".onnx").write_bytes(data)
    manifest.write(path)
    return path


def _prove(
    manifest: Manifest,
    recipe: Recipe,
    task: Task,
    network: nn.Module,
    trained: nn.Module,
    inputs: tuple[Tensor, ...],
) -> Exported:
    """Compare the model with the network that it was made of, and its figure with training's."""
    sets = [tuple(tensor[:1] for tensor in inputs), inputs]
    if manifest.kind != "paper":
        sets.append(tuple(_longer(tensor[:2]) for tensor in inputs))
    try:
        sessions = _cpu_sessions(manifest, recipe, sets)
        free_frames = manifest.kind != "paper"
    except ModelError:
        if manifest.kind == "paper":
            raise
        sessions = _cpu_sessions(manifest, recipe, sets[:2])
        sets, free_frames = sets[:2], False
    judged = OnnxNetwork(sessions)
    with torch.no_grad():
        parity = max(_difference(network(*each), judged(*each)) for each in sets)
        figures = _figures(task, trained, judged)
    _refuse_difference(manifest, parity, figures)
    run_ms = _session_ms(sessions[0]) if manifest.kind == "paper" else _network_ms(manifest, inputs)
    return Exported(manifest, parity, figures, run_ms, free_frames)


def _cpu_sessions(
    manifest: Manifest, recipe: Recipe, sets: list[tuple[Tensor, ...]]
) -> list[BoundSession]:
    signatures = [_signature(manifest, recipe, each) for each in sets]
    return [open_session(manifest, signature, providers="cpu") for signature in signatures]


def _longer(tensor: Tensor) -> Tensor:
    """Return an input with a few of its frames once more, where its last axis is the frames."""
    return torch.cat([tensor, tensor[..., -_MORE_FRAMES:]], dim=-1)


def _signature(manifest: Manifest, recipe: Recipe, inputs: tuple[Tensor, ...]) -> Signature:
    shape = tuple(inputs[0].shape)
    if manifest.kind != "paper":
        return network_signature(manifest, NetworkShape(shape[3], shape[4], shape[0]))
    parts = (2,) if recipe.task.kind == "paper_complex" else ()
    gap = (shape[0], *parts, WINDOW_SAMPLES // 2 + 1, GAP_FRAMES)
    return Signature((("context", shape),), ("gap", gap))


def _difference(expected: Tensor, found: Tensor) -> float:
    """Return the largest error of any segment, relative to its largest output."""
    error = (expected - found).flatten(1).abs().amax(1)
    return float((error / expected.flatten(1).abs().amax(1).clamp_min(1e-12)).max())


def _figures(task: Task, network: nn.Module, judged: nn.Module) -> dict[str, tuple[float, float]]:
    ours, theirs = task.validate(network), task.validate(judged)
    return {name: (value, theirs[name]) for name, value in ours.items()}


def _refuse_difference(
    manifest: Manifest, parity: float, figures: dict[str, tuple[float, float]]
) -> None:
    if not parity <= PARITY:
        raise ModelError(
            f"{manifest.name}: ONNX Runtime's output differs from torch's by {parity:.2g} of the "
            f"largest; expected at most {PARITY:g}; nothing was written"
        )
    name, (ours, theirs) = next(iter(figures.items()))
    if not abs(ours - theirs) <= FIGURE_PARITY:
        raise ModelError(
            f"{manifest.name}: {name} is {theirs:.3f} in ONNX Runtime and {ours:.3f} in torch; "
            "nothing was written"
        )


def _network_ms(manifest: Manifest, inputs: tuple[Tensor, ...]) -> float:
    """Return the time of a segment as the engine runs it."""
    rate = manifest.sample_rates[1]
    bins, frames = manifest.bins(rate), manifest.frames(rate)
    # A stream may ask for fewer than were trained.
    spectra, lost = (tensor[:1, ..., :frames].contiguous().numpy() for tensor in inputs)
    assert spectra.shape[3:] == (bins, frames), "the manifest says another shape than was trained"
    filled = frames - manifest.context_frames - manifest.context_frames_after
    out = np.zeros((1, 2, bins, filled), np.float32)
    network = open_network(manifest, NetworkShape(bins, frames), providers="cpu")
    run_ms = _median_ms(lambda: network.run(spectra, lost, out))
    if network.failed:
        raise ModelError(f"{manifest.name}: the engine refuses its output: {network.last_error}")
    return run_ms


def _session_ms(session: BoundSession) -> float:
    return _median_ms(session.run)


def _median_ms(run: Callable[[], object]) -> float:
    times_s = []
    for _ in range(_TIMED_RUNS):
        began = time.perf_counter()
        run()
        times_s.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times_s))
