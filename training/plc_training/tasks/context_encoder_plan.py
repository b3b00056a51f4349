"""The paper's segments: 320 ms every 32 ms, with central gaps [1]_.

They have no drafts: the inputs of the paper's networks are the contexts. The silence at both ends
of a clip is left out first, as the program of the paper's authors does. Where the bounds of single
notes are known, each note is a clip.

References
----------
.. [1] A. Marafioti, N. Holighaus, P. Majdak, N. Perraudin, "Audio inpainting of music by means of
   neural networks", AES 146th Convention, 2019, section 3.2.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from plc.engine.networks.encoder import CONTEXT_SAMPLES, GAP_SAMPLES, SAMPLE_RATE
from plc_bench.scores.metrics import GAP_RMS_MIN, SILENCE_RMS, heard_span, rms
from plc_training.data.segments import Pieces, Samples, Segments, ShiftedPlan

# Full scale of int16 samples; segments of a block.
_INT16 = 32767.0
_BLOCK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEncoderPlan(ShiftedPlan):
    """Plan of consecutive segments, without silent gaps.

    Attributes
    ----------
    silence_rms : float
        Quieter ends of clips are left out; full scale 1.0; 0: none.
    single_notes : bool
        Whether each note is a clip, where the library knows the bounds.
    """

    sample_rate: ClassVar[int] = SAMPLE_RATE
    # Fixed: fingerprints of its recipes and names of its cached segments hold no speeds.
    speeds: ClassVar[tuple[float, ...]] = (1.0,)  # type: ignore[misc]
    shift_ms: float = 32.0
    silence_rms: float = SILENCE_RMS
    single_notes: bool = True

    @property
    def samples(self) -> int:
        """Samples of a line."""
        return 2 * CONTEXT_SAMPLES + GAP_SAMPLES

    def _cut(self, x: Samples, rng: np.random.Generator) -> Pieces:
        for segment in self._stretches(trimmed(x, self.silence_rms)):
            if rms(segment[0, CONTEXT_SAMPLES : CONTEXT_SAMPLES + GAP_SAMPLES]) >= GAP_RMS_MIN:
                yield segment, GAP_SAMPLES


def trimmed(x: NDArray[np.float32], silence_rms: float) -> NDArray[np.float32]:
    """Return a clip without the silence at both ends: a view, empty if all is silence."""
    return x[slice(*heard_span(x, silence_rms))]


def at_their_level(segments: Segments) -> NDArray[np.int16]:
    """Return the true samples at their level, shape (segments, samples).

    The loss of the paper has an absolute floor, so levels matter. Takes 10 kB a segment.
    """
    out = np.empty((segments.gaps.size, segments.lines.shape[2]), np.int16)
    for begin in range(0, len(out), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        lines = segments.lines[part, 0].astype(np.float32)
        scale = _INT16 * segments.peaks[part, None] / np.abs(lines).max(axis=1, keepdims=True)
        out[part] = np.clip(np.rint(lines * scale), -32768, 32767)
    return out
