"""Oracles: parts of the truth, given to a method's fills.

``METHOD@oracle=PART`` plays METHOD and replaces a part of what it made up, on lost samples alone:

==============  ===================================================================
``envelope``    levels in 18 bands (:mod:`plc_bench.scores.bands`)
``louder``      these, only where the truth is louder
``magnitudes``  magnitudes of the spectrum
``phases``      its phases
``first``       the whole truth in the first packet of each burst
``rest``        from the second packet on
==============  ===================================================================
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.engine.spans import bursts_of
from plc_bench.base.corpus import Samples
from plc_bench.peers.base import Contender
from plc_bench.scores import bands
from plc_bench.scores.metrics import Mask

PARTS = ("envelope", "louder", "magnitudes", "phases", "first", "rest")
_MOST_DB = 60.0  # bands further apart are silence on one side


@dataclass(frozen=True, slots=True)
class Oracle:
    """A contender whose fills get a part of the truth.

    Attributes
    ----------
    part : str, of :data:`PARTS`
    """

    player: Contender
    part: str
    coded = False

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Play the stream, whose lost samples are the truth."""
        lossy = np.where(np.repeat(trace, packet_samples)[:, None], np.float32(0.0), signal)
        played = self.player.play(lossy, trace, packet_samples, sample_rate)
        first = np.zeros_like(trace)
        first[[begin for begin, _ in bursts_of(trace)]] = True
        places = {"first": first, "rest": trace & ~first}.get(self.part, trace)
        told = np.repeat(places, packet_samples)[:, None]
        if self.part in ("first", "rest"):
            return np.where(told, signal, played)
        pairs = zip(signal.T, played.T, strict=True)
        made = [_given(self.part, truth, fill, sample_rate) for truth, fill in pairs]
        return np.where(told, np.stack(made, axis=1), played).astype(np.float32)


def _given(part: str, truth: Samples, fill: Samples, sample_rate: int) -> NDArray[np.float64]:
    """Return a signal with a part of another's spectrum."""
    hop = round(sample_rate * bands.HOP_MS / 1000.0)
    size = 4 * hop
    window = np.sqrt(np.hanning(size + 1)[:-1] / 2.0)
    padded = [np.pad(x.astype(np.float64), size) for x in (truth, fill)]
    starts = np.arange(0, padded[0].size - size + 1, hop)
    frames = starts[:, None] + np.arange(size)
    wanted, found = (np.fft.rfft(x[frames] * window) for x in padded)
    if part == "phases":
        made = np.abs(found) * np.exp(1j * np.angle(wanted))
    elif part == "magnitudes":
        made = np.abs(wanted) * np.exp(1j * np.angle(found))
    else:
        weights = bands.filters(size, sample_rate)
        levels = [np.abs(x) ** 2 @ weights.T + 1e-12 for x in (wanted, found)]
        gains = 10.0 * np.log10(levels[0] / levels[1])
        gains = gains.clip(0.0 if part == "louder" else -_MOST_DB, _MOST_DB)
        made = found * 10.0 ** (gains @ weights / 20.0)
    out = np.zeros(padded[0].size)
    np.add.at(out, frames, np.fft.irfft(made, size) * window)
    return out[size:-size]
