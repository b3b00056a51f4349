"""Phase from magnitude by iteration: the fast Griffin-Lim algorithm (FGLA).

Each iteration gives the spectra their magnitudes, and the known coefficients their
values; projects on the spectra that a signal can have (inverse transform and back);
and steps on in the direction of the last change:

    c[n] = project(impose(t[n - 1]))
    t[n] = c[n] + alpha * (c[n] - c[n - 1])

Perraudin, Balazs, Sondergaard, "A Fast Griffin-Lim Algorithm", WASPAA 2013,
doi 10.1109/WASPAA.2013.6701851. One iteration costs two transforms a frame.
"""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.compile import kernel
from plc_kernels.stft import istft, stft

ALPHA = 0.99  # section 4 of the paper
# Below this (-360 dB of full scale) a coefficient has no phase that float32 could keep.
_LEAST_SIZE = 1e-18


@kernel
def impose(
    magnitude: NDArray[np.float32],
    known: NDArray[np.uint8],
    values: NDArray[np.complex64],
    spectra: NDArray[np.complex64],
) -> None:
    """Give spectra the magnitudes and the known coefficients that they must have.

    Parameters
    ----------
    magnitude : float32, shape (frames, bins)
        Magnitudes to impose where nothing is known.
    known : uint8, shape (frames, bins)
        1 where ``values`` holds.
    values : complex64, shape (frames, bins)
        Known coefficients.
    spectra : complex64, shape (frames, bins), read and written
        Their phases are kept where not known; a coefficient of 0 or not a number has
        phase 0. A magnitude that is not a finite number counts as 0.
    """
    frames, bins = spectra.shape
    for n in range(frames):
        for k in range(bins):
            if known[n, k]:
                spectra[n, k] = values[n, k]
                continue
            z = spectra[n, k]
            size = math.sqrt(z.real * z.real + z.imag * z.imag)
            wanted = magnitude[n, k]
            if not (wanted < np.inf):
                wanted = np.float32(0)
            if size > _LEAST_SIZE and size < np.inf:
                gain = wanted / size
                spectra[n, k] = complex(z.real * gain, z.imag * gain)
            else:
                spectra[n, k] = complex(wanted, 0)


@kernel
def fast_griffin_lim(
    iterations: int,
    alpha: float,
    magnitude: NDArray[np.float32],
    known: NDArray[np.uint8],
    values: NDArray[np.complex64],
    window: NDArray[np.float32],
    dual: NDArray[np.float32],
    hop: int,
    factors: NDArray[np.int64],
    twiddles: NDArray[np.float32],
    scratch: NDArray[np.float32],
    frame: NDArray[np.float32],
    projected: NDArray[np.complex64],
    signal: NDArray[np.float32],
    spectra: NDArray[np.complex64],
) -> None:
    """Improve the phases of ``spectra`` so that a signal fits their magnitudes.

    Parameters
    ----------
    iterations : int
        Iterations to do.
    alpha : float
        Step along the last change; 0 is the plain Griffin-Lim algorithm.
    magnitude, known, values
        As in :func:`impose`.
    window, dual, hop, factors, twiddles, scratch, frame
        Of a :class:`plc_kernels.stft.Stft`; the last two are written.
    projected : complex64, shape (2, frames, bins), written
        Scratch memory: the last two projections.
    signal : float32, shape (n,), written
        Signal of the last projection; its length says where the signal ends.
    spectra : complex64, shape (frames, bins), read and written
        Phases to start from; on return the magnitudes and known coefficients imposed on
        the last projection.
    """
    frames, bins = spectra.shape
    for i in range(iterations):
        impose(magnitude, known, values, spectra)
        istft(spectra, dual, hop, factors, twiddles, scratch, frame, signal)
        new = projected[i % 2]
        old = projected[(i + 1) % 2]
        stft(signal, window, hop, factors, twiddles, scratch, frame, new)
        for n in range(frames):
            for k in range(bins):
                c = new[n, k]
                d = old[n, k] if i > 0 else c
                spectra[n, k] = complex(
                    c.real + alpha * (c.real - d.real), c.imag + alpha * (c.imag - d.imag)
                )
    if iterations > 0:
        spectra[:] = projected[(iterations - 1) % 2]
    impose(magnitude, known, values, spectra)
