"""A waveform around a gap as SVG: the original grey, what was played blue, the loss red."""

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 300, 100
# Points of a line: as many as a screen shows.
_POINTS = 600
_STYLE = {"original": ("#a9adb5", 2.4), "played": ("#1f5fa8", 1.4)}


def waveform_svg(
    original: NDArray[np.float64],
    played: NDArray[np.float64] | None,
    lost: NDArray[np.bool_],
    peak: float,
) -> str:
    """Return a picture of a few milliseconds.

    Parameters
    ----------
    original, played : float64, shape (n,)
        What was sent and what was heard; None: the original itself.
    lost : bool, shape (n,)
        Lost samples.
    peak : float
        Level at the upper edge; what is louder is cut.
    """
    edges = np.flatnonzero(np.diff(lost, prepend=False, append=False)).reshape(-1, 2)
    scale = _WIDTH / max(1, lost.size)
    gaps = "".join(
        f'<rect x="{a * scale:.1f}" y="0" width="{(b - a) * scale:.1f}" height="{_HEIGHT}" '
        'fill="#d1362f" fill-opacity="0.13"/>'
        for a, b in edges
    )
    lines = _line(original, peak, "played" if played is None else "original")
    if played is not None:
        lines += _line(played, peak, "played")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'preserveAspectRatio="none"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
        f"{gaps}{lines}</svg>"
    )


def _line(signal: NDArray[np.float64], peak: float, style: str) -> str:
    colour, width = _STYLE[style]
    at = np.unique(np.linspace(0, signal.size - 1, min(signal.size, _POINTS)).astype(int))
    x = at * _WIDTH / max(1, signal.size)
    y = _HEIGHT / 2 * (1 - (signal[at] / peak).clip(-1.1, 1.1))
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" '
        'stroke-linejoin="round" vector-effect="non-scaling-stroke"/>'
    )
