"""A picture of concealment: spectrograms and a close look at one gap.

One row for each way of playing the same stream. On the left a second or two of spectrogram, with
the lost packets marked above it; on the right the waveform around the loudest burst of that
stretch, the original behind it in grey. Needs matplotlib, and only this module knows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.spans import bursts_of
from plc.errors import AudioFileError, why
from plc.extras import needed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What the picture shows of the stream, and around the burst.
DETAIL_S = 1.4
_ZOOM_MARGIN_S = 0.012
_ZOOM_S = 0.06
# Fine enough for harmonics 50 Hz apart, short enough to show a packet of 20 ms.
_WINDOW_S = 0.024
_HOP_S = 0.002
_RANGE_DB = 70.0
_DPI = 100
_HIGHEST_HZ = 6000.0
_LOST_COLOUR = "#d1362f"
_PLAYED_COLOUR = "#1f5fa8"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossyClip:
    """A stream and its lost packets."""

    title: str
    original: NDArray[np.float32]
    """float32, shape (n,)."""
    lost: NDArray[np.bool_]
    """bool, shape (packets,)."""
    sample_rate: int
    packet_samples: int


def draw(path: Path, stream: LossyClip, played: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a PNG picture of a stream and its concealed versions.

    Parameters
    ----------
    path : Path, the picture; replaced if it exists
    stream : LossyClip, the original and its losses
    played : mapping from str to float32, shape (n,)
        Concealed versions, by the label of their row.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    AudioFileError
        If ``path`` cannot be written.
    """
    figure = blank_figure(13.0, 1.0 + 2.0 * (len(played) + 1))
    start, stop = detail(
        stream.lost, stream.packet_samples, stream.sample_rate, len(stream.original)
    )
    gap = loudest_gap(stream, start, stop)
    rows = {"original": stream.original, **played}
    axes = figure.subplots(len(rows), 2, width_ratios=[2.3, 1.0], squeeze=False)
    loudest_db = float(_levels_db(stream.original[start:stop], stream.sample_rate).max())
    image: Any = None
    for (label, signal), (left, right) in zip(rows.items(), axes, strict=True):
        image = _draw_spectrogram(left, stream, signal, (start, stop), loudest_db)
        _draw_waveform(right, stream, signal, gap)
        left.set_title(label, loc="left", fontweight="bold")
    for column, label in ((0, "time (s)"), (1, "time (ms)")):
        axes[-1][column].set_xlabel(label)
    axes[0][1].set_title("around one gap", loc="left")
    figure.colorbar(image, ax=axes[:, 0], label="level (dB)", pad=0.015, aspect=45)
    figure.suptitle(stream.title, fontsize="x-large")
    save(figure, path)


def detail(
    lost: NDArray[np.bool_], packet_samples: int, sample_rate: int, samples: int
) -> tuple[int, int]:
    """Return the part of :data:`DETAIL_S` with the most bursts: start and stop, in samples."""
    packets = min(lost.size, max(1, round(DETAIL_S * sample_rate / packet_samples)))
    onsets = np.diff(lost, prepend=False) & lost
    before = np.concatenate([[0], np.cumsum(onsets)])
    counts = before[packets:] - before[:-packets]
    start = int(counts.argmax()) * packet_samples
    return start, min(start + packets * packet_samples, samples)


def loudest_gap(stream: LossyClip, start: int, stop: int) -> tuple[int, int]:
    """Return the gap between two samples where the original is loudest."""
    gaps = bursts_of(stream.lost) * stream.packet_samples
    inside = gaps[(gaps[:, 0] >= start) & (gaps[:, 1] <= stop)]
    if not len(inside):
        return start, min(start + stream.packet_samples, stop)
    energies = [float(np.mean(stream.original[a:b] ** 2)) for a, b in inside]
    first, last = inside[int(np.argmax(energies))]
    return int(first), int(last)


def _near(stream: LossyClip, gap: tuple[int, int]) -> tuple[int, int]:
    margin = round(_ZOOM_MARGIN_S * stream.sample_rate)
    first = max(0, gap[0] - margin)
    length = round(_ZOOM_S * stream.sample_rate)
    return first, min(len(stream.original), gap[1] + margin, first + length)


def _draw_spectrogram(
    axes: "Axes",
    stream: LossyClip,
    signal: NDArray[np.float32],
    span: tuple[int, int],
    loudest_db: float,
) -> Any:
    start, stop = (position / stream.sample_rate for position in span)
    highest_khz = min(stream.sample_rate / 2, _HIGHEST_HZ) / 1000
    image = axes.imshow(
        _levels_db(signal[span[0] : span[1]], stream.sample_rate) - loudest_db,
        origin="lower",
        aspect="auto",
        extent=(start, stop, 0.0, stream.sample_rate / 2000),
        cmap="magma",
        vmin=-_RANGE_DB,
        vmax=0.0,
        interpolation="bilinear",
    )
    axes.set_xlim(start, stop)
    axes.set_ylim(0.0, highest_khz)
    axes.set_ylabel("frequency (kHz)")
    packet_s = stream.packet_samples / stream.sample_rate
    edges_s = bursts_of(stream.lost) * packet_s
    marks = [(float(first), float(last - first)) for first, last in edges_s]
    axes.broken_barh(
        [(a, width) for a, width in marks if a < stop and a + width > start],
        (0.955 * highest_khz, 0.045 * highest_khz),
        color=_LOST_COLOUR,
    )
    return image


def _draw_waveform(
    axes: "Axes", stream: LossyClip, signal: NDArray[np.float32], gap: tuple[int, int]
) -> None:
    first, last = _near(stream, gap)
    time_ms = (np.arange(first, last) - gap[0]) * 1000 / stream.sample_rate
    axes.axvspan(0.0, (gap[1] - gap[0]) * 1000 / stream.sample_rate, color=_LOST_COLOUR, alpha=0.1)
    axes.plot(time_ms, stream.original[first:last], color="0.6", linewidth=2.2)
    if signal is not stream.original:
        axes.plot(time_ms, signal[first:last], color=_PLAYED_COLOUR, linewidth=1.1)
    axes.set_xlim(time_ms[0], time_ms[-1])
    both = np.abs([stream.original[first:last], signal[first:last]])
    peak = 1.25 * float(both.max()) or 1.0
    axes.set_ylim(-peak, peak)
    axes.set_yticks([])


def _levels_db(signal: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return the spectrogram of a signal in dB, shape (bins, frames)."""
    window_samples = 2 * round(_WINDOW_S * sample_rate / 2)
    hop = max(1, round(_HOP_S * sample_rate))
    padded = np.pad(signal, window_samples // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_samples)[::hop]
    spectra = np.abs(np.fft.rfft(frames * np.hanning(window_samples), axis=1))
    levels: NDArray[np.float64] = 20 * np.log10(spectra.T + 1e-9)
    return levels


def blank_figure(width: float, height: float) -> Any:
    """Return an empty figure of a size in inches, without a window.

    Raises
    ------
    MissingExtraError
        If matplotlib is missing.
    """
    with needed("the picture needs matplotlib", "plots"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    # No pyplot: it would choose a window system and keep every figure.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG; raise AudioFileError if that fails."""
    try:
        figure.savefig(path, dpi=_DPI, format="png")
    except OSError as error:
        raise AudioFileError(f"cannot write {path}: {why(error)}") from error
