"""Sound written as arrays and read back: ``plc bench papers representations CLIPS``.

Each representation (:mod:`plc.papers.representations`) of the middle of each clip is inverted. The
scores are the SNR of the samples, which means nothing where phases are made, and the *spectral
convergence*, the error of magnitudes on a grid that is none of theirs (Hann windows of 32 ms every
8 ms): ``20 log10(|| |STFT(y)| - |STFT(x)| || / || |STFT(x)| ||)``. Times are of the processor,
after a first call that compiles.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from plc.files.pages.picture import blank_figure, save
from plc.notice import counted
from plc.papers.representations.named import REPRESENTATIONS, representation
from plc_bench.base.compare import column, mean_interval, summarise
from plc_bench.base.corpus import Clip, Samples, middle_of, read_clip
from plc_bench.base.tables import Table
from plc_bench.scores.metrics import snr_db
from plc_kernels.spectra.offline import spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import grid_window_samples, window

# The grid of the convergence: bins 31.25 Hz apart are windows of 32 ms.
_JUDGE_HZ = 31.25
# float32 itself is good for 150 dB; above that an error is counted as this.
_MOST_DB = 150.0
# Of every clip: its rate in Hz, and the length that is taken of its middle.
SAMPLE_RATE, SECONDS = 16_000, 4.0
PICTURE_S = 1.0
_WARM_SAMPLES = 2048
_PANEL_INCHES = (9.5, 6.6)
# dB below the loudest coefficient of the picture: black, and without a phase.
_DARKEST, _FAINTEST = -70.0, -50.0


@dataclass(frozen=True, slots=True)
class InversionScore:
    """One representation of one clip.

    Attributes
    ----------
    numbers : float
        Numbers of the array for each sample of the signal.
    snr_db, convergence_db : float
        Of the inverse; higher and lower are better.
    forward_ms, inverse_ms : float
        Processor time for each second of sound.
    """

    clip: str
    domain: str
    representation: str
    numbers: float
    snr_db: float
    convergence_db: float
    forward_ms: float
    inverse_ms: float


def score_clip(clip: Clip) -> list[InversionScore]:
    """Score the middle of a clip in every representation, its channels mixed to one."""
    x, _ = middle_of(clip.path, SAMPLE_RATE, SECONDS)
    judge = _judge(SAMPLE_RATE)
    wanted = np.abs(spectra_of(x, judge))
    scores = []
    for name in REPRESENTATIONS:
        _warm(name, SAMPLE_RATE)
        kind = representation(name, SAMPLE_RATE, x.size)
        began = time.process_time()
        array = kind.forward(x)
        between = time.process_time()
        back = kind.inverse(array)
        ended = time.process_time()
        error = np.abs(spectra_of(back, judge)) - wanted
        per_second = 1000.0 * SAMPLE_RATE / x.size
        scores.append(
            InversionScore(
                clip.path.name,
                clip.domain,
                name,
                math.prod(kind.shape) / x.size,
                min(_MOST_DB, snr_db(x, back)),
                max(-_MOST_DB, -snr_db(wanted, wanted - error)),
                per_second * (between - began),
                per_second * (ended - between),
            )
        )
    return scores


def result_tables(scores: Sequence[InversionScore]) -> list[Table]:
    """Return a table of scores for each domain, and one of sizes."""
    tables = []
    for domain in dict.fromkeys(score.domain for score in scores):
        of = {"representation": REPRESENTATIONS[0], "domain": domain}
        clips = counted(len(column(scores, "snr_db", **of)), "clip")
        heads = ("representation", "SNR", "interval", "convergence", "interval")
        title = f"{domain}: {clips}, {SECONDS:g} s each; dB, 95 % interval"
        table = Table(title, heads)
        for name in REPRESENTATIONS:
            cells = []
            for field in ("snr_db", "convergence_db"):
                values = column(scores, field, representation=name, domain=domain)
                mean = mean_interval(values)
                cells += [f"{mean.mean:.1f}", mean.interval(".1f")]
            table.add(name, *cells)
        tables.append(table)
    columns = ("numbers a sample", "forward, ms a second", "inverse, ms a second")
    title = f"size and processor time, {SAMPLE_RATE} Hz"
    sizes = Table(title, ("representation", *columns))
    for name in REPRESENTATIONS:
        means = [
            summarise(column(scores, field, representation=name)).mean
            for field in ("numbers", "forward_ms", "inverse_ms")
        ]
        sizes.add(name, *(f"{mean:.2f}" for mean in means))
    return [*tables, sizes]


def draw_first(path: Path, clip: Clip) -> None:
    """Draw the first second of a clip in all representations (PNG)."""
    mono = read_clip(clip.path, SAMPLE_RATE).signal.mean(axis=1)
    note = np.ascontiguousarray(mono[: round(PICTURE_S * SAMPLE_RATE)])
    draw_representations(path, note, SAMPLE_RATE, clip.path.stem)


def draw_representations(path: Path, x: Samples, sample_rate: int, title: str) -> None:
    """Write a PNG picture of a signal, float32, shape (n,), in all representations."""
    figure = blank_figure(*_PANEL_INCHES)
    figure.suptitle(title)
    cells = figure.subfigures(3, 3).ravel()
    seconds = x.size / sample_rate
    for cell, name in zip(cells, REPRESENTATIONS, strict=True):
        kind = representation(name, sample_rate, x.size)
        array = kind.forward(x)
        if kind.channels[0] == "log magnitude":  # phases of nothing are noise
            faint = array[0] < array[0].max() + _FAINTEST / 20.0 * math.log(10.0)
            array[1][faint] = np.nan
        cell.suptitle(f"{name}, {kind.shape[1]} by {kind.shape[2]}", fontsize="medium")
        for axes, channel, what in zip(
            cell.subplots(1, array.shape[0], squeeze=False)[0], array, kind.channels, strict=True
        ):
            _panel(axes, channel, what, seconds)
            axes.set_title(what, fontsize="x-small")
            axes.tick_params(labelsize="xx-small")
    save(figure, path)


def _panel(axes: Any, channel: Samples, what: str, seconds: float) -> None:
    """Draw one channel of an array: a line if it has one row."""
    if channel.shape[0] == 1:
        axes.plot(np.linspace(0, seconds, channel.shape[1]), channel[0], linewidth=0.4)
        return
    place = {"origin": "lower", "aspect": "auto", "interpolation": "nearest"}
    extent = (0.0, seconds, 0, channel.shape[0])
    if what.startswith("log"):
        decades = 10.0 if "power" in what else 20.0
        top = float(channel.max())
        low = top + _DARKEST / decades * math.log(10.0)
        axes.imshow(channel, vmin=low, vmax=top, extent=extent, cmap="magma", **place)
        return
    reach = 1.0 if "half turns" in what else float(np.quantile(np.abs(channel), 0.99))
    colours = "twilight" if "half turns" in what else "RdBu"
    axes.imshow(channel, vmin=-reach, vmax=reach, extent=extent, cmap=colours, **place)


@cache
def _judge(sample_rate: int) -> Stft:
    length = grid_window_samples(sample_rate, _JUDGE_HZ)
    return Stft.allocate(window("hann", length), length // 4)


@cache
def _warm(name: str, sample_rate: int) -> None:
    """Compile the kernels of a representation, once in a process."""
    kind = representation(name, sample_rate, _WARM_SAMPLES)
    tone = np.sin(np.arange(_WARM_SAMPLES, dtype=np.float32) / 10)
    kind.inverse(kind.forward(tone))
