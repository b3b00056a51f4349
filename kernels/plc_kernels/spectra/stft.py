"""Short-time Fourier transform and its exact inverse.

Frame ``t`` holds the samples from ``(t + 1) * hop - length`` up to ``(t + 1) * hop``;
before the signal's start and after its end there is silence. So each hop of new samples
makes one frame, and every sample lies under the same number of windows:

    samples      0    hop   2hop   3hop   4hop
                 |     |     |     |     |
    frame 0  ....======|                          length = 4 hop
    frame 1   ...============|
    frame 3      ========================|

    spectrum[t, k] = sum over i of window[i] * x[(t + 1) * hop - length + i]
                                   * exp(-2j * pi * i * k / n_fft)

Phases refer to the first sample of a frame. With the canonical dual window
(:func:`plc_kernels.spectra.windows.dual_window`) in synthesis the inverse is exact, for any hop
and any ``n_fft`` not below the window's length.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel
from plc_kernels.spectra.fft import RealFft, irfft, rfft
from plc_kernels.spectra.windows import dual_window


@dataclass(frozen=True, slots=True)
class Stft:
    """Windows, tables and scratch memory of the kernels here for one grid.

    The scratch memory (``scratch``, ``frame``) serves one call at a time.
    """

    window: NDArray[np.float32]
    dual: NDArray[np.float32]
    hop: int
    factors: NDArray[np.int64]
    twiddles: NDArray[np.float32]
    scratch: NDArray[np.float32]
    frame: NDArray[np.float32]

    @classmethod
    def allocate(cls, window: NDArray[np.floating], hop: int, n_fft: int | None = None) -> Self:
        """Return the memory of a grid of ``window`` every ``hop`` samples.

        Parameters
        ----------
        window : shape (length,), analysis window
        hop : int
            Distance between frames, in samples.
        n_fft : int, optional
            Length of the transform, even and at least ``length``; ``length`` by default.

        Raises
        ------
        ValueError
            If ``n_fft`` is odd or too short, or the windows leave samples uncovered.
        """
        n_fft = n_fft or window.size
        if n_fft < window.size:
            raise ValueError(f"n_fft is {n_fft}; supported: at least the window's {window.size}")
        fft = RealFft.allocate(n_fft)
        return cls(
            window=window.astype(np.float32),
            dual=dual_window(window, hop).astype(np.float32),
            hop=hop,
            factors=fft.factors,
            twiddles=fft.twiddles,
            scratch=fft.scratch,
            frame=np.zeros(n_fft, np.float32),
        )

    @property
    def n_fft(self) -> int:
        """Length of the transform."""
        return self.frame.size

    @property
    def bins(self) -> int:
        """Frequencies of a spectrum, 0 Hz and half the sample rate included."""
        return self.frame.size // 2 + 1

    def frames(self, samples: int) -> int:
        """Return how many frames cover a signal of ``samples``."""
        return -(-(samples + self.window.size - self.hop) // self.hop)


@kernel
def _spectrum(
    x: NDArray[np.float32],
    start: int,
    window: NDArray[np.float32],
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float32],
    scratch: NDArray[np.float32],
    frame: NDArray[np.float32],
    out: NDArray[np.complex64],
) -> None:
    """Transform the windowed samples of ``x`` from ``start``; outside ``x`` is silence."""
    length = window.size
    low = min(max(0, -start), length)
    high = max(low, min(length, x.size - start))
    for i in range(low):
        frame[i] = 0
    inside = x[start + low : start + high]
    for i in range(inside.size):
        frame[low + i] = window[low + i] * inside[i]
    for i in range(high, frame.size):
        frame[i] = 0
    rfft(frame, factors, twiddles, scratch, out)


@kernel
def stft(
    x: NDArray[np.float32],
    window: NDArray[np.float32],
    hop: int,
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float32],
    scratch: NDArray[np.float32],
    frame: NDArray[np.float32],
    out: NDArray[np.complex64],
) -> None:
    """Analyse a whole signal.

    Parameters
    ----------
    x : float32, shape (n,), samples
    window, hop, factors, twiddles, scratch, frame
        Fields of an :class:`Stft`; the last two are written.
    out : complex64, shape (frames, bins), written
        Spectra; ``frames`` is :meth:`Stft.frames` of ``n``.
    """
    for t in range(out.shape[0]):
        start = (t + 1) * hop - window.size
        _spectrum(x, start, window, factors, twiddles, scratch, frame, out[t])


@kernel
def istft(
    spectra: NDArray[np.complex64],
    dual: NDArray[np.float32],
    hop: int,
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float32],
    scratch: NDArray[np.float32],
    frame: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Return from spectra to the signal: the inverse of :func:`stft`.

    For spectra that no signal has, the result is the signal whose spectra are nearest
    in least squares.

    Parameters
    ----------
    spectra : complex64, shape (frames, bins), spectra
    dual, hop, factors, twiddles, scratch, frame
        Fields of an :class:`Stft`; the last two are written.
    out : float32, shape (n,), written
        Samples; exact where all frames over them are given.
    """
    out[:] = 0
    for t in range(spectra.shape[0]):
        irfft(spectra[t], factors, twiddles, scratch, frame)
        start = (t + 1) * hop - dual.size
        for i in range(max(0, -start), min(dual.size, out.size - start)):
            out[start + i] += dual[i] * frame[i]


