"""Fréchet distance of notes: whether a transcriber would hear the same music.

The Fréchet audio distance [1]_ compares the mean and the covariance of a network's embedding of
audio with those of a reference. The usual embeddings judge seconds and come with PyTorch and large
downloads; this one is the note transcriber *Basic Pitch* [2]_, whose ONNX file of 230 KB comes in
its wheel (Apache-2.0) and is run directly, as its own code would need TensorFlow and librosa. A
frame (11.6 ms, as long as a packet) is 176 numbers: for each of the 88 piano keys how sure it is
that the note sounds, and that it begins. A hole is notes that end, a click or a jump of phase is
notes that begin.

The distance is taken between all frames of a clip as it was and as it is played; 0 is the same. It
depends on the clip and its length, so compare means over the same clips, and with no other FAD.

References
----------
.. [1] K. Kilgour et al., "Fréchet audio distance: a reference-free metric for evaluating music
   enhancement algorithms", Interspeech, 2019.
.. [2] R. Bittner et al., "A lightweight instrument-agnostic model for polyphonic note transcription
   and multipitch estimation", ICASSP, 2022.
"""

import importlib.util
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.errors import MissingExtraError
from plc_bench.base.corpus import resample
from plc_bench.scores.metrics import Signal
from plc_bench.scores.speech import session_of

# Basic Pitch 0.4.0: windows of 43844 samples at 22.05 kHz, frames every 256; 15 frames at either
# end of a window are not used, so that windows overlap by 30.
NOTE_RATE = 22_050
FRAME_HOP = 256
_WINDOW = 43_844
_MARGIN_FRAMES = 15
_USED_FRAMES = 142
_NOTES, _ONSETS = "StatefulPartitionedCall:1", "StatefulPartitionedCall:2"
_COMMAND = "pip install --no-deps basic-pitch"


def fad_notes(reference: Signal, estimate: Signal, sample_rate: int) -> float:
    """Return the Fréchet distance of notes between two signals; lower is better.

    Parameters
    ----------
    reference, estimate : float, shape (n, channels)
        As it was, and as it is played; channels are mixed.

    Raises
    ------
    MissingExtraError
        If ``basic-pitch`` (for its ONNX file), ONNX Runtime or soxr is not installed.
    """
    return frechet_distance(note_frames(reference, sample_rate), note_frames(estimate, sample_rate))


def note_frames(signal: Signal, sample_rate: int) -> NDArray[np.float64]:
    """Return how sure each note sounds and begins: float64, shape (frames, 176), 0 to 1."""
    mono = np.asarray(signal, np.float32).mean(axis=1)
    if sample_rate != NOTE_RATE:
        mono = resample(mono, sample_rate, NOTE_RATE)
    return _frames_of(mono.tobytes())


# One clip is compared with what many methods make of it, one after the other.
@lru_cache(maxsize=4)
def _frames_of(samples: bytes) -> NDArray[np.float64]:
    """Return the frames of float32 samples at :data:`NOTE_RATE`; the caller does not write them."""
    mono = np.frombuffer(samples, np.float32)
    hop = _USED_FRAMES * FRAME_HOP
    windows = max(1, math.ceil(mono.size / hop))
    padded = np.zeros((windows - 1) * hop + _WINDOW, np.float32)
    begin = _MARGIN_FRAMES * FRAME_HOP
    padded[begin : begin + mono.size] = mono[: padded.size - begin]
    session = session_of(_model(), "FAD needs")
    frames = []
    for window in range(windows):
        block = padded[window * hop : window * hop + _WINDOW]
        values = session.run(
            [_NOTES, _ONSETS], {session.get_inputs()[0].name: block[None, :, None]}
        )
        frames.append(np.concatenate([value[0] for value in values], axis=1))
    used = [block[_MARGIN_FRAMES : _MARGIN_FRAMES + _USED_FRAMES] for block in frames]
    return np.concatenate(used)[: math.ceil(mono.size / FRAME_HOP)].astype(np.float64)


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Fréchet distance of two sets of vectors.

    ``|m_a - m_b|² + tr(A + B - 2 (A B)^½)`` of the means and the covariances.

    Parameters
    ----------
    a, b : float64, shape (vectors, size)
        Two vectors at least in each; NaN where there are fewer.
    """
    if min(len(a), len(b)) < 2:
        return math.nan
    apart = a.mean(axis=0) - b.mean(axis=0)
    root_a, covariance = _root(np.cov(a, rowvar=False)), np.cov(b, rowvar=False)
    # tr (A B)^½ = tr (A^½ B A^½)^½, which is symmetric and so has a real root.
    cross = np.linalg.eigvalsh(root_a @ covariance @ root_a)
    spread = float(np.trace(root_a @ root_a) + np.trace(covariance))
    distance = float(apart @ apart) + spread - 2.0 * float(np.sqrt(np.maximum(cross, 0.0)).sum())
    return max(0.0, distance)


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the symmetric square root; rounding below zero counts as zero."""
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root


def _model() -> Path:
    """Return where the network lies, without importing its package."""
    spec = importlib.util.find_spec("basic_pitch")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        model = Path(folder) / "saved_models" / "icassp_2022" / "nmp.onnx"
        if model.exists():
            return model
    raise MissingExtraError(f"FAD needs the network of Basic Pitch: {_COMMAND}")
