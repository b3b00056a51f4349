"""A kernel borrows every array it works on; it asks for no memory of its own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from plc_kernels.build import denormals
from plc_kernels.signal import ar, click, dropouts, repeats, ring, toeplitz
from tests.kernels.memory import assert_allocates_nothing

X, Y, Z = np.ones((3, 480), np.float32)
WORK = ar.ArWorkspace.allocate(480, 64)
PREDICTOR = np.zeros(65)
RING_HEADER = np.zeros(ring.HEADER, np.int64)
RING_HEADER[[ring.CAPACITY, ring.CHANNELS]] = 240, 2
DROPPED = np.zeros((2, dropouts.STATE_WORDS), np.int64)
GAPS = np.zeros(81, np.int64)

DEFAULT_CONTROL = denormals.flush_denormals()
denormals.restore_denormals(DEFAULT_CONTROL)

CALLS: list[tuple[Any, tuple[object, ...]]] = [
    (ar.burg, (64, X, WORK.forward, WORK.backward, WORK.mirror, PREDICTOR)),
    (ar.extrapolate, (PREDICTOR[1:], np.zeros(128))),
    (ar.taps_of, (PREDICTOR, np.zeros(64))),
    (
        toeplitz.solve_toeplitz,
        (np.eye(8)[0].copy(), np.empty((8, 8)), np.empty((2, 8)), np.ones(8)),
    ),
    (
        toeplitz.solve_toeplitz_at,
        (np.eye(8)[0].copy(), np.arange(8), np.empty((8, 8)), np.ones(8)),
    ),
    (click.click_ratio, (96, np.ones(480), np.ones(480), np.arange(480) // 96 == 2)),
    (denormals.restore_denormals, (DEFAULT_CONTROL,)),
    (
        dropouts.find_dropouts,
        (8000, 80, np.ones((2, 440), np.float32), DROPPED, np.zeros((2, 80), np.int8), GAPS),
    ),
    (dropouts.skip_packet, (8000, 80, DROPPED)),
    (repeats.lag_errors, (40, 8, X, np.zeros(31))),
    (repeats.repeat_starts, (40, 8, 4, np.zeros(31), np.zeros(31), np.zeros((30, 7)))),
    (ring.take_in, (RING_HEADER, X, False, Y)),
    (ring.give_out, (RING_HEADER, X, False, Z)),
]
"""Of kernels that no stream calls: what those do tests/kernels/stream has."""


def _name(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("kernel", "args"), CALLS, ids=_name)
def test_a_kernel_allocates_nothing(
    kernel: Callable[..., object], args: tuple[object, ...]
) -> None:
    assert_allocates_nothing(kernel, args)
