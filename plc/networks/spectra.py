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

from plc.errors import ConfigError
from plc.models.manifest import Manifest
from plc.runtime.network import NetworkShape
from plc_kernels.spectra.stft import Stft, analyse_frames, synthesise_frames
from plc_kernels.spectra.windows import grid_window_samples, window

EDGE_MS = 1.0
"""Time in which the fill takes over from the draft at an edge of the gap."""
_OVERLAP = 4
_LEAST_POWER = 1e-30
_INSIDE = _OVERLAP - 1
"""Frames that begin before the gap and touch it."""


class GapSpectra:
    """Memory and tables for the gaps of one model.

    The frames are always those of the longest gap, as in training: after a shorter one more is
    known.

    Parameters
    ----------
    manifest : Manifest
        Of the model: its grid, drafts and contexts.
    sample_rate, channels : int
        Of the signal.

    Attributes
    ----------
    rows : float32, shape (channels, drafts, samples)
        To be filled in by the caller; the gap begins at :attr:`gap_start`, and zeros stand for
        what is not known.
    spectra, lost, filled : float32
        What the network takes and gives, as :meth:`plc.runtime.network.GapNetwork.run` has it.

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
        self._stft = Stft.allocate(window("hann", size), size // _OVERLAP)
        self._hop = hop = self._stft.hop
        self._context = manifest.context_frames
        self.horizon = manifest.horizon_samples(sample_rate)
        frames = manifest.frames(sample_rate)
        touching = frames - manifest.context_frames - manifest.context_frames_after
        self.gap_start = (manifest.context_frames + _INSIDE) * hop
        samples = (frames - 1) * hop + size
        drafts = len(manifest.drafts)
        bins = manifest.bins(sample_rate)
        self.rows = np.zeros((channels, drafts, samples), np.float32)
        self.spectra = np.zeros((channels, drafts, 2, bins, frames), np.float32)
        self.filled = np.zeros((channels, 2, bins, touching), np.float32)
        self.lost = np.zeros((channels, frames), np.float32)
        self.shape = NetworkShape(bins=bins, frames=frames, batch=channels)
        self._spectrum = np.zeros(self._stft.bins, np.complex64)
        self._edge = EDGE_MS * sample_rate / 1000.0
        self._two_sided = manifest.context_frames_after > 0
        self._ramp = np.zeros(self.horizon, np.float32)
        self._made = np.zeros(self.horizon, np.float32)
        self.set_gap(self.horizon)

    @property
    def samples(self) -> int:
        """Samples of a row."""
        return self.rows.shape[2]

    def set_gap(self, gap_samples: int) -> None:
        """Say how long the gap is, at most :attr:`horizon`."""
        size, hop = self._stft.window.size, self._hop
        begins = np.arange(self.lost.shape[1]) * hop
        stop = self.gap_start + gap_samples
        inside = np.minimum(begins + size, stop) - np.maximum(begins, self.gap_start)
        self.lost[:] = np.maximum(inside, 0) / size
        place = np.arange(gap_samples) + 0.5
        ramp = np.minimum(place, place[::-1]) if self._two_sided else place
        self.gap_samples = gap_samples
        np.minimum(ramp / self._edge, 1.0, out=self._ramp[:gap_samples], casting="unsafe")

    def analyse(self) -> None:
        """Make the spectra of the rows."""
        grid = self._stft
        for rows, spectra in zip(self.rows, self.spectra, strict=True):
            for row, out in zip(rows, spectra, strict=True):
                analyse_frames(
                    row,
                    0,
                    grid.window,
                    grid.hop,
                    grid.factors,
                    grid.twiddles,
                    grid.scratch,
                    grid.frame,
                    self._spectrum,
                    out,
                )

    def hold(self, errors: NDArray[np.float64], share: float) -> None:
        """Keep the network's answer near the draft, bin by bin.

        Strong bins are those that prediction knows best, and where a change costs most; the many
        weak ones, which tell how a fill sounds, are left as the network made them.

        Parameters
        ----------
        errors : float64, shape (channels,)
            Mean square of the draft's error, per sample.
        share : float
            Of the mean power of that error in a bin: what a bin may depart by at most.
        """
        touching = slice(self._context, self._context + self.filled.shape[3])
        energy = float(np.square(self._stft.window, dtype=np.float64).sum())
        for filled, spectra, error in zip(self.filled, self.spectra, errors, strict=True):
            draft = spectra[-1, :, :, touching]
            filled -= draft
            most = np.float32(max(share * error * energy, _LEAST_POWER))
            power = np.square(filled[0]) + np.square(filled[1])
            filled *= np.sqrt(most / np.maximum(power, most))
            filled += draft

    def synthesise(self, out: NDArray[np.float32]) -> None:
        """Write the gap's samples from the network's answer, shape (channels, gap_samples)."""
        grid = self._stft
        stop = self.gap_start + self.gap_samples
        for c, filled in enumerate(self.filled):
            draft = self.rows[c, -1]
            synthesise_frames(
                filled,
                draft,
                self._context * grid.hop,
                grid.window,
                grid.dual,
                grid.hop,
                grid.factors,
                grid.twiddles,
                grid.scratch,
                grid.frame,
                self._spectrum,
                self._made[: self.gap_samples],
            )
            out[c] = draft[self.gap_start : stop]
            out[c] += self._ramp[: self.gap_samples] * (self._made[: self.gap_samples] - out[c])
