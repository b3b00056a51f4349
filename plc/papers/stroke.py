"""Fill a gap of speech by log-magnitudes of a U-Net [1]_.

The grid is that of the document: 64 columns of 64 bins of 187.5 Hz, every 2.667 ms, from frames
twice as long. At 48 kHz these are windows of 256 samples, at 24 kHz of 128; at other rates the next
even number. Magnitudes are those of 16-bit samples, divided by the sum of the window; of them the
natural logarithm is normalised with the document's constants. The gap is in the middle::

    |<-- known columns -->|<-- stroke: those that touch the gap -->|<-- known columns -->|
                     171 ms in all, of which 25 columns for a gap of 64 ms

The document leaves the phase open. Here a gap has been filled before the network is asked. That
draft keeps its phase; its magnitudes become the geometric mean of its own and the network's, up to
12 kHz. The frames are overlapped and added, and the gap's samples bent at both ends to meet what is
known. Phase from magnitudes alone, with or without Griffin-Lim, is worse by far: frames overlap by
half only, and are shorter than a voice's period.

References
----------
.. [1] github.com/iamhectorotero/generative-audio-inpainting: libraries/mlp, and the report there.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.networks.gap_filler import GapFiller, Hints, check_answer, check_drafts, check_rate
from plc.engine.networks.spectral_fill import bent, interpolated, padded
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.session import open_session
from plc.papers.restore import LINEAR
from plc_kernels.spectra.offline import signal_of, spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import window

KIND = "stroke"
"""Of a manifest whose network is one for here."""
SAMPLE_RATE = 24_000
"""In Hz: at which the networks are trained."""
WINDOW_SAMPLES, HOP_SAMPLES = 128, 64
"""At that rate."""
BINS, FRAMES = 64, 64
"""Of a patch: to below 12 kHz; 171 ms."""
BIN_HZ = SAMPLE_RATE / WINDOW_SAMPLES
RATES = (16_000, 48_000)
"""Lowest and highest rate in Hz."""
HORIZON_MS = 64.0
"""The longest gap."""
SHARE = 0.5
"""Of the network in the logarithm of a magnitude; the rest is the draft's. Chosen on validation
clips, as is the phase (docs/papers.md)."""
LEAST_COLUMNS = 8
"""Known on either side, 21 ms; where the patch reaches beyond, the outermost is repeated."""

INT16 = 32_768.0
LOG_MEAN, LOG_DEVIATION = 0.4385, 2.4214
"""Of the natural logarithm of the document's magnitudes."""
LEAST_MAGNITUDE = 1e-3
"""What stands for silence: below the rounding of 16-bit samples, about 0.03."""
# Mean of normalised logarithms where there is nothing but that rounding: bins above half the rate.
_ROUNDING = -1.7
# A draft below this magnitude is silence, and remains it.
_LEAST_DRAFT = 1e-6

