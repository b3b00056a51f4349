"""Write ``golden.json``: what each method makes of one signal and trace, to pin it.

Run ``python -m tests.plc.make_golden`` in the root of the checkout after a change that is meant
to change the output, and look at the difference before committing it.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import plc
from tests.signals import glide, noise, tones

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden.json")

SAMPLE_RATE = 16_000
PACKET = 160
PACKETS = 200
POINTS = 16
"""Samples of the filled part that are kept, evenly spaced."""
DIGITS = 7

# Single losses, a burst of 50 ms, one that fades to the noise, and singles after it.
LOST = (*range(30, 110, 6), *range(112, 117), *range(130, 152), *range(156, 200, 6))
# Within the context of another, at the end, and of the length in the literature.
GAPS = ((4000, 4200), (4500, 5524), (12_000, 12_333), (31_900, 32_000))

Case = dict[str, float | list[float]]


def signal() -> NDArray[np.float32]:
    """Return a chord, a gliding voice over it, and a background: float32, shape (n,)."""
    samples = PACKET * PACKETS
    return (
        tones(11, SAMPLE_RATE, samples)
        + glide(12, SAMPLE_RATE, samples, 0.03)
        + noise(13, samples, 0.003)
    )


def trace() -> NDArray[np.bool_]:
    """Return which packets are lost."""
    return np.isin(np.arange(PACKETS), LOST)


def gap_mask() -> NDArray[np.bool_]:
    """Return which samples :data:`GAPS` take away."""
    mask = np.zeros(PACKET * PACKETS, bool)
    for start, stop in GAPS:
        mask[start:stop] = True
    return mask


def makers() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Yield the name of each case and what makes it."""
    for method in plc.METHODS:
        yield method, partial(concealed, method, 0)
    yield "auto, lookahead 1", partial(concealed, "auto", 1)
    for quality in ("fast", "good", "best"):
        yield f"inpaint, {quality}", partial(inpainted, quality)


def concealed(method: Any, lookahead: int) -> Case:
    """Return the numbers of the lost samples of the stream."""
    out = plc.conceal(
        signal(),
        trace(),
        model="ar",
        sample_rate=SAMPLE_RATE,
        packet_samples=PACKET,
        lookahead=lookahead,
        method=method,
    )
    return numbers(out, np.repeat(trace(), PACKET))


def inpainted(quality: str) -> Case:
    """Return the numbers of the samples in the gaps."""
    out = plc.inpaint(signal(), GAPS, sample_rate=SAMPLE_RATE, quality=quality, model="ar")
    return numbers(out, gap_mask())


def numbers(out: NDArray[np.float32] | NDArray[np.int16], where: NDArray[np.bool_]) -> Case:
    """Return level, error and a few samples of what was filled."""
    filled = out[where].astype(np.float64)
    truth = signal()[where].astype(np.float64)
    places = np.linspace(0, filled.size - 1, POINTS).round().astype(int)
    return {
        "rms": round(float(np.sqrt(np.mean(filled**2))), DIGITS),
        "nmse_db": round(10 * math.log10(np.sum((filled - truth) ** 2) / np.sum(truth**2)), DIGITS),
        "samples": [round(float(each), DIGITS) for each in filled[places]],
    }


def main() -> None:
    """Write the file."""
    # A bare checkout will do; where the package is installed, this is the same folder.
    sys.path.append(str(ROOT / "kernels"))
    golden = {name: make() for name, make in makers()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
