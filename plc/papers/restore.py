"""Gaps as lost frames of a spectrogram, restored by a network [1]_.

The network sees 512 ms around a gap at 16 kHz: 128 frames of 256 samples, one every 64, without
those that are lost, and answers with all of them. Every gap in sight is lost, so that many short
ones are seen at once::

    received  |~~~~~| gap |~~~~~~~~~~~~~~~~| gap |~~~~~~~|
    frames    [known] [known] [lost] [lost] [known] …            a frame that misses little is known
              magnitudes ─▶ network ─▶ mean with the draft's, on its phase ─▶ samples of the gap

A lost frame is interpolated linearly before the network sees it, or is 0, whichever it was trained
with. The network says nothing of phase: that of the draft is kept, which is what filled the gap
before. Phase integrated from magnitudes, with or without Griffin-Lim, is farther from the truth.

*Above 8 kHz* the draft remains: what the network changes below is resampled and added to it.

*Transforms.* The document's have 255 points, an odd number. Here they have 510: every second bin is
one of the network's, and magnitudes between them are interpolated.

References
----------
.. [1] "Quality enhancement of highly degraded music using deep learning models", 2021, doi
   10.1145/3470482.3479635.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.networks.gap_filler import GapFiller, Hints, check_answer, check_drafts, check_rate
from plc.engine.networks.other_rate import TAPS, OtherRate
from plc.engine.networks.spectral_fill import bent, interpolated
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.session import open_session
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import window
from plc_kernels.stream.layout import MAX_SAMPLE_RATE

KIND = "restore"
"""Of a manifest whose network is one for here."""
LINEAR = "linear"
"""Draft of networks that see lost frames on straight lines between known ones."""
SAMPLE_RATE = 16_000
"""In Hz; the network knows no other."""
RATES = (SAMPLE_RATE, MAX_SAMPLE_RATE)
"""In Hz: of recordings that can be restored."""
FRAME_SAMPLES, HOP_SAMPLES, POINTS = 256, 64, 255
FRAMES = BINS = 128
PATCH_SAMPLES = (FRAMES - 1) * HOP_SAMPLES + FRAME_SAMPLES
FULL_SCALE = 127.98
"""Magnitude that is 1 for networks: the largest of the document's clips, about the window's sum."""
HORIZON_MS = 256.0
"""The longest gap: half of what the network sees."""
SHARE = 0.5
"""Of the network in the magnitudes of a lost frame; the rest is the draft's. Chosen on validation
clips, as is the phase (docs/papers.md)."""
# A frame that misses no more of its window's energy counts as known: a gap's first and last.
_LITTLE = 0.05
# A frame is four hops, so three more than there are hops in a stretch touch it.
_TOUCHING = FRAME_SAMPLES // HOP_SAMPLES - 1
# Below this magnitude a draft has no phase.
_LEAST = 1e-12


class Restorer(GapFiller):
    """A network for one sample rate.

    Parameters
    ----------
    manifest : Manifest, a model of kind ``restore``
    sample_rate : int, in Hz

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If the model takes other drafts, is not sound, or ONNX Runtime is not installed.
    """

    any_gap = True

    def __init__(self, manifest: Manifest, sample_rate: int) -> None:
        check_rate(manifest, sample_rate)
        self._interpolates = check_drafts(manifest, LINEAR)
        self._session = open_session(manifest, restorer_signature(1), providers="cpu")
        self._name = manifest.name
        shape = window("hann", FRAME_SAMPLES)
        shape[POINTS:] = 0.0
        self._plan = Stft.allocate(shape, HOP_SAMPLES, 2 * POINTS)
        self._energy = (shape**2 / np.sum(shape**2)).astype(np.float32)
        self._rate = OtherRate(sample_rate, SAMPLE_RATE)

    def refine(
        self, row: NDArray[np.float32], start: int, stop: int, end: int, hints: Hints
    ) -> bool:
        """As :meth:`GapFiller.refine`.

        A gap of more than :data:`HORIZON_MS`, or at an end of the row, is left. What is lost later
        is not looked at.
        """
        received = hints.received
        samples = self._rate.samples(stop - start)
        if samples > HORIZON_MS * SAMPLE_RATE / 1000.0 or not 0 < start < stop < row.size:
            return False
        # A long recording has many gaps.
        reach = math.ceil((PATCH_SAMPLES + TAPS) * self._rate.step)
        low = max(0, start - reach)
        row, received = row[low : stop + reach], received[low : stop + reach]
        start, stop = start - low, stop - low
        touching = -(-samples // HOP_SAMPLES) + _TOUCHING
        # Of the patch, from the gap's first sample on; the gap lies in its middle.
        begin = -(_TOUCHING + (FRAMES - touching) // 2) * HOP_SAMPLES
        line = self._rate.of_row(row, start, begin, PATCH_SAMPLES)
        lost = self._frames_of(~received, start, begin)
        if lost.all():
            return False
        later = ~received
        later[:start] = False
        made = _TOUCHING + np.flatnonzero(self._frames_of(later, start, begin))
        spectra = spectra_of(line, self._plan)
        answer = self._answer(np.abs(spectra[_TOUCHING : _TOUCHING + FRAMES, ::2]), lost)
        drafted = np.abs(spectra[made])
        wanted = SHARE * between_bins(answer[made - _TOUCHING]) + (1.0 - SHARE) * drafted
        spectra[made] *= wanted / np.maximum(drafted, _LEAST)
        whole = signal_of(spectra, line.size, self._plan)
        fill = bent(whole, line, (-begin, samples - begin), SAMPLE_RATE)
        self._rate.replace(row[start:stop], fill, line[-begin : samples - begin])
        return True

    def _answer(
        self, magnitudes: NDArray[np.float32], lost: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return the network's magnitudes of a patch, shape (frames, bins)."""
        if self._interpolates:
            shown = interpolated(magnitudes, lost)
        else:
            shown = np.where(lost[:, None], np.float32(0.0), magnitudes)
        patch, flags = self._session.inputs
        patch[0, 0] = shown.T / np.float32(FULL_SCALE)
        flags[0] = lost
        self._session.run()
        answer = self._session.output[0, 0].T
        check_answer(self._name, answer)
        restored: NDArray[np.float32] = np.maximum(answer, 0.0) * np.float32(FULL_SCALE)
        return restored

    def _frames_of(self, missing: NDArray[np.bool_], place: int, begin: int) -> NDArray[np.bool_]:
        """Return which frames of the patch miss more than a little; beyond the row, all."""
        counts = np.concatenate([[0], np.cumsum(missing)])
        places = place + (begin + np.arange(PATCH_SAMPLES)) * self._rate.step
        low = np.floor(places).astype(np.int64)
        high = np.maximum(low + 1, np.floor(places + self._rate.step).astype(np.int64))
        outside = (low < 0) | (high > missing.size)
        inside = counts[np.clip(high, 0, missing.size)] > counts[np.clip(low, 0, missing.size)]
        hits = (outside | inside).astype(np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(hits, FRAME_SAMPLES)[::HOP_SAMPLES]
        lost: NDArray[np.bool_] = frames @ self._energy > _LITTLE
        return lost


def restorer_signature(batch: int) -> Signature:
    """Return the shapes of a network for some patches."""
    patch = (batch, 1, BINS, FRAMES)
    return Signature((("patch", patch), ("lost", (batch, FRAMES))), ("restored", patch))


def open_filler(manifests: Sequence[Manifest], sample_rate: int) -> Restorer:
    """Return a model of kind ``restore`` for gaps of files."""
    return Restorer(manifests[0], sample_rate)


def between_bins(magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return magnitudes at twice the bins, by cubic interpolation.

    From float32, shape (frames, bins), at least 0, to shape (frames, 2 * bins).
    """
    wide = np.pad(magnitudes, ((0, 0), (1, 2)), mode="reflect")
    out = np.repeat(magnitudes, 2, axis=1)
    near, far = wide[:, 1:-2] + wide[:, 2:-1], wide[:, :-3] + wide[:, 3:]
    out[:, 1::2] = np.maximum((9.0 * near - far) / 16.0, 0.0)
    return out
