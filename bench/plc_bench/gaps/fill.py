"""Fill gaps by any method that the benchmarks of gaps name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import plc
from plc_bench.gaps import janssen

JANSSEN = "janssen"
"""Gap-wise Janssen as published; all other names are those of :func:`plc.inpaint`."""


def fill(
    damaged: NDArray[np.float32],
    gaps: Sequence[tuple[int, int] | tuple[int, int, tuple[int, ...]]],
    sample_rate: int,
    method: str,
    quality: str,
) -> NDArray[np.float32]:
    """Return a signal with its gaps filled.

    Parameters
    ----------
    damaged : float32, shape (n,) or (n, channels)
        Zero in the gaps; janssen takes one channel.
    gaps : sequence of (start, stop) or (start, stop, channels)
        In samples.
    sample_rate : int
        In Hz.
    method : str
        ``METHOD[@model=NAME]`` as ``plc.inpaint`` takes both, or :data:`JANSSEN`.
    quality : str
        As ``plc.inpaint`` takes it.
    """
    if method == JANSSEN:
        whole = damaged
        for start, stop, *_ in gaps:
            whole = janssen.interpolate(whole, (start, stop))
        return whole
    method, _, model = method.partition("@model=")
    return np.asarray(
        plc.inpaint(
            damaged,
            gaps,
            sample_rate=sample_rate,
            quality=quality,
            method=method,
            model=model or "auto",
        ),
        np.float32,
    )