@kernel
def analyse_frames(
    x: NDArray[np.float32],
    first: int,
    window: NDArray[np.float32],
    hop: int,
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float32],
    scratch: NDArray[np.float32],
    frame: NDArray[np.float32],
    spectrum: NDArray[np.complex64],
    out: NDArray[np.float32],
) -> None:
    """Analyse some frames of a signal into separate real and imaginary parts.

    Parameters
    ----------
    x : float32, shape (n,), samples; zeros beyond
    first : int
        Place of the first frame's first sample in ``x``.
    window, hop, factors, twiddles, scratch, frame
        Fields of an :class:`Stft`; the last two are written.
    spectrum : complex64, shape (bins of the grid,), written, scratch memory
    out : float32, shape (2, bins, frames), written
        Real and imaginary parts; bins that the grid does not have are zero.
    """
    bins = min(out.shape[1], spectrum.size)
    for t in range(out.shape[2]):
        _spectrum(x, first + t * hop, window, factors, twiddles, scratch, frame, spectrum)
        for k in range(bins):
            out[0, k, t] = spectrum[k].real
            out[1, k, t] = spectrum[k].imag
        for k in range(bins, out.shape[1]):
            out[0, k, t] = 0.0
            out[1, k, t] = 0.0


@kernel
def synthesise_frames(
    parts: NDArray[np.float32],
    own: NDArray[np.float32],
    dual: NDArray[np.float32],
    hop: int,
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float32],
    scratch: NDArray[np.float32],
    frame: NDArray[np.float32],
    spectrum: NDArray[np.complex64],
    out: NDArray[np.float32],
) -> None:
    """Return from separate real and imaginary parts to samples: overlap and add.

    As the transform is linear, these are what is to be added to a signal: bins that are not given
    stay the signal's without a transform of theirs.

    Parameters
    ----------
    parts : float32, shape (2, bins, frames)
        What :func:`analyse_frames` writes, changed.
    own : float32, shape (2, bins, frames), what it wrote
    dual, hop, factors, twiddles, scratch, frame
        Fields of an :class:`Stft`; the last two are written.
    spectrum : complex64, shape (bins of the grid,), written, scratch memory
    out : float32, shape (m,), written
        Change of the samples from the fourth hop of the first frame on, where the sum is complete:
        up to ``frames - 3`` hops.
    """
    bins = min(parts.shape[1], spectrum.size)
    skipped = dual.size - hop
    for i in range(out.size):
        out[i] = 0.0
    for t in range(parts.shape[2]):
        for k in range(bins):
            spectrum[k] = complex(parts[0, k, t] - own[0, k, t], parts[1, k, t] - own[1, k, t])
        for k in range(bins, spectrum.size):
            spectrum[k] = 0.0
        irfft(spectrum, factors, twiddles, scratch, frame)
        start = t * hop - skipped
        low = max(0, -start)
        added = out[start + low : min(start + dual.size, out.size)]
        for i in range(added.size):
            added[i] += dual[low + i] * frame[low + i]
