"""The network for gaps of which both sides are known: the last step of :func:`plc.inpaint`."""

import threading

import numpy as np
from numpy.typing import NDArray

from plc.drafts import continued
from plc.encoder import open_encoder
from plc.errors import ConfigError, MissingExtraError
from plc.hybrid import GapSpectra
from plc.manifest import Manifest
from plc.models import available, find

DRAFTS = ("forward", "backward", "interpolated")
"""What a model of this kind is given: each side continued, and the gap as it is filled so far."""

_opened = threading.local()


class TwoSidedEncoder:
    """One model at one sample rate.

    Parameters
    ----------
    manifest : Manifest
        A model of kind ``lookahead``.
    sample_rate : int
        In Hz.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If the model is for something else, is not sound, or ONNX Runtime is not installed.
    """

    def __init__(self, manifest: Manifest, sample_rate: int) -> None:
        if manifest.kind != "lookahead" or manifest.drafts != DRAFTS:
            raise ConfigError(
                f"model {manifest.name} is {manifest.kind}, with drafts "
                f"{', '.join(manifest.drafts) or 'none'}; filling gaps of a file needs a model of "
                f"kind lookahead with {', '.join(DRAFTS)}: plc models lists them"
            )
        self._rate = sample_rate
        self._gap = GapSpectra(manifest, sample_rate, 1)
        self._encoder = open_encoder(manifest, [self._gap.shape])
        self._fill = np.zeros((1, self._gap.horizon), np.float32)

    def refine(self, row: NDArray[np.float32], start: int, stop: int, end: int) -> bool:
        """Improve on what fills ``row[start:stop]``; return whether it could.

        Parameters
        ----------
        row : float32, shape (n,), written from start to stop
            One channel; known before ``start`` and from ``stop`` to ``end``, filled between.
        start, stop, end : int
            Places in it. Gaps longer than the model's horizon, or with less known around them
            than its context, stay as they are, and so does one for which the network fails.
        """
        gap = self._gap
        length = stop - start
        first = start - gap.gap_start
        if length > gap.horizon or first < 0 or first + gap.samples > end:
            return False
        gap.set_gap(length)
        gap.lines[0, :] = row[first : first + gap.samples]
        hole = slice(gap.gap_start, gap.gap_start + length)
        gap.lines[0, 0, hole] = continued(row[:start], length, self._rate)
        after = row[stop:end]
        gap.lines[0, 1, hole] = continued(after[::-1], length, self._rate)[::-1]
        gap.analyse()
        if not self._encoder.run(gap.spectra, gap.lost, gap.filled):
            return False
        gap.synthesise(self._fill[:, :length])
        row[start:stop] = self._fill[0, :length]
        return True


def two_sided_encoder(model: str, sample_rate: int) -> TwoSidedEncoder | None:
    """Return the encoder that ``model`` names, opened once in each thread; None for none.

    Parameters
    ----------
    model : str
        ``"ar"``: none. ``"auto"``: the one in the package, none where there is none for this
        sample rate or ONNX Runtime is not installed. Any other: a name or a path.
    sample_rate : int
        In Hz.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If a model that was asked for cannot be used.
    """
    if model == "ar":
        return None
    opened: dict[tuple[str, int], TwoSidedEncoder | None]
    opened = _opened.__dict__.setdefault("encoders", {})
    if (model, sample_rate) not in opened:
        opened[model, sample_rate] = _open(model, sample_rate)
    return opened[model, sample_rate]


def _open(model: str, sample_rate: int) -> TwoSidedEncoder | None:
    if model != "auto":
        return TwoSidedEncoder(find(model), sample_rate)
    for manifest in available():
        low, high = manifest.sample_rates
        if manifest.kind == "lookahead" and low <= sample_rate <= high:
            try:
                return TwoSidedEncoder(manifest, sample_rate)
            except MissingExtraError:
                return None
    return None
