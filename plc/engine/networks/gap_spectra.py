"""Spectra of a gap for a network, and samples from its answer.

A gap reaches the network as several rows, each with another draft in the gap and alike where the
signal is known (but for passages of the past, which have a past of their own). Frames of four hops
stand at multiples of the hop from the gap's first sample::

    row         |<- context ->|<--- gap --->|<- context ->|     (a causal model has none after)
    frames   [-----]                                            context: the network sees them
               ...     [-----]                                  the first that touches the gap
                                   ...   [-----]                the last
                             ... those are what it returns

What it returns is overlapped and added, and blended into the last draft at the edges, which runs
into its neighbours without a step.
"""

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.runtime.onnx_network import NetworkShape
from plc.errors import ConfigError
from plc_kernels.spectra.fft import MOST_FACTORS, twiddle_count
from plc_kernels.spectra.gap import (
    EDGE_MS,
    INSIDE,
    OVERLAP,
    Grid,
    analyse_rows,
    mark_gap,
    open_grid,
    synthesise_gap,
)
from plc_kernels.spectra.windows import grid_window_samples


class GapSpectra:
    """Memory and tables for the gaps of one model.

    The frames are always those of the longest gap, as in training: after a shorter one more is
    known.

    The manifest is of the model: its grid, drafts and contexts; rate and channels are the signal's.

    Raises
    ------
    ConfigError
        If the model is not for this sample rate.
    """

    def __init__(self, manifest: Manifest, sample_rate: int, channels: int) -> None:
        low, high = manifest.sample_rates
        if not low <= sample_rate <= high:
            raise ConfigError(
                f"model {manifest.name} is for {low} to {high} Hz, the stream has {sample_rate} Hz"
            )
        size = grid_window_samples(sample_rate, manifest.bin_hz)
        self._grid = make_grid(size)
        self._context = manifest.context_frames
        self.horizon = manifest.horizon_samples(sample_rate)
        frames = manifest.frames(sample_rate)
        touching = frames - manifest.context_frames - manifest.context_frames_after
        hop = size // OVERLAP
        self.gap_start = (manifest.context_frames + INSIDE) * hop
        samples = (frames - 1) * hop + size
        drafts = len(manifest.drafts)
        bins = manifest.bins(sample_rate)
        self.lines = np.zeros((channels * drafts, samples), np.float32)
        """Shape (channels * drafts, samples), the same memory, for kernels."""
        self.rows = self.lines.reshape(channels, drafts, samples)
        """Shape (channels, drafts, samples), to be filled in by the caller; the gap begins at
        :attr:`gap_start`, and zeros stand for what is not known."""
        self._by_row = np.zeros((channels * drafts, 2, bins, frames), np.float32)
        self.spectra = self._by_row.reshape(channels, drafts, 2, bins, frames)
        self.filled = np.zeros((channels, 2, bins, touching), np.float32)
        """What the network takes and gives, as
        :meth:`plc.engine.runtime.onnx_network.GapNetwork.run` has it."""
        self.lost = np.zeros((channels, frames), np.float32)
        self.shape = NetworkShape(bins=bins, frames=frames, batch=channels)
        self._edge = EDGE_MS * sample_rate / 1000.0
        self._two_sided = manifest.context_frames_after > 0
        self._ramp = np.zeros(self.horizon, np.float32)
        self._line = np.zeros(self.horizon, np.float32)
        self.made = np.zeros((channels, self.horizon), np.float32)
        """Shape (channels, horizon), what :meth:`synthesise` wrote last."""
        self.set_gap(self.horizon)

    @property
    def samples(self) -> int:
        """Samples of a row."""
        return self.lines.shape[1]

    def set_gap(self, gap_samples: int) -> None:
        """Say how long the gap is, at most :attr:`horizon`."""
        self.gap_samples = gap_samples
        mark_gap(
            self._grid.window.size,
            self.gap_start,
            gap_samples,
            self._edge,
            self._two_sided,
            self.lost,
            self._ramp,
        )

    def analyse(self) -> None:
        """Make the spectra of the rows."""
        analyse_rows(self._grid, self.lines, self._by_row)

    def synthesise(self) -> NDArray[np.float32]:
        """Return the gap's samples from the network's answer, shape (channels, gap_samples).

        A view of :attr:`made`, until the next call.
        """
        synthesise_gap(
            self._grid,
            self.lines,
            self._by_row,
            self._context,
            self.filled,
            self.gap_samples,
            self._ramp,
            self._line,
            self.made,
        )
        return self.made[:, : self.gap_samples]


def make_grid(size: int) -> Grid:
    """Return the tables and the scratch memory of frames of ``size`` samples."""
    window, dual, frame = np.zeros((3, size), np.float32)
    factors = np.zeros(MOST_FACTORS, np.int64)
    twiddles = np.zeros((2, twiddle_count(size)), np.float32)
    passes = open_grid(window, dual, factors, twiddles)
    return Grid(
        window=window,
        dual=dual,
        factors=factors[:passes].copy(),
        twiddles=twiddles,
        scratch=np.zeros((4, size // 2), np.float32),
        frame=frame,
        spectrum=np.zeros(size // 2 + 1, np.complex64),
    )
