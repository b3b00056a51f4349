"""Scores of a run of the task magnitude.

A clip is cut into patches as in the document, and of each the middle is filled by several methods:
linear interpolation of the columns, the network, and fills of the samples by :func:`plc.inpaint`,
whose magnitudes are then compared. Three things are measured in the stroke:

* the mean squared error of the normalised log-magnitudes, which the document reports;
* the SNR of the samples with the target's own phase given to every method, as in the document:
  it says how much the error of the magnitudes matters, not how a fill sounds;
* how sharp the fill is: the mean squared step from a bin to its neighbours, in frequency and time,
  over that of the truth. Means of what might have been are smoother than any of it.

Intervals are a bootstrap over works: a clip's name without its last number.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import plc
from plc.errors import ConfigError
from plc.papers.stroke import (
    BINS,
    FRAMES,
    HOP_SAMPLES,
    LOG_DEVIATION,
    LOG_MEAN,
    SAMPLE_RATE,
    WINDOW_SAMPLES,
)
from plc_bench.base.compare import paired_difference
from plc_bench.base.corpus import find_clips, read_clip
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import window
from plc_training.papers.damaged import centred, interpolated
from plc_training.papers.restorers import Restorer
from plc_training.papers.stroke import (
    COLUMN_MS,
    StrokeTask,
    batch_of,
    log_magnitudes,
    patch_samples,
    spoken_part,
    squared_steps,
)
from plc_training.train.run import open_best

METHODS = ("linear", "lpc", "auto", "network")
"""Linear prediction as in the papers, and the package's own method, fill samples."""
LENGTHS = (12, 24, 48)
"""Lost columns: 32, 64 and 128 ms."""
SCORES = ("mse", "snr_db", "sharpness", "variance")
# What fills of samples may look at, on either side of a patch.
_AROUND = 2 * SAMPLE_RATE
_PLAN = Stft.allocate(window("hann", WINDOW_SAMPLES), HOP_SAMPLES)


@dataclass(frozen=True, slots=True)
class Strokes:
    """Scores of strokes of one length.

    Attributes
    ----------
    columns : int, lost columns of each
    methods : tuple of str, of :data:`METHODS`
    works : tuple of str, work of each stroke
    scores : dict
        By name of :data:`SCORES`: float64, shape (methods, strokes).
    """

    columns: int
    methods: tuple[str, ...]
    works: tuple[str, ...]
    scores: dict[str, NDArray[np.float64]]

    def of(self, score: str, method: str) -> NDArray[np.float64]:
        """Return a method's scores, shape (strokes,)."""
        scores: NDArray[np.float64] = self.scores[score][self.methods.index(method)]
        return scores

    def mean(self, score: str, method: str) -> float:
        """Return the mean of a method's scores."""
        return float(self.of(score, method).mean())

    def shown(self, score: str, method: str, over: str | None = None) -> str:
        """Return a mean, or a mean difference, and its interval as text."""
        first = self.of(score, method)
        second = np.zeros_like(first) if over is None else self.of(score, over)
        found = paired_difference(
            first.tolist(), second.tolist(), lower_is_better=True, groups=self.works
        )
        form = ".3f" if over is None else "+.3f"
        return f"{found.mean:{form}} ({found.interval(form)})"


