"""Scores of strokes in speech, of a run of the task stroke and of networks of several contexts.

A clip is cut into patches as in the document, and of each the middle is filled by several methods:
linear interpolation of the columns, the network, and fills of the samples by :func:`plc.inpaint`,
whose magnitudes are then compared. Three things are measured in the stroke:

* the mean squared error of the normalised log-magnitudes, which the document reports;
* the SNR of the samples with the target's own phase given to every method, as in the document:
  it says how much the error of the magnitudes matters, not how a fill sounds;
* how sharp the fill is: the mean squared step from a bin to its neighbours, in frequency and time,
  over that of the truth. Means of what might have been are smoother than any of it.

Contexts are compared as in the document [1]_: strokes of 32 to 256 ms in patches of 85 to 683 ms,
each pair of them that leaves twelve columns known. All networks see the same strokes, with more or
less around them.

References
----------
.. [1] github.com/iamhectorotero/generative-audio-inpainting: notebooks/6.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import plc
from plc.papers import stroke as paper
from plc_bench.base.corpus import read_clip
from plc_bench.base.pieces import Row, Scores, aligned, score_pieces, spread
from plc_bench.report.panels import Curve, Panel, draw_panels, line_style
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import window
from plc_training.papers.comparison import Asked, Comparison
from plc_training.papers.damaged import centred, interpolated
from plc_training.papers.restorers import Restorer
from plc_training.papers.stroke import (
    COLUMN_MS,
    StrokeTask,
    log_magnitudes,
    patch_samples,
    spoken_part,
    squared_steps,
)
from plc_training.train.journal import read_log
from plc_training.train.run import open_best

METHODS = ("linear", "lpc", "auto", "network")
"""Linear prediction as in the papers, and the package's own method, fill samples."""
LENGTHS = (12, 24, 48)
"""Lost columns: 32, 64 and 128 ms."""
# What fills of samples may look at, on either side of a patch.
_AROUND = 2 * paper.SAMPLE_RATE
_PLAN = Stft.allocate(window("hann", paper.WINDOW_SAMPLES), paper.HOP_SAMPLES)
# Columns of the patches of the pairs, and those of a step for each pair.
_PATCHES = (32, 64, 128, 256)
_LEAST_KNOWN = 12
_STEP_COLUMNS = 1024


def open_inpainter(folder: Path) -> tuple[StrokeTask, Restorer]:
    """Return the task of a run, and its best network, as :func:`open_best`."""
    task, network = open_best(folder, StrokeTask)
    restorer = task.exported(network)
    assert isinstance(restorer, Restorer)
    return task, restorer


def score_strokes(
    task: StrokeTask,
    network: Restorer,
    sources: Sequence[Path],
    columns: int,
    methods: tuple[str, ...] = METHODS,
    longest: int = paper.FRAMES,
    most: int = 0,
) -> Scores:
    """Return ``mse``, ``snr_db``, ``sharpness`` and ``variance`` of the strokes in clips.

    Parameters
    ----------
    sources : sequence of Path
        As :func:`~plc_bench.base.pieces.score_pieces` takes them.
    longest : int
        Columns of the longest patch that any network sees around these strokes.
    most : int
        Strokes of a clip at most, evenly spread; 0: all, one in each 64 columns.
    """

    def rows_of(path: Path) -> Iterator[Row]:
        x = spoken_part(read_clip(path, paper.SAMPLE_RATE).signal.mean(axis=1, dtype=np.float32))
        starts = np.arange(0, x.size - patch_samples(longest) + 1, paper.FRAMES * paper.HOP_SAMPLES)
        middle = (patch_samples(longest) - patch_samples(task.frames)) // 2
        for start in spread(starts, most):
            yield _row(task, network, x, int(start) + middle, columns, methods)

    seconds = f"{longest * COLUMN_MS / 1000.0:.2f} s of speech; give longer clips"
    return score_pieces(sources, rows_of, seconds)