Network = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Patch, shape (1, 1, 64, 64), and lost columns, shape (1, 64), to the patch restored."""


class StrokeFiller(GapFiller):
    """The U-Net of strokes in speech: it changes a draft's magnitudes in a gap of up to 64 ms.

    Parameters
    ----------
    network : callable
        Patch and lost columns to the patch restored.
    sample_rate : int, in Hz
    linear : bool
        Whether the network sees linear interpolation in the stroke; otherwise 0.
    """

    def __init__(self, network: Network, sample_rate: int, linear: bool) -> None:
        self._network, self._linear = network, linear
        self._rate = sample_rate
        self._hop = round(sample_rate / (2.0 * BIN_HZ))
        self._plan = Stft.allocate(window("hann", 2 * self._hop), self._hop)
        self._scale = INT16 / self._hop  # the window sums to half its length
        self._bins = min(BINS, self._plan.bins)

    def fill(self, row: NDArray[np.float32], gap: tuple[int, int]) -> NDArray[np.float32] | None:
        """Return the samples of a gap: float32, shape (stop - start,).

        None if the gap is longer than 64 ms, or less than 21 ms are known on a side.

        Parameters
        ----------
        row : float32, shape (n,)
            Known on either side of the gap, which holds the draft.
        gap : (int, int)
            First sample of the gap, and first after it.

        Raises
        ------
        ModelError
            If the network answers with another shape or with values that are not finite.
        """
        start, stop = gap
        hop = self._hop
        # The last frame before the stroke ends where the gap begins.
        lost = -(-(stop - start) // hop) + 1
        first = (FRAMES - lost) // 2
        origin = start - hop - first * hop
        samples = (FRAMES + 1) * hop
        if stop - start > round(HORIZON_MS * self._rate / 1000.0):
            return None
        if min(start, row.size - stop) < (LEAST_COLUMNS + 1) * hop:
            return None
        local = padded(row, origin, origin + samples)
        spectra = spectra_of(local, self._plan)
        # The transform's first frame begins a hop before the samples.
        columns = spectra[1 : FRAMES + 1]
        held = max(-origin, 0), min(samples, row.size - origin)
        whole = -(-held[0] // hop), held[1] // hop - 1
        stroke = slice(first, first + lost)
        columns[stroke, : self._bins] = self._answer(local, columns, whole, stroke)
        filled = signal_of(spectra, samples, self._plan)
        return bent(filled, local, (start - origin, stop - origin), self._rate)

    def refine(
        self, row: NDArray[np.float32], start: int, stop: int, end: int, hints: Hints
    ) -> bool:
        """As :meth:`GapFiller.refine`; the horizon is 64 ms, the least context 21 ms."""
        fill = self.fill(row[:end], (start, stop))
        if fill is None:
            return False
        row[start:stop] = fill
        return True

    def _answer(
        self,
        local: NDArray[np.float32],
        columns: NDArray[np.complex64],
        whole: tuple[int, int],
        stroke: slice,
    ) -> NDArray[np.complex64]:
        """Return the spectra of the stroke: the mean of network and draft, with its phases."""
        patch = np.full((FRAMES, BINS), _ROUNDING, np.float32)
        rounded = spectra_of(np.rint(local * np.float32(INT16)) / np.float32(INT16), self._plan)
        magnitude = np.abs(rounded[1 : FRAMES + 1, : self._bins]) * self._scale
        patch[:, : self._bins] = (
            np.log(np.maximum(magnitude, LEAST_MAGNITUDE)) - LOG_MEAN
        ) / LOG_DEVIATION
        patch[: whole[0]], patch[whole[1] :] = patch[whole[0]], patch[whole[1] - 1]
        patch[stroke] = 0.0
        lost = np.zeros(FRAMES, np.bool_)
        lost[stroke] = True
        if self._linear:
            patch = interpolated(patch, lost)
        shown = np.ascontiguousarray(patch.T)[None, None]
        restored = np.asarray(self._network(shown, lost[None].astype(np.float32)))
        check_answer("the network", restored, ((1, 1, BINS, FRAMES),))
        logarithms = restored[0, 0, : self._bins, stroke].T * LOG_DEVIATION + LOG_MEAN
        drafted = columns[stroke, : self._bins]
        wanted = (np.exp(logarithms) / self._scale) ** SHARE
        made: NDArray[np.complex64] = drafted * (
            wanted / np.maximum(np.abs(drafted), _LEAST_DRAFT) ** SHARE
        )
        return made


def open_filler(manifests: Sequence[Manifest], sample_rate: int) -> StrokeFiller:
    """Return a model of kind ``stroke`` for gaps of files.

    The graph takes ``patch``, shape (1, 1, 64, 64), and ``lost``, shape (1, 64), and gives
    ``restored``, shaped as ``patch``.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If the model takes other drafts, is not sound, or ONNX Runtime is not installed.
    """
    manifest = manifests[0]
    check_rate(manifest, sample_rate)
    linear = check_drafts(manifest, LINEAR)
    session = open_session(manifest, stroke_signature(1), providers="cpu")

    def network(patch: NDArray[np.float32], lost: NDArray[np.float32]) -> NDArray[np.float32]:
        np.copyto(session.inputs[0], patch)
        np.copyto(session.inputs[1], lost)
        session.run()
        restored: NDArray[np.float32] = session.output
        return restored

    return StrokeFiller(network, sample_rate, linear)


def stroke_signature(batch: int) -> Signature:
    """Return the names and shapes of a network, for some patches."""
    patch = (batch, 1, BINS, FRAMES)
    return Signature((("patch", patch), ("lost", (batch, FRAMES))), ("restored", patch))
