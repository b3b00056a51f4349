import threading

import numpy as np
import pytest

from plc_kernels.compile import kernel
from plc_kernels.denormals import SUPPORTED, flush_denormals, restore_denormals

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="no known setting on this processor")


@kernel
def halve(x: float, times: int) -> float:
    for _ in range(times):
        x *= 0.5
    return x


def test_denormals_are_zero_while_flushed_and_back_afterwards() -> None:
    smallest_normal = float(np.finfo(np.float64).tiny)
    assert halve(smallest_normal, 1) > 0.0
    before = flush_denormals()
    try:
        flushed = halve(smallest_normal, 1)
    finally:
        restore_denormals(before)
    assert flushed == 0.0
    assert halve(smallest_normal, 1) > 0.0


def test_the_setting_belongs_to_the_thread() -> None:
    other = threading.Thread(target=flush_denormals)
    other.start()
    other.join()
    assert halve(float(np.finfo(np.float64).tiny), 1) > 0.0