def table(scores: Scores, columns: int) -> list[str]:
    """Return a table of the methods' scores on strokes of one length."""
    works = scores.groups
    heads = ("error (95 %)", "over linear (95 %)", "SNR", "sharpness", "variance")
    rows: list[Sequence[str]] = [("", *heads)]
    for method in scores.values["mse"]:
        over = scores.text("mse", method, "linear", "+.3f") if method != "linear" else ""
        means = [scores.mean(name, method) for name in ("snr_db", "sharpness", "variance")]
        error = scores.text("mse", method, form=".3f")
        rows.append((method, error, over, *(f"{mean:.2f}" for mean in means)))
    head = f"strokes of {columns * COLUMN_MS:.0f} ms: {len(works)} of {len(set(works))} works"
    return [head, *aligned(rows)]


@torch.no_grad()
def _row(
    task: StrokeTask,
    network: Restorer,
    x: NDArray[np.float32],
    start: int,
    columns: int,
    methods: tuple[str, ...],
) -> Row:
    length = patch_samples(task.frames)
    samples = x[start : start + length]
    lost = centred(np.array([columns]), task.frames)
    batch = task.batch_of(samples[None], lost)
    stroke = np.flatnonzero(lost[0])
    truth = batch["truth"][0, 0].numpy()
    first = (
        start + int(stroke[0]) * paper.HOP_SAMPLES + (paper.WINDOW_SAMPLES - paper.HOP_SAMPLES) // 2
    )
    gap = (first, first + columns * paper.HOP_SAMPLES)
    fills = {}
    for method in methods:
        if method == "linear":
            patch = interpolated(batch["truth"], batch["lost"])
        elif method == "network":
            patch = network(*task.inputs(batch))
        else:
            filled = _filled(x, gap, method)[start : start + length]
            patch = log_magnitudes(torch.from_numpy(filled)[None])
        fills[method] = patch[0, 0].numpy()
    inside = slice(gap[0] - start, gap[1] - start)
    wanted = _signal(samples, truth, stroke)[inside]
    row: dict[str, dict[str, float]] = {
        name: {} for name in ("mse", "snr_db", "sharpness", "variance")
    }
    for method, fill in fills.items():
        error = _signal(samples, fill, stroke)[inside] - wanted
        noise = max(float(error @ error), 1e-12)
        row["mse"][method] = float(np.square(fill - truth)[:, stroke].mean())
        row["snr_db"][method] = 10.0 * np.log10(max(float(wanted @ wanted), 1e-12) / noise)
        row["sharpness"][method] = _steps(fill, lost) / _steps(truth, lost)
        row["variance"][method] = float(fill[:, stroke].var() / truth[:, stroke].var())
    return row


def _filled(x: NDArray[np.float32], gap: tuple[int, int], method: str) -> NDArray[np.float32]:
    low = max(0, gap[0] - _AROUND)
    around = x[low : gap[1] + _AROUND]
    filled = x.copy()
    filled[low : gap[1] + _AROUND] = plc.inpaint(
        around, [(gap[0] - low, gap[1] - low)], sample_rate=paper.SAMPLE_RATE, method=method
    )
    return filled


