"""Clocks, cores, waiting and long kernels, which a test may hand in."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.ahead.bursts import prepare_burst
from plc.engine.runtime.worker import NextResult, next_result
from plc.processor_time import thread_clock, usable_cores
from plc_kernels.stream.step import step_many


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Calls that streams and pools make by way of a record of their class."""

    clock: Callable[[], float] = perf_counter
    """Of a pool; a stream is given its clock."""
    cpu_clock: Callable[[], Callable[[], float]] = thread_clock
    cores: Callable[[], int] = usable_cores
    step: Any = step_many
    """Of rows of a pool."""
    costs: Callable[[Any], Any] | None = None
    """Of packets of a pool's format; None: they are measured."""
    prepare: Callable[[NDArray[np.int64], int], int] = prepare_burst
    next_result: NextResult = next_result
