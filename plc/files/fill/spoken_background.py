"""Long gaps of speech over the background of the recording.

No word can be made up, and a prediction dies away: it would leave a hole in a recording's noise. So
it gets what it lacks, bin by bin, of the power of the quietest frames on both sides. The noise has
their magnitudes, at random phases that all channels share: it stands where it stood between them.
"""

import numpy as np
from numpy.typing import NDArray

from plc.files.fill.signal_background import speech_around
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import window

# Share of speech from which on a gap's surroundings are no music.
_SPEECH_FROM = 0.5
# Channels whose mean has less of their power are in opposite phase: one is heard alone.
_OPPOSITE = 1e-3
# Quiet are, so near on either side, frames of no more than twice the power of one that a twentieth
# of them does not reach.
_NEAR_S, _FRAME_MS, _QUIET = 4.0, 32.0, 1 / 20
_LITTLE = 1e-30


def is_spoken(
    rows: NDArray[np.float32],
    received: NDArray[np.bool_],
    gap: tuple[int, int],
    sample_rate: int,
    content: str,
) -> bool:
    """Return whether a gap is of speech, by its content's name or, for ``"auto"``, by its sides."""
    if content != "auto":
        return content == "speech"
    heard = rows.mean(axis=0)
    if np.square(heard).mean() < _OPPOSITE * np.square(rows).mean():
        heard = rows[0]
    return speech_around(heard, received, gap, sample_rate) >= _SPEECH_FROM


def lay_background(
    rows: NDArray[np.float32], received: NDArray[np.bool_], gap: tuple[int, int], sample_rate: int
) -> None:
    """Add the background of both sides to the fill of a gap, as far as it is missing.

    Parameters
    ----------
    rows : float32, shape (channels, n), written in the gap
    received : bool, shape (n,), what of the rows is no fill
    gap : (start, stop), in samples of the rows
    sample_rate : int, in Hz
    """
    hop = round(_FRAME_MS * sample_rate / 4000.0)
    plan = Stft.allocate(window("hann", 4 * hop), hop)
    start, stop = gap
    reach, random = round(_NEAR_S * sample_rate), np.random.default_rng(0)
    parts = slice(max(0, start - reach), start), slice(stop, stop + reach)
    found = [_quiet_frames(rows[:, part], received[part], plan) for part in parts]
    fills = np.stack([spectra_of(row[start:stop], plan) for row in rows])
    noise, power = np.zeros_like(fills), np.full(fills.shape, _LITTLE)
    ahead = np.linspace(0.0, 1.0, fills.shape[1])[:, None]
    for quiet, other, share in zip(found, found[::-1], (1.0 - ahead, ahead), strict=True):
        quiet = quiet if quiet.size else other
        if quiet.size:
            drawn = quiet[:, random.integers(quiet.shape[1], size=fills.shape[1])]
            turns = np.exp(2j * np.pi * random.random(drawn.shape[1:]))
            # Frames in step overlap to their sum; at random phases the powers of four add up.
            noise += 2.0 * np.sqrt(share) * turns * drawn
            power += share * np.square(np.abs(quiet)).mean(axis=1, keepdims=True)
    noise *= np.sqrt(np.maximum(1.0 - np.square(np.abs(fills)) / power, 0.0))
    for row, each in zip(rows, noise, strict=True):
        row[start:stop] += signal_of(each, stop - start, plan)


def _quiet_frames(
    rows: NDArray[np.float32], received: NDArray[np.bool_], plan: Stft
) -> NDArray[np.complex64]:
    """Return the spectra of the quietest frames: shape (channels, frames, bins)."""
    partial, frames = plan.window.size // plan.hop - 1, received.size // plan.hop
    lost = np.pad(np.cumsum(~received), (1, 0))[: frames * plan.hop + 1 : plan.hop]
    whole = np.flatnonzero(lost[partial + 1 :] == lost[: -partial - 1]) + partial
    spectra = np.stack([spectra_of(row, plan) for row in rows])[:, whole]
    powers = np.square(np.abs(spectra)).sum(axis=(0, 2))
    return spectra[:, powers <= 2.0 * np.quantile(powers, _QUIET)] if powers.size else spectra
