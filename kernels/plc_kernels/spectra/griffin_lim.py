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

from plc_kernels.build.compile import kernel
from plc_kernels.spectra.stft import istft, stft

ALPHA = 0.99  # section 4 of the paper
# Below this power (-300 dB of full scale) a coefficient has no phase that float32 could keep.
_LEAST_POWER = 1e-30


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
    known : uint8, shape (frames, bins), 1 where ``values`` holds
    values : complex64, shape (frames, bins), known coefficients
    spectra : complex64, shape (frames, bins), read and written
        Their phases are kept where not known; a coefficient of 0 or not a number has
        phase 0. A magnitude that is not a finite number counts as 0.
    """
    # Plain floats and no branch but selections: such a loop vectorises.
    flat = spectra.view(np.float32)
    given = values.view(np.float32)
    zero = np.float32(0)
    least = np.float32(_LEAST_POWER)
    for n in range(spectra.shape[0]):
        for k in range(spectra.shape[1]):
            re, im = flat[n, 2 * k], flat[n, 2 * k + 1]
            wanted = magnitude[n, k]
            wanted = wanted if wanted < np.inf else zero
            power = re * re + im * im
            sound = power > least and power < np.inf
            gain = wanted / math.sqrt(power if sound else least)
            re = re * gain if sound else wanted
            im = im * gain if sound else zero
            flat[n, 2 * k] = given[n, 2 * k] if known[n, k] else re
            flat[n, 2 * k + 1] = given[n, 2 * k + 1] if known[n, k] else im


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
    iterations : int, iterations to do
    alpha : float
        Step along the last change; 0 is the plain Griffin-Lim algorithm.
    magnitude, known, values : as in :func:`impose`
    window, dual, hop, factors, twiddles, scratch, frame
        Fields of a :class:`plc_kernels.spectra.stft.Stft`; the last two are written.
    projected : complex64, shape (2, frames, bins), written
        Scratch memory: the last two projections.
    signal : float32, shape (n,), written
        Signal of the last projection; its length says where the signal ends.
    spectra : complex64, shape (frames, bins), read and written
        Phases to start from; on return the magnitudes and known coefficients imposed on
        the last projection.
    """
    step = np.float32(alpha)
    out = spectra.view(np.float32)
    for i in range(iterations):
        impose(magnitude, known, values, spectra)
        istft(spectra, dual, hop, factors, twiddles, scratch, frame, signal)
        stft(signal, window, hop, factors, twiddles, scratch, frame, projected[i % 2])
        new = projected[i % 2].view(np.float32)
        old = projected[(i + 1) % 2 if i > 0 else 0].view(np.float32)
        for n in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[n, j] = new[n, j] + step * (new[n, j] - old[n, j])
    if iterations > 0:
        for n in range(spectra.shape[0]):
            for j in range(spectra.shape[1]):
                spectra[n, j] = projected[(iterations - 1) % 2, n, j]
    impose(magnitude, known, values, spectra)