def open_inpainter(folder: Path) -> tuple[StrokeTask, Restorer]:
    """Return the task of a run, and its best network.

    Raises
    ------
    ConfigError
        If the folder holds no run of this task, or no best weights yet.
    """
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
    longest: int = FRAMES,
    most: int = 0,
) -> Strokes:
    """Return the scores of the strokes in clips.

    Parameters
    ----------
    task : StrokeTask, makes the network's inputs
    network : Restorer, ready to judge
    sources : sequence of Path
        Folders, audio files or manifests.
    columns : int
        Lost columns of a stroke.
    methods : tuple of str, of :data:`METHODS`
    longest : int
        Columns of the longest patch that any network sees around these strokes.
    most : int
        Strokes of a clip at most, evenly spread; 0: all, one in each 64 columns.

    Raises
    ------
    ConfigError
        If no clip is long enough for a patch.
    AudioFileError
        If a clip cannot be read.
    """
    works: list[str] = []
    found: dict[str, list[list[float]]] = {name: [] for name in SCORES}
    for path in find_clips(sources):
        x = spoken_part(read_clip(path, SAMPLE_RATE).signal.mean(axis=1, dtype=np.float32))
        starts = np.arange(0, x.size - patch_samples(longest) + 1, FRAMES * HOP_SAMPLES)
        if most and starts.size > most:
            starts = starts[np.arange(most) * starts.size // most]
        middle = (patch_samples(longest) - patch_samples(task.frames)) // 2
        for start in starts:
            row = _scores(task, network, x, int(start) + middle, columns, methods)
            for name, values in row.items():
                found[name].append(values)
            works.append(re.sub(r"_\d+$", "", path.stem))
    if not works:
        raise ConfigError(
            f"{' and '.join(map(str, sources))}: no clip has {longest * COLUMN_MS / 1000.0:.2f} s "
            "of speech; give longer clips"
        )
    return Strokes(
        columns,
        methods,
        tuple(works),
        {name: np.array(values).T for name, values in found.items()},
    )


def score_lengths(
    task: StrokeTask, network: Restorer, sources: Sequence[Path], most: int = 0
) -> list[str]:
    """Return tables of the scores of strokes of :data:`LENGTHS`, as :func:`score_strokes`."""
    lines = []
    for columns in LENGTHS:
        lines += table(score_strokes(task, network, sources, columns, most=most))
    return lines


def table(strokes: Strokes) -> list[str]:
    """Return a table of the methods' scores on strokes of one length."""
    lines = [
        f"strokes of {strokes.columns * COLUMN_MS:.0f} ms: {len(strokes.works)} of "
        f"{len(set(strokes.works))} works",
        f"{'':>8}  {'error (95 %)':>24}  {'over linear (95 %)':>27}  {'SNR':>6}  "
        f"{'sharpness':>9}  {'variance':>8}",
    ]
    for method in strokes.methods:
        over = strokes.shown("mse", method, "linear") if method != "linear" else ""
        lines.append(
            f"{method:>8}  {strokes.shown('mse', method):>24}  {over:>27}  "
            f"{strokes.mean('snr_db', method):>6.2f}  {strokes.mean('sharpness', method):>9.2f}  "
            f"{strokes.mean('variance', method):>8.2f}"
        )
    return lines


@torch.no_grad()
def _scores(
    task: StrokeTask,
    network: Restorer,
    x: NDArray[np.float32],
    start: int,
    columns: int,
    methods: tuple[str, ...],
) -> dict[str, list[float]]:
    """Return the scores of one stroke, a number for each method."""
    length = patch_samples(task.frames)
    samples = x[start : start + length]
    lost = centred(np.array([columns]), task.frames)
    batch = batch_of(samples[None], lost)
    stroke = np.flatnonzero(lost[0])
    truth = batch["truth"][0, 0].numpy()
    first = start + int(stroke[0]) * HOP_SAMPLES + (WINDOW_SAMPLES - HOP_SAMPLES) // 2
    gap = (first, first + columns * HOP_SAMPLES)
    fills = []
    for method in methods:
        if method == "linear":
            patch = interpolated(batch["truth"], batch["lost"])
        elif method == "network":
            patch = network(*task.inputs(batch))
        else:
            filled = _filled(x, gap, method)[start : start + length]
            patch = log_magnitudes(torch.from_numpy(filled)[None])
        fills.append(patch[0, 0].numpy())
    inside = slice(gap[0] - start, gap[1] - start)
    wanted = _signal(samples, truth, stroke)[inside]
    scores: dict[str, list[float]] = {name: [] for name in SCORES}
    for fill in fills:
        error = _signal(samples, fill, stroke)[inside] - wanted
        noise = max(float(error @ error), 1e-12)
        scores["mse"].append(float(np.square(fill - truth)[:, stroke].mean()))
        scores["snr_db"].append(10.0 * np.log10(max(float(wanted @ wanted), 1e-12) / noise))
        scores["sharpness"].append(_steps(fill, lost) / _steps(truth, lost))
        scores["variance"].append(float(fill[:, stroke].var() / truth[:, stroke].var()))
    return scores


def _filled(x: NDArray[np.float32], gap: tuple[int, int], method: str) -> NDArray[np.float32]:
    """Return a clip with its gap filled from its surroundings."""
    low = max(0, gap[0] - _AROUND)
    around = x[low : gap[1] + _AROUND]
    filled = x.copy()
    filled[low : gap[1] + _AROUND] = plc.inpaint(
        around, [(gap[0] - low, gap[1] - low)], sample_rate=SAMPLE_RATE, method=method
    )
    return filled


def _signal(
    samples: NDArray[np.float32], patch: NDArray[np.float32], stroke: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return samples with a patch's magnitudes in the stroke.

    Bins above the patch are 0 in all columns.
    """
    spectra = spectra_of(np.ascontiguousarray(samples), _PLAN)
    spectra[:, BINS:] = 0.0
    columns = spectra[1:]  # the first begins a hop before the samples
    scale = np.exp(patch[:, stroke].T * LOG_DEVIATION + LOG_MEAN) / 32768.0 * HOP_SAMPLES
    columns[stroke, :BINS] = scale * np.exp(1j * np.angle(columns[stroke, :BINS]))
    return signal_of(spectra, samples.size, _PLAN)


def _steps(patch: NDArray[np.float32], lost: NDArray[np.bool_]) -> float:
    """Return the squared steps in the stroke of one patch."""
    return float(squared_steps(torch.from_numpy(patch)[None, None], torch.from_numpy(lost)))