def _signal(
    samples: NDArray[np.float32], patch: NDArray[np.float32], stroke: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return samples with a patch's magnitudes in the stroke.

    Bins above the patch are 0 in all columns.
    """
    spectra = spectra_of(np.ascontiguousarray(samples), _PLAN)
    spectra[:, paper.BINS :] = 0.0
    columns = spectra[1:]  # the first begins a hop before the samples
    scale = (
        np.exp(patch[:, stroke].T * paper.LOG_DEVIATION + paper.LOG_MEAN)
        / 32768.0
        * paper.HOP_SAMPLES
    )
    columns[stroke, : paper.BINS] = scale * np.exp(1j * np.angle(columns[stroke, : paper.BINS]))
    return signal_of(spectra, samples.size, _PLAN)


def _steps(patch: NDArray[np.float32], lost: NDArray[np.bool_]) -> float:
    return float(squared_steps(torch.from_numpy(patch)[None, None], torch.from_numpy(lost)))


class Pair(NamedTuple):
    """A gap, and the known columns around it."""

    columns: int
    frames: int
    """Of the patch."""

    @property
    def gap_ms(self) -> float:
        """Length of the stroke."""
        return self.columns * COLUMN_MS

    @property
    def context_ms(self) -> float:
        """Length of the known samples on either side."""
        return (self.frames - self.columns) / 2 * COLUMN_MS


PAIRS = {
    f"gap{columns * COLUMN_MS:.0f}-patch{frames * COLUMN_MS:.0f}": Pair(columns, frames)
    for columns in (12, 24, 48, 96)
    for frames in _PATCHES
    if columns <= frames - _LEAST_KNOWN
}
"""By the names of their networks."""


def _values(name: str, steps: int | None) -> Mapping[str, Any]:
    pair = PAIRS[name]
    values = {
        "settings.frames": pair.frames,
        "settings.columns": [pair.columns],
        "schedule.batch": _STEP_COLUMNS // pair.frames,
    }
    return values if steps is None else values | {"schedule.validate_every": max(1, steps // 5)}


def _tell_contexts(asked: Asked) -> Iterator[str]:
    rows: list[Sequence[str]] = [("gap", "context", "strokes", "linear", "network (95 %)")]
    found, curves = {}, {}
    for name in asked.names:
        pair, run = PAIRS[name], asked.place.folder / name
        task, network = open_inpainter(run)
        methods, most = ("linear", "network"), asked.count or 0
        scores = score_strokes(
            task, network, asked.unseen, pair.columns, methods, max(_PATCHES), most
        )
        found[pair] = scores
        curves[pair] = [(int(line["step"]), line["mse"]) for line in read_log(run)]
        lengths = [f"{each:.0f} ms" for each in (pair.gap_ms, pair.context_ms)]
        linear = f"{scores.mean('mse', 'linear'):.3f}"
        network_ = scores.text("mse", "network", form=".3f")
        rows.append((*lengths, str(len(scores.groups)), linear, network_))
    yield from aligned(rows)
    if asked.picture is not None:
        others = {}
        for run in asked.runs[:1]:
            score = partial(score_strokes, *open_inpainter(run), asked.unseen)
            others = {columns: score(columns) for columns in LENGTHS}
        _draw_pairs(asked.picture, found, curves, others)


CONTEXTS = Comparison(
    tell=_tell_contexts, names=tuple(PAIRS), recipe="stroke_context", values=_values
)
"""A small network of each pair of gap and context."""


def _draw_pairs(
    path: Path,
    scores: Mapping[Pair, Scores],
    curves: Mapping[Pair, Sequence[tuple[int, float]]],
    others: Mapping[int, Scores],
) -> None:
    """Draw errors over the gap, the context and the training; ``others`` are by their columns."""
    over_gap = [
        Curve(
            method,
            line_style(number),
            [columns * COLUMN_MS for columns in others],
            [each.mean("mse", method) for each in others.values()],
        )
        for number, method in enumerate(METHODS)
        if others
    ]
    over_context, training = [], []
    for number, gap_ms in enumerate(dict.fromkeys(pair.gap_ms for pair in scores)):
        shown = [pair for pair in scores if pair.gap_ms == gap_ms]
        style, name = line_style(len(METHODS) + number), f"gap of {gap_ms:.0f} ms"
        contexts = [pair.context_ms for pair in shown]
        errors = [scores[pair].mean("mse", "network") for pair in shown]
        over_context.append(Curve(name, style, contexts, errors))
        steps, losses = np.array(curves[shown[-1]]).T
        training.append(Curve(name, style, steps.tolist(), losses.tolist()))
    label = "error of log-magnitudes"
    panels = [
        Panel(over_gap, "length of the gap (ms)", label),
        Panel(over_context, "context on either side (ms)", label),
        Panel(training, "step, longest context", f"{label}, validation"),
    ]
    draw_panels(path, [panel for panel in panels if panel.curves])
