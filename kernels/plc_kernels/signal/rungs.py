"""The rungs of linear prediction: orders and pasts, the best first."""

import numpy as np

from plc_kernels.build.compile import kernel
from plc_kernels.signal.predict import LEAST_PAST_SAMPLES

MAX_ORDER = 2048
MAX_PAST_SAMPLES = 16_384
"""What a fit may use at high rates: 340 ms at 48 kHz, 85 ms at 192 kHz."""

# The error grows from rung to rung (docs/notebook.md, "Order and past").
STEADY_MS = (
    (40.0, 250.0),
    (36.0, 200.0),
    (32.0, 170.0),
    (30.0, 150.0),
    (25.0, 120.0),
    (20.0, 100.0),
    (15.0, 75.0),
    (10.0, 50.0),
    (5.0, 30.0),
    (2.5, 15.0),
    (1.0, 8.0),
    (0.5, 4.0),
)
"""Order and past in ms, for content that holds its tones: music."""
# For speech the shorter past is the better one at every order (docs/notebook.md, likewise).
UNSTEADY_MS = (
    (15.0, 30.0),
    (10.0, 25.0),
    (5.0, 20.0),
    (2.5, 15.0),
    (1.0, 8.0),
    (0.5, 4.0),
)
"""The same for content that glides and stops: speech."""

HEADROOM = 0.72
"""Share of the budget that the measured cost of a rung may fill.

The rest is for what is not measured, and for a machine that is busier than it was then.
"""


@kernel
def past_samples(past_ms: float, rate: int) -> int:
    """Return the samples that a rung is fitted on."""
    wanted = int(np.rint(past_ms * rate / 1000.0))
    return min(max(wanted, LEAST_PAST_SAMPLES), MAX_PAST_SAMPLES)


@kernel
def order_of(order_ms: float, past_ms: float, rate: int) -> int:
    """Return the coefficients of a rung, at most half its samples."""
    wanted = min(int(np.rint(order_ms * rate / 1000.0)), MAX_ORDER)
    return max(2, min(wanted, past_samples(past_ms, rate) // 2))
