"""Drafts of a gap of a file: ways to fill it by prediction, which a network weighs.

A model's manifest names those that it was trained on; training writes its segments with the same
object. What streams draft is in their step (:mod:`plc_kernels.stream.extend_network`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.sides import bridged_along_the_pitch, continued
from plc.engine.predict.similar import REACH_S, SimilarPassages, find_passages
from plc.errors import ConfigError

Found = dict[tuple[int, int], SimilarPassages | None]
"""By a gap's start and stop: the passages like its surroundings, or none."""
# Networks take what is smaller than 1e-7 in their spectra for silence: about 80 dB below a sound of
# this peak, as they do its magnitudes. Beside a louder one they would hear how it was rounded. A
# sound without so large a sample is silence.
_PEAK, _SILENT = np.float32(0.004), 1e-9


class TwoSidedDraft:
    """Draws up a gap of a file, with both sides known.

    Parameters
    ----------
    names : sequence of str
        Of :attr:`KNOWN`, as in manifests; the last is ``interpolated``.
    sample_rate : int, in Hz
    past : int
        Samples of a row before the gap.
    reach_s : float
        Time around a gap that is searched for similar passages.

    Raises
    ------
    ConfigError
        If a name is unknown or the last is another.
    """

    KNOWN = ("forward", "backward", "similar", "contour", "interpolated")
    """Each side continued; similar passages summed; both sides along a voice's pitch contour; and
    the gap as it is filled so far, which stands in for a draft that cannot be made."""

    def __init__(
        self, names: Sequence[str], sample_rate: int, past: int, reach_s: float = REACH_S
    ) -> None:
        if not set(names) <= set(self.KNOWN) or tuple(names[-1:]) != self.KNOWN[-1:]:
            raise ConfigError(
                f"drafts are {', '.join(names) or 'none'}; known: {', '.join(self.KNOWN)}, the "
                "last of them last"
            )
        self.names = tuple(names)
        self._rate = sample_rate
        self._past = past
        self._reach = round(reach_s * sample_rate)

    def alike(
        self,
        signal: NDArray[np.float32],
        start: int,
        stop: int,
        samples: int,
        found: Found | None = None,
    ) -> NDArray[np.float32] | None:
        """Return the row that similar passages of a signal make; None if there are none.

        Parameters
        ----------
        signal : float32, shape (n,)
            Known but for the gap, which may hold anything finite.
        start, stop : int, the gap
        samples : int, of the row
        found : dict or None
            Keeps the passages of each gap, for another object on the same signal.

        Returns
        -------
        float32, shape (samples,), or None
        """
        found = {} if found is None else found
        low = max(0, start - self._reach)
        seen = signal[low : stop + self._reach]
        if (start, stop) not in found:
            found[start, stop] = find_passages(seen, start - low, stop - low, self._rate)
        passages = found[start, stop]
        first = start - self._past - low
        return None if passages is None else passages.line(seen, first, first + samples)

    def write(
        self,
        before: NDArray[np.float32],
        after: NDArray[np.float32],
        gap: int,
        alike: NDArray[np.float32] | None,
        rows: NDArray[np.float32],
    ) -> None:
        """Write the drafts into rows that hold the signal and a fill.

        Parameters
        ----------
        before, after : float32, shape (n,) and (m,), what the drafts continue
        gap : int, samples of the gap
        alike : float32, shape (samples,), or None, as :meth:`alike` returns it
        rows : float32, shape (drafts, samples), written
        """
        hole = slice(self._past, self._past + gap)
        for row, name in zip(rows, self.names, strict=True):
            if name == "forward":
                row[hole] = continued(before, gap, self._rate)
            elif name == "backward":
                row[hole] = continued(after[::-1], gap, self._rate)[::-1]
            elif name == "similar" and alike is not None:
                row[:] = alike
            elif name == "contour":
                bridged = bridged_along_the_pitch(before, after, gap, self._rate)
                if bridged is not None:
                    row[hole] = bridged


def network_gain(row: NDArray[np.float32], start: int, stop: int) -> np.float32:
    """Return the gain by which a network is given a row.

    So it answers a louder or quieter sound with the same fill, louder or quieter.
    """
    peak = np.abs(np.delete(row, slice(start, stop))).max()
    return np.float32(_PEAK / max(peak, _SILENT))
